"""Functions of strings, one inside another: PCFG SET (Hupkes et al., Compositionality Decomposed, arXiv 1908.08351).

The grammar is that of the generator that was published with it (github.com/MathijsMul/pcfg-set).

Shape letters: M samples of one chunk, P nodes of a sample, in the order in which they are written.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Literal, NamedTuple

import numpy as np

from jaxgen.config import MOST, PositiveInt, Range
from jaxgen.errors import UserError
from jaxgen.tasks.base import random_uniforms
from jaxgen.tasks.text import SPECIAL, Draws, Sentences, Span, TextTask, token_numbers

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
# The lengths of sources are given a negative binomial law of this mean and shape above the shortest, 3; more than
# this many times what the grammar alone gives of a length they are not made.
_MEAN_LENGTH, _SHAPE, _MOST = 18, 3, 6
# What each draw is keyed by, beside the data's seed; those of chunks follow.
_LETTERS, _CHUNKS = 0, 16


@dataclasses.dataclass(frozen=True, kw_only=True)
class PcfgTask(TextTask):
    """Prefix expressions of ten string functions, answered by what they give.

    `append swap_first_last A1 B7 C2 , echo D4 E5` gives `C2 B7 A1 D4 E5 E5`. Functions of one string are copy, reverse,
    shift (the first to the end), echo (the last twice), swap_first_last and repeat; of two, with a comma between,
    append, prepend (the second first), remove_first and remove_second. The 26 letters with numbers up to `indices`
    are the alphabet. String arguments have 2 to 5 letters; no string comes twice in the corpus, unless the alphabet
    has few of its length for so many examples.

    An expression is drawn from a grammar whose two probabilities, of a unary function among functions and of a
    function as an argument, are uniform and its own. The published corpus was then resampled to have the lengths
    and depths of English sentences, which takes another corpus: here, lengths of sources are resampled to about a
    negative binomial law of the published mean (18), which gives 4.7 functions and targets of 9.5 letters in the
    mean (published: 5.1 and 9.3).

    Splits are `train`, `test` and, of pcfgset, `validation` (published sizes of train, validation, test in brackets):

    - `pcfgset`: all alike (about 82,000, 4,860, 9,721);
    - `systematicity`: expressions test where one of four functions stands right before another: `swap_first_last
      repeat`, `append remove_second`, `repeat remove_second`, `append swap_first_last` (82,000 and 10,175);
    - `productivity`: up to `trained_functions` train, more test (81,000 and 11,333, of 9 to 35).

    Not here: localism, which compares a model's answers with each other; substitutivity and overgeneralisation, whose
    training sets hold synonyms and exceptions.
    """

    split: PcfgSplit
    train_examples: PositiveInt
    test_examples: PositiveInt
    validation_examples: PositiveInt | None = None  # of pcfgset
    indices: Annotated[int, Range(at_least=1, at_most=1000)] = 20
    trained_functions: PositiveInt = 8  # of productivity
    most_functions: Annotated[int, Range(at_least=1, at_most=100)] = 35
    longest_source: Annotated[int, Range(at_least=12, at_most=MOST)] = 71
    longest_target: Annotated[int, Range(at_least=10, at_most=MOST)] = 251

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

    def sizes(self) -> dict[str, int]:
        sizes = {"train": self.train_examples, "validation": self.validation_examples, "test": self.test_examples}
        return {name: size for name, size in sizes.items() if size}

    def symbols(self) -> tuple[str, ...]:
        letters = (f"{chr(ord('A') + i)}{index}" for i in range(26) for index in range(1, self.indices + 1))
        return (*_WORDS, *letters)

    def spans(self) -> Mapping[str, Span]:
        return {name: Span(size, 3, self.longest_source + self.longest_target) for name, size in self.sizes().items()}

    def sentences(self) -> Mapping[str, Sentences]:
        return _sentences(self)


class _Expression(NamedTuple):
    """An expression whose letters are yet to be drawn: ~i stands for the i-th."""

    source: Tokens
    target: Tokens
    strings: list[int]  # the lengths of its string arguments
    functions: int


@functools.lru_cache(maxsize=2)
def _sentences(task: PcfgTask) -> Mapping[str, Sentences]:
    sizes, strings = task.sizes(), _Strings(task)
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
    raise AssertionError  # counting has no end


def _split_of(task: PcfgTask, expression: _Expression, room: list[str]) -> str | None:
    if task.split == "pcfgset":
        # The training set is filled last, so that a larger one holds a smaller one.
        return room[-1] if room else None
    if task.split == "productivity":
        return "train" if expression.functions <= task.trained_functions else "test"
    held_out = {(_TOKEN[first], _TOKEN[second]) for first, second in _HELD_OUT}
    return "train" if held_out.isdisjoint(itertools.pairwise(expression.source)) else "test"


class _Strings:
    """Draws string arguments, all different where the alphabet has twice as many as there are examples."""

    def __init__(self, task: PcfgTask) -> None:
        self._draws = Draws(seed=task.data_seed, stream=_LETTERS)
        self._letters = 26 * task.indices
        examples = sum(task.sizes().values())
        self._used: dict[int, set[tuple[int, ...]]] = {
            length: set() for length in _STRINGS if self._letters**length >= 2 * examples
        }

    def letters(self, lengths: list[int]) -> Tokens:
        """Returns the tokens of strings of these lengths, one after the other."""
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
    """Draws some expressions of about the wanted law of lengths."""
    most = 2 * task.most_functions + 1
    draws = random_uniforms((3 + 3 * most, _CHUNK), seed=task.data_seed, stream=_CHUNKS + chunk)
    p_unary_M, p_function_M, chance_M = draws[:3]
    node_MP = np.full((_CHUNK, most), -1, dtype=np.int8)
    functions_M, binary_M, letters_M = np.zeros((3, _CHUNK), dtype=np.int64)
    open_M = np.ones(_CHUNK, dtype=np.int64)  # arguments yet to be written
    for p, (function_M, unary_M, which_M) in enumerate(draws[3:].reshape(most, 3, _CHUNK)):
        live_M = open_M > 0
        is_function_M = live_M & ((function_M < p_function_M) | (p == 0))
        is_unary_M = is_function_M & (unary_M < p_unary_M)
        is_binary_M = is_function_M & ~is_unary_M
        is_string_M = live_M & ~is_function_M
        for chosen_M, first, count in (
            (is_unary_M, 0, len(_UNARY)),
            (is_binary_M, len(_UNARY), len(_BINARY)),
            (is_string_M, len(_FUNCTIONS), len(_STRINGS)),
        ):
            node_MP[chosen_M, p] = first + (which_M[chosen_M] * count).astype(np.int8)
        functions_M += is_function_M
        binary_M += is_binary_M
        letters_M += np.where(is_string_M, _STRINGS[0] + node_MP[:, p] - len(_FUNCTIONS), 0)
        open_M += is_binary_M.astype(np.int64) - is_string_M
    length_M = functions_M + binary_M + letters_M
    whole_M = (open_M == 0) & (functions_M <= task.most_functions) & (length_M <= task.longest_source)
    seen = np.bincount(length_M[whole_M], minlength=task.longest_source + 1) / max(1, whole_M.sum())
    wanted = _law(task.longest_source) / np.maximum(seen, 1e-9)
    kept_M = whole_M & (chance_M * _MOST < wanted[np.minimum(length_M, task.longest_source)])
    for row in node_MP[kept_M].tolist():
        yield _read(row, task.longest_target)


def _law(longest: int) -> np.ndarray:
    """Returns the wanted probability of every length of a source, up to the longest."""
    shortest = 1 + _STRINGS[0]
    stop = _SHAPE / (_SHAPE + _MEAN_LENGTH - shortest)
    law = [
        math.comb(more + _SHAPE - 1, more) * stop**_SHAPE * (1 - stop) ** more for more in range(longest - shortest + 1)
    ]
    return np.array([0.0] * shortest + law) / sum(law)


def _read(row: list[int], longest: int) -> _Expression:
    """Writes the nodes of one sample out, and evaluates them; a target that is too long may be cut."""
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
        # What is too long stays so, or is removed whole: many a `repeat` would fill the memory.
        return source, value[: longest + 1]

    source, target = read()
    return _Expression(source, target, strings, functions)
