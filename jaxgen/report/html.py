"""The report of a paper's experiments: one self-contained HTML page."""

from __future__ import annotations

import dataclasses
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from jaxgen.condition import Condition, trajectories
from jaxgen.config import to_json
from jaxgen.experiment import Claim, Experiment, Paper
from jaxgen.figures import palette
from jaxgen.figures.axes import NARROW, WIDE
from jaxgen.figures.draw import draw
from jaxgen.ledger.verdict import OUTCOMES, Verdict, code_failed, unjudged
from jaxgen.report.strip import strip
from jaxgen.report.svg import inline_svg
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

    def outcomes(self) -> Counter[str]:
        """Returns how many claims of the paper have each outcome; controls and sanity checks are not counted."""
        judged = [each for part in self.experiments for each in part.judged()]
        return Counter(verdict.outcome for claim, verdict in judged if claim.role == "paper")


def write_report(path: Path, report: Report) -> list[str]:
    """Writes the page whole or not at all: a reader never sees half of it. Returns which figures' code failed."""
    page, failed = render(report)
    write_text(path, page)
    return failed


def render(report: Report) -> tuple[str, list[str]]:
    """Returns the page as text, and which figures' code failed: the page is without them, and says so."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    outcomes = report.outcomes()
    failed: list[str] = []
    parts = [_part(part, number, failed) for number, part in enumerate(report.experiments)]
    page = environment.get_template("report.html").render(
        report=report,
        parts=parts,
        total=sum(outcomes.values()),
        spread=_spread,
        strip=strip,
        some=_some,
        tally=[(outcome, outcomes[outcome]) for outcome in OUTCOMES if outcomes[outcome]],
        light=Markup(palette.variables("light")),
        dark=Markup(palette.variables("dark")),
    )
    return page, failed


def _part(part: ExperimentReport, number: int, failed: list[str]) -> dict[str, Any]:
    """Returns what the template shows of one experiment; adds to `failed` which figures' code failed."""
    figures, undrawn = _figures(part, f"e{number}")
    failed += undrawn
    notes = (*part.notes, *undrawn)
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
        "timings": [(each, goodput(each.seconds)) for each in part.timings if each.milliseconds()],
    }


def _spread(verdict: Verdict) -> tuple[str, str]:
    """Returns the median and the range apart, to set them in two lines."""
    middle, _, span = verdict.spread().partition(" ")
    return middle, span.strip("()")


def _some(names: Sequence[str], separator: str) -> str:
    """Returns the first names, and how many more there are."""
    more = [f"and {len(names) - LISTED:,} more"] if len(names) > LISTED else []
    return separator.join([*names[:LISTED], *more])


def _figures(part: ExperimentReport, prefix: str) -> tuple[list[dict[str, Any]], list[str]]:
    shown, failed = [], []
    for number, whole in enumerate(part.experiment.figures):
        try:
            figure, table, said = whole.for_page(part.table, part.conditions)
            drawings = {
                name: drawing
                for name, width in (("wide", WIDE), ("narrow", NARROW))
                if (drawing := draw(figure, table, part.conditions, width=width)) is not None
            }
            images = {name: inline_svg(drawing, f"{prefix}f{number}{name[0]}") for name, drawing in drawings.items()}
        except Exception as error:
            # The rest of the page must still be shown.
            failed.append(f"figure '{whole.name}': {code_failed(error)}")
            continue
        if drawings:
            share = round(100 * drawings["wide"].get_figwidth() / WIDE)
            shown.append(
                {"figure": figure, "images": images, "share": share, "reading": " ".join([figure.reading(), *said])}
            )
    return shown, failed


def differing_settings(conditions: Sequence[Condition]) -> dict[str, list[str]]:
    """Returns the settings that differ between the conditions: one text a condition, by dotted key.

    What only looks at a run (snapshots, analyses) is left out.
    """
    apart = ("kind", "name", "seeds", "steps", "snapshots", "analyses")
    flat = [_flatten(to_json(each, complete=True)) for each in conditions]
    keys = dict.fromkeys(key for fields in flat for key in fields if key not in apart)
    found = {key: [fields.get(key, "–") for fields in flat] for key in keys}
    return {key: values for key, values in found.items() if len(set(values)) > 1}


def _short(keys: Iterable[str]) -> dict[str, str]:
    """Returns the last part of each dotted key, or the whole key where that is not enough."""
    tails = {key: key.rpartition(".")[2] for key in keys}
    count = Counter(tails.values())
    return {key: tail if count[tail] == 1 else key for key, tail in tails.items()}


def _flatten(value: Any, path: str = "") -> dict[str, str]:
    if isinstance(value, dict):
        prefix = f"{path}." if path else ""
        return {inner: text for key, each in value.items() for inner, text in _flatten(each, prefix + key).items()}
    return {path.removesuffix(".kind"): _text(value)}


def _text(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(_text, value)) or "none"
    if isinstance(value, dict):
        inner = ", ".join(f"{key} {_text(each)}" for key, each in value.items() if key != "kind")
        return f"{value['kind']}({inner})" if "kind" in value else inner
    if isinstance(value, float):
        return f"{value:g}"
    return "none" if value is None else str(value)


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
