"""Judging claims: one value a seed, one verdict a claim, always with the reason."""

from __future__ import annotations

import dataclasses
import math
import statistics
import traceback
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

from jaxgen.bounds import Bounds, Censored, Number, between, ends, number
from jaxgen.experiment import Claim
from jaxgen.experiment.claim import LEVEL
from jaxgen.table import NotMeasured, Table

CODE_FAILED = "its code failed"
Outcome = Literal["reproduced", "not reproduced", "inconclusive", "untestable at this scale", "not judged"]
OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)
Seeds = Mapping[str, Sequence[int]]  # of each condition
UNKNOWN = Bounds(-math.inf, math.inf)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Verdict:
    """The verdict on a claim, and what it rests on."""

    claim: str
    kind: str
    role: str
    outcome: Outcome
    reason: str
    values: Mapping[int, Number]  # by seed; what is only known within bounds is `Bounds`
    point: Number | None = None  # the estimate of all seeds, and its interval
    low: float = -math.inf
    high: float = math.inf
    more: int | None = None  # about how many more seeds would settle what is inconclusive
    conditions: tuple[str, ...] = ()  # that it looks at
    changed: bool = False  # the claim is not what it was before its first results

    @property
    def code_failed(self) -> bool:
        """Returns whether the claim's own code is at fault."""
        return self.reason.startswith(CODE_FAILED)

    def spread(self) -> str:
        """Returns the median of the values and their range, as text; bounds stay bounds."""
        middle, span = self.middle_and_range()
        return f"{middle} ({span})" if span else middle

    def middle_and_range(self) -> tuple[str, str]:
        """Returns both parts of `spread`; the second is empty where the first says all."""
        values = list(self.values.values())
        if not values:
            return "–", ""
        if all(isinstance(value, bool) for value in values):
            held = sum(map(bool, values))
            return {0: "no", len(values): "yes"}.get(held, f"yes in {held} of {len(values)}"), ""
        lows, highs = zip(*map(ends, values), strict=True)
        middle = number(between(statistics.median(lows), statistics.median(highs)))
        whole = (min(lows), max(highs))
        span = "" if math.isinf(whole[0]) else number(between(*whole))
        return middle, "" if span == middle else span


