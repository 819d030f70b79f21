"""Reads what the device has computed: which members are active, how fast it was, and rows for disk and mirrors."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxgen.condition import Trajectory
from jaxgen.distributed.mesh import on_host
from jaxgen.errors import UserError
from jaxgen.run.arguments import Observer
from jaxgen.run.directory import PopulationDirectory
from jaxgen.run.mirrors import Mirror
from jaxgen.run.rows import MetricsFile, Row, metric_row
from jaxgen.run.throughput import Throughput
from jaxgen.run.watchdog import Watchdog


class Chunk(NamedTuple):
    """Updates that were dispatched and whose results are not read yet."""

    step: int  # reached by these updates
    steps: int
    token: Any  # (M,): the steps reached by the members
    row: dict[str, Any] | None  # measured after the updates
    began: float  # when the updates were dispatched
    ended: float | None  # when the updates were done, if that was before the dispatch returned


class Reader:
    """Reads chunks in order. Only the first of several processes writes rows (`metrics`) and has mirrors."""

    def __init__(self, members: Sequence[Trajectory], directory: PopulationDirectory, observer: Observer):
        self.members, self.directory, self.observer = members, directory, observer
        self.metrics: MetricsFile | None = None
        self.mirrors: list[Mirror] = []
        self.going = np.ones(len(members), bool)
        self._failed: set[int] = set()
        self._unmirrored: list[Row] = []
        self._mirrored = 0  # rows so far
        self._warned: tuple[str, float] = ("", 0.0)
        self._read_at = 0.0  # when the device had finished the last chunk read

    def read(self, chunk: Chunk, throughput: Throughput, watchdog: Watchdog) -> None:
        """Waits for a chunk, and writes the rows of the members that have reached its step."""
        step = chunk.step
        reached_M = on_host(chunk.token)
        watchdog.heard()
        if chunk.steps > 0 and chunk.ended is not None:
            throughput.add(chunk.steps, chunk.ended - chunk.began)
        elif chunk.steps > 0:
            # The device began this chunk after it finished the one read before.
            throughput.add(chunk.steps, time.monotonic() - max(chunk.began, self._read_at))
        values = {key: np.asarray(column) for key, column in (chunk.row or {}).items()}
        self._read_at = time.monotonic()
        if chunk.row is None:
            self.observer.advanced(step, [])
            return
        failed_M, active_M = values.pop("failed"), values.pop("active")
        self._tell_failed(failed_M, reached_M)
        now = time.time()
        rows = [
            metric_row(step, i, now, {key: float(column[i]) for key, column in values.items()})
            for i in range(len(self.members))
            if reached_M[i] == step
        ]
        self.going = active_M.copy()
        if self.metrics:
            self._unmirrored += rows
            try:
                self.metrics.append(rows)
            except OSError as error:
                self.warn(f"rows are kept in memory because they cannot be written: {error}")
        self.observer.advanced(step, rows)

    def _tell_failed(self, failed_M: np.ndarray, reached_M: np.ndarray) -> None:
        for i in np.flatnonzero(failed_M).tolist():
            if i not in self._failed:
                self._failed.add(i)
                at = int(reached_M[i])
                self.directory.event("failed", member=i, step=at)
                name, seed = self.members[i].condition.name, self.members[i].seed
                self.observer.note(
                    f"{name}, seed {seed}: training gave numbers that are not finite at step {at}; it is frozen there"
                )

    @property
    def rows(self) -> int:
        """The number of rows so far, whether mirrors have them or not."""
        return self._mirrored + len(self._unmirrored)

    def show_mirrors(self, rows: int) -> None:
        """Shows the mirrors the first `rows` rows. A mirror that fails is left out from then on."""
        covered = self._unmirrored[: rows - self._mirrored]
        for mirror in tuple(self.mirrors):
            self.mirrors.remove(mirror)
            with self.left_out(type(mirror).__name__):
                mirror.write(covered)
                self.mirrors.append(mirror)
        del self._unmirrored[: len(covered)]
        self._mirrored = rows

    @contextlib.contextmanager
    def left_out(self, name: str) -> Iterator[None]:
        """Reports a mirror that fails. Training continues whatever the error is."""
        try:
            yield
        except UserError:
            raise
        except Exception as error:
            self.observer.note(f"{name} is left out until the run is resumed: {error}")

    def warn(self, text: str) -> None:
        """Reports a problem at once, and then at most once a minute."""
        said, at = self._warned
        if text != said or time.monotonic() - at > 60:
            self._warned = (text, time.monotonic())
            self.directory.event("warning", text=text)
            self.observer.note(text)

    def close(self) -> None:
        if self.metrics:
            self.metrics.close()
        for mirror in self.mirrors:
            with self.left_out(type(mirror).__name__):
                mirror.close()
