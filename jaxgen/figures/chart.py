"""A figure's data as JSON, for the page's script (`jaxgen/report/chart.js`). Imports no matplotlib.

JSON has no NaN and no infinity: what is not a finite number is null there, and leaves a gap.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import pandas as pd

# line, thin (one seed) and paper are lines; low and high bound a band; dots and diamonds are marks.
Kind = Literal["line", "thin", "low", "high", "paper", "dots", "diamonds"]
DIGITS = 5  # more than a screen has pixels


@dataclasses.dataclass(frozen=True, kw_only=True)
class Series:
    """Values against a grid. Those of one `name` are one entry of the legend, shown and hidden together."""

    name: str
    kind: Kind
    shade: str  # the name of a colour of `jaxgen.figures.palette`
    dash: tuple[float, ...] = ()  # in widths of the line; empty: solid
    x: Sequence[float]
    y: Sequence[float]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Panel:
    """Series that share their axes."""

    title: str
    series: Sequence[Series]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Chart:
    """Panels that share axes, legend and cursor. On a log axis that begins at 0, what is below the least positive
    value is linear."""

    panels: Sequence[Panel]
    x_label: str
    y_label: str
    log_x: bool = False
    log_y: bool = False
    y_range: tuple[float, float] | None = None  # None: that of the values

    def json(self) -> dict[str, Any]:
        """Returns what the page's script reads; series on equal grids share them."""
        return {
            "x": self.x_label,
            "y": self.y_label,
            "logX": self.log_x,
            "logY": self.log_y,
            "range": self.y_range,
            "panels": [_panel_json(each) for each in self.panels],
        }


def median_and_range(series: pd.DataFrame, name: str, shade: str, dash: Sequence[float] = ()) -> Iterator[Series]:
    """Gives the median and the range over the seeds where every seed was measured, and what single seeds go on with.

    Args:
      series: index the horizontal axis, one column a seed; NaN where a seed was not measured.
      name: of the entry of the legend.
      shade: the name of a colour.
      dash: of the lines.
    """
    look: dict[str, Any] = {"name": name, "shade": shade, "dash": tuple(dash)}
    series = series.dropna(axis="columns", how="all")
    shared = series.dropna()
    if series.shape[1] > 1 and len(shared):
        yield Series(kind="low", x=list(shared.index), y=list(shared.min(axis=1)), **look)
        yield Series(kind="high", x=list(shared.index), y=list(shared.max(axis=1)), **look)
    yield Series(kind="line", x=list(shared.index), y=list(shared.median(axis=1)), **look)
    apart = series.loc[shared.index[-1] :] if len(shared) else series
    for _, seed in apart.items() if len(apart) > 1 or not len(shared) else ():
        rest = seed.dropna()
        if len(rest) > 1 or not len(shared):
            yield Series(kind="thin", x=list(rest.index), y=list(rest), **look)


def _panel_json(panel: Panel) -> dict[str, Any]:
    grids: dict[tuple[float, ...], int] = {}
    series = []
    for each in panel.series:
        grid = grids.setdefault(tuple(_numbers(each.x)), len(grids))
        series.append(
            {
                "name": each.name,
                "kind": each.kind,
                "shade": each.shade,
                "dash": list(each.dash),
                "grid": grid,
                "y": [_rounded(value) for value in each.y],
            }
        )
    return {"title": panel.title, "grids": [list(grid) for grid in grids], "series": series}


def _numbers(values: Iterable[float]) -> list[float]:
    """Returns Python's numbers, whole ones without a fraction."""
    return [int(value) if float(value).is_integer() else float(value) for value in values]


def _rounded(value: float) -> float | None:
    return _numbers([float(f"{value:.{DIGITS}g}")])[0] if math.isfinite(value) else None
