"""Training one population: from its start or its last checkpoint, to the horizon.

The order of things, and what "at step k" means:

1. Start: the newest intact recovery checkpoint; where nothing was ever saved, the parents'
   snapshots or the initialisation. Where all that was saved is damaged, the run refuses to start.
2. `advance` makes updates; after k of them the state is "at step k". Step 0 is before the first.
3. At a measuring step k the state at k is measured, then the stopping rule may freeze a member. The
   last steps of conditions are measured too; the rule overlooks those that the schedule has not.
4. Then a snapshot of the state at k is saved, if one is due.
5. Then a recovery checkpoint at k is saved, if one is due: rows and snapshots up to k are on disk
   before it; mirrors are shown these rows, and status.json tells of it, after it. A resumed run goes
   on with 2, and rows and snapshots beyond k are dropped before.

Rows are read one chunk behind: while the device computes chunk i + 1, the host reads chunk i.
Checkpoints are written in the background, from a copy of the state.
Of several processes the first one alone writes; they agree before each chunk on how long it is, and
on whether to save or to stop after it.
How the steps are cut into chunks never matters to the result.
"""

from __future__ import annotations

import bisect
import contextlib
import dataclasses
import functools
import secrets
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen.config import per_member_values, to_json
from jaxgen.errors import UserError
from jaxgen.experiment import Condition, Trajectory
from jaxgen.files import check_fields, file_names
from jaxgen.models.attention import attention_choices, kernels_taken
from jaxgen.tasks.base import checked_table
from jaxgen.train import environment, processes
from jaxgen.train.checkpoint import CheckpointStore
from jaxgen.train.directory import PopulationDirectory, saved
from jaxgen.train.feed import HostFeed, feed_like
from jaxgen.train.flops import matmul_flops
from jaxgen.train.goodput import Stopwatch
from jaxgen.train.memory import Remat, Savings, check_memory
from jaxgen.train.mesh import MeshSizes, on_host, spread_members_then_examples
from jaxgen.train.metrics import MetricsFile, Row, metric_row
from jaxgen.train.mirrors import Mirror
from jaxgen.train.profile import Profile, Profiler
from jaxgen.train.program import Constants, Layout, Program, State
from jaxgen.train.resume import drift, newest_intact
from jaxgen.train.saver import Save, Saver
from jaxgen.train.start import Start
from jaxgen.train.throughput import Throughput
from jaxgen.train.watchdog import Watchdog

# A chunk takes about this long: long enough to hide the dispatch, short enough to stop soon.
CHUNK_SECONDS = 0.5
RECOVERY_SECONDS = 60.0
# So long after a save that failed, at the end of training, it is tried again.
RETRY_SECONDS = 10.0
# So many snapshots may wait to be written before training waits for them.
MOST_WAITING = 4


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
    """Trains a population to the step `horizon`, or goes on with it.

    Args:
      path: the population's directory.
      members: its members; a begun population's own, in their order.
      horizon: the last step.
      snapshot_steps: steps whose parameters are kept; the last one always is.
      starts: where each member starts from, None for the model's initialisation.
      observer: is told of the progress.
      arguments: how to run.
      ends: the ends of conditions that share a member and are shorter, which are measured beside its schedule.

    Raises:
      Interrupted: the observer asked to stop, and the state is saved.
      UserError: another process trains here; or what was saved is damaged, does not fit, or was
        made by other versions.
    """
    directory = PopulationDirectory(path)
    with directory.lock(observer.note):
        measured = {horizon, *ends}
        _Training(directory, members, horizon, measured, snapshot_steps, starts, observer, arguments).run()


