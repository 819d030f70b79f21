"""Shows where a run hangs: writes the stacks of all its threads if no chunk has ended for unusually long."""

from __future__ import annotations

import faulthandler
import sys
import time

LEAST_SECONDS = 300.0
TIMES_LONGEST = 20.0


class Watchdog:
    """Writes all stacks to standard error after a silence of 5 minutes, or of 20 times the longest silence so far.

    faulthandler writes them from a thread that needs no Python, because the hanging code may hold the interpreter.
    """

    def __init__(self) -> None:
        self._last = time.monotonic()
        self._longest = 0.0
        self.heard()

    def heard(self) -> None:
        """Restarts the timer: a chunk has ended."""
        now = time.monotonic()
        self._longest = max(self._longest, now - self._last)
        self._last = now
        if sys.__stderr__ is not None:
            limit = max(LEAST_SECONDS, TIMES_LONGEST * self._longest)
            faulthandler.dump_traceback_later(limit, repeat=True, file=sys.__stderr__)

    def close(self) -> None:
        """Stops watching."""
        faulthandler.cancel_dump_traceback_later()
