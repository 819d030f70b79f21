"""The recorded results of a paper, committed beside its experiments.

    experiments/<paper>/results/<scale>.json                 verdicts, devices, versions, by experiment
    experiments/<paper>/results/<scale>/<experiment>.csv     the tidy table, one column a key
    experiments/<paper>/results/<scale>/<experiment>-<figure>.svg

Written by `jaxgen reproduce ... --record` alone; `jaxgen gallery` draws the figures again from the tables. An installed
jaxgen has neither tables nor figures.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from jaxgen.errors import UserError

RECORDED_SCALES = ("paper", "mini")  # in the order in which they are shown; a smoke run is never recorded


def results_file(folder: Path, scale: str) -> Path:
    """Returns where the verdicts of a scale are recorded."""
    return folder / "results" / f"{scale}.json"


def read_results(folder: Path, scale: str) -> dict[str, Any]:
    """Returns the recorded results of a scale by experiment; empty where there are none.

    Raises:
      UserError: the file is no JSON, such as after a merge.
    """
    path = results_file(folder, scale)
    if not path.exists():
        return {}
    try:
        data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path} is damaged: {error}; restore it, or remove it and record again") from None
    return data


def table_file(folder: Path, scale: str, experiment: str) -> Path:
    """Returns where an experiment's table is recorded."""
    return folder / "results" / scale / f"{experiment}.csv"


def figure_file(folder: Path, scale: str, experiment: str, figure: str) -> Path:
    """Returns where a figure of an experiment is recorded."""
    return folder / "results" / scale / f"{experiment}-{figure}.svg"


def recorded_seeds(recordings: Iterable[Mapping[str, Any]]) -> set[int]:
    """Returns the seeds in some recordings of a condition."""
    return {int(seed) for each in recordings for seed in each["seeds"]}


def minutes_of(recordings: Iterable[Mapping[str, Any]]) -> float:
    """Returns the minutes that recordings took; members that trained together share theirs."""
    return math.fsum(each["minutes"] * len(each["seeds"]) / each["trained_together"] for each in recordings)
