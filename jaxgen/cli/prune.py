"""`prune`: frees the space of what finished runs no longer need, and of old runs. Imports neither jax nor pandas."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import click

from jaxgen.cli.runs import age, look, size, surveyed
from jaxgen.cli.text import echo, shown_path
from jaxgen.errors import UserError, shown
from jaxgen.ledger import pruning
from jaxgen.ledger.survey import Summary
from jaxgen.storage import objects

_HOURS = {"h": 1, "d": 24, "w": 7 * 24}


@dataclasses.dataclass(frozen=True)
class _Removal:
    """Something to remove, how many bytes that frees, and how to do it."""

    what: str
    bytes: int
    remove: Callable[[], None]


def prune_command(root: Path, runs: Sequence[Path], older_than: str | None, *, whole: bool, yes: bool) -> None:
    """Says what would be removed, asks, and removes it."""
    if whole and older_than is None and not runs:
        raise UserError("--all removes whole runs: say which, by RUN or with --older-than 30d")
    if any(map(objects.is_remote, (root, *runs))):
        raise UserError(
            "prune: in a bucket nobody can tell that no process trains a run; remove it with the bucket's tool"
        )
    least = 0.0 if older_than is None else _seconds(older_than)
    found = [look(each) for each in runs] if runs else surveyed(root)
    removals = []
    for each in found:
        if (each.age() or 0) < least:
            continue
        try:
            removals += list(_whole(each) if whole else _recovery(each, named=bool(runs)))
        except UserError as reason:
            echo(f"left alone: {reason}", err=True)
    if not removals:
        echo("nothing to remove")
        return
    for removal in removals:
        echo(f"  {removal.what}, {size(removal.bytes)}")
    total = size(sum(each.bytes for each in removals))
    stays = "" if whole else "; rows, verdicts, reports and kept parameters stay, --extend will not be possible"
    echo(f"{total} in all{stays}")
    if not yes and not click.confirm("Remove?"):
        return
    freed = 0
    for removal in removals:
        try:
            removal.remove()
            freed += removal.bytes
        except UserError as reason:
            echo(f"left alone: {reason}", err=True)
    echo(f"freed {size(freed)}")


def _recovery(found: Summary, *, named: bool) -> Iterator[_Removal]:
    _refuse_unreadable(found)
    if found.state != "finished":
        if named:
            raise UserError(f"{found.path} is {found.state}; its recovery states are what it goes on from")
        return
    todo = [(each, pruning.recovery_bytes(each)) for each in pruning.populations(found.path)]
    todo = [(directory, freed) for directory, freed in todo if freed]

    def remove() -> None:
        for directory, _ in todo:
            pruning.remove_recovery(directory)

    if todo:
        yield _Removal(f"recovery states of {shown_path(found.path)}", sum(freed for _, freed in todo), remove)


def _whole(found: Summary) -> Iterator[_Removal]:
    _refuse_unreadable(found)
    if found.state in ("running", "queued"):
        raise UserError(f"{found.path} is {found.state}")
    what = f"all of {shown_path(found.path)}, {found.state}, last changed {age(found.age())} ago"
    yield _Removal(what, found.bytes or 0, lambda: pruning.remove_run(found.path))


def _refuse_unreadable(found: Summary) -> None:
    if found.state in ("damaged", "unknown"):
        raise UserError(f"{found.path} is {found.state}: {found.problem}")


def _seconds(text: str) -> float:
    match = re.fullmatch(r"(\d{1,6})([hdw])", text)
    if match is None:
        raise UserError(f"--older-than: got {shown(text)}, expected hours, days or weeks, such as 12h, 30d or 8w")
    return int(match[1]) * _HOURS[match[2]] * 3600.0
