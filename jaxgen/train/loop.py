"""Training one population: from its start or its last checkpoint, to the horizon.

The order of things, and what "at step k" means:

1. Start: the newest recovery checkpoint; else the parents' snapshots; else the initialisation.
2. `advance` makes updates; after k of them the state is "at step k". Step 0 is before the first.
3. At a measuring step k the state at k is measured, then the stopping rule may freeze a member.
4. Then a snapshot of the state at k is saved, if one is due.
5. Then a recovery checkpoint at k is saved, if one is due: rows and snapshots up to k are on disk
   before it, and mirrors are shown these rows after it. A resumed run goes on with 2.

Rows are read one chunk behind: while the device computes chunk i + 1, the host reads chunk i.
How the steps are cut into chunks never matters to the result.
"""

from __future__ import annotations

import bisect
import dataclasses
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen.config import per_member_values, to_json
from jaxgen.errors import UserError
from jaxgen.experiment import Trajectory
from jaxgen.train import environment
from jaxgen.train.checkpoint import CheckpointStore
from jaxgen.train.directory import PopulationDirectory, write_json
from jaxgen.train.metrics import MetricsFile, Mirror, Row, metric_row
from jaxgen.train.program import Constants, Layout, Program, State
from jaxgen.train.start import Start

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

    def stop_requested(self) -> bool: ...


class SilentObserver:
    """Tells nobody."""

    def started(self, conditions: Sequence[str], step: int, horizon: int) -> None: ...

    def compiled(self, program: str, seconds: float, cached: bool) -> None: ...

    def advanced(self, step: int, rows: Sequence[Row]) -> None: ...

    def note(self, text: str) -> None: ...

    def stop_requested(self) -> bool:
        return False


@dataclasses.dataclass(frozen=True)
class RunArguments:
    """How to run, as opposed to what: none of it changes a result."""

    layout: Layout | None = None  # None: sequential on a CPU, vmap elsewhere; a begun run keeps its own
    recovery_seconds: float = RECOVERY_SECONDS
    chunk_seconds: float = CHUNK_SECONDS
    mirrors: Callable[[PopulationDirectory, Sequence[str], MetricsFile], list[Mirror]] = lambda *_: []


def member_name(condition: str, seed: int) -> str:
    """Returns a member's name, also fit for a file name."""
    return f"{condition.replace(' ', '_')}.{seed}"


def train(
    path: Path,
    members: Sequence[Trajectory],
    *,
    horizon: int,
    snapshot_steps: set[int],
    starts: Sequence[Start | None],
    observer: Observer,
    arguments: RunArguments,
) -> None:
    """Trains a population to the step `horizon`, or goes on with it.

    Args:
      path: the population's directory.
      members: its members; a begun population's own, in their order.
      horizon: the last step.
      snapshot_steps: steps whose parameters are kept; the last one always is.
      starts: where each member starts from, None for the model's initialisation.
      observer: is told of the progress.
      arguments: how to run.

    Raises:
      Interrupted: the observer asked to stop, and the state is saved.
      UserError: another process trains here, or a checkpoint does not fit.
    """
    directory = PopulationDirectory(path)
    with directory.lock():
        _Training(directory, members, horizon, snapshot_steps, starts, observer, arguments).run()