def how_to_train(directory: PopulationDirectory, members: Sequence[Trajectory], asked: RunArguments) -> dict[str, Any]:
    """Returns how a population is trained: what was asked for, else as it was begun, else by default. Writes nothing.

    Raises:
      UserError: it cannot be trained so.
    """
    condition = members[0].condition
    given = {"mesh": asked.mesh and str(asked.mesh), "remat": asked.remat, "microbatches": asked.microbatches}
    wanted = {name: value for name, value in given.items() if value is not None}
    if directory.exists():
        begun = dataclasses.asdict(Savings()) | directory.run()  # of before there were any: none
        check_fields(directory.run_file, begun, {"mesh": str, "remat": str, "microbatches": int})
        how = {name: begun[name] for name in ("layout", "mesh", "remat", "microbatches")} | wanted
    else:
        check_memory(condition, len(members))
        sizes = asked.mesh or MeshSizes()
        if asked.mesh is None and processes.count() > 1:
            sizes = spread_members_then_examples(condition, len(members), len(jax.devices()))
        invariant = condition.numerics.logical_shards is not None
        if invariant and asked.layout == "vmap":
            raise UserError("layout: got vmap, expected sequential: side by side, members' sums depend on their number")
        in_turn = invariant or jax.devices()[0].platform == "cpu"
        layout = asked.layout or ("sequential" if in_turn else "vmap")
        how = {"layout": layout, "mesh": str(sizes), **dataclasses.asdict(Savings()), **wanted}
    _attention(condition)
    sizes = MeshSizes.parse(how["mesh"])
    sizes.check(condition, len(members))
    Savings(remat=how["remat"], microbatches=how["microbatches"]).check(condition, sizes)
    sizes.build()
    there = len(jax.devices())
    if processes.count() > 1 and sizes.devices < there:
        raise UserError(f"mesh: {sizes} takes {sizes.devices} of {there} devices; of several processes it takes all")
    return how


def _attention(condition: Condition) -> dict[str, Any]:
    """Returns which kernels attention takes, and why; checks that those asked for can be taken."""
    dtype = condition.numerics.compute_dtype
    return attention_choices(condition.model, condition.task.shape(), dtype, jax.devices()[0])


