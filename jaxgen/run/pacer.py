"""Cuts the steps into chunks. The result never depends on how."""

from __future__ import annotations

import bisect
import time
from collections.abc import Collection


class Pacer:
    """Sizes chunks to take about `seconds`, and to end at every boundary.

    Args:
      boundaries: steps at which a chunk must end; the last is the horizon.
      seconds: the target duration of a chunk.
    """

    def __init__(self, boundaries: Collection[int], seconds: float):
        self.boundaries = sorted(boundaries)
        self.seconds = seconds
        self.chunk = 1
        self._read_at = time.monotonic()

    def steps(self, step: int) -> int:
        """Returns the number of steps in the chunk that begins at `step`."""
        return min(self.boundaries[bisect.bisect_right(self.boundaries, step)] - step, self.chunk)

    def restart(self) -> None:
        """Counts the time of a chunk from now."""
        self._read_at = time.monotonic()

    def adapt(self) -> None:
        """Makes chunks longer or shorter, depending on how long the last one took."""
        took = time.monotonic() - self._read_at
        if took < self.seconds / 2:
            self.chunk *= 2
        elif took > self.seconds * 2:
            self.chunk = max(1, int(self.chunk * self.seconds / took))
        self.restart()
