"""Runs in object stores, from end to end."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import jaxgen
from jaxgen.errors import UserError
from jaxgen.run import lease
from jaxgen.run.arguments import Interrupted
from jaxgen.storage import objects
from tests.chaos import differences
from tests.emulators import copy, emulator, forget
from tests.test_reproduce import Stopper, assert_same_runs, run
from tests.tiny_paper import invoke, write_tiny_paper


@pytest.fixture(scope="module", params=["s3", pytest.param("gs", marks=pytest.mark.long)])
def bucket(request: pytest.FixtureRequest) -> Iterator[str]:
    with emulator(request.param) as url:
        yield url


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    with emulator("s3") as url:
        yield url


@pytest.fixture(autouse=True)
def _a_process_of_its_own() -> Iterator[None]:
    yield
    forget()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on a disk that nothing happened to."""
    root = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAXGEN_EXPERIMENTS", str(write_tiny_paper(root)))
        done = invoke("reproduce", "tiny-paper/main", "--runs", str(root / "runs"))
    assert done.exit_code == 0, done.output
    return root / "runs" / "tiny-paper" / "main" / "paper"


def test_a_run_in_a_store_is_the_run_on_a_disk(bucket: str, tiny: Path, whole: Path) -> None:
    runs = f"{bucket}/runs"
    url = f"{runs}/tiny-paper/main/paper"
    done = invoke("reproduce", "tiny-paper/main", "--runs", runs)
    assert done.exit_code == 0, done.output
    assert f"report: {url}/report.html\n" in done.stdout
    assert str(objects.locate(url)) not in done.output
    copied = copy(url, tiny / "copied")
    assert differences(whole, copied) == []
    assert_same_runs(whole, copied)
    files, others = ({path.relative_to(top).as_posix() for path in top.iterdir()} for top in (whole, copied))
    assert files - others == {"lock"}  # which a store does not have
    assert others <= files
    # That a difference would have been seen:
    metrics = next(copied.glob("populations/*/metrics.jsonl"))
    metrics.write_text(metrics.read_text().replace('"values": {', '"values": {"more": 1, ', 1))
    assert differences(whole, copied) == [f"{metrics} differs"]
    # On the machine of whoever looks.
    forget()
    done = invoke("report", url, "--to", "page.html")
    assert done.exit_code == 0, done.output
    assert '<p class="kicker">Tiny</p>' in Path("page.html").read_text()
    found = jaxgen.load_run(url)
    assert found.table.rows.equals(jaxgen.load_run(whole).table.rows)
    ours, theirs = found.member(2).params(40), jaxgen.load_run(whole).member(2).params(40)
    for layer, leaves in theirs.items():
        for name, leaf in leaves.items():
            np.testing.assert_array_equal(ours[layer][name], leaf)
    done = invoke("checkpoints", url)
    assert (done.exit_code, done.output.count("intact")) == (0, 5)
    # Finished is finished, and begun beside it is begun beside it.
    assert "step 40/40" not in invoke("reproduce", "tiny-paper/main", "--runs", runs).stdout
    done = invoke("reproduce", "tiny-paper/main", "--runs", runs, "--resume", "never")
    assert (done.exit_code, f"there is a run at {url};" in done.stderr) == (2, True)
    done = invoke("reproduce", "tiny-paper/main", "--runs", runs, "--fresh", "--scale", "smoke")
    assert f"report: {runs}/tiny-paper/main/smoke/report.html\n" in done.stdout


@pytest.mark.long
def test_a_run_goes_on_from_a_store_wherever_it_stopped(s3: str, tiny: Path, whole: Path) -> None:
    url = f"{s3}/cut"
    for step in (1, 9, 23):
        with pytest.raises(Interrupted):
            run(objects.locate(url), Stopper(step))
        forget()
    run(objects.locate(url))
    assert_same_runs(whole, copy(url, tiny / "copied"))