class _Chunk(NamedTuple):
    """Updates that were dispatched, and are not read yet."""

    step: int  # reached by them
    steps: int
    token: Any  # (M,): the steps reached by the members
    row: dict[str, Any] | None  # measured after them
    began: float  # when they were dispatched
    ended: float | None  # when they were done, where they were by the end of the dispatch


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
        self.names = member_names(members)
        self.identities = [member.identity for member in members]
        self.condition = members[0].condition
        self.scheduled = self.condition.measure_at.grid(horizon)
        self.measure_steps = self.scheduled | {step for step in ends if step <= horizon}
        self.snapshot_steps = {step for step in snapshot_steps if step <= horizon}
        self.profiler = Profiler(arguments.profile, directory.path / "profile")
        ends = self.measure_steps | self.snapshot_steps | self.profiler.boundaries() | {horizon}
        self.boundaries = sorted(step for step in ends if step <= horizon)
        how = processes.told(self._begin_directory)
        layout, sizes = how["layout"], MeshSizes.parse(how["mesh"])
        savings = Savings(remat=how["remat"], microbatches=how["microbatches"])
        self.program = Program(self.condition, layout, sizes.build(), savings)
        self.constants = self.program.place(stack_constants(members, starts))
        self.given = self.program.place_start(_stack([start.variables() for start in starts if start is not None]))
        self.status = dict(processes.told(directory.status))
        self.stopwatch = Stopwatch(self.status["seconds"])
        where = {} if self.condition.numerics.logical_shards else environment.topology() | {"mesh": str(sizes)}
        self.fingerprint = (
            environment.fingerprint() | where | savings.facts() | kernels_taken(_attention(self.condition))
        )
        owner = processes.told(lambda: directory.owner)
        known = {int(step): digest for step, digest in self.status["recovery"].items()}
        self.recovery = CheckpointStore(directory.path / "recovery", keep=2, owner=owner, digests=known)
        self.snapshots = CheckpointStore(directory.path / "snapshots", owner=owner)
        self.saver = Saver()
        self.unmirrored: list[Row] = []
        self.mirrored = 0  # rows so far
        self.going = np.ones(len(members), bool)
        self.failed: set[int] = set()
        self.saved_at = time.monotonic()
        self.failed_at = -float("inf")
        self.warned: tuple[str, float] = ("", 0.0)
        self.feed: HostFeed | None = None  # of a host task
        self.read_at = 0.0  # when the device had done all that is read

    def _begin_directory(self) -> dict[str, Any]:
        """Returns how the population is trained, and writes down what it is where that is not done yet."""
        how = how_to_train(self.directory, self.members, self.arguments)
        if self.directory.exists():
            return how
        conditions = {member.condition.name: member.condition for member in self.members}
        settings = {name: to_json(condition) for name, condition in conditions.items()}
        members = [
            {"condition": member.condition.name, "seed": member.seed, "identity": member.identity,
             "parent": member.parent and member.parent.identity,
             "parent_steps": member.parent and member.parent.condition.steps}
            for member in self.members
        ]  # fmt: skip
        about = {
            **how,
            **_attention(self.condition),
            "wandb_id": secrets.token_hex(8),
            "settings": settings,
            "members": members,
            **environment.describe(keep_diff=self.arguments.keep_diff),
        }
        self.directory.begin(about)
        return how

    def run(self) -> None:
        with self.stopwatch.during("restoring"):
            step, state = self._start()
            self.mirrors = self._open_mirrors() if processes.is_first() else []
        try:
            self.observer.started([member.condition.name for member in self.members], step, self.horizon)
            with self.stopwatch.during("compiling"):
                self._compile(state)
                processes.gathered(None)  # the first exchange between devices waits for a late process 30 s at most
            self.observer.unsaved(True)
            self.watchdog = Watchdog()
            if self.constants.feed is not None:
                self.feed = HostFeed(self.members, self.program.mesh, step, self.horizon, self.arguments.workers)
            try:
                step, state = self._advance_to_horizon(step, state)
            finally:
                self.watchdog.close()
                self.profiler.close()
            self._finish(step, state)
            self.observer.unsaved(False)
        finally:
            self.saver.close()
            if self.metrics:
                self.metrics.close()
            for mirror in self.mirrors:
                with self._left_out(type(mirror).__name__):
                    mirror.close()

    def _open_mirrors(self) -> list[Mirror]:
        found = []
        for name, make in self.arguments.mirrors(self.directory, self.names).items():
            with self._left_out(name):
                found.append(make())
        return found

    @contextlib.contextmanager
    def _left_out(self, name: str) -> Iterator[None]:
        """Notes that a mirror fails: whatever it is, training goes on."""
        try:
            yield
        except UserError:
            raise
        except Exception as error:
            self.observer.note(f"{name} is left out until the run is resumed: {error}")

    def _start(self) -> tuple[int, State]:
        self.metrics: MetricsFile | None = None  # of the first process
        step = processes.told(self._begin_files)
        if step is None:
            with self.stopwatch.during("compiling"):
                return 0, jax.block_until_ready(self.program.init(self.constants, self.given))
        like = jax.eval_shape(self.program.init, self.constants, self.given)
        return step, self.program.place_state(self.recovery.restore(step, like))

    def _begin_files(self) -> int | None:
        """Returns the step to go on from, None to start; what was written after it is dropped."""
        start_over = self.arguments.resume == "may"
        newest = newest_intact(self.directory, self.recovery, start_over=start_over, tell=self.observer.note)
        if newest is None:
            self.directory.remove_status()
            self.recovery.drop_after(-1)
            self.snapshots.drop_after(-1)
            self.metrics = MetricsFile(self.directory.metrics_file, 0)
            self.directory.event("started", step=0)
            return None
        step, facts = newest.step, newest.facts
        changes = drift(Savings().facts() | facts["environment"], self.fingerprint)
        if changes:
            self._accept_drift(step, "; ".join(changes))
        self.status |= saved(self.recovery.directory / str(step), newest) | {"drift": self.status["drift"]}
        self.directory.write_status(self.status)  # what it told of beyond the step is dropped
        self.snapshots.digests |= {int(each): digest for each, digest in facts["snapshots"].items()}
        self.recovery.drop_after(step)
        self.snapshots.drop_after(step)
        self.metrics = MetricsFile(self.directory.metrics_file, facts["metrics"]["bytes"])
        self.directory.event("resumed", step=step)
        return step

    def _accept_drift(self, step: int, changes: str) -> None:
        if not self.arguments.allow_drift:
            raise UserError(
                f"{self.directory.path} cannot go on bit for bit: {changes}. "
                f"Resume it where it was trained, or say --allow-drift"
            )
        text = f"from step {step}: {changes}"
        self.status["drift"] = [*self.status["drift"], text]
        self.directory.event("drift", what=text)
        self.observer.note(f"resumed though bits may change, {text}")

    def _compile(self, state: State) -> None:
        traced = self.program.advance.trace(state, self.constants, jnp.int32(1))
        flops = matmul_flops(traced.jaxpr.jaxpr)  # of one step: the loop over them counts as one turn
        self.throughput = Throughput(flops, self.condition.numerics, self.program.mesh.size)
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
        unread: deque[_Chunk] = deque()
        chunk, read_at = 1, time.monotonic()
        save_due = False
        if step == 0:
            state, first = self._measured(0, state)
            unread.append(_Chunk(0, 0, state.step + 0, first, began=read_at, ended=None))
            if 0 in self.snapshot_steps:
                self._add_snapshot(0, state)
        while step < self.horizon:
            if step in self.profiler.boundaries():
                while unread:
                    self._read(unread.popleft())
                self.profiler.reached(step)
            boundary = self.boundaries[bisect.bisect_right(self.boundaries, step)]
            steps = min(boundary - step, chunk)
            if self.feed is not None:
                steps = min(steps, self._fed(self.feed, step) - step)
            began = time.monotonic()
            state, token = self.advance(state, self.constants, np.int32(steps))
            ended = time.monotonic() if token.is_ready() else None
            step += steps
            row: dict[str, Any] | None = None
            if step in self.measure_steps:
                state, row = self._measured(step, state)
            unread.append(_Chunk(step, steps, token, row, began, ended))
            while len(unread) > 1:
                self._read(unread.popleft())
            now = time.monotonic()
            if now - read_at < self.arguments.chunk_seconds / 2:
                chunk *= 2
            elif now - read_at > self.arguments.chunk_seconds * 2:
                chunk = max(1, int(chunk * self.arguments.chunk_seconds / (now - read_at)))
            read_at = now
            save_due |= self.observer.save_requested() or now - self.saved_at >= self.arguments.recovery_seconds
            wishes = processes.gathered([chunk, self.observer.stop_requested(), save_due, self.saver.busy])
            chunk = wishes[0][0]
            stop, save_due, busy = (any(wish[i] for wish in wishes) for i in (1, 2, 3))
            save = save_due and not busy
            if step in self.snapshot_steps or save or stop or not self.going.any():
                while unread:
                    self._read(unread.popleft())
                if step in self.snapshot_steps:
                    self._add_snapshot(step, state)
                if not self.going.any():
                    break
                if stop and step < self.horizon:
                    self._save_and_leave(step, state)
                if save:
                    save_due = False
                    self._begin_save(step, state)
                read_at = time.monotonic()
            self._tend_saver()
        while unread:
            self._read(unread.popleft())
        return step, state

    def _fed(self, feed: HostFeed, step: int) -> int:
        """Sees to it that the batch of a step is at hand, and returns the first step whose batch is not."""
        if step >= feed.end:
            with self.stopwatch.during("input"):
                self.constants = self.constants._replace(feed=feed.next())
        return feed.end

    def _measured(self, step: int, state: State) -> tuple[State, dict[str, Any]]:
        row, ends = self.measure(state, self.constants, np.bool_(step in self.scheduled))
        return state._replace(**ends._asdict()), row

    def _read(self, chunk: _Chunk) -> None:
        """Waits for a chunk, and writes its rows: those of members that have come as far as its step."""
        step = chunk.step
        reached_M = on_host(chunk.token)
        self.watchdog.heard()
        if chunk.steps > 0 and chunk.ended is not None:
            self.throughput.add(chunk.steps, chunk.ended - chunk.began)
        elif chunk.steps > 0:
            # The device began it once it had done all that was read before.
            self.throughput.add(chunk.steps, time.monotonic() - max(chunk.began, self.read_at))
        values = {key: np.asarray(column) for key, column in (chunk.row or {}).items()}
        self.read_at = time.monotonic()
        if chunk.row is None:
            self.observer.advanced(step, [])
            return
        failed_M, active_M = values.pop("failed"), values.pop("active")
        for i in np.flatnonzero(failed_M).tolist():
            if i not in self.failed:
                self.failed.add(i)
                at = int(reached_M[i])
                self.directory.event("failed", member=i, step=at)
                name, seed = self.members[i].condition.name, self.members[i].seed
                self.observer.note(
                    f"{name}, seed {seed}: training gave numbers that are not finite at step {at}; it is frozen there"
                )
        now = time.time()
        rows = [
            metric_row(step, i, now, {key: float(column[i]) for key, column in values.items()})
            for i in range(len(self.members))
            if reached_M[i] == step
        ]
        self.going = active_M.copy()
        if self.metrics:
            self.unmirrored += rows
            try:
                self.metrics.append(rows)
            except OSError as error:
                self._warn(f"rows are kept in memory, as they cannot be written: {error}")
        self.observer.advanced(step, rows)

    def _add_snapshot(self, step: int, state: State) -> None:
        parameters = jax.block_until_ready(_parameters(state))
        with self.stopwatch.during("saving"):
            leaves = on_host(parameters)
            if processes.is_first():
                self.saver.add(Save(self.snapshots, step, leaves))
        if self.saver.busy and self.saver.waiting > MOST_WAITING:
            with self.stopwatch.during("waiting"):
                self.saver.wait()

    def _begin_save(self, step: int, state: State, *, finished: bool = False) -> bool:
        """Hands the state to the saver, in place of one that it could not write; not while that is busy.

        Returns false where the rows that the state covers cannot be put on disk.
        """
        jax.block_until_ready(state)
        with self.stopwatch.during("saving"):
            self.saved_at = time.monotonic()
            state = on_host(state)
            if self.metrics is None:
                return True
            try:
                rows = self.metrics.sync()
            except OSError as error:
                self._save_failed(str(error))
                return False
            steps, failed, active = (part.tolist() for part in (state.step, state.failed, state.active))
            members = [
                {"step": s, "state": "failed" if f else "going" if a else "stopped"}
                for s, f, a in zip(steps, failed, active, strict=True)
            ]
            status = {"step": step, "horizon": self.horizon, "finished": finished, "members": members,
                      "drift": self.status["drift"]}  # fmt: skip
            facts = functools.partial(self._facts, status, rows)
            published = functools.partial(self._published, status, rows, self.mirrored + len(self.unmirrored))
            self.saver.withdraw(self.recovery)
            send_rows = functools.partial(self._send_rows, rows["bytes"])
            self.saver.add(Save(self.recovery, step, state, facts, send_rows, published))
            self.saver.start()
            return True

    def _send_rows(self, size: int) -> None:
        assert self.metrics is not None
        self.directory.check_lock()
        self.metrics.send(size)

    def _facts(self, status: Mapping[str, Any], synced: Mapping[str, Any]) -> dict[str, Any]:
        """Returns what a recovery checkpoint says of itself; once the snapshots before it are on disk."""
        return {
            "environment": self.fingerprint,
            "metrics": synced,
            "snapshots": {str(step): digest for step, digest in self.snapshots.digests.items()},
            "status": status,
        }

    def _published(self, status: Mapping[str, Any], synced: Mapping[str, Any], rows: int) -> None:
        """Tells of a recovery checkpoint that is on disk, and of the rows that it covers: the first `rows`.

        Where it fails it is called again.
        """
        self.directory.event("saved", step=status["step"])
        covered = self.unmirrored[: rows - self.mirrored]
        for mirror in tuple(self.mirrors):
            self.mirrors.remove(mirror)
            with self._left_out(type(mirror).__name__):
                mirror.write(covered)
                self.mirrors.append(mirror)
        del self.unmirrored[: len(covered)]
        self.mirrored = rows
        self.directory.send_rest()
        # Last, for a run that it calls finished is not gone on with.
        facts = self._facts(status, synced)
        self.status |= {
            **status, "metrics": synced, "snapshots": facts["snapshots"], "run": self.directory.owner["run"],
            "recovery": {str(step): digest for step, digest in self.recovery.digests.items()},
            "seconds": self.stopwatch.seconds(), "throughput": self.throughput.facts(),
        }  # fmt: skip
        self.directory.write_status(self.status)

    def _tend_saver(self) -> None:
        """Goes on with what waits to be saved, and tells of what could not be."""
        failure = self.saver.failure()
        if failure:
            self._save_failed(failure)
        elif time.monotonic() - self.failed_at >= self.arguments.recovery_seconds:
            self.saver.start()

    def _save_failed(self, why: str) -> None:
        self.failed_at = time.monotonic()
        self._warn(f"could not save: {why}; training goes on, and it is tried again with the next save")

    def _save_now(self, step: int, state: State, *, finished: bool = False) -> bool:
        """Saves everything, and returns whether that is on disk."""
        with self.stopwatch.during("waiting"):
            self.saver.wait()
        self.saver.failure()  # what it could not write is tried again
        begun = self._begin_save(step, state, finished=finished)
        with self.stopwatch.during("saving"):
            self.saver.wait()
        failure = self.saver.failure()
        if failure:
            self._save_failed(failure)
        return processes.told(lambda: begun and not failure)

    def _save_and_leave(self, step: int, state: State) -> None:
        if self._save_now(step, state):
            raise Interrupted(f"stopped at step {step} of {self.horizon}; the state is saved")
        durable = self.status["step"] or 0
        raise Interrupted(
            f"stopped at step {step} of {self.horizon}, not saved; what is on disk goes to step {durable}"
        )

    def _finish(self, step: int, state: State) -> None:
        """Saves the end of training; where that fails, tries again until it can be done or it is asked to stop."""
        self._add_snapshot(step, state)
        while not self._save_now(step, state, finished=True):
            with self.stopwatch.during("waiting"):
                again = time.monotonic() + RETRY_SECONDS
                while time.monotonic() < again:
                    if self.observer.stop_requested():
                        self._save_and_leave(step, state)
                    time.sleep(0.1)

    def _warn(self, text: str) -> None:
        """Says what is wrong: once, and then once a minute."""
        said, at = self.warned
        if text != said or time.monotonic() - at > 60:
            self.warned = (text, time.monotonic())
            self.directory.event("warning", text=text)
            self.observer.note(text)


