"""Decimal numbers of many lengths, added, multiplied and incremented (What Algorithms can Transformers Learn,
arXiv 2310.16028, and the increment task of Task Hinting, arXiv 2310.00726).

Shape letters: N examples, W random words, D digits of a number, the lowest first, P places of a prompt or an answer.
"""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any, Literal

from jaxgen.config import MOST, Range
from jaxgen.errors import UserError
from jaxgen.tasks.base import Array
from jaxgen.tasks.strings.algorithms import interleaved
from jaxgen.tasks.strings.lengths import LengthTask, Question, joined, taken, while_loop


@dataclasses.dataclass(frozen=True, kw_only=True)
class ArithmeticTask(LengthTask):
    """`0 8 8 + 0 4 2 > 1 3 0`: operands of `length` uniform digits, the highest first, and their result.

    All numbers of an example are padded with zeros to one width: length + 1, or twice the length for a product. With
    `reverse_answer` the answer, but not the operands, shows its lowest digit first. With `index_hints=H` each digit
    comes after a marker of its place, the same in operands and answer, `h3 0 h4 8 h5 8`. Markers are consecutive ones
    of H; the first is drawn uniformly, so that all are trained (the paper's example program starts at the first; width
    and markers are the paper's, but its format for products is not known to us). `x+1` has one operand.
    """

    operation: Literal["x+y", "x*y", "x+1"] = "x+y"
    reverse_answer: bool = False
    index_hints: Annotated[int, Range(at_least=0, at_most=MOST)] = 0

    def validate(self) -> None:
        super().validate()
        width = self._width(self.longest())
        if 0 < self.index_hints < width:
            raise UserError(
                f"task.index_hints: got {self.index_hints} markers, expected at least {width}: "
                f"numbers of length {self.longest()} are written with so many digits"
            )

    def symbols(self) -> tuple[str, ...]:
        return (
            *"0123456789",
            *self.operation[1] * (self._operands() == 2),
            *(f"h{i}" for i in range(self.index_hints)),
        )

    def places(self, longest: int) -> tuple[int, int]:
        written = self._each() * self._width(longest)
        return self._operands() * written + self._operands() - 1, written

    def question_words(self, longest: int) -> int:
        return 1 + self._operands() * longest

    def variety(self, length: int) -> float:
        return self._operands() * length

    def question(self, words_NW: Array, length_N: Array, longest: int, xp: Any) -> Question:
        width_N = self._width(length_N)
        inside_1D = xp.arange(longest, dtype=xp.int32)[None] < length_N[:, None]
        operands = [
            xp.where(inside_1D, (drawn_ND % 10).astype(xp.int32), 0)
            for drawn_ND in xp.split(words_NW[:, 1:], self._operands(), axis=1)
        ]
        spare = self._width(longest) - longest
        a_ND, *others = (xp.concatenate([each, xp.zeros_like(each[:, :spare])], axis=1) for each in operands)
        if self.operation == "x*y":
            answer_ND = product(a_ND, others[0], 10, xp)
        elif self.operation == "x+y":
            answer_ND = carried(a_ND + others[0], 10, 18, xp)
        else:
            one_1D = (xp.arange(a_ND.shape[1]) == 0).astype(xp.int32)[None]
            answer_ND = carried(a_ND + one_1D, 10, 10, xp)

        spare_N = (max(self.index_hints, self._width(longest)) + 1 - width_N).astype(xp.uint32)
        first_N1 = 10 + self._operands() - 1 + (words_NW[:, 0] % spare_N).astype(xp.int32)[:, None]
        prompt_NP = self._written(a_ND, width_N, first_N1, False, xp)
        prompt_N = self._each() * width_N
        if others:
            # The second operand and its sign come directly after the end of the first.
            second_NP = self._written(others[0], width_N, first_N1, False, xp)
            signed_NP = xp.concatenate([xp.full_like(second_NP[:, :1], 10), second_NP], axis=1)
            prompt_NP = joined(prompt_NP, prompt_N, signed_NP, xp)
            prompt_N = 2 * prompt_N + 1
        answer_NP = self._written(answer_ND, width_N, first_N1, self.reverse_answer, xp)
        return Question(prompt_NP, prompt_N, answer_NP, self._each() * width_N)

    def _operands(self) -> int:
        return 1 if self.operation == "x+1" else 2

    def _each(self) -> int:
        """Returns the number of tokens for one digit."""
        return 2 if self.index_hints else 1

    def _width(self, length: Any) -> Any:
        return 2 * length if self.operation == "x*y" else length + 1

    def _written(self, digit_ND: Array, width_N: Array, first_N1: Array, lowest_first: bool, xp: Any) -> Array:
        """Returns the tokens (N, P): digits in order, each after its marker if there are markers."""
        place_1D = xp.arange(digit_ND.shape[1], dtype=xp.int32)[None]
        from_highest_ND = width_N[:, None] - 1 - place_1D
        if lowest_first:
            shown_ND, marker_ND = digit_ND, first_N1 + from_highest_ND
        else:
            shown_ND, marker_ND = taken(digit_ND, from_highest_ND, xp), first_N1 + place_1D
        return interleaved(marker_ND, shown_ND, xp) if self.index_hints else shown_ND


def product(a_ND: Array, b_ND: Array, base: int, xp: Any) -> Array:
    """Returns the lowest D digits (N, D) int32 of a product."""

    def add(state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        place, b_ND, sum_ND = state
        digit_N1 = taken(a_ND, xp.zeros_like(a_ND[:, :1]) + place, xp)
        return place + xp.int32(1), shifted(b_ND, 1, xp), sum_ND + digit_N1 * b_ND

    count = a_ND.shape[1]
    state = (xp.int32(0), b_ND, xp.zeros_like(a_ND))
    _, _, sum_ND = while_loop(lambda state: state[0] < count, add, state, xp)
    return carried(sum_ND, base, count * (base - 1) ** 2, xp)


def carried(sum_ND: Array, base: int, most: int, xp: Any) -> Array:
    """Returns the digits (N, D) int32 of a number whose places hold sums from 0 to `most`; overflow is dropped."""
    while most > 2 * base - 2:
        sum_ND = sum_ND % base + shifted(sum_ND // base, 1, xp)
        most = base - 1 + most // base
    return (sum_ND + carries(sum_ND, base, 0, xp)[:, :-1]) % base


def carries(sum_ND: Array, base: int, first: int, xp: Any) -> Array:
    """Returns the carries 0 or 1 (N, D + 1) into every place and out of the last, `first` into the lowest.

    The sums are at most 2 base - 2. Unless a place's sum is base - 1, its carry does not depend on the incoming carry,
    so each carry is that of the nearest such place below. No loop over the digits is needed.
    """
    place_1D = xp.arange(1, sum_ND.shape[1] + 1, dtype=xp.int32)[None]
    known_ND = xp.where(sum_ND != base - 1, 2 * place_1D + (sum_ND >= base).astype(xp.int32), 0)
    latest_ND = xp.concatenate([xp.full_like(known_ND[:, :1], first), known_ND], axis=1)
    reach = 1
    while reach < latest_ND.shape[1]:
        latest_ND = xp.maximum(latest_ND, shifted(latest_ND, reach, xp))
        reach *= 2
    return latest_ND % 2


def shifted(x_ND: Array, places: int, xp: Any) -> Array:
    """Returns x (N, D) shifted up by `places` digits, with zeros below."""
    return xp.concatenate([xp.zeros_like(x_ND[:, :places]), x_ND[:, : x_ND.shape[1] - places]], axis=1)
