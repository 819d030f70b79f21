"""`jaxgen compare`: what it says of runs, in the terminal and on its page."""

import json
import re
import shutil
import statistics
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from jaxgen.distributed import environment
from jaxgen.ledger.comparison import ComparedRun, compare
from tests.tiny_paper import invoke, write_tiny_paper


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two runs of a paper that is not there any more; another version trained the second one, with other settings."""
    root = tmp_path_factory.mktemp("compare")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAXGEN_EXPERIMENTS", str(write_tiny_paper(root)))
        patch.setenv("JAXGEN_CACHE", str(root / "cache"))
        request = ("reproduce", "tiny-paper/main", "--scale", "smoke", "--runs", str(root / "runs"))
        assert invoke(*request).exit_code == 0
        versions = environment.versions()
        patch.setattr(environment, "versions", lambda: versions | {"jax": "0.0.1"})
        notebook = root / "papers" / "tiny_paper" / "__init__.py"
        notebook.write_text(notebook.read_text() + "\nclass Other:\n    pass\n")
        assert invoke(*request, "--set", "optimizer.learning_rate=0.25", "--set", "dense:steps=5").exit_code == 0
    shutil.rmtree(root / "papers")
    found = sorted((root / "runs" / "tiny-paper" / "main").glob("smoke*"))
    assert len(found) == 2
    return found


def printed(*runs: Path, more: tuple[str, ...] = ()) -> dict[str, list[str]]:
    """Returns the cells of each line by its first cell."""
    done = invoke("compare", *map(str, runs), *more)
    assert done.exit_code == 0, done.output
    lines = [re.split(r"  +", line.strip()) for line in done.stdout.splitlines() if line.strip()]
    return {cells[0]: cells[1:] for cells in lines}


def test_what_differs_is_told(runs: list[Path]) -> None:
    told = printed(*runs)
    assert (told["A"], told["B"]) == (["tiny-paper/main/smoke"], [f"tiny-paper/main/{runs[1].name}"])
    assert told["set"] == ["–", "optimizer.learning_rate=0.25, dense:steps=5"]
    # Of all conditions, and of one.
    assert told["optimizer.learning_rate"] == ["0.02", "0.25"]
    assert told["steps of dense"] == ["3", "5"]
    assert not any(name.startswith("optimizer.weight_decay") for name in told)
    assert told["jax"][1] == "0.0.1"
    assert told["files not as in A"] == ["–", "__init__.py"]
    assert "device" not in told
    assert told["fits"] == ["not judged", "not judged"]


def test_values_are_those_of_the_tables(runs: list[Path]) -> None:
    told = printed(*runs, more=("--key", "accuracy/test"))
    for condition in ("dense", "ticket"):
        for cell, run in zip(told[condition], runs, strict=True):
            rows = pd.read_csv(run / "table.csv")
            seeds = [
                statistics.median(of["accuracy/test"].dropna().tail(5))
                for _, of in rows[rows["condition"] == condition].groupby("seed")
            ]
            assert float(cell.split(" ")[0]) == pytest.approx(statistics.median(seeds), rel=1e-3)


def test_the_page_has_the_curves_of_all_runs(runs: list[Path], tmp_path: Path) -> None:
    page_file = tmp_path / "deep" / "compare.html"
    done = invoke("compare", *map(str, runs), "--key", "loss/train", "--to", str(page_file))
    assert done.exit_code == 0, done.output
    page = page_file.read_text(encoding="utf-8")
    (data,) = (json.loads(each) for each in re.findall(r'<script type="application/json">(.*?)</script>', page))
    assert data["y"] == "train loss"
    assert {panel["title"] for panel in data["panels"]} == {"dense", "ticket"}
    dense = next(panel for panel in data["panels"] if panel["title"] == "dense")
    lines = {each["name"][0]: each for each in dense["series"] if each["kind"] == "line"}
    assert lines.keys() == {"A", "B"}
    for label, run in zip("AB", runs, strict=True):
        rows = pd.read_csv(run / "table.csv").query("condition == 'dense'").groupby("step")["loss/train"].median()
        assert dense["grids"][lines[label]["grid"]] == list(rows.index)
        assert lines[label]["y"] == pytest.approx(list(rows), rel=1e-4)
    assert not re.search(r'<(img|link|iframe|object|embed)\b|\bsrc=|@import|url\(|href="(?!#)', page)
    assert str(runs[0].parent) not in page


def test_runs_whose_parts_are_not_there_are_compared_by_what_they_saved(runs: list[Path]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ComparedRun, "all_known", lambda self: False)
        rows = {row.name: row.values for row in compare(runs).settings()}
    assert rows["optimizer.learning_rate"] == ("0.02", "0.25")


def test_comparing_imports_no_jax(runs: list[Path], tmp_path: Path) -> None:
    code = f"""
import sys
from jaxgen.cli import main
main(["compare", *{list(map(str, runs))!r}, "--to", {str(tmp_path / "page.html")!r}], standalone_mode=False)
assert not {{"jax", "flax", "optax"}} & set(sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("of", "more", "says"),
    [
        ((0,), (), "got 1 runs, expected 2 to 26"),
        ((0, 1, 0), (), "twice, expected each once"),
        ((0, 1), ("--key", "acuracy/test"), "did you mean 'accuracy/test'?"),
        ((0, 1), ("--to", "."), "--to: "),
    ],
)
def test_what_cannot_be_compared_is_refused(runs: list[Path], of: tuple[int, ...], more: tuple[str, ...], says: str):
    done = invoke("compare", *(str(runs[i]) for i in of), *more)
    assert done.exit_code == 2
    assert says in done.stderr
    assert len(done.stderr.splitlines()) == 1
