"""Training one population: from its start or its last checkpoint, to the horizon.

The order of things, and what "at step k" means:

1. Start: the newest intact recovery checkpoint; where nothing was ever saved, the parents'
   snapshots or the initialisation. If every checkpoint is damaged, the run refuses to start.
2. `advance` makes updates; after k of them the state is "at step k". Step 0 is before the first.
3. At a measuring step k the state at k is measured, then the stopping rule may freeze a member. The last steps of
   conditions are measured too; the rule ignores those that are not in the schedule.
4. Then a snapshot of the state at k is saved, if one is due.
5. Then a recovery checkpoint at k is saved, if one is due: rows and snapshots up to k are on disk
   before it; mirrors and status.json are updated after it. A resumed run drops rows and snapshots beyond k, and
   continues with 2.

Rows are read one chunk behind: while the device computes chunk i + 1, the host reads chunk i.
Checkpoints are written in the background, from a copy of the state.
Only the first of several processes writes. Before each chunk the processes agree on its length, and on whether to save
or to stop after it. The result never depends on how the steps are cut into chunks.
"""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen.condition import Trajectory
from jaxgen.distributed import environment, processes
from jaxgen.distributed.mesh import MeshSizes
from jaxgen.models.attention import kernels_taken
from jaxgen.run.arguments import Observer, RunArguments
from jaxgen.run.begin import begin, kernels
from jaxgen.run.directory import PopulationDirectory
from jaxgen.run.goodput import Stopwatch
from jaxgen.run.keeper import Keeper
from jaxgen.run.pacer import Pacer
from jaxgen.run.profile import Profiler
from jaxgen.run.reader import Chunk, Reader
from jaxgen.run.throughput import Throughput
from jaxgen.run.watchdog import Watchdog
from jaxgen.starts.transforms import Start
from jaxgen.storage.files import file_names
from jaxgen.train.constants import stack, stack_constants
from jaxgen.train.feed import HostFeed
from jaxgen.train.flops import matmul_flops
from jaxgen.train.program import Program
from jaxgen.train.savings import Savings
from jaxgen.train.state import State


def member_names(members: Sequence[Trajectory]) -> list[str]:
    """Returns the members' names, also fit for file names."""
    return [
        f"{name}.{member.seed}"
        for name, member in zip(file_names([each.condition.name for each in members]), members, strict=True)
    ]


def train(
    path: Path,
    members: Sequence[Trajectory],
    *,
    horizon: int,
    snapshot_steps: set[int],
    starts: Sequence[Start | None],
    observer: Observer,
    arguments: RunArguments,
    ends: Collection[int] = (),
) -> None:
    """Trains a population to the step `horizon`, or resumes it.

    Args:
      path: the population's directory.
      members: its members; of a resumed population, its own in their order.
      horizon: the last step.
      snapshot_steps: steps whose parameters are kept; the last one always is.
      starts: the start of each member; None for the model's initialisation.
      observer: receives the progress.
      arguments: the options of the run.
      ends: the last steps of shorter conditions that share a member; these steps are measured beside the schedule.

    Raises:
      Interrupted: the observer asked to stop, and the state is saved.
      UserError: another process trains here; or the checkpoints are damaged, do not fit, or were made by other
        versions.
    """
    directory = PopulationDirectory(path)
    with directory.lock(observer.note):
        measured = {horizon, *ends}
        _Training(directory, members, horizon, measured, snapshot_steps, starts, observer, arguments).run()


