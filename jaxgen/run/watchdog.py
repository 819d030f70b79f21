"""Says where a run hangs: the stacks of all its threads, once no chunk has ended for far longer than any took."""

from __future__ import annotations

import faulthandler
import sys
import time

LEAST_SECONDS = 300.0
TIMES_LONGEST = 20.0


class Watchdog:
    """Writes all stacks to standard error where nothing is heard for 5 minutes, or 20 times the longest silence so far.

    The writing is faulthandler's, from a thread that needs no Python: what hangs may hold the interpreter.
    """

    def __init__(self) -> None:
        self._last = time.monotonic()
        self._longest = 0.0
        self.heard()

    def heard(self) -> None:
        """Is told that a chunk has ended."""
        now = time.monotonic()
        self._longest = max(self._longest, now - self._last)
        self._last = now
        if sys.__stderr__ is not None:
            limit = max(LEAST_SECONDS, TIMES_LONGEST * self._longest)
            faulthandler.dump_traceback_later(limit, repeat=True, file=sys.__stderr__)

    def close(self) -> None:
        """Stops watching."""
        faulthandler.cancel_dump_traceback_later()
