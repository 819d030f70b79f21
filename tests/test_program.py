"""The compiled programs: against a plain loop, over layouts, batches and masks."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxgen.condition import Condition, Every, LogSpaced, Stop, Trajectory
from jaxgen.errors import UserError
from jaxgen.experiments.grokfast.parts import EMAFilter
from jaxgen.experiments.omnigrok.parts import ConstantNorm, WithinError
from jaxgen.experiments.power_grok.parts import AdamWToInit, NoisyAdamW
from jaxgen.measures.config import Accuracy, Loss
from jaxgen.models.config import MLPConfig
from jaxgen.optimizers import SGD, AdamW
from jaxgen.starts import ScaledInit
from jaxgen.starts.scores import magnitude_scores, top_mask
from jaxgen.starts.transforms import Start
from jaxgen.tasks import ModularTask, TeacherTask
from jaxgen.train.batch import batch_at
from jaxgen.train.constants import stack_constants
from jaxgen.train.program import Program
from jaxgen.train.shuffle import shuffled_index

CONDITION = Condition(
    name="base",
    task=ModularTask(p=7, train_fraction=0.5, format="a b"),
    model=MLPConfig(hidden=(9,), activation="square", bias=False, init_std=0.3),
    optimizer=AdamW(learning_rate=0.05, weight_decay=2.0, b1=0.9, b2=0.98, eps=1e-8),
    loss="mse",
    steps=10,
    measures=(Accuracy(), Loss()),
)


def members(condition: Condition, seeds=(0, 1)) -> list[Trajectory]:
    return [Trajectory(condition, seed, f"{condition.name}{seed}") for seed in seeds]


def trained(condition: Condition, steps: int, layout="sequential", seeds=(0, 1), params=None):
    program = Program(condition, layout)
    constants = stack_constants(members(condition, seeds), [None] * len(seeds))
    state = program.init(constants, params and {"params": params})
    start = jax.tree.map(np.asarray, state)
    state, reached = program.advance(state, constants, np.int32(steps))
    assert np.asarray(reached).tolist() == [steps] * len(seeds)
    return start, state, program, constants


def test_a_population_trains_as_a_plain_numpy_loop() -> None:
    start, state, _, _ = trained(CONDITION, steps=7)
    for i, seed in enumerate((0, 1)):
        train = CONDITION.task.table(seed)["train"]
        one_hot = np.concatenate([np.eye(7)[train.inputs[:, 0]], np.eye(7)[train.inputs[:, 1]]], axis=1)
        labels = np.eye(7)[train.targets[:, 0]]
        kernel = start.params["layer_0"]["kernel"][i].reshape(14, 9).astype(np.float64)
        output = start.params["output"]["kernel"][i].astype(np.float64)
        moments = [[np.zeros_like(w), np.zeros_like(w)] for w in (kernel, output)]
        for step in range(1, 8):
            pre = one_hot @ kernel
            error = 2 * (pre**2 @ output - labels) / labels.size
            gradients = [one_hot.T @ (error @ output.T * 2 * pre), (pre**2).T @ error]
            weights = []
            for w, gradient, moment in zip((kernel, output), gradients, moments, strict=True):
                moment[0] = 0.9 * moment[0] + 0.1 * gradient
                moment[1] = 0.98 * moment[1] + 0.02 * gradient**2
                direction = moment[0] / (1 - 0.9**step) / (np.sqrt(moment[1] / (1 - 0.98**step)) + 1e-8)
                weights.append(w - 0.05 * (direction + 2.0 * w))
            kernel, output = weights
        np.testing.assert_allclose(state.params["layer_0"]["kernel"][i].reshape(14, 9), kernel, atol=2e-5)
        np.testing.assert_allclose(state.params["output"]["kernel"][i], output, atol=2e-5)


@pytest.mark.long
def test_layouts_agree_up_to_rounding() -> None:
    # Not Adam: where a gradient is all but zero it turns its rounding error into a whole step.
    condition = dataclasses.replace(
        CONDITION,
        batch_size=8,
        model=MLPConfig(hidden=(9,), dropout=0.3, batch_norm=True, init_std=0.3),
        optimizer=SGD(learning_rate=0.5, momentum=0.9),
    )
    _, one, _, _ = trained(condition, steps=5, layout="sequential")
    _, other, _, _ = trained(condition, steps=5, layout="vmap")
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_numbers_marked_per_member_differ_within_a_population() -> None:
    faster = dataclasses.replace(CONDITION, name="faster", optimizer=AdamW(learning_rate=0.1, weight_decay=2.0))
    assert faster.static_signature() == CONDITION.static_signature()
    program = Program(CONDITION, "sequential")
    mixed = [Trajectory(CONDITION, 0, "a"), Trajectory(faster, 0, "b")]
    constants = stack_constants(mixed, [None, None])
    state, _ = program.advance(program.init(constants, None), constants, np.int32(3))
    for i, condition in enumerate((CONDITION, faster)):
        _, alone, _, _ = trained(condition, steps=3, seeds=(0,))
        np.testing.assert_allclose(
            state.params["output"]["kernel"][i], alone.params["output"]["kernel"][0], rtol=1e-5, atol=1e-6
        )


def test_the_state_is_donated() -> None:
    program = Program(CONDITION, "sequential")
    constants = stack_constants(members(CONDITION), [None, None])
    state = program.init(constants, None)
    program.advance(state, constants, np.int32(1))
    assert state.params["output"]["kernel"].is_deleted()


def test_a_batch_shuffles_each_epoch_and_shows_no_example_twice() -> None:
    condition = dataclasses.replace(CONDITION, batch_size=8)
    constants = jax.tree.map(lambda leaf: leaf[0], stack_constants(members(condition, (0,)), [None]))
    batches = [batch_at(jnp.int32(step), condition.task, 8, constants) for step in range(6)]
    epochs = [np.concatenate([np.asarray(each.inputs) for each in batches[i : i + 3]]) for i in (0, 3)]
    for epoch in epochs:
        assert len({tuple(row) for row in epoch}) == 24  # of the 24 training pairs
    assert not np.array_equal(epochs[0], epochs[1])
    again = batch_at(jnp.int32(4), condition.task, 8, constants)
    np.testing.assert_array_equal(again.inputs, batches[4].inputs)


@settings(max_examples=10)  # every count is compiled
@given(count=st.integers(1, 300), seed=st.integers(0, 2**31 - 1))
def test_a_shuffle_is_a_permutation(count: int, seed: int) -> None:
    shuffled = shuffled_index(jnp.arange(count, dtype=jnp.int32), count, jax.random.key(seed))
    assert sorted(np.asarray(shuffled).tolist()) == list(range(count))


@pytest.mark.long
def test_a_shuffle_leaves_no_trace_of_the_order() -> None:
    count = 1000
    keys = [jax.random.fold_in(jax.random.key(0), epoch) for epoch in range(50)]
    shuffles = np.stack([shuffled_index(jnp.arange(count, dtype=jnp.int32), count, key) for key in keys])
    assert np.mean(shuffles[:, 0] < count / 2) == pytest.approx(0.5, abs=0.25)
    neighbours = np.mean(np.diff(shuffles, axis=1) == 1)
    assert neighbours < 0.01
    correlation = np.corrcoef(np.arange(count), shuffles.mean(axis=0))[0, 1]
    assert abs(correlation) < 0.15


def test_a_stopping_rule_needs_its_patience() -> None:
    stop = Stop(measure="accuracy", split="train", at_least=0.0, patience=2)
    condition = dataclasses.replace(CONDITION, stop=stop)
    program = Program(condition, "sequential")
    constants = stack_constants(members(condition), [None, None])
    state = program.init(constants, None)
    for expected in (True, False):
        _, ends = program.measure(state, constants, True)
        state = state._replace(**ends._asdict())
        assert np.asarray(state.active).tolist() == [expected, expected]
    before = np.asarray(state.params["output"]["kernel"])
    state, reached = program.advance(state, constants, np.int32(3))
    assert np.asarray(reached).tolist() == [0, 0]
    np.testing.assert_array_equal(state.params["output"]["kernel"], before)


@pytest.mark.parametrize("layout", ["sequential", "vmap"])
def test_a_mask_holds_while_training(layout: str) -> None:
    program = Program(CONDITION, layout)
    constants = stack_constants(members(CONDITION), [None, None])
    params = program.init(constants, None).params
    each = [jax.tree.map(lambda w, i=i: w[i], params) for i in range(2)]
    masks = [top_mask(magnitude_scores(one), keep=0.3) for one in each]
    starts = [Start(jax.tree.map(jnp.multiply, one, mask), {}, mask, {}) for one, mask in zip(each, masks, strict=True)]
    constants = stack_constants(members(CONDITION), starts)
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *[start.params for start in starts])
    state, _ = program.advance(program.init(constants, {"params": stacked}), constants, np.int32(5))
    for mask, w in zip(jax.tree.leaves(constants.mask), jax.tree.leaves(state.params), strict=True):
        np.testing.assert_array_equal(np.asarray(w)[np.asarray(mask) == 0], 0)
        assert np.all(np.asarray(w)[np.asarray(mask) == 1] != 0)


@pytest.mark.parametrize("layout", ["sequential", "vmap"])
def test_decay_to_the_start_knows_the_parameters_given(layout: str) -> None:
    condition = dataclasses.replace(CONDITION, optimizer=AdamWToInit(learning_rate=0.1, weight_decay=10.0))
    program = Program(condition, layout)
    constants = stack_constants(members(condition), [None, None])
    given = jax.tree.map(lambda w: w + 1.0, program.init(constants, None).params)
    before = jax.tree.map(np.asarray, given)
    state, _ = program.advance(program.init(constants, {"params": given}), constants, np.int32(1))
    # learning_rate * weight_decay = 1: the decay takes each step back to the start, Adam then goes 0.1 from there.
    state, _ = program.advance(state, constants, np.int32(1))
    for w, start in zip(jax.tree.leaves(state.params), jax.tree.leaves(before), strict=True):
        np.testing.assert_allclose(np.abs(np.asarray(w) - start).max(), 0.1, atol=0.02)


def test_weight_noise_moves_where_the_gradient_is_taken() -> None:
    noisy = NoisyAdamW(learning_rate=0.05, weight_decay=2.0, weight_noise=1e-3)
    condition = dataclasses.replace(CONDITION, optimizer=noisy)
    quiet = dataclasses.replace(CONDITION, optimizer=dataclasses.replace(noisy, weight_noise=0.0))
    assert condition.static_signature() != quiet.static_signature()
    # Adam's first step is the sign of the gradient, which little noise seldom turns.
    _, one, _, _ = trained(condition, steps=1)
    _, same, _, _ = trained(condition, steps=1)
    _, other, _, _ = trained(quiet, steps=1)
    _, plain, _, _ = trained(CONDITION, steps=1)
    kernel = [np.asarray(state.params["output"]["kernel"]) for state in (one, same, other, plain)]
    np.testing.assert_array_equal(kernel[0], kernel[1])
    np.testing.assert_array_equal(kernel[2], kernel[3])
    assert not np.array_equal(kernel[0], kernel[2])
    assert np.mean(np.abs(kernel[0] - kernel[2]) > 0.01) < 0.1


@given(horizon=st.integers(1, 10**6), per_decade=st.integers(1, 50))
def test_a_log_spaced_schedule_does_not_depend_on_the_horizon(horizon: int, per_decade: int) -> None:
    schedule = LogSpaced(per_decade=per_decade)
    steps = schedule.steps(horizon)
    assert steps[0] == 0
    assert steps[-1] == horizon
    assert steps == sorted(set(steps))
    assert set(steps[:-1]) <= set(schedule.steps(2 * horizon))
    ratios = np.array(steps[2:]) / np.array(steps[1:-1])
    assert np.all(ratios <= max(2.0, 10 ** (2 / per_decade)) + 1e-9)


def test_an_even_schedule() -> None:
    assert Every(interval=4).steps(10) == [0, 4, 8, 10]


REGRESSION = Condition(
    name="regression",
    task=TeacherTask(inputs=2, outputs=3, hidden=(4,), train=8, test=6),
    model=MLPConfig(hidden=(5,), activation="tanh"),
    optimizer=SGD(learning_rate=0.1),
    loss="squared_error",
    steps=5,
    measures=(Loss(), WithinError(below=0.05)),
)


def test_regression_is_measured_by_its_error() -> None:
    _, state, program, constants = trained(REGRESSION, steps=5, seeds=(0,))
    row, _ = program.measure(state, constants, True)
    params = jax.tree.map(lambda w: np.asarray(w[0], np.float64), state.params)
    for name, split in REGRESSION.task.table(0).items():
        hidden = np.tanh(split.inputs @ params["layer_0"]["kernel"] + params["layer_0"]["bias"])
        outputs = hidden @ params["output"]["kernel"] + params["output"]["bias"]
        errors = ((outputs - split.targets[:, 0]) ** 2).mean(axis=1)
        np.testing.assert_allclose(row[f"loss/{name}"][0], errors.mean(), rtol=1e-5)
        np.testing.assert_allclose(row[f"within_error/{name}"][0], (errors < 0.05).mean())


def test_real_targets_have_no_accuracy() -> None:
    with pytest.raises(UserError, match="targets are real numbers; use Loss"):
        dataclasses.replace(REGRESSION, measures=(Accuracy(),))


def test_a_scaled_start_is_the_initialisation_times_its_factor() -> None:
    start, _, _, _ = trained(REGRESSION, steps=0)
    scaled = dataclasses.replace(REGRESSION, start=ScaledInit(factor=3.0))
    threefold, _, _, _ = trained(scaled, steps=0)
    for w, w3 in zip(jax.tree.leaves(start.params), jax.tree.leaves(threefold.params), strict=True):
        np.testing.assert_allclose(w3, 3.0 * w, rtol=1e-6)


def test_scaled_starts_train_as_one_population() -> None:
    one, other = (dataclasses.replace(REGRESSION, start=ScaledInit(factor=factor)) for factor in (0.5, 2.0))
    assert one.static_signature() == other.static_signature() != REGRESSION.static_signature()
    wrapped = [
        dataclasses.replace(REGRESSION, optimizer=EMAFilter(base=SGD(learning_rate=rate), momentum=0.9, gain=1.0))
        for rate in (0.1, 0.2)
    ]
    assert wrapped[0].static_signature() == wrapped[1].static_signature() != REGRESSION.static_signature()


@pytest.mark.long
def test_a_constant_norm_is_that_of_the_scaled_start() -> None:
    condition = dataclasses.replace(
        REGRESSION, start=ScaledInit(factor=2.0), optimizer=ConstantNorm(base=AdamW(learning_rate=0.1))
    )
    start, state, _, _ = trained(condition, steps=200, seeds=(0,))
    before, after = (
        np.sqrt(sum(np.sum(np.square(w, dtype=np.float64)) for w in jax.tree.leaves(tree)))
        for tree in (start.params, jax.tree.map(np.asarray, state.params))
    )
    assert after == pytest.approx(before, rel=1e-5)
