"""Parts that all figures share: style, small multiples, the step axis, legends and labels of lines."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullLocator

from jaxgen.figures.palette import AXIS, GRID, INK, MUTED, PAGE, Shade

WIDE, NARROW = 10.0, 3.75  # inches: a desktop page, and a phone
ACCURACY_RANGE = (-0.03, 1.04)  # of an axis

STYLE: Any = {
    "font.size": 9,
    "text.color": INK.light,
    # A `$` in a label is a dollar sign.
    "text.parse_math": False,
    "figure.facecolor": PAGE.light,
    "axes.facecolor": "none",
    "axes.edgecolor": AXIS.light,
    "axes.labelcolor": MUTED.light,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "axes.titlelocation": "left",
    "axes.titlesize": 9,
    "axes.titlepad": 5,
    "grid.color": GRID.light,
    "grid.linewidth": 0.7,
    "xtick.color": AXIS.light,
    "ytick.color": AXIS.light,
    "xtick.labelcolor": MUTED.light,
    "ytick.labelcolor": MUTED.light,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "ytick.major.size": 0,
    "lines.linewidth": 1.7,
    "lines.solid_capstyle": "round",
    "lines.solid_joinstyle": "round",
    "legend.frameon": False,
    "legend.fontsize": 9,
    "legend.handlelength": 1.4,
    "legend.handletextpad": 0.5,
    "legend.columnspacing": 1.6,
    "legend.borderaxespad": 0,
    "svg.fonttype": "none",
    "svg.hashsalt": "jaxgen",
}


def panels(titles: Sequence[str], width: float) -> tuple[Figure, list[Axes]]:
    """Returns a figure with one panel a title, with shared axes, in as many columns as are legible."""
    count = len(titles)
    narrow = width < 5
    limit = (1 if count <= 2 else 2) if narrow else 4
    rows = math.ceil(count / limit)
    columns = math.ceil(count / rows)
    height = (2.5 if narrow else 3.4) if columns == 1 else (1.6 if narrow else 2.7 if columns == 2 else 2.1)
    figure = Figure(figsize=(width, rows * height + 0.6), layout=ConstrainedLayoutEngine(w_pad=0.1))
    grid = list(figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).flat)
    for unused in grid[count:]:
        unused.remove()
    for axes in grid[max(0, count - columns) : count]:
        axes.tick_params(labelbottom=True)
    if count > 1:
        characters = int(width / columns * 11.5)
        for axes, title in zip(grid, titles, strict=False):
            axes.set_title(textwrap.fill(title, characters), color=INK.light)
    return figure, grid[:count]


def step_axis(figure: Figure, axes: Sequence[Axes], last: float) -> None:
    """Makes the horizontal axes logarithmic in the step, with step 0 at the left edge.

    The scale is symmetric-logarithmic: linear from 0 to 1, logarithmic from 1 on.
    """
    last = max(last, 1)
    columns = sum(_in_first_row(each) for each in axes)
    room = max(2, int(figure.get_figwidth() / columns / 0.5))
    decades = range(math.floor(math.log10(last) + 1e-9) + 1)
    stride = math.ceil((len(decades) + 1) / room)
    ticks = [0, *(10**decade for decade in decades if (decades[-1] - decade) % stride == 0)]
    for each in axes:
        each.set_xscale("symlog", linthresh=1, linscale=0.5)
        each.set_xlim(0, last)
        each.xaxis.set_major_locator(FixedLocator(ticks))
        each.xaxis.set_minor_locator(NullLocator())
        each.xaxis.set_major_formatter(FuncFormatter(lambda step, _: step_text(step)))


def _in_first_row(axes: Axes) -> bool:
    spec = axes.get_subplotspec()
    return spec is not None and spec.is_first_row()


def step_text(step: float) -> str:
    """Returns a step as short text: 100, 10k, 1M."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if step >= size:
            return f"{step / size:g}{unit}"
    return f"{step:g}"


def log_label(text: str) -> str:
    """Returns the label of a logarithmic axis."""
    return f"{text[:-1]}, log scale)" if text.endswith(")") else f"{text} (log scale)"


def accuracy_axis(axes: Sequence[Axes]) -> None:
    """Shows the whole range of an accuracy, so that panels and figures can be compared at a glance."""
    for each in axes:
        each.set_ylim(*ACCURACY_RANGE)
        each.yaxis.set_major_locator(FixedLocator([0, 0.25, 0.5, 0.75, 1]))
        each.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def log_axis(axes: Sequence[Axes], low: float, high: float) -> None:
    """Makes the vertical axes logarithmic, for positive values from `low` to `high`."""
    for each in axes:
        each.set_yscale("log")
        each.set_ylim(low / 1.4, high * 1.4)
        each.yaxis.set_major_locator(LogLocator(subs=(1.0,) if high > 50 * low else (1.0, 2.0, 5.0), numticks=8))
        each.yaxis.set_minor_locator(NullLocator())
        each.yaxis.set_major_formatter(FuncFormatter(lambda value, _: power_text(value)))


