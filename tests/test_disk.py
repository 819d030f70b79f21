"""Disks that are full or may not be written."""

import gc
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from jaxgen.ledger.runs import load_run
from jaxgen.run import keeper, rows
from jaxgen.run.arguments import Interrupted
from jaxgen.run.checkpoint import CheckpointStore, SaveError
from tests.test_damage import Listener
from tests.test_reproduce import Stopper, assert_same_runs, run
from tests.tiny_paper import invoke


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of two megabytes."""
    path = tmp_path / "disk"
    path.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", path], capture_output=True)
    if mounted.returncode:
        pytest.skip("this user may not mount a tmpfs")
    yield path
    subprocess.run(["umount", "--lazy", path], check=True)


class Filler(Listener):
    """Fills the disk at a step, and makes room when it hears of it, after a look at what is there."""

    def __init__(self, disk: Path, step: int):
        super().__init__()
        self.disk, self.step = disk, step
        self.waste = disk / "waste"
        self.intact: list[int] = []

    def advanced(self, step, rows):
        if step >= self.step and not self.notes:
            with self.waste.open("ab", buffering=0) as file:
                for size in (4096, 1):
                    try:
                        while True:
                            file.write(b"x" * size)
                    except OSError:
                        continue

    def note(self, text):
        super().note(text)
        if "No space left" in text and self.waste.exists():
            (directory,) = load_run(self.disk / "run").populations()
            store = CheckpointStore(directory.path / "recovery")
            self.intact = [store.verify(step).step for step in store.steps()]
            self.waste.unlink()


@pytest.mark.long
def test_a_full_disk_stops_no_training_and_loses_nothing(
    tiny: Path,
    small_disk: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(keeper, "RETRY_SECONDS", 0.1)
    run(tiny / "whole", seeds=1)
    with pytest.raises(Interrupted):
        run(small_disk / "run", Stopper(9), seeds=1)
    filler = Filler(small_disk, step=20)
    run(small_disk / "run", filler, seeds=1, recovery_seconds=0.0, chunk_seconds=1e-9)
    assert any("No space left on device" in note for note in filler.notes)
    assert filler.intact
    assert max(filler.intact) <= 20
    assert_same_runs(tiny / "whole", small_disk / "run")


@pytest.mark.long
def test_a_save_that_fails_is_said_and_tried_again(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a disk that can only be read for a while; where no disk can be mounted, too."""
    monkeypatch.setattr(keeper, "RETRY_SECONDS", 0.1)
    run(tiny / "whole", seeds=1)

    def refusing(original, failures):
        def replaced(*args):
            if next(failures, False):
                raise OSError(30, "Read-only file system")
            return original(*args)

        return replaced

    listener = Listener()
    with monkeypatch.context() as patch:
        patch.setattr(rows.MetricsFile, "sync", refusing(rows.MetricsFile.sync, iter([True])))
        patch.setattr(os, "pwrite", refusing(os.pwrite, iter([True] * 3)))
        run(tiny / "cut", listener, seeds=1)
    assert any("could not save: [Errno 30] Read-only file system" in note for note in listener.notes)
    assert any("rows are kept in memory" in note for note in listener.notes)
    assert_same_runs(tiny / "whole", tiny / "cut")


def test_a_save_on_a_full_disk_says_one_line(small_disk: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Of many leaves that are written at once most fail, some after the first of them was told of."""
    store = CheckpointStore(small_disk / "c")
    draws = np.random.default_rng(0)
    tree = {f"w{i}": draws.normal(size=100_000) for i in range(20)}
    with pytest.raises(SaveError, match="No space left on device") as error:
        store.save(1, tree)
    assert "\n" not in str(error.value)
    assert store.all_steps() == []
    del store
    gc.collect()
    assert "Traceback" not in "".join(capfd.readouterr())


@pytest.mark.parametrize("umask", [0o077, 0o002])
def test_files_have_the_mode_that_the_umask_leaves(tiny: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        run(tiny / "run", seeds=1, scale="smoke")
    finally:
        os.umask(before)
    modes = {path: path.stat().st_mode & 0o777 for path in (tiny / "run").rglob("*")}
    assert {mode for path, mode in modes.items() if path.is_dir()} == {0o777 & ~umask}
    written = {path: mode for path, mode in modes.items() if path.is_file() and path.name != "lock"}
    assert set(written.values()) == {0o666 & ~umask}
    assert not any(mode & umask for mode in modes.values())


def test_a_disk_that_cannot_be_written_is_one_line(tiny: Path, small_disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    result = invoke("reproduce", "tiny-paper/main", "--runs", str(small_disk / "runs"))
    assert result.exit_code == 2
    assert f"jaxgen: Read-only file system: {small_disk}/runs" in result.output
    assert "--runs" in result.output


def test_a_folder_without_permission_is_one_line(tiny: Path) -> None:
    result = invoke("reproduce", "tiny-paper/main", "--runs", "/sys/runs")
    assert result.exit_code == 2
    assert "ermi" in result.output
    assert "/sys/runs" in result.output
    assert "Traceback" not in result.output
