"""Sequence tasks against Python's integers and brute force, and streams against the tables' rules."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxgen.condition import Condition, Trajectory
from jaxgen.errors import UserError
from jaxgen.measures.config import Accuracy, ByPosition, Loss
from jaxgen.models.config import TransformerConfig
from jaxgen.optimizers import AdamW
from jaxgen.tasks.base import Split
from jaxgen.tasks.strings.sequence import AdditionTask, InductionTask, SequenceTask, SkipTrigramTask
from jaxgen.train.batch import batch_at
from jaxgen.train.constants import stack_constants
from jaxgen.train.program import Program
from jaxgen.train.state import Constants

TASKS = (
    AdditionTask(digits=3, train_examples=40, test_examples=30),
    InductionTask(vocabulary=11, context=7, repeat=4, train_examples=40, test_examples=30),
    SkipTrigramTask(keys=5, fillers=6, length=6, train_examples=40, test_examples=30),
)


def number(digits) -> int:
    return int("".join(str(digit) for digit in digits))


def answers(task: SequenceTask, tokens: list[int]) -> list[int]:
    """What the read-out tokens must be, from the other tokens alone."""
    if isinstance(task, AdditionTask):
        d = task.digits
        assert (tokens[d], tokens[2 * d + 1]) == (10, 11)
        total = number(tokens[:d]) + number(tokens[d + 1 : 2 * d + 1])
        return [int(digit) for digit in f"{total:0{d + 1}d}"]
    if isinstance(task, InductionTask):
        context = tokens[: task.context]
        assert len(set(context)) == task.context
        return [context[context.index(token) + 1] for token in tokens[task.context :]]
    keys = [token for token in tokens[:-1] if token < task.keys]
    assert len(keys) == 1
    assert all(token >= 2 * task.keys for token in tokens[:-1] if token not in keys)
    return [int(task.rule()[keys[0], tokens[-1] - task.keys])]


def check(task: SequenceTask, split) -> None:
    shape = task.shape()
    inputs, targets = np.asarray(split.inputs), np.asarray(split.targets)
    assert inputs.dtype == targets.dtype == np.int32
    assert inputs.shape[1] == shape.length
    assert inputs.min() >= 0
    assert max(inputs.max(), targets.max()) < shape.vocabulary
    for tokens, told in zip(inputs.tolist(), targets.tolist(), strict=True):
        assert answers(task, tokens) == told
        # What follows a read-out position is what was asked there.
        for place, answer in zip(shape.readout, told, strict=True):
            assert place == shape.length - 1 or tokens[place + 1] == answer


@pytest.mark.parametrize("task", TASKS, ids=lambda task: type(task).__name__)
def test_a_table_follows_its_rule_and_shows_no_example_twice(task: SequenceTask) -> None:
    table = task.table(3)
    assert {name: len(split.inputs) for name, split in table.items()} == dict(task.shape().sizes)
    for split in table.values():
        check(task, split)
    rows = [tuple(row) for split in table.values() for row in split.inputs.tolist()]
    assert len(set(rows)) == len(rows)
    again, other = task.table(3), task.table(4)
    np.testing.assert_array_equal(again["train"].inputs, table["train"].inputs)
    assert not np.array_equal(other["train"].inputs, table["train"].inputs)
    assert task.disjoint_by() is None
    endless = dataclasses.replace(task, train_examples=None)
    assert "may show one of train or test" in str(endless.disjoint_by())


@pytest.mark.parametrize("task", TASKS, ids=lambda task: type(task).__name__)
def test_numpy_and_jax_make_the_same_examples(task: SequenceTask) -> None:
    words = np.random.default_rng(0).integers(2**32, size=(50, task.words()), dtype=np.uint32)
    here = task.examples(words, np)
    there = jax.jit(lambda drawn: task.examples(drawn, jnp))(words)
    check(task, there)
    for one, other in zip(here, there, strict=True):
        np.testing.assert_array_equal(one, other)


@given(digits=st.integers(1, 6), data=st.data())
def test_addition_of_any_digits(digits: int, data: st.DataObject) -> None:
    words = data.draw(st.lists(st.integers(0, 9), min_size=2 * digits, max_size=2 * digits))
    task = AdditionTask(digits=digits, train_examples=None)
    check(task, task.examples(np.array([words], np.uint32), np))


def test_where_the_repeat_starts_is_uniform() -> None:
    task = InductionTask(vocabulary=9, context=6, repeat=3, train_examples=4000, test_examples=1)
    inputs = task.table(0)["train"].inputs
    starts = np.argmax(inputs[:, :6] == inputs[:, 6:7], axis=1)
    np.testing.assert_allclose(np.bincount(starts) / 4000, 1 / 4, atol=0.03)


def test_too_few_examples_are_told() -> None:
    with pytest.raises(UserError, match="too few different ones"):
        AdditionTask(digits=1, train_examples=90, test_examples=20).table(0)
    with pytest.raises(UserError, match="repeat <= context <= vocabulary"):
        InductionTask(vocabulary=5, context=6, repeat=2, train_examples=None)


STREAM = Condition(
    name="stream",
    task=AdditionTask(digits=2, train_examples=None, test_examples=20),
    model=TransformerConfig(layers=2, width=8, heads=2, mlp_width=0),
    optimizer=AdamW(learning_rate=0.01),
    batch_size=16,
    steps=4,
    measures=(Accuracy(), Loss(), ByPosition()),
)


def member(condition: Condition, seed: int = 0):
    return stack_constants([Trajectory(condition, seed, "id")], [None])


def drawn(step: int, constants: Constants) -> Split:
    return batch_at(jnp.int32(step), STREAM.task, STREAM.batch_size, constants)


def test_a_stream_draws_by_seed_and_step_alone() -> None:
    constants = [jax.tree.map(lambda leaf: leaf[0], member(STREAM, seed)) for seed in (0, 1)]
    batch = [[np.asarray(drawn(step, each).inputs) for step in range(3)] for each in constants]
    for seed in (0, 1):
        check(STREAM.task, drawn(2, constants[seed]))
    np.testing.assert_array_equal(batch[0][2], drawn(2, constants[0]).inputs)
    different = [batch[0][0], batch[0][1], batch[0][2], batch[1][0]]
    assert len({rows.tobytes() for rows in different}) == 4


def test_a_stream_needs_a_batch_size_and_a_program_of_its_own() -> None:
    with pytest.raises(UserError, match="this task makes new examples at every step"):
        dataclasses.replace(STREAM, batch_size=None)
    table = dataclasses.replace(STREAM, task=AdditionTask(digits=2, train_examples=20, test_examples=20))
    assert table.task.shape() == STREAM.task.shape()
    assert table.static_signature() != STREAM.static_signature()


@pytest.mark.long
def test_positions_alone_average_to_the_whole() -> None:
    program = Program(STREAM, "sequential")
    constants = member(STREAM)
    row, _ = program.measure(program.init(constants, None), constants, True)
    losses = [float(row[f"loss.{k}/test"][0]) for k in range(3)]
    assert np.mean(losses) == pytest.approx(float(row["loss/test"][0]), rel=1e-5)
    accuracies = [float(row[f"accuracy.{k}/test"][0]) for k in range(3)]
    assert float(row["accuracy/test"][0]) <= min(accuracies)


def test_attention_alone_has_no_mlp() -> None:
    program = Program(STREAM, "sequential")
    params = program.init(member(STREAM), None).params
    assert set(params["block_0"]) == {"attention"}
