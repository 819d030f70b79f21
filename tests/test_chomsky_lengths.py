"""Networks that read the Chomsky tasks: training, scores by length, and how many programs all lengths take."""

from __future__ import annotations

import dataclasses
import logging
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.condition import Condition, Every, Trajectory
from jaxgen.distributed.mesh import MeshSizes
from jaxgen.errors import UserError
from jaxgen.measures.config import Loss, MeanTokenAccuracy
from jaxgen.measures.evaluation import Evaluation
from jaxgen.models.config import ModelConfig, RecurrentConfig, StackConfig, TapeConfig, TransformerConfig
from jaxgen.objectives.losses import cross_entropy
from jaxgen.optimizers import AdamW
from jaxgen.tasks.base import IGNORED
from jaxgen.tasks.strings.chomsky import ChomskyTask
from jaxgen.train.constants import stack_constants
from jaxgen.train.program import Program
from tests.test_models import _quick_compilation  # noqa: F401

MODELS: dict[str, ModelConfig] = {
    "rnn": RecurrentConfig(cell="relu", hidden=8, embedding=4),
    "lstm": RecurrentConfig(cell="lstm", hidden=8, embedding=4),
    "stack": StackConfig(cell="relu", hidden=8, embedding=4),
    "tape": TapeConfig(cell="relu", hidden=8, embedding=4, cells=16, writer=(4,)),
    "transformer": TransformerConfig(
        layers=1, width=8, heads=2, mlp_width=16, causal=False, norm="pre", positions="sinusoidal", init="torch"
    ),
}


def condition(model: ModelConfig, longest: int = 6, up_to: int = 30, **task) -> Condition:
    task = {"name": "reverse_string", "test_examples": 2 * (up_to - longest)} | task
    return Condition(
        name="a",
        task=ChomskyTask(max_length=longest, test_up_to=up_to, format="encoder", every_length=True, **task),
        model=model,
        optimizer=AdamW(learning_rate=1e-2),
        steps=6,
        batch_size=8,
        measures=(MeanTokenAccuracy(edges=(longest, up_to)), Loss()),
        measured_at_once=16,
        measure_at=Every(interval=3),
        seeds=(0, 1),
    )


@pytest.mark.parametrize(
    "name", [pytest.param(each, marks=pytest.mark.long) if each != "lstm" else each for each in MODELS]
)
def test_three_programs_train_and_measure_all_lengths(name: str, caplog: pytest.LogCaptureFixture) -> None:
    """However many lengths there are: one starts the members, one trains them and one measures them."""
    of = condition(MODELS[name], computation=1 if name == "tape" else 0)
    program = Program(of, "vmap")
    constants = program.place(stack_constants([Trajectory(of, seed, str(seed)) for seed in (0, 1)], [None] * 2))
    with jax.log_compiles(), caplog.at_level(logging.WARNING):
        state = program.init(constants, None)
        for steps in (1, 2, 3):
            state, _ = program.advance(state, constants, jnp.int32(steps))
            row, _ = program.measure(state, constants, True)
    compiled = re.findall(r"Finished XLA compilation of jit\(_(\w+)_member\)", caplog.text)
    assert sorted(compiled) == ["advance", "init", "measure"]
    assert np.asarray(state.step).tolist() == [6, 6]
    for key, value in row.items():
        of_no_example = key in ("mean_token_accuracy.30/train", "mean_token_accuracy.6/longer")
        assert np.isfinite(np.asarray(value, np.float32)).all() != of_no_example, key


@pytest.mark.parametrize("name", ["lstm", "tape"])
def test_the_size_of_the_programs_is_that_of_one_length(name: str) -> None:
    """A program of 500 lengths has as many operations as one of a single longer length."""

    def size(up_to: int) -> int:
        of = condition(MODELS[name], up_to=up_to, test_examples=500)
        program = Program(of, "sequential")
        constants = stack_constants([Trajectory(of, 0, "0")], [None])
        state = jax.eval_shape(program.init, constants, None)
        measure = jax.make_jaxpr(lambda state: program.measure(state, constants, True))(state)
        return str(measure).count(" scan[")

    assert size(506) == size(7) > 0


def test_scores_are_means_over_examples_however_long() -> None:
    of = condition(MODELS["lstm"], longest=3, up_to=9, test_examples=13)
    task, shape = of.task, of.task.shape()
    splits = task.table(0)
    module = of.model.build(shape)
    variables = module.init(jax.random.key(0), shape.blank())
    found = {}
    for at_once in (None, 5):
        measure = MeanTokenAccuracy(edges=(2, 3, 6, 9))
        evaluation = Evaluation(
            module=module, variables=variables, splits=splits, shape=shape, loss=cross_entropy, corruption=False,
            at_once=at_once,
        )  # fmt: skip
        found[at_once] = measure.values(evaluation)
        assert set(found[at_once]) == measure.keys(of)
    for key, value in found[None].items():
        np.testing.assert_allclose(found[5][key], value, rtol=1e-6)
    for name, split in splits.items():
        answers = np.argmax(np.asarray(module.apply(variables, split.inputs)), axis=-1)
        scores: dict[int, list[float]] = {}
        for inputs, answer, targets in zip(split.inputs.tolist(), answers, split.true_targets, strict=True):
            right = [a == t for a, t in zip(answer.tolist(), targets.tolist(), strict=True) if t != IGNORED]
            scores.setdefault(inputs.index(shape.source.separator), []).append(sum(right) / len(right))
        every = [score for each in scores.values() for score in each]
        assert float(found[None][f"mean_token_accuracy/{name}"]) == pytest.approx(np.mean(every), abs=1e-6)
        for least, edge in ((0, 2), (2, 3), (3, 6), (6, 9)):
            here = [score for length, each in scores.items() if least < length <= edge for score in each]
            value = float(found[None][f"mean_token_accuracy.{edge}/{name}"])
            assert value == pytest.approx(np.mean(here), abs=1e-6) if here else np.isnan(value)


def test_a_tape_needs_to_know_where_its_source_ends() -> None:
    of = condition(MODELS["tape"])
    with pytest.raises(UserError, match=r"the task does not tell where its source ends \(TaskShape.source\)"):
        dataclasses.replace(of, task=ChomskyTask(name="reverse_string"))
    with pytest.raises(UserError, match="each length above the one before"):
        MeanTokenAccuracy(edges=(4, 4))


@pytest.mark.long
@pytest.mark.parametrize("name", ["lstm", "stack", "tape"])
def test_a_mesh_trains_as_one_device_does(name: str) -> None:
    of = condition(MODELS[name])
    losses = []
    for mesh in (None, "member=2,data=2,tensor=2"):
        program = Program(of, "vmap", MeshSizes.parse(mesh).build() if mesh else None)
        constants = program.place(stack_constants([Trajectory(of, seed, str(seed)) for seed in (0, 1)], [None] * 2))
        state, _ = program.advance(program.init(constants, None), constants, jnp.int32(6))
        row, _ = program.measure(state, constants, True)
        losses.append(np.asarray(row["loss/longer"]))
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-4)
