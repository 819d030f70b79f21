"""The page of a paper: what it claims, what came out, how to do it again, and what is done otherwise."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from docs.site.figures import both_schemes, size
from docs.site.notebook import sections
from docs.site.records import Record, ranges, recorded_pairs, records
from docs.site.render import render
from docs.site.sources import page_of
from docs.site.text import escaped, fenced, raw
from jaxgen.experiment import Experiment
from jaxgen.ledger.discovery import FoundPaper
from jaxgen.ledger.results import minutes_of
from jaxgen.ledger.verdict import OUTCOMES, unjudged
from jaxgen.report.html import differing_settings
from jaxgen.report.strip import strip

_SHOWN_ABOVE = ("Claimed", "Command", "Paper")  # of the notebook: the rest stands below the experiments
# Said of every paper, and true of none in particular.
_NOTHING_OWN = ("see results/", "see the verdicts of")


def write(papers: Iterable[FoundPaper], target: Path) -> set[str]:
    """Writes a page for each paper, with its figures and tables; returns the source files that they link to."""
    linked = set()
    (target / "papers").mkdir(parents=True, exist_ok=True)
    for found in papers:
        source = f"experiments/{found.folder.name}/__init__.py"
        linked.add(source)
        (target / "papers" / f"{found.paper.slug}.md").write_text(page(found, source), encoding="utf-8")
        for record in records(found):
            _copy(record, target / "static")
    return linked


def page(found: FoundPaper, source: str) -> str:
    """Returns the page of a paper as Markdown.

    Args:
      found: the paper.
      source: its notebook, from the root of the repository.
    """
    paper, told = found.paper, sections(found.notebook)
    by_experiment: dict[str, list[Record]] = {}
    for record in records(found):
        by_experiment.setdefault(record.experiment.name, []).append(record)
    head = render("paper.html", paper=paper, scales=_scales(found), outcomes=OUTCOMES)
    parts = [f"# {escaped(paper.title)}\n", raw(head)]
    if "Paper" in told:
        parts.append(f"{told['Paper']} Our notebook: [`{source}`](../{page_of(source)}).\n")
    if "Claimed" in told:
        parts.append(f"**Claimed:** {told['Claimed']}\n")
    parts.append(fenced(told.get("Command", f"jaxgen reproduce {paper.slug}"), "bash"))
    for experiment in paper.experiments:
        parts.append(_experiment(paper.slug, experiment, by_experiment.get(experiment.name, [])))
    for label, text in told.items():
        if label not in _SHOWN_ABOVE and not text.startswith(_NOTHING_OWN):
            parts.append(f"## {label}\n\n{text}\n")
    return "\n".join(parts)


def _scales(found: FoundPaper) -> list[tuple[str, Counter[str], float]]:
    """Returns of every recorded scale the outcomes of the paper's own claims, and the minutes of all trainings."""
    scales: dict[str, tuple[Counter[str], list[Mapping[str, Any]]]] = {}
    for record in records(found):
        counts, facts = scales.setdefault(record.scale, (Counter(), []))
        counts.update(verdict.outcome for _, verdict in recorded_pairs(record) if verdict.role == "paper")
        facts += [each for of in record.recordings.values() for each in of]
    return [(scale, counts, minutes_of(facts)) for scale, (counts, facts) in scales.items()]


def _experiment(slug: str, experiment: Experiment, of: list[Record]) -> str:
    parts = [f"## {escaped(experiment.title)}\n"]
    if not of:
        pairs = [(claim, unjudged(claim, "it is not recorded yet")) for claim in experiment.claims]
        table = render("experiment_claims.html", pairs=pairs, strip=strip, scale="", name=experiment.name)
        parts += [f"`{slug}/{experiment.name}` is not recorded yet.\n", raw(table) if pairs else ""]
    for record in of:
        parts.append(raw(f'<span id="{record.anchor}"></span>') + f"\n### {experiment.name}, scale {record.scale}\n")
        parts.append(fenced(f"jaxgen reproduce {slug}/{experiment.name} --scale {record.scale}", "bash"))
        parts.append(raw(_shown(record)))
    return "\n".join(parts)


def _shown(record: Record) -> str:
    experiment = record.experiment
    conditions = experiment.at_scale(record.scale)
    settings = differing_settings(conditions)
    decays = experiment.decays(conditions)
    rows = []
    for i, condition in enumerate(conditions):
        facts = record.recordings.get(condition.name, [])
        rows.append(
            {
                "name": condition.name,
                "settings": [values[i] for values in settings.values()],
                "steps": f"{condition.steps:,}",
                "decay": decays[i],
                "seeds": ranges(record.seeds(condition.name)) or "–",
                "minutes": f"{minutes_of(facts):.1f}",
                "devices": sorted({each["device"] for each in facts}),
                "commits": dict.fromkeys((each["commit"], each["modified"]) for each in facts),
                "recorded": ", ".join(dict.fromkeys(each["recorded"][:10] for each in facts)),
            }
        )
    facts = [each for of in record.recordings.values() for each in of]
    return render(
        "experiment.html",
        record=record,
        name=experiment.name,
        scale=record.scale,
        pairs=recorded_pairs(record),
        figures=[
            (each, record.figure_path(each), size(path.read_text(encoding="utf-8"))) for each, path in record.figures()
        ],
        has_table=record.table().exists(),
        settings=list(settings),
        rows=rows,
        decays=any(decays),
        minutes=minutes_of(facts),
        versions=dict.fromkeys(tuple(sorted(each["versions"].items())) for each in facts),
        strip=strip,
    )


def _copy(record: Record, static: Path) -> None:
    """Copies the recorded figures, in colours for both schemes, and the table."""
    for figure, path in record.figures():
        to = static / Path(record.figure_path(figure)).relative_to("_static")
        to.parent.mkdir(parents=True, exist_ok=True)
        to.write_text(both_schemes(path.read_text(encoding="utf-8")), encoding="utf-8")
    if record.table().exists():
        to = static / Path(record.table_path()).relative_to("_static")
        to.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(record.table(), to)
