"""The ledger as pages: one row a paper and scale, and one row a claim, to sort and to filter."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from docs.site.records import Record, recorded_pairs, records
from docs.site.render import render
from docs.site.text import raw, toctree
from jaxgen.ledger.discovery import FoundPaper
from jaxgen.ledger.results import minutes_of
from jaxgen.ledger.verdict import OUTCOMES


@dataclasses.dataclass(frozen=True)
class Row:
    """What the ledger says of a paper at a scale."""

    found: FoundPaper
    scale: str
    counts: Counter[str]  # outcome -> how many of the paper's own claims
    seeds: int  # the most of a condition
    minutes: float
    figure: str  # of the first that is recorded, from the root of the site; empty without one


def rows_of(found: FoundPaper) -> list[Row]:
    """Returns the rows of a paper: one for each scale with recorded results."""
    by_scale: dict[str, list[Record]] = {}
    for record in records(found):
        by_scale.setdefault(record.scale, []).append(record)
    return [_row(found, scale, of) for scale, of in by_scale.items()]


def _row(found: FoundPaper, scale: str, of: list[Record]) -> Row:
    verdicts = [verdict for record in of for _, verdict in recorded_pairs(record)]
    recordings = [facts for record in of for each in record.recordings.values() for facts in each]
    figures = [record.figure_path(figure) for record in of for figure, _ in record.figures()]
    seeds = max((len(record.seeds(name)) for record in of for name in record.recordings), default=0)
    counts: Counter[str] = Counter(verdict.outcome for verdict in verdicts if verdict.role == "paper")
    return Row(found, scale, counts, seeds, minutes_of(recordings), figures[0] if figures else "")


def write(papers: Iterable[FoundPaper], target: Path) -> None:
    """Writes the ledger and the list of all claims."""
    papers = list(papers)
    rows = [row for found in papers for row in rows_of(found)]
    table = render("ledger.html", rows=rows, outcomes=OUTCOMES, totals=sum((row.counts for row in rows), Counter()))
    entries = ["All claims <claims>", *(f"{found.paper.slug} <papers/{found.paper.slug}>" for found in papers)]
    page = f"# Ledger\n\n{_HEAD}\n{raw(table)}\n{_TAIL}\n{toctree(entries)}"
    (target / "ledger.md").write_text(page, encoding="utf-8")
    judged = [
        (record, claim, verdict)
        for found in papers
        for record in records(found)
        for claim, verdict in recorded_pairs(record)
    ]
    table = render("claims.html", judged=judged, outcomes=OUTCOMES)
    (target / "claims.md").write_text(f"# All claims\n\n{_CLAIMS}\n{raw(table)}", encoding="utf-8")


_HEAD = """Every paper with recorded results. Counted are the paper's own sentences; controls of ours are not. A
[verdict](glossary.md#verdict) wants the whole 95 % interval on its side. A heading sorts the table.
"""
_TAIL = """Minutes are those of all trainings together, one after the other. `jaxgen reproduce PAPER --scale SCALE` does
a row again, and `make check-ledger` judges every recorded table again. The claims of all papers are in
[one table](claims.md).
"""
_CLAIMS = """Each claim at each scale where it was judged. Its [kind](glossary.md#claim) fixes the statistics, its
[role](glossary.md#role) whether it is counted. A heading sorts the table.
"""
