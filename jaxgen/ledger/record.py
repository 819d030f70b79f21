"""`--record`: writing results into the paper's folder, condition by condition if need be.

A recorded table is merged: conditions that this run has finished replace their old rows, the others
stay. Verdicts are judged and figures are drawn from the merged table as it is recorded, so a recording
can go on another day, and whoever has the table finds the same.
"""

from __future__ import annotations

import datetime
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jaxgen.condition import trajectories
from jaxgen.distributed import environment
from jaxgen.errors import UserError
from jaxgen.experiment import Experiment
from jaxgen.figures.draw import draw, svg
from jaxgen.ledger.discovery import FoundPaper
from jaxgen.ledger.index import read_index, write_index
from jaxgen.ledger.reproduce import Reproduction, verdict_json, withheld
from jaxgen.ledger.results import RECORDED_SCALES, figure_file, read_results, results_file, table_file
from jaxgen.ledger.runs import Request, Run
from jaxgen.ledger.verdict import judge_all
from jaxgen.storage.files import write_json, write_text
from jaxgen.table import Table


def refuse_to_record(found: FoundPaper, experiment: Experiment, request: Request) -> None:
    """Raises `UserError` where a run of this request must not be recorded."""
    table = table_file(found.folder, request.scale, experiment.name)
    if experiment.name in read_results(found.folder, request.scale) and not table.exists():
        raise UserError(
            f"--record: {experiment.name} is recorded, and its table {table} is not there: an installed jaxgen has no "
            "tables; record in a checkout of it (pip install --editable)"
        )
    reason = withheld(experiment, request)
    if request.extend is not None:
        reason = "it is trained beyond its own steps"
    if reason:
        raise UserError(f"--record: a run of {experiment.name} is not recorded when {reason}")


def record_results(found: FoundPaper, done: Reproduction) -> Path:
    """Writes a finished run's table, figures, verdicts and provenance; returns the results file."""
    experiment, scale = done.experiment, done.request.scale
    conditions = {each.name: each for each in done.conditions}
    finished = _finished(done)
    csv = table_file(found.folder, scale, experiment.name)
    old = Table.load(csv) if csv.exists() else Table.of([])
    kept = old.without([*finished, *(set(old.conditions()) - conditions.keys())])
    fresh = done.table.without(set(conditions) - finished.keys())
    table = Table.concat([kept, fresh])
    write_text(csv, table.csv())
    for path, text in figures(found, experiment, scale):
        write_text(path, text)
    results = read_results(found.folder, scale)
    entry = results.get(experiment.name, {"conditions": {}})
    entry["conditions"] = {name: facts for name, facts in entry["conditions"].items() if name in conditions} | finished
    entry["claims"] = [verdict_json(verdict) for verdict in judge_all(experiment.claims, Table.load(csv))]
    results[experiment.name] = entry
    path = results_file(found.folder, scale)
    write_json(path, dict(sorted(results.items())))
    write_index(found)
    return path


def figures(found: FoundPaper, experiment: Experiment, scale: str) -> Iterator[tuple[Path, str]]:
    """Draws the figures of an experiment from its recorded table: gives the file and the text of each."""
    table = Table.load(table_file(found.folder, scale, experiment.name))
    conditions = experiment.at_scale(scale)
    for figure in experiment.figures:
        drawing = draw(figure, table, conditions)
        if drawing is not None:
            yield figure_file(found.folder, scale, experiment.name, figure.name), svg(drawing)


def recorded(found: FoundPaper) -> Iterator[tuple[str, Experiment]]:
    """Gives the scale and the experiment of everything of a paper that is recorded."""
    for scale in RECORDED_SCALES:
        results = read_results(found.folder, scale)
        yield from ((scale, each) for each in found.paper.experiments if each.name in results)


def renew(found: FoundPaper, *, redraw: bool) -> None:
    """Writes the index of a paper with recorded results, and draws their figures where it did not hold, or `redraw`.

    What would be the same is not written; of an installed jaxgen, which has no tables, nothing is drawn.
    """
    results = list(recorded(found))
    if redraw or read_index(found.folder) is None:
        for scale, experiment in results:
            if not table_file(found.folder, scale, experiment.name).exists():
                continue
            for path, text in figures(found, experiment, scale):
                if not path.exists() or path.read_text(encoding="utf-8") != text:
                    write_text(path, text)
    if results:
        write_index(found)


def _finished(done: Reproduction) -> dict[str, Any]:
    """Returns the provenance of every condition whose seeds are all finished."""
    by_identity = {each.identity: each for each in Run(done.path).trained()}
    read = functools.cache(lambda directory: (directory.status(), directory.run()))
    found: dict[str, Any] = {}
    complete = {each.name for each in done.conditions}
    for wanted in trajectories(done.conditions):
        name = wanted.condition.name
        member = by_identity.get(wanted.identity)
        status, run = read(member.directory) if member else ({"finished": False}, {})
        if not status["finished"]:
            complete.discard(name)
            continue
        facts = found.setdefault(
            name,
            {
                "seeds": {},
                "steps": wanted.condition.steps,
                "commit": run["commit"],
                "modified": bool(run["modified"]),
                "device": environment.device_name(run),
                "versions": run["versions"],
                "minutes": round(sum(status["seconds"].values()) / 60, 1),
                "trained_together": len(run["members"]),
                "recorded": datetime.date.today().isoformat(),
            },
        )
        facts["seeds"][str(wanted.seed)] = wanted.identity
    return {name: facts for name, facts in found.items() if name in complete}