def power_text(value: float) -> str:
    """Returns a value as text, with an exponent if it is very small or large: 0.01, 200, 10⁻⁵."""
    mantissa, exponent = f"{value:.0e}".split("e")
    if 1e-3 <= value < 1e4:
        return f"{value:g}"
    power = "10" + str(int(exponent)).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return power if mantissa == "1" else f"{mantissa}×{power}"


def name_axes(figure: Figure, x_label: str, y_label: str) -> None:
    """Labels the horizontal axis once, and the vertical axis on each row."""
    if x_label:
        figure.supxlabel(x_label, size=9, color=MUTED.light)
    for axes in figure.axes:
        spec = axes.get_subplotspec()
        if spec is not None and spec.is_first_col():
            axes.set_ylabel(y_label)


def legend(figure: Figure, handles: Sequence[Any]) -> None:
    """Draws a legend above the panels, with as many columns as fit the width."""
    longest = max(len(handle.get_label()) for handle in handles)
    columns = max(1, int(figure.get_figwidth() * 72 / (longest * 5.2 + 34)))
    rows = math.ceil(len(handles) / columns)
    figure.set_figheight(figure.get_figheight() + 0.18 * rows)
    figure.legend(handles=handles, loc="outside upper left", ncols=min(columns, len(handles)))


def name_lines(figure: Figure, axes: Sequence[Axes], handles: Sequence[Line2D]) -> None:
    """Labels lines at their ends if there is one wide panel, else in a legend. A single line gets no label.

    Args:
      figure: the figure.
      axes: its panels.
      handles: the lines drawn in the one panel, or their handles for a legend.
    """
    if len(handles) < 2:
        return
    ends_known = all(len(np.asarray(handle.get_ydata())) for handle in handles)
    if len(axes) > 1 or figure.get_figwidth() < 5 or len(handles) > 6 or not ends_known:
        legend(figure, handles)
        return
    (panel,) = axes
    last = [float(np.asarray(handle.get_ydata())[-1]) for handle in handles]
    ends = sorted((_height(panel, value), i) for i, value in enumerate(last))
    heights = spread_out([height for height, _ in ends], gap=0.07)
    for height, (_, i) in zip(heights, ends, strict=True):
        handle = handles[i]
        panel.text(
            1.012, height, str(handle.get_label()), color=handle.get_color(), transform=panel.transAxes, va="center"
        )


def _height(axes: Axes, value: float) -> float:
    """Returns the height of a value on the vertical axis: 0 at the bottom and below it, 1 at the top and above."""
    # Reading the limits updates them; the transforms alone do not.
    axes.get_ylim()
    height = np.asarray((axes.transScale + axes.transLimits).transform((1.0, value)))[1]
    return float(np.clip(height, 0, 1))


def spread_out(heights: Sequence[float], gap: float) -> list[float]:
    """Moves ascending `heights` apart to at least `gap`, and keeps them below 1 if they fit."""
    placed: list[float] = []
    for height in heights:
        placed.append(max(height, placed[-1] + gap) if placed else height)
    ceiling = 1.0
    for i in reversed(range(len(placed))):
        placed[i] = min(placed[i], ceiling)
        ceiling = placed[i] - gap
    return placed


def paper_lines(axes: Axes, stated: Sequence[tuple[float, Shade]]) -> None:
    """Draws the paper's values as dashed lines with labels; labels that would collide are moved apart."""
    placed: list[tuple[float, str]] = []
    for value, shade in stated:
        axes.axhline(
            value, color=shade.light, linestyle=(0, (4, 3)), linewidth=1.1, zorder=1.5, label=f"paper {value:g}"
        )
        height = _height(axes, value)
        taken = [align for other, align in placed if abs(other - height) < 0.25]
        align = next((align for align in ("left", "right") if align not in taken), "center")
        placed.append((height, align))
        below = height > 0.8
        axes.annotate(
            f"paper {value:g}", ({"left": 0.02, "center": 0.5, "right": 0.98}[align], value),
            xycoords=("axes fraction", "data"), xytext=(0, -4 if below else 4), textcoords="offset points", ha=align,
            va="top" if below else "bottom", size=8, color=shade.light,
            bbox={"facecolor": PAGE.light, "edgecolor": "none", "alpha": 0.8, "pad": 0.8},
        )  # fmt: skip
