"""The README's ledger and the gallery say what is recorded."""

import re
from collections import Counter
from pathlib import Path

from jaxgen.ledger.discovery import discover
from jaxgen.ledger.results import RECORDED_SCALES, read_results
from jaxgen.report.gallery import gallery

README = Path(__file__).parent.parent / "README.md"


def ledger() -> list[str]:
    rows = []
    for slug, found in discover().papers.items():
        for scale in RECORDED_SCALES:
            claims = [claim for entry in read_results(found.folder, scale).values() for claim in entry["claims"]]
            if claims:
                count = Counter(claim["outcome"] for claim in claims if claim["role"] == "paper")
                outcomes = ("reproduced", "not reproduced", "inconclusive", "untestable at this scale", "not judged")
                cells = [count.total(), *(count[outcome] for outcome in outcomes)]
                name = f"[{found.paper.title}](experiments/{found.folder.name}/__init__.py) `{slug}`"
                rows.append(f"| {name} | {scale} | {' | '.join(map(str, cells))} |")
    return rows


def test_the_ledger_is_what_is_recorded() -> None:
    text = README.read_text(encoding="utf-8")
    block = text.split("<!-- ledger:")[1].split("<!-- /ledger -->")[0]
    assert [line for line in block.splitlines() if line.startswith("| [")] == ledger(), (
        "run: jaxgen gallery docs/gallery.md --ledger README.md"
    )


def test_the_gallery_is_what_is_recorded() -> None:
    page = README.parent / "docs" / "gallery.md"
    assert page.read_text(encoding="utf-8") == gallery(discover().papers.values(), page), (
        "run: jaxgen gallery docs/gallery.md"
    )
    for link in re.findall(r'(?:src="|\]\()(?!https)([^")]+)', page.read_text(encoding="utf-8")):
        assert (page.parent / link).exists(), link


def test_the_code_of_the_docs_on_parts_is_that_of_the_tests() -> None:
    blocks = re.findall(r"```python\n(.*?)```", (README.parent / "docs" / "parts.md").read_text(), re.DOTALL)
    assert len(blocks) == 10
    sources = "".join(each.read_text() for each in sorted((README.parent / "tests" / "open_paper").glob("*.py")))
    for block in blocks:
        assert block.strip() in sources
