"""The first page."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from docs.site.ledger import rows_of
from docs.site.text import toctree
from jaxgen.ledger.discovery import FoundPaper


def write(papers: Iterable[FoundPaper], target: Path) -> None:
    """Writes the first page, with how much is recorded."""
    papers = list(papers)
    recorded = {found.paper.slug for found in papers if rows_of(found)}
    claims = sum(row.counts.total() for found in papers for row in rows_of(found))
    page = (Path(__file__).parent / "templates" / "home.md").read_text(encoding="utf-8")
    page = page.format(papers=len(recorded), claims=f"{claims:,}")
    entries = [
        "Ledger <ledger>", "Guides <guides>", "Tasks <library/index>", "Python <api/index>", "Glossary <glossary>",
    ]  # fmt: skip
    (target / "index.md").write_text(page + "\n" + toctree(entries), encoding="utf-8")
