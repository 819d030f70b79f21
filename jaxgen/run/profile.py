"""A trace of some steps, for XProf, TensorBoard's profiler or Perfetto."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import jax

from jaxgen.errors import UserError, shown
from jaxgen.storage import links


@dataclasses.dataclass(frozen=True)
class Profile:
    """The steps to trace: from after `start` updates to after `stop` updates."""

    start: int
    stop: int

    @classmethod
    def parse(cls, text: str) -> Profile:
        """Reads `100:200`.

        Raises:
          UserError: the text is not two steps, the first before the second.
        """
        match = re.fullmatch(r"(\d{1,10}):(\d{1,10})", text)
        if match is None or int(match[1]) >= int(match[2]):
            raise UserError(f"profile: got {shown(text)}, expected START:STOP, two steps such as 100:200")
        return cls(int(match[1]), int(match[2]))


class Profiler:
    """Traces the steps of a profile. Chunks must end at both of its steps."""

    def __init__(self, profile: Profile | None, path: Path):
        self._profile = profile
        self._path = path
        self._tracing = False

    def boundaries(self) -> set[int]:
        """Returns the steps at which chunks must end."""
        return {self._profile.start, self._profile.stop} if self._profile else set()

    def reached(self, step: int) -> None:
        """Starts or stops the trace at the step where the next chunk begins. Before a stop, all earlier chunks must
        have ended."""
        if self._profile is None:
            return
        if step == self._profile.start:
            links.check(self._path)
            jax.profiler.start_trace(str(self._path))
            self._tracing = True
        else:
            self.close()

    def close(self) -> None:
        """Ends a trace that is still being written."""
        if self._tracing:
            self._tracing = False
            jax.profiler.stop_trace()
