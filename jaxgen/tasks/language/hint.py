"""Arithmetic on single digits: the symbolic form of HINT (Li et al., A Minimalist Dataset for Systematic Generalization
of Perception, Syntax, and Semantics, arXiv 2103.01403). Its rules follow the published generator
(github.com/liqing-ustc/HINT).

Shape letters: M expressions of n operators, P = 2n + 1 nodes of each; an operator comes before its two operands.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from typing import Annotated, NamedTuple

import numpy as np

from jaxgen.config import Range, Size
from jaxgen.errors import UserError
from jaxgen.tasks.base import random_order, random_words
from jaxgen.tasks.language.text import SPECIAL, Sentences, Span, TextTask

_WORDS = (*"0123456789", "+", "-", "*", "/", "(", ")")
# Symbols of nodes: digits are themselves.
_PLUS, _MINUS, _TIMES, _DIVIDE, _OPEN, _CLOSE = range(10, 16)
# With up to this many operators all expressions are enumerated; with more they are drawn.
_ENUMERATED = 2
_CHUNK = 1 << 14
# The key of each random draw, beside the data's seed: both kinds for every number of operators, in chunks.
_SMALL, _LARGE = range(2)


@dataclasses.dataclass(frozen=True, kw_only=True)
class HintTask(TextTask):
    """Infix expressions of digits, answered by their value: `( 2 - 7 ) * 3 + 9 / 2` by `5`.

    `-` is max(0, a - b) and `/` rounds up; nothing is divided by 0. Only parentheses that the order of operations
    requires are written. An expression of n operators has a uniform operator among four, a left side of 0 to n - 1
    operators, uniform, and a right side with the rest; digits are uniform. With up to two operators all expressions are
    used, in random order. With more, expressions are drawn until enough are distinct and have an answer other than 0;
    at most the fraction `same_answer` of them has the same answer.

    `train`, which is not measured, has for each n up to `trained_operators` `train_examples` expressions whose values,
    including intermediate ones, are at most `trained_value`. If there are fewer, they are repeated: those of two
    operators up to that number, each of one operator train_examples / 500 times, each digit train_examples / 50 times.
    Tests have `test_examples` for each n (with up to two operators, as many as exist): `test_i` has training examples;
    `test_ss` has equally short and small expressions that do not train; `test_sl` has short ones with a value above
    `trained_value` but none above `most_value`; `test_ls` and `test_ll` are the same with more operators, up to
    `most_operators`. `validation` has `validation_examples` of each kind for each n, so its part of test_i's kind also
    trains. Published sizes: train 998,000, validation 4,698, tests 9,980, 8,000, 8,640, 10,000 and 10,000. Making these
    takes about 20 seconds.
    """

    train_examples: Annotated[int, Range(at_least=500, at_most=10_000_000)] = 100_000
    test_examples: Size = 1000
    validation_examples: Size = 100
    trained_operators: Annotated[int, Range(at_least=2)] = 10
    most_operators: Annotated[int, Range(at_most=30)] = 20
    trained_value: Annotated[int, Range(at_least=9)] = 100
    most_value: Annotated[int, Range(at_least=1, at_most=10**9)] = 10_000
    same_answer: Annotated[float, Range(above=0, at_most=1)] = 0.05

    def validate(self) -> None:
        if not self.trained_operators < self.most_operators:
            raise UserError(
                f"task.most_operators: got {self.most_operators}, expected more than "
                f"trained_operators={self.trained_operators}: those of more test"
            )
        if not self.trained_value < self.most_value:
            raise UserError(
                f"task.most_value: got {self.most_value}, expected more than trained_value={self.trained_value}: "
                "larger ones test"
            )
        wanted, _ = self.wanted(self.trained_operators)
        same = self.most_of_an_answer(wanted)
        if self.trained_value * same < wanted:
            raise UserError(
                f"task.same_answer: got {self.same_answer:g}, which is {same} expressions of each of the "
                f"{self.trained_value} answers, expected enough for {wanted} expressions of each number of operators"
            )

    def disjoint_by(self) -> str | None:
        return (
            "test_i and a part of validation are training examples, as published; of the other tests no example "
            "trains: test_ss holds others of the same kind, the rest larger values or more operators"
        )

    def measured(self) -> tuple[str, ...]:
        return tuple(name for name, _ in self.shape().sizes if name != "train")

    def symbols(self) -> tuple[str, ...]:
        return _WORDS

    def spans(self) -> Mapping[str, Span]:
        answers = len(str(self.trained_value)), len(str(self.most_value))
        short, long = (_longest(n) for n in (self.trained_operators, self.most_operators))
        longest = {
            "train": short + answers[0],
            "validation": long + answers[1],
            "test_i": short + answers[0],
            "test_ss": short + answers[0],
            "test_sl": short + answers[1],
            "test_ls": long + answers[0],
            "test_ll": long + answers[1],
        }
        sizes = dict.fromkeys(longest, 0)
        for n in range(self.most_operators + 1):
            for rows in self.plan(n):
                for name, rows_N in rows.items():
                    sizes[name] += len(rows_N)
        return {name: Span(sizes[name], 1, longest[name]) for name in longest}

    def sentences(self) -> Mapping[str, Sentences]:
        return _sentences(self)

    def wanted(self, n: int) -> tuple[int, int]:
        """Returns the numbers of small and of large expressions of n operators to draw."""
        tests = self.validation_examples + self.test_examples
        return tests + (self.train_examples if n <= self.trained_operators else 0), tests

    def plan(self, n: int) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """Returns for each split the indices of its small expressions of n operators, and those of its large ones."""
        small, large = self.wanted(n)
        if n <= _ENUMERATED:
            there = _enumerated(self, n)
            small, large = min(small, len(there[0])), min(large, len(there[1]))
        short = n <= self.trained_operators
        train_N = np.arange(min(small, self.train_examples) if short else 0)
        rest_N = np.arange(len(train_N), small)
        if short and small < self.train_examples:
            often = {0: self.train_examples // 50, 1: self.train_examples // 500}
            train_N = np.tile(train_N, often.get(n, self.train_examples // small + 1))[: self.train_examples]
        seen, validated = (
            train_N[: len(train_N) * count // self.train_examples]
            for count in (self.test_examples, self.validation_examples)
        )
        small_validated, small_tested = np.split(rest_N, [self.validation_examples])
        large_validated, large_tested = np.split(np.arange(large), [self.validation_examples])
        return {
            "train": train_N,
            "validation": np.concatenate([validated, small_validated]),
            "test_i": seen,
            "test_ss" if short else "test_ls": small_tested,
        }, {"validation": large_validated, "test_sl" if short else "test_ll": large_tested}

    def most_of_an_answer(self, wanted: int) -> int:
        """Returns the largest number of drawn expressions that may have the same answer."""
        return max(1, int(self.same_answer * wanted))


class _Expressions(NamedTuple):
    """Trees of n operators; the operands of node p are nodes p + 1 and p + 2 + 2 left[p]."""

    symbol_MP: np.ndarray  # int8: a digit or an operator
    left_MP: np.ndarray  # int8: the number of operators in a node's left side
    answer_M: np.ndarray  # int64

    def of(self, rows_N: np.ndarray) -> _Expressions:
        return _Expressions(*(each[rows_N] for each in self))


def _longest(operators: int) -> int:
    """Returns the largest number of tokens in an expression: all but the first operator may be in parentheses."""
    return 2 * operators + 1 + 2 * max(0, operators - 1)


@functools.lru_cache(maxsize=1)
def _sentences(task: HintTask) -> Mapping[str, Sentences]:
    parts: dict[str, list[Sentences]] = {name: [] for name in task.spans()}
    for n in range(task.most_operators + 1):
        for kind, rows in zip((_SMALL, _LARGE), task.plan(n), strict=True):
            expressions = _pool(task, n, kind)
            for name, rows_N in rows.items():
                parts[name].append(_written(expressions.of(rows_N)))
    return {name: Sentences(*map(np.concatenate, zip(*each, strict=True))) for name, each in parts.items()}


def _pool(task: HintTask, n: int, kind: int) -> _Expressions:
    """Returns distinct small or large expressions of n operators, in random order."""
    if n <= _ENUMERATED:
        rows_N = _enumerated(task, n)[kind == _LARGE]
        order = random_order(len(rows_N), seed=task.data_seed, stream=_stream(n, kind))
        symbol_MP, left_MP = _every(n)
        answer_M, _ = _values(symbol_MP, left_MP, task.most_value)
        return _Expressions(symbol_MP, left_MP, answer_M).of(rows_N[order])
    wanted = task.wanted(n)[kind == _LARGE]
    found, before, chunks = _random(task, n, kind, 0), 0, 1
    while True:
        # No symbol is 0 in the key, because numpy drops a trailing 0.
        key_M = np.ascontiguousarray(found.symbol_MP + np.int8(1)).view(f"S{2 * n + 1}")[:, 0]
        _, first = np.unique(key_M, return_index=True)
        found = found.of(np.sort(first))
        found = found.of(_rank(found.answer_M) < task.most_of_an_answer(wanted))
        have = len(found.symbol_MP)
        if have >= wanted:
            return found.of(np.arange(wanted))
        if have == before:
            raise UserError(
                f"task: got {wanted} {'large' if kind == _LARGE else 'small'} expressions of {n} operators, expected "
                f"at most about {have}: others of such values are too rare"
            )
        before = have
        drawn = [_random(task, n, kind, chunk) for chunk in range(chunks, 2 * chunks)]
        chunks *= 2
        found = _Expressions(*map(np.concatenate, zip(found, *drawn, strict=True)))


def _stream(n: int, kind: int) -> int:
    return (2 * n + kind) << 20


def _random(task: HintTask, n: int, kind: int, chunk: int) -> _Expressions:
    """Draws expressions of n operators, and keeps those of the kind."""
    words = random_words(_CHUNK * (2 * n + 1), seed=task.data_seed, stream=_stream(n, kind) + chunk)
    words_MP = words.reshape(_CHUNK, 2 * n + 1)
    which_MP = (words_MP >> np.uint64(2)).astype(np.int64)
    size_MP = np.zeros(words_MP.shape, dtype=np.int64)  # the number of operators at and below each node
    size_MP[:, 0] = n
    left_MP = np.zeros_like(size_MP)
    for p in range(2 * n):
        size_M1 = size_MP[:, p : p + 1]
        left_MP[:, p : p + 1] = which_MP[:, p : p + 1] % np.maximum(size_M1, 1)
        inner = np.flatnonzero(size_M1[:, 0])
        left_N = left_MP[inner, p]
        size_MP[inner, p + 1] = left_N
        size_MP[inner, p + 2 + 2 * left_N] = size_M1[inner, 0] - 1 - left_N
    operator_MP = (words_MP % np.uint64(4)).astype(np.int64) + _PLUS
    symbol_MP = np.where(size_MP > 0, operator_MP, which_MP % 10)
    answer_M, most_M = _values(symbol_MP, left_MP, task.most_value)
    drawn = _Expressions(symbol_MP.astype(np.int8), left_MP.astype(np.int8), answer_M)
    return drawn.of((answer_M != 0) & _is_of(task, kind, most_M))


def _is_of(task: HintTask, kind: int, most_M: np.ndarray) -> np.ndarray:
    """Returns which expressions are of the kind, by their largest values."""
    if kind == _SMALL:
        return (most_M >= 0) & (most_M <= task.trained_value)
    return (most_M > task.trained_value) & (most_M <= task.most_value)


def _right(left_MP: np.ndarray) -> np.ndarray:
    """Returns the right operand (M, P) of every operator; for digits an arbitrary node."""
    nodes = left_MP.shape[1]
    return np.minimum(np.arange(nodes)[None] + 2 + 2 * left_MP.astype(np.int64), nodes - 1)


def _values(symbol_MP: np.ndarray, left_MP: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the answers (M,) and the largest intermediate values (M,), which are -1 after a division by 0.

    Values above `most` are set to `most` + 1, and so are values computed from them.
    """
    value_MP, right_MP, by_zero_M = symbol_MP.astype(np.int64), _right(left_MP), np.zeros(len(symbol_MP), dtype=bool)
    for p in reversed(range(symbol_MP.shape[1] - 2)):
        operator = symbol_MP[:, p]
        a, b = value_MP[:, p + 1], np.take_along_axis(value_MP, right_MP[:, p : p + 1], axis=1)[:, 0]
        by_zero_M |= (operator == _DIVIDE) & (b == 0)
        results = (a + b, np.maximum(a - b, 0), a * b, -(-a // np.maximum(b, 1)))
        for symbol, result in zip((_PLUS, _MINUS, _TIMES, _DIVIDE), results, strict=True):
            value_MP[:, p] = np.where(operator == symbol, np.minimum(result, most + 1), value_MP[:, p])
    return value_MP[:, 0], np.where(by_zero_M, -1, value_MP.max(axis=1))


def _rank(values_M: np.ndarray) -> np.ndarray:
    """Returns for each value the number of equal values before it."""
    order = np.argsort(values_M, kind="stable")
    ordered = values_M[order]
    rank_M = np.empty_like(order)
    rank_M[order] = np.arange(len(order)) - np.searchsorted(ordered, ordered)
    return rank_M


@functools.cache
def _every(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns all expressions of n operators: (M, P) int8 symbols, and (M, P) int8 numbers of operators on the left."""

    def trees(n: int) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
        if n == 0:
            return [((digit,), (0,)) for digit in range(10)]
        return [
            ((operator, *a, *b), (left, *left_a, *left_b))
            for operator in (_PLUS, _MINUS, _TIMES, _DIVIDE)
            for left in range(n)
            for a, left_a in trees(left)
            for b, left_b in trees(n - 1 - left)
        ]

    symbols, lefts = zip(*trees(n), strict=True)
    return np.array(symbols, dtype=np.int8), np.array(lefts, dtype=np.int8)


def _enumerated(task: HintTask, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the indices of the small and of the large ones among all expressions of n operators."""
    _, most_M = _values(*_every(n), task.most_value)
    small, large = (np.flatnonzero(_is_of(task, kind, most_M)) for kind in (_SMALL, _LARGE))
    return small, large


def _written(expressions: _Expressions) -> Sentences:
    """Writes expressions with the parentheses that they need, and their answers in digits."""
    symbol_MP, right_MP = expressions.symbol_MP.astype(np.int64), _right(expressions.left_MP)
    answer_M = expressions.answer_M
    count, nodes = symbol_MP.shape
    # The precedence of a node: a digit binds tightest, `+` and `-` least.
    bound_MP = np.select([symbol_MP < _PLUS, symbol_MP >= _TIMES], [3, 2], 1)
    width_MP = np.ones_like(symbol_MP)  # without a node's own parentheses
    wrapped_MP = np.zeros_like(symbol_MP)  # 1 if a node has parentheses
    for p in reversed(range(nodes - 2)):
        rows = np.flatnonzero(symbol_MP[:, p] >= _PLUS)
        left, right = (rows, p + 1), (rows, right_MP[rows, p])
        wrapped_MP[left] = bound_MP[left] < bound_MP[rows, p]
        wrapped_MP[right] = bound_MP[right] <= bound_MP[rows, p]
        width_MP[rows, p] = 1 + sum(width_MP[side] + 2 * wrapped_MP[side] for side in (left, right))
    start_MP = np.zeros_like(symbol_MP)  # the index where a node begins, after its own parenthesis
    place_MP = start_MP.copy()  # the index of its symbol
    for p in range(nodes):
        place_MP[:, p] = start_MP[:, p]
        rows = np.flatnonzero(symbol_MP[:, p] >= _PLUS)
        left, right = (rows, p + 1), (rows, right_MP[rows, p])
        if len(rows):
            start_MP[left] = start_MP[rows, p] + wrapped_MP[left]
            place_MP[rows, p] = start_MP[left] + width_MP[left] + wrapped_MP[left]
            start_MP[right] = place_MP[rows, p] + 1 + wrapped_MP[right]

    powers = 10 ** np.arange(len(str(np.max(answer_M, initial=0))))
    digits_M = np.maximum((answer_M[:, None] >= powers[None]).sum(axis=1), 1)
    source_M = width_MP[:, 0]
    symbols_ML = np.zeros((count, int(np.max(source_M + digits_M, initial=0))), dtype=np.int32)
    np.put_along_axis(symbols_ML, place_MP, symbol_MP.astype(np.int32), axis=1)
    rows, nodes_N = np.nonzero(wrapped_MP)
    symbols_ML[rows, start_MP[rows, nodes_N] - 1] = _OPEN
    symbols_ML[rows, (start_MP + width_MP)[rows, nodes_N]] = _CLOSE
    for i, power in enumerate(powers):
        rows = np.flatnonzero(digits_M > i)
        symbols_ML[rows, source_M[rows] + digits_M[rows] - 1 - i] = answer_M[rows] // power % 10
    written_ML = np.arange(symbols_ML.shape[1])[None] < (source_M + digits_M)[:, None]
    return Sentences(symbols_ML[written_ML] + np.int32(len(SPECIAL)), source_M, digits_M)
