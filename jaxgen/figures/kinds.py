"""The kinds of figures. Imports no matplotlib until one is drawn."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from jaxgen.condition import Condition
from jaxgen.figures.base import Figure, check_keys, check_names
from jaxgen.figures.settings import check_setting, setting

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

    from jaxgen.bounds import Number
    from jaxgen.figures.chart import Chart
    from jaxgen.table import SeedTable, Table


@dataclasses.dataclass(frozen=True, kw_only=True)
class Curves(Figure):
    """Values against the step on a log axis: one panel a condition or, with `together`, one panel a
    key with a line for each condition. The band spans the seeds, the line is their median."""

    keys: tuple[str, ...]
    conditions: tuple[str, ...] | None = None  # None: all
    together: bool = False
    y_label: str = ""  # empty: the measures of `keys`
    log_y: bool = False
    paper: Mapping[str, Mapping[str, float]] = dataclasses.field(default_factory=dict)  # condition -> key -> value

    def check(self, conditions: Sequence[Condition]) -> None:
        check_names(self, self.conditions, conditions)
        check_keys(self, self.conditions, conditions)

    def draw(self, table: Table, conditions: Sequence[Condition], width: float) -> Drawing | None:
        from jaxgen.figures.lines import draw_curves

        return draw_curves(self, table, conditions, width)

    def chart(self, table: Table, conditions: Sequence[Condition]) -> Chart | None:
        from jaxgen.figures.lines import curves_chart

        return curves_chart(self, table, conditions)

    def keys_drawn(self) -> tuple[str, ...]:
        return self.keys

    def reading(self) -> str:
        text = "Line: median over the seeds; band: from the lowest to the highest seed."
        return text + (" Dashed: the paper's value." if any(self.paper.values()) else "")

    def for_page(self, table: Table, conditions: Sequence[Condition]) -> tuple[Figure, Table, list[str]]:
        from jaxgen.figures.thin import fewer_conditions, fewer_steps

        figure, names, said = fewer_conditions(self, table, conditions)
        table, thinned = fewer_steps(self.keys, table, names)
        return figure, table, said + thinned


@dataclasses.dataclass(frozen=True, kw_only=True)
class Profile(Figure):
    """The last values of measures named `<prefix>.<number>/<split>` against that number."""

    prefixes: tuple[str, ...]
    splits: tuple[str, ...]
    conditions: tuple[str, ...] | None = None
    x_label: str = ""
    y_label: str = "accuracy"

    def check(self, conditions: Sequence[Condition]) -> None:
        check_names(self, self.conditions, conditions)

    def draw(self, table: Table, conditions: Sequence[Condition], width: float) -> Drawing | None:
        from jaxgen.figures.lines import draw_profile

        return draw_profile(self, table, conditions, width)

    def reading(self) -> str:
        return "Marks: median over the seeds; band: from the lowest to the highest seed."

    def for_page(self, table: Table, conditions: Sequence[Condition]) -> tuple[Figure, Table, list[str]]:
        from jaxgen.figures.thin import fewer_conditions

        figure, _, said = fewer_conditions(self, table, conditions)
        return figure, table, said


@dataclasses.dataclass(frozen=True, kw_only=True)
class BySetting(Figure):
    """Numbers of each condition against one of its settings, with a line for each number and a dot for each seed.

    The line is the median over the seeds and the band their range, where every seed has the number.
    """

    x: str  # a dotted setting: task.train_fraction, start.transforms.0.keep
    values: Mapping[str, Callable[[SeedTable, str], Number]]  # line -> function of a condition's name
    conditions: tuple[str, ...] | None = None  # None: all that have the setting
    x_label: str = ""  # empty: the setting's name
    y_label: str
    log_x: bool = False
    log_y: bool = False
    paper: Mapping[str, Mapping[float, float]] = dataclasses.field(default_factory=dict)  # line -> setting -> value

    def check(self, conditions: Sequence[Condition]) -> None:
        check_names(self, self.conditions, conditions)
        check_setting(self, self.x, conditions)

    def check_asked(self, conditions: Sequence[Condition]) -> None:
        from jaxgen.figures.asked import check_asked

        check_asked(self, conditions)

    def place(self, condition: Condition) -> Any:
        """Returns where a condition is on the horizontal axis; None: nowhere."""
        return setting(condition, self.x)

    def draw(self, table: Table, conditions: Sequence[Condition], width: float) -> Drawing | None:
        from jaxgen.figures.by_setting import draw_by_setting

        return draw_by_setting(self, table, conditions, width)

    def chart(self, table: Table, conditions: Sequence[Condition]) -> Chart | None:
        from jaxgen.figures.by_setting import by_setting_chart

        return by_setting_chart(self, table, conditions)

    def reading(self) -> str:
        text = "A dot is a seed; line: median over the seeds; band: from the lowest to the highest seed."
        return text + (" Hollow: the paper's values." if any(self.paper.values()) else "")

    def for_page(self, table: Table, conditions: Sequence[Condition]) -> tuple[Figure, Table, list[str]]:
        from jaxgen.figures.by_setting import values_of

        values = values_of(self, table, conditions)
        rule = "finite and positive" if self.log_y else "finite"
        said = [f"{values.undrawn} values are not {rule}, and not drawn."] if values.undrawn else []
        if not values.found and values.why:
            said.append(f"No condition has a number: {values.why}.")
        return self, table, said


@dataclasses.dataclass(frozen=True, kw_only=True)
class CellMap(Figure):
    """Conditions as cells over two of their settings, coloured by a label such as the phase."""

    x: str
    y: str
    label: Callable[[SeedTable, Condition], str]
    labels: tuple[str, ...]

    def check(self, conditions: Sequence[Condition]) -> None:
        for key in (self.x, self.y):
            check_setting(self, key, conditions)

    def draw(self, table: Table, conditions: Sequence[Condition], width: float) -> Drawing | None:
        from jaxgen.figures.cells import draw_cells

        return draw_cells(self, table, conditions, width)

    def reading(self) -> str:
        return "A cell is divided where its seeds differ."
