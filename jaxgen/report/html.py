"""The report of a paper's experiments: one self-contained HTML page."""

from __future__ import annotations

import dataclasses
import os
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jaxgen.condition import Condition, trajectories
from jaxgen.experiment import Claim, Experiment, Paper
from jaxgen.figures.axes import NARROW, WIDE
from jaxgen.figures.draw import draw
from jaxgen.ledger.settings import differing_settings
from jaxgen.ledger.verdict import OUTCOMES, Verdict, code_failed, unjudged
from jaxgen.report.page import chart_json, render_page
from jaxgen.report.strip import strip
from jaxgen.report.svg import inline_svg, svg_text
from jaxgen.run.goodput import goodput
from jaxgen.run.throughput import Timing
from jaxgen.storage.files import write_text
from jaxgen.table import Table

SPLITS_SHOWN = 6
BEST_SHOWN = 100  # rows of a sweep's table
LISTED = 12  # notes, and names within a sentence; the others are folded or counted


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExperimentReport:
    """One experiment of the report, as far as it has been run.

    `notes` says what a reader must know before the numbers: a member that became NaN, a condition
    that was skipped.
    """

    experiment: Experiment
    conditions: tuple[Condition, ...]  # resolved at the report's scale
    table: Table
    verdicts: tuple[Verdict, ...] = ()
    notes: tuple[str, ...] = ()
    timings: tuple[Timing, ...] = ()
    folder: Path | None = None  # the run's, to which the page refers
    time: str = ""  # how long it trained, in words
    best_first: Sequence[tuple[str, ...]] = ()  # of a sweep: the rows of its table, the first of which is the header

    def judged(self) -> list[tuple[Claim, Verdict]]:
        """Returns every claim with its verdict; a claim without one is not judged."""
        by_claim = {verdict.claim: verdict for verdict in self.verdicts}
        return [
            (claim, by_claim.get(claim.name) or unjudged(claim, "no verdict has been given"))
            for claim in self.experiment.claims
        ]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Report:
    """What the page says of a paper at one scale, and where it comes from."""

    paper: Paper
    scale: str
    created: str
    command: str
    device: str
    versions: Mapping[str, str]
    commit: str
    time: str  # how long it trained, in words
    flags: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()  # overrides `KEY=VALUE`
    experiments: tuple[ExperimentReport, ...] = ()

    def title(self) -> str:
        """Returns the experiment's title where one of several ran, else the paper's."""
        alone = len(self.experiments) == 1 and len(self.paper.experiments) > 1
        return self.experiments[0].experiment.title if alone else self.paper.title

    def id(self) -> str:
        """Returns the paper's slug, with the experiment's name where one of several ran."""
        alone = len(self.experiments) == 1 and len(self.paper.experiments) > 1
        return f"{self.paper.slug}/{self.experiments[0].experiment.name}" if alone else self.paper.slug

    def of_the_paper(self) -> str:
        """Returns how many of the paper's experiments these are, where they are not all."""
        ran, there = len(self.experiments), len(self.paper.experiments)
        return f"{ran} of the paper's {there} experiments" if ran < there else ""

    def outcomes(self) -> Counter[str]:
        """Returns how many claims of the paper have each outcome; controls and sanity checks are not counted."""
        judged = [each for part in self.experiments for each in part.judged()]
        return Counter(verdict.outcome for claim, verdict in judged if claim.role == "paper")


def write_report(path: Path, report: Report, copy: Path | None = None) -> list[str]:
    """Writes the page whole or not at all: a reader never sees half of it. Returns which figures' code failed.

    Args:
      path: of the page. What the run's folder lacks of its figures is written there, if that is where the page is.
      report: what it says.
      copy: where the page is wanted, too, without what refers to the run's folder.
    """
    failed: list[str] = []
    parts = [_part(part, number, failed) for number, part in enumerate(report.experiments)]
    for part, shown in zip(report.experiments, parts, strict=True):
        if part.folder == path.parent:
            for figure in shown["figures"]:
                write_text(path.parent / figure["file"], figure["drawn"])
    folders = [_relative(part.folder, path.parent) for part in report.experiments]
    write_text(path, _page(report, parts, folders))
    if copy is not None:
        write_text(copy, _page(report, parts, [""] * len(parts)))
    return failed


def render(report: Report) -> tuple[str, list[str]]:
    """Returns the page as text, and which figures' code failed: the page is without them, and says so."""
    failed: list[str] = []
    parts = [_part(part, number, failed) for number, part in enumerate(report.experiments)]
    return _page(report, parts, [""] * len(parts)), failed


def _relative(folder: Path | None, start: Path) -> str:
    """Returns the address of a folder relative to a page's; nothing of none."""
    return f"{quote(Path(os.path.relpath(folder, start)).as_posix())}/" if folder else ""


def _page(report: Report, parts: Sequence[Mapping[str, Any]], folders: Sequence[str]) -> str:
    outcomes = report.outcomes()
    charts = any(figure["chart"] for part in parts for figure in part["figures"])
    return render_page(
        "report.html",
        charts,
        {
            "report": report,
            "parts": [{**part, "folder": folder} for part, folder in zip(parts, folders, strict=True)],
            "total": sum(outcomes.values()),
            "strip": strip,
            "some": _some,
            "tally": [(outcome, outcomes[outcome]) for outcome in OUTCOMES if outcomes[outcome]],
        },
    )


