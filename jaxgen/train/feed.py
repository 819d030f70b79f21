"""Training batches that the host makes ahead of the device, in a thread or in worker processes.

The batch of step s is a pure function of (task, seed, s), so no state of the feed is saved. The number of processes,
devices or workers, and the number of steps in a feed, do not change it. Each process makes the rows that its own
devices hold.

Shape letters: M members, C steps in one feed, B examples of a batch.
"""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import os
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxgen.condition import Trajectory
from jaxgen.distributed.mesh import MEMBER, feed_sharding, put
from jaxgen.tasks.base import IGNORED, Split, Task, check_examples
from jaxgen.train.state import Feed

# The largest feed in bytes: large enough to be worth a transfer, small enough to be ready soon.
FEED_BYTES = 4 * 2**20
MOST_STEPS = 256
AHEAD = 2


class FeedSource:
    """A data source for Grain: feed by number, each with the rows `rows` of the batches of some members."""

    def __init__(self, members: Sequence[tuple[Task, int]], batch_size: int, steps: int, count: int, rows: range):
        self.members, self.batch_size, self.steps, self.count, self.rows = members, batch_size, steps, count, rows

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, number: Any) -> Split:
        """Returns the batches (M, C, B, ...) of steps number C to (number + 1) C - 1."""
        first = int(number) * self.steps
        return _stack([_stack([self._batch(task, seed, first + i) for i in range(self.steps)])
                       for task, seed in self.members])  # fmt: skip

    def _batch(self, task: Task, seed: int, step: int) -> Split:
        batch, shape = task.host_batch(seed, step, self.batch_size, self.rows), task.shape()
        return _widen(batch, shape.length, len(shape.readout))


class HostFeed:
    """The feeds of a population, beginning at a step.

    Args:
      members: the population.
      mesh: the mesh that holds the batches.
      step: the first step to feed.
      horizon: the first step after the last one to feed.
      workers: the number of processes that make feeds; 0: a thread of this process.
    """

    def __init__(self, members: Sequence[Trajectory], mesh: Mesh, step: int, horizon: int, workers: int):
        import absl.flags  # imported here: most runs need neither, and the import takes two seconds
        import grain

        condition = members[0].condition
        assert condition.batch_size is not None
        self._batch_size, self._count, self._shape = condition.batch_size, len(members), condition.task.shape()
        self._rows_lie, self._members_lie = feed_sharding(mesh), NamedSharding(mesh, P(MEMBER))
        pairs = [(each.condition.task, each.seed) for each in members]
        self.steps = steps_together(pairs, self._batch_size)
        self.end = step // self.steps * self.steps  # the first step after the current feed
        self._members, self._rows = self._own()
        feeds = -(-horizon // self.steps)
        source = FeedSource([pairs[i] for i in self._members], self._batch_size, self.steps, feeds, self._rows)
        ahead = grain.ReadOptions(num_threads=1, prefetch_buffer_size=AHEAD)
        dataset = grain.MapDataset.source(source)[self.end // self.steps :].to_iter_dataset(ahead)
        if workers:
            absl.flags.FLAGS.mark_as_parsed()  # Grain reads absl flags, which only an absl program parses
            options = grain.MultiprocessingOptions(num_workers=workers, per_worker_buffer_size=AHEAD)
            dataset = dataset.mp_prefetch(options, worker_init_fn=_end_with_parent)
        self._feeds: Iterator[Split] = iter(dataset)

    def next(self) -> Feed:
        """Waits for the feed that begins at step `end`, returns it, and advances `end`."""
        first_M = put(np.full(self._count, self.end, np.int32), self._members_lie)
        own = next(self._feeds)
        rows = Split(*(column.reshape(-1, *column.shape[3:]) for column in own))
        check_examples(rows, self._shape, f"the batches of the steps {self.end} to {self.end + self.steps - 1}")
        self.end += self.steps
        return Feed(first_M, jax.tree.map(self._place, own))

    def _own(self) -> tuple[range, range]:
        """Returns the members and the rows that this process's devices hold."""
        shape = (self._count, self.steps, self._batch_size)
        places = self._rows_lie.addressable_devices_indices_map(shape).values()
        spans = [[place[axis].indices(shape[axis])[:2] for place in places if place] for axis in (0, 2)]
        members, rows = (range(min(a for a, _ in span), max(b for _, b in span)) for span in spans)
        return members, rows

    def _place(self, own: np.ndarray) -> jax.Array:
        shape = (self._count, self.steps, self._batch_size, *own.shape[3:])

        def part(index: tuple[slice, ...] | None) -> np.ndarray:
            assert index is not None
            members, rows = (index[axis].indices(shape[axis]) for axis in (0, 2))
            at, to = self._members.start, self._rows.start
            return own[members[0] - at : members[1] - at, :, rows[0] - to : rows[1] - to]

        return jax.make_array_from_callback(shape, self._rows_lie, part)


def _end_with_parent(*_: int) -> None:
    """Ends this worker when its parent ends. A killed parent cannot do that itself."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, name="parent", daemon=True).start()


def steps_together(members: Sequence[tuple[Task, int]], batch_size: int) -> int:
    """Returns C, the number of steps in one feed."""
    shape = members[0][0].shape()
    bytes_ = 4 * (shape.length * (shape.channels or 1) + 2 * len(shape.readout)) + 1
    return max(1, min(MOST_STEPS, FEED_BYTES // (len(members) * batch_size * bytes_)))


def feed_like(members: Sequence[Trajectory]) -> Feed | None:
    """Returns a feed of zeros with the shapes of the population's feeds; None if it needs no feed."""
    condition = members[0].condition
    if not condition.task.on_host:
        return None
    assert condition.batch_size is not None
    pairs = [(each.condition.task, each.seed) for each in members]
    shape, inputs = condition.task.shape(), condition.task.shape().blank()
    sizes = (len(members), steps_together(pairs, condition.batch_size), condition.batch_size)
    answers: tuple[int, ...] = (len(shape.readout), *((shape.vocabulary,) if shape.real_targets else ()))
    targets = np.zeros(sizes + answers, np.float32 if shape.real_targets else np.int32)
    batches = Split(np.zeros(sizes + inputs.shape[1:], inputs.dtype), targets, targets, np.zeros(sizes, bool))
    return Feed(jnp.zeros(len(members), jnp.int32), batches)


def _stack(splits: Sequence[Split]) -> Split:
    return Split(*(np.stack(columns) for columns in zip(*splits, strict=True)))


def _widen(split: Split, length: int, answers: int) -> Split:
    """Pads examples to the given sizes: inputs with zeros, targets with IGNORED."""

    def widen(column: np.ndarray, size: int, value: int) -> np.ndarray:
        widths = [(0, 0)] * column.ndim
        widths[1] = (0, size - column.shape[1])
        return np.pad(column, widths, constant_values=value) if size > column.shape[1] else column

    targets, true = (widen(column, answers, IGNORED) for column in (split.targets, split.true_targets))
    return Split(widen(split.inputs, length, 0), targets, true, split.corrupted)
