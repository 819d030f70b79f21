"""`status`, `logs` and `cancel`, of jobs and of runs that were started by hand. Imports no jax."""

from __future__ import annotations

import datetime
import json
import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from jaxgen.cli.text import echo, shown_path
from jaxgen.errors import UserError
from jaxgen.launch.back_ends import BACK_ENDS
from jaxgen.launch.job import Job, State, read_job
from jaxgen.ledger.runs import Run, load_run
from jaxgen.ledger.survey import summary
from jaxgen.run import lease
from jaxgen.run.directory import PopulationDirectory
from jaxgen.storage import objects

# Seconds between two looks at a run whose events are followed.
_FOLLOW_SECONDS = 1.0


def find_job(run: Path) -> tuple[Path, Job | None]:
    """Returns the path of a run and its job, by the run's directory or that of a population; None: it has no job."""
    start = run.absolute()
    for path in () if start.is_file() else (start, *start.parents[:2]):
        job = read_job(path)
        if job is not None:
            if job.back_end not in BACK_ENDS:
                raise UserError(f"{job.directory / 'job.json'} is damaged: no back end '{job.back_end}'")
            return path, job
    return load_run(run).path, None


def status_command(run: Path) -> None:
    """Prints the state of a run and of its job, and how far the run is saved."""
    path, job = find_job(run)
    state = BACK_ENDS[job.back_end].state(job) if job else None
    if job:
        echo(f"{job.back_end} job {job.number}, submitted {job.submitted} on {job.host}: {state}")
    run_ = Run(path)
    if objects.exists(path / "run.json"):  # otherwise it has not begun, or is kept elsewhere
        run_.trained()  # checks that the trajectories match their identities
        run_.check_whole()
    holder = _holder(run_)
    if state is None or (holder and not state.alive):
        echo(_named(holder[1]) if holder else summary(path).state)
    for directory in run_.populations():
        status = directory.status()
        conditions = dict.fromkeys(each["condition"] for each in directory.run()["members"])
        saved = (
            f"step {status['step']:,} of {status['horizon']:,} saved" if status["step"] is not None else "nothing saved"
        )
        echo(f"  {', '.join(conditions)}: {saved}{', finished' if status['finished'] else ''}")
    for missing in run_.missing():
        echo(f"not found here: {missing}")
    if (path / "report.html").exists() and not run.is_file():
        echo(f"report: {shown_path(path / 'report.html')}")
    if state is None:
        if not holder and not run.is_file() and summary(path).state != "finished":
            echo(f"go on with: jaxgen resume {shown_path(path)}")
    elif not state.alive and state.word != "finished" and not holder:
        echo(f"go on with: jaxgen resume --as-submitted {shown_path(path)}")


def _holder(run: Run) -> tuple[Path, dict[str, Any]] | None:
    """Returns the folder of a run whose lock or lease a process holds, and the facts of the process."""
    for folder in (*(each.path for each in run.populations()), run.path):
        if (facts := lease.holder(folder)) is not None:
            return folder, facts
    return None


def _named(facts: Mapping[str, Any]) -> str:
    return f"running ({lease.name(facts) if facts else 'another process'})"


def logs_command(run: Path, *, follow: bool) -> None:
    """Prints the output of a run's job; of a run that has none, what happened when."""
    path, job = find_job(run)
    pieces = BACK_ENDS[job.back_end].log(job, follow=follow) if job else _events(Run(path), follow=follow)
    for piece in pieces:
        echo(piece, newline=False)
        sys.stdout.flush()


def _events(run: Run, *, follow: bool) -> Iterator[str]:
    """Yields the events of a run in their order, as lines; with `follow` until no process works on it."""
    shown = 0
    while True:
        going = follow and _holder(run) is not None  # asked before reading, so that no event is missed
        events = sorted(each for directory in run.populations() for each in _events_of(directory))
        yield from (f"{line}\n" for _, line in events[shown:])
        shown = len(events)
        if not going:
            return
        time.sleep(_FOLLOW_SECONDS)
        objects.fetch(run.path, leave=("snapshots", "recovery"))


def _events_of(directory: PopulationDirectory) -> Iterator[tuple[float, str]]:
    """Yields the events of a population, each with its time. What is no event is left out: a kill may cut a line."""
    conditions = ", ".join(dict.fromkeys(each["condition"] for each in directory.run()["members"]))
    file = directory.path / "events.jsonl"
    for line in file.read_bytes().splitlines() if file.is_file() else ():
        try:
            event = json.loads(line)
            when, kind = float(event.pop("time")), str(event.pop("event"))
            clock = datetime.datetime.fromtimestamp(when).astimezone().isoformat(" ", "seconds")
            told = ", ".join(f"{name} {value}" for name, value in event.items())
        except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, OSError, RecursionError):
            continue
        yield when, f"{clock}  {conditions}: {kind}{told and ', '}{told}"


def cancel_command(run: Path) -> None:
    """Asks a run's job, or the process that works on the run, to save and end."""
    path, job = find_job(run)
    state = BACK_ENDS[job.back_end].state(job) if job else None
    if job and state and state.alive:
        BACK_ENDS[job.back_end].cancel(job)
        echo(f"asked {job.back_end} job {job.number} to save and end; resume with: "
             f"jaxgen resume --as-submitted {shown_path(path)}")  # fmt: skip
        return
    holder = _holder(Run(path))
    if holder is None:
        raise UserError(_not_running(path, job, state))
    folder, facts = holder
    process = lease.process_here(folder, facts)
    if process is None:
        raise UserError(
            f"{folder} is held by {lease.name(facts) if facts else 'a process that does not say who it is'}, which is "
            "not shown to be a process of this machine, so it is left alone; give the command there"
        )
    os.kill(process, signal.SIGTERM)
    echo(f"asked {lease.name(facts)} to save and end; go on with: jaxgen resume {shown_path(path)}")


def _not_running(path: Path, job: Job | None, state: State | None) -> str:
    if job:
        return f"{job.back_end} job {job.number} does not run: {state}"
    return f"no process works on {path}; `jaxgen status {shown_path(path)}` shows how far it is"
