"""Draws the figures of an experiment, as far as its table goes."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib
from matplotlib.figure import Figure as Drawing

from jaxgen.experiment import BySetting, CellMap, Condition, Curves, Figure, Profile
from jaxgen.report.axes import STYLE, WIDE
from jaxgen.report.by_setting import draw_by_setting
from jaxgen.report.cells import draw_cells
from jaxgen.report.lines import draw_curves, draw_profile
from jaxgen.table import Table


def draw(figure: Figure, table: Table, conditions: Sequence[Condition], *, width: float = WIDE) -> Drawing | None:
    """Draws one figure.

    Args:
      figure: what to draw.
      table: the rows measured so far.
      conditions: the resolved conditions; of those that the figure names, the ones with rows are drawn.
      width: of the drawing in inches. Fewer panels stand side by side in a narrow one.

    Returns:
      The drawing, or None where the table has nothing of it.
    """
    with matplotlib.rc_context(STYLE):
        match figure:
            case Curves():
                return draw_curves(figure, table, conditions, width)
            case Profile():
                return draw_profile(figure, table, conditions, width)
            case BySetting():
                return draw_by_setting(figure, table, conditions, width)
            case CellMap():
                return draw_cells(figure, table, conditions, width)
    raise TypeError(f"figure '{figure.name}': nothing draws a {type(figure).__name__}")
