"""What is recorded of an experiment at a scale, as pages show it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxgen.experiment import Claim, Experiment
from jaxgen.figures import Figure
from jaxgen.ledger.discovery import FoundPaper
from jaxgen.ledger.results import RECORDED_SCALES, figure_file, read_results, recorded_seeds, table_file
from jaxgen.ledger.verdict import Verdict, unjudged, verdict_of


@dataclasses.dataclass(frozen=True)
class Record:
    """An experiment at a scale where it is recorded; `entry` is that of the results file."""

    found: FoundPaper
    experiment: Experiment
    scale: str
    entry: Mapping[str, Any]

    @property
    def recordings(self) -> Mapping[str, Sequence[Mapping[str, Any]]]:
        """The recordings of each condition."""
        return self.entry["conditions"]

    @property
    def anchor(self) -> str:
        """The anchor of its part of the paper's page."""
        return f"{self.experiment.name}-{self.scale}"

    def seeds(self, condition: str) -> list[int]:
        """Returns the recorded seeds of a condition."""
        return sorted(recorded_seeds(self.recordings.get(condition, [])))

    def figures(self) -> list[tuple[Figure, Path]]:
        """Returns the recorded figures."""
        files = [
            (each, figure_file(self.found.folder, self.scale, self.experiment.name, each.name))
            for each in self.experiment.figures
        ]
        return [(figure, path) for figure, path in files if path.exists()]

    def figure_path(self, figure: Figure) -> str:
        """Returns where a figure lies, from the root of the site."""
        return f"_static/records/{self.found.paper.slug}/{self.scale}/{self.experiment.name}-{figure.name}.svg"

    def table(self) -> Path:
        """Returns the file of the recorded table."""
        return table_file(self.found.folder, self.scale, self.experiment.name)

    def table_path(self) -> str:
        """Returns where the recorded table lies, from the root of the site."""
        return f"_static/records/{self.found.paper.slug}/{self.scale}/{self.experiment.name}.csv"


def records(found: FoundPaper) -> list[Record]:
    """Returns all that is recorded of a paper."""
    return [
        Record(found, experiment, scale, results[experiment.name])
        for scale in RECORDED_SCALES
        if (results := read_results(found.folder, scale))
        for experiment in found.paper.experiments
        if experiment.name in results
    ]


def recorded_pairs(record: Record) -> list[tuple[Claim, Verdict]]:
    """Returns every claim of the notebook with its recorded verdict."""
    by_name = {each["claim"]: verdict_of(each) for each in record.entry["claims"]}
    return [
        (claim, by_name.get(claim.name) or unjudged(claim, "it is not recorded yet"))
        for claim in record.experiment.claims
    ]


def ranges(numbers: Iterable[int]) -> str:
    """Returns whole numbers in short: `0 to 4, 7`."""
    parts: list[list[int]] = []
    for each in sorted(numbers):
        if parts and each == parts[-1][-1] + 1:
            parts[-1].append(each)
        else:
            parts.append([each])
    return ", ".join(f"{part[0]} to {part[-1]}" if len(part) > 2 else ", ".join(map(str, part)) for part in parts)
