"""Processes that outlive each other, and runs elsewhere that take each other's place."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.test_launch_local import job
from tests.tiny_paper import invoke

ROOT = Path(__file__).parents[2]
FEEDS = """
import multiprocessing, time
from jaxgen.condition import Condition, Trajectory
from jaxgen.models.config import TransformerConfig
from jaxgen.optimizers import SGD
from jaxgen.train.feed import HostFeed
from jaxgen.distributed.mesh import MeshSizes
from tests.host_task import ReversalTask

if __name__ == "__main__":
    model = TransformerConfig(layers=1, width=8, heads=2, mlp_width=16)
    condition = Condition(
        name="a", task=ReversalTask(least=1, longest=4), model=model,
        optimizer=SGD(learning_rate=0.1), steps=30, batch_size=8, seeds=(3,),
    )
    feed = HostFeed([Trajectory(condition, 3, "3")], MeshSizes().build(), 0, 10**6, 2)
    feed.next()
    print(*(each.pid for each in multiprocessing.active_children()), flush=True)
    time.sleep(600)
"""


def lives(pid: int) -> bool:
    """Returns whether a process runs; a dead one that nobody waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.report("hw-native-sys/simpler#1493")
@pytest.mark.report("Oneflow-Inc/oneflow#7409")
def test_workers_end_with_a_process_that_was_killed(tmp_path: Path) -> None:
    (tmp_path / "feeds.py").write_text(FEEDS)
    process = subprocess.Popen(
        [sys.executable, str(tmp_path / "feeds.py")], stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])},
    )  # fmt: skip
    assert process.stdout is not None
    workers = [int(pid) for pid in process.stdout.readline().split()]
    assert len(workers) == 2
    assert all(map(lives, workers))
    process.send_signal(signal.SIGKILL)
    process.communicate()
    until = time.monotonic() + 20
    while any(map(lives, workers)) and time.monotonic() < until:
        time.sleep(0.05)
    assert not any(map(lives, workers))


@pytest.mark.report("hw-native-sys/simpler#1493")
def test_processes_of_a_local_job_are_stopped_with_a_supervisor_that_was_killed(tmp_path: Path) -> None:
    """Else they hold the run, and no `jaxgen cancel` reaches them."""
    script = "trap 'echo saved; exit 75' TERM; echo $$; while :; do sleep 0.1; done"
    started = job(tmp_path / "run", script)
    until = time.monotonic() + 60
    while not (said := started.log_file.read_text().split()) and time.monotonic() < until:
        time.sleep(0.05)
    os.kill(int(started.number), signal.SIGKILL)
    while lives(int(said[0])) and time.monotonic() < until:
        time.sleep(0.05)
    assert started.log_file.read_text().split()[1:] == ["saved"]


@pytest.mark.long
@pytest.mark.report("wandb/wandb#5632")
@pytest.mark.report("ray-project/ray#29916")
def test_a_run_made_afresh_or_elsewhere_has_an_id_of_its_own(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """W&B drops the steps of a run that it has already: under an old id a new run would lose its own."""
    begun: list[str] = []

    def init(**what: str) -> SimpleNamespace:
        begun.append(what["id"])
        return SimpleNamespace(step=0, log=lambda *_, **__: None, finish=lambda: None)

    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(init=init, __spec__=ModuleSpec("wandb", None)))

    def ids(*options: str) -> list[str]:
        begun.clear()
        done = invoke("reproduce", "tiny-paper/main", "--seeds", "1", "--wandb", "project", *options)
        assert done.exit_code == 0, done.output
        return list(begun)

    first, fresh, elsewhere = ids(), ids("--fresh"), ids("--runs", "elsewhere")
    assert len({*first, *fresh, *elsewhere}) == 6  # two populations each
    # A run that goes on keeps its own; its child, whose parent now ends later, is another.
    dense, ticket = ids("--extend", "50")
    assert dense == fresh[0]
    assert ticket not in fresh
