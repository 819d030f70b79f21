"""`jaxgen list` of ninety papers: what it shows comes from indexes, and only while they hold."""

import json
import shutil
import tomllib
from pathlib import Path

import pytest

import jaxgen
from jaxgen.errors import UserError
from jaxgen.ledger.discovery import FOLDERS_VARIABLE, find
from jaxgen.ledger.index import index_file, read_index, write_index
from tests.tiny_paper import SOURCE, invoke

# Each notebook writes down that it was imported.
IMPORTED = """
import os
with open(os.environ["IMPORTED"], "a") as file:
    file.write(PAPER.slug + "\\n")
"""
VERDICTS = {
    "main": {"conditions": {}, "claims": [{"claim": "fits", "outcome": "reproduced", "reason": "", "role": "paper"}]}
}


class Papers:
    """Copies of the tiny paper, and the list of those that were imported since."""

    def __init__(self, root: Path, count: int):
        self.root, self.count, self._log = root / "papers", count, root / "imported"
        for i in range(count):
            folder = self.folder(i)
            (folder / "results").mkdir(parents=True)
            source = SOURCE.replace("tiny-paper", f"paper-{i}").replace("0000.00001", f"1234.{i:05}")
            (folder / "__init__.py").write_text(source + IMPORTED)
            (folder / "parts.py").write_text("")
            (folder / "results" / "mini.json").write_text(json.dumps(VERDICTS))

    def folder(self, i: int) -> Path:
        return self.root / f"paper_{i}"

    def write_indexes(self) -> None:
        for i in range(self.count):
            write_index(find(f"paper-{i}")[0])
        self.imported()

    def imported(self) -> list[str]:
        """Which were imported since this was last asked."""
        found = self._log.read_text().split() if self._log.exists() else []
        self._log.unlink(missing_ok=True)
        return found

    def files(self) -> dict[str, bytes]:
        return {str(path): path.read_bytes() for path in self.root.rglob("*") if path.suffix in (".json", ".py")}


@pytest.fixture(autouse=True)
def _place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMPORTED", str(tmp_path / "imported"))
    monkeypatch.setenv(FOLDERS_VARIABLE, str(tmp_path / "papers"))


@pytest.fixture
def indexed(tmp_path: Path) -> Papers:
    papers = Papers(tmp_path, 9)
    papers.write_indexes()
    return papers


def test_ninety_papers_are_listed_as_their_notebooks_say_and_none_is_imported(tmp_path: Path) -> None:
    papers = Papers(tmp_path, 90)
    before, by_notebooks = papers.files(), invoke("list").output
    assert len(set(papers.imported())) == 90
    assert papers.files() == before  # it writes no index
    papers.write_indexes()
    assert invoke("list").output == by_notebooks
    assert papers.imported() == []
    lines = [line for line in by_notebooks.splitlines() if line.startswith("  paper-") and "/main " in line]
    assert len(lines) == 90
    assert all("mini: 1 reproduced" in line for line in lines)


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


CHANGES = {
    "the notebook": lambda folder: edit(folder / "__init__.py", 'title="Tiny"', 'title="Tinier"'),
    "a part": lambda folder: (folder / "parts.py").write_text("# moved"),
    "a new file": lambda folder: (folder / "network.py").write_text(""),
    "verdicts": lambda folder: edit(folder / "results" / "mini.json", "reproduced", "inconclusive"),
    "more verdicts": lambda folder: (folder / "results" / "paper.json").write_text(json.dumps(VERDICTS)),
    "no verdicts": lambda folder: (folder / "results" / "mini.json").unlink(),
    "the index itself": lambda folder: edit(index_file(folder), '"Tiny"', '"Great"'),
    "a merge of the index": lambda folder: edit(index_file(folder), '"slug"', "<<<<<<< HEAD"),
    "no index": lambda folder: index_file(folder).unlink(),
    "a folder in its place": lambda folder: (index_file(folder).unlink(), index_file(folder).mkdir()),
}


@pytest.mark.parametrize("what", CHANGES)
def test_what_changed_since_its_index_was_written_is_imported(indexed: Papers, what: str) -> None:
    CHANGES[what](indexed.folder(7))
    assert read_index(indexed.folder(8)) is not None
    output = invoke("list").output
    assert indexed.imported() == ["paper-7"]
    shown = output.split("paper-7 ")[1].split("paper-8 ")[0]
    assert ("Tinier" in shown) == (what == "the notebook")
    assert ("mini: 1 inconclusive" in shown) == (what == "verdicts")
    assert ("paper: 1 reproduced" in shown) == (what == "more verdicts")
    assert ("mini" in shown) == (what != "no verdicts")


