"""When a claim was stated as it is: `<run>/claims.json` knows it from the run's beginning, so that what changed after
results is seen."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import NamedTuple

from jaxgen.experiment import Experiment
from jaxgen.experiment.digests import claim_digest
from jaxgen.storage.files import read_sealed, write_sealed

FILE = "claims.json"
# Seeds from here on are for tuning: no recorded result has seen them.
TUNING = 1000


class Stated(NamedTuple):
    """A claim as it was stated."""

    digest: str
    since: str  # when; ISO 8601, UTC


def now() -> str:
    """Returns the time as recordings and claims have it."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def keep_claims(run: Path, experiment: Experiment) -> None:
    """Writes down with a run what its claims say now, before anything more of it is known."""
    began, before = _kept(run)
    stated = {}
    for claim in experiment.claims:
        digest = claim_digest(claim)
        known = before.get(claim.name)
        stated[claim.name] = known if known is not None and known.digest == digest else Stated(digest, now())
    claims = {name: each._asdict() for name, each in stated.items()}
    write_sealed(run / FILE, {"began": began or now(), "claims": claims})


def stated_since(run: Path) -> dict[str, Stated]:
    """Returns what a run's claims said, and since when."""
    return _kept(run)[1]


def changed_since(run: Path, experiment: Experiment) -> set[str]:
    """Returns the claims that are not what they were when a run began; none of a run that did not write them down."""
    began, stated = _kept(run)
    if not began:
        return set()
    same = {name for name, each in stated.items() if each.since <= began}
    return {
        each.name
        for each in experiment.claims
        if each.name not in same or claim_digest(each) != stated[each.name].digest
    }


def _kept(run: Path) -> tuple[str, dict[str, Stated]]:
    if not (run / FILE).exists():
        return "", {}
    data = read_sealed(run / FILE, {"began": str, "claims": dict})
    return data["began"], {name: Stated(**each) for name, each in data["claims"].items()}
