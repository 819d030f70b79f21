"""What every figure gives; imports no matplotlib until it is drawn."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

from jaxgen.condition import Condition
from jaxgen.errors import UserError, nearest

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

    from jaxgen.table import Table


@dataclasses.dataclass(frozen=True, kw_only=True)
class Figure:
    """A view over trajectories. A kind of your own has fields and `draw`."""

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
        """Raises `UserError` where it names what the experiment's conditions do not have."""

    def draw(self, table: Table, conditions: Sequence[Condition], width: float) -> Drawing | None:
        """Returns the drawing, or None where the table has nothing of it.

        Args:
          table: the rows measured so far.
          conditions: the resolved conditions; of those that the figure names, the ones with rows are drawn.
          width: of the drawing in inches. Fewer panels stand side by side in a narrow one.
        """
        raise NotImplementedError

    def keys_drawn(self) -> tuple[str, ...]:
        """Returns the keys of the table that it draws, where it names them itself."""
        return ()

    def reading(self) -> str:
        """Returns how to read its marks, in a sentence or two."""
        return ""

    def for_page(self, table: Table, conditions: Sequence[Condition]) -> tuple[Figure, Table, list[str]]:
        """Returns the figure and what it reads as a page shows them, and what the page must say of that."""
        return self, table, []


def check_names(figure: Figure, names: Sequence[str] | None, conditions: Sequence[Condition]) -> None:
    """Raises `UserError` where a figure names a condition that there is not."""
    there = [each.name for each in conditions]
    for name in names or ():
        if name not in there:
            raise UserError(f"figure '{figure.name}': no condition '{name}'{nearest(name, there)}")
