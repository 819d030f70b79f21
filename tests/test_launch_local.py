"""Jobs on this machine: started again where they should be, and never where they should not."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import filelock
import pytest

from jaxgen.launch.job import Job, State
from jaxgen.launch.local import Local, Supervisor
from jaxgen.launch.spec import Devices, JobSpec, Secret, Variable
from jaxgen.ledger.runs import load_run
from jaxgen.storage.files import read_sealed, write_sealed
from tests.tiny_paper import invoke, write_tiny_paper


def job(run: Path, script: str, processes: int = 1, restarts: int = 3, **changes) -> Job:
    """Starts a job of processes that each run a few lines of bash, where `$n` counts the starts of this one."""
    (run / "job").mkdir(parents=True)
    counting = "n=$(cat n.$JAX_PROCESS_ID 2>/dev/null || echo 0); echo $((n + 1)) > n.$JAX_PROCESS_ID; "
    spec = JobSpec(
        name="job", title="a job", command=("bash", "-c", counting + script), devices=Devices(nodes=processes),
        directory=str(run / "job"), restarts=restarts, grace=15, **changes,
    )  # fmt: skip
    return Local().start(run, spec)


@pytest.fixture(autouse=True)
def _no_job_is_left(tmp_path: Path) -> Iterator[None]:
    yield
    for file in tmp_path.glob("**/job.json"):
        with contextlib.suppress(OSError, ValueError):
            os.killpg(int(file.read_text().partition('"number": "')[2].partition('"')[0]), signal.SIGKILL)


def wait(started: Job) -> State:
    until = time.monotonic() + 60
    while (state := Local().state(started)).alive:
        assert time.monotonic() < until, started.log_file.read_text()
        time.sleep(0.05)
    return state


def starts(of: Job) -> list[int]:
    return [int(line.split()[1]) for line in (of.directory / "starts").read_text().splitlines()]


@pytest.mark.parametrize(
    ("script", "codes"),
    [
        ("exit 0", [0]),
        ("exit 2", [2]),
        ("exit 1", [1]),
        ("[ $n = 2 ] || exit 75", [75, 75, 0]),
        ("[ $n = 1 ] || kill -9 $$", [137, 0]),
        ("[ $n = 1 ] || exit 69", [69, 0]),
        ("exit 75", [75, 75, 75, 75]),
    ],
)
def test_what_is_started_again(script: str, codes: list[int], tmp_path: Path) -> None:
    started = job(tmp_path / "run", script)
    state = wait(started)
    assert starts(started) == codes
    assert state.word == ("finished" if codes[-1] == 0 else "failed")
    assert ("the limit; the same jaxgen submit resumes it" in started.log_file.read_text()) == (len(codes) == 4)


def test_one_of_two_that_is_killed_ends_the_other_and_both_come_again(tmp_path: Path) -> None:
    other = "trap 'echo ended well; exit 75' TERM; while :; do sleep 0.1; done"
    script = f"if [ $n = 1 ]; then exit 0; elif [ $JAX_PROCESS_ID = 1 ]; then sleep 0.5; kill -9 $$; else {other}; fi"
    started = job(tmp_path / "run", script, processes=2)
    assert wait(started).word == "finished"
    # The code is that of the one that ended first.
    assert starts(started) == [137, 0]
    assert "ended well" in started.log_file.read_text()


def test_processes_are_told_of_each_other_and_of_secrets(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("hidden\n")
    started = job(
        tmp_path / "run", "echo $JAX_PROCESS_ID of $JAX_NUM_PROCESSES at $JAX_COORDINATOR_ADDRESS, $KEY, $MORE",
        processes=2, secrets=(Secret(name="KEY", source=str(tmp_path / "key")),),
        variables=(Variable(name="MORE", value="$(touch pwned)"),),
    )  # fmt: skip
    assert wait(started).word == "finished"
    said = sorted(started.log_file.read_text().splitlines())[:2]
    ports = {line.partition("127.0.0.1:")[2].partition(",")[0] for line in said}
    assert len(ports) == 1
    port = ports.pop()
    assert said == [f"{i} of 2 at 127.0.0.1:{port}, hidden, $(touch pwned)" for i in (0, 1)]
    # It lies in no file of the job's.
    assert not [each for each in started.directory.iterdir() if each != started.log_file
                and "hidden" in each.read_text()]  # fmt: skip


def test_a_job_that_is_cancelled_ends_and_does_not_come_again(tmp_path: Path) -> None:
    run = tmp_path / "run"
    started = job(run, "trap 'exit 75' TERM; echo here; while :; do sleep 0.1; done")
    until = time.monotonic() + 60
    while "here" not in started.log_file.read_text():
        assert time.monotonic() < until
        time.sleep(0.05)
    assert Local().state(started) == State("running", f"process {started.number}")
    done = invoke("cancel", str(run))
    assert done.exit_code == 0, done.output
    assert wait(started).word == "cancelled"
    assert starts(started) == [75]


def test_a_process_that_does_not_run_the_job_is_never_signalled(tmp_path: Path) -> None:
    started = job(tmp_path / "run", "exit 0")
    wait(started)
    file = started.directory / "job.json"
    with subprocess.Popen(["sleep", "100"]) as bystander, filelock.FileLock(started.directory / "lock"):
        for number in ("-1", "0", "1", str(bystander.pid), str(os.getpid()), "9" * 5000, "²", ""):
            write_sealed(file, read_sealed(file) | {"number": number})
            done = invoke("cancel", str(tmp_path / "run"))
            assert done.exit_code == 2, done.output
            assert "does not run this job, so it is left alone" in done.stderr
        assert bystander.poll() is None
        bystander.kill()
    # No number is left that another test's end would take for a process.
    file.unlink()


def test_a_process_that_does_not_hear_is_killed(tmp_path: Path) -> None:
    spec = JobSpec(name="job", title="a job", command=("bash",))
    object.__setattr__(spec, "grace", 0.5)
    supervisor = Supervisor(Job(tmp_path, "local", "1", "here", "now", spec))
    supervisor.stopping = True
    deaf = subprocess.Popen(["bash", "-c", "trap '' TERM; echo here; exec sleep 100"], stdout=subprocess.PIPE)
    with deaf:
        assert deaf.stdout is not None
        deaf.stdout.readline()
        assert supervisor._wait([deaf]) == 137
        deaf.kill()


def test_a_supervisor_that_was_killed_is_gone_and_the_job_can_be_submitted_again(tmp_path: Path) -> None:
    run = tmp_path / "run"
    started = job(run, "[ $n = 1 ] || sleep 5")
    until = time.monotonic() + 60
    while not (started.directory / "n.").exists():
        assert time.monotonic() < until
        time.sleep(0.05)
    os.kill(int(started.number), signal.SIGKILL)
    while Local().state(started).word == "running":
        time.sleep(0.05)
    again = Local().start(run, started.spec)
    assert wait(again).word == "finished"


@pytest.mark.long
def test_an_experiment_trains_in_the_background_and_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the command line to the report, in processes of its own."""
    monkeypatch.setenv("JAXGEN_EXPERIMENTS", str(write_tiny_paper(tmp_path)))
    jaxgen = [sys.executable, "-m", "jaxgen"]
    submit = [*jaxgen, "submit", "tiny-paper/main", "--to", "local", "--scale", "smoke", "--runs", str(tmp_path / "r")]
    said = subprocess.run(submit, check=True, capture_output=True, text=True).stdout
    path = tmp_path / "r" / "tiny-paper" / "main" / "smoke"
    assert f"jaxgen logs --follow {path}" in said
    log = subprocess.run([*jaxgen, "logs", "--follow", str(path)], check=True, capture_output=True, text=True).stdout
    assert "start 0 ended with 0: finished" in log
    assert str(path / "report.html") in log
    status = invoke("status", str(path)).stdout
    assert ": finished (start 0 ended with 0: finished, " in status
    assert "dense: step 3 of 3 saved, finished" in status
    assert f"report: {path}/report.html" in status
    assert len(load_run(path).members) == 4
