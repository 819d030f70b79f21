"""Nested functions of strings: PCFG SET (Hupkes et al., Compositionality Decomposed, arXiv 1908.08351). The grammar is
that of the published generator (github.com/MathijsMul/pcfg-set).

Shape letters: M samples of one chunk, R unfinished samples, P nodes of a sample, in the order in which they are
written.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, ClassVar, Literal, NamedTuple

import numpy as np

from jaxgen.config import MOST, PositiveInt, Range
from jaxgen.errors import UserError
from jaxgen.tasks.base import random_uniforms
from jaxgen.tasks.language.text import SPECIAL, Draws, Sentences, Span, TextTask, token_numbers

PcfgSplit = Literal["pcfgset", "systematicity", "productivity"]

Tokens = list[int]

_UNARY: dict[str, Callable[[Tokens], Tokens]] = {
    "copy": lambda x: x,
    "reverse": lambda x: x[::-1],
    "shift": lambda x: x[1:] + x[:1],
    "echo": lambda x: x + x[-1:],
    "swap_first_last": lambda x: x[-1:] + x[1:-1] + x[:1],
    "repeat": lambda x: x + x,
}
_BINARY: dict[str, Callable[[Tokens, Tokens], Tokens]] = {
    "append": lambda x, y: x + y,
    "prepend": lambda x, y: y + x,
    "remove_first": lambda x, y: y,
    "remove_second": lambda x, y: x,
}
_FUNCTIONS = (*_UNARY, *_BINARY)
_STRINGS = (2, 3, 4, 5)  # lengths of string arguments
_SHARES = (0.15, 0.30, 0.28, 0.27)  # of these lengths: most distinct strings of length two had been used up
_WORDS = (*_FUNCTIONS, ",")
_HELD_OUT = (
    ("swap_first_last", "repeat"),
    ("append", "remove_second"),
    ("repeat", "remove_second"),
    ("append", "swap_first_last"),
)

_TOKEN = token_numbers(_WORDS)
_FIRST_LETTER = len(SPECIAL) + len(_WORDS)
_CHUNK = 1 << 14
# The key of each random draw, beside the data's seed; the keys of chunks follow.
_LETTERS, _CHUNKS = 0, 16


@dataclasses.dataclass(frozen=True, kw_only=True)
class PcfgTask(TextTask):
    """Prefix expressions of ten string functions, answered by their values.

    `append swap_first_last A1 B7 C2 , echo D4 E5` gives `C2 B7 A1 D4 E5 E5`. Functions of one string are copy, reverse,
    shift (the first to the end), echo (the last twice), swap_first_last and repeat; of two, with a comma between,
    append, prepend (the second first), remove_first and remove_second. The 26 letters with numbers up to `indices`
    are the alphabet. String arguments have 2 to 5 letters. No string occurs twice in the corpus, unless the alphabet
    has too few strings of its length.

    An expression is drawn from a grammar with two probabilities: of a unary function among functions, and of a function
    as an argument. Both are drawn uniformly for each expression. The published corpus was then resampled to match the
    depths and lengths of English sentences, which needs a second corpus. Here the expressions are resampled by number
    of functions, depth and length of the source, with weights fitted to the published files
    (tests/from_outside/test_pcfg.py compares the two).

    Splits are `train`, `test` and, of pcfgset, `validation` (published sizes of train, validation, test in brackets):

    - `pcfgset`: all from one distribution (82,622, 4,860, 9,721);
    - `systematicity`: expressions in which a held-out function pair is adjacent are for testing: `swap_first_last
      repeat`, `append remove_second`, `repeat remove_second`, `append swap_first_last` (82,168 and 10,175);
    - `productivity`: training has up to `trained_functions` functions, testing more (81,010 and 11,333, of 9 to 35).

    Not here: localism, which compares a model's answers with each other; substitutivity and overgeneralisation, whose
    training sets hold synonyms and exceptions.
    """

    version: ClassVar[int] = 2

    split: PcfgSplit
    train_examples: PositiveInt
    test_examples: PositiveInt
    validation_examples: PositiveInt | None = None  # of pcfgset
    indices: Annotated[int, Range(at_least=1, at_most=1000)] = 20
    trained_functions: PositiveInt = 8  # of productivity
    most_functions: Annotated[int, Range(at_least=1, at_most=100)] = 35
    longest_source: Annotated[int, Range(at_least=12, at_most=MOST)] = 71
    longest_target: Annotated[int, Range(at_least=10, at_most=MOST)] = 736

    def validate(self) -> None:
        if (self.validation_examples is not None) != (self.split == "pcfgset"):
            raise UserError(
                f"task.validation_examples: got {self.validation_examples} of {self.split!r}, expected a number of "
                "'pcfgset' and none of other splits"
            )
        if self.split == "productivity" and self.trained_functions >= self.most_functions:
            raise UserError(
                f"task.trained_functions: got {self.trained_functions}, expected fewer than "
                f"most_functions={self.most_functions}: those of more test"
            )

    def sizes(self) -> tuple[tuple[str, int], ...]:
        sizes = {"train": self.train_examples, "validation": self.validation_examples, "test": self.test_examples}
        return tuple((name, size) for name, size in sizes.items() if size)

    def symbols(self) -> tuple[str, ...]:
        letters = (f"{chr(ord('A') + i)}{index}" for i in range(26) for index in range(1, self.indices + 1))
        return (*_WORDS, *letters)

    def spans(self) -> Mapping[str, Span]:
        return {name: Span(size, 3, self.longest_source + self.longest_target) for name, size in self.sizes()}

    def sentences(self) -> Mapping[str, Sentences]:
        return _sentences(self)


class _Expression(NamedTuple):
    """An expression whose letters are not drawn yet: ~i is a placeholder for the i-th."""

    source: Tokens
    target: Tokens
    strings: list[int]  # the lengths of its string arguments
    functions: int


@functools.lru_cache(maxsize=2)
def _sentences(task: PcfgTask) -> Mapping[str, Sentences]:
    sizes, strings = dict(task.sizes()), _Strings(task)
    pairs: dict[str, dict[tuple[int, ...], Tokens]] = {name: {} for name in sizes}
    for chunk in itertools.count():
        before = sum(map(len, pairs.values()))
        for expression in _expressions(task, chunk):
            room = [name for name in sizes if len(pairs[name]) < sizes[name]]
            name = _split_of(task, expression, room)
            if name in room and len(expression.target) <= task.longest_target:
                letters = strings.letters(expression.strings)
                source, target = ([x if x >= 0 else letters[~x] for x in side] for side in expression[:2])
                if not any(tuple(source) in rows for rows in pairs.values()):
                    pairs[name][tuple(source)] = target
        found = {name: len(rows) for name, rows in pairs.items()}
        if found == sizes:
            return {name: Sentences.of(list(rows.items())) for name, rows in pairs.items()}
        if sum(found.values()) == before:
            raise UserError(f"task: got {found}, expected {sizes}: others of such lengths and functions are too rare")
    raise AssertionError  # itertools.count never ends


def _split_of(task: PcfgTask, expression: _Expression, room: list[str]) -> str | None:
    if task.split == "pcfgset":
        # The training set is filled last, so that a larger one contains a smaller one.
        return room[-1] if room else None
    if task.split == "productivity":
        return "train" if expression.functions <= task.trained_functions else "test"
    held_out = {(_TOKEN[first], _TOKEN[second]) for first, second in _HELD_OUT}
    return "train" if held_out.isdisjoint(itertools.pairwise(expression.source)) else "test"


class _Strings:
    """Draws string arguments, all distinct if the alphabet has twice as many strings as there are examples."""

    def __init__(self, task: PcfgTask) -> None:
        self._draws = Draws(seed=task.data_seed, stream=_LETTERS)
        self._letters = 26 * task.indices
        examples = sum(dict(task.sizes()).values())
        self._used: dict[int, set[tuple[int, ...]]] = {
            length: set() for length in _STRINGS if self._letters**length >= 2 * examples
        }

    def letters(self, lengths: list[int]) -> Tokens:
        """Returns the tokens of strings of these lengths, one after another."""
        return [letter for length in lengths for letter in self._string(length)]

    def _string(self, length: int) -> tuple[int, ...]:
        used = self._used.get(length)
        while True:
            drawn = tuple(_FIRST_LETTER + self._draws.below(self._letters) for _ in range(length))
            if used is None:
                return drawn
            if drawn not in used:
                used.add(drawn)
                return drawn


def _expressions(task: PcfgTask, chunk: int) -> Iterator[_Expression]:
    """Draws expressions from about the published distribution."""
    most = 2 * task.most_functions + 1
    draws = random_uniforms((3 + 3 * most, _CHUNK), seed=task.data_seed, stream=_CHUNKS + chunk)
    p_unary_M, p_function_M, chance_M = draws[:3]
    node_MP = np.full((_CHUNK, most), -1, dtype=np.int8)
    ends = np.cumsum(_SHARES)[:-1]
    functions_M, binary_M, letters_M, depth_M = np.zeros((4, _CHUNK), dtype=np.int64)
    open_M = np.ones(_CHUNK, dtype=np.int64)  # number of arguments not written yet
    level_MP = np.ones((_CHUNK, most + 1), dtype=np.int16)  # the depth of each of these arguments, the next one last
    live_R = np.arange(_CHUNK)  # the samples with such arguments
    for p, draws_3M in enumerate(draws[3:].reshape(most, 3, _CHUNK)):
        function_R, unary_R, which_R = draws_3M[:, live_R]
        is_function_R = (function_R < p_function_M[live_R]) | (p == 0)
        is_unary_R = is_function_R & (unary_R < p_unary_M[live_R])
        is_binary_R = is_function_R & ~is_unary_R
        string_R = np.searchsorted(ends, which_R, side="right")
        function_R = np.where(is_unary_R, which_R * len(_UNARY), len(_UNARY) + which_R * len(_BINARY))
        node_MP[live_R, p] = np.where(is_function_R, function_R.astype(np.int8), len(_FUNCTIONS) + string_R)
        functions_M[live_R] += is_function_R
        binary_M[live_R] += is_binary_R
        letters_M[live_R] += np.where(is_function_R, 0, _STRINGS[0] + string_R)
        at_R = open_M[live_R] - 1
        level_R = level_MP[live_R, at_R]
        depth_M[live_R] = np.maximum(depth_M[live_R], np.where(is_function_R, level_R, 0))
        level_MP[live_R, at_R] += is_function_R
        level_MP[live_R[is_binary_R], open_M[live_R[is_binary_R]]] = level_R[is_binary_R] + 1
        open_M[live_R] += is_binary_R.astype(np.int64) - ~is_function_R
        live_R = live_R[open_M[live_R] > 0]
    length_M = functions_M + binary_M + letters_M
    whole_M = (open_M == 0) & (functions_M <= task.most_functions) & (length_M <= task.longest_source)
    kept_M = whole_M & (chance_M < _weight(functions_M, depth_M, length_M))
    for row in node_MP[kept_M].tolist():
        yield _read(row, task.longest_target)


def _weight(functions_M: np.ndarray, depth_M: np.ndarray, length_M: np.ndarray) -> np.ndarray:
    """Returns acceptance probabilities: about the published frequency divided by the grammar's own.

    Fitted by maximum likelihood to the 14,581 sources of validation and test, and the 11,333 of more than 8 functions.
    """
    f, d, n = (each_M.astype(np.float64) for each_M in (functions_M, depth_M, length_M))
    of_functions_M = 0.319 * f - 0.01006 * f**2 - 0.7717 * np.log(f)
    of_depth_M = 7.389 * np.log(d) - 1.928 * d - 0.07635 * d**2
    of_length_M = 0.4214 * np.log(n) - 0.008119 * n - 0.007715 * n**2
    return np.exp(np.minimum(of_functions_M + of_depth_M + of_length_M + 0.06198 * d * n - 4.856, 0))


def _read(row: list[int], longest: int) -> _Expression:
    """Writes the nodes of one sample, and evaluates them; a target that is too long may be cut."""
    nodes, functions = iter(row), 0
    strings: list[int] = []

    def read() -> tuple[Tokens, Tokens]:
        nonlocal functions
        node = next(nodes)
        if node >= len(_FUNCTIONS):
            start = sum(strings)
            strings.append(_STRINGS[node - len(_FUNCTIONS)])
            letters = [~i for i in range(start, start + strings[-1])]
            return letters, letters
        functions += 1
        name = _FUNCTIONS[node]
        source, value = read()
        if name in _UNARY:
            source, value = [_TOKEN[name], *source], _UNARY[name](value)
        else:
            second, its_value = read()
            source, value = [_TOKEN[name], *source, _TOKEN[","], *second], _BINARY[name](value, its_value)
        # A string that is too long stays too long or is removed entirely; without the cut, nested `repeat` fill the
        # memory.
        return source, value[: longest + 1]

    source, target = read()
    return _Expression(source, target, strings, functions)
