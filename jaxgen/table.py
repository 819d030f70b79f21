"""The one tidy table that claims and figures read: condition, seed, step, split, measure, value.

A *key* is `measure/split`, or only `measure` if the measure has no split.
"""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from jaxgen.bounds import Bounds, Censored, Number
from jaxgen.errors import UserError, nearest

COLUMNS = ["condition", "seed", "step", "split", "measure", "value"]

# The key of the single row of a seed that could not be trained, because its parent never reached the start.
NOT_STARTED = "not_started"


class NotMeasured(UserError):
    """The table lacks a condition or key that a claim or figure reads."""


def split_key(key: str) -> tuple[str, str]:
    """Returns (measure, split) of a key."""
    measure, _, split = key.partition("/")
    return measure, split


def keys_of(rows: pd.DataFrame) -> pd.Series:
    """Returns the key of every row, the inverse of `split_key`."""
    return rows["measure"] + rows["split"].map(lambda split: f"/{split}" if split else "")


# A spreadsheet reads a cell that begins with one of these as a formula.
_FORMULA = re.compile(r"'*[=+\-@\t\r]")


def _as_text(cell: str) -> str:
    """Returns a cell that spreadsheets read as text: an apostrophe precedes anything that they would compute."""
    return f"'{cell}" if _FORMULA.match(cell) else cell


def _from_text(cell: str) -> str:
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell


@dataclasses.dataclass(frozen=True)
class Table:
    """Rows with the columns `COLUMNS`; at most one row for each (condition, seed, step, key)."""

    rows: pd.DataFrame

    @staticmethod
    def of(rows: Iterable[tuple[str, int, int, str, float]]) -> Table:
        """Makes a table of (condition, seed, step, key, value)."""
        records = [(c, seed, step, *reversed(split_key(key)), value) for c, seed, step, key, value in rows]
        frame = pd.DataFrame(records, columns=COLUMNS)
        return Table(frame.astype({"seed": "int64", "step": "int64", "value": "float64"}))

    @staticmethod
    def concat(tables: Iterable[Table]) -> Table:
        frames = [table.rows for table in tables if len(table.rows)]
        return Table(pd.concat(frames, ignore_index=True)) if frames else Table.of([])

    def conditions(self) -> list[str]:
        return list(dict.fromkeys(self.rows["condition"]))

    def seeds(self) -> list[int]:
        return sorted(int(seed) for seed in self.rows["seed"].unique())

    def without(self, conditions: Iterable[str]) -> Table:
        return Table(self.rows[~self.rows["condition"].isin(list(conditions))])

    def of_seeds(self, seeds: Mapping[str, Collection[int]]) -> Table:
        """Returns the rows of some seeds of some conditions."""
        places = {(name, seed) for name, of in seeds.items() for seed in of}
        pairs = zip(self.rows["condition"], self.rows["seed"], strict=True)
        return Table(self.rows[[pair in places for pair in pairs]])

    def measured_keys(self) -> list[str]:
        """Returns the keys that were measured, in the order of their first rows."""
        return list(keys_of(self.rows[["measure", "split"]].drop_duplicates()))

    def condition(self, name: str) -> Table:
        """Returns the rows of one condition."""
        return self._by_condition.get(name) or Table(self.rows[:0])

    def finals(self, key: str, rows: int = 5) -> pd.Series:
        """Returns the final value (`SeedTable.final`) of every condition and seed that has one."""
        measure, split = split_key(key)
        of_key = self.rows[(self.rows["measure"] == measure) & (self.rows["split"] == split)]
        last = of_key.sort_values("step").groupby(["condition", "seed"]).tail(rows)
        values = last.groupby(["condition", "seed"])["value"]
        finals: pd.Series = values.median().where(values.count() == values.size())
        return finals

    def seed(self, seed: int) -> SeedTable:
        return self._by_seed.get(seed) or SeedTable(self.rows[:0])

    # Grouped once, not for every claim, figure or page.
    @functools.cached_property
    def _by_condition(self) -> dict[Any, Table]:
        return {name: Table(rows) for name, rows in self.rows.groupby("condition", sort=False)}

    @functools.cached_property
    def _by_seed(self) -> dict[Any, SeedTable]:
        return {seed: SeedTable(rows) for seed, rows in self.rows.groupby("seed", sort=False)}

    def series(self, condition: str, key: str) -> pd.DataFrame:
        """Returns the values of one key: index step, one column a seed."""
        measure, split = split_key(key)
        at = self.condition(condition).rows
        at = at[(at["measure"] == measure) & (at["split"] == split)]
        return at.pivot(index="step", columns="seed", values="value").sort_index()

    def csv(self) -> str:
        """Returns CSV with one column a key and values to six digits, so it is small and readable in a diff. No cell is
        a formula.

        An empty cell was not measured; `nan` was measured, and is not a number.
        """
        rows = self.rows[["condition", "seed", "step"]].copy()
        rows["key"] = keys_of(self.rows)
        rows["text"] = [f"{value:.6g}" for value in self.rows["value"]]
        rows["key"], rows["condition"] = rows["key"].map(_as_text), rows["condition"].map(_as_text)
        wide = rows.pivot(index=["condition", "seed", "step"], columns="key", values="text")
        text: str = wide.sort_index().to_csv(lineterminator="\n")
        return text

    @staticmethod
    def load(path: Path) -> Table:
        """Reads a file that holds the result of `csv`."""
        wide = pd.read_csv(path, dtype=str, keep_default_na=False)
        long = wide.melt(id_vars=["condition", "seed", "step"], var_name="key")
        measured = long[long["value"] != ""]
        return Table.of(
            (_from_text(condition), int(seed), int(step), _from_text(key), float(value))
            for condition, seed, step, key, value in measured.itertuples(index=False, name=None)
        )


