"""A paper in a user's folder brings a part of every kind, and gets what the engine's own get."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from jaxgen import load_run
from jaxgen.config import Config
from jaxgen.ledger.discovery import discover
from jaxgen.run.checkpoint import CheckpointStore
from tests.tiny_paper import invoke

ROOT = Path(__file__).parents[1]


def lay_out(root: Path, name: str = "own_parts") -> Path:
    folder = root / "papers" / name
    shutil.copytree(Path(__file__).parent / "open_paper", folder, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("JAXGEN_EXPERIMENTS", str(tmp_path / "papers"))
    monkeypatch.chdir(tmp_path)
    return lay_out(tmp_path)


def ran(*args: str) -> str:
    done = invoke(*args)
    assert done.exit_code == 0, done.output
    return done.output


def refused(*args: str) -> str:
    done = invoke(*args)
    assert done.exit_code == 2, done.output
    assert len(done.stderr.splitlines()) == 1, done.stderr
    return done.stderr


def states(run: Path) -> list[dict[str, np.ndarray]]:
    stores = [CheckpointStore(each.path / "recovery") for each in load_run(run).populations()]
    return [store.load(store.steps()[-1]) for store in stores]


def test_settings_are_shown_and_set(folder: Path) -> None:
    shown = ran("show", "own-parts/main")
    for setting in ("task.length = 4", "model.width = 6", "optimizer.momentum = 0.9", "loss.memory = 0.5"):
        assert setting in shown
    for key, near in (("model.widht", "width"), ("optimizer.momentun", "momentum"), ("loss.memori", "memory")):
        assert f"did you mean '{near}'?" in refused("reproduce", "own-parts/main", "--set", f"{key}=1")
    assert "expected a number at least 0 and at most 1" in refused(
        "reproduce", "own-parts/main", "--set", "optimizer.schedule.least=2"
    )
    assert not Path("runs").exists()


def test_logits_of_another_shape_are_refused_before_anything_trains(folder: Path) -> None:
    """(B, V) would broadcast against (B, K, V), and train something else without a word."""
    network = folder / "network.py"
    network.write_text(network.read_text().replace("(h_BW)[:, None]", "(h_BW)"))
    said = refused("reproduce", "own-parts/main", "--scale", "smoke")
    assert "own-parts/Elman: got logits of shape (1, 2) for one example of 'elman', expected (1, 1, 2)" in said
    assert not list(Path("runs").glob("**/populations/*"))


def test_a_name_that_only_another_scale_has_wrong_is_told_at_smoke(folder: Path) -> None:
    notebook = folder / "__init__.py"
    text = notebook.read_text()
    notebook.write_text(text.replace('"paper": Scale()}', '"mini": Scale(set={"elmann:steps": 2})}'))
    assert "no condition 'elmann'; did you mean 'elman'?" in refused("reproduce", "own-parts/main", "--scale", "smoke")


KILLED = """
import os, sys
from jaxgen.cli import main
from jaxgen.cli.progress import ProgressDisplay
from jaxgen.run.arguments import RunArguments
seen = ProgressDisplay.advanced
def advanced(self, step, rows):
    if step >= int(sys.argv[1]):
        os.kill(os.getpid(), 9)
    seen(self, step, rows)
