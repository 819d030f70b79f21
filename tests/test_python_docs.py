"""docs/python.md and the notebooks of docs/ do what they say."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import jaxgen

ROOT = Path(jaxgen.__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "docs").glob("*.ipynb"))


def test_the_pieces_of_the_guide_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    pieces = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "python.md").read_text(), re.DOTALL)
    said: dict = {}
    exec("\n".join(pieces), said)
    assert said["run"].table.seeds() == [0, 1, 2]
    assert said["run"].path.parts[-3:] == ("notebook", "addition", "paper")
    assert said["network"].taps() == {"hidden_0": (1, 32)}
    assert said["logits"].shape == said["ablated"].shape == (5, 1, 11)
    assert said["hidden"].shape == (5, 32)


def cells(notebook: Path) -> list[dict]:
    return [each for each in json.loads(notebook.read_text())["cells"] if each["cell_type"] == "code"]


def run(notebook: Path, folder: Path, *changes: tuple[str, str]) -> None:
    """Runs the cells as a script: the same classes in `__main__`, and no Jupyter to install."""
    code = "\n".join("".join(each["source"]) for each in cells(notebook))
    for old, new in changes:
        assert old in code
        code = code.replace(old, new)
    (folder / "cells.py").write_text(code)
    places = {"PYTHONPATH": str(ROOT), "MPLBACKEND": "agg", "JAXGEN_RUNS": str(folder / "runs")}
    command = [sys.executable, "cells.py"]
    done = subprocess.run(command, cwd=folder, env={**os.environ, **places}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


QUICK = {"reproduce-a-paper": (", seeds=5)", ', seeds=2, scale="smoke")'), "your-own-model": ("steps=1000", "steps=20")}


def test_every_notebook_runs_in_a_test() -> None:
    assert [each.stem for each in NOTEBOOKS] == list(QUICK)


@pytest.mark.long
@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda each: each.stem)
def test_a_notebook_runs_at_a_small_size(notebook: Path, tmp_path: Path) -> None:
    smaller = [("[[0, 1, 10, 100]]", "[[0, 1]]")] if notebook.stem == "reproduce-a-paper" else []
    run(notebook, tmp_path, QUICK[notebook.stem], *smaller)


@pytest.mark.long
@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda each: each.stem)
def test_a_notebook_runs(notebook: Path, tmp_path: Path) -> None:
    run(notebook, tmp_path)


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda each: each.stem)
def test_a_notebook_stores_outputs_of_one_whole_run_and_no_place_of_a_machine(notebook: Path) -> None:
    found = [out for each in cells(notebook) for out in each["outputs"]]
    if found:
        assert [each["execution_count"] for each in cells(notebook)] == list(range(1, len(cells(notebook)) + 1))
        assert any("image/png" in out.get("data", {}) for out in found)
    assert not any(out["output_type"] == "error" or out.get("name") == "stderr" for out in found)
    for place in (r"/home/", r"/root", r"/tmp", r"/Users/", r"/usr/", r"https?://(?!arxiv|github)"):
        assert not re.search(place, notebook.read_text()), place
    assert notebook.stat().st_size < 300_000