@dataclasses.dataclass(frozen=True)
class SeedTable:
    """The rows of one seed, with the functions that claims use."""

    rows: pd.DataFrame
    asked: set[str] = dataclasses.field(
        default_factory=set, compare=False
    )  # the conditions for which `values` was called

    @functools.cached_property
    def _by_place(self) -> dict[Any, pd.DataFrame]:
        places = self.rows.groupby(["condition", "measure", "split"], sort=False)
        return {place: rows for place, rows in places}

    def present(self, conditions: Iterable[str]) -> list[str]:
        """Returns those of some conditions that are in the table; all where none is, so that the first is told as
        missing. So one claim serves scales that train different conditions."""
        wanted, there = list(conditions), set(self.rows["condition"])
        return [name for name in wanted if name in there] or wanted

    def numbered(self, condition: str, split: str) -> list[int]:
        """Returns the N of the splits `split_N` on which a condition was measured, in ascending order.

        Raises:
          NotMeasured: there is no such condition or split.
        """
        of_condition = self._of(condition)["split"]
        found = {re.fullmatch(rf"{re.escape(split)}_(\d+)", each) for each in set(of_condition)}
        if numbers := sorted(int(each[1]) for each in found if each):
            return numbers
        raise NotMeasured(f"'{condition}' has no split '{split}_N', only {', '.join(sorted(set(of_condition) - {''}))}")

    def values(self, condition: str, key: str) -> pd.Series:
        """Returns the values of a key by step, in order.

        Raises:
          NotMeasured: there is no such condition or key; the message names the nearest.
          Censored: the condition's parent never reached the step that it starts from.
        """
        self.asked.add(condition)
        if (condition, NOT_STARTED, "") in self._by_place:
            raise Censored(f"what '{condition}' starts from never came")
        found = self._by_place.get((condition, *split_key(key)))
        if found is None:
            raise NotMeasured(f"'{condition}' has no measure '{key}'{nearest(key, keys_of(self._of(condition)))}")
        return found.set_index("step")["value"].sort_index()

    def _of(self, condition: str) -> pd.DataFrame:
        """Returns the rows of a condition; raises `NotMeasured` where there is none."""
        rows = self.rows[self.rows["condition"] == condition]
        if not len(rows):
            raise NotMeasured(f"no condition '{condition}'{nearest(condition, set(self.rows['condition']))}")
        return rows

    def final(self, condition: str, key: str, rows: int = 5) -> float:
        """Returns the median of the last `rows` measured values, so that no single lucky row counts."""
        return float(self.values(condition, key).tail(rows).median(skipna=False))

    def max(self, condition: str, key: str, until: Number = np.inf, since: Number = 0) -> float:
        """Returns the largest value between the steps `since` and `until`, both included."""
        return float(self._between(condition, key, since, until).max(skipna=False))

    def min(self, condition: str, key: str, until: Number = np.inf, since: Number = 0) -> float:
        """Returns the smallest value between the steps `since` and `until`, both included."""
        return float(self._between(condition, key, since, until).min(skipna=False))

    def _between(self, condition: str, key: str, since: Number, until: Number) -> pd.Series:
        found = self.values(condition, key).loc[float(since) : float(until)]
        if not len(found):
            raise NotMeasured(f"'{condition}' has no value of '{key}' between the steps {since} and {until}")
        return found

    def at(self, condition: str, key: str, step: Number) -> float:
        """Returns the value at the last measuring step not after `step`."""
        values = self.values(condition, key).loc[: float(step)]
        if not len(values):
            raise NotMeasured(f"'{condition}' has no value of '{key}' up to step {step}")
        return float(values.iloc[-1])

    def selected(self, condition: str, key: str, *, by: str) -> float:
        """Returns the value of a key at the measured step where the key `by` is largest: the earliest of equals.

        So a model is selected by a split: `by="accuracy/dev"` is what early stopping that keeps the best step reports.
        """
        choice = self.values(condition, by)
        return self.at(condition, key, float(choice.index[int(choice.argmax())]))

    def first_step(
        self, condition: str, key: str, *, at_least: float | None = None, at_most: float | None = None
    ) -> Number:
        """Returns the first measured step at which the value reaches a bound.

        If the value never does, returns `Bounds` above the last step.
        """
        values = self.values(condition, key)
        reached = values >= at_least if at_least is not None else values <= at_most
        if reached.any():
            return float(values[reached].index[0])
        bound = f"at least {at_least:g}" if at_least is not None else f"at most {at_most:g}"
        last = values.index[-1]
        return Bounds(float(last), np.inf, f"{key} of '{condition}' was never {bound} in {last} steps")
