"""Lays out text in columns. (A table of rich takes a second for a thousand rows.)"""

from __future__ import annotations

import itertools
import os
import shutil
import sys
import textwrap
from collections.abc import Iterator, Sequence

import click

_GAP = 2
_PIPE = 160  # without a terminal (a pipe, a log) narrow columns have no use


def width() -> int:
    """Returns the number of characters in a line of the output."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else _PIPE


def echo(line: str) -> None:
    """Prints a line, with colours if the output is a terminal that allows them."""
    # Without an explicit file, click writes UTF-8 even to an output whose encoding is ASCII.
    click.echo(line, file=sys.stdout, color=False if os.environ.get("NO_COLOR") else None)


def lay_out(rows: Sequence[Sequence[str]], folded: Sequence[int], width: int) -> Iterator[list[str]]:
    """Yields the lines of each row.

    Args:
      rows: cells, equally many in each row.
      folded: the columns whose cells are wrapped at spaces if they do not fit.
      width: the length of a line in characters; a word that does not fit makes it longer.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    free = width - _GAP * (len(widths) - 1) - sum(each for i, each in enumerate(widths) if i not in folded)
    # A narrow column gives its unused width to the wider ones.
    for left, i in zip(range(len(folded), 0, -1), sorted(folded, key=lambda i: widths[i]), strict=True):
        longest = max(len(word) for row in rows for word in row[i].split(" "))
        widths[i] = max(min(widths[i], free // left), longest)
        free -= widths[i]
    for row in rows:
        cells = [
            textwrap.wrap(cell, widths[i], break_long_words=False, break_on_hyphens=False) if i in folded else [cell]
            for i, cell in enumerate(row)
        ]
        yield [
            (" " * _GAP).join(part.ljust(size) for part, size in zip(parts, widths, strict=True)).rstrip()
            for parts in itertools.zip_longest(*cells, fillvalue="")
        ]
