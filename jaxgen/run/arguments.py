"""How to train, as opposed to what, and who is told of it."""

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

# A chunk takes about this long: long enough to hide the dispatch, short enough to stop soon.
CHUNK_SECONDS = 0.5
RECOVERY_SECONDS = 60.0


class Interrupted(Exception):
    """The run was asked to stop; its state is saved, and the same command goes on from there."""


class Observer(Protocol):
    """Is told of the progress of training."""

    def started(self, conditions: Sequence[str], step: int, horizon: int) -> None: ...

    def compiled(self, program: str, seconds: float, cached: bool) -> None: ...

    def advanced(self, step: int, rows: Sequence[Row]) -> None: ...

    def note(self, text: str) -> None: ...

    def unsaved(self, unsaved: bool) -> None:
        """Is told whether there is now something that a kill would lose."""

    def stop_requested(self) -> bool: ...

    def save_requested(self) -> bool:
        """Returns whether a save was asked for since it was last called."""
        ...


class SilentObserver:
    """Tells nobody."""

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
    """How to run, as opposed to what: none of it changes a result."""

    layout: Layout | None = None  # None: sequential on a CPU, vmap elsewhere; a begun run keeps its own
    mesh: MeshSizes | None = None  # None: one device; of a begun run, its own
    remat: Remat | None = None  # None: none; of a begun run, its own
    microbatches: int | None = None  # None: 1; of a begun run, its own
    recovery_seconds: float = RECOVERY_SECONDS
    chunk_seconds: float = CHUNK_SECONDS
    mirrors: Callable[[PopulationDirectory, Sequence[str]], Mapping[str, Callable[[], Mirror]]] = lambda *_: {}
    workers: int = 0  # processes that make the batches of a host task; 0: a thread
    profile: Profile | None = None  # trace these steps, into the population's profile/
    resume: Literal["must", "may"] = "must"  # may: where all that was saved is damaged, start again
    allow_drift: bool = False  # resume with other versions, devices or flags, though bits may change
    keep_diff: bool = False  # write down in run.json how jaxgen's own source differs from its commit
