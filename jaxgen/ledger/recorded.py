"""What is recorded of an experiment need not be trained again: the rows of every recorded seed, by its identity."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from jaxgen.condition import Trajectory
from jaxgen.ledger.results import read_results, table_file
from jaxgen.table import Table, keys_of

# (step, key, value), of one seed of one condition.
MemberRows = list[tuple[int, str, float]]
Recorded = Mapping[str, MemberRows]


def recorded_rows(folder: Path, scale: str, experiment: str) -> Recorded:
    """Returns by identity the rows that are recorded in a paper's folder, values to six digits."""
    entry = read_results(folder, scale).get(experiment)
    file = table_file(folder, scale, experiment)
    if entry is None or not file.exists():
        return {}
    rows = Table.load(file).rows
    rows = rows.assign(key=keys_of(rows))
    by_place = {place: of for place, of in rows.groupby(["condition", "seed"], sort=False)}
    found: dict[str, MemberRows] = {}
    for name, recordings in entry["conditions"].items():
        for seed, identity in ((seed, it) for each in recordings for seed, it in each["seeds"].items()):
            if (of := by_place.get((name, int(seed)))) is not None:
                found[identity] = list(zip(of["step"], of["key"], of["value"], strict=True))
    return found


def to_train(wanted: Sequence[Trajectory], recorded: Collection[str]) -> list[Trajectory]:
    """Returns what is not recorded, and what this starts from: parameters are not recorded."""
    needed: dict[str, Trajectory] = {}
    for each in wanted:
        member: Trajectory | None = each if each.identity not in recorded else None
        while member is not None:
            needed[member.identity] = member
            member = member.parent
    return [each for each in wanted if each.identity in needed]
