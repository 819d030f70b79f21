"""The options of a run, none of which changes a result, and the observer that follows its progress."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, Protocol

from jaxgen.distributed.mesh import MeshSizes
from jaxgen.run.directory import PopulationDirectory
from jaxgen.run.mirrors import Mirror
from jaxgen.run.profile import Profile
from jaxgen.run.rows import Row
from jaxgen.train.program import Layout
from jaxgen.train.savings import Remat

# The target duration of a chunk: long enough to hide the dispatch, short enough to stop soon.
CHUNK_SECONDS = 0.5
RECOVERY_SECONDS = 60.0


class Interrupted(Exception):
    """The run was asked to stop. Its state is saved, and the same command resumes it."""


class Observer(Protocol):
    """Receives the progress of training."""

    def started(self, conditions: Sequence[str], step: int, horizon: int) -> None: ...

    def compiled(self, program: str, seconds: float, cached: bool) -> None: ...

    def advanced(self, step: int, rows: Sequence[Row]) -> None: ...

    def note(self, text: str) -> None: ...

    def unsaved(self, unsaved: bool) -> None:
        """Receives whether a kill would now lose something."""

    def stop_requested(self) -> bool: ...

    def save_requested(self) -> bool:
        """Returns whether a save was requested since the last call."""
        ...


class SilentObserver:
    """Ignores all progress."""

    def started(self, conditions: Sequence[str], step: int, horizon: int) -> None: ...

    def compiled(self, program: str, seconds: float, cached: bool) -> None: ...

    def advanced(self, step: int, rows: Sequence[Row]) -> None: ...

    def note(self, text: str) -> None: ...

    def unsaved(self, unsaved: bool) -> None: ...

    def stop_requested(self) -> bool:
        return False

    def save_requested(self) -> bool:
        return False


@dataclasses.dataclass(frozen=True)
class RunArguments:
    """The options of a run; none of them changes a result."""

    layout: Layout | None = None  # None: sequential on a CPU, vmap elsewhere; a resumed run keeps its own
    mesh: MeshSizes | None = None  # None: one device; a resumed run keeps its own
    remat: Remat | None = None  # None: none; a resumed run keeps its own
    microbatches: int | None = None  # None: 1; a resumed run keeps its own
    recovery_seconds: float = RECOVERY_SECONDS
    chunk_seconds: float = CHUNK_SECONDS
    mirrors: Callable[[PopulationDirectory, Sequence[str]], Mapping[str, Callable[[], Mirror]]] = lambda *_: {}
    workers: int = 0  # processes that make the batches of a host task; 0: a thread
    profile: Profile | None = None  # trace these steps, into the population's profile/
    resume: Literal["must", "may"] = "must"  # may: start again if every checkpoint is damaged
    allow_drift: bool = False  # resume with other versions, devices or flags, though bits may change
    keep_diff: bool = False  # write the diff between jaxgen's source and its commit to run.json
