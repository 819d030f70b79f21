"""Tasks made of tasks: shares, order, lengths, and one program for all of it."""

from __future__ import annotations

from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxgen.condition import Condition, Trajectory
from jaxgen.errors import UserError
from jaxgen.models.config import TransformerConfig
from jaxgen.optimizers import SGD
from jaxgen.tasks import AdditionTask, Buckets, Curriculum, InductionTask, Mixture, ModularTask, Part
from jaxgen.tasks.base import IGNORED
from jaxgen.tasks.mixtures.mixture import _turns
from jaxgen.train.constants import stack_constants
from jaxgen.train.program import Program
from tests.host_task import ReversalTask

FRESH = AdditionTask(digits=2, train_examples=None, test_examples=20)
SMALL, LARGE = (ReversalTask(least=least, longest=longest, on_device=True) for least, longest in ((1, 3), (4, 7)))
MODEL = TransformerConfig(layers=1, width=8, heads=2, mlp_width=16, positions="sinusoidal")


def parts(*weights: int, tasks=(SMALL, LARGE)) -> tuple[Part, ...]:
    return tuple(
        Part(name=name, task=task, weight=weight) for name, task, weight in zip("ab", tasks, weights, strict=False)
    )


@given(st.lists(st.integers(1, 9), min_size=2, max_size=4))
def test_turns_are_shared_exactly_and_evenly(weights: list[int]) -> None:
    turns = _turns(tuple(Part(name=f"p{i}", task=FRESH, weight=weight) for i, weight in enumerate(weights)))
    cycles = sum(weights) // len(turns)
    assert Counter((turns.tolist()) * cycles) == {i: weight for i, weight in enumerate(weights)}
    for i, weight in enumerate(weights):  # no part waits much longer than its share
        places = np.flatnonzero(np.tile(turns, 2) == i)
        assert np.diff(places).max() <= 2 * np.ceil(sum(weights) / weight)


@given(st.integers(0, 2**32))
def test_a_mixture_has_its_shares_in_every_batch(seed: int) -> None:
    task = Mixture(of=parts(1, 3))
    words = np.random.default_rng(seed).integers(2**32, size=(8, task.stream_words()), dtype=np.uint32)
    batch = task.batch(words, np.arange(8), np)
    lengths = (batch.targets != IGNORED).sum(axis=1) - 1  # but for the end
    assert sorted(lengths <= 3) == [False] * 6 + [True] * 2
    # A row is its part's own example of its words, padded.
    for row in range(8):
        part = SMALL if lengths[row] <= 3 else LARGE
        alone = part.examples(words[row : row + 1, : part.stream_words()], np)
        np.testing.assert_array_equal(batch.inputs[row, : alone.inputs.shape[1]], alone.inputs[0])
        asked = alone.targets[0] != IGNORED
        np.testing.assert_array_equal(batch.targets[row][batch.targets[row] != IGNORED], alone.targets[0][asked])
    # Rows that are made apart are the same: as processes make them.
    halves = [task.batch(words[rows], np.array(rows), np) for rows in (range(3), range(3, 8))]
    for whole, *cut in zip(batch, *halves, strict=True):
        np.testing.assert_array_equal(whole, np.concatenate(cut))


@pytest.mark.long
def test_a_mixture_is_the_same_on_the_device() -> None:
    task = Mixture(of=parts(1, 3))
    words = np.random.default_rng(0).integers(2**32, size=(8, task.stream_words()), dtype=np.uint32)
    for ours, theirs in zip(
        task.batch(words, np.arange(8), np), task.batch(jnp.asarray(words), np.arange(8), jnp), strict=True
    ):
        np.testing.assert_array_equal(ours, np.asarray(theirs))


def test_a_curriculum_goes_on_with_its_last_part() -> None:
    task = Curriculum(of=parts(2, 3))
    assert [int(task.part_at(np.int32(step), np)) for step in range(7)] == [0, 0, 1, 1, 1, 1, 1]
    assert [int(jax.jit(lambda s: task.part_at(s, jnp))(jnp.int32(step))) for step in (1, 2, 9)] == [0, 1, 1]


@pytest.mark.long
@pytest.mark.parametrize("layout", ["sequential", "vmap"])
def test_parts_of_different_lengths_train_in_one_program(layout) -> None:
    """A step on a batch of one part is the step that this part alone would make."""
    steps = 3

    def trained(task) -> list[np.ndarray]:
        condition = Condition(name="a", task=task, model=MODEL, optimizer=SGD(learning_rate=0.1), steps=steps,
                              batch_size=4)  # fmt: skip
        program = Program(condition, layout)
        constants = stack_constants([Trajectory(condition, 0, "0")], [None])
        state, _ = program.advance(program.init(constants, None), constants, jnp.int32(steps))
        return [np.asarray(leaf) for leaf in jax.tree.leaves(state.params)]

    first = trained(Curriculum(of=parts(steps, 1)))
    for ours, alone in zip(first, trained(SMALL), strict=True):
        np.testing.assert_allclose(ours, alone, rtol=1e-5, atol=1e-7)
    buckets = trained(Buckets(of=parts(1, 2)))
    assert any(not np.allclose(one, other) for one, other in zip(buckets, first, strict=True))


def test_splits_are_those_of_the_parts() -> None:
    task = Buckets(of=parts(1, 1))
    table, shape = task.table(0), task.shape()
    assert set(table) == {name for name, _ in shape.sizes} == {"train", "a.train", "a.test", "b.train", "b.test"}
    assert task.measured() == ("a.train", "a.test", "b.train", "b.test")
    assert dict(shape.lengths) == {"train": 8, "a.train": 8, "a.test": 8}
    np.testing.assert_array_equal(table["a.test"].inputs, SMALL.table(0)["test"].inputs)


INDUCTION = tuple(InductionTask(vocabulary=9, context=c, repeat=2, train_examples=None) for c in (4, 5))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Mixture(of=parts(1, 1)[:1]), "expected two or more"),
        (lambda: Mixture(of=parts(1, 1, tasks=(SMALL, FRESH))), "have the same tokens"),
        (lambda: Mixture(of=parts(1, 1, tasks=(SMALL, ModularTask(p=5, train_fraction=0.5)))), "draw fresh examples"),
        (lambda: Mixture(of=parts(1, 1, tasks=(SMALL, Mixture(of=parts(1, 1))))), "not made of tasks"),
        (lambda: Buckets(of=parts(1, 1, tasks=INDUCTION)), "must be read out at all of theirs"),
        (
            lambda: Condition(
                name="a", task=Mixture(of=parts(1, 2)), model=MODEL, optimizer=SGD(learning_rate=0.1), steps=1,
                batch_size=4,
            ),
            "expected a multiple of 3",
        ),
    ],
)  # fmt: skip
def test_parts_that_do_not_go_together(make, said: str) -> None:
    with pytest.raises(UserError, match=said):
        make()
