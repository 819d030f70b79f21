"""Whether the functions of a figure ask for keys that are measured, found out before anything trains."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence

import pandas as pd

from jaxgen.condition import Condition
from jaxgen.errors import UserError, nearest
from jaxgen.figures.base import keys_measured
from jaxgen.figures.kinds import BySetting
from jaxgen.figures.settings import setting
from jaxgen.table import NotMeasured, SeedTable, Table


class _AnySeed(SeedTable):
    """A seed of made-up values, of every key that may be measured."""

    def __init__(self, known: Mapping[str, frozenset[str] | None]):
        super().__init__(Table.of([]).rows)
        object.__setattr__(self, "known", known)

    def values(self, condition: str, key: str) -> pd.Series:
        known: Mapping[str, frozenset[str] | None] = vars(self)["known"]
        if condition not in known:
            raise NotMeasured(f"no condition '{condition}'{nearest(condition, known)}")
        keys = known[condition]
        if keys is not None and key not in keys:
            raise NotMeasured(f"'{condition}' has no measure '{key}'{nearest(key, keys)}")
        return pd.Series([0.5, 0.5], index=[0, 1])


def check_asked(figure: BySetting, conditions: Sequence[Condition]) -> None:
    """Raises `UserError` if a function of a figure asks for what none of its conditions measures."""
    seed = _AnySeed({each.name: keys_measured(each) for each in conditions})
    chosen = [each.name for each in conditions if figure.conditions is None or each.name in figure.conditions]
    names = [each.name for each in conditions if each.name in chosen and setting(each, figure.x) is not None]
    for value in figure.values.values():
        missing = []
        for name in names:
            # The function may fail on values that are made up; of true ones the report tells.
            with contextlib.suppress(Exception):
                try:
                    value(seed, name)
                except NotMeasured as absence:
                    missing.append(str(absence))
        if missing and len(missing) == len(names):
            raise UserError(f"figure '{figure.name}': {missing[0]}")
