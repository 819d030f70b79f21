"""Judging claims: one value a seed, one verdict a claim, always with the reason."""

from __future__ import annotations

import dataclasses
import math
import statistics
import traceback
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from jaxgen.experiment import Claim, number
from jaxgen.table import Censored, NotMeasured, Table

CODE_FAILED = "its code failed"
Outcome = Literal["reproduced", "not reproduced", "inconclusive", "not judged"]


@dataclasses.dataclass(frozen=True)
class Verdict:
    """The verdict on a claim, and the values (by seed) that it rests on."""

    claim: str
    outcome: Outcome
    reason: str
    values: dict[int, float]

    @property
    def code_failed(self) -> bool:
        """Returns whether the claim's own code is at fault."""
        return self.reason.startswith(CODE_FAILED)

    def spread(self) -> str:
        """Returns the median of the values and their range, as text."""
        values = [value for value in self.values.values() if math.isfinite(value)]
        if not values:
            return "–"
        if all(isinstance(value, bool) for value in values):
            held = int(sum(values))
            return {0: "no", len(values): "yes"}.get(held, f"yes in {held} of {len(values)}")
        middle = number(statistics.median(values))
        return middle if len(values) == 1 else f"{middle} ({number(min(values))} to {number(max(values))})"


def code_failed(error: Exception) -> str:
    """Returns what to say where code of a paper raised an error: which, and where."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{Path(last.filename).parent.name}/{Path(last.filename).name}, line {last.lineno}"
    return f"{CODE_FAILED} at {place}: {type(error).__name__}: {error}"


def judge(claim: Claim, table: Table) -> Verdict:
    """Judges one claim on every seed of the table."""
    values: dict[int, float] = {}
    censored: list[str] = []
    missing: list[str] = []
    for seed in table.seeds():
        try:
            value = claim.value(table.seed(seed))
            values[seed] = value if isinstance(value, bool) else float(value)
        except NotMeasured as absence:
            missing.append(f"seed {seed}: {absence}")
        except ZeroDivisionError:
            censored.append(f"seed {seed}: it divides by zero")
        except Censored as event:
            censored.append(f"seed {seed}: {event}")
        except Exception as error:
            # The code of the claim is at fault; the others must still be judged.
            return Verdict(claim.name, "not judged", code_failed(error), {})
    finite = {seed: value for seed, value in values.items() if not math.isnan(value)}
    censored += [f"seed {seed}: the value is not a number" for seed in values.keys() - finite.keys()]
    if not values and not censored:
        return Verdict(claim.name, "not judged", missing[0] if missing else "nothing is trained to its end yet", {})
    if claim.seeds == "median" and not censored:
        middle = statistics.median(finite.values())
        held = claim.expect.holds(middle)
        reason = f"the median over {len(finite)} seeds is {number(middle)}, expected {claim.expect}"
        return Verdict(claim.name, "reproduced" if held else "not reproduced", reason, finite)
    holding = [seed for seed, value in finite.items() if claim.expect.holds(value)]
    total = len(finite) + len(censored)
    reason = f"{len(holding)} of {total} seeds hold, expected {claim.expect}"
    if censored:
        reason += f"; {censored[0]}" + (f" (and {len(censored) - 1} more)" if len(censored) > 1 else "")
    if len(holding) == total:
        outcome: Outcome = "reproduced"
    elif holding or censored:
        outcome = "inconclusive"
    else:
        outcome = "not reproduced"
    return Verdict(claim.name, outcome, reason, finite)


def judge_all(claims: Iterable[Claim], table: Table, *, withheld: str = "") -> list[Verdict]:
    """Judges every claim; with a reason `withheld`, no verdict is given, but what is wrong with a claim is told."""
    verdicts = [judge(claim, table) for claim in claims]
    if not withheld:
        return verdicts
    return [
        each if each.outcome == "not judged" else Verdict(each.claim, "not judged", withheld, {}) for each in verdicts
    ]
