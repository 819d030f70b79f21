"""The gallery: one row a recorded paper, as a Markdown page; imports no jax."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from jaxgen.experiment import Experiment
from jaxgen.ledger.discovery import FoundPaper
from jaxgen.ledger.results import RECORDED_SCALES, figure_file, read_results

HEAD = """# Gallery

One row for each paper and scale with recorded results: its first claim, how many of its claims were
reproduced, and the command that does it again. Written by `make docs`; minutes are those of all
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


def _row(found: FoundPaper, scale: str, results: dict[str, Any], page: Path) -> str:
    experiments = [each for each in found.paper.experiments if each.name in results]
    first = next(claim for each in experiments for claim in each.claims)
    count = Counter(claim["outcome"] for entry in results.values() for claim in entry["claims"])
    conditions = [facts for entry in results.values() for facts in entry["conditions"].values()]
    # Members that trained together share their minutes.
    minutes = math.fsum(facts["minutes"] * len(facts["seeds"]) / facts["trained_together"] for facts in conditions)
    slug = found.paper.slug
    cells = [
        _thumbnail(found, scale, experiments, page),
        f"[{found.paper.title}]({_link(found.folder / '__init__.py', page)}), "
        f"[arXiv:{found.paper.arxiv}](https://arxiv.org/abs/{found.paper.arxiv}). {first.says} ({first.place})",
        ", ".join(f"{number} {outcome}" for outcome, number in count.most_common()),
        f"`jaxgen reproduce {slug} --scale {scale}`",
        f"{minutes:.0f}",
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
