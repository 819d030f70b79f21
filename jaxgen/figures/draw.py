"""Draws a figure in the style of all of them."""

from __future__ import annotations

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
