"""The recorded results of a paper, committed beside its experiments.

    experiments/<paper>/results/<scale>.json                 verdicts, devices, versions, by experiment
    experiments/<paper>/results/<scale>/<experiment>.csv     the tidy table, one column a key
    experiments/<paper>/results/<scale>/<experiment>-<figure>.svg

Written by `jaxgen reproduce ... --record` alone.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def results_file(folder: Path, scale: str) -> Path:
    """Returns where the verdicts of a scale are recorded."""
    return folder / "results" / f"{scale}.json"


def read_results(folder: Path, scale: str) -> dict[str, Any]:
    """Returns the recorded results of a scale by experiment; empty where there are none."""
    path = results_file(folder, scale)
    if not path.exists():
        return {}
    data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return data


def table_file(folder: Path, scale: str, experiment: str) -> Path:
    """Returns where an experiment's table is recorded."""
    return folder / "results" / scale / f"{experiment}.csv"


def figure_file(folder: Path, scale: str, experiment: str, figure: str) -> Path:
    """Returns where a figure of an experiment is recorded."""
    return folder / "results" / scale / f"{experiment}-{figure}.svg"
