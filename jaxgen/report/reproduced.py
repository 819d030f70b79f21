"""The report of experiments that have just been reproduced, with where and how they were made."""

from __future__ import annotations

import datetime
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jaxgen.config import NOTEBOOK
from jaxgen.distributed import environment
from jaxgen.ledger.discovery import FoundPaper
from jaxgen.ledger.reproduce import Reproduction
from jaxgen.ledger.swept import best_first
from jaxgen.machine import device_name
from jaxgen.report.html import ExperimentReport, Report, write_report
from jaxgen.run.goodput import ACTIVITIES, goodput


def write_page(path: Path, found: FoundPaper, done: Sequence[Reproduction], copy: Path | None = None) -> list[str]:
    """Writes the report of a paper's experiments, and a copy of it where it is asked for.

    Returns which figures' code failed: the page is without them.
    """
    return write_report(path, report_on(found, done), copy)


def report_on(found: FoundPaper, done: Sequence[Reproduction]) -> Report:
    """Returns what the page on some experiments of a paper says."""
    request = done[0].request
    about = environment.describe()
    return Report(
        paper=found.paper,
        scale=request.scale,
        created=datetime.datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
        command=_command(found, done),
        device=device_name(about),
        versions=about["versions"],
        commit=_commit(about),
        time=goodput({activity: sum(each.seconds[activity] for each in done) for activity in ACTIVITIES}),
        flags=tuple(f"{name}={value}" for name, value in about["flags"].items()),
        settings=(*request.settings, *request.sweeps),
        experiments=tuple(
            ExperimentReport(experiment=each.experiment, conditions=each.conditions, table=each.table,
                             verdicts=each.verdicts, notes=each.notes, timings=each.timings, folder=each.path,
                             time=goodput(each.seconds), best_first=best_first(each.points, each.table))
            for each in done
        ),
    )  # fmt: skip


def _command(found: FoundPaper, done: Sequence[Reproduction]) -> str:
    request = done[0].request
    if request.paper == NOTEBOOK:
        return "the same call in Python"
    ids = found.paper.slug if len(done) > 1 else f"{found.paper.slug}/{request.experiment}"
    return " ".join(["jaxgen reproduce", ids, f"--scale {request.scale}", *map(shlex.quote, request.options())])


def _commit(about: dict[str, Any]) -> str:
    if about["commit"] is None:
        return "installed from a wheel"
    return f"{about['commit']}{' and uncommitted changes' if about['modified'] else ''}"
