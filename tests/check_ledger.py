"""Holds the recorded verdicts against their tables, and against seeds that nobody has seen: `make check-ledger`.

Every recorded verdict must follow from the recorded table under the present rule. Of the settled claims whose
conditions train fastest a random tenth is trained anew, with as many fresh seeds as are recorded, and judged alike.
"""

from __future__ import annotations

import dataclasses
import json
import random
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import click

from jaxgen.condition import with_parents
from jaxgen.experiment import Claim, Experiment
from jaxgen.ledger.discovery import FoundPaper, discover
from jaxgen.ledger.record import judge_recorded, recorded
from jaxgen.ledger.reproduce import reproduce
from jaxgen.ledger.results import minutes_of, read_results
from jaxgen.ledger.runs import Request
from jaxgen.ledger.stated import TUNING
from jaxgen.ledger.verdict import verdict_json
from jaxgen.run.arguments import RunArguments, SilentObserver

SETTLED = ("reproduced", "not reproduced")


class Recorded(NamedTuple):
    """A settled claim, and what it takes to train its conditions."""

    found: FoundPaper
    experiment: Experiment
    scale: str
    claim: Claim
    verdict: dict[str, Any]
    minutes: float


def check_tables() -> tuple[int, list[str]]:
    """Returns how many verdicts were judged anew, and which differ from what is recorded."""
    count, wrong = 0, []
    for found in discover().papers.values():
        for scale, experiment in recorded(found):
            entry = read_results(found.folder, scale)[experiment.name]
            there = {each["claim"]: each for each in entry["claims"]}
            for verdict in judge_recorded(found, experiment, scale, entry):
                now = json.loads(json.dumps(verdict_json(verdict)))
                before = there.get(verdict.claim, {})
                count += 1
                if (before.get("outcome"), before.get("values")) != (now["outcome"], now["values"]):
                    place = f"{found.paper.slug}/{experiment.name} at {scale}, '{verdict.claim}'"
                    wrong.append(f"{place}: recorded {before.get('outcome')}, now {now['outcome']}: {now['reason']}")
    return count, wrong


def settled() -> list[Recorded]:
    """Returns every settled claim, those whose conditions train fastest first."""
    found_claims = []
    for found in discover().papers.values():
        for scale, experiment in recorded(found):
            entry = read_results(found.folder, scale)[experiment.name]
            by_name = {each.name: each for each in experiment.claims}
            for verdict in entry["claims"]:
                if verdict["outcome"] in SETTLED and verdict["claim"] in by_name:
                    needed = with_parents(experiment.at_scale(scale), verdict["conditions"])
                    minutes = sum(minutes_of(entry["conditions"].get(name, [])) for name in needed)
                    claim = by_name[verdict["claim"]]
                    found_claims.append(Recorded(found, experiment, scale, claim, verdict, minutes))
    return sorted(found_claims, key=lambda each: each.minutes)


def train_anew(each: Recorded, first_seed: int, runs: Path) -> str:
    """Returns the outcome of a claim with fresh seeds, as many as it rests on."""
    names = tuple(with_parents(each.experiment.at_scale(each.scale), each.verdict["conditions"]))
    scale = dataclasses.replace(each.experiment.scales[each.scale], only=names)
    alone = dataclasses.replace(each.experiment, claims=(each.claim,), scales={each.scale: scale}, figures=())
    request = Request(
        each.found.paper.slug, alone.name, each.scale, seeds=len(each.verdict["values"]), first_seed=first_seed
    )
    done = reproduce(alone, request, runs, observer=SilentObserver(), arguments=RunArguments())
    return done.verdicts[0].outcome


@click.command()
@click.option("--seed", type=int, help="Draws the claims and the seeds; by default another one each time.")
@click.option("--share", default=0.1, show_default=True, help="Of the cheaper half of the settled claims.")
@click.option("--tables-alone", is_flag=True, help="Trains nothing.")
def main(seed: int | None, share: float, tables_alone: bool) -> None:
    """Judge the recorded tables again, and a random tenth of the cheapest claims with fresh seeds."""
    count, wrong = check_tables()
    print(f"{count} verdicts follow from the recorded tables, but for {len(wrong)}")
    for line in wrong:
        print(f"  {line}")
    if tables_alone:
        sys.exit(1 if wrong else 0)
    seed = random.SystemRandom().randrange(2**20) if seed is None else seed
    draw = random.Random(seed)
    claims = settled()
    cheaper = claims[: max(1, len(claims) // 2)]
    chosen = draw.sample(cheaper, max(1, round(share * len(claims))) if len(cheaper) > 1 else 1)
    print(f"{len(chosen)} of {len(claims)} settled claims with fresh seeds (--seed {seed})")
    agree = 0
    for each in chosen:
        with tempfile.TemporaryDirectory(prefix="check-ledger-") as runs:
            outcome = train_anew(each, draw.randrange(2 * TUNING, 2**30), Path(runs) / "run")
        agree += outcome == each.verdict["outcome"]
        place = f"{each.found.paper.slug}/{each.experiment.name} at {each.scale}"
        print(f"  {place}, '{each.claim.name}': recorded {each.verdict['outcome']}, now {outcome}", flush=True)
    print(f"{agree} of {len(chosen)} agree ({agree / len(chosen):.0%})")
    sys.exit(1 if wrong or agree < 0.95 * len(chosen) else 0)


if __name__ == "__main__":
    main()