def test_an_index_of_another_version_does_not_hold(indexed: Papers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jaxgen, "__version__", "99.0")
    invoke("list")
    assert len(indexed.imported()) == 9


def test_the_index_of_a_copied_paper_does_not_hold(indexed: Papers) -> None:
    shutil.copytree(indexed.folder(7), indexed.root / "paper_copy")
    result = invoke("list")
    assert "the folder is called paper_copy, and its paper has slug='paper-7'; write slug='paper-copy'" in result.output
    assert indexed.imported() == ["paper-7"]


def test_an_index_of_a_notebook_that_changed_while_its_run_was_recorded_does_not_hold(indexed: Papers) -> None:
    found, _ = find("paper-7")
    edit(indexed.folder(7) / "__init__.py", 'title="Tiny"', 'title="Tinier"')
    edit(indexed.folder(7) / "results" / "mini.json", "reproduced", "inconclusive")
    write_index(found)
    assert read_index(indexed.folder(7)) is None
    assert "Tinier" in invoke("list").output


def test_damaged_verdicts_are_told_and_hide_no_other_paper(indexed: Papers) -> None:
    (indexed.folder(7) / "results" / "mini.json").write_text("<<<<<<< HEAD")
    output = invoke("list").output
    assert "paper-7/" not in output
    assert "paper-8/main" in output
    assert f"cannot be read: {indexed.folder(7)}: " in output
    assert "restore it, or remove it and record again" in output


@pytest.mark.parametrize("number", ["1234.00004", "1234.00004v3"])
def test_a_paper_is_found_by_its_number_and_imported_alone(indexed: Papers, number: str) -> None:
    found, experiments = find(f"arxiv:{number}")
    assert (found.paper.slug, len(experiments)) == ("paper-4", 2)
    assert indexed.imported() == ["paper-4"]
    with pytest.raises(UserError, match="did you mean 'arxiv:1234"):
        find("arxiv:1234.00104")
    assert indexed.imported() == []


def test_a_paper_without_an_index_is_found_by_its_number_and_imported_once(indexed: Papers) -> None:
    index_file(indexed.folder(4)).unlink()
    assert find("arxiv:1234.00004/main")[0].paper.slug == "paper-4"
    assert indexed.imported() == ["paper-4"]


def test_a_new_paper_needs_no_other(indexed: Papers, tmp_path: Path) -> None:
    assert invoke("new", "paper-7", "--into", str(tmp_path)).exit_code == 2
    assert invoke("new", "paper-9", "--into", str(tmp_path)).exit_code == 0
    assert indexed.imported() == []


def test_the_gallery_renews_the_indexes_that_do_not_hold(indexed: Papers, tmp_path: Path) -> None:
    edit(indexed.folder(7) / "__init__.py", 'title="Tiny"', 'title="Tinier"')
    shutil.rmtree(indexed.folder(8) / "results")
    before = indexed.files()
    assert invoke("gallery", str(tmp_path / "page.md")).exit_code == 0
    after = indexed.files()
    changed = {path for path in after if before.get(path) != after[path]}
    assert changed == {str(index_file(indexed.folder(i))) for i in (7, 8)}  # of paper 8 nothing is recorded
    known = read_index(indexed.folder(7))
    assert known is not None
    assert known.title == "Tinier"


def test_a_wheel_has_what_is_listed_and_shown_and_neither_tables_nor_figures() -> None:
    root = Path(jaxgen.__file__).parent
    settings = tomllib.loads((root.parent / "pyproject.toml").read_text())
    globs = settings["tool"]["setuptools"]["package-data"]["jaxgen"]
    data = {path.relative_to(root).as_posix() for pattern in globs for path in root.glob(pattern) if path.is_file()}
    of_pages = {".html", ".css", ".js", ".LICENSE", ".md"}
    assert {Path(path).suffix for path in data} == {*of_pages, ".typed", ".jinja", ".json"}
    recorded = {path.relative_to(root).as_posix() for path in (root / "experiments").glob("*/results/*.json")}
    assert {"experiments/nanda_modadd/results/index.json", "experiments/nanda_modadd/results/mini.json"} <= recorded
    assert recorded <= data
