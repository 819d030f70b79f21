"""What was saved is what is read, or the damage is named: flipped bits, lost files, planted ones."""

import contextlib
import hashlib
import json
import os
import pickle
import random
import re
import shutil
import sys
from pathlib import Path

import jax.numpy as jnp
import pytest

import jaxgen
from jaxgen.distributed import environment
from jaxgen.errors import UserError
from jaxgen.ledger.discovery import find
from jaxgen.ledger.reproduce import collect, reproduce
from jaxgen.ledger.runs import Request, load_run
from jaxgen.run import manifest
from jaxgen.run.arguments import Interrupted, RunArguments, SilentObserver
from jaxgen.run.checkpoint import CheckpointStore, SaveError
from jaxgen.run.directory import PopulationDirectory
from jaxgen.run.manifest import Damaged
from jaxgen.storage.files import read_sealed, write_sealed
from jaxgen.tasks import ModularTask
from tests.test_reproduce import Stopper, assert_same_runs, run
from tests.tiny_paper import invoke, write_tiny_paper

TREE = {"params": {"w": jnp.arange(600.0).reshape(20, 30), "b": jnp.ones(2, jnp.bfloat16)}, "step": jnp.int32(7)}


class Listener(SilentObserver):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.started_at = -1

    def started(self, conditions, step, horizon):
        self.started_at = step

    def note(self, text):
        self.notes.append(text)


@pytest.fixture
def store(tmp_path: Path) -> CheckpointStore:
    made = CheckpointStore(tmp_path / "c")
    made.save(3, TREE, {"identities": ["a"]})
    return made


def files_of(store: CheckpointStore, step: int = 3) -> list[Path]:
    return sorted(path for path in (store.directory / str(step)).rglob("*") if path.is_file())


def test_a_restore_never_returns_other_bits(store: CheckpointStore) -> None:
    saved = {path: leaf.tobytes() for path, leaf in store.load(3).items()}
    random_ = random.Random(0)
    files = files_of(store)
    noticed = 0
    for trial in range(200):
        path = random_.choice(files)
        whole = path.read_bytes()
        if trial % 2:
            broken = bytearray(whole)
            broken[random_.randrange(len(whole))] ^= 1 << random_.randrange(8)
        else:
            broken = bytearray(whole[: random_.randrange(len(whole))])
        path.write_bytes(broken)
        try:
            found = CheckpointStore(store.directory).load(3)
            assert {name: leaf.tobytes() for name, leaf in found.items()} == saved
        except Damaged:
            noticed += 1
        path.write_bytes(whole)
    # White space of the manifest's JSON is all that may change unnoticed.
    assert noticed > 190
    assert {path: leaf.tobytes() for path, leaf in store.load(3).items()} == saved


def lose_a_file(step: Path) -> str:
    (lost := next(path for path in step.rglob("*") if path.parent.name == "d")).unlink()
    return f"{lost} is missing"


def empty_the_directory(step: Path) -> str:
    shutil.rmtree(step)
    step.mkdir()
    return f"{step} has no manifest.json"


def lose_the_manifest(step: Path) -> str:
    (step / "manifest.json").unlink()
    return "has no manifest.json: the save did not end, or the file was lost"


def add_a_file(step: Path) -> str:
    (step / "state" / "more").write_text("")
    return f"{step}/state/more does not belong to the checkpoint"


def link_a_file(step: Path) -> str:
    path = step / "state" / "_METADATA"
    path.rename(step / "elsewhere")
    path.symlink_to("../elsewhere")
    return f"{path} is not a regular file"


def link_a_folder(step: Path) -> str:
    (step / "state").rename(step / "elsewhere")
    (step / "state").symlink_to("elsewhere")
    return f"{step}/state is missing or not a directory"


def rename_the_step(step: Path) -> str:
    text = (step / "manifest.json").read_text()
    (step / "manifest.json").write_text(text.replace('"step": ', '"step": 1', 1))
    return "manifest.json is not as it was written"