def _part(part: ExperimentReport, number: int, failed: list[str]) -> dict[str, Any]:
    """Returns what the template shows of one experiment; adds to `failed` which figures' code failed."""
    figures, undrawn, empty = _figures(part, f"e{number}")
    failed += undrawn
    notes = (*part.notes, *undrawn, *empty)
    settings = differing_settings(part.conditions)
    measured = set(part.table.conditions())
    waiting = [each.name for each in part.conditions if each.name not in measured]
    splits = _splits(part.table)
    return {
        "anchor": f"experiment-{number}",
        "experiment": part.experiment,
        "best_first": part.best_first[: 1 + BEST_SHOWN],
        "worse": max(0, len(part.best_first) - 1 - BEST_SHOWN),
        "judged": part.judged(),
        "notes": notes[:LISTED],
        "more_notes": notes[LISTED:],
        "waiting": waiting,
        "figures": figures,
        "settings": settings,
        "labels": _short(settings),
        "splits": splits,
        "conditions": _condition_rows(part, splits),
        "identities": _identities(part.conditions),
        "time": part.time,
        "timings": [(each, goodput(each.seconds)) for each in part.timings if each.milliseconds()],
    }


def _some(names: Sequence[str], separator: str) -> str:
    """Returns the first names, and how many more there are."""
    more = [f"and {len(names) - LISTED:,} more"] if len(names) > LISTED else []
    return separator.join([*names[:LISTED], *more])


def _figures(part: ExperimentReport, prefix: str) -> tuple[list[dict[str, Any]], list[str], list[str]]:
    """Returns the figures, which figures' code failed, and why others draw nothing."""
    shown, failed, empty = [], [], []
    for number, whole in enumerate(part.experiment.figures):
        try:
            figure, table, said = whole.for_page(part.table, part.conditions)
            drawings = {
                name: drawing
                for name, width in (("wide", WIDE), ("narrow", NARROW))
                if (drawing := draw(figure, table, part.conditions, width=width)) is not None
            }
            texts = {name: svg_text(drawing) for name, drawing in drawings.items()}
            chart = figure.chart(table, part.conditions) if drawings else None
            data = chart_json(chart) if chart else None
        except Exception as error:
            # The rest of the page must still be shown.
            failed.append(f"figure '{whole.name}': {code_failed(error)}")
            continue
        if drawings:
            shown.append(
                {
                    "figure": figure,
                    "images": {name: inline_svg(text, f"{prefix}f{number}{name[0]}") for name, text in texts.items()},
                    "chart": data,
                    "share": round(100 * drawings["wide"].get_figwidth() / WIDE),
                    "reading": " ".join([figure.reading(), *said]),
                    "file": f"figures/{whole.name}.svg",
                    "drawn": texts["wide"],
                }
            )
        elif said:
            empty.append(f"figure '{whole.name}' draws nothing: {' '.join(said)}")
    return shown, failed, empty


def _short(keys: Iterable[str]) -> dict[str, str]:
    """Returns the last part of each dotted key, or the whole key where that is not enough."""
    tails = {key: key.rpartition(".")[2] for key in keys}
    count = Counter(tails.values())
    return {key: tail if count[tail] == 1 else key for key, tail in tails.items()}


def _splits(table: Table) -> list[str]:
    """Returns the splits whose accuracy was measured, at most as many as a page is wide."""
    found = [key.removeprefix("accuracy/") for key in table.measured_keys() if key.startswith("accuracy/")]
    return found[:SPLITS_SHOWN] or ["train", "test"]


def _condition_rows(part: ExperimentReport, splits: Sequence[str]) -> list[dict[str, Any]]:
    finals = [part.table.finals(f"accuracy/{split}").to_dict() for split in splits]
    rows = []
    for condition, decay in zip(part.conditions, part.experiment.decays(part.conditions), strict=True):
        measured = set(part.table.condition(condition.name).seeds())
        seeds = [seed for seed in condition.seeds if seed in measured]
        places = [(condition.name, seed) for seed in seeds]
        rows.append(
            {
                "name": condition.name,
                "steps": f"{condition.steps:,}",
                "decay": decay,
                "seeds": f"{len(seeds)} of {len(condition.seeds)}",
                "accuracies": [_spread_of([of_split.get(place) for place in places]) for of_split in finals],
            }
        )
    return rows


def _spread_of(values: Sequence[float | None]) -> str:
    """Returns the median and the range of the seeds' final values; of values that are not all there, nothing."""
    there = [value for value in values if value is not None]
    if not there or len(there) < len(values):
        return "–"
    middle = f"{statistics.median(there):.3f}"
    return middle if len(there) == 1 else f"{middle} ({min(there):.3f} to {max(there):.3f})"


def _identities(conditions: Sequence[Condition]) -> dict[str, list[tuple[int, str]]]:
    found: dict[str, list[tuple[int, str]]] = {each.name: [] for each in conditions}
    for member in trajectories(conditions):
        found[member.condition.name].append((member.seed, member.identity))
    return found
