"""Draws line figures: values against the step, and last values against a number in the measure's name."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter

from jaxgen.condition import Condition
from jaxgen.figures import Curves, Profile, palette
from jaxgen.figures.axes import (
    ACCURACY_RANGE,
    accuracy_axis,
    log_axis,
    log_label,
    name_axes,
    name_lines,
    panels,
    paper_lines,
    step_axis,
)
from jaxgen.figures.chart import Chart, Panel, Series, median_and_range
from jaxgen.figures.palette import Shade
from jaxgen.table import Table, split_key

# Dashes are the paper's.
Stroke = str | tuple[int, tuple[float, ...]]
STROKES: tuple[Stroke, ...] = ("-", (0, (1, 1.6)), (0, (6, 1.5, 1, 1.5)))


@dataclasses.dataclass(frozen=True)
class _Lines:
    """What a `Curves` draws: the series that were measured, in their panels, and how each line looks."""

    found: Mapping[tuple[str, str], pd.DataFrame]  # by condition and key
    panels: Sequence[str]  # conditions, or keys
    titles: Sequence[str]
    looks: Mapping[str, tuple[Shade, Stroke]]  # by what tells the lines of a panel apart: key, or condition
    texts: Mapping[str, str]
    together: bool

    def place(self, pair: tuple[str, str]) -> tuple[str, str]:
        """Returns the panel and the line of a condition and a key."""
        name, key = pair
        return (key, name) if self.together else (name, key)


def _lines(figure: Curves, table: Table, conditions: Sequence[Condition]) -> _Lines | None:
    names = _chosen(figure.conditions, conditions)
    found = {(name, key): table.series(name, key) for name in names for key in figure.keys}
    found = {pair: series for pair, series in found.items() if series.notna().any(axis=None)}
    if not found:
        return None
    names = [name for name in names if any(name == pair[0] for pair in found)]
    keys = [key for key in figure.keys if any(key == pair[1] for pair in found)]
    key_texts = dict(zip(keys, _key_texts(keys), strict=True))
    if not figure.together:
        return _Lines(found, names, names, _key_looks(keys), key_texts, False)
    looks = {name: (shade, STROKES[0]) for name, shade in zip(names, palette.series(len(names)), strict=True)}
    return _Lines(found, keys, list(key_texts.values()), looks, {name: name for name in names}, True)


def draw_curves(figure: Curves, table: Table, conditions: Sequence[Condition], width: float) -> Drawing | None:
    """Draws values against the step: one panel a condition, or one a key with `together`."""
    lines = _lines(figure, table, conditions)
    if lines is None:
        return None
    drawing, axes = panels(lines.titles, width)
    at = dict(zip(lines.panels, axes, strict=True))
    if figure.log_y:
        stated = [figure.paper.get(name, {}).get(key, np.nan) for name, key in lines.found]
        values = np.concatenate([stated, *(series.to_numpy().ravel() for series in lines.found.values())])
        values = values[(values > 0) & np.isfinite(values)]
        if values.size:
            log_axis(axes, low=float(values.min()), high=float(values.max()))
    elif _are_accuracies([key for _, key in lines.found]):
        accuracy_axis(axes)
    step_axis(drawing, axes, last=max(series.index[-1] for series in lines.found.values()))
    handles: dict[str, Line2D] = {}
    paper: dict[str, list[tuple[float, Shade]]] = {panel: [] for panel in lines.panels}
    for pair, series in lines.found.items():
        panel, line = lines.place(pair)
        shade, stroke = lines.looks[line]
        handles[line] = _band(at[panel], series, shade, stroke, lines.texts[line])
        if (value := _stated(figure, pair)) is not None:
            paper[panel].append((value, shade))
    for panel, stated_there in paper.items():
        paper_lines(at[panel], stated_there)
    name_axes(drawing, log_label("step"), _y_label(figure, lines))
    name_lines(drawing, axes, [handles[line] for line in lines.looks])
    return drawing


def curves_chart(figure: Curves, table: Table, conditions: Sequence[Condition]) -> Chart | None:
    """Returns what `draw_curves` draws, as data."""
    lines = _lines(figure, table, conditions)
    if lines is None:
        return None
    series: dict[str, list[Series]] = {panel: [] for panel in lines.panels}
    for pair, measured in lines.found.items():
        panel, line = lines.place(pair)
        shade, stroke = lines.looks[line]
        name = lines.texts[line] if len(lines.looks) > 1 else ""
        dash = stroke[1] if isinstance(stroke, tuple) else ()
        series[panel] += median_and_range(measured, name, shade.name, dash)
        if (value := _stated(figure, pair)) is not None:
            ends = [measured.index[0], measured.index[-1]]
            series[panel].append(Series(name=name, kind="paper", shade=shade.name, x=ends, y=[value, value]))
    accuracies = _are_accuracies([key for _, key in lines.found])
    return Chart(
        panels=[Panel(title=title, series=series[panel]) for panel, title in zip(series, lines.titles, strict=True)],
        x_label="step",
        y_label=_y_label(figure, lines, log=False),
        log_x=True,
        log_y=figure.log_y,
        y_range=ACCURACY_RANGE if accuracies else None,
    )


def _stated(figure: Curves, pair: tuple[str, str]) -> float | None:
    name, key = pair
    return figure.paper.get(name, {}).get(key)


def _y_label(figure: Curves, lines: _Lines, *, log: bool = True) -> str:
    """Returns what is measured; where all lines are of one split, and no title says so, of which."""
    pairs = [split_key(key) for key in dict.fromkeys(key for _, key in lines.found)]
    measures = ", ".join(dict.fromkeys(measure.replace("_", " ") for measure, _ in pairs))
    splits = {split for _, split in pairs}
    titled = lines.together and len(lines.titles) > 1
    split = splits.pop().replace("_", " ") if len(splits) == 1 and not titled else ""
    text = figure.y_label or f"{split} {measures}".strip()
    return log_label(text) if log and figure.log_y else text


def draw_profile(figure: Profile, table: Table, conditions: Sequence[Condition], width: float) -> Drawing | None:
    """Draws one panel a condition: colours are splits, strokes and markers are prefixes."""
    names = _chosen(figure.conditions, conditions)
    pairs = [(prefix, split) for prefix in figure.prefixes for split in figure.splits]
    found = {(name, *pair): _last_values(table, name, *pair) for name in names for pair in pairs}
    found = {place: series for place, series in found.items() if series.notna().any(axis=None)}
    if not found:
        return None
    names = [name for name in names if any(name == place[0] for place in found)]
    drawing, axes = panels(names, width)
    if _are_accuracies(figure.prefixes):
        accuracy_axis(axes)
    for each in axes:
        each.xaxis.set_major_formatter(FuncFormatter(lambda number, _: f"{number:g}"))
    shades = palette.split_shades(figure.splits)
    prefix_texts = dict(zip(figure.prefixes, _tails(figure.prefixes), strict=True))
    handles: dict[tuple[str, str], Line2D] = {}
    for (name, prefix, split), series in found.items():
        nth = figure.prefixes.index(prefix)
        text = ", ".join(part for part in (split.replace("_", " "), prefix_texts[prefix]) if part)
        line = _band(axes[names.index(name)], series, shades[split], STROKES[nth % len(STROKES)], text)
        line.set(marker="os^D"[nth % 4], markersize=4.5, markerfacecolor=palette.PAGE.light if nth % 2 else None)
        handles[prefix, split] = line
    name_axes(drawing, figure.x_label, figure.y_label)
    name_lines(drawing, axes, list(handles.values()))
    return drawing


def _chosen(wanted: Sequence[str] | None, conditions: Sequence[Condition]) -> list[str]:
    names = [each.name for each in conditions]
    return names if wanted is None else [name for name in wanted if name in names]


def _last_values(table: Table, condition: str, prefix: str, split: str) -> pd.DataFrame:
    """Returns the last value of each `<prefix>.<number>/<split>`: index the number, one column a seed."""
    rows = table.condition(condition).rows
    rows = rows[rows["split"] == split]
    rows = rows[rows["measure"].str.startswith(f"{prefix}.")]
    # If the last part is no number, it belongs to a longer prefix.
    number = pd.to_numeric(rows["measure"].str[len(prefix) + 1 :], errors="coerce")
    last = (
        rows.assign(number=number)
        .dropna(subset=["number"])
        .sort_values("step")
        .drop_duplicates(["number", "seed"], keep="last")
    )
    return last.pivot(index="number", columns="seed", values="value").sort_index()


def _band(axes: Axes, series: pd.DataFrame, shade: Shade, stroke: Stroke, text: str) -> Line2D:
    """Draws the median and the range over the seeds at the steps where every seed was measured.

    Where some are missing (an unfinished run, a member that stopped), the other seeds continue as thin lines, because a
    median over fewer seeds would jump for no reason.
    """
    series = series.dropna(axis="columns", how="all")
    shared = series.dropna()
    middle = shared.median(axis=1)
    (line,) = axes.plot(
        middle.index, middle, color=shade.light, linestyle=stroke, label=text, marker="o" if len(shared) == 1 else None,
        markersize=4, clip_on=axes.get_yscale() == "log", zorder=3,
    )  # fmt: skip
    if series.shape[1] > 1 and len(shared):
        low, high = shared.min(axis=1), shared.max(axis=1)
        axes.fill_between(shared.index, low, high, color=shade.light, alpha=0.18, linewidth=0, zorder=2)
    apart = series.loc[shared.index[-1] :] if len(shared) else series
    for _, seed in apart.items() if len(apart) > 1 or not len(shared) else ():
        rest = seed.dropna()
        if len(rest) > 1 or not len(shared):
            marker = "o" if len(rest) == 1 else None
            axes.plot(rest.index, rest, color=shade.light, linestyle=stroke, linewidth=0.8, marker=marker, markersize=3)
    return line


def _are_accuracies(keys: Sequence[str]) -> bool:
    return all(key.startswith("accuracy") for key in keys)


def _key_texts(keys: Sequence[str]) -> list[str]:
    """Returns only the splits if all keys have one measure, else measure and split."""
    pairs = [split_key(key) for key in keys]
    one = len({measure for measure, _ in pairs}) == 1 and all(split for _, split in pairs)
    return [(split if one else f"{measure} {split}").replace("_", " ").strip() for measure, split in pairs]


def _tails(prefixes: Sequence[str]) -> list[str]:
    """Returns the words that distinguish the prefixes, from the first that differs; nothing for a single prefix."""
    words = [prefix.replace(".", "_").split("_") for prefix in prefixes]
    shared = len(list(itertools.takewhile(lambda parts: len(set(parts)) == 1, zip(*words, strict=False))))
    return [" ".join(each[shared:]) for each in words]


def _key_looks(keys: Sequence[str]) -> dict[str, tuple[Shade, Stroke]]:
    """Returns colour and stroke of each key: the split's colour, and another stroke for a second measure of it.

    If one split has more measures than there are strokes, each measure has its own colour.
    """
    # A measure without a split is distinguished by its own name.
    splits = [split or measure for measure, split in map(split_key, keys)]
    if len(set(splits)) == 1 and len(keys) > len(STROKES):
        return {key: (shade, STROKES[0]) for key, shade in zip(keys, palette.series(len(keys)), strict=True)}
    shades = palette.split_shades(splits)
    return {
        key: (shades[split], STROKES[splits[:i].count(split) % len(STROKES)])
        for i, (key, split) in enumerate(zip(keys, splits, strict=True))
    }
