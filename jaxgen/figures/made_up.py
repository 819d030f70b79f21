"""A seed's table of made-up values: what asks it for a name that is not there is found out before anything trains."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import pandas as pd

from jaxgen.condition import Condition
from jaxgen.errors import nearest
from jaxgen.figures.base import keys_measured
from jaxgen.table import SeedTable, Table


class Misspelt(Exception):
    """A condition or a key is asked for that nothing has."""


@dataclasses.dataclass(frozen=True)
class MadeUp(SeedTable):
    """A seed's table that has 1 for whatever it may be asked."""

    # The keys of every condition; None: measures or analyses of its own make them, and only training tells.
    keys: Mapping[str, frozenset[str] | None] = dataclasses.field(default_factory=dict)

    def values(self, condition: str, key: str) -> pd.Series:
        if condition not in self.keys:
            raise Misspelt(f"no condition '{condition}'{nearest(condition, self.keys)}")
        known = self.keys[condition]
        if known is not None and key not in known:
            raise Misspelt(f"'{condition}' has no measure '{key}'{nearest(key, known)}")
        return pd.Series([1.0, 1.0], index=[0, 1])


def made_up(conditions: Sequence[Condition]) -> MadeUp:
    """Returns the table of made-up values for these conditions."""
    return MadeUp(Table.of([]).rows, keys={each.name: keys_measured(each) for each in conditions})
