"""What one sees of a sweep: its conditions by their results, and figures by its settings."""

from __future__ import annotations

import dataclasses
import functools
import math
import statistics
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import pandas as pd

from jaxgen.condition import Condition, populations, trajectories
from jaxgen.experiment.sweep import Point
from jaxgen.figures import BySetting
from jaxgen.table import NotMeasured, SeedTable, Table, split_key

if TYPE_CHECKING:
    from jaxgen.bounds import Number

# More lines than this cannot be told apart.
MOST_LINES = 12
# From this ratio of the largest to the smallest value on, an axis is logarithmic.
_LOG_FROM = 20.0

Points = Mapping[str, Point]  # by the names of the conditions


class Result(NamedTuple):
    """What the measured seeds of a condition came to. A seed that failed is NaN."""

    name: str
    final: list[float]  # the median of a seed's last five values
    best: list[float]


def metric(table: Table) -> str | None:
    """Returns the key that a sweep compares: an accuracy, else a loss, else what there is.

    `test` goes before other splits; `train` is last.
    """
    keys = table.measured_keys()

    def order(key: str) -> tuple[int, int]:
        measure, split = split_key(key)
        kind = ("accuracy", "loss").index(measure) if measure in ("accuracy", "loss") else 2
        return (kind if split != "train" else 3, 0 if split == "test" else 1)

    return min(keys, key=order, default=None)


def metric_text(key: str) -> str:
    """Returns a key as words: test accuracy."""
    measure, split = split_key(key)
    return f"{split} {measure}".replace("_", " ").strip()


def lower_is_better(key: str) -> bool:
    """Returns whether the best value of a key is the lowest one."""
    return split_key(key)[0] == "loss"


def results(names: Iterable[str], table: Table, key: str) -> list[Result]:
    """Returns the results of conditions, best first.

    They are ordered by the median of the final values over the seeds, then by the mean; a seed that failed is worse
    than all others.
    """
    measure, split = split_key(key)
    rows = table.rows[(table.rows["measure"] == measure) & (table.rows["split"] == split)]
    values = rows.groupby(["condition", "seed"])["value"]
    by_condition = pd.DataFrame(
        {"final": table.finals(key), "best": values.min() if lower_is_better(key) else values.max()}
    ).groupby(level="condition")
    sign = -1.0 if lower_is_better(key) else 1.0
    found: list[tuple[float, float, Result]] = []
    for name in names:
        seeds = by_condition.get_group(name) if name in by_condition.groups else pd.DataFrame({"final": [], "best": []})
        final, best = seeds["final"].to_list(), seeds["best"].to_list()
        goodness = [-math.inf if math.isnan(value) else sign * value for value in final] or [-math.inf]
        found.append((statistics.median(goodness), statistics.fmean(goodness), Result(name, final, best)))
    return [result for _, _, result in sorted(found, key=lambda each: each[:2], reverse=True)]


def best_first(points: Points, table: Table) -> list[tuple[str, ...]]:
    """Returns the rows of a sweep's table, the header first; none where nothing is swept or measured."""
    key = metric(table)
    if key is None or not points:
        return []
    rows: list[tuple[str, ...]] = [("condition", f"final {metric_text(key)}", "best", "seeds")]
    for each in results([name for name, point in points.items() if point.values], table, key):
        failed = sum(map(math.isnan, each.final))
        seeds = f"{len(each.final)}, {failed} failed" if failed else f"{len(each.final)}"
        rows.append((each.name, _spread(each.final, key), _spread(each.best, key), seeds))
    return rows


def _spread(values: Sequence[float], key: str) -> str:
    """Returns the median and the range of the seeds that did not fail."""
    there = [value for value in values if not math.isnan(value)]
    if not there:
        return "–"
    form = ".3f" if key.startswith("accuracy/") else ".4g"
    middle = f"{statistics.median(there):{form}}"
    return middle if len(there) == 1 else f"{middle} ({min(there):{form}} to {max(there):{form}})"


