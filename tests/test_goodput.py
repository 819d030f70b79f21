"""Where the time goes."""

import contextlib

import pytest

from jaxgen.run import goodput
from jaxgen.run.goodput import Stopwatch


def test_the_inner_activity_counts_and_nothing_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(goodput.time, "monotonic", lambda: now[0])
    watch = Stopwatch({"training": 10.0, "waiting": 1.0})
    now[0] += 3
    with watch.during("saving"):
        now[0] += 2
        with watch.during("waiting"):
            now[0] += 5
        now[0] += 1
    with contextlib.suppress(InterruptedError), watch.during("compiling"):
        now[0] += 4
        raise InterruptedError
    now[0] += 7
    seconds = watch.seconds()
    spent = {"training": 20.0, "compiling": 4.0, "saving": 3.0, "waiting": 6.0}
    assert seconds == {"input": 0.0, "restoring": 0.0} | spent
    assert watch.seconds() == seconds
    assert goodput.goodput(seconds) == "33.0 s, 60.6 % of it training (compiling 4.0 s, saving 3.0 s, waiting 6.0 s)"
