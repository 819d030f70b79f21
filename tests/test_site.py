"""The site: its pages say what is recorded, and its links lead somewhere."""

from __future__ import annotations

import dataclasses
import functools
import http.server
import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest

from docs.site import docstrings, figures, guides, library, links, notebook, papers, records
from jaxgen.bounds import Bounds
from jaxgen.ledger.discovery import FoundPaper, discover
from jaxgen.ledger.results import RECORDED_SCALES, read_results
from jaxgen.ledger.verdict import Verdict, verdict_json, verdict_of
from tests.tiny_paper import invoke

ROOT = Path(__file__).parent.parent
Shown = dict[tuple[str, str, str], tuple[str, str]]  # scale, experiment, claim -> outcome, reason


class Claims(HTMLParser):
    """Reads the verdicts off a page."""

    def __init__(self) -> None:
        super().__init__()
        self.shown: Shown = {}
        self._table, self._claim, self._reading = ("", ""), "", ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "table":
            self._table = (given.get("data-scale") or "", given.get("data-experiment") or "")
        if tag == "tr":
            self._claim = given.get("data-claim") or ""
        classes = (given.get("class") or "").split()
        self._reading = next((each for each in ("badge", "reason") if each in classes), "")

    def handle_endtag(self, tag: str) -> None:
        self._reading = ""

    def handle_data(self, data: str) -> None:
        if self._claim and self._reading:
            key = (*self._table, self._claim)
            outcome, reason = self.shown.get(key, ("", ""))
            self.shown[key] = (data, reason) if self._reading == "badge" else (outcome, data)


def shown(page: str) -> Shown:
    reader = Claims()
    reader.feed(page)
    return reader.shown


def recorded(found: FoundPaper) -> Shown:
    return {
        (scale, experiment, claim["claim"]): (claim["outcome"], claim["reason"])
        for scale in RECORDED_SCALES
        for experiment, entry in read_results(found.folder, scale).items()
        for claim in entry["claims"]
    }


@functools.cache
def found() -> dict[str, FoundPaper]:
    return discover().papers


def test_a_papers_page_shows_the_recorded_verdicts_and_reasons() -> None:
    assert sum(bool(recorded(each)) for each in found().values()) >= 9
    for slug, each in found().items():
        told = recorded(each)
        page = shown(papers.page(each, "notebook.py"))
        assert {claim: said for claim, said in page.items() if claim[0]} == told, slug
        waiting = {said for claim, said in page.items() if not claim[0]}
        assert waiting <= {("not judged", "it is not recorded yet")}, slug


def test_a_papers_page_shows_figures_commands_provenance_and_deviations() -> None:
    page = papers.page(found()["xor-benign"], "notebook.py")
    entry = json.loads((found()["xor-benign"].folder / "results" / "paper.json").read_text())["grokking"]
    facts = entry["conditions"]["n=400"]
    for told in (
        "https://arxiv.org/abs/2310.02541",
        "jaxgen reproduce xor-benign/grokking --scale paper",
        "../_static/records/xor-benign/paper/grokking-accuracy.svg",
        "../_static/records/xor-benign/paper/grokking.csv",
        "0 to 19",
        facts[0]["commit"],
        f"jaxlib {facts[0]['versions']['jaxlib']}",
        'class="strip"',
        "## Deviations, and why",
        "No p of a size for a CPU meets",
        "task.dimensions",
    ):
        assert told in page, told


def test_a_paper_without_records_shows_its_claims_as_not_judged(tiny: Path) -> None:
    page = papers.page(discover().papers["tiny-paper"], "notebook.py")
    assert {outcome for outcome, _ in shown(page).values()} == {"not judged"}
    assert "is not recorded yet" in page


def test_every_notebook_says_what_is_claimed_and_what_deviates() -> None:
    for slug, each in found().items():
        parts = notebook.sections(each.notebook)
        assert {"Paper", "Claimed", "Command", "Setting", "Deviations, and why"} <= set(parts), slug
        assert parts["Command"].startswith("jaxgen reproduce"), slug
        assert parts["Deviations, and why"].startswith("- "), slug


def test_a_notebook_is_told_by_its_labels_and_as_plain_text() -> None:
    parts = notebook.sections("Title.\n\nPaper: a, 2024: b.\n\nClaimed: x * y < `a*b`,\nas _said_.\n\nAnd more.\n")
    assert parts == {"Paper": "a, 2024: b.", "Claimed": "x \\* y \\< `a*b`,\nas \\_said\\_.\n\nAnd more."}


def test_guides_link_to_pages_of_the_site_where_they_leave_docs() -> None:
    linked: set[str] = set()
    text = (
        "[a](../experiments/xor_benign/__init__.py) [b](../jaxgen/tasks/base.py) [c](gallery.md) [d](runs.md#job)\n"
        "\n    [e](../jaxgen/code.py)\n"
    )
    assert guides.rewritten(text, linked) == (
        "[a](papers/xor-benign.md) [b](sources/jaxgen/tasks/base.py.md) [c](ledger.md) [d](runs.md#job)\n"
        "\n    [e](../jaxgen/code.py)\n"
    )
    assert guides.rewritten("[f](examples/search.py)", linked) == "[f](sources/docs/examples/search.py.md)"
    assert linked == {"jaxgen/tasks/base.py", "docs/examples/search.py"}


