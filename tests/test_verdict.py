"""From a table to a verdict: which seeds count, what is said of those that do not, and how it is saved."""

import json
import math

import pytest

from jaxgen.bounds import Bounds
from jaxgen.experiment import YES, EverySeed, Typical, at_least, at_most, within
from jaxgen.experiment.claims import sooner
from jaxgen.ledger.verdict import judge, judge_all, number_of, verdict_json
from jaxgen.table import NOT_STARTED, Table

WORDS = {"name": "c", "says": "", "place": "", "paper": ""}
KEY = "accuracy/test"


def finals(*values: float, condition: str = "a") -> Table:
    return Table.of([(condition, seed, step, KEY, value) for seed, value in enumerate(values) for step in (0, 1)])


def every(**changes: object) -> EverySeed:
    return EverySeed(**(WORDS | {"value": lambda t: t.final("a", KEY), "expect": at_least(0.9)} | changes))  # type: ignore[arg-type]


def typical(**changes: object) -> Typical:
    return Typical(**(WORDS | {"value": lambda t: t.final("a", KEY), "expect": at_least(0.9)} | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("values", "outcome", "reason"),
    [
        (
            (0.9,) * 5,
            "reproduced",
            "5 of 5 seeds hold: 55% to 100% of all would, expected ≥ 0.9 in at least half",
        ),
        ((0.8,) * 5, "not reproduced", "0 of 5 seeds hold: 0% to 45% of all would"),
        ((0.9,) * 3, "inconclusive", "3 of 3 seeds hold: 37% to 100% of all would"),
        ((0.9, 0.8), "inconclusive", "1 of 2 seeds hold"),
    ],
)
def test_what_holds_in_a_seed_is_counted(values: tuple[float, ...], outcome: str, reason: str) -> None:
    verdict = judge(every(), finals(*values))
    assert (verdict.claim, verdict.kind, verdict.outcome) == ("c", "every", outcome)
    assert verdict.reason.startswith(reason)
    assert verdict.values == dict(enumerate(values))


def test_what_is_open_says_how_many_more_seeds_would_settle_it() -> None:
    verdict = judge(every(), finals(0.9, 0.9, 0.9))
    assert (verdict.more, verdict.reason.rpartition("; ")[2]) == (2, "about 2 more seeds would settle it")


def test_a_typical_number_needs_its_whole_interval() -> None:
    near = judge(typical(expect=within(0.5, 0.05)), finals(0.49, 0.5, 0.51, 0.5))
    assert (near.outcome, near.point) == ("reproduced", pytest.approx(0.5))
    assert near.reason == "mean 0.5 (0.487 to 0.513) of 4 seeds, expected 0.45 to 0.55"
    far = judge(typical(expect=within(0.5, 0.05)), finals(0.3, 0.5, 0.7))
    assert far.outcome == "inconclusive"
    assert judge(typical(), finals(0.1, 0.2, 0.1)).outcome == "not reproduced"


def test_a_value_that_never_came_is_a_bound_and_says_why() -> None:
    claim = every(value=lambda t: t.first_step("a", KEY, at_least=0.5), expect=at_most(10))
    verdict = judge(claim, finals(0.6, 0.1, 0.2))
    assert verdict.values == {0: 0.0, 1: Bounds(1, math.inf), 2: Bounds(1, math.inf)}
    assert verdict.outcome == "inconclusive"
    assert "; seed 1: accuracy/test of 'a' was never at least 0.5 in 1 steps (and 1 more)" in verdict.reason
    assert verdict.spread() == "> 1 (> 0)"
    assert verdict.middle_and_range() == ("> 1", "> 0")


def test_a_seed_whose_value_is_no_number_counts_for_neither_side() -> None:
    verdict = judge(typical(), finals(1.0, math.nan, 1.0))
    assert verdict.outcome == "inconclusive"
    assert verdict.reason.endswith("; seed 1: the value is not a number")
    assert list(verdict.values) == [0, 1, 2]
    assert verdict.values[1] == Bounds(-math.inf, math.inf)


def test_a_seed_that_is_missing_is_never_dropped_in_silence() -> None:
    verdict = judge(typical(), finals(1.0, 1.0, 1.0), {"a": (0, 1, 2, 3)})
    assert verdict.outcome == "inconclusive"
    assert "of 4 seeds" in verdict.reason
    assert "seed 3: no condition 'a'" in verdict.reason


def test_a_seed_that_a_claim_is_not_trained_with_is_not_missed() -> None:
    """Conditions may have different numbers of seeds: a claim on one of them looks at its own."""
    table = Table.concat([finals(1.0, 1.0, 1.0), finals(*[0.0] * 5, condition="b")])
    seeds = {"a": (0, 1, 2), "b": (0, 1, 2, 3, 4)}
    assert list(judge(typical(), table, seeds).values) == [0, 1, 2]
    both = typical(value=lambda t: t.final("a", KEY) - t.final("b", KEY))
    assert (judge(both, table, seeds).outcome, list(judge(both, table, seeds).values)) == ("reproduced", [0, 1, 2])


def test_a_child_that_never_started_leaves_its_seed_open() -> None:
    rows = [("a", 3, 0, NOT_STARTED, 1.0)]
    verdict = judge(every(), Table.concat([finals(1.0, 1.0, 1.0), Table.of(rows)]))
    assert verdict.reason.startswith("3 of 4 seeds hold")
    assert "seed 3: what 'a' starts from never came" in verdict.reason


def test_a_comparison_with_what_never_came_is_a_bound() -> None:
    table = Table.of(
        [("fast", seed, step, KEY, float(step >= 100)) for seed in range(5) for step in (0, 100, 1000)]
        + [("slow", seed, step, KEY, 0.0) for seed in range(5) for step in (0, 100, 1000)]
    )
    words = {"place": "", "paper": ""}
    verdict = judge(sooner("fast", than="slow", level=0.95, times=5, **words), table)
    assert (verdict.outcome, verdict.spread()) == ("reproduced", "> 10")
    assert verdict.reason.startswith("ratio > 10 (> 10) of 5 seeds, expected > 5")
    assert judge(sooner("fast", than="slow", level=0.95, times=20, **words), table).outcome == "inconclusive"
    assert judge(sooner("slow", than="fast", level=0.95, **words), table).outcome == "not reproduced"


def test_what_was_not_measured_is_not_judged() -> None:
    verdict = judge(every(value=lambda t: t.final("b", KEY)), finals(1.0, 1.0))
    assert (verdict.outcome, verdict.reason, verdict.values) == ("not judged", "no condition 'b'; there is: a", {})
    verdict = judge(every(), Table.of([]))
    assert (verdict.outcome, verdict.reason) == ("not judged", "nothing is trained to its end yet")


def test_judging_all_claims_or_withholding() -> None:
    claims = [every(name="x"), every(name="y", expect=at_most(0.5)), every(name="z", untestable={"mini": "too small"})]
    table = finals(*[1.0] * 5)
    outcomes = [each.outcome for each in judge_all(claims, table, "mini")]
    assert outcomes == ["reproduced", "not reproduced", "untestable at this scale"]
    assert judge_all(claims, table, "paper")[2].outcome == "reproduced"
    withheld = judge_all(claims, table, "paper", withheld="settings were changed")
    assert {(each.outcome, each.reason) for each in withheld} == {("not judged", "settings were changed")}


def test_the_spread_of_a_verdict() -> None:
    assert judge(every(), finals(0.5, 0.25, 1.0)).spread() == "0.5 (0.25 to 1)"
    assert judge(every(), finals(0.5)).spread() == "0.5"
    assert judge(every(), Table.of([])).spread() == "–"


def test_a_yes_or_no_is_told_in_words() -> None:
    yes = every(value=lambda t: t.final("a", KEY) > 0.5, expect=YES)
    assert str(yes.expect) == "yes"
    verdict = judge(yes, finals(1.0, 0.0, 1.0))
    assert (verdict.outcome, verdict.spread()) == ("inconclusive", "yes in 2 of 3")
    assert judge(yes, finals(1.0, 1.0)).spread() == "yes"
    assert judge(yes, finals(0.0)).spread() == "no"


def test_a_verdict_survives_json() -> None:
    claim = every(value=lambda t: t.first_step("a", KEY, at_least=0.5), expect=at_most(10))
    verdict = judge(claim, finals(0.6, 0.1, math.nan))
    data = json.loads(json.dumps(verdict_json(verdict), allow_nan=False))
    assert data["values"] == {"0": 0.0, "1": [1.0, None], "2": [1.0, None]}
    assert {int(seed): number_of(value) for seed, value in data["values"].items()} == verdict.values
    assert (data["kind"], data["role"], data["point"]) == ("every", "paper", pytest.approx(1 / 3))
