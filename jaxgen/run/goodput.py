"""Measures how a run spends its time."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator, Mapping

# The activities of the process, in the order of the report.
ACTIVITIES = ("training", "input", "compiling", "saving", "restoring", "waiting")


class Stopwatch:
    """Counts the seconds of each activity of the main thread. Time in no other activity counts as training.

    Args:
      before: the seconds by activity of the run's earlier processes.
    """

    def __init__(self, before: Mapping[str, float]):
        self._seconds = {activity: before.get(activity, 0.0) for activity in ACTIVITIES}
        self._activity = "training"
        self._since = time.monotonic()
        self._lock = threading.Lock()  # any thread may ask

    @contextlib.contextmanager
    def during(self, activity: str) -> Iterator[None]:
        """Counts the time inside as an activity; the innermost of nested ones counts."""
        outer = self._switch(activity)
        try:
            yield
        finally:
            self._switch(outer)

    def seconds(self) -> dict[str, float]:
        """Returns the seconds of each activity so far, including earlier processes."""
        with self._lock:
            self._count()
            return {activity: round(seconds, 3) for activity, seconds in self._seconds.items()}

    def _switch(self, activity: str) -> str:
        with self._lock:
            self._count()
            before, self._activity = self._activity, activity
            return before

    def _count(self) -> None:
        now = time.monotonic()
        self._seconds[self._activity] += now - self._since
        self._since = now


def goodput(seconds: Mapping[str, float]) -> str:
    """Describes a run's total time, the share of training in it, and the other activities."""
    total = sum(seconds.values())
    if not total:
        return "no time was spent"
    rest = [f"{name} {_duration(seconds[name])}" for name in ACTIVITIES[1:] if seconds.get(name, 0) >= 0.05]
    share = f"{_duration(total)}, {100 * seconds.get('training', 0) / total:.1f} % of it training"
    return f"{share} ({', '.join(rest)})" if rest else share


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
