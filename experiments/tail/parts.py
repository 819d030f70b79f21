"""Questions whose answer comes after the trace of the program that finds it, step by step, and its ablations.

Shape letters: N examples, W random words, P places of a prompt, A of an answer, L steps of a trace, T places of a
step's tag, F of what it fetches, R of its result, V numbers of a list.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Literal, NamedTuple

from jaxgen.config import Size
from jaxgen.errors import UserError
from jaxgen.tasks.base import Array
from jaxgen.tasks.strings.algorithms import interleaved
from jaxgen.tasks.strings.arithmetic import carries
from jaxgen.tasks.strings.lengths import LengthTask, Question, joined, taken

RELATIONS = ("less", "equal", "more")
Part = Literal["linear", "atomic", "fetch", "trace"]


class Execution(NamedTuple):
    """What N programs read, do at each of their steps, and answer. Steps and symbols after their number are ignored."""

    prompt_NP: Array
    prompt_N: Array
    tag_NLT: Array  # where the program is
    fetch_NLF: Array  # what it reads there
    result_NLR: Array  # what it makes of that
    steps_N: Array
    final_NA: Array
    final_N: Array


@dataclasses.dataclass(frozen=True, kw_only=True)
class TraceTask(LengthTask, family=True):
    """A question, the trace of the program that answers it, and the answer.

    A step of the trace is its tag (the addresses of what it reads), what it fetches from there, and its result. The
    prompt shows an address before each item; addresses are consecutive ones of `addresses`, and the first is uniform,
    so short prompts train all of them. `without` leaves a part of the trace out, after Hua et al. (arXiv 2507.13332):
    `linear` the tags; `fetch` what is fetched; `atomic` the results of every second step, two of which are then one
    with the tag of the first (`.` for a second that is not there); `trace` all of it, so that the answer is alone.
    """

    addresses: Size
    without: Part | None = None

    def validate(self) -> None:
        super().validate()
        if self.addresses < self.longest():
            raise UserError(
                f"task.addresses: got {self.addresses}, expected at least {self.longest()}: the longest prompt has so "
                "many items"
            )

    def own_symbols(self) -> tuple[str, ...]:
        """Returns the symbols of items and results; they come first, then `.` and the addresses."""
        raise NotImplementedError

    def own_words(self, longest: int) -> int:
        """Returns the number of random words of an example's items."""
        raise NotImplementedError

    def prompt_places(self, longest: int) -> int:
        """Returns P."""
        raise NotImplementedError

    def final_places(self, longest: int) -> int:
        """Returns A without the trace."""
        raise NotImplementedError

    def steps(self, longest: int) -> int:
        """Returns L."""
        return longest

    def step_places(self) -> tuple[int, int, int]:
        """Returns T, F and R."""
        raise NotImplementedError

    def execution(self, words_NW: Array, at_NL: Array, length_N: Array, longest: int, xp: Any) -> Execution:
        """Runs the program.

        Args:
          words_NW: random words, `own_words(longest)` an example.
          at_NL: (N, longest) int32, the symbols of the addresses of an example's items.
          length_N: the number of items.
          longest: the largest of these numbers.
          xp: numpy or jax.numpy.
        """
        raise NotImplementedError

    def symbols(self) -> tuple[str, ...]:
        return (*self.own_symbols(), ".", *(f"h{i}" for i in range(self.addresses)))

    def question_words(self, longest: int) -> int:
        return 1 + self.own_words(longest)

    def places(self, longest: int) -> tuple[int, int]:
        steps = -(-self.steps(longest) // self._joined())
        return self.prompt_places(longest), steps * self._step() + self.final_places(longest)

    def question(self, words_NW: Array, length_N: Array, longest: int, xp: Any) -> Question:
        spare_N = (self.addresses + 1 - length_N).astype(xp.uint32)
        first_N = len(self.own_symbols()) + 1 + (words_NW[:, 0] % spare_N).astype(xp.int32)
        at_NL = first_N[:, None] + xp.arange(longest, dtype=xp.int32)[None]
        ran = self.execution(words_NW[:, 1:], at_NL, length_N, longest, xp)
        answer_NA, trace_N = ran.final_NA, xp.zeros_like(length_N)
        if self._step():
            trace_NA = self._trace(ran, xp).reshape(len(words_NW), -1)
            trace_N = -(-ran.steps_N // self._joined()) * self._step()
            answer_NA = joined(trace_NA, trace_N, ran.final_NA, xp)
        return Question(ran.prompt_NP, ran.prompt_N, answer_NA, trace_N + ran.final_N)

    def _joined(self) -> int:
        return 2 if self.without == "atomic" else 1

    def _step(self) -> int:
        """Returns the places of a step of the trace."""
        if self.without == "trace":
            return 0
        tag, fetch, result = self.step_places()
        return tag * (self.without != "linear") + fetch * self._joined() * (self.without != "fetch") + result

    def _trace(self, ran: Execution, xp: Any) -> Array:
        """Returns the trace (N, steps, places of a step)."""
        tag, fetch, result = ran.tag_NLT, ran.fetch_NLF, ran.result_NLR
        if self.without == "linear":
            return xp.concatenate([fetch, result], axis=2)
        if self.without == "fetch":
            return xp.concatenate([tag, result], axis=2)
        if self.without is None:
            return xp.concatenate([tag, fetch, result], axis=2)
        if tag.shape[1] % 2:
            tag, fetch, result = (xp.concatenate([x, x[:, -1:]], axis=1) for x in (tag, fetch, result))
        second_L = xp.arange(1, tag.shape[1], 2, dtype=xp.int32)
        there_NL1 = (second_L[None] < ran.steps_N[:, None])[..., None]
        nothing = xp.int32(len(self.own_symbols()))
        after = xp.where(there_NL1, fetch[:, 1::2], nothing)
        outcome = xp.where(there_NL1, result[:, 1::2], result[:, ::2])
        return xp.concatenate([tag[:, ::2], fetch[:, ::2], after, outcome], axis=2)


@dataclasses.dataclass(frozen=True, kw_only=True)
class CompareNumbersTask(TraceTask):
    """Which of two numbers of `length` digits is larger, digit by digit from the highest: `less`, `equal` or `more`.

    A step fetches both digits; its result is the relation of the numbers up to there. The numbers agree in their first
    digits, as many as a uniform number up to all of them says; the others are uniform.
    """

    def own_symbols(self) -> tuple[str, ...]:
        return (*"0123456789", *RELATIONS, "?")

    def own_words(self, longest: int) -> int:
        return 2 * longest + 1

    def prompt_places(self, longest: int) -> int:
        return 4 * longest + 1

    def final_places(self, longest: int) -> int:
        return 1

    def step_places(self) -> tuple[int, int, int]:
        return 1, 2, 1

    def variety(self, length: int) -> float:
        return 1.5 * length

    def execution(self, words_NW: Array, at_NL: Array, length_N: Array, longest: int, xp: Any) -> Execution:
        a_NL, b_NL = ((x % 10).astype(xp.int32) for x in xp.split(words_NW[:, 1:], 2, axis=1))
        agreed_N1 = (words_NW[:, 0] % (length_N + 1).astype(xp.uint32)).astype(xp.int32)[:, None]
        b_NL = xp.where(xp.arange(longest, dtype=xp.int32)[None] < agreed_N1, a_NL, b_NL)
        differ_NL = a_NL != b_NL
        first_N1 = xp.argmax(differ_NL, axis=1).astype(xp.int32)[:, None]
        relation_N1 = 11 + xp.sign(taken(a_NL, first_N1, xp) - taken(b_NL, first_N1, xp)).astype(xp.int32)
        decided_NL = xp.cumsum(differ_NL, axis=1, dtype=xp.int32) > 0
        result_NL = xp.where(decided_NL, relation_N1, xp.int32(11))
        a_NP, b_NP = (interleaved(at_NL, x_NL, xp) for x_NL in (a_NL, b_NL))
        return Execution(
            *between(a_NP, b_NP, 13, 2 * length_N, xp),
            at_NL[..., None], xp.stack([a_NL, b_NL], axis=2), result_NL[..., None], length_N,
            taken(result_NL, length_N[:, None] - 1, xp), xp.ones_like(length_N),
        )  # fmt: skip


@dataclasses.dataclass(frozen=True, kw_only=True)
class AddNumbersTask(TraceTask):
    """The sum of two numbers of `length` uniform digits, with one digit more, written highest first.

    Steps go from the lowest place: a step fetches both digits and the carry into it; its result is the digit of the sum
    and the carry out.
    """

    def own_symbols(self) -> tuple[str, ...]:
        return (*"0123456789", "+")

    def own_words(self, longest: int) -> int:
        return 2 * longest

    def prompt_places(self, longest: int) -> int:
        return 4 * longest + 1

    def final_places(self, longest: int) -> int:
        return longest + 1

    def step_places(self) -> tuple[int, int, int]:
        return 1, 3, 2

    def variety(self, length: int) -> float:
        return 2 * length

    def execution(self, words_NW: Array, at_NL: Array, length_N: Array, longest: int, xp: Any) -> Execution:
        a_NL, b_NL = ((x % 10).astype(xp.int32) for x in xp.split(words_NW, 2, axis=1))
        place_1L = xp.arange(longest, dtype=xp.int32)[None]
        from_lowest_NL = length_N[:, None] - 1 - place_1L
        tag_NL, low_a_NL, low_b_NL = (taken(x_NL, from_lowest_NL, xp) for x_NL in (at_NL, a_NL, b_NL))
        carry_NL = carries(low_a_NL + low_b_NL, 10, 0, xp)
        into_NL, out_NL = carry_NL[:, :-1], carry_NL[:, 1:]
        digit_NL = (low_a_NL + low_b_NL + into_NL) % 10
        # Of the longest numbers the carry is one place beyond their digits.
        low_sum_NL = xp.concatenate([digit_NL, xp.zeros_like(digit_NL[:, :1])], axis=1)
        last_N1 = taken(out_NL, length_N[:, None] - 1, xp)
        low_sum_NL = xp.where(xp.arange(longest + 1, dtype=xp.int32)[None] == length_N[:, None], last_N1, low_sum_NL)
        final_NL = taken(low_sum_NL, length_N[:, None] - xp.arange(longest + 1, dtype=xp.int32)[None], xp)
        a_NP, b_NP = (interleaved(at_NL, x_NL, xp) for x_NL in (a_NL, b_NL))
        return Execution(
            *between(a_NP, b_NP, 10, 2 * length_N, xp),
            tag_NL[..., None], xp.stack([low_a_NL, low_b_NL, into_NL], axis=2), xp.stack([digit_NL, out_NL], axis=2),
            length_N, final_NL, length_N + 1,
        )  # fmt: skip


@dataclasses.dataclass(frozen=True, kw_only=True)
class FlipWordsTask(TraceTask):
    """`length` words of `words`, uniform, in reverse order. A step fetches a word, from the last on, and has no other
    result."""

    words: Size

    def own_symbols(self) -> tuple[str, ...]:
        return tuple(f"w{i}" for i in range(self.words))

    def own_words(self, longest: int) -> int:
        return longest

    def prompt_places(self, longest: int) -> int:
        return 2 * longest

    def final_places(self, longest: int) -> int:
        return longest

    def step_places(self) -> tuple[int, int, int]:
        return 1, 1, 0

    def variety(self, length: int) -> float:
        return length * math.log10(self.words)

    def execution(self, words_NW: Array, at_NL: Array, length_N: Array, longest: int, xp: Any) -> Execution:
        word_NL = (words_NW % self.words).astype(xp.int32)
        from_last_NL = length_N[:, None] - 1 - xp.arange(longest, dtype=xp.int32)[None]
        tag_NL, fetch_NL = taken(at_NL, from_last_NL, xp), taken(word_NL, from_last_NL, xp)
        return Execution(
            interleaved(at_NL, word_NL, xp), 2 * length_N, tag_NL[..., None], fetch_NL[..., None],
            tag_NL[..., None][..., :0], length_N, fetch_NL, length_N,
        )  # fmt: skip


@dataclasses.dataclass(frozen=True, kw_only=True)
class BinarySearchTask(TraceTask):
    """The address of one of `length` ascending numbers below `numbers`, all different, which are drawn uniformly.

    The tag of a step has the addresses of the ends of the interval that is left, and of its middle (of two, the lower).
    The step fetches the number there and the one that is searched; its result is their relation.
    """

    numbers: Size

    def validate(self) -> None:
        super().validate()
        if self.numbers < self.longest():
            raise UserError(
                f"task.numbers: got {self.numbers}, expected at least {self.longest()}: those of the longest list are "
                "all different"
            )

    def own_symbols(self) -> tuple[str, ...]:
        return (*(f"n{i}" for i in range(self.numbers)), *RELATIONS, "?")

    def own_words(self, longest: int) -> int:
        return 1 + self.numbers

    def prompt_places(self, longest: int) -> int:
        return 2 * longest + 2

    def final_places(self, longest: int) -> int:
        return 1

    def steps(self, longest: int) -> int:
        return longest.bit_length()

    def step_places(self) -> tuple[int, int, int]:
        return 3, 2, 1

    def variety(self, length: int) -> float:
        return math.log10(math.comb(self.numbers, length) * length)

    def execution(self, words_NW: Array, at_NL: Array, length_N: Array, longest: int, xp: Any) -> Execution:
        place_1L = xp.arange(longest, dtype=xp.int32)[None]
        order_NV = xp.argsort(words_NW[:, 1:], axis=1, stable=True).astype(xp.int32)
        drawn_NL = xp.where(place_1L < length_N[:, None], order_NV[:, :longest], xp.int32(self.numbers))
        list_NL = xp.sort(drawn_NL, axis=1)
        wanted_N1 = (words_NW[:, 0] % length_N.astype(xp.uint32)).astype(xp.int32)[:, None]
        wanted_N1 = taken(list_NL, wanted_N1, xp)
        low_N1, high_N1 = xp.zeros_like(wanted_N1), length_N[:, None] - 1
        tags, fetched, results = [], [], []
        for _ in range(self.steps(longest)):
            middle_N1 = (low_N1 + high_N1) // 2
            number_N1 = taken(list_NL, middle_N1, xp)
            way_N1 = xp.sign(number_N1 - wanted_N1).astype(xp.int32)
            tags.append(xp.concatenate([taken(at_NL, x, xp) for x in (low_N1, high_N1, middle_N1)], axis=1))
            fetched.append(xp.concatenate([number_N1, wanted_N1], axis=1))
            results.append(self.numbers + 1 + way_N1)
            low_N1 = xp.where(way_N1 < 0, middle_N1 + 1, xp.where(way_N1 == 0, middle_N1, low_N1))
            high_N1 = xp.where(way_N1 > 0, middle_N1 - 1, xp.where(way_N1 == 0, middle_N1, high_N1))
        result_NLR = xp.stack(results, axis=1)
        steps_N = 1 + xp.argmax(result_NLR[..., 0] == self.numbers + 1, axis=1).astype(xp.int32)
        items_NP = interleaved(at_NL, list_NL, xp)
        return Execution(
            *between(items_NP, wanted_N1, self.numbers + 3, 2 * length_N, xp, second_N=1),
            xp.stack(tags, axis=1), xp.stack(fetched, axis=1), result_NLR, steps_N,
            taken(at_NL, low_N1, xp), xp.ones_like(length_N),
        )  # fmt: skip


def between(
    first_NA: Array, second_NA: Array, symbol: int, first_N: Array, xp: Any, *, second_N: Any = None
) -> tuple[Array, Array]:
    """Returns the first sequences up to their numbers (N,), the symbol, and the second ones, with their whole numbers;
    `second_N` is the number of symbols of these, None: as many as of the first."""
    marked_NA = xp.concatenate([xp.full_like(second_NA[:, :1], symbol), second_NA], axis=1)
    whole_NP = joined(first_NA, first_N, marked_NA, xp)
    return whole_NP, first_N + 1 + (first_N if second_N is None else second_N)
