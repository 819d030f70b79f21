"""Draws a figure in the style of all of them, and writes it down as SVG."""

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
    """Returns what `figure.draw` does, in the style of the house."""
    with matplotlib.rc_context(STYLE):
        return figure.draw(table, conditions, width)


def svg(drawing: Drawing) -> str:
    """Returns a drawing as a file of its own; of equal drawings the text is equal."""
    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "jaxgen"}):
        drawing.savefig(buffer, format="svg", metadata={"Date": None})
    return shorter(buffer.getvalue())


def shorter(text: str) -> str:
    """Returns an SVG with a hundredth of a point at most in the coordinates of its paths."""
    return re.sub(r' d="[^"]*"', lambda path: re.sub(r"(\.\d\d)\d+", r"\1", path[0]), text)