ProgressDisplay.advanced = advanced
main(["reproduce", *sys.argv[2:], "--runs", "cut", "--save-every", "0.1"])
"""


def fresh(*args: str, expect: int = 0) -> str:
    """Returns what another Python process says that has imported nothing yet."""
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, *args], env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True
    )
    assert done.returncode == expect, done.stderr
    return done.stdout


def test_a_run_that_was_cut_resumes_bit_for_bit(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran("reproduce", "own-parts/main", "--runs", "whole")
    fresh("-c", KILLED, "8", "own-parts/main", expect=-9)
    cut, whole = (Path(each) / "own-parts/main/paper" for each in ("cut", "whole"))
    assert not (cut / "results.json").exists()
    ran("resume", str(cut))
    assert load_run(cut).table.rows.equals(load_run(whole).table.rows)
    for ours, theirs in zip(states(cut), states(whole), strict=True):
        assert ours.keys() == theirs.keys()
        assert any(name.startswith("extra") for name in ours)
        for name, leaf in ours.items():
            np.testing.assert_array_equal(leaf, theirs[name], err_msg=name)


@pytest.mark.long
def test_it_trains_on_several_devices_plans_and_is_reported(folder: Path) -> None:
    ran("reproduce", "own-parts/main", "--mesh", "member=2,data=4", "--runs", "spread")
    run = Path("spread/own-parts/main/paper")
    table = load_run(run).table.rows
    assert {"positive", "spread"} <= set(table["measure"])
    page = (run / "report.html").read_text()
    assert "A bar is the median over the seeds." in page
    assert "its code failed" not in page


def test_what_cannot_be_put_together_from_parts_is_refused(folder: Path) -> None:
    said = refused("reproduce", "own-parts/main", "--microbatches", "2")
    assert "Recalled keeps state of the whole batch from step to step" in said
    assert "Elman of 'elman' has no blocks" in refused("reproduce", "own-parts/main", "--remat", "block")
    assert not Path("runs").exists()


@pytest.mark.long
def test_a_horizon_that_a_schedule_uses_is_in_the_identity(folder: Path) -> None:
    ran("reproduce", "own-parts/main", "--scale", "smoke", "--runs", "short")
    before = {each.identity for each in load_run("short/own-parts/main/smoke").members}
    ran("reproduce", "own-parts/main", "--scale", "smoke", "--runs", "short", "--extend", "5")
    assert not before & {each.identity for each in load_run("short/own-parts/main/smoke").members}


READ = """
import sys
from jaxgen import load_run
run = load_run(sys.argv[1])
member = run.members[0]
print(member.condition.model, len(run.table.rows), sorted(member.params()))
"""


def test_a_run_is_read_by_another_process_and_without_its_paper(folder: Path) -> None:
    ran("reproduce", "own-parts/main", "--scale", "smoke")
    run = "runs/own-parts/main/smoke"
    said = fresh("-c", READ, run)
    assert said.startswith("Elman(")
    alone = READ.replace("print(member.condition.model", "print(member.name, member.settings['model']")
    gone = {**os.environ, "PYTHONPATH": str(ROOT)}
    gone.pop("JAXGEN_EXPERIMENTS")
    without = subprocess.run(
        [sys.executable, "-c", alone, run], capture_output=True, text=True, check=True, env=gone
    ).stdout
    assert without.startswith("elman {'kind': 'own-parts/Elman'")
    assert without.split("}")[1].split()[0] == said.split(")")[1].split()[0]
    refusal = subprocess.run([sys.executable, "-c", READ, run], capture_output=True, text=True, env=gone).stderr
    assert "the paper 'own-parts' is not there, or lacks it" in refusal


def test_two_papers_may_have_classes_of_one_name(folder: Path, tmp_path: Path) -> None:
    other = lay_out(tmp_path, "other_parts")
    source = other / "__init__.py"
    source.write_text(source.read_text().replace('slug="own-parts"', 'slug="other-parts"'))
    listed = ran("list")
    assert "own-parts/main" in listed
    assert "other-parts/main" in listed
    assert {"own-parts/Elman", "other-parts/Elman"} <= Config.kinds.keys()


# Parts that papers of the wheel took over from the engine. Saved runs know them by these names.
MOVED = {
    "corrupted-modadd": {"NeuronIPR", "PruneNeurons"},
    "grokfast": {"AdamL2", "EMAFilter", "MAFilter"},
    "grokking-tickets": {"EmbeddingMLPConfig", "GraSPMask", "MatchNorm", "SNIPMask", "SynFlowMask"},
    "nanda-modadd": {"ProgressMeasures"},
    "omnigrok": {"ConstantNorm", "WithinError"},
    "power-grok": {"AdamWToInit", "NoisyAdamW"},
    "simplicity-bias": {"EnsembleConfig", "Perturb"},
    "xor-benign": {"LinearFit", "TwoLayerConfig"},
}
OPEN = """
from jaxgen.config import UnknownKind, from_json
from jaxgen.ledger.discovery import import_parts
saved = {"kind": "TwoLayerConfig", "width": 4, "init_std": 1.0}
try:
    from_json(saved)
except UnknownKind:
    import_parts("xor-benign")
print(from_json(saved))
"""


def test_parts_that_moved_to_a_paper_keep_their_names() -> None:
    assert not discover().broken
    found: dict[str, set[str]] = {}
    for name, cls in Config.kinds.items():
        if cls.of_paper is not None and "/" not in name:
            found.setdefault(cls.of_paper, set()).add(name)
    assert found == MOVED
    assert fresh("-c", OPEN).startswith("TwoLayerConfig(")


@pytest.mark.long
def test_a_run_of_a_part_that_moved_is_opened_reported_and_resumed(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    fresh("-c", KILLED, "1", "xor-benign/signal", "--scale", "smoke", "--seeds", "1", expect=-9)
    run = "cut/xor-benign/signal/smoke"
    fresh("-m", "jaxgen", "report", run)
    fresh("-m", "jaxgen", "resume", run)
    assert fresh("-c", READ, run).startswith("TwoLayerConfig(")
    members = load_run(run).members
    assert all(member.rows()[-1][2] == member.condition.steps for member in members)
    assert "linear_r2" in set(load_run(run).table.rows["measure"])


def test_a_user_s_part_takes_no_name_of_jaxgen_s_own(folder: Path) -> None:
    # As a copy of a paper of the wheel would, whose parts keep names that the engine had once.
    parts = folder / "parts.py"
    named = '    saved_as: ClassVar[str] = "Elman"\n    width: Pos'
    parts.write_text(parts.read_text().replace("    width: Pos", named))
    said = refused("show", "own-parts/main")
    assert "Elman.saved_as: got 'Elman', expected 'slug/Elman' of the paper that it moved from" in said
    assert "Elman" not in Config.kinds


def test_changed_code_does_not_answer_with_old_results(folder: Path) -> None:
    ran("reproduce", "own-parts/main", "--scale", "smoke")
    notebook, parts = folder / "__init__.py", folder / "parts.py"
    # What was trained depends on neither.
    notebook.write_text(notebook.read_text().replace("at_least(0.0)", "at_least(0.1)"))
    parts.write_text(parts.read_text() + "\n# A comment.\n")
    ran("reproduce", "own-parts/main", "--scale", "smoke")
    parts.write_text(parts.read_text().replace("1 + jnp.cos", "1 - jnp.cos"))
    said = refused("reproduce", "own-parts/main", "--scale", "smoke")
    assert "was trained by other code: parts.py in " in said
    assert "parts.py in" in ran("report", "runs/own-parts/main/smoke")
    ran("reproduce", "own-parts/main", "--scale", "smoke", "--accept-changed-code")
    ran("reproduce", "own-parts/main", "--scale", "smoke")
