"""The contract of every figure. Imports no matplotlib until a figure is drawn."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

from jaxgen.condition import Condition
from jaxgen.errors import UserError, nearest

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

    from jaxgen.figures.chart import Chart
    from jaxgen.table import Table


@dataclasses.dataclass(frozen=True, kw_only=True)
class Figure:
    """A view over trajectories. Your own kind has fields and `draw`."""

    name: str
    caption: str

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if "tuple" in str(field.type) and isinstance(value, str):
                raise UserError(
                    f"figure '{self.name}': got {field.name}={value!r}, expected a tuple; write ({value!r},)"
                )

    def check(self, conditions: Sequence[Condition]) -> None:
        """Raises `UserError` if the figure names something that the experiment's conditions do not have."""

    def check_asked(self, conditions: Sequence[Condition]) -> None:
        """Raises `UserError` if a function of the figure asks for what no condition measures; needs pandas."""

    def draw(self, table: Table, conditions: Sequence[Condition], width: float) -> Drawing | None:
        """Returns the drawing, or None if the table has no rows for it.

        Args:
          table: the rows measured so far.
          conditions: the resolved conditions; the figure draws those that it names and that have rows.
          width: the width of the drawing in inches; a narrow one has fewer panels side by side.
        """
        raise NotImplementedError

    def chart(self, table: Table, conditions: Sequence[Condition]) -> Chart | None:
        """Returns what `draw` draws as data, for the page's interactive chart; None: the drawing alone is shown."""
        return None

    def keys_drawn(self) -> tuple[str, ...]:
        """Returns the table's keys that the figure draws, if its fields name them."""
        return ()

    def reading(self) -> str:
        """Returns how to read its marks, in a sentence or two."""
        return ""

    def for_page(self, table: Table, conditions: Sequence[Condition]) -> tuple[Figure, Table, list[str]]:
        """Returns the figure and the table as a page shows them, and notes on what the page leaves out."""
        return self, table, []


def check_names(figure: Figure, names: Sequence[str] | None, conditions: Sequence[Condition]) -> None:
    """Raises `UserError` if a figure names a condition that does not exist."""
    there = [each.name for each in conditions]
    for name in names or ():
        if name not in there:
            raise UserError(f"figure '{figure.name}': no condition '{name}'{nearest(name, there)}")


def keys_measured(condition: Condition) -> frozenset[str] | None:
    """Returns the keys that a condition measures; None: they are known only afterwards, as of analyses."""
    known = [each.keys(condition) for each in condition.measures]
    if condition.analyses or None in known:
        return None
    return frozenset(key for keys in known for key in keys or ())


def check_keys(figure: Figure, names: Sequence[str] | None, conditions: Sequence[Condition]) -> None:
    """Raises `UserError` if a figure draws a key that none of its conditions measures."""
    there: set[str] = set()
    for condition in conditions:
        if names is not None and condition.name not in names:
            continue
        keys = keys_measured(condition)
        if keys is None:
            return
        there |= keys
        if there.issuperset(figure.keys_drawn()):
            return
    for key in figure.keys_drawn():
        if key not in there:
            raise UserError(f"figure '{figure.name}': no key '{key}'{nearest(key, there)}")