@pytest.mark.long
def test_a_run_moves_between_a_disk_and_a_store(s3: str, tiny: Path, whole: Path) -> None:
    with pytest.raises(Interrupted):
        run(tiny / "here", Stopper(9))
    there = objects.locate(f"{s3}/moved")
    shutil.copytree(tiny / "here", there)
    objects.send(*(path for path in there.rglob("*") if path.is_file()))
    forget()
    with pytest.raises(Interrupted):
        run(objects.locate(f"{s3}/moved"), Stopper(23))
    back = copy(f"{s3}/moved", tiny / "back")
    run(back)
    assert_same_runs(whole, back)


@pytest.mark.long
def test_what_is_damaged_in_a_store_is_left_out(s3: str, tiny: Path, whole: Path) -> None:
    url = f"{s3}/damaged"
    for step in (9, 23):
        with pytest.raises(Interrupted):
            run(objects.locate(url), Stopper(step))
    (recovery,) = objects.locate(url).glob("populations/*/recovery")
    newest = max((name for name in objects.names(recovery) if name.endswith("manifest.ocdbt")), key=_step)
    (recovery / newest).parent.mkdir(parents=True, exist_ok=True)
    (recovery / newest).write_bytes(b"other bytes")
    objects.send(recovery / newest)
    forget()
    told = Stopper(99)
    notes: list[str] = []
    told.note = notes.append
    run(objects.locate(url), told)
    assert "is skipped" in notes[0]
    assert_same_runs(whole, copy(url, tiny / "copied"))


def _step(name: str) -> int:
    return int(name.partition("/")[0])


@pytest.mark.long
def test_a_store_that_fails_for_a_while_stops_no_training(
    s3: str, tiny: Path, whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    send, failures = objects.send, iter(range(4))

    def failing(*paths: Path) -> None:
        if any("recovery" in path.parts for path in paths) and next(failures, None) is not None:
            raise objects.StoreError("s3://there", ValueError("ABORTED: it was down"))
        send(*paths)

    monkeypatch.setattr(objects, "send", failing)
    monkeypatch.setattr("jaxgen.run.keeper.RETRY_SECONDS", 0.1)
    told = Stopper(99)
    notes: list[str] = []
    told.note = notes.append
    run(objects.locate(f"{s3}/failing"), told, recovery_seconds=0.01)
    assert any("could not save: " in note and "it was down; training goes on" in note for note in notes)
    assert_same_runs(whole, copy(f"{s3}/failing", tiny / "copied"))


@pytest.mark.long
def test_what_the_one_before_saved_last_is_gone_on_from(
    s3: str, tiny: Path, whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"{s3}/handed-over"
    with pytest.raises(Interrupted):
        run(objects.locate(url), Stopper(9))
    forget()
    code = f"""
from jaxgen.storage import objects
from jaxgen.run.arguments import Interrupted
from tests.test_reproduce import Stopper, run
try:
    run(objects.locate({url!r}), Stopper(23))
except Interrupted:
    pass
"""
    held = lease.held

    def held_after_the_one_before(population: Path, tell):
        if population.parent.parent == objects.locate(url) and not (tiny / "went on").exists():
            (tiny / "went on").touch()
            subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[1])
        return held(population, tell)

    monkeypatch.setattr(lease, "held", held_after_the_one_before)
    run(objects.locate(url))
    copied = copy(url, tiny / "copied")
    events = [json.loads(line) for path in copied.rglob("events.jsonl") for line in path.read_text().splitlines()]
    assert max(each["step"] for each in events if each["event"] == "resumed") >= 23
    assert_same_runs(whole, copied)


@pytest.mark.long
def test_a_process_that_was_thought_gone_ends_with_its_next_save(s3: str, tiny: Path, whole: Path) -> None:
    url = f"{s3}/two"

    class Followed(Stopper):
        """Is followed by another one, at a step."""

        def advanced(self, step, rows):
            if step == 8:
                (begun,) = objects.locate(url).glob("populations/*/run.json")
                facts = {"host": "other", "pid": 7, "since": "noon", "id": "", "where": "", "beat": 0, "released": True}
                objects.put(begun.parent / "claims" / "000002.json", json.dumps(facts).encode())

    with pytest.raises(UserError, match="is trained by process 7 on other since noon, because this process was silent"):
        run(objects.locate(url), Followed(99))
    forget()
    run(objects.locate(url))
    assert_same_runs(whole, copy(url, tiny / "copied"))
