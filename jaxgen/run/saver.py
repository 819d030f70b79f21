"""Saving in the background: the device computes on while files are written and synced."""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from jaxgen.run.checkpoint import CheckpointStore, SaveError


@dataclasses.dataclass(frozen=True)
class Save:
    """One checkpoint to be written."""

    store: CheckpointStore
    step: int
    leaves: Any  # on the host; only the saver uses them
    facts: Callable[[], Mapping[str, Any]] = dict  # called once all earlier saves are on disk
    before: Callable[[], None] = lambda: None  # called first; if it fails, nothing is written
    published: Callable[[], None] = lambda: None  # called once the checkpoint is on disk


class Saver:
    """Writes checkpoints one after another, in the order in which they were added.

    A checkpoint that fails stays first in line until `start` is called again.
    """

    def __init__(self) -> None:
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="save")
        self._line: deque[Save] = deque()
        self._attempt: Future[None] | None = None

    @property
    def waiting(self) -> int:
        """The number of checkpoints that are not on disk yet."""
        return len(self._line)

    @property
    def busy(self) -> bool:
        return self._attempt is not None and not self._attempt.done()

    def add(self, save: Save) -> None:
        self._line.append(save)

    def withdraw(self, store: CheckpointStore) -> None:
        """Removes the saves that wait for one store. Call it only when the saver is idle."""
        self._line = deque(save for save in self._line if save.store is not store)

    def start(self) -> None:
        """Starts writing the saves in line, unless that is already running."""
        if self._line and not self.busy:
            self._attempt = self._executor.submit(self._write)

    def _write(self) -> None:
        while self._line:
            save = self._line[0]
            save.before()
            save.store.save(save.step, save.leaves, save.facts())
            save.published()
            self._line.popleft()

    def wait(self) -> None:
        """Waits until everything is written, or something failed."""
        if self._attempt is not None:
            self._attempt.exception()

    def failure(self) -> str | None:
        """Returns why the last attempt ended early, and forgets it."""
        if self._attempt is None or not self._attempt.done():
            return None
        error, self._attempt = self._attempt.exception(), None
        if error is None:
            return None
        if not isinstance(error, SaveError | OSError):
            raise error
        return str(error)

    def close(self) -> None:
        self._executor.shutdown()
