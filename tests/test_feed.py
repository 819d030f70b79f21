"""Batches that the host makes: the same whoever makes them, and trained on as if they had always been there."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.condition import Condition, Trajectory
from jaxgen.config import digest
from jaxgen.distributed.mesh import MeshSizes
from jaxgen.errors import UserError
from jaxgen.models.config import TransformerConfig
from jaxgen.objectives.losses import cross_entropy
from jaxgen.optimizers import SGD
from jaxgen.run.arguments import Interrupted, RunArguments, SilentObserver
from jaxgen.run.checkpoint import CheckpointStore
from jaxgen.run.directory import PopulationDirectory
from jaxgen.run.loop import train
from jaxgen.tasks import Buckets, MazeTask, Part
from jaxgen.tasks.base import Split, words_at
from jaxgen.train import feed
from jaxgen.train.feed import FeedSource, HostFeed, feed_like
from tests.host_task import ReversalTask
from tests.test_reproduce import Stopper

TASK = ReversalTask(least=1, longest=4)
CONDITION = Condition(
    name="a", task=TASK, model=TransformerConfig(layers=1, width=8, heads=2, mlp_width=16),
    optimizer=SGD(learning_rate=0.1), steps=30, batch_size=8, seeds=(3, 4),
)  # fmt: skip
MEMBERS = [Trajectory(CONDITION, seed, str(seed)) for seed in CONDITION.seeds]


@pytest.fixture(autouse=True)
def few_steps_a_feed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "MOST_STEPS", 7)


def test_words_are_those_of_their_example() -> None:
    together = words_at(5, 20, 11, seed=1, stream=2)
    for i in range(20):
        np.testing.assert_array_equal(words_at(5 + i, 1, 11, seed=1, stream=2)[0], together[i])
    assert len({row.tobytes() for row in together}) == 20
    assert not np.array_equal(words_at(5, 20, 11, seed=1, stream=3), together)


def test_the_bytes_of_a_batch_stay_what_they_are() -> None:
    """Whatever numpy, grain or jaxgen comes next: a changed draw must raise the task's version."""
    assert digest(TASK.host_batch(3, 1000, 4, range(4)).inputs.tolist()) == "fc70a5e4d60b5a9f"


def test_rows_and_members_that_are_made_apart_are_the_same() -> None:
    pairs = [(TASK, 3), (TASK, 4)]
    whole = FeedSource(pairs, 8, 5, 9, range(8))[4]
    for i, pair in enumerate(pairs):
        for rows in (range(2), range(2, 8)):
            own = FeedSource([pair], 8, 5, 9, rows)[4]
            for ours, all_ in zip(own, whole, strict=True):
                np.testing.assert_array_equal(ours[0], all_[i][:, rows.start : rows.stop])
    np.testing.assert_array_equal(whole.inputs[1, 2], TASK.host_batch(4, 22, 8, range(8)).inputs)


def test_finite_data_of_a_host_task_is_a_table() -> None:
    endless = MazeTask(size=4, test_examples=9)
    finite = dataclasses.replace(endless, train_examples=20)
    assert (endless.kind(), finite.kind()) == ("host", "table")
    fed = dataclasses.replace(CONDITION, task=endless)
    whole = dataclasses.replace(CONDITION, task=finite, batch_size=None)
    feeds = [feed_like([Trajectory(condition, 0, "0")]) for condition in (fed, whole)]
    assert [each is None for each in feeds] == [False, True]


@pytest.mark.long
@pytest.mark.parametrize("mesh", ["data=1", "member=2,data=4"])
@pytest.mark.parametrize("workers", [0, 2])
def test_a_feed_goes_on_anywhere(mesh: str, workers: int) -> None:
    if workers and mesh != "data=1":
        pytest.skip("one mesh is enough for processes, which take seconds to start")
    made = HostFeed(MEMBERS, MeshSizes.parse(mesh).build(), 10, 30, workers)
    for first in (7, 14, 21):
        fed = made.next()
        assert (np.asarray(fed.first).tolist(), made.end) == ([first, first], first + 7)
        for i, member in enumerate(MEMBERS):
            expected = TASK.host_batch(member.seed, first + 3, 8, range(8))
            np.testing.assert_array_equal(np.asarray(fed.batches.inputs)[i, 3], expected.inputs)
        spread = fed.batches.inputs.sharding.device_set
        assert len(spread) == MeshSizes.parse(mesh).devices


