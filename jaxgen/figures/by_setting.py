"""Draws numbers of each condition against one of its settings."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from jaxgen.bounds import Censored, Number
from jaxgen.condition import Condition
from jaxgen.figures import BySetting
from jaxgen.figures.axes import log_axis, name_axes, name_lines, panels, step_text
from jaxgen.figures.palette import Shade, split_shades
from jaxgen.figures.settings import setting_text
from jaxgen.table import NotMeasured, SeedTable, Table


def draw_by_setting(figure: BySetting, table: Table, conditions: Sequence[Condition], width: float) -> Drawing | None:
    """Draws one panel; the paper's values are hollow diamonds."""
    places = {
        each.name: figure.place(each)
        for each in conditions
        if figure.conditions is None or each.name in figure.conditions
    }
    places = {name: x for name, x in places.items() if x is not None}
    words = list(dict.fromkeys(places.values())) if any(isinstance(x, str) for x in places.values()) else []
    if words:
        places = {name: words.index(x) for name, x in places.items()}
    found = {line: _numbers(value, table, places) for line, value in figure.values.items()}
    found = {line: numbers for line, numbers in found.items() if not numbers.empty}
    if not found:
        return None
    drawing, (axes,) = panels([""], min(width, 7.0))
    stated = {line: pd.Series(figure.paper.get(line, {}), dtype=float).sort_index() for line in found}
    if figure.log_y:
        shown = np.concatenate([np.ravel(each) for each in (*found.values(), *stated.values())])
        shown = shown[(shown > 0) & np.isfinite(shown)]
        if shown.size:
            log_axis([axes], low=float(shown.min()), high=float(shown.max()))
    else:
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: step_text(value)))
    if words:
        axes.set_xticks(range(len(words)), [textwrap.fill(f"{word}", 16) for word in words])
    else:
        _setting_axis(axes, sorted(set(places.values())), figure.log_x)
    shades = split_shades(list(found))
    handles = [_line(axes, numbers, stated[line], shades[line], line) for line, numbers in found.items()]
    name_axes(drawing, figure.x_label or setting_text(figure.x), figure.y_label)
    name_lines(drawing, [axes], handles)
    return drawing


def _numbers(value: Callable[[SeedTable, str], Number], table: Table, places: Mapping[str, float]) -> pd.DataFrame:
    """Returns the known numbers: index the setting, one column a seed."""
    columns: dict[int, dict[float, float]] = {}
    for seed in table.seeds():
        for name, x in places.items():
            try:
                columns.setdefault(seed, {})[x] = float(value(table.seed(seed), name))
            except (NotMeasured, Censored):
                continue
    return pd.DataFrame(columns).dropna(axis="columns", how="all").sort_index()


def _line(axes: Axes, numbers: pd.DataFrame, stated: pd.Series, shade: Shade, text: str) -> Line2D:
    shared = numbers.dropna()
    (line,) = axes.plot(shared.index, shared.median(axis=1), color=shade.light, label=text, zorder=3)
    axes.fill_between(
        shared.index, shared.min(axis=1), shared.max(axis=1), color=shade.light, alpha=0.18, linewidth=0, zorder=2
    )
    for _, seed in numbers.items():
        axes.plot(seed.index, seed, color=shade.light, linestyle="", marker="o", markersize=3, zorder=3)
    if len(stated):
        axes.plot(
            stated.index, stated, color=shade.light, linestyle="", marker="D", markersize=6, markerfacecolor="none",
            zorder=2.5, label=f"{text}, paper",
        )  # fmt: skip
    return line


def _setting_axis(axes: Axes, values: Sequence[float], log: bool) -> None:
    """Puts ticks at the settings that were run, as many as are legible."""
    if log:
        axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator(values[:: -(-len(values) // 9)]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
