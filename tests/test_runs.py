"""Runs after they were trained: listing, following, cancelling, pruning and exporting them."""

import io
import json
import os
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import jaxgen
from jaxgen.config import Config
from jaxgen.errors import UserError
from jaxgen.ledger.archive import unpacked
from jaxgen.run.arguments import Interrupted
from jaxgen.storage.files import read_sealed, write_sealed
from tests.test_reproduce import Stopper, run
from tests.tiny_paper import invoke, write_tiny_paper

RUN = "tiny-paper/main/paper"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of runs: one that has finished, and one that was stopped."""
    root = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAXGEN_EXPERIMENTS", str(write_tiny_paper(root)))
        done = invoke("reproduce", "tiny-paper/main", "--runs", str(root / "runs"))
        assert done.exit_code == 0, done.output
        with pytest.raises(Interrupted):
            run(root / "runs" / "tiny-paper/main/paper.2", Stopper(9))
    return root / "runs"


@pytest.fixture
def runs(made: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of that folder, which a test may change, as $JAXGEN_RUNS in a working directory of its own."""
    shutil.copytree(made, tiny / "runs")
    return tiny / "runs"


def said(*args: str, code: int = 0) -> str:
    done = invoke(*args)
    assert done.exit_code == code, done.output
    if code == 2:
        assert len(done.stderr.splitlines()) == 1, done.stderr
        return done.stderr
    return done.stdout


def listed(*args: str) -> dict[str, dict[str, Any]]:
    """What `jaxgen runs --json` says, by the path within the folder of runs."""
    return {each["path"].partition("/runs/")[2]: each for each in json.loads(said("runs", "--json", *args))}


def bytes_of(folder: Path) -> int:
    return sum(each.stat().st_size for each in folder.rglob("*") if each.is_file() and not each.is_symlink())


def contents(folder: Path) -> dict[str, bytes]:
    return {str(each.relative_to(folder)): each.read_bytes() for each in folder.rglob("*") if each.is_file()}


