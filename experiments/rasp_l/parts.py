"""Tasks of the paper that are not in the engine: the most frequent symbol, where it is only one, with the paper's
scratchpads; and parity with a scratchpad that is written after every 1 alone. The measure of accuracy by length.

Shape letters: N examples, W random words, P places of a prompt, A of an answer, V symbols of the alphabet.
"""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any, Literal

from jaxgen.config import Size
from jaxgen.errors import UserError
from jaxgen.measures.config import Measure
from jaxgen.tasks.base import Array
from jaxgen.tasks.strings.algorithms import AlphabetTask, interleaved
from jaxgen.tasks.strings.lengths import LengthTask, Question, taken

if TYPE_CHECKING:
    import jax

    from jaxgen.measures.evaluation import Evaluation


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModeTask(AlphabetTask):
    """`0 2 2 1 >` and its most frequent symbol, `2`, of which there is only one.

    Symbols are uniform and independent. Where several are most frequent, one of these is drawn, and takes the place of
    the first occurrence of another.

    With `scratchpad` the answer comes after the count of each symbol that occurs: `by_count`, the count and then the
    symbol, rising by counts (and by symbols where these are equal), `#1 0 #1 1 #2 2 2`; or `by_occurrence`, the symbol
    and then the count, in the order of first occurrences, `0 #1 2 #2 1 #1 2`.
    """

    scratchpad: Literal["none", "by_count", "by_occurrence"] = "none"

    def validate(self) -> None:
        super().validate()
        if self.distinct:
            raise UserError("task.distinct: got true, expected false: strings without repeats have no mode")

    def symbols(self) -> tuple[str, ...]:
        counts = 0 if self.scratchpad == "none" else self.longest()
        return (*map(str, range(self.alphabet)), *(f"#{count}" for count in range(1, counts + 1)))

    def places(self, longest: int) -> tuple[int, int]:
        return longest, 1 if self.scratchpad == "none" else 1 + 2 * min(longest, self.alphabet)

    def question_words(self, longest: int) -> int:
        return 1 + self.string_words(longest)

    def question(self, words_NW: Array, length_N: Array, longest: int, xp: Any) -> Question:
        string_NP = self.string(words_NW[:, 1:], longest, xp)
        place_1P = xp.arange(longest, dtype=xp.int32)[None]
        inside_NP = place_1P < length_N[:, None]
        symbol_1V = xp.arange(self.alphabet, dtype=xp.int32)[None]

        count_NV = self._counts(string_NP, inside_NP, xp)
        most_NV = count_NV == xp.max(count_NV, axis=1, keepdims=True)
        first_N1 = (words_NW[:, :1] % self.alphabet).astype(xp.int32)
        order_NV = (symbol_1V + first_N1) % self.alphabet
        mode_N1 = xp.argmax(xp.where(most_NV, order_NV, -1), axis=1).astype(xp.int32)[:, None]
        rival_NV = most_NV & (symbol_1V != mode_N1)
        rival_N1 = xp.argmax(rival_NV, axis=1).astype(xp.int32)[:, None]
        changed_N1 = xp.argmax((string_NP == rival_N1) & inside_NP, axis=1).astype(xp.int32)[:, None]
        tied_N1 = xp.any(rival_NV, axis=1)[:, None]
        string_NP = xp.where(tied_N1 & (place_1P == changed_N1), mode_N1, string_NP)

        if self.scratchpad == "none":
            return Question(string_NP, length_N, mode_N1, xp.ones_like(length_N))
        is_NPV = self._is(string_NP, inside_NP, xp)
        count_NV = xp.sum(is_NPV, axis=1, dtype=xp.int32)
        rank_NV = count_NV if self.scratchpad == "by_count" else xp.argmax(is_NPV, axis=1).astype(xp.int32)
        rank_NV = xp.where(count_NV > 0, rank_NV, xp.int32(longest + 1))
        shown_NV = xp.argsort(rank_NV, axis=1, stable=True).astype(xp.int32)
        told_NV = self.alphabet - 1 + taken(count_NV, shown_NV, xp)
        pair = (told_NV, shown_NV) if self.scratchpad == "by_count" else (shown_NV, told_NV)
        pad_N1 = 2 * xp.sum(count_NV > 0, axis=1, dtype=xp.int32)[:, None]
        answer_NA = xp.concatenate([interleaved(*pair, xp), mode_N1], axis=1)[:, : self.places(longest)[1]]
        place_1A = xp.arange(answer_NA.shape[1], dtype=xp.int32)[None]
        return Question(string_NP, length_N, xp.where(place_1A == pad_N1, mode_N1, answer_NA), pad_N1[:, 0] + 1)

    def _is(self, string_NP: Array, inside_NP: Array, xp: Any) -> Array:
        symbol_11V = xp.arange(self.alphabet, dtype=xp.int32)[None, None]
        return (string_NP[:, :, None] == symbol_11V) & inside_NP[:, :, None]

    def _counts(self, string_NP: Array, inside_NP: Array, xp: Any) -> Array:
        return xp.sum(self._is(string_NP, inside_NP, xp), axis=1, dtype=xp.int32)


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunningParityTask(LengthTask):
    """`h5 1 h6 0 h7 1 >` and `h5 1 h7 0 0`: after the marker of each 1, whether there was an odd number of 1s so far;
    and at last whether there is one in all.

    Bits are uniform and independent. Markers are consecutive ones of `index_hints`; the first is drawn uniformly.
    """

    index_hints: Size

    def validate(self) -> None:
        super().validate()
        if self.index_hints < self.longest():
            raise UserError(
                f"task.index_hints: got {self.index_hints} markers, expected at least {self.longest()}: "
                "the longest string has one for every bit"
            )

    def symbols(self) -> tuple[str, ...]:
        return ("0", "1", *(f"h{i}" for i in range(self.index_hints)))

    def places(self, longest: int) -> tuple[int, int]:
        return 2 * longest, 2 * longest + 1

    def question_words(self, longest: int) -> int:
        return 1 + longest

    def variety(self, length: int) -> float:
        return length * math.log10(2)

    def question(self, words_NW: Array, length_N: Array, longest: int, xp: Any) -> Question:
        bit_NP = (words_NW[:, 1:] % 2).astype(xp.int32)
        place_1P = xp.arange(longest, dtype=xp.int32)[None]
        spare_N = (self.index_hints + 1 - length_N).astype(xp.uint32)
        marker_NP = 2 + (words_NW[:, 0] % spare_N).astype(xp.int32)[:, None] + place_1P
        one_NP = (bit_NP == 1) & (place_1P < length_N[:, None])
        # A stable sort by "is no 1" puts the places of the 1s first, in order.
        order_NP = xp.argsort((~one_NP).astype(xp.int32), axis=1, stable=True).astype(xp.int32)
        running_NP = (place_1P + 1) % 2 + xp.zeros_like(order_NP)
        ones_N1 = xp.sum(one_NP, axis=1, dtype=xp.int32)[:, None]
        answer_NA = interleaved(taken(marker_NP, order_NP, xp), running_NP, xp)
        answer_NA = xp.concatenate([answer_NA, ones_N1 % 2], axis=1)
        place_1A = xp.arange(2 * longest + 1, dtype=xp.int32)[None]
        answer_NA = xp.where(place_1A == 2 * ones_N1, ones_N1 % 2, answer_NA)
        return Question(interleaved(marker_NP, bit_NP, xp), 2 * length_N, answer_NA, 2 * ones_N1[:, 0] + 1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExactMatch(Measure):
    """Fraction of whole answers that are right, for each tested length L by itself: `exact.<L>/tested`, of the splits
    `length_<L>` of a `LengthTask`. The right tokens are before each, so it is that of greedy decoding."""

    def values(self, evaluation: Evaluation) -> dict[str, jax.Array]:
        from jaxgen.measures.accuracy import accuracy

        found = {key.rpartition("/length_"): value for key, value in accuracy(evaluation).items()}
        return {f"exact.{length}/tested": value for (_, split, length), value in found.items() if split}

    def check(self, condition: Any) -> None:
        if not getattr(condition.task, "test_lengths", ()):
            raise UserError("measures: ExactMatch needs a task with test_lengths")

    def keys(self, condition: Any) -> frozenset[str]:
        return frozenset(f"exact.{length}/tested" for length in condition.task.test_lengths)
