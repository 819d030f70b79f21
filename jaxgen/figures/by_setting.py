"""Draws numbers of each condition against one of its settings."""

from __future__ import annotations

import dataclasses
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
from jaxgen.figures.axes import log_axis, log_label, name_axes, name_lines, panels, step_text
from jaxgen.figures.chart import Chart, Panel, Series, median_and_range
from jaxgen.figures.palette import Shade, split_shades
from jaxgen.figures.settings import setting_text
from jaxgen.table import NotMeasured, SeedTable, Table


@dataclasses.dataclass(frozen=True)
class _Values:
    """What a `BySetting` draws."""

    places: Mapping[str, float]  # where each condition is that has the setting; of words their numbers
    words: Sequence[str]  # what stands at 0, 1, ... where the setting is a word
    found: Mapping[str, pd.DataFrame]  # of each line the finite numbers: index the setting, one column a seed
    undrawn: int  # numbers that are not finite, or not positive on a log axis
    why: str  # of the first condition and seed without a number, what it lacks


def values_of(figure: BySetting, table: Table, conditions: Sequence[Condition]) -> _Values:
    """Calls the figure's functions for every condition and seed."""
    settings = {
        each.name: figure.place(each)
        for each in conditions
        if figure.conditions is None or each.name in figure.conditions
    }
    places = {name: x for name, x in settings.items() if x is not None}
    said = any(isinstance(x, str) for x in places.values())
    words = list(dict.fromkeys(map(str, places.values()))) if said else []
    if words:
        places = {name: words.index(f"{x}") for name, x in places.items()}
    found, undrawn, missing = {}, 0, []
    for line, value in figure.values.items():
        numbers, lacking = _numbers(value, table, places)
        shown = numbers.where(np.isfinite(numbers) & ((numbers > 0) | (not figure.log_y)))
        undrawn += int(numbers.notna().sum().sum() - shown.notna().sum().sum())
        missing += lacking
        shown = shown.dropna(axis="columns", how="all")
        if not shown.empty:
            found[line] = shown
    return _Values(places, words, found, undrawn, missing[0] if missing else "")


def draw_by_setting(figure: BySetting, table: Table, conditions: Sequence[Condition], width: float) -> Drawing | None:
    """Draws one panel; the paper's values are hollow diamonds."""
    values = values_of(figure, table, conditions)
    if not values.found:
        return None
    drawing, (axes,) = panels([""], min(width, 7.0))
    stated = {line: _stated(figure, line) for line in values.found}
    if figure.log_y:
        shown = np.concatenate([np.ravel(each) for each in (*values.found.values(), *stated.values())])
        shown = shown[(shown > 0) & np.isfinite(shown)]
        log_axis([axes], low=float(shown.min()), high=float(shown.max()))
    else:
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: step_text(value)))
    room = drawing.get_figwidth() * 72 * 0.8  # about the length of the axis, in points
    if words := values.words:
        crowded = sum(map(_width, words)) > room
        axes.set_xticks(range(len(words)), words, rotation=25 if crowded else 0, ha="right" if crowded else "center")
    else:
        _setting_axis(axes, sorted(set(values.places.values())), figure.log_x, room)
    shades = split_shades(list(values.found))
    handles = [_line(axes, numbers, stated[line], shades[line], line) for line, numbers in values.found.items()]
    x_label = figure.x_label or setting_text(figure.x)
    name_axes(
        drawing,
        log_label(x_label) if figure.log_x else x_label,
        log_label(figure.y_label) if figure.log_y else figure.y_label,
    )
    name_lines(drawing, [axes], handles)
    return drawing


def by_setting_chart(figure: BySetting, table: Table, conditions: Sequence[Condition]) -> Chart | None:
    """Returns what `draw_by_setting` draws, as data; None for a setting of words: a chart has no axis for them."""
    values = values_of(figure, table, conditions)
    if not values.found or values.words:
        return None
    shades = split_shades(list(values.found))
    series: list[Series] = []
    for line, numbers in values.found.items():
        shade = shades[line].name
        # All seeds are drawn as dots, so that a single one needs no line of its own.
        series += [each for each in median_and_range(numbers, line, shade) if each.kind != "thin"]
        series += [
            Series(name=line, kind="dots", shade=shade, x=list(seed.index), y=list(seed)) for _, seed in numbers.items()
        ]
        if len(stated := _stated(figure, line)):
            series.append(Series(name=line, kind="diamonds", shade=shade, x=list(stated.index), y=list(stated)))
    return Chart(
        panels=[Panel(title="", series=series)],
        x_label=figure.x_label or setting_text(figure.x),
        y_label=figure.y_label,
        log_x=figure.log_x,
        log_y=figure.log_y,
    )


def _stated(figure: BySetting, line: str) -> pd.Series:
    return pd.Series(figure.paper.get(line, {}), dtype=float).sort_index()


def _numbers(
    value: Callable[[SeedTable, str], Number], table: Table, places: Mapping[str, float]
) -> tuple[pd.DataFrame, list[str]]:
    """Returns the known numbers (index the setting, one column a seed), and why others are not known."""
    columns: dict[int, dict[float, float]] = {}
    missing = []
    for seed in table.seeds():
        for name, x in places.items():
            try:
                columns.setdefault(seed, {})[x] = float(value(table.seed(seed), name))
            except (NotMeasured, Censored) as absence:
                missing.append(str(absence))
    return pd.DataFrame(columns, dtype=float).dropna(axis="columns", how="all").sort_index(), missing


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


def _setting_axis(axes: Axes, values: Sequence[float], log: bool, room: float) -> None:
    """Puts ticks at the settings that were run, as many as are legible."""
    if log:
        axes.set_xscale("log")
        values = [value for value in values if value > 0]
    axes.xaxis.set_major_locator(FixedLocator(_legible(values[:: -(-len(values) // 9) or 1], log, room)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def _width(label: float | str) -> float:
    """Returns about how wide a tick's label is, with a gap, in points."""
    return 5.2 * (len(label if isinstance(label, str) else f"{label:g}") + 1.5)


def _legible(values: Sequence[float], log: bool, room: float) -> list[float]:
    """Returns the ascending values whose labels do not run into each other."""
    places = np.log(values) if log else np.asarray(values, dtype=float)
    points = places * (room / (np.ptp(places) or 1)) if len(values) else places
    kept: list[int] = []
    for i, at in enumerate(points):
        if not kept or at - points[kept[-1]] >= (_width(values[i]) + _width(values[kept[-1]])) / 2:
            kept.append(i)
    return [values[i] for i in kept]
