"""Draws `ScoreTable`: in a file of its own, as it needs matplotlib when it is read."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure as Drawing
from matplotlib.patches import Rectangle

from jaxgen.figures.palette import CELL_INK, CELLS, EMPTY, INK, MUTED
from jaxgen.table import NotMeasured, Table

from .parts import SOLVED, ScoreTable


def draw_score_table(figure: ScoreTable, table: Table, width: float) -> Drawing | None:
    """Draws a cell for each task and architecture; None: none was measured."""
    scores = {
        (task, name): found
        for task in figure.tasks
        for name in figure.architectures
        if (found := _scores(figure, table, task, name))
    }
    if not scores:
        return None
    tasks = [task for task in figure.tasks if any(task == place[0] for place in scores)]
    drawing = Drawing(figsize=(width, 0.6 + 0.5 * len(tasks)), layout="constrained")
    axes = drawing.subplots()
    for row, task in enumerate(tasks):
        for column, name in enumerate(figure.architectures):
            ours, theirs = scores.get((task, name)), figure.paper.get(task, {}).get(name)
            solved = ours is not None and float(np.median(ours)) >= SOLVED
            shade = CELLS[5] if solved else EMPTY
            axes.add_patch(Rectangle((column - 0.48, row - 0.46), 0.96, 0.92, color=shade.light, linewidth=0))
            if ours is not None:
                text = f"{100 * np.median(ours):.0f} ({100 * max(ours):.0f})"
                axes.text(column, row - 0.14, text, ha="center", va="center", color=(CELL_INK if solved else INK).light)
            if theirs is not None:
                axes.text(
                    column, row + 0.26, f"paper {theirs:.1f}", ha="center", va="center", size=7,
                    color=(CELL_INK if solved else MUTED).light,
                )  # fmt: skip
    axes.set_xticks(range(len(figure.architectures)), figure.architectures)
    axes.set_yticks(range(len(tasks)), [task.replace("_", " ") for task in tasks])
    axes.set(xlim=(-0.5, len(figure.architectures) - 0.5), ylim=(len(tasks) - 0.5, -0.5))
    axes.xaxis.tick_top()
    axes.grid(False)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return drawing


def _scores(figure: ScoreTable, table: Table, task: str, name: str) -> list[float]:
    """Returns the score of every seed that has one."""
    found = []
    for seed in table.seeds():
        try:
            score = figure.score(table.seed(seed), task, name)
        except NotMeasured:
            continue
        if np.isfinite(score):
            found.append(score)
    return found
