"""Pointers to follow: questions of one length and different complexity, or of one complexity and different lengths.

Shape letters: N examples, W random words, V symbols, L pairs of the longest list, P places of a prompt, K hops.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Literal

import numpy as np

from jaxgen.config import PositiveInt, Size
from jaxgen.errors import UserError
from jaxgen.tasks.base import Array
from jaxgen.tasks.strings.algorithms import interleaved
from jaxgen.tasks.strings.lengths import LengthTask, Question, taken


@dataclasses.dataclass(frozen=True, kw_only=True)
class PointersTask(LengthTask):
    """`c a b c a b * * . a > c`: each pair is a symbol and its successor; where do so many hops from `a` lead?

    The pairs, in random order, are one cycle of symbols that are drawn without replacement, so fewer hops than pairs
    never return. A hop is a `*`, and a `.` fills the place of each hop up to `most_hops`: the prompt of k hops is as
    long as that of others. What is asked at "length" L depends on `axis`: of `hops`, L hops in a list of `pairs`; of
    `pairs`, a number of hops that is uniform from 1 to `hops` in a list of L pairs. With `trace` the answer is all
    symbols on the way, of which the last is the answer itself.
    """

    axis: Literal["hops", "pairs"]
    symbols_in_use: Size
    most_hops: PositiveInt
    pairs: PositiveInt = 1  # of every list, if the axis is `hops`
    hops: PositiveInt = 1  # at most, if the axis is `pairs`
    trace: bool = False

    def validate(self) -> None:
        super().validate()
        pairs, hops = self._most_pairs(self.longest()), self._most_hops(self.longest())
        if self.symbols_in_use < pairs:
            raise UserError(
                f"task.symbols_in_use: got {self.symbols_in_use}, expected at least {pairs}, as many as pairs"
            )
        if self.most_hops < hops:
            raise UserError(f"task.most_hops: got {self.most_hops}, expected at least {hops}, the hops of a question")
        fewest = self.pairs if self.axis == "hops" else self.min_length
        if fewest <= hops:
            raise UserError(f"task: got {hops} hops in a list of {fewest} pairs, expected fewer: they would return")

    def symbols(self) -> tuple[str, ...]:
        return (*(f"s{i}" for i in range(self.symbols_in_use)), "*", ".")

    def places(self, longest: int) -> tuple[int, int]:
        answer = self._most_hops(longest) if self.trace else 1
        return 2 * self._most_pairs(longest) + self.most_hops + 1, answer

    def question_words(self, longest: int) -> int:
        return 2 + self.symbols_in_use + self._most_pairs(longest)

    def variety(self, length: int) -> float:
        pairs = self._most_pairs(length)
        return sum(math.log10(self.symbols_in_use - i) for i in range(pairs)) + math.log10(math.factorial(pairs))

    def question(self, words_NW: Array, length_N: Array, longest: int, xp: Any) -> Question:
        most = self._most_pairs(longest)
        if self.axis == "hops":
            pairs_N1, hops_N1 = xp.full_like(length_N, self.pairs)[:, None], length_N[:, None]
        else:
            pairs_N1 = length_N[:, None]
            hops_N1 = 1 + (words_NW[:, :1] % np.uint32(self.hops)).astype(xp.int32)
        start_N1 = (words_NW[:, 1:2] % pairs_N1.astype(xp.uint32)).astype(xp.int32)
        cycle_NV = xp.argsort(words_NW[:, 2 : 2 + self.symbols_in_use], axis=1, stable=True).astype(xp.int32)
        # Words of 31 bits leave room above them for the places that are not used, which so come last.
        place_1L = xp.arange(most, dtype=xp.int32)[None]
        beyond_NL = (place_1L >= pairs_N1).astype(xp.uint32) << 31
        order_NL = xp.argsort(words_NW[:, 2 + self.symbols_in_use :] >> 1 | beyond_NL, axis=1, stable=True)
        order_NL = order_NL.astype(xp.int32)
        pairs_NP = interleaved(taken(cycle_NV, order_NL, xp), taken(cycle_NV, (order_NL + 1) % pairs_N1, xp), xp)

        place_1P = xp.arange(self.places(longest)[0], dtype=xp.int32)[None]
        behind_NP = place_1P - 2 * pairs_N1
        hop_NP = self.symbols_in_use + (behind_NP >= hops_N1).astype(xp.int32)
        start_symbol_N1 = taken(cycle_NV, start_N1, xp)
        prompt_NP = xp.where(behind_NP < 0, taken(pairs_NP, place_1P + xp.zeros_like(behind_NP), xp), hop_NP)
        prompt_NP = xp.where(behind_NP == self.most_hops, start_symbol_N1, prompt_NP)
        prompt_N = 2 * pairs_N1[:, 0] + self.most_hops + 1
        if self.trace:
            hop_1K = 1 + xp.arange(self._most_hops(longest), dtype=xp.int32)[None]
            return Question(prompt_NP, prompt_N, taken(cycle_NV, (start_N1 + hop_1K) % pairs_N1, xp), hops_N1[:, 0])
        end_N1 = taken(cycle_NV, (start_N1 + hops_N1) % pairs_N1, xp)
        return Question(prompt_NP, prompt_N, end_N1, xp.ones_like(length_N))

    def _most_pairs(self, longest: int) -> int:
        return self.pairs if self.axis == "hops" else longest

    def _most_hops(self, longest: int) -> int:
        return longest if self.axis == "hops" else self.hops
