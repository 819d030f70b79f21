"""Signals, wherever the program is; each in a process of its own."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import Result

from jaxgen.cli.signals import INTERRUPTED
from jaxgen.distributed.processes import STOPPED
from tests.test_reproduce import assert_same_runs
from tests.tiny_paper import invoke, write_tiny_paper

COMMAND = ("reproduce", "tiny-paper/main", "--seeds", "1")
# `stuck()` is in C, as a compiler is: Python's own signal handlers do not run before it returns.
DRIVER = """
import ctypes, os, signal, sys
from jaxgen.cli import main, progress, signals, train
from jaxgen.report import html
from jaxgen.run import loop, manifest, reader

def signal_me(*numbers):
    for number in numbers:
        os.kill(os.getpid(), number)

def stuck(seconds=600):
    ctypes.CDLL(None).sleep(seconds)

def before(place, name, do):
    original, calls = getattr(place, name), []
    def replaced(*args, **kwargs):
        calls.append(args)
        do(len(calls), *args)
        return original(*args, **kwargs)
    setattr(place, name, replaced)

{what}
main([*COMMAND, *sys.argv[1:]])
""".replace("COMMAND", repr(COMMAND))

STUCK_IN_COMPILING = """
before(loop._Training, "_compiled", lambda *_: (signal_me(signal.SIGTERM), stuck()))
"""
STUCK_IN_A_CHUNK = """
signals.GRACE_SECONDS = 2.0
def do(call, self, chunk, *_):
    if chunk.step > 9:
        signal_me(signal.SIGTERM)
        stuck()
before(reader.Reader, "read", do)
"""
STUCK_IN_THE_REPORT = """
before(train, "_write_report", lambda *_: (signal_me(signal.SIGINT), stuck()))
"""
STUCK_AFTER_TWO_INTERRUPTS = """
before(reader.Reader, "read", lambda *_: (signal_me(signal.SIGINT), stuck(1), signal_me(signal.SIGINT), stuck()))
"""
STOPPED_WHILE_SAVING = """
def do(call, *_):
    signal_me(signal.SIGTERM)
    stuck(1)
before(manifest, "publish", do)
"""
STOPPED_WHILE_ANALYSING = """
from jaxgen.ledger import reproduce
before(reproduce, "collect", lambda *_: (signal_me(signal.SIGTERM), stuck()))
"""


def drive(what: str, *args: str) -> subprocess.CompletedProcess[str]:
    code = DRIVER.replace("{what}", what)
    # The time limit is far above what it takes, and below the 600 s of `stuck`.
    return subprocess.run([sys.executable, "-c", code, *args], capture_output=True, text=True, timeout=300)


def reproduce(runs: Path) -> None:
    done = invoke(*COMMAND, "--runs", str(runs))
    assert done.exit_code == 0, done.output


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An uninterrupted run, in a folder where others may be made beside it."""
    root = tmp_path_factory.mktemp("signals")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAXGEN_EXPERIMENTS", str(write_tiny_paper(root)))
        reproduce(root / "whole")
    return root / "whole" / "tiny-paper" / "main" / "paper"


