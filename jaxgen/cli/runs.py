"""`runs`: the runs in a folder or a bucket. Imports neither jax nor pandas."""

from __future__ import annotations

import json
import shlex
import textwrap
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

import click

from jaxgen.cli import columns
from jaxgen.cli.text import harmless, shown_path
from jaxgen.errors import UserError, suggestion
from jaxgen.ledger.survey import Summary, summary, survey

STATES = ("queued", "running", "finished", "stopped", "failed", "cancelled", "gone", "unknown", "damaged")
_COLOURS = {"running": "cyan", "queued": "cyan", "finished": "green", "failed": "red", "damaged": "red"}
_INDENT = "  "
_HEAD = ("state", "step", "members", "reproduced", "size", "age")


def runs_command(root: Path, ids: Sequence[str], states: Collection[str], *, as_json: bool) -> None:
    """Prints the runs below a folder, those that changed last first."""
    found = list(surveyed(root))
    shown = [each for each in found if chosen(each, ids, states)]
    if as_json:
        click.echo(json.dumps([each.json() for each in shown], indent=1))
        return
    if not shown:
        known = {each.id for each in found} | {each.paper for each in found}
        near = "".join(suggestion(each, known) for each in ids if each not in known)
        columns.echo(f"none of the {len(found)} runs in {shown_path(root)}{near}" if found else
                     f"no runs in {shown_path(root)}")  # fmt: skip
        return
    rows = [_HEAD, *map(_cells, shown)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [_INDENT + "  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    columns.echo(click.style(f"run\n{lines[0]}", bold=True))
    for each, line in zip(shown, lines[1:], strict=True):
        columns.echo(click.style(harmless(shown_path(_shortest(each.path))), bold=True))
        columns.echo(click.style(line, fg=_COLOURS.get(each.state)))
        for text in _more(each):
            for part in textwrap.wrap(harmless(text), max(columns.width() - 4, 20), break_on_hyphens=False):
                columns.echo(f"{_INDENT * 2}{part}")
    known_sizes = [each.bytes for each in shown if each.bytes is not None]
    total = f", {size(sum(known_sizes))}" if known_sizes else ""
    columns.echo(f"{len(shown)} run{'s' if len(shown) != 1 else ''}{total}")


def surveyed(root: Path) -> Iterator[Summary]:
    """Yields the summaries of the runs below a folder, with the states of their jobs."""
    for each in survey(root):
        _ask_job(each)
        yield each


def look(path: Path) -> Summary:
    """Returns the summary of the run at a path, with the state of its job."""
    found = summary(path)
    _ask_job(found)
    return found


def _ask_job(found: Summary) -> None:
    """Asks the back end of a job for its state, where the run's files do not say it."""
    if found.state not in ("stopped", "gone") or not (found.path / "job" / "job.json").exists():
        return
    from jaxgen.launch.back_ends import BACK_ENDS
    from jaxgen.launch.job import read_job

    try:
        job = read_job(found.path)
        if job is not None and job.back_end in BACK_ENDS:
            word = BACK_ENDS[job.back_end].state(job).word
            # Of a run that is here its files say more than that its job is gone, or ended before the run was asked for
            # more.
            if found.state == "gone" or word not in ("gone", "finished"):
                found.state = word
    except UserError as error:
        found.state, found.problem = "unknown", str(error)


def chosen(found: Summary, ids: Sequence[str], states: Collection[str]) -> bool:
    """Returns whether a run is of one of these papers or experiments, if any are named, and in one of these states."""
    return (not ids or found.id in ids or found.paper in ids) and (not states or found.state in states)


def _cells(found: Summary) -> tuple[str, ...]:
    if found.state == "damaged":
        return ("damaged", "", "", "", size(found.bytes), age(found.age()))
    claims = found.claims or {}
    judged = sum(number for outcome, number in claims.items() if outcome != "not judged")
    verdicts = f"{claims.get('reproduced', 0)} of {judged}" if judged else ("not judged" if claims else "-")
    return (
        found.state,
        f"{found.step:,}/{found.horizon:,}" if found.horizon else "-",
        f"{found.trained}/{found.members}",
        verdicts,
        size(found.bytes),
        age(found.age()),
    )


def _more(found: Summary) -> Iterator[str]:
    options = [f"--set {shlex.quote(each)}" for each in found.settings]
    options += [f"--{name} {value}" for name, value in (("seeds", found.seeds), ("extend", found.extend)) if value]
    if options:
        yield " ".join(options)
    if found.failed:
        yield f"{found.failed} of {found.members} members failed: their numbers are not finite"
    if found.problem:
        yield found.problem


def _shortest(path: Path) -> Path:
    """Returns a path from the working directory if it lies there."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def size(number: int | None) -> str:
    """Returns a number of bytes for people."""
    if number is None:
        return "-"
    amount, units = float(number), ["B", "kB", "MB", "GB", "TB"]
    while amount >= 999.5 and len(units) > 1:
        amount, units = amount / 1000, units[1:]
    return f"{amount:.0f} {units[0]}" if amount >= 9.95 or units[0] == "B" else f"{amount:.1f} {units[0]}"


def age(seconds: float | None) -> str:
    """Returns a duration for people, in its largest unit."""
    if seconds is None:
        return "-"
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{int(seconds // length)} {unit}"
    return f"{int(seconds)} s"