def code_failed(error: Exception) -> str:
    """Returns what to say where code of a paper raised an error: which, and where."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{Path(last.filename).parent.name}/{Path(last.filename).name}, line {last.lineno}"
    return f"{CODE_FAILED} at {place}: {type(error).__name__}: {error}"


def unjudged(claim: Claim, reason: str, outcome: Outcome = "not judged") -> Verdict:
    """Returns a verdict that rests on no value."""
    return Verdict(claim=claim.name, kind=claim.kind, role=claim.role, outcome=outcome, reason=reason, values={})


def judge(claim: Claim, table: Table, seeds: Seeds | None = None, level: float = LEVEL) -> Verdict:
    """Judges one claim on every seed.

    Args:
      claim: what is judged.
      table: the rows of what is finished.
      seeds: of each condition, those that belong to the run; None: those of the table. Of one that the table lacks,
        nothing is known, and the verdict says so.
      level: of the intervals.
    """
    if seeds is None:
        seeds = {name: table.condition(name).seeds() for name in table.conditions()}
    found: dict[int, Number] = {}
    unknown: dict[int, str] = {}
    missing: dict[int, str] = {}
    asked: set[str] = set()
    for seed in sorted({each for of in seeds.values() for each in of} | set(table.seeds())):
        of_seed = table.seed(seed)
        of_seed.asked.clear()
        try:
            value = claim.value(of_seed)
            found[seed] = value if isinstance(value, bool | Bounds) else float(value)
            if not isinstance(value, Bounds) and math.isnan(value):
                unknown[seed] = "the value is not a number"
        except NotMeasured as absence:
            missing[seed] = str(absence)
        except ZeroDivisionError:
            unknown[seed] = "it divides by zero"
        except Censored as event:
            unknown[seed] = str(event)
        except Exception as error:
            # The code of the claim is at fault; the others must still be judged.
            return unjudged(claim, code_failed(error))
        asked |= of_seed.asked
    # A seed belongs to the claim where all that it looks at is to be trained with it.
    belong = {seed for seed in missing if all(seed in seeds.get(name, ()) for name in asked)}
    if not found and not unknown:
        return unjudged(claim, next(iter(missing.values()), "nothing is trained to its end yet"))
    unknown |= {seed: missing[seed] for seed in belong}
    values = dict(sorted((found | dict.fromkeys(unknown, UNKNOWN)).items()))
    estimate = claim.estimate(list(values.values()), level)
    outcome: Outcome = {True: "reproduced", False: "not reproduced", None: "inconclusive"}[estimate.holds]  # type: ignore[assignment]
    reason = f"{claim.told(estimate, len(values))}, expected {claim.expected()}"
    open_ = unknown | {seed: value.why for seed, value in values.items() if isinstance(value, Bounds) and value.why}
    if open_:
        seed, why = next(iter(sorted(open_.items())))
        reason += f"; seed {seed}: {why}" + (f" (and {len(open_) - 1} more)" if len(open_) > 1 else "")
    if estimate.more is not None:
        reason += f"; about {estimate.more} more seeds would settle it"
    return Verdict(
        claim=claim.name, kind=claim.kind, role=claim.role, outcome=outcome, reason=reason, values=values,
        point=estimate.point, low=estimate.low, high=estimate.high, more=estimate.more, conditions=tuple(sorted(asked)),
    )  # fmt: skip


def judge_all(
    claims: Iterable[Claim],
    table: Table,
    scale: str,
    *,
    seeds: Seeds | None = None,
    looks: int = 1,
    withheld: str = "",
) -> list[Verdict]:
    """Judges every claim.

    Args:
      claims: what is judged.
      table: the rows of what is finished.
      scale: at which.
      seeds: as of `judge`.
      looks: how often at most this is done while seeds are added. Each look has its share of the error (Bonferroni):
        all together are wrong no more often than a single one would be.
      withheld: a reason not to give a verdict; what is wrong with a claim is told all the same.
    """
    verdicts = []
    for claim in claims:
        found = judge(claim, table, seeds, 1 - (1 - LEVEL) / looks)
        if found.outcome != "not judged" and withheld:
            found = unjudged(claim, withheld)
        elif not found.code_failed and scale in claim.untestable:
            found = unjudged(claim, claim.untestable[scale], "untestable at this scale")
        verdicts.append(found)
    return verdicts


def verdict_json(verdict: Verdict) -> dict[str, object]:
    """Returns a verdict as JSON: a number that is only known within bounds is `[low, high]`, null where one is
    infinite."""
    data = {field.name: getattr(verdict, field.name) for field in dataclasses.fields(verdict)}
    values = {str(seed): _number_json(value) for seed, value in verdict.values.items()}
    point = None if verdict.point is None else _number_json(verdict.point)
    return data | {"values": values, "point": point, "low": _finite(verdict.low), "high": _finite(verdict.high)}


def _number_json(value: Number) -> object:
    return [_finite(end) for end in ends(value)] if isinstance(value, Bounds) else _finite(value)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def number_of(value: Any) -> Number:
    """Returns the number that `verdict_json` wrote."""
    if isinstance(value, list):
        low, high = value
        return Bounds(-math.inf if low is None else low, math.inf if high is None else high)
    return UNKNOWN if value is None else value


def verdict_of(data: Mapping[str, Any]) -> Verdict:
    """Returns the verdict that `verdict_json` wrote."""
    known = {field.name: data[field.name] for field in dataclasses.fields(Verdict)}
    return Verdict(
        **known
        | {
            "values": {int(seed): number_of(value) for seed, value in data["values"].items()},
            "point": None if data["point"] is None else number_of(data["point"]),
            "low": -math.inf if data["low"] is None else data["low"],
            "high": math.inf if data["high"] is None else data["high"],
            "conditions": tuple(data["conditions"]),
        }
    )