class OneTooMany(ReversalTask):
    """Every batch from the tenth on has a token that is none of the vocabulary."""

    def host_batch(self, seed: int, step: int, batch_size: int, rows: range) -> Split:
        batch = super().host_batch(seed, step, batch_size, rows)
        return batch._replace(inputs=batch.inputs + (step >= 10))


def test_batches_that_cannot_be_asked_are_refused() -> None:
    condition = dataclasses.replace(CONDITION, task=OneTooMany(least=1, longest=4))
    made = HostFeed([Trajectory(condition, 3, "3")], MeshSizes.parse("data=1").build(), 0, 30, 0)
    made.next()
    with pytest.raises(UserError, match=r"batches of the steps 7 to 13: row \d+ has inputs\[\d+\]=12, expected tokens"):
        made.next()


def final(path: Path) -> dict[str, np.ndarray]:
    store = CheckpointStore(path / "recovery")
    return store.load(store.steps()[-1])


def trained(path: Path, condition: Condition = CONDITION, observer=None, **arguments) -> dict[str, np.ndarray]:
    members = [Trajectory(condition, seed, str(seed)) for seed in condition.seeds]
    train(
        path, members, horizon=condition.steps, snapshot_steps=set(), starts=[None] * len(members),
        observer=observer or SilentObserver(), arguments=RunArguments(**arguments),
    )  # fmt: skip
    return final(path)


def assert_same(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> None:
    assert one.keys() == other.keys()
    for name in one:
        assert one[name].tobytes() == other[name].tobytes(), name


@pytest.mark.long
def test_neither_chunks_nor_feeds_nor_an_interruption_change_a_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = trained(tmp_path / "whole")
    with pytest.raises(Interrupted):
        trained(tmp_path / "cut", observer=Stopper(12), chunk_seconds=0.0)
    monkeypatch.setattr(feed, "MOST_STEPS", 4)
    assert_same(trained(tmp_path / "cut", chunk_seconds=0.0), whole)
    seconds = PopulationDirectory(tmp_path / "whole").status()["seconds"]
    assert seconds["input"] > 0


@pytest.mark.long
def test_a_host_task_trains_on_what_it_says(tmp_path: Path) -> None:
    """Three steps of plain gradient descent over the batches of `host_batch`, written out."""
    short = dataclasses.replace(CONDITION, steps=3, seeds=(3,))
    model = short.model.build(TASK.shape())
    path = tmp_path / "run"
    members = [Trajectory(short, 3, "3")]
    train(path, members, horizon=3, snapshot_steps={0}, starts=[None], observer=SilentObserver(),
          arguments=RunArguments())  # fmt: skip
    snapshots = CheckpointStore(path / "snapshots")
    leaves = {name.removeprefix("params."): leaf[0] for name, leaf in snapshots.load(0).items()}

    def nest(flat: dict[str, np.ndarray]) -> dict:
        tree: dict = {}
        for name, leaf in flat.items():
            *folders, last = name.split(".")
            here = tree
            for folder in folders:
                here = here.setdefault(folder, {})
            here[last] = jnp.asarray(leaf)
        return tree

    params = nest(leaves)
    for step in range(3):
        batch = TASK.host_batch(3, step, 8, range(8))

        def loss(params, batch=batch):
            return jnp.mean(cross_entropy(model.apply({"params": params}, batch.inputs), jnp.asarray(batch.targets)))

        params = jax.tree.map(lambda w, g: w - 0.1 * g, params, jax.grad(loss)(params))
    expected = nest({name.removeprefix("params."): leaf[0] for name, leaf in snapshots.load(3).items()})
    for ours, theirs in zip(jax.tree.leaves(params), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)


@pytest.mark.long
def test_buckets_of_a_host_task_train(tmp_path: Path) -> None:
    task = Buckets(of=(Part(name="a", task=TASK), Part(name="b", task=ReversalTask(least=5, longest=6), weight=2)))
    model = dataclasses.replace(CONDITION.model, positions="sinusoidal")
    trained(tmp_path / "one", dataclasses.replace(CONDITION, task=task, model=model))
    row = json.loads((tmp_path / "one" / "metrics.jsonl").read_text().splitlines()[-1])
    assert {"accuracy/a.test", "accuracy/b.test"} <= set(row["values"])