def figures_of(points: Points, table: Table, zipped: bool) -> tuple[BySetting, ...]:
    """Returns a figure for each axis of a sweep.

    In a grid of two axes it has a line for each value of the other one. Where there are more axes, or too many lines,
    it has the best condition at each value.
    """
    key = metric(table)
    if key is None:
        return ()
    made: list[BySetting] = []
    axes = dict.fromkeys(label for point in points.values() for label in point.values)
    for axis in axes:
        lines, chosen = _lines(axis, points, table, key, zipped)
        scale = _scale({point.values[axis] for point in points.values() if axis in point.values})
        told = metric_text(key)
        text = axis.replace("_", " ")
        if len(lines) > 1:
            values = {line: functools.partial(_of, _final, names, key) for line, names in lines.items()}
            caption = f"The final {told} by {text}."
            told = f"final {told}"
        else:
            ((line, names),) = lines.items()
            values = {
                "final": functools.partial(_of, _final, names, key),
                "best": functools.partial(_of, _best, names, key),
            }
            caption = f"The final {told} of '{line}', and the best at any step, by {text}."
        if chosen:
            caption += " At each value, the best of the conditions that the other settings give."
        made.append(
            _ByAxis(
                name=f"sweep-{len(made) + 1}", caption=caption, x=axis, x_label=text, y_label=told, values=values,
                log_x=scale == "log", points=points, as_words=scale == "words",
            )
        )  # fmt: skip
    return tuple(made)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _ByAxis(BySetting):
    """Conditions where a sweep has put them, which need not be a setting of their own: it may be their parent's."""

    points: Points
    as_words: bool  # at equal distances

    def place(self, condition: Condition) -> float | str | None:
        value = self.points[condition.name].values.get(self.x)
        return _short(value) if self.as_words and value is not None else value


def _lines(axis: str, points: Points, table: Table, key: str, zipped: bool) -> tuple[dict[str, frozenset[str]], bool]:
    """Returns the conditions of each line, one at each value of the axis, and whether they were chosen as the best."""
    of = {name: point for name, point in points.items() if axis in point.values}
    bases = {point.base for point in of.values()}
    found: dict[str, dict[object, list[str]]] = {}
    others = {label for point in of.values() for label in point.values} - {axis}
    second = next(iter(others)) if len(others) == 1 and not zipped else None
    if second is not None and len({(p.base, p.values.get(second)) for p in of.values()}) > MOST_LINES:
        second = None
    for name, point in of.items():
        line = point.base
        if second is not None and second in point.values:
            value = f"{second.replace('_', ' ')} {_short(point.values[second])}"
            line = value if len(bases) == 1 else f"{line}, {value}"
        found.setdefault(line, {}).setdefault(point.values[axis], []).append(name)
    chosen = any(len(names) > 1 for at in found.values() for names in at.values())
    rank = {each.name: place for place, each in enumerate(results(of, table, key))}
    best = {line: frozenset(min(names, key=rank.__getitem__) for names in at.values()) for line, at in found.items()}
    return best, chosen


def _short(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:g}"


def _scale(values: Collection[float | str]) -> Literal["linear", "log", "words"]:
    """Returns how an axis is drawn: numbers that are far apart on a logarithmic one, which has no place for zero."""
    numbers = [value for value in values if not isinstance(value, str)]
    if len(numbers) < len(values):
        return "words"
    least = min((value for value in numbers if value > 0), default=math.inf)
    if max(numbers) < _LOG_FROM * least:
        return "linear"
    return "log" if min(numbers) > 0 else "words" if min(numbers) == 0 else "linear"


def _final(table: SeedTable, name: str, key: str) -> float:
    return table.final(name, key)


def _best(table: SeedTable, name: str, key: str) -> float:
    return table.min(name, key) if lower_is_better(key) else table.max(name, key)


def _of(
    value: Callable[[SeedTable, str, str], float], names: frozenset[str], key: str, table: SeedTable, name: str
) -> Number:
    if name not in names:
        raise NotMeasured(f"'{name}' is not of this line")
    return value(table, name, key)


def size_text(conditions: Sequence[Condition], points: Points, recorded: Mapping[str, Any]) -> str:
    """Returns how much a sweep trains, and about how long that took where its conditions were recorded.

    Args:
      conditions: of the sweep.
      points: of these.
      recorded: the experiment's recorded conditions, as results.json has them.
    """
    groups = populations(trajectories(conditions))
    members = [each for group in groups for each in group]
    steps = sum(each.condition.steps for each in members)
    counts = ((conditions, "condition"), (members, "member"), (groups, "population"))
    text = ", ".join(f"{len(of):,} {what}{'' if len(of) == 1 else 's'}" for of, what in counts)
    text += f", {steps:,} steps in all"
    last = {name: of[-1] for name, of in recorded.items() if of}
    bases = [points[each.condition.name].base for each in members]
    if not all(base in last for base in bases):
        return text
    minutes = sum(
        last[base]["minutes"] * each.condition.steps / (last[base]["steps"] * last[base]["trained_together"])
        for base, each in zip(bases, members, strict=True)
    )
    devices = sorted({last[base]["device"] for base in bases})
    return f"{text}; at the recorded speed ({', '.join(devices)}) {_duration(minutes)}"


def _duration(minutes: float) -> str:
    return (
        "less than a minute"
        if minutes < 1
        else f"about {minutes:,.0f} min"
        if minutes < 120
        else f"about {minutes / 60:,.0f} h"
    )
