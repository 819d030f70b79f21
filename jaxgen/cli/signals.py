"""SIGINT and SIGTERM ask a run to save and stop; a second SIGINT ends it at once."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType

# The exit code of a run that was stopped and can be resumed (EX_TEMPFAIL).
STOPPED = 75


class StopFlag:
    """Set once the user or the machine asks to stop."""

    def __init__(self) -> None:
        self.is_set = False


@contextlib.contextmanager
def stop_on_signals() -> Iterator[StopFlag]:
    """Turns the first SIGINT or SIGTERM into a flag."""
    flag = StopFlag()

    def handle(number: int, frame: FrameType | None) -> None:
        if flag.is_set and number == signal.SIGINT:
            raise KeyboardInterrupt
        flag.is_set = True

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield flag
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
