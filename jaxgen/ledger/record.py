"""`--record`: writing results into the paper's folder, condition by condition if need be.

A recorded table is merged: conditions that this run has finished replace their old rows, the others
stay. Verdicts are judged on the merged table, so a recording can go on another day.
"""

from __future__ import annotations

import datetime
import functools
import io
from pathlib import Path
from typing import Any

import matplotlib

from jaxgen.condition import trajectories
from jaxgen.distributed import environment
from jaxgen.errors import UserError
from jaxgen.experiment import Experiment
from jaxgen.figures.draw import draw
from jaxgen.ledger.discovery import FoundPaper
from jaxgen.ledger.reproduce import Reproduction, verdict_json, withheld
from jaxgen.ledger.results import figure_file, read_results, results_file, table_file
from jaxgen.ledger.runs import Request, Run
from jaxgen.ledger.verdict import judge_all
from jaxgen.storage.files import write_json, write_text
from jaxgen.table import Table


def refuse_to_record(experiment: Experiment, request: Request) -> None:
    """Raises `UserError` where a run of this request must not be recorded."""
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
    for figure in experiment.figures:
        drawn = draw(figure, table, done.conditions)
        if drawn is not None:
            # Names inside the file that do not change from one recording to the next.
            svg = io.StringIO()
            with matplotlib.rc_context({"svg.hashsalt": "jaxgen"}):
                drawn.savefig(svg, format="svg", metadata={"Date": None})
            write_text(figure_file(found.folder, scale, experiment.name, figure.name), svg.getvalue())
    results = read_results(found.folder, scale)
    entry = results.get(experiment.name, {"conditions": {}})
    entry["conditions"] = {name: facts for name, facts in entry["conditions"].items() if name in conditions} | finished
    entry["claims"] = [verdict_json(verdict) for verdict in judge_all(experiment.claims, table)]
    results[experiment.name] = entry
    path = results_file(found.folder, scale)
    write_json(path, dict(sorted(results.items())))
    return path


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