@pytest.fixture(autouse=True)
def _beside(whole: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    root = whole.parents[3]
    monkeypatch.setenv("JAXGEN_EXPERIMENTS", str(root / "papers"))
    place = root / str(abs(hash(request.node.name)))
    place.mkdir()
    monkeypatch.chdir(place)


# In the order in which a run comes by.
SIGNALS = [
    (STUCK_IN_COMPILING, STOPPED, "stopped; nothing is lost; go on with: jaxgen resume"),
    (STUCK_AFTER_TWO_INTERRUPTS, INTERRUPTED, "ended at once; the checkpoints stay"),
    (STUCK_IN_A_CHUNK, STOPPED, "stopped while it was busy; it resumes from the last checkpoint; go on with: jaxgen"),
    (STOPPED_WHILE_SAVING, STOPPED, "go on with: jaxgen resume"),
    (STOPPED_WHILE_ANALYSING, STOPPED, "stopped; nothing is lost; go on with: jaxgen resume"),
    (STUCK_IN_THE_REPORT, STOPPED, "stopped; nothing is lost; go on with: jaxgen resume"),
]


@pytest.mark.long
def test_a_signal_ends_the_run_wherever_it_is_and_nothing_is_lost(whole: Path) -> None:
    for what, code, says in SIGNALS:
        done = drive(what, "--runs", "cut")
        assert done.returncode == code, f"{what}\n{done.stdout}{done.stderr}"
        assert says in done.stdout, what
        assert "Traceback" not in done.stderr, what
    reproduce(Path("cut"))
    assert_same_runs(whole, Path("cut/tiny-paper/main/paper"))


CLOSES_ITS_TERMINAL = """
def do(call, self, step, rows):
    if step == 4:
        print("reached", flush=True)
        stuck(1)
before(progress.ProgressDisplay, "advanced", do)
"""
NOHUP = """
def do(call, self, step, rows):
    if step == 4:
        signal_me(signal.SIGHUP)
        stuck(1)
signal.signal(signal.SIGHUP, signal.SIG_IGN)
before(progress.ProgressDisplay, "advanced", do)
"""


@pytest.mark.long
def test_a_terminal_that_closes_stops_the_run_saved_and_under_nohup_nothing_does(whole: Path) -> None:
    terminal, inside = os.openpty()
    code = DRIVER.replace("{what}", CLOSES_ITS_TERMINAL)
    # The tests themselves may run under nohup.
    lead = (
        "import fcntl, signal, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0)\n"
        f"signal.signal(signal.SIGHUP, signal.SIG_DFL)\n{code}"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", lead, "--runs", "cut", "--save-every", "1000"],
        stdin=inside, stdout=inside, stderr=inside, start_new_session=True,
    )  # fmt: skip
    os.close(inside)
    said = b""
    while b"reached" not in said:
        said += os.read(terminal, 1024)
    os.close(terminal)
    assert process.wait(timeout=120) == STOPPED, said
    saved = [path for path in Path("cut").rglob("recovery/*/manifest.json") if path.parent.name != "0"]
    assert saved
    done = drive(NOHUP, "--runs", "cut")
    assert done.returncode == 0, done.stdout + done.stderr
    assert_same_runs(whole, Path("cut/tiny-paper/main/paper"))


@pytest.mark.long
def test_sigusr1_saves_and_goes_on(whole: Path) -> None:
    what = """
def do(call, self, step, rows):
    if step == 4:
        signal_me(signal.SIGUSR1)
        stuck(1)
before(progress.ProgressDisplay, "advanced", do)
before(manifest, "publish", lambda call, path, *_: print("saved", path))
"""
    done = drive(what, "--runs", "cut", "--save-every", "1000")
    assert done.returncode == 0, done.stderr
    saved = [int(line.rpartition("/")[2]) for line in done.stdout.splitlines() if "recovery" in line]
    assert any(0 < step < 40 for step in saved), done.stdout
    assert_same_runs(whole, Path("cut/tiny-paper/main/paper"))


@pytest.mark.long
def test_a_second_process_is_told_who_the_first_is_and_a_killed_one_holds_nothing(whole: Path) -> None:
    stay = """
before(progress.ProgressDisplay, "advanced", lambda call, self, step, rows: stuck() if step > 4 else None)
"""
    command = [sys.executable, "-c", DRIVER.replace("{what}", stay), "--runs", "cut"]
    first = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        until = time.monotonic() + 40
        while not list(Path("cut").rglob("owner.json")) and time.monotonic() < until:
            time.sleep(0.05)
        second = invoke(*COMMAND, "--runs", "cut")
    finally:
        first.send_signal(signal.SIGKILL)
        first.wait()
    assert second.exit_code == 2
    assert f"is being trained by process {first.pid} on {os.uname().nodename} since 20" in second.stderr
    reproduce(Path("cut"))
    (stale,) = (
        json.loads(line)["of"]
        for path in Path("cut").rglob("events.jsonl")
        for line in path.read_text().splitlines()
        if json.loads(line)["event"] == "stale lock"
    )
    assert f"process {first.pid} on " in stale
    assert_same_runs(whole, Path("cut/tiny-paper/main/paper"))
    assert not list(Path("cut").rglob("owner.json"))


@pytest.mark.long
def test_resume_must_and_never(whole: Path) -> None:
    def resume(how: str, runs: str) -> Result:
        return invoke(*COMMAND, "--runs", runs, "--resume", how)

    runs = str(whole.parents[2])
    never = resume("never", runs)
    assert never.exit_code == 2
    assert f"--resume never: there is a run at {whole}" in never.stderr
    must = resume("must", "nowhere")
    assert must.exit_code == 2
    assert "--resume must: there is no run at nowhere/tiny-paper/main/paper" in must.stderr
    assert not Path("nowhere").exists()
    assert resume("must", runs).exit_code == 0