def _parameters(state: State) -> dict[str, Any]:
    return {"params": state.params, **state.model_state}


def _stack(trees: Sequence[Any]) -> Any:
    # By numpy: a program that puts thousands of arrays together takes minutes to compile.
    return jax.tree.map(lambda *leaves: np.stack(leaves), *trees) if trees else None


def _as_jax_has_it(value: Any) -> Any:
    """Returns an array of numpy's of the dtype that jax would give it."""
    value = np.asarray(value)
    return value.astype(jax.dtypes.canonicalize_dtype(value.dtype), copy=False)


def stack_constants(members: Sequence[Trajectory], starts: Sequence[Start | None]) -> Constants:
    """Returns the tables, numbers and masks of the members, stacked on a leading axis."""
    if any(start is None for start in starts) and any(start is not None for start in starts):
        raise UserError("a population's members start all from a parent or all from an initialisation")
    masks = [start.mask for start in starts if start is not None and start.mask is not None]
    conditions = {member.condition.name: member.condition for member in members}
    numbers = {name: per_member_values(condition) for name, condition in conditions.items()}
    stacked: Constants = _stack(
        [
            Constants(
                splits={name: jax.tree.map(_as_jax_has_it, split) for name, split in table.items()},
                scalars={
                    path: _as_jax_has_it(np.float32(value)) for path, value in numbers[member.condition.name].items()
                },
                seed=_as_jax_has_it(np.int32(member.seed)),
                mask=mask,
            )
            for member, table, mask in zip(
                members,
                (checked_table(member.condition.task, member.seed) for member in members),
                masks or [None] * len(members),
                strict=True,
            )
        ]
    )
    return stacked._replace(feed=feed_like(members))
