"""Claims: sentences of a paper made checkable, and the statistics that their kinds fix.

A claim's `value` gives a number or an answer a seed. Its kind says what follows from those of all seeds: an estimate
with a confidence interval, and whether the whole interval lies where the claim expects it.
"""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from jaxgen.bounds import Bounds, Censored, Number, between, ends, number
from jaxgen.errors import UserError, shown
from jaxgen.experiment.intervals import fewest, mean_ends, median_ends, rate_ends, t_quantile

if TYPE_CHECKING:
    from jaxgen.table import SeedTable

LEVEL = 0.95  # of every interval
MEDIAN_FROM = 6  # seeds: fewer give no interval of the median at 95 %

Role = Literal["paper", "control", "sanity"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Expect:
    """What a claim expects of its value. All bounds that are given must hold."""

    at_least: float = -math.inf
    at_most: float = math.inf

    def holds(self, value: Number) -> bool:
        """Returns whether a value does what is expected.

        Raises:
          Censored: too little is known of the value.
        """
        return self.at_least <= value <= self.at_most

    def __str__(self) -> str:
        if self == YES:
            return "yes"
        if math.isinf(self.at_most):
            return f"≥ {number(self.at_least)}"
        if math.isinf(self.at_least):
            return f"≤ {number(self.at_most)}"
        return f"{number(self.at_least)} to {number(self.at_most)}"


YES = Expect(at_least=1, at_most=1)  # of a value that is true or false


def within(target: float, tolerance: float) -> Expect:
    """Returns the expectation `target` +- `tolerance`."""
    return Expect(at_least=round(target - tolerance, 12), at_most=round(target + tolerance, 12))


def at_least(bound: float) -> Expect:
    """Returns the expectation of a value of `bound` or more."""
    return Expect(at_least=bound)


def at_most(bound: float) -> Expect:
    """Returns the expectation of a value of `bound` or less."""
    return Expect(at_most=bound)


@dataclasses.dataclass(frozen=True)
class Estimate:
    """What the values of all seeds say together."""

    point: Number
    low: float  # the interval's ends
    high: float
    holds: bool | None  # None: the interval does not settle it
    more: int | None  # about how many more seeds would settle it; None: too many to tell
    of_median: bool = False  # and not of a mean or a rate


@dataclasses.dataclass(frozen=True, kw_only=True)
class Claim:
    """A sentence of the paper made checkable, seed by seed. Its kinds are `EverySeed`, `Typical` and `Compare`.

    A value that is only known to lie within bounds (`jaxgen.bounds`) counts for neither side where these leave it open.
    """

    kind: ClassVar[str]
    # Whether the interval of an estimate is in the unit of the values; else it is of the rate of seeds.
    in_unit_of_values: ClassVar[bool] = True

    name: str
    says: str  # the claim in words
    place: str  # where the paper (or its code) says so
    paper: str  # the paper's value, as text
    paper_value: float = math.nan  # as a number, where it gives one: pictures show it
    value: Callable[[SeedTable], Number]  # of the rows of one seed; True or False with expect=YES
    expect: Expect
    # paper: a sentence of the paper; control: a comparison of ours; sanity: cannot fail unless the engine is broken.
    role: Role = "paper"
    untestable: Mapping[str, str] = dataclasses.field(default_factory=dict)  # scale -> why it cannot show there
    note: str = ""  # why it came out as recorded; readings that are unverified

    def __post_init__(self) -> None:
        if type(self) is Claim:
            raise UserError(f"claim {shown(self.name)}: got a Claim, expected an EverySeed, a Typical or a Compare")
        if not isinstance(self.expect, Expect):
            raise UserError(
                f"claim {shown(self.name)}: got expect={shown(self.expect)}, expected YES, at_least(...), "
                "at_most(...) or within(...)"
            )
        if not callable(self.value):
            raise UserError(
                f"claim {shown(self.name)}: got value={shown(self.value)}, expected a function of a SeedTable"
            )

    def expected(self) -> str:
        """Returns in words what is expected."""
        raise NotImplementedError

    def estimate(self, values: Sequence[Number], level: float = LEVEL) -> Estimate:
        """Returns what the values of one or more seeds say together."""
        raise NotImplementedError

    def told(self, estimate: Estimate, seeds: int) -> str:
        """Returns an estimate in words."""
        raise NotImplementedError


@dataclasses.dataclass(frozen=True, kw_only=True)
class EverySeed(Claim):
    """What holds or does not in a seed: at least the fraction `rate` of all seeds there could be.

    The lower end of the one-sided 95 % Clopper-Pearson interval must reach the rate (5 of 5 reach one half, and so do
    15 of 20); it is not reproduced where the upper end stays below it.
    """

    kind: ClassVar[str] = "every"
    in_unit_of_values: ClassVar[bool] = False

    rate: float = 0.5

    def expected(self) -> str:
        share = "half" if self.rate == 0.5 else f"{self.rate:.0%}"
        return f"{self.expect} in at least {share} of all seeds"

    def estimate(self, values: Sequence[Number], level: float = LEVEL) -> Estimate:
        answers = [_answer(self.expect, value) for value in values]
        seeds, held, failed = len(answers), answers.count(True), answers.count(False)

        def settled(low: int, high: int, seeds: int) -> bool | None:
            lower, upper = rate_ends(low, high, seeds, level)
            return True if lower >= self.rate else False if upper < self.rate else None

        def settles(seeds_then: int) -> bool:
            grown = seeds_then / seeds
            return settled(round(held * grown), seeds_then - round(failed * grown), seeds_then) is not None

        holds = settled(held, seeds - failed, seeds)
        low, high = rate_ends(held, seeds - failed, seeds, level)
        return Estimate(held / seeds, low, high, holds, None if holds is not None else fewest(settles, seeds))

    def told(self, estimate: Estimate, seeds: int) -> str:
        held = round(float(estimate.point) * seeds)
        return f"{held} of {seeds} seeds hold: {estimate.low:.0%} to {estimate.high:.0%} of all would"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Typical(Claim):
    """A number a seed: the interval of its median, or of its mean below six seeds, must lie in what is expected."""

    kind: ClassVar[str] = "typical"

    def expected(self) -> str:
        return str(self.expect)

    def estimate(self, values: Sequence[Number], level: float = LEVEL) -> Estimate:
        lows, highs = _ends(values)
        of = _of_mean if len(values) < MEDIAN_FROM else _of_median
        return of(lows, highs, self.expect, level)

    def told(self, estimate: Estimate, seeds: int) -> str:
        middle = "median" if estimate.of_median else "mean"
        return f"{middle} {number(estimate.point)} ({_range(estimate)}) of {seeds} seeds"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Compare(Claim):
    """Two conditions compared within a seed, by their ratio or their difference: the t-interval of its mean (of a
    ratio's logarithm) must lie beyond the bound, which is the least effect that counts. Ties do not.

    A seed that is known within open bounds leaves the mean without an end: from six seeds on the interval is then that
    of the median.
    """

    kind: ClassVar[str] = "compare"

    by: Literal["ratio", "difference"]

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.by not in ("ratio", "difference"):
            raise UserError(f"claim {shown(self.name)}: got by={shown(self.by)}, expected 'ratio' or 'difference'")
        if self.by == "ratio" and self.expect.at_most <= 0:
            raise UserError(f"claim {shown(self.name)}: got {self.expected()}, expected a bound of a ratio above 0")

    def expected(self) -> str:
        return str(self.expect).replace("≥", ">").replace("≤", "<")

    def estimate(self, values: Sequence[Number], level: float = LEVEL) -> Estimate:
        lows, highs = _ends(values)
        of = _of_median if len(values) >= MEDIAN_FROM and any(map(math.isinf, lows + highs)) else _of_mean
        if self.by == "difference":
            return of(lows, highs, self.expect, level, strictly=True)
        expect = Expect(at_least=_log(self.expect.at_least), at_most=_log(self.expect.at_most))
        of_logs = of([_log(each) for each in lows], [_log(each) for each in highs], expect, level, strictly=True)
        point = between(*(math.exp(end) for end in ends(of_logs.point)))
        return dataclasses.replace(of_logs, point=point, low=math.exp(of_logs.low), high=math.exp(of_logs.high))

    def told(self, estimate: Estimate, seeds: int) -> str:
        middle = "median " if estimate.of_median else ""
        return f"{middle}{self.by} {number(estimate.point)} ({_range(estimate)}) of {seeds} seeds"


def _answer(expect: Expect, value: Number) -> bool | None:
    try:
        return expect.holds(value)
    except Censored:
        return None


def _ends(values: Sequence[Number]) -> tuple[list[float], list[float]]:
    lows, highs = zip(*map(ends, values), strict=True)
    return list(lows), list(highs)


def _log(value: float) -> float:
    return math.log(value) if value > 0 else -math.inf


def _of_mean(
    lows: Sequence[float], highs: Sequence[float], expect: Expect, level: float, *, strictly: bool = False
) -> Estimate:
    low, high = mean_ends(lows, highs, level)
    point = between(*(math.fsum(each) / len(each) for each in (lows, highs)))
    holds = _inside(low, high, expect, strictly=strictly)
    more = None
    if holds is None and low > -math.inf and high < math.inf and not isinstance(point, Bounds):
        deviation, distance = statistics.stdev(lows), _distance(point, expect)
        more = fewest(lambda seeds: t_quantile(seeds, level) * deviation / math.sqrt(seeds) < distance, len(lows))
    return Estimate(point, low, high, holds, more)


def _of_median(
    lows: Sequence[float], highs: Sequence[float], expect: Expect, level: float, *, strictly: bool = False
) -> Estimate:
    def holds(seeds: int) -> bool | None:
        return _inside(*median_ends(lows, highs, level, seeds), expect, strictly=strictly)

    there = holds(len(lows))
    more = fewest(lambda seeds: holds(seeds) is not None, len(lows)) if there is None else None
    point = between(statistics.median(lows), statistics.median(highs))
    return Estimate(point, *median_ends(lows, highs, level), there, more, of_median=True)


def _inside(low: float, high: float, expect: Expect, *, strictly: bool = False) -> bool | None:
    """Returns whether an interval lies where it is expected: wholly, not at all (False), or in part (None)."""
    if strictly:
        above = low > expect.at_least or expect.at_least == -math.inf
        below = high < expect.at_most or expect.at_most == math.inf
        if above and below:
            return True
        return False if high <= expect.at_least or low >= expect.at_most else None
    if low >= expect.at_least and high <= expect.at_most:
        return True
    return False if high < expect.at_least or low > expect.at_most else None


def _distance(point: float, expect: Expect) -> float:
    """Returns how far a number is from the nearest bound."""
    return min(abs(point - bound) for bound in (expect.at_least, expect.at_most) if math.isfinite(bound))


def _range(estimate: Estimate) -> str:
    if math.isinf(estimate.low) and math.isinf(estimate.high):
        return "no interval"
    return str(Bounds(estimate.low, estimate.high))