@contextmanager
def held(folder: Path, *, names: int | None = None) -> Iterator[subprocess.Popen[str]]:
    """Has a process that holds the lock of a folder and ends with 75 on SIGTERM; owner.json may name another one."""
    code = """
import fcntl, json, os, platform, signal, sys, time
lock = open(sys.argv[1] + "/lock", "a")
fcntl.flock(lock, fcntl.LOCK_EX)
owner = {"pid": int(sys.argv[2]) or os.getpid(), "host": platform.node(), "since": "2026-01-01"}
open(sys.argv[1] + "/owner.json", "w").write(json.dumps(owner))
signal.signal(signal.SIGTERM, lambda *_: os._exit(75))
print("held", flush=True)
time.sleep(100)
"""
    command = [sys.executable, "-c", code, str(folder), str(names or 0)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


def population(path: Path) -> Path:
    return min((path / "populations").iterdir())


def test_runs_are_listed_with_state_step_verdicts_and_size(runs: Path) -> None:
    found = listed()
    assert list(found) == [f"{RUN}.2", RUN]  # the one that was changed last first
    whole, cut = found[RUN], found[f"{RUN}.2"]
    assert (whole["state"], whole["step"], whole["horizon"], whole["trained"], whole["members"]) == (
        "finished", 40, 40, 4, 4,
    )  # fmt: skip
    outcomes = [each["outcome"] for each in jaxgen.load_run(runs / RUN).verdicts]
    assert whole["claims"] == {name: outcomes.count(name) for name in outcomes}
    assert whole["bytes"] == bytes_of(runs / RUN)
    assert (cut["state"], cut["trained"], cut["members"], cut["claims"]) == ("stopped", 0, 4, None)
    assert 9 <= cut["step"] < 40 == cut["horizon"]
    shown = said("runs").splitlines()
    assert shown[2:4] == ["runs/tiny-paper/main/paper.2", shown[3]]
    assert shown[3].split()[:4] == ["stopped", f"{cut['step']}/40", "0/4", "-"]
    assert shown[5].split()[:6] == ["finished", "40/40", "4/4", "0", "of", "2"]
    assert max(map(len, shown)) <= 80


def test_runs_are_filtered_by_experiment_and_state(runs: Path) -> None:
    assert list(listed("--state", "finished")) == [RUN]
    assert len(listed("tiny-paper")) == len(listed("tiny-paper/main")) == 2
    assert listed("tiny-paper/other") == {}
    assert "none of the 2 runs" in (text := said("runs", "tiny-papr"))
    assert "did you mean 'tiny-paper'?" in text
    assert "did you mean 'finished'?" in said("runs", "--state", "finishd", code=2)
    assert "no folder of runs at nowhere" in said("runs", "--runs", "nowhere", code=2)


def test_a_damaged_or_foreign_run_is_a_line_and_hides_no_other(runs: Path, tmp_path: Path) -> None:
    main = runs / "tiny-paper/main"
    for name in ("edited", "no-json", "linked", "lost", "null", "other", "population"):
        shutil.copytree(main / "paper", main / name)
    text = (main / "edited/run.json").read_text()
    (main / "edited/run.json").write_text(text.replace('"seeds": null', '"seeds": 7'))
    (main / "no-json/run.json").write_text("\x1b[31mPK")
    (main / "linked/results.json").unlink()
    (main / "linked/results.json").symlink_to(tmp_path / "runs")
    (main / "lost/run.json").unlink()
    write_sealed(main / "null/run.json", {**read_sealed(main / "null/run.json"), "members": [[{}]]})
    write_sealed(main / "other/results.json", {**read_sealed(main / "other/results.json"), "id": "0"})
    (population(main / "population") / "status.json").write_text("[]")
    (runs / "notes.txt").write_text("")
    (runs / "elsewhere/data").mkdir(parents=True)
    found = listed()
    assert {name.rpartition("/")[2]: each["state"] for name, each in found.items()} == {
        "paper": "finished", "paper.2": "stopped", "edited": "damaged", "no-json": "damaged", "linked": "damaged",
        "lost": "damaged", "null": "damaged", "other": "damaged", "population": "damaged",
    }  # fmt: skip
    assert "run.json is damaged: it has other contents than were written" in found["tiny-paper/main/edited"]["problem"]
    assert "a run may hold no links" in found["tiny-paper/main/linked"]["problem"]
    shown = said("runs")
    assert "run.json is missing" in " ".join(shown.split())
    assert "\x1b" not in shown


def test_looking_imports_neither_jax_nor_pandas(runs: Path) -> None:
    code = """
import sys
from jaxgen.cli import main
for arguments in (["runs"], ["prune", "--yes"]):
    main(arguments, standalone_mode=False)
    assert not {"jax", "numpy", "pandas", "rich"} & sys.modules.keys(), arguments
"""
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)


def test_a_run_that_a_process_trains_is_running_and_can_be_cancelled(runs: Path) -> None:
    path = runs / f"{RUN}.2"
    assert "no process works on" in said("cancel", str(path), code=2)
    for folder in (population(path), path):  # while it trains, and while it analyses
        with held(folder) as process:
            assert listed()[f"{RUN}.2"]["state"] == "running"
            assert f"running (process {process.pid} on " in said("status", str(path))
            assert f"asked process {process.pid} on " in said("cancel", str(path))
            assert process.wait(timeout=20) == 75
        assert listed()[f"{RUN}.2"]["state"] == "stopped"
    text = said("status", str(path))
    assert text.startswith("stopped\n")
    assert f"go on with: jaxgen resume {path}" in text


def test_a_process_that_does_not_hold_the_lock_is_never_signalled(runs: Path) -> None:
    path = runs / f"{RUN}.2"
    with (
        subprocess.Popen(["sleep", "100"]) as bystander,
        held(population(path), names=bystander.pid) as process,
    ):
        assert "not shown to be a process of this machine" in said("cancel", str(path), code=2)
        assert process.poll() is None
        assert bystander.poll() is None
        bystander.kill()


