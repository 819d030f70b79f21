"""The README's ledger and the gallery say what is recorded."""

import re
from collections import Counter
from pathlib import Path

from jaxgen.ledger.discovery import discover, find
from jaxgen.ledger.results import RECORDED_SCALES, minutes_of, read_results
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


def recorded_minutes(experiment_id: str, scale: str) -> float:
    found, experiments = find(experiment_id)
    results = read_results(found.folder, scale)
    assert all(each.name in results for each in experiments), f"{experiment_id} is not recorded whole at {scale}"
    return sum(minutes_of(of) for each in experiments for of in results[each.name]["conditions"].values())


def made_by_make() -> tuple[str, str, int]:
    """Returns what `make reproduce` trains: the ID, the scale and the number of seeds."""
    makefile = (README.parent / "Makefile").read_text()
    found = re.search(r"^reproduce:.*\n\t.* reproduce (\S+) --scale (\w+) --seeds (\d+)", makefile, re.MULTILINE)
    assert found is not None
    return found[1], found[2], int(found[3])


def promises() -> list[tuple[str, str, str, float]]:
    """Returns where minutes of training are promised, with the experiments' ID, their scale, and the minutes of all its
    recorded seeds."""
    pages = [README, README.parent / "Makefile", *sorted((README.parent / "docs").glob("*.md"))]
    made, scale, seeds = made_by_make()
    _, (experiment,) = find(made)
    part = seeds / len(experiment.at_scale(scale)[0].seeds)
    found: list[tuple[str, str, str, float]] = []
    for page in pages:
        for line in page.read_text(encoding="utf-8").splitlines():
            if minutes := re.search(r"(\d+) minutes", line):
                if "make reproduce" in line:
                    found.append((page.name, made, scale, int(minutes[1]) / part))
                elif named := re.search(r"jaxgen reproduce (\S+) --scale (mini|paper)", line):
                    found.append((page.name, *named.groups(), int(minutes[1])))
    return found


def test_no_line_promises_minutes_that_the_records_do_not_show() -> None:
    found = promises()
    assert {page for page, *_ in found} >= {"README.md", "Makefile"}
    for page, experiment_id, scale, minutes in found:
        recorded = recorded_minutes(experiment_id, scale)
        assert recorded - 0.5 <= minutes <= 2 * recorded + 1, f"{page}: {experiment_id} took {recorded:.1f} minutes"


def test_the_readme_counts_what_make_reproduce_judges() -> None:
    made, scale, seeds = made_by_make()
    _, (experiment,) = find(made)
    (recorded,) = {len(each.seeds) for each in experiment.at_scale(scale)}
    text = README.read_text()
    assert f"trains {seeds} seeds" in text
    assert f"the first {seeds} of the {recorded} recorded seeds of `{made}`" in text
    assert f"judges {len(experiment.claims)} claims" in text


def test_the_experiment_of_the_readme_is_the_one_that_jaxgen_new_writes() -> None:
    (code,) = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    template = README.parent / "jaxgen" / "templates" / "paper.py.jinja"
    assert code in template.read_text(encoding="utf-8")


def test_the_code_of_the_docs_on_parts_is_that_of_the_tests() -> None:
    blocks = re.findall(r"```python\n(.*?)```", (README.parent / "docs" / "parts.md").read_text(), re.DOTALL)
    assert len(blocks) == 11
    sources = "".join(each.read_text() for each in sorted((README.parent / "tests" / "open_paper").glob("*.py")))
    for block in blocks:
        assert block.strip() in sources
