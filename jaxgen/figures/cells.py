"""Draws conditions as cells over two of their settings."""

from __future__ import annotations

import string
import textwrap
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing
from matplotlib.patches import Patch, Rectangle

from jaxgen.bounds import Censored
from jaxgen.condition import Condition
from jaxgen.errors import UserError, nearest
from jaxgen.figures import CellMap
from jaxgen.figures.axes import legend
from jaxgen.figures.palette import CELL_INK, CELLS, EMPTY, MUTED
from jaxgen.figures.settings import setting, setting_text
from jaxgen.table import NotMeasured, Table

_GAP = 0.03  # fraction of a cell that is left free on each side


def draw_cells(figure: CellMap, table: Table, conditions: Sequence[Condition], width: float) -> Drawing | None:
    """Draws one cell a condition, divided among its seeds if their labels differ."""
    places = {each.name: (setting(each, figure.x), setting(each, figure.y)) for each in conditions}
    placed = [each for each in conditions if None not in places[each.name]]
    labels = {each.name: _labels(figure, table, each) for each in placed}
    if not any(labels.values()):
        return None
    columns = sorted({places[each.name][0] for each in placed})
    rows = sorted({places[each.name][1] for each in placed})
    narrow = width < 5
    width = min(width, 1.2 + 1.7 * len(columns)) if not narrow else width
    cell = (width * 72 - 55) / len(columns)
    letters = max(len(word) for label in figure.labels for word in label.split())
    size = 9 if cell > letters * 9 * 0.57 + 2 else 7.5
    # If the words do not fit, letters replace them.
    spelt = cell > letters * size * 0.57 + 2
    drawing = Drawing(figsize=(width, 0.9 + (0.55 if narrow else 0.72) * len(rows)), layout="constrained")
    axes = drawing.subplots()
    for each in placed:
        x, y = (values.index(place) for values, place in zip((columns, rows), places[each.name], strict=True))
        _cell(axes, x, y, labels[each.name], figure.labels, spelt, size)
    axes.set_xticks(range(len(columns)), [_text(value) for value in columns])
    axes.set_yticks(range(len(rows)), [_text(value) for value in rows])
    axes.set(xlim=(-0.5, len(columns) - 0.5), ylim=(-0.5, len(rows) - 0.5))
    axes.set_xlabel(setting_text(figure.x))
    axes.set_ylabel(setting_text(figure.y))
    axes.grid(False)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    if not spelt:
        keys = zip(string.ascii_uppercase, figure.labels, strict=False)
        legend(drawing, [Patch(color=_colour(figure, label), label=f"{letter}  {label}") for letter, label in keys])
    return drawing


def _labels(figure: CellMap, table: Table, condition: Condition) -> list[str]:
    """Returns the labels of the seeds that have one, in the order of the figure's labels."""
    found = []
    for seed in table.seeds():
        try:
            label = figure.label(table.seed(seed), condition)
        except (NotMeasured, Censored):
            continue
        if label not in figure.labels:
            raise UserError(f"figure '{figure.name}': no label '{label}'{nearest(label, figure.labels)}")
        found.append(label)
    return sorted(found, key=figure.labels.index)


def _cell(axes: Axes, x: int, y: int, found: Sequence[str], labels: Sequence[str], spelt: bool, size: float) -> None:
    side = 1 - 2 * _GAP
    left, bottom = x - side / 2, y - side / 2
    if not found:
        axes.add_patch(Rectangle((left, bottom), side, side, color=EMPTY.light, linewidth=0))
        axes.text(x, y, "–", ha="center", va="center", color=MUTED.light, size=size)
        return
    most = max(dict.fromkeys(found), key=found.count)
    for label in dict.fromkeys(found):
        share = side * found.count(label) / len(found)
        axes.add_patch(Rectangle((left, bottom), share, side, color=_colour_of(labels, label), linewidth=0))
        if label == most:
            x_text = left + share / 2
        left += share
    text = textwrap.fill(most, 12) if spelt else string.ascii_uppercase[labels.index(most)]
    if found.count(most) < len(found):
        text += f"\n{found.count(most)} of {len(found)}"
    axes.text(x_text, y, text, ha="center", va="center", color=CELL_INK.light, size=size, linespacing=1.15)


def _colour(figure: CellMap, label: str) -> str:
    return _colour_of(figure.labels, label)


def _colour_of(labels: Sequence[str], label: str) -> str:
    return CELLS[labels.index(label) % len(CELLS)].light


def _text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, (int, float)) else str(value)
