"""The page of a comparison: one self-contained HTML file. Imports no jax."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from jaxgen.figures import palette
from jaxgen.figures.chart import Chart, Panel, Series, median_and_range
from jaxgen.figures.thin import MOST_STEPS, steps_that_show
from jaxgen.ledger.comparison import Comparison
from jaxgen.report.page import chart_json, render_page

# As many panels as are legible, and lines of one panel that can be told apart.
MOST_PANELS, MOST_LINES = 12, 24


def comparison_page(comparison: Comparison, command: str, created: str) -> str:
    """Returns the page as text.

    Args:
      comparison: what it shows.
      command: that made it.
      created: when.
    """
    figures = [figure for key in comparison.keys if (figure := _figure(comparison, key)) is not None]
    facts = comparison.facts()
    return render_page(
        "compare.html",
        bool(figures),
        {
            "runs": comparison.runs,
            "command": command,
            "created": created,
            "differing": [row for row in facts if row.differs()],
            "equal": [row for row in facts if not row.differs()],
            "settings": comparison.settings(),
            "alone": comparison.alone(),
            "claims": comparison.claims(),
            "finals": [(key, comparison.finals(key)) for key in comparison.keys],
            "more_keys": comparison.more_keys,
            "figures": figures,
        },
    )


def _figure(comparison: Comparison, key: str) -> dict[str, Any] | None:
    """Returns the curves of a key: a panel for each condition that several runs have, else one panel of all."""
    names = [name for name in comparison.conditions() if any(key in _keys(run.table, name) for run in comparison.runs)]
    lines = [(name, number) for name in names for number, run in enumerate(comparison.runs) if name in run.members]
    shared = len(lines) > len(names)
    said = ""
    if shared and len(names) > MOST_PANELS:
        said = f"The first {MOST_PANELS} of {len(names)} conditions are shown."
        names = names[:MOST_PANELS]
    if not shared and len(lines) > MOST_LINES:
        said = f"The first {MOST_LINES} of {len(lines)} conditions are shown."
        lines = lines[:MOST_LINES]
    shades = palette.series(len(comparison.runs) if shared else max(1, len(lines)))
    panels = []
    for title in names if shared else [""]:
        series: list[Series] = []
        for place, (name, number) in enumerate(lines):
            if shared and name != title:
                continue
            run = comparison.runs[number]
            values = run.table.series(name, key)
            if len(values) > MOST_STEPS:
                values = values.loc[steps_that_show(values, values.index[-1])]
            if values.notna().any(axis=None):
                text = f"{run.label} {run.name}" if shared else f"{run.label} {name}"
                series += median_and_range(values, text, shades[number if shared else place].name)
        if series:
            panels.append(Panel(title=title, series=series))
    if not panels:
        return None
    measure, _, split = key.partition("/")
    label = f"{split} {measure}".replace("_", " ").strip()
    bounded = (-0.03, 1.04) if measure.startswith("accuracy") else None
    log_y = not bounded and _spans_sizes([value for panel in panels for each in panel.series for value in each.y])
    chart = Chart(panels=panels, x_label="step", y_label=label, log_x=True, log_y=log_y, y_range=bounded)
    return {"key": key, "chart": chart_json(chart), "said": said}


def _keys(table: Any, name: str) -> list[str]:
    return table.condition(name).measured_keys()


def _spans_sizes(values: Sequence[float]) -> bool:
    """Returns whether positive values are of so many sizes that a linear axis would show the largest alone."""
    positive = [value for value in values if 0 < value < float("inf")]
    return bool(positive) and len(positive) >= 0.9 * len(values) and max(positive) > 50 * min(positive)
