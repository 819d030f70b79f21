"""Thins a large figure to what a reader can see on the page. Tables and recorded figures have all of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from jaxgen.condition import Condition
from jaxgen.figures.kinds import Curves, Profile
from jaxgen.table import Table

# The largest number of conditions in one figure: six rows of panels, more lines than a reader can distinguish.
MOST_CONDITIONS = 24
# A line with more steps is thinned to the extremes within each of this many parts of the axis.
MOST_STEPS = 500
PARTS = 100

NamesConditions = TypeVar("NamesConditions", Curves, Profile)


def fewer_conditions(
    figure: NamesConditions, table: Table, conditions: Sequence[Condition]
) -> tuple[NamesConditions, tuple[str, ...], list[str]]:
    """Returns a figure with at most that many conditions that have rows, and a note on those left out."""
    names = figure.conditions or tuple(each.name for each in conditions)
    measured = set(table.conditions())
    names = tuple(name for name in names if name in measured)
    said = []
    if len(names) > MOST_CONDITIONS:
        chosen = np.linspace(0, len(names) - 1, MOST_CONDITIONS).round().astype(int)
        said.append(
            f"{MOST_CONDITIONS} of {len(names):,} conditions are shown, evenly chosen; table.csv and the conditions "
            "below have all."
        )
        names = tuple(names[i] for i in chosen)
        figure = dataclasses.replace(figure, conditions=names)
    return figure, names, said


def fewer_steps(keys: Sequence[str], table: Table, names: Sequence[str]) -> tuple[Table, list[str]]:
    """Returns the rows of these keys and conditions, at as many steps as can be seen, and a note on the others."""
    found = {(name, key): table.series(name, key) for name in names for key in keys}
    last = max((series.index[-1] for series in found.values() if len(series)), default=0)
    if all(len(series) <= MOST_STEPS for series in found.values()):
        return table, []
    rows: list[tuple[str, Any, Any, str, float]] = []
    for (name, key), series in found.items():
        kept = series if len(series) <= MOST_STEPS else series.loc[steps_that_show(series, last)]
        for seed, column in kept.items():
            rows += [(name, seed, step, key, value) for step, value in column.items()]
    return Table.of(rows), ["Lines are thinned to their extremes; table.csv has every step."]


def steps_that_show(series: pd.DataFrame, last: float) -> list[int]:
    """Returns the steps at which the median or the range over the seeds is extreme within its part of the axis."""
    shared = series.dropna()
    ends = {series.index[0], series.index[-1], *(column.last_valid_index() for _, column in series.items())}
    if len(shared):
        ends |= {shared.index[0], shared.index[-1]}
    measured = series.dropna(how="all")
    seen = pd.DataFrame({"low": measured.min(axis=1), "middle": measured.median(axis=1), "high": measured.max(axis=1)})
    # The same scale as the axis: logarithmic from 1 on.
    part = np.floor(np.log1p(seen.index.to_numpy()) / np.log1p(last) * PARTS)
    grouped = seen.groupby(part)
    ends |= {step for extremes in (grouped.idxmin(), grouped.idxmax()) for step in np.ravel(extremes.to_numpy())}
    return sorted(step for step in ends if step is not None)
