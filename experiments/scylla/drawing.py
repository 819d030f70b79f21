"""Draws `ByOrder`: in a file of its own, as it needs matplotlib when it is read."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure as Drawing

from jaxgen.condition import Condition
from jaxgen.figures.axes import accuracy_axis, name_axes, name_lines, panels
from jaxgen.figures.palette import split_shades
from jaxgen.table import NotMeasured, Table

from .parts import ORDERS, ByOrder


def draw_by_order(figure: ByOrder, table: Table, conditions: Sequence[Condition], width: float) -> Drawing | None:
    """Draws one panel a condition; the paper's gaps are hollow diamonds."""
    found = {name: lines for each in conditions if (lines := _lines(figure, table, name := each.name))}
    if not found:
        return None
    drawing, axes = panels(list(found), width)
    accuracy_axis(axes)
    shades = split_shades(list(figure.accuracies))
    places = np.arange(len(ORDERS))
    handles = {}
    for panel, (name, lines) in zip(axes, found.items(), strict=True):
        for line, values_SO in lines.items():
            colour = shades[line].light
            (handles[line],) = panel.plot(
                places, np.median(values_SO, axis=0), color=colour, label=line, marker="o", markersize=3, zorder=3
            )
            panel.fill_between(
                places, values_SO.min(axis=0), values_SO.max(axis=0), color=colour, alpha=0.18, linewidth=0, zorder=2
            )
        if name in figure.paper:
            panel.plot(
                places, figure.paper[name], color=shades["gap"].light, linestyle="", marker="D", markersize=6,
                markerfacecolor="none", zorder=2.5,
            )  # fmt: skip
        panel.set_xticks(places, list(ORDERS), rotation=35, ha="right")
    name_axes(drawing, "order of complexity", "accuracy")
    name_lines(drawing, axes, list(handles.values()))
    return drawing


def _lines(figure: ByOrder, table: Table, name: str) -> dict[str, np.ndarray]:
    """Returns the values (seeds, orders) of each line; nothing where a condition was not measured."""
    found: dict[str, list[Sequence[float]]] = {}
    for seed in table.seeds():
        for line, values in figure.accuracies.items():
            try:
                found.setdefault(line, []).append(values(table.seed(seed), name))
            except NotMeasured:
                continue
    return {line: np.array(rows) for line, rows in found.items() if rows}
