"""How fast training examples are made, beside a PyTorch DataLoader over the same generator: `make bench-data`.

Tables and streams are made by the device inside the step, and cost the host nothing: their rate is that of the
compiled generator alone. Of a host task one core makes whole batches with numpy; `fed` is what reaches the device
through the feed that training uses, from a thread beside. A DataLoader asks its dataset for one example at a time, as
its users write it, in its own process and in two workers.
"""

from __future__ import annotations

import importlib.util
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen.condition import Condition, Trajectory
from jaxgen.distributed.environment import cpu_name
from jaxgen.distributed.mesh import one_device
from jaxgen.models.config import TransformerConfig
from jaxgen.optimizers import SGD
from jaxgen.tasks.base import TRAINING_STREAM, Task, words_at
from jaxgen.tasks.examples import EXAMPLES
from jaxgen.train.feed import HostFeed

BATCH = 512
ROUNDS, SECONDS = 5, 0.5


def rate(make: Callable[[], int]) -> float:
    """Returns examples a second, the median of several rounds; `make` makes some and says how many."""
    make()
    rates = []
    for _ in range(ROUNDS):
        began, count = time.perf_counter(), 0
        while (seconds := time.perf_counter() - began) < SECONDS:
            count += make()
        rates.append(count / seconds)
    return statistics.median(rates)


def on_device(task: Task) -> float:
    words = task.stream_words()

    @jax.jit
    def batch(step: jax.Array) -> Any:
        key = jax.random.fold_in(jax.random.key(0), step)
        return task.batch(jax.random.bits(key, (BATCH, words), jnp.uint32), np.arange(BATCH), jnp)

    steps = iter(range(10**9))
    return rate(lambda: len(jax.block_until_ready(batch(jnp.int32(next(steps)))).inputs))


def on_host(task: Task) -> float:
    steps = iter(range(10**9))
    return rate(lambda: len(task.host_batch(0, next(steps), BATCH, range(BATCH)).inputs))


def fed(task: Task) -> float:
    model = TransformerConfig(layers=1, width=8, heads=1, mlp_width=8)
    condition = Condition(name="a", task=task, model=model, optimizer=SGD(learning_rate=0.1), steps=1, batch_size=BATCH)
    feed = HostFeed([Trajectory(condition, 0, "0")], one_device(), 0, 10**6, 0)
    return rate(lambda: int(np.prod(jax.block_until_ready(feed.next().batches).inputs.shape[:3])))


class Dataset:
    """The same examples one by one, for a DataLoader."""

    def __init__(self, task: Task):
        self.task = task

    def __len__(self) -> int:
        return 10**7

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        words = words_at(index, 1, self.task.stream_words() or 0, seed=0, stream=TRAINING_STREAM)
        example = self.task.examples(words, np)
        return example.inputs[0], example.targets[0]


def data_loader(task: Task, workers: int) -> float:
    import torch

    batches: Iterator[Any] = iter(torch.utils.data.DataLoader(Dataset(task), batch_size=BATCH, num_workers=workers))
    return rate(lambda: len(next(batches)[0]))


def main() -> None:
    with_torch = importlib.util.find_spec("torch") is not None
    print(f"{cpu_name()}; batches of {BATCH}; thousands of examples a second, medians of {ROUNDS} rounds")
    print("| task | kind | made | fed | DataLoader | with 2 workers | fed, against the better of these |")
    print("|---|---|---|---|---|---|---|")
    for name, task in EXAMPLES.items():
        if task.kind() == "table" or len(task.parts()) > 1:
            continue
        cells = [on_host(task), fed(task)] if task.kind() == "host" else [on_device(task), None]
        loaders = [data_loader(task, workers) for workers in (0, 2)] if with_torch and task.kind() == "host" else []
        ratio = f"{cells[1] / max(loaders):.1f}x" if loaders and cells[1] else ""
        shown = [f"{cell / 1e3:,.0f}" if cell else "" for cell in (cells + loaders + [None] * 2)[:4]]
        print(f"| {name} | {task.kind()} | {' | '.join(shown)} | {ratio} |", flush=True)


if __name__ == "__main__":
    main()
