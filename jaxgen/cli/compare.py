"""`jaxgen compare`: runs side by side, in the terminal and as a page. Imports no jax."""

from __future__ import annotations

import datetime
import os
import re
import shlex
from collections.abc import Sequence
from pathlib import Path

import click

from jaxgen.cli import columns
from jaxgen.cli.look import MARKS
from jaxgen.cli.text import echo, harmless
from jaxgen.errors import UserError
from jaxgen.ledger.comparison import Comparison, compare
from jaxgen.ledger.settings import NOTHING
from jaxgen.storage import objects
from jaxgen.storage.files import make_directory, write_text

Line = tuple[str, ...]
_MOST_COLUMNS = 4  # runs in one table: more are not legible in 80 columns
_OUTCOME = re.compile("|".join(sorted(MARKS, key=len, reverse=True)))


def compare_command(paths: Sequence[Path], keys: Sequence[str], to: Path | None) -> None:
    """Prints what differs between runs, their verdicts and final values, and writes a page to `to`."""
    if to is not None:
        make_directory(to.parent)
        if to.is_dir() or not os.access(to.parent, os.W_OK):
            raise UserError(f"--to: {to} cannot be written, expected a file in a folder that can be")
    comparison = compare(paths, keys)
    for run in comparison.runs:
        columns.echo(f"{click.style(run.label, bold=True)}  {harmless(run.name)}")
    numbers = range(len(comparison.runs))
    for start in numbers[::_MOST_COLUMNS]:
        _print(comparison, numbers[start : start + _MOST_COLUMNS])
    if comparison.more_keys:
        echo(f"\nmeasured, too (--key): {', '.join(comparison.more_keys[:12])}"
             f"{f' and {len(comparison.more_keys) - 12} more' if len(comparison.more_keys) > 12 else ''}")  # fmt: skip
    if to is not None:
        from jaxgen.report.compare import comparison_page

        words = ["jaxgen compare", *(shlex.quote(run.name) for run in comparison.runs)]
        words += [f"--key {shlex.quote(key)}" for key in keys]
        created = datetime.datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z")
        write_text(to, comparison_page(comparison, " ".join(words), created))
        echo(f"\npage: {shlex.quote(objects.url(to))}")


def _print(comparison: Comparison, chosen: Sequence[int]) -> None:
    """Prints a table of some of the runs."""
    facts = [(row.name, row.values) for row in comparison.facts() if row.differs()]
    settings = [(row.name, row.values) for row in comparison.settings()]
    alone = [(row.name, row.values) for row in comparison.alone()]
    claims = [
        (name, tuple(f"{each.outcome} {each.estimate}".strip() if each else NOTHING for each in verdicts))
        for name, verdicts in comparison.claims()
    ]
    parts = [("what differs", facts), ("settings", settings), ("conditions", alone), ("claims", claims)]
    parts += [(key, [(row.name, row.values) for row in comparison.finals(key)]) for key in comparison.keys]
    rows: list[Line] = []
    heads = set()
    for title, found in parts:
        if found:
            heads.add(len(rows))
            rows.append((title, *(comparison.runs[i].label for i in chosen)))
            rows += [(f"  {name}", *(values[i] for i in chosen)) for name, values in found]
    rows = [tuple(harmless(cell) for cell in row) for row in rows]
    wide = min(columns.width(), 160)
    for number, lines in enumerate(columns.lay_out(rows, range(len(chosen) + 1), wide)):
        if number in heads:
            columns.echo("")
        for line in lines:
            bold = number in heads
            columns.echo(click.style(line, bold=True) if bold else _OUTCOME.sub(_coloured, line))


def _coloured(outcome: re.Match[str]) -> str:
    return click.style(outcome[0], fg=MARKS[outcome[0]])
