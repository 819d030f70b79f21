"""What a command says of its progress: always the step and the time left, in any terminal and in logs."""

import io
import os
import pty
import re
import subprocess
import sys
from collections.abc import Sequence

import pytest

from jaxgen.cli import progress
from jaxgen.cli.console import Console
from jaxgen.cli.left import TimeLeft, Work, about
from jaxgen.cli.progress import ProgressDisplay
from jaxgen.cli.signals import Preemption
from jaxgen.run.rows import Row, metric_row


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_time_left_is_that_of_the_measured_speed() -> None:
    clock = Clock()
    left = TimeLeft([Work(("a", "a"), 100, None, "p")], clock)
    left.started(["a", "a"], 0, 100)
    assert left.this() is None
    left.compiled()
    clock.now += 10
    left.advanced(20)  # 0.5 s a step
    assert left.this() == pytest.approx(40)
    assert left.all() == pytest.approx(40)
    clock.now += 15  # while it measures, nothing is heard
    assert left.this() == pytest.approx(25)
    clock.now += 100
    assert left.this() == 0


def test_the_speed_is_that_of_the_last_minute() -> None:
    clock = Clock()
    left = TimeLeft([Work(("a",), 1000, None, "p")], clock)
    left.started(["a"], 0, 1000)
    left.compiled()
    for step, seconds in ((10, 50), (20, 50), (120, 50), (220, 50), (320, 50)):  # first slow, then 0.5 s a step
        clock.now += seconds
        left.advanced(step)
    assert left.step_seconds() == pytest.approx(0.5)


def test_what_follows_is_told_by_records_and_by_programs_alike() -> None:
    clock = Clock()
    works = [Work(("a",), 100, 1.0, "p"), Work(("b", "b"), 100, 3.0, "q"), Work(("c", "c"), 100, None, "p")]
    left = TimeLeft(works, clock)
    left.started(["a"], 0, 100)
    assert left.this() == pytest.approx(100)  # as recorded
    assert left.all() is None  # nothing tells of c
    left.compiled()
    clock.now += 20
    left.advanced(10)  # twice the recorded time, so b takes 6 s a step; c is like two of a
    assert left.this() == pytest.approx(180)
    assert left.all() == pytest.approx(180 + 600 + 400)
    clock.now += 180
    left.advanced(100)
    left.started(["b", "b"], 0, 100)
    assert left.number == 2
    assert left.all() == pytest.approx(600 + 400)
    left.started(["c"], 0, 100)  # one member of it fails to start
    left.started(["d"], 0, 50)  # seeds that were added
    assert (left.number, len(left.works)) == (4, 4)


def test_a_time_is_rounded_as_an_estimate_is() -> None:
    seconds = (0, 12, 54, 55, 100, 3570, 3600, 4000, 86400, 190000)
    told = ["5 s", "10 s", "55 s", "1 min", "2 min", "1 h", "1 h", "1 h 10 min", "1 d", "2 d 5 h"]
    assert [about(each) for each in seconds] == told


def rows(step: int) -> Sequence[Row]:
    return [metric_row(step, 0, 0.0, {"accuracy/train": 0.5, "accuracy/test": 0.25})]


def trained(display: ProgressDisplay, clock: Clock) -> None:
    """Follows the first of two populations for a while."""
    display.started(["a condition with a long name"] * 3, 0, 1_000_000)
    display.compiled("advance", 0.1, True)
    for step in (10_000, 20_000):
        clock.now += 40
        display.advanced(step, rows(step))


def display_of(console: Console, clock: Clock) -> ProgressDisplay:
    works = [Work((name,) * 3, 1_000_000, None, "p") for name in ("a condition with a long name", "another")]
    return ProgressDisplay(console, Preemption(), TimeLeft(works, clock))


@pytest.mark.parametrize("width", [120, 80, 60, 44])
def test_step_and_time_left_are_shown_at_any_width(width: int) -> None:
    console, clock = Console(file=io.StringIO(), force_terminal=True, width=width), Clock()
    display = display_of(console, clock)
    trained(display, clock)
    with console.capture() as shown:
        console.print(*display.progress.get_renderables(), sep="\n")
    lines = re.sub(r"\x1b\[[0-9;]*m", "", shown.get()).rstrip("\n").split("\n")
    assert max(map(len, lines)) <= width
    line = next(line for line in lines if "20000/1000000" in line)
    assert "1:05:20 left" in line  # 980,000 steps of 4 ms
    assert line.startswith("a condition")
    assert ("train 0.500  test 0.250" in line) == (width >= 80)
    if width >= 60:
        assert "population 1 of 2, about 2 h 10 min left in all" in lines[-1]


def test_a_log_has_step_speed_accuracy_and_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, file = Clock(), io.StringIO()
    monkeypatch.setattr(progress.time, "monotonic", clock)
    trained(display_of(Console(file=file), clock), clock)
    name = "a condition with a long name (3 runs)"
    assert file.getvalue().splitlines() == [
        f"{name}: from step 0 to 1000000; population 1 of 2",
        f"{name}: step 10000/1000000  750 steps/s  train 0.500  test 0.250  1:06:00 left; population 1 of 2, "
        "about 2 h 10 min left in all",
        f"{name}: step 20000/1000000  750 steps/s  train 0.500  test 0.250  1:05:20 left; population 1 of 2, "
        "about 2 h 10 min left in all",
    ]


def test_a_terminal_without_a_size_shows_the_time_left() -> None:
    code = """
from tests.test_progress import *
clock = Clock()
with display_of(Console(), clock) as display:
    trained(display, clock)
"""
    ours, theirs = pty.openpty()  # its size is 0 times 0
    environ = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
    done = subprocess.run([sys.executable, "-c", code], stdout=theirs, env=environ | {"TERM": "xterm"}, check=True)
    os.close(theirs)
    shown = b""
    try:
        while piece := os.read(ours, 4096):
            shown += piece
    except OSError:  # all has been read
        pass
    os.close(ours)
    assert done.returncode == 0
    assert b"1:05:20 left" in shown
    assert b"about 2 h 10 min left in all" in shown
