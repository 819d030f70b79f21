"""Draws a figure in the common style, and converts it to SVG."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence

import matplotlib
from matplotlib.figure import Figure as Drawing

from jaxgen.condition import Condition
from jaxgen.figures.axes import STYLE, WIDE
from jaxgen.figures.base import Figure
from jaxgen.table import Table


def draw(figure: Figure, table: Table, conditions: Sequence[Condition], *, width: float = WIDE) -> Drawing | None:
    """Calls `figure.draw` with the common style."""
    with matplotlib.rc_context(STYLE):
        return figure.draw(table, conditions, width)


def svg(drawing: Drawing) -> str:
    """Returns a drawing as the text of an SVG file; equal drawings give equal text."""
    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "jaxgen"}):
        drawing.savefig(buffer, format="svg", metadata={"Date": None})
    return shorter(buffer.getvalue())


def shorter(text: str) -> str:
    """Rounds down the coordinates of an SVG's paths to hundredths of a point."""
    return re.sub(r' d="[^"]*"', lambda path: re.sub(r"(\.\d\d)\d+", r"\1", path[0]), text)
