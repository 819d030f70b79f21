"""What this paper alone needs: its table of tasks and architectures. Imports no jax and no matplotlib."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from jaxgen.condition import Condition
from jaxgen.figures import Figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

    from jaxgen.table import Table

SOLVED = 0.9  # from this score on the paper calls a task solved


@dataclasses.dataclass(frozen=True, kw_only=True)
class ScoreTable(Figure):
    """A row a task, a column an architecture, and in each cell its score in percent; `paper`: the paper's, by both."""

    tasks: tuple[str, ...]
    architectures: tuple[str, ...]
    score: Callable[[Any, str, str], float]  # of a seed's rows, a task and an architecture
    paper: Mapping[str, Mapping[str, float]]

    def draw(self, table: Table, conditions: Sequence[Condition], width: float) -> Drawing | None:
        from .drawing import draw_score_table

        return draw_score_table(self, table, width)

    def reading(self) -> str:
        return (
            "Percent of the tokens of longer answers: the median over the seeds, the largest of them in brackets, and "
            f"the paper's, where one could be read. A cell is coloured where the median is {100 * SOLVED:g} or more."
        )