class _Training:
    def __init__(
        self,
        directory: PopulationDirectory,
        members: Sequence[Trajectory],
        horizon: int,
        snapshot_steps: set[int],
        starts: Sequence[Start | None],
        observer: Observer,
        arguments: RunArguments,
    ):
        self.directory, self.members, self.horizon = directory, members, horizon
        self.observer, self.arguments = observer, arguments
        self.names = [member_name(member.condition.name, member.seed) for member in members]
        self.condition = members[0].condition
        self.measure_steps = set(self.condition.measure_at.steps(horizon))
        self.snapshot_steps = {step for step in snapshot_steps if step <= horizon}
        self.boundaries = sorted(self.measure_steps | self.snapshot_steps | {horizon})
        layout = self._begin_directory()
        self.program = Program(self.condition, layout)
        self.constants = stack_constants(members, starts)
        self.params = _stack([start.params for start in starts if start is not None])
        self.metrics = MetricsFile(directory.metrics_file)
        self.recovery = CheckpointStore(directory.path / "recovery", keep=2)
        self.snapshots = CheckpointStore(directory.path / "snapshots")
        self.unmirrored: list[Row] = []
        self.going = np.ones(len(members), bool)
        self.failed: set[int] = set()
        self.seconds_before = directory.status()["seconds"]
        self.began = time.monotonic()
        self.saved_at = time.monotonic()

    def _begin_directory(self) -> Layout:
        if self.directory.exists():
            layout: Layout = self.directory.run()["layout"]
            return layout
        platform = jax.devices()[0].platform
        layout = self.arguments.layout or ("sequential" if platform == "cpu" else "vmap")
        members = [
            {"condition": member.condition.name, "seed": member.seed, "identity": member.identity,
             "parent": member.parent and member.parent.identity, "settings": to_json(member.condition)}
            for member in self.members
        ]  # fmt: skip
        facts = {"layout": layout, "members": members, **environment.describe()}
        write_json(self.directory.run_file, facts)
        return layout

    def run(self) -> None:
        step, state = self._start()
        mirrors = self.arguments.mirrors(self.directory, self.names, self.metrics)
        try:
            self.observer.started([member.condition.name for member in self.members], step, self.horizon)
            self._compile(state)
            step, state = self._advance_to_horizon(step, state, mirrors)
            self.snapshots.save(step, _parameters(state))
            self._save(step, state, mirrors, finished=True)
        finally:
            for mirror in mirrors:
                mirror.close()
            self.recovery.close()
            self.snapshots.close()

    def _start(self) -> tuple[int, State]:
        steps = self.recovery.steps()
        if not steps:
            self.metrics.truncate(-1)
            self.directory.event("started", step=0)
            return 0, self.program.init(self.constants, self.params)
        step = steps[-1]
        like = jax.eval_shape(self.program.init, self.constants, self.params)
        # Copied, because the program may free what it is given, and numpy's memory is not its own.
        state = jax.tree.map(lambda leaf: jnp.array(leaf, copy=True), self.recovery.restore(step, like))
        self.metrics.truncate(step)
        self.directory.event("resumed", step=step)
        return step, state

    def _compile(self, state: State) -> None:
        self.advance = self._compiled("advance", self.program.advance, state, self.constants, jnp.int32(1))
        self.measure = self._compiled("measure", self.program.measure, state, self.constants)

    def _compiled(self, name: str, function: Any, *args: Any) -> Callable[..., Any]:
        began, hits = time.monotonic(), environment.cache_hits()
        compiled: Callable[..., Any] = function.lower(*args).compile()
        seconds, cached = time.monotonic() - began, environment.cache_hits() > hits
        self.directory.event("compiled", program=name, seconds=round(seconds, 3), cached=cached)
        self.observer.compiled(name, seconds, cached)
        return compiled

    def _advance_to_horizon(self, step: int, state: State, mirrors: list[Mirror]) -> tuple[int, State]:
        unread: deque[tuple[int, Any, dict[str, Any] | None]] = deque()
        chunk, read_at = 1, time.monotonic()
        if step == 0:
            state, first = self._measured(state)
            unread.append((0, state.step + 0, first))
            if 0 in self.snapshot_steps:
                self.snapshots.save(0, _parameters(state))
        while step < self.horizon:
            boundary = self.boundaries[bisect.bisect_right(self.boundaries, step)]
            steps = min(boundary - step, chunk)
            state, token = self.advance(state, self.constants, np.int32(steps))
            step += steps
            row: dict[str, Any] | None = None
            if step in self.measure_steps:
                state, row = self._measured(state)
            unread.append((step, token, row))
            while len(unread) > 1:
                self._read(*unread.popleft())
            now = time.monotonic()
            if now - read_at < self.arguments.chunk_seconds / 2:
                chunk *= 2
            elif now - read_at > self.arguments.chunk_seconds * 2:
                chunk = max(1, chunk // 2)
            read_at = now
            stop = self.observer.stop_requested()
            save = stop or now - self.saved_at >= self.arguments.recovery_seconds
            if step in self.snapshot_steps or save or not self.going.any():
                while unread:
                    self._read(*unread.popleft())
                if step in self.snapshot_steps:
                    self.snapshots.save(step, _parameters(state))
                if not self.going.any():
                    break
                if save:
                    self._save(step, state, mirrors, finished=False)
                read_at = time.monotonic()
            if stop and step < self.horizon:
                raise Interrupted(f"stopped at step {step} of {self.horizon}; the state is saved")
        while unread:
            self._read(*unread.popleft())
        return step, state

    def _measured(self, state: State) -> tuple[State, dict[str, Any]]:
        row, active, hits = self.measure(state, self.constants)
        return state._replace(active=active, hits=hits), row

    def _read(self, step: int, token: Any, row: dict[str, Any] | None) -> None:
        """Waits for a chunk, and writes its rows: those of members that have come as far as `step`."""
        reached_M = np.asarray(token)
        if row is None:
            self.observer.advanced(step, [])
            return
        values = {key: np.asarray(column) for key, column in row.items()}
        failed_M, active_M = values.pop("failed"), values.pop("active")
        for i in np.flatnonzero(failed_M).tolist():
            if i not in self.failed:
                self.failed.add(i)
                at = int(reached_M[i])
                self.directory.event("failed", member=i, step=at)
                name, seed = self.members[i].condition.name, self.members[i].seed
                self.observer.note(f"{name}, seed {seed}: the loss was not finite at step {at}; it is frozen there")
        now = time.time()
        rows = [
            metric_row(step, i, now, {key: float(column[i]) for key, column in values.items()})
            for i in range(len(self.members))
            if reached_M[i] == step
        ]
        self.going = active_M.copy()
        self.metrics.append(rows)
        self.unmirrored += rows
        self.observer.advanced(step, rows)

    def _save(self, step: int, state: State, mirrors: list[Mirror], *, finished: bool) -> None:
        self.recovery.save(step, state)
        for mirror in mirrors:
            mirror.write(self.unmirrored)
        self.unmirrored = []
        self.saved_at = time.monotonic()
        steps, failed, active = (np.asarray(part).tolist() for part in (state.step, state.failed, state.active))
        members = [
            {"step": s, "state": "failed" if f else "going" if a else "stopped"}
            for s, f, a in zip(steps, failed, active, strict=True)
        ]
        seconds = round(self.seconds_before + self.saved_at - self.began, 2)
        status = {"step": step, "horizon": self.horizon, "finished": finished, "seconds": seconds, "members": members}
        write_json(self.directory.status_file, status)


def _parameters(state: State) -> dict[str, Any]:
    return {"params": state.params, **state.model_state}


def _stack(trees: Sequence[Any]) -> Any:
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees) if trees else None


def stack_constants(members: Sequence[Trajectory], starts: Sequence[Start | None]) -> Constants:
    """Returns the tables, numbers and masks of the members, stacked on a leading axis."""
    if any(start is None for start in starts) and any(start is not None for start in starts):
        raise UserError("a population's members start all from a parent or all from an initialisation")
    masks = [start.mask for start in starts if start is not None and start.mask is not None]
    return _stack(
        [
            Constants(
                splits={name: jax.tree.map(jnp.asarray, split) for name, split in table.items()},
                scalars={path: jnp.float32(value) for path, value in per_member_values(member.condition).items()},
                seed=jnp.int32(member.seed),
                mask=mask,
            )
            for member, table, mask in zip(
                members,
                (member.condition.task.table(member.seed) for member in members),
                masks or [None] * len(members),
                strict=True,
            )
        ]
    )
