"""Algorithms on strings of symbols, and counting: tasks of What Algorithms can Transformers Learn (arXiv
2310.16028), and of Improving Length-Generalization in Transformers via Task Hinting (arXiv 2310.00726).

The papers describe the questions. Alphabets, scratchpads and the answer when two symbols are equally frequent are not
published as far as we know, and are our own choice.

Shape letters: N examples, W random words, P places of a prompt, A of an answer, V symbols of the alphabet.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Annotated, Any, Literal

from jaxgen.config import MOST, Fraction, Range, Size
from jaxgen.errors import UserError
from jaxgen.tasks.base import Array
from jaxgen.tasks.strings.lengths import LengthTask, Question, taken

Operation = Literal["copy", "reverse", "sort", "mode", "parity"]
Hint = Literal["successor", "predecessor", "count"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class AlphabetTask(LengthTask, family=True):
    """Strings of symbols 0, 1, ... of an alphabet, uniform and independent, or all `distinct`."""

    alphabet: Size
    distinct: bool = False

    def validate(self) -> None:
        super().validate()
        if self.distinct and self.longest() > self.alphabet:
            raise UserError(
                f"task.alphabet: got {self.alphabet} symbols, expected at least {self.longest()}: "
                "those of the longest string are all different"
            )

    def variety(self, length: int) -> float:
        if not self.distinct:
            return length * math.log10(self.alphabet)
        return sum(math.log10(self.alphabet - i) for i in range(length))

    def string_words(self, longest: int) -> int:
        """Returns the random words of a string."""
        return self.alphabet if self.distinct else longest

    def string(self, words_NW: Array, longest: int, xp: Any) -> Array:
        """Returns symbols (N, longest) int32."""
        if self.distinct:
            return xp.argsort(words_NW, axis=1, stable=True)[:, :longest].astype(xp.int32)
        return (words_NW % self.alphabet).astype(xp.int32)


@dataclasses.dataclass(frozen=True, kw_only=True)
class StringTask(AlphabetTask):
    """`0 2 1 >` and its copy `0 2 1`, its reverse, its symbols in ascending order, its most frequent symbol (of
    several, the lowest), or its parity: whether it has an odd number of 1s.

    With `index_hints=H` each symbol of the prompt, and of an answer with as many symbols, comes after a marker of its
    position, `h5 0 h6 2 h7 1 >`. Markers are consecutive ones of H; the first is drawn uniformly, so that short strings
    train all markers. The reverse shows them in descending order.

    With `scratchpad` the answer to `parity` is the parity of every prefix, and the last is the answer itself. The
    answer to `mode` comes after the count of each symbol that occurs, in ascending order: `0 #1 1 #1 2 #3 2` (the paper
    finds that this one hurts).
    """

    operation: Operation
    index_hints: Annotated[int, Range(at_least=0, at_most=MOST)] = 0
    scratchpad: bool = False

    def validate(self) -> None:
        super().validate()
        if self.operation == "parity" and self.alphabet != 2:
            raise UserError(f"task.alphabet: got {self.alphabet}, expected 2: 'parity' is of 0s and 1s")
        if self.distinct and self.operation in ("mode", "parity"):
            raise UserError(f"task.distinct: '{self.operation}' needs strings with repeated symbols")
        if self.scratchpad and self.operation not in ("mode", "parity"):
            raise UserError(f"task.scratchpad: '{self.operation}' has none, only 'mode' and 'parity'")
        if self.index_hints and self.operation in ("sort", "mode"):
            raise UserError(f"task.index_hints: '{self.operation}' moves symbols to other places, expected 0")
        if 0 < self.index_hints < self.longest():
            raise UserError(
                f"task.index_hints: got {self.index_hints} markers, expected at least {self.longest()}: "
                "the longest string has one for every symbol"
            )

    def symbols(self) -> tuple[str, ...]:
        counts = self.longest() if self.operation == "mode" and self.scratchpad else 0
        return (
            *(str(symbol) for symbol in range(self.alphabet)),
            *(f"h{i}" for i in range(self.index_hints)),
            *(f"#{count}" for count in range(1, counts + 1)),
        )

    def places(self, longest: int) -> tuple[int, int]:
        each = 2 if self.index_hints else 1
        if self.operation == "mode":
            return longest, 1 + 2 * min(longest, self.alphabet) * self.scratchpad
        return each * longest, 1 if self._parity_alone() else each * longest

    def question_words(self, longest: int) -> int:
        return 1 + self.string_words(longest)

    def question(self, words_NW: Array, length_N: Array, longest: int, xp: Any) -> Question:
        string_NP = self.string(words_NW[:, 1:], longest, xp)
        place_1P = xp.arange(longest, dtype=xp.int32)[None]
        inside_NP = place_1P < length_N[:, None]
        origin_NP = place_1P + xp.zeros_like(string_NP)  # the position in the prompt of each symbol of the answer
        if self.operation == "mode":
            return Question(string_NP, length_N, *self._mode(string_NP, inside_NP, xp))
        if self.operation == "parity":
            running_NP = xp.cumsum(xp.where(inside_NP, string_NP, 0), axis=1, dtype=xp.int32) % 2
            answer_NP = running_NP[:, -1:] if self._parity_alone() else running_NP
        elif self.operation == "sort":
            answer_NP = xp.sort(xp.where(inside_NP, string_NP, self.alphabet), axis=1)
        elif self.operation == "reverse":
            origin_NP = length_N[:, None] - 1 - place_1P
            answer_NP = taken(string_NP, origin_NP, xp)
        else:
            answer_NP = string_NP
        answer_N = xp.ones_like(length_N) if self._parity_alone() else length_N
        if not self.index_hints:
            return Question(string_NP, length_N, answer_NP, answer_N)
        spare_N = (self.index_hints + 1 - length_N).astype(xp.uint32)
        first_N1 = self.alphabet + (words_NW[:, 0] % spare_N).astype(xp.int32)[:, None]
        prompt_NP = interleaved(first_N1 + place_1P, string_NP, xp)
        if not self._parity_alone():
            answer_NP, answer_N = interleaved(first_N1 + origin_NP, answer_NP, xp), 2 * answer_N
        return Question(prompt_NP, 2 * length_N, answer_NP, answer_N)

    def _parity_alone(self) -> bool:
        return self.operation == "parity" and not self.scratchpad

    def _mode(self, string_NP: Array, inside_NP: Array, xp: Any) -> tuple[Array, Array]:
        symbol_1V = xp.arange(self.alphabet, dtype=xp.int32)[None]
        is_NPV = (string_NP[:, :, None] == symbol_1V[:, None]) & inside_NP[:, :, None]
        count_NV = xp.sum(is_NPV, axis=1, dtype=xp.int32)
        mode_N1 = xp.argmax(count_NV, axis=1).astype(xp.int32)[:, None]
        if not self.scratchpad:
            return mode_N1, xp.ones_like(mode_N1[:, 0])
        # A stable sort by "does not occur" puts the occurring symbols first, in ascending order.
        order_NV = xp.argsort((count_NV == 0).astype(xp.int32), axis=1, stable=True).astype(xp.int32)
        pad_NA = interleaved(order_NV, self.alphabet - 1 + taken(count_NV, order_NV, xp), xp)
        pad_N1 = 2 * xp.sum(count_NV > 0, axis=1, dtype=xp.int32)[:, None]
        answer_NA = xp.concatenate([pad_NA, mode_N1], axis=1)[:, : self.places(string_NP.shape[1])[1]]
        last_1A = xp.arange(answer_NA.shape[1], dtype=xp.int32)[None]
        return xp.where(last_1A == pad_N1, mode_N1, answer_NA), pad_N1[:, 0] + 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class CountTask(LengthTask):
    """`2 5 >` and `2 3 4 5`: counting from a number up to another. The length is that of the answer. It is uniform, and
    then the first number is uniform too (drawing both numbers freely would give few long answers)."""

    numbers: Size

    def validate(self) -> None:
        super().validate()
        if self.longest() > self.numbers:
            raise UserError(
                f"task.numbers: got {self.numbers}, expected at least {self.longest()}: the longest answer has so many"
            )

    def symbols(self) -> tuple[str, ...]:
        return tuple(str(number) for number in range(self.numbers))

    def places(self, longest: int) -> tuple[int, int]:
        return 2, longest

    def question_words(self, longest: int) -> int:
        return 1

    def variety(self, length: int) -> float:
        return math.log10(self.numbers - length + 1)

    def question(self, words_NW: Array, length_N: Array, longest: int, xp: Any) -> Question:
        first_N = (words_NW[:, 0] % (self.numbers + 1 - length_N).astype(xp.uint32)).astype(xp.int32)
        answer_NA = first_N[:, None] + xp.arange(longest, dtype=xp.int32)[None]
        prompt_NP = xp.stack([first_N, first_N + length_N - 1], axis=1)
        return Question(prompt_NP, xp.full_like(length_N, 2), answer_NA, length_N)


@dataclasses.dataclass(frozen=True, kw_only=True)
class HintedSortTask(AlphabetTask):
    """Sorting, trained together with an easier task on the same strings, the hint (task hinting).

    `sort 3 1 2 >` and `1 2 3`; the fraction `hint_fraction` of training examples is `hint 3 1 2 q >` instead, with q
    drawn from the string. The answer is the next larger symbol of the string (`successor`), the next smaller one
    (`predecessor`), nothing if there is none, or how often q occurs (`count`, written as the symbol of that number).
    The tested splits have no hints. We do not know the paper's hints `fill` and `parity`, nor its fraction.
    """

    hint: Hint = "successor"
    hint_fraction: Fraction = 0.5

    def validate(self) -> None:
        super().validate()
        if self.hint == "count" and self.max_length >= self.alphabet:
            raise UserError(
                f"task.alphabet: got {self.alphabet} symbols, expected more than max_length={self.max_length}: "
                "counts are told as symbols"
            )

    def symbols(self) -> tuple[str, ...]:
        return (*(str(symbol) for symbol in range(self.alphabet)), "sort", self.hint)

    def places(self, longest: int) -> tuple[int, int]:
        return longest + 2, longest

    def question_words(self, longest: int) -> int:
        return 2 + self.string_words(longest)

    def question(self, words_NW: Array, length_N: Array, longest: int, xp: Any) -> Question:
        string_NP = self.string(words_NW[:, 2:], longest, xp)
        inside_NP = xp.arange(longest, dtype=xp.int32)[None] < length_N[:, None]
        answer_NP = xp.sort(xp.where(inside_NP, string_NP, self.alphabet), axis=1)
        marker_N1 = xp.full_like(length_N[:, None], self.alphabet)
        return Question(xp.concatenate([marker_N1, string_NP], axis=1), length_N + 1, answer_NP, length_N)

    def training_question(self, words_NW: Array, length_N: Array, longest: int, xp: Any) -> Question:
        sort = self.question(words_NW, length_N, longest, xp)
        hint = self._hint(words_NW, length_N, longest, xp)
        hinted_N = (words_NW[:, 0] >> 8) < round(self.hint_fraction * 2**24)
        # A prompt for sorting is one symbol shorter.
        prompt_NP = xp.concatenate([sort.prompt_NP, sort.prompt_NP[:, :1]], axis=1)
        return Question(
            xp.where(hinted_N[:, None], hint.prompt_NP, prompt_NP),
            xp.where(hinted_N, hint.prompt_N, sort.prompt_N),
            xp.where(hinted_N[:, None], hint.answer_NA, sort.answer_NA),
            xp.where(hinted_N, hint.answer_N, sort.answer_N),
        )

    def _hint(self, words_NW: Array, length_N: Array, longest: int, xp: Any) -> Question:
        string_NP = self.string(words_NW[:, 2:], longest, xp)
        place_1P = xp.arange(longest + 1, dtype=xp.int32)[None]
        inside_NP = place_1P[:, :-1] < length_N[:, None]
        chosen_N1 = (words_NW[:, 1] % length_N.astype(xp.uint32)).astype(xp.int32)[:, None]
        asked_N1 = taken(string_NP, chosen_N1, xp)
        if self.hint == "count":
            answer_N = xp.sum((string_NP == asked_N1) & inside_NP, axis=1, dtype=xp.int32)
            there_N = xp.ones_like(length_N)
        elif self.hint == "successor":
            larger_NP = (string_NP > asked_N1) & inside_NP
            answer_N = xp.min(xp.where(larger_NP, string_NP, self.alphabet), axis=1)
            there_N = (answer_N < self.alphabet).astype(xp.int32)
        else:
            smaller_NP = (string_NP < asked_N1) & inside_NP
            answer_N = xp.max(xp.where(smaller_NP, string_NP, -1), axis=1)
            there_N = (answer_N >= 0).astype(xp.int32)
        behind_NP = xp.concatenate([string_NP, asked_N1], axis=1)
        behind_NP = xp.where(place_1P == length_N[:, None], asked_N1, behind_NP)
        prompt_NP = xp.concatenate([xp.full_like(asked_N1, self.alphabet + 1), behind_NP], axis=1)
        return Question(prompt_NP, length_N + 2, answer_N[:, None], there_N)


def interleaved(first_NP: Array, second_NP: Array, xp: Any) -> Array:
    """Returns (N, 2P): alternating entries of both."""
    return xp.stack([first_NP, second_NP], axis=2).reshape(first_NP.shape[0], -1)
