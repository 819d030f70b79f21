"""The gallery: one row a recorded paper, as a Markdown page; imports no jax."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from jaxgen.errors import UserError
from jaxgen.experiment import Experiment
from jaxgen.ledger.discovery import FoundPaper
from jaxgen.ledger.results import RECORDED_SCALES, figure_file, minutes_of, read_results
from jaxgen.ledger.verdict import OUTCOMES

HEAD = """# Gallery

One row for each paper and scale with recorded results: its first claim, how many of its claims were
reproduced, and the command that does it again. Written by `make figures`; minutes are those of all
trainings together, one after the other.

| | paper, and its first claim | claims | again | minutes | on |
|---|---|---|---|---|---|
"""


def gallery(papers: Iterable[FoundPaper], page: Path) -> str:
    """Returns the page.

    Args:
      papers: the papers to show; those without recorded results are left out.
      page: where it will be, as its links are relative.
    """
    rows = [
        _row(found, scale, results, page)
        for found in papers
        for scale in RECORDED_SCALES
        if (results := read_results(found.folder, scale))
    ]
    return HEAD + "".join(rows)


def ledger(papers: Iterable[FoundPaper], page: Path, text: str) -> str:
    """Returns a page's text with the table between `<!-- ledger: ... -->` and `<!-- /ledger -->` renewed.

    Args:
      papers: the papers to show; those without recorded results are left out.
      page: where it is, as its links are relative.
      text: the page.

    Raises:
      UserError: the page has no such marks.
    """
    start, end = text.find("<!-- ledger:"), text.find("<!-- /ledger -->")
    if not 0 <= start < end:
        raise UserError(f"{page}: got no marks '<!-- ledger: ... -->' and '<!-- /ledger -->', expected a table in them")
    mark = text[start : text.index("-->", start) + 3]
    rows = [
        "| paper | scale | claims | " + " | ".join(OUTCOMES) + " |",
        "|---" * (3 + len(OUTCOMES)) + "|",
    ]
    for found in papers:
        for scale in RECORDED_SCALES:
            if results := read_results(found.folder, scale):
                count = _outcomes(results)
                name = f"[{found.paper.title}]({_link(found.folder / '__init__.py', page)}) `{found.paper.slug}`"
                cells = [name, scale, count.total(), *(count[outcome] for outcome in OUTCOMES)]
                rows.append(f"| {' | '.join(map(str, cells))} |")
    return text[:start] + "\n".join([mark, *rows, ""]) + text[end:]


def _outcomes(results: dict[str, Any]) -> Counter[str]:
    """Returns how many of the paper's claims have each outcome; controls are not counted."""
    claims = [claim for entry in results.values() for claim in entry["claims"]]
    return Counter(claim["outcome"] for claim in claims if claim["role"] == "paper")


def _row(found: FoundPaper, scale: str, results: dict[str, Any], page: Path) -> str:
    experiments = [each for each in found.paper.experiments if each.name in results]
    first = next(claim for each in experiments for claim in each.claims)
    count = _outcomes(results)
    conditions = [facts for entry in results.values() for of in entry["conditions"].values() for facts in of]
    slug = found.paper.slug
    cells = [
        _thumbnail(found, scale, experiments, page),
        f"[{found.paper.title}]({_link(found.folder / '__init__.py', page)}), "
        f"[arXiv:{found.paper.arxiv}](https://arxiv.org/abs/{found.paper.arxiv}). {first.says} ({first.place})",
        ", ".join(f"{number} {outcome}" for outcome, number in count.most_common()),
        f"`jaxgen reproduce {slug} --scale {scale}`",
        f"{minutes_of(conditions):.0f}",
        "; ".join(sorted({facts["device"] for facts in conditions})),
    ]
    return f"| {' | '.join(cells)} |\n"


def _thumbnail(found: FoundPaper, scale: str, experiments: list[Experiment], page: Path) -> str:
    for each in experiments:
        for figure in each.figures:
            path = figure_file(found.folder, scale, each.name, figure.name)
            if path.exists():
                return f'<img src="{_link(path, page)}" width="260" alt="{each.name}: {figure.name}">'
    return ""


def _link(path: Path, page: Path) -> str:
    return Path(os.path.relpath(path.resolve(), page.resolve().parent)).as_posix()
