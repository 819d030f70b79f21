"""Training on a growing subset: how much has joined, and which rows a step draws."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxgen.condition import Condition
from jaxgen.errors import UserError
from jaxgen.models.config import MLPConfig, TransformerConfig
from jaxgen.optimizers import SGD
from jaxgen.tasks import InductionTask, ModularTask
from jaxgen.tasks.base import Split
from jaxgen.tasks.growing import Growing
from jaxgen.train.batch import batch_at
from jaxgen.train.state import Constants

TASK = ModularTask(p=7, train_fraction=0.5, format="a b")
CONDITION = Condition(
    name="a", task=TASK, model=MLPConfig(hidden=(4,)), optimizer=SGD(learning_rate=0.1), steps=10, batch_size=8
)
ROWS = 40


def rows_at(step: int, growing: Growing | None, size: int = 64, seed: int = 0) -> list[int]:
    """The rows of the batch of a step, from a table whose inputs are their own numbers."""
    inputs = jnp.arange(ROWS, dtype=jnp.int32)[:, None]
    constants = Constants({"train": Split(inputs, inputs, inputs, inputs[:, 0] < 0)}, {}, jnp.int32(seed), None)
    return np.asarray(batch_at(jnp.int32(step), TASK, size, constants, growing).inputs)[:, 0].tolist()


@given(first=st.sampled_from([0.1, 0.25, 0.5, 1.0]), full_at=st.integers(1, 50), step=st.integers(0, 60))
def test_the_share_is_the_larger_of_the_first_and_the_time_gone(first: float, full_at: int, step: int) -> None:
    found = int(Growing(first=first, full_at=full_at).joined(np.int32(step), 1000, np))
    assert found == pytest.approx(1000 * max(first, min(1, step / full_at)), abs=1)


def test_at_least_one_example_trains() -> None:
    assert int(Growing(first=0.001, full_at=5).joined(np.int32(0), 3, np)) == 1


def test_a_batch_is_drawn_from_what_has_joined_and_nothing_leaves() -> None:
    growing = Growing(first=0.2, full_at=10)
    sets = [set(rows_at(step, growing, size=2000)) for step in range(12)]
    assert [len(each) for each in sets] == [8, 8, 8, 12, 16, 20, 24, 28, 32, 36, 40, 40]
    assert all(before <= after for before, after in itertools.pairwise(sets))
    counts = np.bincount(rows_at(20, growing, size=4000), minlength=ROWS)
    assert ((counts - 100) ** 2 / 100).sum() < 80  # chi squared with 39 degrees of freedom


def test_draws_depend_on_seed_and_step_alone() -> None:
    growing = Growing(first=0.5, full_at=100)
    assert rows_at(3, growing) == rows_at(3, growing)
    assert rows_at(3, growing) != rows_at(4, growing)
    assert set(rows_at(0, growing, 999)) == set(rows_at(9, growing, 999)) != set(rows_at(0, growing, 999, seed=1))
    assert len(set(rows_at(0, None, ROWS))) == ROWS  # shuffled epochs otherwise


def test_without_a_curriculum_an_identity_is_as_it_was() -> None:
    assert "curriculum" not in CONDITION.identity_fields()
    grown = dataclasses.replace(CONDITION, curriculum=Growing(first=0.5, full_at=5))
    assert grown.identity_fields()["curriculum"] == {"kind": "Growing", "first": 0.5, "full_at": 5}
    assert grown.static_signature() != CONDITION.static_signature()


def test_it_needs_a_table_and_a_batch_size() -> None:
    stream = InductionTask(vocabulary=12, context=7, repeat=3, train_examples=None, test_examples=100)
    reader = TransformerConfig(layers=1, width=8, heads=2, mlp_width=8)
    for changes in ({"batch_size": None}, {"task": stream, "model": reader}):
        with pytest.raises(UserError, match=r"curriculum: got a task that makes fresh examples, or batches of all"):
            dataclasses.replace(CONDITION, curriculum=Growing(first=0.5, full_at=5), **changes)


def test_it_runs_in_a_program() -> None:
    from jaxgen.condition import Trajectory
    from jaxgen.train.constants import stack_constants
    from jaxgen.train.program import Program

    condition = dataclasses.replace(CONDITION, curriculum=Growing(first=0.5, full_at=5))
    program = Program(condition, "sequential")
    constants = stack_constants([Trajectory(condition, 0, "a")], [None])
    state, _ = program.advance(program.init(constants, None), constants, np.int32(3))
    assert all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(state.params))
