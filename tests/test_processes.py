"""Where a process is among several, and runs of two real ones on this machine."""

import os
import re
import signal
import sys
import time
from pathlib import Path

import pytest

from jaxgen.distributed.processes import STOPPED, Place, resolve
from jaxgen.errors import UserError
from jaxgen.storage import objects
from tests.chaos import Launched
from tests.emulators import copy, emulator, forget
from tests.test_reproduce import assert_same_runs
from tests.tiny_paper import write_tiny_paper

JAX_TRIPLE = {"JAX_COORDINATOR_ADDRESS": "a:1", "JAX_NUM_PROCESSES": "4", "JAX_PROCESS_ID": "3"}
SLURM = {"SLURM_STEP_NODELIST": "n[1-2]", "SLURM_NTASKS": "2"}


@pytest.mark.parametrize(
    ("given", "variables", "found"),
    [
        ((None, None, None), {}, None),
        (("host:12", 2, 1), JAX_TRIPLE, Place("host:12", 2, 1)),
        (("host:12", 1, 0), {}, None),
        ((None, None, None), JAX_TRIPLE | SLURM, Place("a:1", 4, 3)),
        (
            (None, None, None),
            {"SKYPILOT_NODE_IPS": "10.0.0.1\n10.0.0.2", "SKYPILOT_NODE_RANK": "1"},
            Place("10.0.0.1:55527", 2, 1),
        ),
        ((None, None, None), {"SLURM_NTASKS": "2"}, None),  # in the batch script, outside of srun
        ((None, None, None), SLURM | {"SLURM_NTASKS": "1"}, None),
        ((None, None, None), SLURM, Place()),
        (
            (None, None, None),
            SLURM | {"SLURM_STEP_TASKS_PER_NODE": "1(x2)", "CUDA_VISIBLE_DEVICES": "0,1,2,3"},
            Place(devices=[0, 1, 2, 3]),
        ),
        (
            (None, None, None),
            SLURM | {"SLURM_STEP_TASKS_PER_NODE": "4", "CUDA_VISIBLE_DEVICES": "0,1,2,3"},
            Place(),
        ),
        (
            (None, None, None),
            {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "JOB_COMPLETION_INDEX": "0"},
            Place(),
        ),
        ((None, None, None), {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, None),
        ((None, None, None), {"TPU_WORKER_HOSTNAMES": "a,b"}, Place()),
        ((None, None, None), {"TPU_WORKER_HOSTNAMES": "localhost"}, None),
        ((None, None, None), {"MEGASCALE_NUM_SLICES": "2"}, Place()),
    ],
)
def test_every_environment_says_where_a_process_is(given, variables, found) -> None:
    assert resolve(*given, variables) == found


@pytest.mark.parametrize(
    ("given", "variables", "said"),
    [
        (("host:1", None, 0), {}, "--processes missing; --coordinator, --processes, --process belong together"),
        ((None, None, None), {"JAX_PROCESS_ID": "1"}, "JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES missing"),
        ((None, None, None), JAX_TRIPLE | {"JAX_PROCESS_ID": "one"}, "JAX_PROCESS_ID: got 'one', expected a number"),
        (("host", 2, 0), {}, "--coordinator: got 'host', expected HOST:PORT"),
        (("host:1", 2, 2), {}, "--process: got 2 of --processes 2, expected 0 to 1"),
        ((None, None, None), {"SKYPILOT_NODE_IPS": "a\nb"}, "SKYPILOT_NODE_RANK missing"),
        ((None, None, None), {"MEGASCALE_NUM_SLICES": "two"}, "MEGASCALE_NUM_SLICES: got 'two', expected a number"),
    ],
)
def test_a_place_that_is_not_whole_is_refused(given, variables, said) -> None:
    with pytest.raises(UserError, match=re.escape(said)):
        resolve(*given, variables)


def launch(runs: Path | str, papers: Path, *options: str) -> Launched:
    command = [sys.executable, "-m", "jaxgen", "reproduce", "tiny-paper/main", "--runs", str(runs), *options]
    one_device = os.environ["XLA_FLAGS"].replace("device_count=8", "device_count=1")
    return Launched(command, os.environ | {"JAXGEN_EXPERIMENTS": str(papers), "XLA_FLAGS": one_device}, 2)


def codes(launched: Launched) -> list[int]:
    return [each.returncode for each in launched.processes]


@pytest.mark.long
def test_a_signal_to_one_of_two_stops_both_and_they_come_back_bit_for_bit(tmp_path: Path) -> None:
    """The first ones have a disk in common; those that are stopped have none, and a bucket."""
    papers = write_tiny_paper(tmp_path)
    launch(tmp_path, papers).check(tmp_path)
    with emulator("s3") as bucket:
        run = objects.locate(f"{bucket}/tiny-paper/main/paper")
        launched = launch(bucket, papers, "--save-every", "0.1")
        while not any(name.endswith("metrics.jsonl") for name in objects.names(run)) and launched.running():
            time.sleep(0.01)
        launched.processes[1].send_signal(signal.SIGTERM)
        output = launched.output()
        assert codes(launched) == [STOPPED, STOPPED], output
        launch(bucket, papers).check(run)
        assert_same_runs(tmp_path / "tiny-paper" / "main" / "paper", copy(objects.url(run), tmp_path / "copied"))
    forget()


def test_a_mistake_ends_both_with_the_same_line(tmp_path: Path) -> None:
    launched = launch(tmp_path / "runs", write_tiny_paper(tmp_path), "--mesh", "member=1", "--seeds", "1")
    output = launched.output()
    assert codes(launched) == [2, 2], output
    assert "takes 1 of 2 devices; of several processes it takes all" in output
