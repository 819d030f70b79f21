"""The statistics of the kinds of claims: closed forms, published values, and what simulations say of error rates."""

import math
from collections.abc import Callable

import numpy as np
import pytest

from jaxgen.bounds import Bounds, Censored, Number
from jaxgen.errors import UserError
from jaxgen.experiment import YES, Claim, Compare, EverySeed, Typical, at_least, at_most, within
from jaxgen.experiment.claims import delayed, differs, ends_at, reaches, rises, sooner, stays_below, steps_to
from jaxgen.experiment.intervals import mean_ends, median_ends, rate_ends
from jaxgen.table import Table

WORDS = {"name": "c", "says": "", "place": "", "paper": ""}
UNKNOWN = Bounds(-math.inf, math.inf)


def every(**changes: object) -> EverySeed:
    return EverySeed(**(WORDS | {"value": lambda t: 0.0, "expect": at_least(0.9)} | changes))  # type: ignore[arg-type]


def typical(**changes: object) -> Typical:
    return Typical(**(WORDS | {"value": lambda t: 0.0, "expect": at_least(0.9)} | changes))  # type: ignore[arg-type]


def compare(by: str, **changes: object) -> Compare:
    return Compare(**(WORDS | {"value": lambda t: 0.0, "expect": at_least(1), "by": by} | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("held", "failed", "holds"),
    [
        (5, 0, True),
        (4, 0, None),
        (15, 5, True),
        (14, 6, None),
        (8, 1, True),
        (0, 5, False),
        (0, 4, None),
        (5, 15, False),
    ],
)
def test_five_of_five_or_fifteen_of_twenty_show_that_half_of_all_seeds_hold(
    held: int, failed: int, holds: bool
) -> None:
    assert every().estimate([1.0] * held + [0.0] * failed).holds is holds


def test_the_bounds_of_a_rate_are_those_of_the_binomial_law() -> None:
    # Where all n hold, the lower bound p has p^n = 0.05; where none does, the upper one (1 - p)^n = 0.05.
    for seeds in (1, 3, 5, 20):
        lower, upper = rate_ends(seeds, seeds, seeds, 0.95)
        assert (lower, upper) == (pytest.approx(0.05 ** (1 / seeds)), 1.0)
        lower, upper = rate_ends(0, 0, seeds, 0.95)
        assert (lower, upper) == (0.0, pytest.approx(1 - 0.05 ** (1 / seeds)))
    lower, _ = rate_ends(15, 15, 20, 0.95)
    tail = sum(math.comb(20, k) * lower**k * (1 - lower) ** (20 - k) for k in range(15, 21))
    assert tail == pytest.approx(0.05)


def test_the_interval_of_a_mean_is_students() -> None:
    # Sleep data of Student (1908): the differences of ten patients have the mean 1.58 and the interval 0.70 to 2.46.
    hours = [1.2, 2.4, 1.3, 1.3, 0.0, 1.0, 1.8, 0.8, 4.6, 1.4]
    assert mean_ends(hours, hours, 0.95) == (pytest.approx(0.7001, abs=1e-4), pytest.approx(2.4599, abs=1e-4))
    assert mean_ends([1.0, 2.0], [1.0, 2.0], 0.95) == (-math.inf, math.inf)


@pytest.mark.parametrize(("seeds", "left_out"), [(5, None), (6, 0), (8, 0), (9, 1), (12, 2), (20, 5), (40, 13)])
def test_the_interval_of_a_median_leaves_out_so_many_at_each_end(seeds: int, left_out: int | None) -> None:
    values = [float(i) for i in range(seeds)]
    expected = (-math.inf, math.inf) if left_out is None else (left_out, seeds - 1 - left_out)
    assert median_ends(values, values, 0.95) == expected


@pytest.mark.parametrize("seeds", [3, 5, 10, 40])
def test_intervals_cover_what_they_say(seeds: int) -> None:
    random = np.random.default_rng(seeds)
    drawn = random.normal(size=(4000, seeds))
    covered = np.mean([low <= 0 <= high for low, high in (mean_ends(row, row, 0.95) for row in drawn.tolist())])
    assert covered == pytest.approx(0.95, abs=0.012)
    skewed = np.exp(drawn)  # with the median 1
    covered = np.mean([low <= 1 <= high for low, high in (median_ends(row, row, 0.95) for row in skewed.tolist())])
    assert covered >= 0.94
    for rate in (0.2, 0.5, 0.9):
        held = random.binomial(seeds, rate, size=4000).tolist()
        ends = [rate_ends(each, each, seeds, 0.95) for each in held]
        assert np.mean([low <= rate for low, _ in ends]) >= 0.94
        assert np.mean([rate <= high for _, high in ends]) >= 0.94


def share_reproduced(claim: Claim, rows: np.ndarray) -> float:
    return float(np.mean([claim.estimate(row).holds is True for row in rows.tolist()]))


@pytest.mark.parametrize("seeds", [3, 5, 6, 10, 20])
def test_false_verdicts_are_rare(seeds: int) -> None:
    """A comparison without an effect, a typical number at the bound, a rate just below one half."""
    random = np.random.default_rng(seeds + 100)
    drawn, slack = random.normal(size=(4000, seeds)), 0.01
    assert share_reproduced(compare("difference", expect=at_least(0)), drawn) <= 0.025 + slack
    assert share_reproduced(compare("ratio", expect=at_least(1)), np.exp(drawn)) <= 0.025 + slack
    assert share_reproduced(typical(expect=at_least(0)), drawn) <= 0.025 + slack
    answers = (random.random((4000, seeds)) < 0.499).astype(float)
    assert share_reproduced(every(expect=YES), answers) <= 0.05 + slack


@pytest.mark.parametrize("seeds", [6, 10, 20])
def test_false_verdicts_are_rare_where_runs_end_before_the_event(seeds: int) -> None:
    """Steps of two conditions without an effect, of which those beyond 1.5 are not seen: on either side, or on one."""
    steps = np.exp(np.random.default_rng(seeds + 200).normal(size=(2000, seeds, 2)))

    def seen(value: float, end: float) -> Number:
        return value if value <= end else Bounds(end, math.inf)

    for ends in ((1.5, 1.5), (1.5, math.inf), (math.inf, 1.5)):
        found = [
            compare("ratio").estimate([seen(slow, ends[0]) / seen(fast, ends[1]) for slow, fast in row]).holds
            for row in steps.tolist()
        ]
        assert found.count(True) <= (0.025 + 0.01) * len(found)
        assert found.count(False) <= (0.025 + 0.01) * len(found)


def test_more_seeds_never_punish() -> None:
    assert [every().estimate(([1.0] * 9 + [0.0]) * tens).holds for tens in (1, 2, 4)] == [True, True, True]


def test_ties_satisfy_no_comparison() -> None:
    for claim, tie in ((compare("ratio"), 1.0), (compare("difference", expect=at_least(0)), 0.0)):
        assert claim.estimate([tie] * 5).holds is False
    assert typical(expect=at_least(0.5)).estimate([0.5] * 5).holds is True


@pytest.mark.parametrize(
    ("claim", "unit", "bound"),
    [(typical(expect=at_least(5)), 1.0, 5.0), (compare("ratio", expect=at_least(5)), 1.0, 5.0)],
)
def test_a_bound_counts_where_it_makes_the_claim_harder(claim: Claim, unit: float, bound: float) -> None:
    beyond = Bounds(bound * 1.5, math.inf)
    values: list[Number] = [bound * 1.4, bound * 1.6, beyond, beyond]
    found = claim.estimate(values)
    assert found.holds is True
    assert found.high == math.inf
    # A bound that is short of what is expected leaves it open: the number itself may be beyond.
    assert claim.estimate([Bounds(bound / 2, math.inf)] * 5).holds is None
    assert claim.estimate([Bounds(0.1, bound / 2)] * 5).holds is False


def test_a_seed_of_which_nothing_is_known_counts_for_neither_side() -> None:
    assert every().estimate([1.0] * 8 + [UNKNOWN]).holds is True
    assert every().estimate([1.0] * 5 + [UNKNOWN]).holds is None
    assert every().estimate([0.0] * 5 + [UNKNOWN]).holds is None
    assert typical().estimate([1.0] * 5 + [UNKNOWN]).holds is None
    assert compare("ratio").estimate([2.0] * 5 + [UNKNOWN]).holds is None
    # Of nine seeds the median's interval leaves out one at each end; a mean that one of them leaves open is not used.
    for claim in (typical(), compare("ratio")):
        assert claim.estimate([2.0] * 7 + [UNKNOWN]).holds is None
        assert claim.estimate([2.0] * 8 + [UNKNOWN]).holds is True
        assert claim.estimate([0.5] * 8 + [Bounds(0.1, math.inf)]).holds is False


def test_what_is_open_says_how_many_seeds_would_settle_it() -> None:
    assert every().estimate([1.0] * 4).more == 1
    assert every().estimate([1.0, 0.0] * 3).more is None
    for claim in (compare("difference", expect=at_least(0)), typical(expect=at_least(0))):
        values = [1.0, 2.0, -0.5, 1.5, 0.4, -0.1]
        found = claim.estimate(values)
        assert (found.holds, found.more is not None) == (None, True)
        assert claim.estimate(values * (1 + math.ceil((found.more or 0) / len(values)))).holds is True
    assert typical().estimate([1.0] * 5).more is None


def test_an_estimate_is_told_in_words() -> None:
    claim = every()
    assert claim.told(claim.estimate([1.0] * 4 + [0.0]), 5) == "4 of 5 seeds hold: 34% to 99% of all would"
    claim = typical(expect=within(1, 0.1))
    assert claim.told(claim.estimate([1.0, 1.1, 0.9, 1.0, 1.05, 0.95]), 6) == "median 1 (0.9 to 1.1) of 6 seeds"
    claim = compare("ratio", expect=at_least(2))
    assert claim.told(claim.estimate([4.0, 4.0, Bounds(4.0, math.inf)]), 3) == "ratio > 4 (> 4) of 3 seeds"
    censored = [4.0] * 8 + [Bounds(0, math.inf)]
    assert claim.told(claim.estimate(censored), 9) == "median ratio 4 (4 to 4) of 9 seeds"
    assert (claim.expected(), every(rate=0.9).expected()) == ("> 2", "≥ 0.9 in at least 90% of all seeds")


def test_a_claim_has_a_kind() -> None:
    with pytest.raises(UserError, match="expected an EverySeed, a Typical or a Compare"):
        Claim(**WORDS, value=lambda t: 0.0, expect=YES)
    with pytest.raises(UserError, match="got by='quotient', expected 'ratio' or 'difference'"):
        compare("quotient")
    with pytest.raises(UserError, match="expected a bound of a ratio above 0"):
        compare("ratio", expect=at_most(0))


def curve(
    condition: str, steps: dict[int, float], key: str = "accuracy/test"
) -> list[tuple[str, int, int, str, float]]:
    return [(condition, 0, step, key, value) for step, value in steps.items()]


TABLE = Table.of(
    curve("slow", {0: 0.1, 100: 0.2, 1000: 1.0, 1001: 0.9})
    + curve("fast", {0: 0.0, 50: 1.0, 1000: 0.9})
    + curve("never", {0: 0.0, 1000: 0.4})
    + curve("slow", {0: 0.1, 10: 1.0}, "accuracy/train")
)


@pytest.mark.parametrize(
    ("claim", "value"),
    [
        (lambda **w: sooner("fast", than="slow", level=0.95, times=5, **w), 20.0),
        (lambda **w: sooner("fast", than="never", level=0.95, **w), Bounds(20.0, math.inf)),
        (lambda **w: sooner("never", than="fast", level=0.95, **w), Bounds(0.0, 0.05)),
        (lambda **w: delayed("slow", fitted=0.99, generalised=0.95, times=2, **w), 100.0),
        (lambda **w: reaches("slow", 0.99, **w), 1.0),
        (lambda **w: stays_below("never", 0.5, **w), 0.4),
        (lambda **w: ends_at("slow", 0.9, **w), 0.55),
        (lambda **w: rises([steps_to("slow", 0.95), steps_to("fast", 0.95)], name="r", says="", **w), False),
        (lambda **w: rises([steps_to("fast", 0.95), steps_to("never", 0.95)], name="r", says="", **w), True),
        (
            lambda **w: differs(steps_to("slow", 0.95), steps_to("fast", 0.95), at_least(0), name="d", says="", **w),
            950.0,
        ),
    ],
)
def test_claims_that_papers_often_make(claim: Callable[..., Claim], value: Number) -> None:
    words = {"place": "Fig. 1", "paper": "much"}
    made = claim(**words)
    assert made.value(TABLE.seed(0)) == value
    assert made.name
    assert claim(**words, note="n", role="control").role == "control"


def test_a_run_that_never_generalises_shows_no_delay() -> None:
    fitted = Table.of(curve("random", {10: 1.0, 1000: 1.0}, "accuracy/train") + curve("random", {10: 0.0, 1000: 0.0}))
    claim = delayed("random", fitted=0.99, generalised=0.95, times=2, place="Fig. 1", paper="much")
    with pytest.raises(Censored, match=r"never at least 0\.95"):
        claim.value(fitted.seed(0))