class _Training:
    def __init__(
        self,
        directory: PopulationDirectory,
        members: Sequence[Trajectory],
        horizon: int,
        ends: set[int],
        snapshot_steps: set[int],
        starts: Sequence[Start | None],
        observer: Observer,
        arguments: RunArguments,
    ):
        self.directory, self.members, self.horizon = directory, members, horizon
        self.observer, self.arguments = observer, arguments
        self.condition = members[0].condition
        self.scheduled = self.condition.measure_at.grid(horizon)
        self.measure_steps = self.scheduled | {step for step in ends if step <= horizon}
        self.snapshot_steps = {step for step in snapshot_steps if step <= horizon}
        self.profiler = Profiler(arguments.profile, directory.path / "profile")
        boundaries = self.measure_steps | self.snapshot_steps | self.profiler.boundaries() | {horizon}
        self.boundaries = {step for step in boundaries if step <= horizon}
        how = processes.told(lambda: begin(directory, members, arguments))
        sizes, savings = MeshSizes.parse(how["mesh"]), Savings(remat=how["remat"], microbatches=how["microbatches"])
        self.program = Program(self.condition, how["layout"], sizes.build(), savings)
        self.constants = self.program.place(stack_constants(members, starts))
        self.given = self.program.place_start(stack([start.variables() for start in starts if start is not None]))
        status = processes.told(directory.status)
        self.stopwatch = Stopwatch(status["seconds"])
        where = {} if self.condition.numerics.logical_shards else environment.topology() | {"mesh": str(sizes)}
        fingerprint = environment.fingerprint() | where | savings.facts() | kernels_taken(kernels(self.condition))
        self.reader = Reader(members, directory, observer)
        self.keeper = Keeper(directory, self.reader, self.stopwatch, status, fingerprint, horizon, observer, arguments)
        self.feed: HostFeed | None = None  # of a host task

    def run(self) -> None:
        with self.stopwatch.during("restoring"):
            step, state = self._start()
            if processes.is_first():
                self._open_mirrors()
        with contextlib.closing(self.reader), contextlib.closing(self.keeper.saver):
            self.observer.started([member.condition.name for member in self.members], step, self.horizon)
            with self.stopwatch.during("compiling"):
                self._compile(state)
                processes.gathered(None)  # the first collective; it waits at most 30 s for a process
            self.observer.unsaved(True)
            self.watchdog = Watchdog()
            if self.constants.feed is not None:
                self.feed = HostFeed(self.members, self.program.mesh, step, self.horizon, self.arguments.workers)
            try:
                step, state = self._advance_to_horizon(step, state)
            finally:
                self.watchdog.close()
                self.profiler.close()
            self.keeper.finish(step, state)
            self.observer.unsaved(False)

    def _open_mirrors(self) -> None:
        for name, make in self.arguments.mirrors(self.directory, member_names(self.members)).items():
            with self.reader.left_out(name):
                self.reader.mirrors.append(make())

    def _start(self) -> tuple[int, State]:
        step = self.keeper.begin()
        if step is None:
            with self.stopwatch.during("compiling"):
                return 0, jax.block_until_ready(self.program.init(self.constants, self.given))
        like = jax.eval_shape(self.program.init, self.constants, self.given)
        return step, self.program.place_state(self.keeper.recovery.restore(step, like))

    def _compile(self, state: State) -> None:
        traced = self.program.advance.trace(state, self.constants, jnp.int32(1))
        flops = matmul_flops(traced.jaxpr.jaxpr)  # of one step: the loop over the steps counts as one iteration
        self.keeper.throughput = Throughput(flops, self.condition.numerics, self.program.mesh.size)
        self.advance = self._compiled("advance", traced)
        self.measure = self._compiled("measure", self.program.measure.trace(state, self.constants, np.bool_(True)))

    def _compiled(self, name: str, traced: Any) -> Callable[..., Any]:
        began, hits = time.monotonic(), environment.cache_hits()
        compiled: Callable[..., Any] = traced.lower().compile()
        seconds, cached = time.monotonic() - began, environment.cache_hits() > hits
        self.directory.event("compiled", program=name, seconds=round(seconds, 3), cached=cached)
        self.observer.compiled(name, seconds, cached)
        return compiled

    def _advance_to_horizon(self, step: int, state: State) -> tuple[int, State]:
        keeper, pacer = self.keeper, Pacer(self.boundaries, self.arguments.chunk_seconds)
        unread: deque[Chunk] = deque()
        save_due = False
        if step == 0:
            state, first = self._measured(0, state)
            unread.append(Chunk(0, 0, state.step + 0, first, began=time.monotonic(), ended=None))
            if 0 in self.snapshot_steps:
                keeper.add_snapshot(0, state)
        while step < self.horizon:
            if step in self.profiler.boundaries():
                self._read(unread, leave=0)
                self.profiler.reached(step)
            state, chunk = self._dispatch(step, state, pacer)
            step = chunk.step
            unread.append(chunk)
            self._read(unread, leave=1)
            pacer.adapt()
            stop, save_due, busy = self._agree(pacer, save_due=save_due)
            save = save_due and not busy
            if step in self.snapshot_steps or save or stop or not self.reader.going.any():
                self._read(unread, leave=0)
                if step in self.snapshot_steps:
                    keeper.add_snapshot(step, state)
                if not self.reader.going.any():
                    break
                if stop and step < self.horizon:
                    keeper.save_and_leave(step, state)
                if save:
                    save_due = False
                    keeper.begin_save(step, state)
                pacer.restart()
            keeper.tend()
        self._read(unread, leave=0)
        return step, state

    def _dispatch(self, step: int, state: State, pacer: Pacer) -> tuple[State, Chunk]:
        """Dispatches the updates of a chunk, and the measures after them if they are due."""
        steps = pacer.steps(step)
        if self.feed is not None:
            steps = min(steps, self._fed(self.feed, step) - step)
        began = time.monotonic()
        state, token = self.advance(state, self.constants, np.int32(steps))
        ended = time.monotonic() if token.is_ready() else None
        step += steps
        row: dict[str, Any] | None = None
        if step in self.measure_steps:
            state, row = self._measured(step, state)
        return state, Chunk(step, steps, token, row, began, ended)

    def _agree(self, pacer: Pacer, *, save_due: bool) -> tuple[bool, bool, bool]:
        """Makes all processes agree on the next chunk. Returns whether to stop, whether a save is due, and whether one
        is being written."""
        save_due |= self.observer.save_requested() or self.keeper.is_due()
        wishes = processes.gathered([pacer.chunk, self.observer.stop_requested(), save_due, self.keeper.saver.busy])
        pacer.chunk = wishes[0][0]
        stop, save_due, busy = (any(wish[i] for wish in wishes) for i in (1, 2, 3))
        return stop, save_due, busy

    def _read(self, unread: deque[Chunk], *, leave: int) -> None:
        """Reads all chunks but the last `leave`."""
        while len(unread) > leave:
            self.reader.read(unread.popleft(), self.keeper.throughput, self.watchdog)

    def _fed(self, feed: HostFeed, step: int) -> int:
        """Makes sure that the batch of a step is ready, and returns the first step whose batch is not."""
        if step >= feed.end:
            with self.stopwatch.during("input"):
                self.constants = self.constants._replace(feed=feed.next())
        return feed.end

    def _measured(self, step: int, state: State) -> tuple[State, dict[str, Any]]:
        row, ends = self.measure(state, self.constants, np.bool_(step in self.scheduled))
        return state._replace(**ends._asdict()), row
