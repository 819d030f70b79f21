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
    """The steps whose trace is written: from after `start` updates to after `stop`."""

    start: int
    stop: int

    @classmethod
    def parse(cls, text: str) -> Profile:
        """Reads `100:200`.

        Raises:
          UserError: it is not two steps, the first before the second.
        """
        match = re.fullmatch(r"(\d{1,10}):(\d{1,10})", text)
        if match is None or int(match[1]) >= int(match[2]):
            raise UserError(f"profile: got {shown(text)}, expected START:STOP, two steps such as 100:200")
        return cls(int(match[1]), int(match[2]))


class Profiler:
    """Traces the steps of a profile; both of its steps must be ends of chunks."""

    def __init__(self, profile: Profile | None, path: Path):
        self._profile = profile
        self._path = path
        self._tracing = False

    def boundaries(self) -> set[int]:
        """Returns the steps at which chunks must end."""
        return {self._profile.start, self._profile.stop} if self._profile else set()

    def reached(self, step: int) -> None:
        """Is told the step at which the next chunk begins; all before it must have ended where a trace does."""
        if self._profile is None:
            return
        if step == self._profile.start:
            links.check(self._path)
            jax.profiler.start_trace(str(self._path))
            self._tracing = True
        else:
            self.close()

    def close(self) -> None:
        """Ends a trace that is being written."""
        if self._tracing:
            self._tracing = False
            jax.profiler.stop_trace()
