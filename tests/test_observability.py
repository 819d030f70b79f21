"""Traces of chosen steps, and the stacks of a run that hangs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from jaxgen.errors import UserError
from jaxgen.run.arguments import Interrupted
from jaxgen.run.profile import Profile
from tests.test_reproduce import Stopper, assert_same_runs, run

HANGS = """
import time
from jaxgen.run import watchdog

watchdog.LEAST_SECONDS = 0.2

def the_device_does_not_answer():
    time.sleep(2.0)

def it_is_over():
    time.sleep(1.0)

dog = watchdog.Watchdog()
dog.heard()
the_device_does_not_answer()
dog.close()
it_is_over()
"""


def test_a_hang_shows_all_stacks_until_it_is_over() -> None:
    done = subprocess.run([sys.executable, "-c", HANGS], capture_output=True, text=True, check=True)
    assert "the_device_does_not_answer" in done.stderr
    assert "it_is_over" not in done.stderr


@pytest.mark.parametrize("text", ["10", "20:10", "10:10", "-1:5", "a:b"])
def test_a_profile_that_cannot_be_read(text: str) -> None:
    with pytest.raises(UserError, match="expected START:STOP"):
        Profile.parse(text)


@pytest.mark.long
def test_a_profiled_run_is_the_same_and_leaves_a_trace(tiny: Path) -> None:
    run(tiny / "plain")
    run(tiny / "traced", profile=Profile.parse("7:13"))
    assert_same_runs(tiny / "plain", tiny / "traced")
    assert list((tiny / "traced").rglob("profile/**/*.xplane.pb"))


@pytest.mark.long
def test_a_run_that_is_stopped_within_a_trace_ends_it(tiny: Path) -> None:
    with pytest.raises(Interrupted):
        run(tiny / "cut", Stopper(9), profile=Profile.parse("5:30"))
    run(tiny / "cut", profile=Profile.parse("15:18"))  # a second trace can begin
    run(tiny / "plain")
    assert_same_runs(tiny / "plain", tiny / "cut")
