"""Questions about lists of numbers, of five orders of complexity, and a figure of what is answered by that order.

Shape letters: N examples, W random words, T tries, L places of a list, C choices of some of its places, Q numbers of a
query, A numbers of an answer, X slots for a token.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, NamedTuple

import numpy as np

from jaxgen.condition import Condition
from jaxgen.config import HostSeed, PositiveInt, Range
from jaxgen.errors import UserError
from jaxgen.figures import Figure
from jaxgen.tasks.base import Array, Split, random_order
from jaxgen.tasks.sampled import SampledTask, chosen

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

    from jaxgen.table import Table

# The questions of each order of complexity (Table 1). `NumberTask.question` is one of them.
ORDERS: Mapping[str, tuple[str, ...]] = {
    "N": ("min", "max", "mode"),
    "N to N^2": ("top_k", "two_sum", "sort", "distinct"),
    "N^2 to N^3": ("three_sum", "three_sum_in_range"),
    "N^3 to N^4": ("four_sum", "four_sum_in_range"),
    "2^N": ("subset_sum", "subset_sum_in_range"),
}
WORDS = tuple(itertools.chain.from_iterable(ORDERS.values()))
# Of each sum: the fewest and the most numbers that are added.
ADDED = {"two": (2, 2), "three": (3, 3), "four": (4, 4), "subset": (4, 6)}


class Asked(NamedTuple):
    """N queries and answers."""

    query_NQ: Array  # (N, Q) int32 numbers
    answer_NA: Array  # (N, A) int32 numbers
    shown_NA: Array  # (N, A) bool: which of them are the answer
    only_N: Array  # (N,) bool: whether no other answer is right


@dataclasses.dataclass(frozen=True, kw_only=True)
class NumberTask(SampledTask, family=True):
    """Questions about a list of numbers: `sort 4 7 1 2 9 3 = 1 2 3 4 7 9 <end>`, with `digits=1`.

    A sequence is the question's word, the numbers of its query, those of the list, `=`, those of the answer, `<end>`. A
    number of the list or the answer is written with `digits` decimal digits, a token each, those of a query with one
    more: sums are among them. Everything after `=` is a target.

    Of the numbers below 10^digits `id_numbers` are *in distribution*: `drawn` from all by `pool_seed`, so that those of
    the two kinds lie side by side, or the `lowest`. The lists of `train` (all that training shows) have these alone,
    with repeats, uniform and independent; those of `ood` have the others alone. List lengths are uniform from `least`
    to `longest` in both.

    Where not every list can be asked about so that one answer alone is right, lists are drawn up to `tries` times, with
    one length, and the first that can is taken. If none can, the first list is asked about: its answer is right, but
    not the only right one.
    """

    redrawn: ClassVar[bool] = False  # whether `tries` acts
    queried: ClassVar[int] = 0  # Q

    digits: Annotated[int, Range(at_least=1, at_most=4)]
    id_numbers: PositiveInt
    elements: Literal["drawn", "lowest"] = "drawn"
    pool_seed: HostSeed = 0
    least: Annotated[int, Range(at_least=4, at_most=16)]
    longest: Annotated[int, Range(at_least=4, at_most=16)]
    tries: PositiveInt = 8

    def validate(self) -> None:
        if self.least > self.longest:
            raise UserError(f"task.least: got {self.least}, expected at most longest={self.longest}")
        if self.id_numbers >= 10**self.digits:
            raise UserError(
                f"task.id_numbers: got {self.id_numbers}, expected below 10^digits = {10**self.digits}: some numbers "
                "are left for the split 'ood'"
            )
        shown = self.digits_of(self.pool("train")[None], self.digits, np).reshape(-1, self.digits)
        for place in range(self.digits) if self.elements == "drawn" else ():
            if missing := set(range(10)) - set(shown[:, place].tolist()):
                raise UserError(
                    f"task.id_numbers: none of the {self.id_numbers} numbers that train has the digit "
                    f"{min(missing)} at place {place}, so nothing could be learned of it; expected more numbers, or "
                    "another pool_seed"
                )

    def question(self) -> str:
        """Returns the question's word, one of `WORDS`."""
        raise NotImplementedError

    def answers(self) -> int:
        """Returns the most numbers of an answer."""
        return 1

    def words_a_try(self) -> int:
        """Returns the random words of a list and of what is asked of it."""
        return self.longest

    def lists(self, words_NW: Array, length_N: Array, pool: Array, xp: Any) -> Array:
        """Returns the lists (N, L), int32; what is beyond the length of each is ignored."""
        return pool[(words_NW[:, : self.longest] % len(pool)).astype(xp.int32)]

    def ask(self, list_NL: Array, length_N: Array, words_NW: Array, xp: Any) -> Asked:
        """Returns what is asked of the lists, and the answers. Each depends on its own row alone."""
        raise NotImplementedError

    def pool(self, split: str) -> np.ndarray:
        """Returns the numbers, int32 and ascending, that the lists of a split are made of."""
        everything = 10**self.digits
        order = np.arange(everything) if self.elements == "lowest" else _order(everything, self.pool_seed)
        part = order[self.id_numbers :] if split == "ood" else order[: self.id_numbers]
        return np.sort(part).astype(np.int32)

    def splits(self) -> tuple[str, ...]:
        return ("train", "ood")

    def disjoint_by(self) -> str:
        return "no list that trains has a number of one of `ood`; what `train` shows may be met in the stream by chance"

    def token_names(self) -> tuple[str, ...]:
        return (*map(str, range(10)), *WORDS, "=", "<end>", "<pad>")

    def spans(self) -> Mapping[str, tuple[int, int]]:
        fewest = 2 + self.queried * (self.digits + 1) + self.least * self.digits
        most = fewest + (self.longest - self.least + self.answers()) * self.digits + 1
        return dict.fromkeys(self.splits(), (fewest, most))

    def words(self, split: str) -> int:
        return 1 + (self.tries if self.redrawn else 1) * self.words_a_try()

    def make(self, split: str, words_NW: Array, xp: Any) -> Split:
        rows, tries = words_NW.shape[0], self.tries if self.redrawn else 1
        length_N = (words_NW[:, 0] % (self.longest - self.least + 1)).astype(xp.int32) + self.least
        own_NW = words_NW[:, 1:].reshape(rows * tries, self.words_a_try())
        each_N = xp.repeat(length_N, tries)
        tried_NL = self.lists(own_NW, each_N, xp.asarray(self.pool(split)), xp)
        asked = self.ask(tried_NL, each_N, own_NW, xp)
        first_N1 = xp.argmax(asked.only_N.reshape(rows, tries), axis=1)[:, None]

        def taken(x: Array) -> Array:
            return xp.take_along_axis(x.reshape(rows, tries, -1), first_N1[:, :, None], axis=1)[:, 0]

        return self._written(
            split, taken(asked.query_NQ), taken(tried_NL), length_N, taken(asked.answer_NA), taken(asked.shown_NA), xp
        )

    def digits_of(self, number_NA: Array, digits: int, xp: Any) -> Array:
        """Returns the digits (N, A * digits) of numbers below 10^digits, int32, the most significant first."""
        power_11D = xp.asarray(10 ** np.arange(digits - 1, -1, -1), dtype=xp.int32)[None, None]
        return (number_NA[:, :, None] // power_11D % 10).reshape(number_NA.shape[0], -1).astype(xp.int32)

    def _written(
        self, split: str, query_NQ: Array, list_NL: Array, length_N: Array, answer_NA: Array, shown_NA: Array, xp: Any
    ) -> Split:
        names = self.token_names()
        one_N1 = xp.ones_like(length_N)[:, None]
        here_N1 = one_N1 > 0
        tokens_NX = xp.concatenate(
            [
                one_N1 * names.index(self.question()),
                self.digits_of(query_NQ, self.digits + 1, xp),
                self.digits_of(list_NL, self.digits, xp),
                one_N1 * names.index("="),
                self.digits_of(answer_NA, self.digits, xp),
                one_N1 * names.index("<end>"),
            ],
            axis=1,
        )
        shown_NX = xp.concatenate(
            [
                xp.repeat(here_N1, 1 + self.queried * (self.digits + 1), axis=1),
                xp.repeat(present(length_N, self.longest, xp), self.digits, axis=1),
                here_N1,
                xp.repeat(shown_NA, self.digits, axis=1),
                here_N1,
            ],
            axis=1,
        )
        return self.told(split, tokens_NX, shown_NX, answer_NA.shape[1] * self.digits + 1, xp)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExtremeTask(NumberTask):
    """The smallest or the `largest` number of a list: O(N)."""

    largest: bool = False

    def question(self) -> str:
        return "max" if self.largest else "min"

    def ask(self, list_NL: Array, length_N: Array, words_NW: Array, xp: Any) -> Asked:
        present_NL = present(length_N, self.longest, xp)
        if self.largest:
            answer_N = xp.max(xp.where(present_NL, list_NL, -1), axis=1)
        else:
            answer_N = xp.min(xp.where(present_NL, list_NL, 10**self.digits), axis=1)
        return _one(answer_N, xp)


@dataclasses.dataclass(frozen=True, kw_only=True)
class RepeatingTask(NumberTask, family=True):
    """Lists of few numbers: each place has, uniformly, one of half as many as the list is long."""

    def words_a_try(self) -> int:
        return self.longest + self.longest // 2

    def lists(self, words_NW: Array, length_N: Array, pool: Array, xp: Any) -> Array:
        few_NL = pool[(words_NW[:, self.longest :] % len(pool)).astype(xp.int32)]
        which_NL = words_NW[:, : self.longest] % (length_N // 2).astype(xp.uint32)[:, None]
        return xp.take_along_axis(few_NL, which_NL.astype(xp.int32), axis=1)

    def equal(self, list_NL: Array, length_N: Array, xp: Any) -> Array:
        """Returns (N, L, L) bool: whether two places, both within the list, have the same number."""
        present_NL = present(length_N, self.longest, xp)
        return (list_NL[:, :, None] == list_NL[:, None]) & present_NL[:, :, None] & present_NL[:, None]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModeTask(RepeatingTask):
    """The most frequent number of a list, which is one alone: O(N)."""

    redrawn: ClassVar[bool] = True

    # Three of ten lists of 12 have several most frequent numbers.
    tries: PositiveInt = 16

    def question(self) -> str:
        return "mode"

    def ask(self, list_NL: Array, length_N: Array, words_NW: Array, xp: Any) -> Asked:
        count_NL = self.equal(list_NL, length_N, xp).sum(axis=2, dtype=xp.int32)
        most_N = count_NL.max(axis=1)
        often_NL = count_NL == most_N[:, None]
        answer_N = xp.take_along_axis(list_NL, xp.argmax(often_NL, axis=1)[:, None], axis=1)[:, 0]
        # The places of one most frequent number are as many as it is frequent.
        return _one(answer_N, xp)._replace(only_N=often_NL.sum(axis=1, dtype=xp.int32) == most_N)


@dataclasses.dataclass(frozen=True, kw_only=True)
class DistinctTask(RepeatingTask):
    """A list without the numbers that came before, in its order: O(N) to O(N^2)."""

    def question(self) -> str:
        return "distinct"

    def answers(self) -> int:
        return self.longest // 2

    def ask(self, list_NL: Array, length_N: Array, words_NW: Array, xp: Any) -> Asked:
        earlier_1LL = np.tri(self.longest, k=-1, dtype=bool)[None]
        again_NL = (self.equal(list_NL, length_N, xp) & xp.asarray(earlier_1LL)).any(axis=2)
        return Asked(
            list_NL[:, :0], list_NL, present(length_N, self.longest, xp) & ~again_NL, xp.ones_like(length_N) > 0
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class TopKTask(NumberTask):
    """The k-th largest number of a list, equal ones counted apart: O(N) to O(N^2). k is uniform from 2 to half of the
    length, and the query."""

    queried: ClassVar[int] = 1

    def question(self) -> str:
        return "top_k"

    def words_a_try(self) -> int:
        return self.longest + 1

    def ask(self, list_NL: Array, length_N: Array, words_NW: Array, xp: Any) -> Asked:
        k_N = 2 + (words_NW[:, -1] % (length_N // 2 - 1).astype(xp.uint32)).astype(xp.int32)
        sorted_NL = _ascending(list_NL, length_N, self.longest, 10**self.digits, xp)
        answer_N = xp.take_along_axis(sorted_NL, (length_N - k_N)[:, None], axis=1)[:, 0]
        return _one(answer_N, xp)._replace(query_NQ=k_N[:, None])


@dataclasses.dataclass(frozen=True, kw_only=True)
class SortTask(NumberTask):
    """A list in ascending order: O(N) to O(N^2)."""

    def question(self) -> str:
        return "sort"

    def answers(self) -> int:
        return self.longest

    def ask(self, list_NL: Array, length_N: Array, words_NW: Array, xp: Any) -> Asked:
        sorted_NL = _ascending(list_NL, length_N, self.longest, 10**self.digits, xp)
        return Asked(list_NL[:, :0], sorted_NL, present(length_N, self.longest, xp), xp.ones_like(length_N) > 0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SumTask(NumberTask):
    """Which two, three, four, or four to six numbers of a list add up to the query: O(N) to O(N^2), O(N^2) to O(N^3),
    O(N^3) to O(N^4), O(2^N). The answer has them in the order of the list.

    No other two, three or four places of the list, and for a subset no others of any number, have that sum. What is
    asked is drawn uniformly from all such sums. With `in_range` the query is two numbers a and b, and the answer the
    only so many numbers whose sum is above a and below b: these are the next smaller and the next larger sum of so many
    numbers (for a subset, of four to six).
    """

    redrawn: ClassVar[bool] = True

    of: Literal["two", "three", "four", "subset"]
    in_range: bool = False

    @property
    def queried(self) -> int:  # type: ignore[override]
        """The numbers of a query."""
        return 2 if self.in_range else 1

    def validate(self) -> None:
        super().validate()
        if self.question() not in WORDS:
            raise UserError(
                "task.in_range: got true with of=two, expected three, four or subset: the paper has no other"
            )
        if self.least <= ADDED[self.of][1] - (self.of == "subset"):
            raise UserError(
                f"task.least: got {self.least}, expected at least {ADDED[self.of][1] + (self.of != 'subset')}: of a "
                f"list as long as the answer nothing is to be chosen"
            )

    def question(self) -> str:
        return f"{self.of}_sum" + "_in_range" * self.in_range

    def answers(self) -> int:
        return ADDED[self.of][1]

    def words_a_try(self) -> int:
        return self.longest + 1

    def ask(self, list_NL: Array, length_N: Array, words_NW: Array, xp: Any) -> Asked:
        fewest, most = ADDED[self.of]
        rivals = (1, self.longest) if self.of == "subset" and not self.in_range else (fewest, most)
        chosen_CL = choices(self.longest, *rivals)
        far = np.iinfo(np.int32).max
        places_LC = xp.asarray(chosen_CL.T.astype(np.int32))
        absent_NL = ~present(length_N, self.longest, xp)
        there_NC = absent_NL.astype(xp.int32) @ places_LC == 0
        sum_NC = xp.where(there_NC, list_NL @ places_LC, far)
        order_NC = xp.argsort(sum_NC, axis=1, stable=True)
        sorted_NC = xp.take_along_axis(sum_NC, order_NC, axis=1)
        size_C = chosen_CL.sum(axis=1)
        fits_NC = (sorted_NC < far) & xp.asarray((size_C >= fewest) & (size_C <= most))[order_NC]
        nothing_N1 = xp.full_like(length_N[:, None], -1)
        before_NC = xp.concatenate([nothing_N1, sorted_NC[:, :-1]], axis=1)
        after_NC = xp.concatenate([sorted_NC[:, 1:], xp.full_like(nothing_N1, far)], axis=1)
        alone_NC = fits_NC & (before_NC != sorted_NC) & (after_NC != sorted_NC)
        if self.in_range:
            alone_NC &= (before_NC >= 0) & (after_NC < far)
        only_N = alone_NC.any(axis=1)
        # Of a list without such a sum, the largest: it is above 0 wherever one is.
        last_NC = xp.cumsum(fits_NC[:, ::-1], axis=1, dtype=xp.int32)[:, ::-1] == 1
        at_N1 = chosen(xp.where(only_N[:, None], alone_NC, last_NC & fits_NC), words_NW[:, -1], xp)[:, None]
        total_N1, before_N1, after_N1, which_N1 = (
            xp.take_along_axis(x_NC, at_N1, axis=1) for x_NC in (sorted_NC, before_NC, after_NC, order_NC)
        )
        query_NQ = total_N1
        if self.in_range:
            low_N1 = xp.where(only_N[:, None], before_N1, xp.maximum(total_N1 - 1, 0))
            query_NQ = xp.concatenate([low_N1, xp.where(only_N[:, None], after_N1, total_N1 + 1)], axis=1)
        shown_NL = xp.asarray(chosen_CL)[which_N1[:, 0]]
        return Asked(query_NQ.astype(xp.int32), list_NL, shown_NL, only_N)


def present(length_N: Array, longest: int, xp: Any) -> Array:
    """Returns (N, L) bool: which places are within lists of these lengths."""
    found: Array = xp.arange(longest, dtype=xp.int32)[None] < length_N[:, None]
    return found


@functools.cache
def choices(places: int, fewest: int, most: int) -> np.ndarray:
    """Returns every choice of `fewest` to `most` of some places, (C, places) bool."""
    found = [
        np.isin(np.arange(places), each)
        for size in range(fewest, most + 1)
        for each in itertools.combinations(range(places), size)
    ]
    return np.array(found)


@functools.cache
def _order(count: int, seed: int) -> np.ndarray:
    return random_order(count, seed=seed, stream=0)


def _one(answer_N: Array, xp: Any) -> Asked:
    """Returns an answer of one number to a question without a query."""
    answer_N1 = answer_N.astype(xp.int32)[:, None]
    yes_N = answer_N1[:, 0] >= 0
    return Asked(answer_N1[:, :0], answer_N1, yes_N[:, None], yes_N)


def _ascending(list_NL: Array, length_N: Array, longest: int, above: int, xp: Any) -> Array:
    """Returns the lists in ascending order; places beyond their lengths come last."""
    return xp.sort(xp.where(present(length_N, longest, xp), list_NL, above), axis=1)


def order_of(word: str) -> int:
    """Returns the number, from 0, of the order of complexity that a question has."""
    return next(i for i, words in enumerate(ORDERS.values()) if word in words)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ByOrder(Figure):
    """What is answered against the order of complexity, a panel a condition: in distribution, out of it, and the gap
    between the two, which is 0 where it would be negative. `paper`: the paper's gaps, by condition."""

    accuracies: Mapping[str, Any]  # line -> function of a seed's rows and a condition's name, to one value an order
    paper: Mapping[str, Sequence[float]] = dataclasses.field(default_factory=dict)

    def draw(self, table: Table, conditions: Sequence[Condition], width: float) -> Drawing | None:
        from .drawing import draw_by_order

        return draw_by_order(self, table, conditions, width)

    def reading(self) -> str:
        return "Line: median over the seeds; band: from the lowest to the highest seed. Hollow: the paper's gaps."