@pytest.mark.long
def test_a_real_training_is_cancelled_saves_and_goes_on(tiny: Path) -> None:
    command = [sys.executable, "-m", "jaxgen", "reproduce", "tiny-paper/main", "--set", "dense:steps=2000000000"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        until = time.monotonic() + 300
        while not any(each["state"] == "running" for each in map(dict, listed_or_none().values())):
            assert time.monotonic() < until
            time.sleep(0.1)
        (path,) = (tiny / "runs/tiny-paper/main").iterdir()
        while not (log := said("logs", str(path))) or "compiled" not in log:
            assert time.monotonic() < until
            time.sleep(0.1)
        said("cancel", str(path))
        told, _ = process.communicate(timeout=100)
        assert process.returncode == 75, told
    assert "go on with: jaxgen resume" in told
    (found,) = listed().values()
    assert (found["state"], found["settings"]) == ("stopped", ["dense:steps=2000000000"])
    assert "dense: started, step 0" in said("logs", str(path))


def listed_or_none() -> dict[str, dict[str, Any]]:
    return listed() if Path("runs").exists() else {}


def everything(path: Path | str) -> tuple[str, list[dict[str, Any]], list[dict[str, Any]]]:
    """What a report, a table, verdicts and parameters are made of."""
    loaded = jaxgen.load_run(path)
    parameters = [
        {f"{member!r} {step}": member.variables(step) for step in member.steps()} for member in loaded.members
    ]
    return loaded.table.csv(), loaded.verdicts, parameters


def assert_equal(one: Any, other: Any) -> None:
    np.testing.assert_equal(one, other)


def test_pruning_says_what_it_frees_and_keeps_what_is_read(runs: Path) -> None:
    path = runs / RUN
    before, then, size = everything(path), contents(runs), bytes_of(path)
    shown = said("prune", code=1)  # no answer
    assert "recovery states of " in shown
    assert contents(runs) == then
    cut = {name: data for name, data in then.items() if ".2/" in name}
    recovery = sum(len(data) for name, data in then.items() if ".2/" not in name and "/recovery/" in name)
    assert recovery > 0
    said("prune", "--yes")
    assert size - bytes_of(path) == recovery
    now = contents(runs)
    assert {name: data for name, data in now.items() if ".2/" in name} == cut
    assert {name: data for name, data in then.items() if name in now} == now
    assert_equal(everything(path), before)
    assert said("prune", "--yes") == "nothing to remove\n"
    assert said("checkpoints", str(path))
    assert listed()[RUN]["state"] == "finished"
    said("report", str(path))
    assert_equal(everything(path), before)
    request = (path / "run.json").read_bytes()
    shutil.rmtree(runs / f"{RUN}.2")  # the newest run of the experiment, which can be extended
    refused = said("reproduce", "tiny-paper/main", "--extend", "50", code=2)
    assert "'dense' has ended at step 40 and cannot be trained on to step 50" in refused
    assert "train it anew with --fresh" in refused
    assert (path / "run.json").read_bytes() == request


@pytest.mark.long
def test_a_pruned_run_is_shown_and_gets_more_seeds(runs: Path) -> None:
    path = runs / RUN
    shutil.rmtree(runs / f"{RUN}.2")  # the newest of the experiment
    said("prune", "--yes")
    before = everything(path)
    rows = [(each / "metrics.jsonl").read_bytes() for each in sorted((path / "populations").iterdir())]
    said("reproduce", "tiny-paper/main")
    assert [(each / "metrics.jsonl").read_bytes() for each in sorted((path / "populations").iterdir())] == rows
    said("reproduce", "tiny-paper/main", "--seeds", "3")
    table, verdicts, parameters = everything(path)
    assert len(parameters) == 6
    assert len(verdicts[0]["values"]) == 3
    assert set(before[0].splitlines()) < set(table.splitlines())


def test_what_cannot_go_on_without_it_is_not_pruned(runs: Path, tmp_path: Path) -> None:
    cut = runs / f"{RUN}.2"
    then = contents(runs)
    assert "is stopped; its recovery states are what it goes on from" in invoke("prune", str(cut), "--yes").stderr
    with held(population(runs / RUN)):
        assert said("prune", "--yes") == "nothing to remove\n"
    (population(runs / RUN) / "owner.json").unlink()
    (population(runs / RUN) / "lock").touch()
    assert contents(runs) == then
    # The status on disk is older than the newest state: without the states it would be believed.
    status = population(runs / RUN) / "status.json"
    write_sealed(status, {**read_sealed(status), "step": 39})
    done = invoke("prune", "--yes")
    assert "status.json is behind the states in" in done.stderr
    assert "/recovery" in done.stderr
    assert list((population(runs / RUN) / "recovery").iterdir())


def test_a_link_is_refused_and_nothing_outside_is_removed(runs: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    shutil.copytree(population(runs / RUN) / "recovery", outside)
    then = contents(outside)
    shutil.rmtree(population(runs / RUN) / "recovery")
    (population(runs / RUN) / "recovery").symlink_to(outside)
    assert "a run may hold no links" in invoke("prune", "--yes").stderr
    shutil.move(runs / RUN, outside / "paper")
    (runs / RUN).symlink_to(outside / "paper")
    assert "left alone" in invoke("prune", "--all", "--yes", str(runs / RUN)).stderr
    assert then.items() <= contents(outside).items()


def test_old_runs_are_removed_whole_where_that_is_asked_for(runs: Path) -> None:
    old, young = runs / RUN, runs / f"{RUN}.2"
    for each in old.rglob("*"):
        os.utime(each, (time.time() - 40 * 86400,) * 2)
    assert "say which" in said("prune", "--all", "--yes", code=2)
    assert "such as 12h, 30d or 8w" in said("prune", "--older-than", "1 month", code=2)
    assert said("prune", "--all", "--older-than", "6w", "--yes") == "nothing to remove\n"
    with held(population(old)):
        assert "is running" in invoke("prune", "--all", "--older-than", "30d", "--yes").stderr
    assert old.exists()
    assert "last changed 40 d ago" in said("prune", "--all", "--older-than", "30d", "--yes")
    assert not old.exists()
    assert young.exists()


def test_an_export_is_read_as_the_run_is(runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = runs / RUN
    before = everything(path)
    said("export", str(path), "--to", "out/run.zip")
    with zipfile.ZipFile("out/run.zip") as archive:
        assert not [name for name in archive.namelist() if "recovery" in name or "tensorboard" in name]
        archive.extractall("by-hand")
    assert_equal(everything("out/run.zip"), before)
    assert_equal(everything("by-hand/tiny-paper-main-paper"), before)
    said("checkpoints", "out/run.zip")
    assert said("status", "out/run.zip").startswith("finished\n")
    assert "has no states to go on from" in said("resume", "out/run.zip", code=2)
    page = (path / "report.html").read_text()
    monkeypatch.delenv("JAXGEN_EXPERIMENTS")
    assert "as it was when the run was exported" in said("report", "out/run.zip")
    assert Path("out/run.html").read_text() == page
    first = Path("out/run.zip").read_bytes()
    said("export", str(path), "--to", "out/run.zip")
    assert Path("out/run.zip").read_bytes() == first
    assert sorted(each.name for each in Path("out").iterdir()) == ["run.html", "run.zip"]


def test_an_unfinished_run_is_exported_as_far_as_it_is_and_a_damaged_one_is_not(runs: Path) -> None:
    path = runs / f"{RUN}.2"
    with held(population(path)):
        assert "is running; wait for it" in said("export", str(path), "--to", "run.zip", code=2)
    said("export", str(path), "--to", "run.zip")
    assert jaxgen.load_run("run.zip").table.csv() == jaxgen.load_run(path).table.csv()
    state = next(each for each in (runs / RUN).rglob("snapshots/40/state/**/d/*") if each.is_file())
    state.write_bytes(state.read_bytes()[:-1] + b"!")
    assert "has other contents than were saved" in said("export", str(runs / RUN), "--to", "other.zip", code=2)
    assert "not in the run" in said("export", str(path), "--to", str(path / "run.zip"), code=2)
    assert sorted(each.name for each in Path().iterdir()) == ["papers", "run.zip", "runs"]


def zipped(*entries: tuple[str | zipfile.ZipInfo, str]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, text in entries:
            archive.writestr(name, text)
    return out.getvalue()


def link(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name)
    entry.external_attr = 0o120777 << 16
    return entry


@pytest.mark.parametrize(
    "data",
    [
        b"text",
        zipped(),
        zipped(("run.json", "{}")),
        zipped(("a/run.json", "{}"), ("b/run.json", "{}")),
        zipped(("a/run.json", "{}"), ("a/../../pwned", "")),
        zipped(("a/run.json", "{}"), ("/pwned", "")),
        zipped(("a/run.json", "{}"), (link("a/populations"), "..")),
        zipped(("a/run.json", "{}"), ("a/populations", "")),
        zipped(("a/run.json", "{}"), ("a/run.json/x", "")),
        zipped(("a/run.json", "{}"), ("b", "")),
    ],
)
def test_a_file_that_is_no_export_is_refused(data: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("run.zip").write_bytes(data)
    with pytest.raises(UserError, match=r"run\.zip is no export of a run, or is damaged"):
        jaxgen.load_run("run.zip")
    assert [each.name for each in tmp_path.iterdir()] == ["run.zip"]


def test_a_damaged_export_is_named(runs: Path) -> None:
    said("export", str(runs / RUN), "--to", "run.zip")
    # Other rows, with the zip's own digest made anew: the run's digests tell.
    with zipfile.ZipFile("run.zip") as archive:
        files = {each: archive.read(each) for each in archive.namelist()}
    name = next(each for each in files if each.endswith("metrics.jsonl"))
    files[name] = files[name].replace(b"0.1", b"0.2", 1)
    with zipfile.ZipFile("run.zip", "w") as archive:
        for each, data in files.items():
            archive.writestr(each, data)
    with pytest.raises(UserError, match=r"metrics\.jsonl has other contents than were saved"):
        _ = jaxgen.load_run("run.zip").table
    assert unpacked(Path("run.zip").absolute()).parent.stat().st_mode & 0o077 == 0


@pytest.mark.long
def test_a_run_that_is_extended_keeps_the_seeds_it_was_asked_for(tiny: Path) -> None:
    command = ("reproduce", "tiny-paper/main", "--scale", "smoke")
    seeds = lambda: [each.seed for each in jaxgen.load_run("runs/tiny-paper/main/smoke").members]  # noqa: E731
    said(*command, "--seeds", "3")
    assert seeds() == [0, 1, 2] * 2
    said(*command, "--extend", "5")
    assert seeds() == [0, 1, 2] * 2
    assert jaxgen.load_run("runs/tiny-paper/main/smoke").table.csv().count("\ndense,2,5,") == 1
    said(*command)
    assert seeds() == [0, 1, 2] * 2
    said(*command, "--seeds", "1")
    assert seeds() == [0] * 2
    said(*command)  # the paper's own two
    assert seeds() == [0, 1] * 2


def test_a_run_whose_parts_are_not_here_is_read_and_says_what_is_missing(
    runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = jaxgen.load_run(runs / RUN)
    table, verdicts = before.table.csv(), before.verdicts
    assert before.missing() == []
    monkeypatch.delenv("JAXGEN_EXPERIMENTS")
    monkeypatch.delitem(Config.kinds, "ModularTask")
    without = jaxgen.load_run(runs / RUN)
    assert_equal((without.table.csv(), without.verdicts), (table, verdicts))
    (missing,) = without.missing()
    assert missing.startswith("unknown kind of config 'ModularTask'")
    assert f"not found here: {missing}" in said("status", str(runs / RUN))
    assert without.members[0].settings["task"]["kind"] == "ModularTask"


def test_a_refused_start_beside_a_run_leaves_nothing_behind(runs: Path) -> None:
    then = contents(runs)
    refused = said("reproduce", "tiny-paper/main", "--fresh", "--mesh", "member=4", code=2)
    assert "2 members cannot be spread over member=4" in refused
    assert contents(runs) == then
    assert sorted(each.name for each in (runs / "tiny-paper/main").iterdir()) == ["paper", "paper.2"]