DAMAGES = [
    lose_a_file, empty_the_directory, lose_the_manifest, add_a_file, link_a_file, link_a_folder, rename_the_step,
]  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of runs: one that is whole, one that was stopped twice, and whole ones with other settings."""
    root = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAXGEN_EXPERIMENTS", str(write_tiny_paper(root)))
        run(root / "whole")
        for step in (9, 23):
            with pytest.raises(Interrupted):
                run(root / "cut", Stopper(step))
        _, (found,) = find("tiny-paper/main")
        for name, rate in (("short", 0.02), ("other", 0.03)):
            request = Request("tiny-paper", "main", "smoke", (f"optimizer.learning_rate={rate}",))
            reproduce(found, request, root / name, observer=SilentObserver(), arguments=RunArguments())
    return root


def copy(made: Path, name: str, tiny: Path) -> Path:
    """Returns a copy of a run, to be damaged."""
    return Path(shutil.copytree(made / name, tiny / name))


def population(run_path: Path, condition: str) -> Path:
    files = run_path.glob("populations/*/run.json")
    (found,) = (file.parent for file in files if json.loads(file.read_text())["members"][0]["condition"] == condition)
    return found


def refused_by_all(run_path: Path, match: str) -> None:
    """Checks that whoever reads a run refuses it, by a line that names what is wrong."""
    for read in (lambda: load_run(run_path).table, lambda: [m.params(0) for m in load_run(run_path).members]):
        with contextlib.suppress(UserError):
            read()
            raise AssertionError(f"was read in silence: {match}")
    for command in ("checkpoints", "report", "resume"):
        result = invoke(command, str(run_path))
        assert re.search(match, result.output), (command, result.output)
        listed = re.search("^damaged: ", result.output, re.MULTILINE)
        assert result.exit_code == (1 if listed else 2), (command, result.output)


EDITS = {
    "seed": lambda data: data["members"][0].update(seed=7),
    "rate": lambda data: data["settings"]["dense"]["optimizer"].update(learning_rate=0.5),
    "seeds swapped": lambda data: (data["members"][0].update(seed=1), data["members"][1].update(seed=0)),
    "parent": lambda data: data["members"][0].update(parent="0123456789abcdef", parent_steps=3),
}


@pytest.mark.parametrize("edit", EDITS)
def test_members_are_what_their_settings_and_seed_make_them(made: Path, tiny: Path, edit: str) -> None:
    path = copy(made, "short", tiny)
    file = population(path, "ticket" if edit == "parent" else "dense") / "run.json"
    data = json.loads(file.read_text())
    EDITS[edit](data)
    file.write_text(json.dumps(data))
    refused_by_all(path, "run.json has changed since the run was saved")
    # Nor where nothing is saved yet, so that nobody else knows.
    for each in (*path.glob("populations/*/status.json"), *path.glob("populations/*/recovery"), path / "results.json"):
        shutil.rmtree(each) if each.is_dir() else each.unlink()
    with pytest.raises(UserError, match=r"is not the run that its identity says|damaged"):
        load_run(path).trained()


def test_swapped_members_and_names_are_noticed(made: Path, tiny: Path) -> None:
    path = copy(made, "short", tiny)
    file = population(path, "dense") / "run.json"
    whole = file.read_text()
    data = json.loads(whole)
    data["members"].reverse()
    file.write_text(json.dumps(data))
    refused_by_all(path, "run.json has changed")
    data = json.loads(whole)
    data["settings"]["dense"]["name"] = "another"
    file.write_text(json.dumps(data))
    refused_by_all(path, "run.json has changed")


def test_a_run_of_an_earlier_version_of_its_task_is_read_and_left_out(
    made: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = copy(made, "short", tiny)
    monkeypatch.setattr(ModularTask, "version", 2)
    assert {member.task_version for member in load_run(path).members} == {1}
    result = invoke("report", str(path))
    assert result.exit_code == 0
    assert "'dense', seed 0, is left out: version 1 of its task trained it, and 2 is asked for" in result.output


def test_snapshots_and_populations_of_another_run_are_refused(made: Path, tiny: Path) -> None:
    for what in ("snapshots", "snapshots/3"):
        path = copy(made, "short", tiny)
        there = population(path, "dense") / what
        shutil.rmtree(there)
        shutil.copytree(population(made / "other", "dense") / what, there)
        for member in load_run(path).members[:2]:
            with pytest.raises(UserError, match=r"snapshots/3 is another checkpoint than was saved|of other runs"):
                member.params(3)
        result = invoke("checkpoints", str(path))
        assert result.exit_code == 1
        assert "snapshots/3 is another checkpoint than was saved there" in result.output
        shutil.rmtree(path)
    path = copy(made, "short", tiny)
    shutil.copytree(population(made / "other", "dense"), path / "populations" / "0123456789abcdef")
    refused_by_all(path, "0123456789abcdef belongs to another run, or to another folder")


def test_a_child_does_not_start_from_another_runs_snapshots(made: Path, tiny: Path) -> None:
    path = copy(made, "short", tiny)
    shutil.rmtree(population(path, "ticket"))
    there = population(path, "dense") / "snapshots"
    shutil.rmtree(there)
    shutil.copytree(population(made / "other", "dense") / "snapshots", there)
    result = invoke("resume", str(path))
    assert result.exit_code == 2
    assert "snapshots/" in result.output


@pytest.mark.long
def test_rows_are_those_that_were_saved(made: Path, tiny: Path) -> None:
    path = copy(made, "short", tiny)
    rows = population(path, "dense") / "metrics.jsonl"
    whole = rows.read_text()
    rows.write_text(whole.replace('"accuracy/test": ', '"accuracy/test": 0.999, "was": ', 1))
    refused_by_all(path, "metrics.jsonl has other contents than were saved")
    # With the digest in status.json, which the checkpoint then contradicts.
    status = population(path, "dense") / "status.json"
    data = read_sealed(status)
    bits = rows.read_bytes()
    write_sealed(status, data | {"metrics": {"bytes": len(bits), "sha256": hashlib.sha256(bits).hexdigest()}})
    refused_by_all(path, "metrics.jsonl has other contents than were saved")
    write_sealed(status, data)
    rows.unlink()
    refused_by_all(path, r"metrics.jsonl has 0 bytes, \d+ were saved")
    rows.write_text(whole + whole)  # what no checkpoint covers is nobody's
    assert load_run(path).table.rows.equals(load_run(made / "short").table.rows)


def test_analyses_and_verdicts_are_those_that_were_written(made: Path, tiny: Path) -> None:
    path = copy(made, "short", tiny)
    directory = load_run(path).members[0].directory
    directory.write_analyses({"key": {"analysis": {}, "0": [[3, "scores", 0.5]]}})
    assert (load_run(path).table.rows["measure"] == "scores").sum() == 1
    assert invoke("report", str(path)).exit_code == 0
    whole = directory.analyses_file.read_text()
    directory.analyses_file.write_text(whole.replace("0.5", "0.9"))
    with pytest.raises(UserError, match=r"analyses.json is damaged: it has other contents than were written"):
        load_run(path).table  # noqa: B018
    # With its own digest, which the results that were judged then contradict.
    directory.write_analyses({"key": {"analysis": {}, "0": [[3, "scores", 0.9]]}})
    refused_by_all(path, r"analyses.json has other values than were judged")
    directory.analyses_file.unlink()
    refused_by_all(path, r"analyses.json lacks values that were judged")
    directory.analyses_file.write_text(whole)
    results = path / "results.json"
    results.write_text(results.read_text().replace("not judged", "reproduced"))
    with pytest.raises(UserError, match=r"results.json is damaged: it has other contents"):
        load_run(path).verdicts  # noqa: B018
    assert invoke("report", str(path)).exit_code == 0  # which judges anew
    assert load_run(path).verdicts == load_run(made / "short").verdicts


@pytest.mark.parametrize("part", [{"throughput": {"step_seconds": {"50": 1.0}}}, {"seconds": {"training": "long"}}])
def test_a_status_of_another_form_is_refused_by_name(made: Path, tiny: Path, part: dict) -> None:
    path = copy(made, "short", tiny)
    file = population(path, "dense") / "status.json"
    write_sealed(file, read_sealed(file) | part)
    result = invoke("report", str(path))
    assert result.exit_code == 2
    assert f"{file} is damaged" in result.output


def test_a_lost_status_is_that_of_the_newest_checkpoint(made: Path, tiny: Path) -> None:
    path = copy(made, "cut", tiny)
    (directory,) = load_run(path).populations()
    whole = directory.status()
    edited = read_sealed(directory.status_file) | {"finished": True, "horizon": 23}
    file = directory.status_file
    for change in (file.unlink, lambda: write_sealed(file, edited), lambda: write_sealed(file, edited | {"step": 40})):
        change()
        (directory,) = load_run(path).populations()
        for name in ("step", "horizon", "finished", "members", "metrics", "snapshots"):
            assert directory.status()[name] == whole[name]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_step_is_named_and_the_one_before_is_used(made: Path, tiny: Path, damage) -> None:
    shutil.copytree(made / "cut", tiny / "cut")
    (directory,) = load_run(tiny / "cut").populations()
    older, newest = CheckpointStore(directory.path / "recovery").steps()
    what = damage(directory.path / "recovery" / str(newest))
    (directory.path / "recovery" / f"{newest + 1}" / "state.orbax-checkpoint-tmp").mkdir(parents=True)
    listener = Listener()
    run(tiny / "cut", listener, scale="paper")
    assert any(f"step {newest} is skipped" in note and what in note for note in listener.notes)
    assert any(f"step {newest + 1} is skipped" in note for note in listener.notes)
    assert [each["step"] for each in events(directory) if each["event"] == "resumed"] == [older, older]
    assert_same_runs(made / "whole", tiny / "cut")


def events(directory: PopulationDirectory) -> list[dict]:
    return [json.loads(line) for line in (directory.path / "events.jsonl").read_text().splitlines()]


def test_rows_that_were_changed_are_not_built_upon(tiny: Path) -> None:
    run(tiny / "whole")
    for step in (9, 23):
        with pytest.raises(Interrupted):
            run(tiny / "cut", Stopper(step))
    (directory,) = load_run(tiny / "cut").populations()
    lines = directory.metrics_file.read_text().splitlines(keepends=True)
    lines[-1] = lines[-1].replace("0.", "1.", 1)
    directory.metrics_file.write_text("".join(lines))
    listener = Listener()
    run(tiny / "cut", listener)
    assert any("metrics.jsonl has other contents than were saved" in note for note in listener.notes)
    assert_same_runs(tiny / "whole", tiny / "cut")


@pytest.mark.long
def test_without_an_intact_checkpoint_a_run_refuses_unless_it_may_start_over(tiny: Path) -> None:
    run(tiny / "whole")
    with pytest.raises(Interrupted):
        run(tiny / "cut", Stopper(9))
    (directory,) = load_run(tiny / "cut").populations()
    before = directory.metrics_file.read_bytes()
    (newest,) = CheckpointStore(directory.path / "recovery").steps()
    for damage in (lose_a_file, empty_the_directory, lambda step: shutil.rmtree(step.parent)):
        damage(directory.path / "recovery" / str(newest))
        with pytest.raises(UserError, match=r"no intact checkpoint is left.*or start it over with --resume may"):
            run(tiny / "cut")
        assert directory.metrics_file.read_bytes() == before
    listener = Listener()
    run(tiny / "cut", listener, resume="may")
    assert any("it starts over from step 0" in note for note in listener.notes)
    assert_same_runs(tiny / "whole", tiny / "cut")


def test_the_newest_intact_checkpoint_is_never_removed(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path / "c", keep=2)
    for step in (1, 2, 3, 4):
        store.save(step, TREE)
    assert store.steps() == [3, 4]
    again = CheckpointStore(tmp_path / "c", keep=2)
    (tmp_path / "c" / "4" / "state" / "_METADATA").unlink()
    with pytest.raises(Damaged):
        again.verify(4)
    (tmp_path / "c" / "9").mkdir()  # a save that did not end
    again.save(5, TREE)
    assert again.all_steps() == [3, 4, 5]
    again.save(6, TREE)
    assert again.all_steps() == [5, 6]


def test_a_save_that_fails_leaves_nothing_and_the_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = CheckpointStore(tmp_path / "c", keep=2)
    store.save(1, TREE)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(manifest, "write_sealed", full)
        with pytest.raises(SaveError, match="No space left on device"):
            store.save(2, TREE)
    assert store.all_steps() == [1]
    store.save(2, TREE)
    assert store.steps() == [1, 2]


def test_the_state_of_other_runs_is_refused(tiny: Path) -> None:
    with pytest.raises(Interrupted):
        run(tiny / "run", Stopper(5))
    (directory,) = load_run(tiny / "run").populations()
    store = CheckpointStore(directory.path / "recovery")
    (newest,) = store.steps()
    facts = dict(store.verify(newest).facts)
    other = [*facts["identities"][:1], "0123456789abcdef"]
    store.save(newest + 1, store.load(newest), facts | {"identities": other})
    with pytest.raises(UserError, match=rf"missing \['{facts['identities'][1]}'\], extra \['0123456789abcdef'\]"):
        run(tiny / "run")


@pytest.mark.long
def test_other_versions_are_refused_without_allow_drift(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Interrupted):
        run(tiny / "run", Stopper(5))
    now = environment.fingerprint()
    monkeypatch.setattr(environment, "fingerprint", lambda: {**now, "jax": "99.0", "XLA_FLAGS": "--other"})
    with pytest.raises(UserError, match=rf"jax was {now['jax']}, is 99.0.*--allow-drift") as error:
        run(tiny / "run")
    assert "XLA_FLAGS was" in str(error.value)
    done = run(tiny / "run", allow_drift=True)
    (note,) = (note for note in done.notes if "bits may change" in note)
    assert "jax was" in note
    run(tiny / "run", extend=50)  # what was allowed once is not asked again


EXPLOIT = "planted"


class Planted:
    """A pickle that leaves a file behind when it is read."""

    def __init__(self, trace: Path):
        self.trace = trace

    def __reduce__(self):
        return (Path.write_text, (self.trace, EXPLOIT))


@pytest.mark.long
def test_reading_a_run_executes_nothing_of_it(tiny: Path) -> None:
    """Plants pickles and odd paths in every place that is read."""
    run(tiny / "run")
    outside = tiny / "outside"
    outside.mkdir()
    (outside / "kept").write_text("mine")
    trace = tiny / "trace"
    payload = pickle.dumps(Planted(trace))
    pickle.loads(payload)
    assert trace.read_text() == EXPLOIT  # it works where somebody reads it
    trace.unlink()
    (tiny / "run" / "paper" / "__init__.py").write_text(f"open({str(trace)!r}, 'w').write('planted')")
    # One of each kind: not of every step, member and population.
    found = {re.sub(r"[0-9a-f]{16,}|[0-9]+", "#", str(path)): path for path in sorted((tiny / "run").rglob("*"))}
    places = [path for path in found.values() if path.is_file()]
    assert {"run.json", "metrics.jsonl", "status.json", "manifest.json", "_METADATA"} <= {p.name for p in places}
    kept = {path: path.read_bytes() for path in places}

    def plants(path: Path):
        yield lambda: path.write_bytes(payload)
        yield lambda: (path.unlink(), path.symlink_to(outside / "kept"))
        yield lambda: (path.unlink(), path.symlink_to("/dev/zero"))
        yield lambda: (path.unlink(), os.mkfifo(path))
        if path.suffix == ".json":
            yield lambda: path.write_text("[" * 100_000)
            for odd in ("../../outside/kept", str(outside / "kept"), "jaxgen.starts.base:Init"):
                yield lambda odd=odd: path.write_text(json.dumps(odder(json.loads(kept[path]), odd)))

    for path in places:
        for plant in plants(path):
            plant()
            for read in (read_everything, list_checkpoints):
                with contextlib.suppress(UserError):
                    read(tiny / "run")
            path.unlink()
            path.write_bytes(kept[path])
    assert not trace.exists()
    assert [(path.name, path.read_text()) for path in outside.iterdir()] == [("kept", "mine")]
    assert "notebook" not in sys.modules


def odder(data: object, odd: str) -> object:
    """Returns JSON data with every string in it, keys too, replaced."""
    if isinstance(data, dict):
        return {(odd if index == 0 else key): odder(value, odd) for index, (key, value) in enumerate(data.items())}
    if isinstance(data, list):
        return [odder(each, odd) for each in data]
    return odd if isinstance(data, str) else data


def read_everything(path: Path) -> None:
    _, (found,) = find("tiny-paper/main")
    loaded = jaxgen.load_run(path)
    assert loaded.request
    assert loaded.table
    assert loaded.verdicts
    for member in loaded.trained():
        for step in member.steps():
            member.params(step)
    collect(path, found, loaded.request.conditions(found), SilentObserver())


def list_checkpoints(path: Path) -> None:
    result = invoke("checkpoints", str(path))
    assert result.exit_code in (0, 1, 2)
    assert "Traceback" not in result.output


@pytest.mark.long
def test_resuming_writes_through_no_link(tiny: Path) -> None:
    outside = tiny / "outside"
    outside.write_text("mine")
    for name in ("metrics.jsonl", "events.jsonl", "status.json", "owner.json", "lock"):
        with pytest.raises(Interrupted):
            run(tiny / name, Stopper(5))
        (directory,) = load_run(tiny / name).populations()
        (directory.path / name).unlink(missing_ok=True)
        (directory.path / name).symlink_to(outside)
        with contextlib.suppress(UserError, OSError):
            run(tiny / name, resume="may")
        assert outside.read_text() == "mine"


def outside(tiny: Path) -> Path:
    """Makes a folder that looks like checkpoints, which what removes old ones would remove."""
    folder = tiny / "outside"
    for name in ("1", "9", "50"):
        (folder / name).mkdir(parents=True)
        (folder / name / "manifest.json").write_text("mine")
    return folder


def contents(folder: Path) -> dict[Path, bytes | None]:
    return {path: path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


@pytest.mark.long
def test_a_link_at_any_level_is_refused_by_name(made: Path, tiny: Path) -> None:
    there = outside(tiny)
    mine = contents(there)
    path = copy(made, "cut", tiny)
    (directory,) = load_run(path).populations()
    newest = directory.path / "recovery" / str(directory.status()["step"])
    places = [
        path / "populations", directory.path, newest.parent, newest, directory.path / "snapshots", path / "job",
        path / "paper",
        *(directory.path / name for name in ("profile", "wandb", "claims", "run.json", "metrics.jsonl", "status.json",
                                             "analyses.json", "events.jsonl", "owner.json", "lock")),
        *(path / name for name in ("run.json", "results.json", "table.csv", "report.html")),
    ]  # fmt: skip
    for place in places:
        for target in (there, tiny / "hold"):  # elsewhere, and to what it was
            held = place.exists()
            if held:
                place.rename(tiny / "hold")
            place.symlink_to(target)
            for command in ("resume", "report", "checkpoints"):
                result = invoke(command, str(path))
                assert result.exit_code == 2
                assert f"{place} is a link" in result.output or "no run at" in result.output
            place.unlink()
            if held:
                (tiny / "hold").rename(place)
    assert contents(there) == mine
    # A link to the run is one to a disk with more room, say.
    (tiny / "linked").symlink_to(path)
    assert invoke("resume", str(tiny / "linked")).exit_code == 0


def test_a_file_where_a_folder_belongs_is_refused_by_name(made: Path, tiny: Path) -> None:
    path = copy(made, "cut", tiny)
    (directory,) = load_run(path).populations()
    for place in (directory.path / "recovery", directory.path, path / "populations"):
        shutil.rmtree(place)
        place.write_text("a file")
        result = invoke("resume", str(path))
        assert result.exit_code == 2
        assert f"{place} is a file, expected a folder" in result.output


def test_what_becomes_a_link_later_is_not_written_through(made: Path, tiny: Path) -> None:
    there = outside(tiny)
    mine = contents(there)
    path = copy(made, "cut", tiny)
    (directory,) = load_run(path).populations()
    (directory.path / "recovery").rename(tiny / "hold")
    (directory.path / "recovery").symlink_to(there)
    store = CheckpointStore(directory.path / "recovery", keep=1)
    for write in (lambda: store.save(60, TREE), lambda: store.drop_after(0), lambda: store.save(9, TREE)):
        with pytest.raises(UserError, match="recovery is a link"):
            write()
    assert contents(there) == mine


def test_a_file_with_a_second_name_is_not_written_in_place(made: Path, tiny: Path) -> None:
    for name in ("metrics.jsonl", "events.jsonl", "lock"):
        path = copy(made, "cut", tiny)
        (directory,) = load_run(path).populations()
        kept = tiny / f"kept-{name}"
        os.link(directory.path / name, kept)
        before = kept.read_bytes()
        result = invoke("resume", str(path))
        assert result.exit_code == 2
        assert f"{name} is no regular file, or has a second name (a hard link)" in result.output
        assert kept.read_bytes() == before
        shutil.rmtree(path)


def test_checkpoints_are_listed_with_their_damage(tiny: Path) -> None:
    run(tiny / "run")
    result = invoke("checkpoints", str(tiny / "run"))
    assert result.exit_code == 0
    assert result.output.count("intact") == 5
    directory = load_run(tiny / "run").populations()[0]
    what = lose_a_file(directory.path / "snapshots" / "40")
    result = invoke("checkpoints", str(tiny / "run"))
    assert result.exit_code == 1
    assert f"damaged: {what}" in result.output