def test_every_guide_is_on_the_site(tmp_path: Path) -> None:
    guides.write(ROOT / "docs", tmp_path)
    listed = (tmp_path / "guides.md").read_text(encoding="utf-8")
    for path in (ROOT / "docs").glob("*.md"):
        if path.stem not in ("gallery", "glossary"):
            assert (tmp_path / path.name).exists(), path
            assert f"({path.name})" in listed, path


def test_a_task_is_shown_as_the_command_prints_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    printed = [line.rstrip() for line in invoke("tasks", "show", "modular").output.splitlines()]
    assert "\n".join(printed).strip().endswith(library.printed("modular"))
    assert library.printed("modular").startswith("settings")


def test_links_that_lead_nowhere_and_what_is_loaded_from_elsewhere_are_found(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text(
        '<a href="b.html#there">1</a><a href="b.html#no">2</a><a href="c.html">3</a><a href="https://x.y">4</a>'
        '<img src="b.html"><script src="https://cdn.x/y.js"></script><a href="../up.html">5</a><a href="#no">6</a>'
    )
    (tmp_path / "b.html").write_text('<p id="there">')
    assert links.broken(tmp_path) == [
        "a.html: b.html#no has no such anchor",
        "a.html: c.html is not there",
        "a.html: loads https://cdn.x/y.js",
        "a.html: ../up.html is not there",
        "a.html: #no has no such anchor",
    ]


def test_a_figure_has_the_colours_of_both_schemes() -> None:
    path = found()["xor-benign"].folder / "results" / "paper" / "grokking-accuracy.svg"
    svg = figures.both_schemes(path.read_text(encoding="utf-8"))
    style, _, drawing = svg.partition("</style>")
    assert "--page:#fdfdfb;" in style
    assert "@media(prefers-color-scheme:dark){:root{" in style
    assert "--page:#14171b;" in style
    assert "#fdfdfb" not in drawing
    assert "var(--page)" in drawing
    assert figures.size(svg) == (720, 251)


def test_comments_beside_fields_are_their_documentation() -> None:
    from jaxgen.experiment import Claim

    told = docstrings.field_comments(Claim)
    assert told["place"] == "where the paper (or its code) says so"
    assert told["role"].startswith("paper: a sentence of the paper; control")
    assert "kind" not in told


def test_markdown_in_docstrings_is_text_in_restructured_text() -> None:
    assert docstrings.restructured(["About |x| * y:", "- `a*b` one", "  goes on", "end_"]) == [
        "About \\|x\\| \\* y:", "", "- `a*b` one", "  goes on", "", "end\\_",
    ]  # fmt: skip


def test_a_recorded_verdict_is_read_as_it_was_written() -> None:
    verdict = Verdict(
        claim="a", kind="typical", role="paper", outcome="inconclusive", reason="so", values={0: 1.5, 3: Bounds(2, 4)},
        point=Bounds(1.5, 3), low=-1.0, more=4, conditions=("x",), changed=True,
    )  # fmt: skip
    assert verdict_of(json.loads(json.dumps(verdict_json(verdict)))) == verdict
    unknown = dataclasses.replace(verdict, values={}, point=None)
    assert verdict_of(json.loads(json.dumps(verdict_json(unknown)))) == unknown


def test_seeds_are_told_in_short() -> None:
    assert records.ranges([3, 0, 1, 2, 7, 9, 10]) == "0 to 3, 7, 9, 10"
    assert records.ranges([]) == ""


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a built site, which lies in a folder of its host."""
    pytest.importorskip("sphinx", reason="make docs-check installs it")
    root = tmp_path_factory.mktemp("host")
    subprocess.run([sys.executable, "-m", "docs.site", "--to", str(root / "some" / "where")], cwd=ROOT, check=True)

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(root)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/some/where"
    server.shutdown()
    server.server_close()


def opened(address: str) -> str:
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("there is no Chromium")
    command = [browser, "--headless", "--no-sandbox", "--virtual-time-budget=20000", "--dump-dom", address]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.mark.long
def test_the_browser_shows_the_recorded_verdicts(address: str) -> None:
    for slug in ("xor-benign", "simplicity-bias"):
        assert shown(opened(f"{address}/papers/{slug}.html")) == recorded(found()[slug])


@pytest.mark.long
def test_the_ledger_can_be_filtered_once_its_script_has_run(address: str) -> None:
    page = opened(f"{address}/ledger.html")
    rows = sum(bool(read_results(each.folder, scale)) for each in found().values() for scale in RECORDED_SCALES)
    assert f"{rows} of {rows} rows" in page


@pytest.mark.long
def test_the_search_finds_a_claim_without_another_host(address: str) -> None:
    assert "papers/xor-benign.html" in opened(f"{address}/search.html?q=flipped+labels").partition("search-results")[2]
