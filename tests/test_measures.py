"""Measures against closed forms, and against plain numpy written from their definitions."""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.condition import Condition, Stop
from jaxgen.errors import UserError
from jaxgen.experiments.corrupted_modadd.measures import inverse_participation_ratio
from jaxgen.experiments.corrupted_modadd.parts import NeuronIPR, NormByIPR, PruneNeurons
from jaxgen.experiments.nanda_modadd.measures import components, explained_variance, fourier_norms, gini
from jaxgen.experiments.nanda_modadd.parts import AblateFrequencies, ProgressMeasures
from jaxgen.measures.config import Accuracy, Analysis, Loss, Measure, WeightNorm
from jaxgen.measures.evaluation import Evaluation, MemberSnapshots, Variables
from jaxgen.models.config import MLPConfig, ModelConfig, TransformerConfig
from jaxgen.models.taps import capture
from jaxgen.optimizers import SGD
from jaxgen.tasks.algebra.modular import ModularTask
from jaxgen.tasks.base import Task

CORRUPTION_SPLITS = {"corrupted", "corrupted_true", "uncorrupted"}


def nats(logits: jax.Array, targets: jax.Array) -> jax.Array:
    log_p = jax.nn.log_softmax(logits, axis=-1)
    return -jnp.take_along_axis(log_p, targets[..., None], axis=-1)[..., 0].mean(axis=-1)


def squares(logits: jax.Array, targets: jax.Array) -> jax.Array:
    return jnp.square(logits - jax.nn.one_hot(targets, logits.shape[-1])).mean(axis=(-2, -1))


def addition(p: int, form: str = "a b", train_fraction: float = 0.5, corruption: float = 0.0) -> ModularTask:
    return ModularTask(p=p, format=form, train_fraction=train_fraction, corruption=corruption)


def members(
    task: Task, config: ModelConfig, variables: list[Variables] | None = None, loss: Any = nats
) -> MemberSnapshots:
    """Returns snapshots at steps 0, 10, 20...: the variables given, else random ones of good size."""
    module = config.build(task.shape())
    table = task.table(seed=1)
    if variables is None:
        shapes = jax.eval_shape(module.init, jax.random.key(0), table["train"].inputs[:1])
        draw = np.random.default_rng(0)
        drawn = jax.tree.map(lambda leaf: jnp.asarray(draw.normal(0, 0.4, leaf.shape), leaf.dtype), shapes)
        drawn = {name: jax.tree.map(abs, part) if name == "batch_stats" else part for name, part in drawn.items()}
        variables = [drawn, jax.tree.map(lambda leaf: leaf * 2, drawn)]
    return MemberSnapshots(
        task=task,
        module=module,
        variables_by_step={10 * i: each for i, each in enumerate(variables)},
        splits=table,
        loss=loss,
    )


def member(*args: Any, **kwargs: Any) -> Evaluation:
    return members(*args, **kwargs).evaluation(0)


def numbers(config: Measure, evaluation: Evaluation) -> dict[str, float]:
    return {key: float(value) for key, value in jax.jit(config.values)(evaluation).items()}


def table_of(config: Analysis, snapshots: MemberSnapshots) -> dict[tuple[int, str], float]:
    rows = config.rows(snapshots)
    found = {(step, key): value for step, key, value in rows}
    assert len(found) == len(rows)
    return found


def trigonometric(p: int, amplitudes: dict[int, float], phases: dict[int, int]) -> Variables:
    """Returns the square-activation MLP whose logits are sum over k of amplitude_k cos(w_k (a + b - c)).

    With m >= 3 phases i and j each, sum over i, j of (cos(wa + i) + cos(wb + j))^2 cos(wc + i + j) is m^2 / 2
    times cos(w (a + b - c)): all other terms cancel.
    """
    into, out = [], []
    for k, amplitude in amplitudes.items():
        m, angle = phases[k], 2 * np.pi * k / p * np.arange(p)
        for i in range(m):
            for j in range(m):
                first, second = 2 * np.pi * i / m, 2 * np.pi * j / m
                into.append([np.cos(angle + first), np.cos(angle + second)])
                out.append(amplitude * 2 / m**2 * np.cos(angle + first + second))
    kernels = np.array(into).transpose(1, 2, 0), np.array(out)
    layers = zip(("layer_0", "output"), kernels, strict=True)
    return {"params": {name: {"kernel": jnp.asarray(kernel, jnp.float32)} for name, kernel in layers}}


def squared_mlp(width: int) -> MLPConfig:
    return MLPConfig(hidden=(width,), activation="square", bias=False)


@jax.jit
def jitted_logits(evaluation: Evaluation, inputs: jax.Array) -> jax.Array:
    return evaluation.logits(inputs)


def plain_logits(evaluation: Evaluation, split: str) -> np.ndarray:
    return np.asarray(jitted_logits(evaluation, evaluation.splits[split].inputs))


def by_loops(evaluation: Evaluation, value_of: Any) -> dict[str, float]:
    """Returns the mean of value_of(logits (K, V), targets (K,)) over each split, by plain loops."""
    found: dict[str, list[float]] = {}
    for name, split in evaluation.splits.items():
        for row, logits in enumerate(plain_logits(evaluation, name)):
            given, true = split.targets[row], split.true_targets[row]
            found.setdefault(name, []).append(value_of(logits, given))
            if name == "train" and split.corrupted[row]:
                found.setdefault("corrupted", []).append(value_of(logits, given))
                found.setdefault("corrupted_true", []).append(value_of(logits, true))
            elif name == "train":
                found.setdefault("uncorrupted", []).append(value_of(logits, given))
    return {name: sum(values) / len(values) for name, values in found.items()}


def right(logits: np.ndarray, targets: np.ndarray) -> float:
    return float(all(int(row.argmax()) == int(target) for row, target in zip(logits, targets, strict=True)))


def plain_nats(logits: np.ndarray, targets: np.ndarray) -> float:
    parts = [math.log(sum(math.exp(z - row[y]) for z in row)) for row, y in zip(logits, targets, strict=True)]
    return sum(parts) / len(parts)


TRANSFORMER = TransformerConfig(layers=1, width=8, heads=2, mlp_width=12)
FORMS = [("a b", MLPConfig(hidden=(16,), init_std=0.5)), ("<eos> a op b = c <eos>", TRANSFORMER)]


def fitted_labels(evaluation: Evaluation) -> Evaluation:
    """Returns the evaluation with labels that the model itself gives for two rows of three: a spread of accuracies."""
    splits = {}
    for name, split in evaluation.splits.items():
        answers = plain_logits(evaluation, name).argmax(axis=-1).astype(np.int32)
        fit = np.arange(len(answers))[:, None] % 3 > 0
        given, true = np.where(fit, answers, split.targets), np.where(~fit, answers, split.true_targets)
        splits[name] = split._replace(targets=given, true_targets=true if name == "train" else given)
    return dataclasses.replace(evaluation, splits=splits)


@pytest.mark.parametrize(("form", "model"), FORMS)
def test_accuracy_and_loss_are_the_means_of_plain_loops(form: str, model: ModelConfig) -> None:
    evaluation = fitted_labels(member(addition(7, form, corruption=0.4), model))
    expected = by_loops(evaluation, right)
    assert set(expected) == {"train", "test", *CORRUPTION_SPLITS}
    assert 0 < min(expected.values()) < max(expected.values()) < 1
    assert numbers(Accuracy(), evaluation) == pytest.approx({f"accuracy/{k}": v for k, v in expected.items()})
    losses = {f"loss/{key}": value for key, value in by_loops(evaluation, plain_nats).items()}
    assert numbers(Loss(), evaluation) == pytest.approx(losses, rel=1e-5)


def test_one_wrong_token_makes_an_example_wrong() -> None:
    evaluation = fitted_labels(member(addition(5, "<eos> a op b = c <eos>"), TRANSFORMER))
    answers = plain_logits(evaluation, "test").argmax(axis=-1).astype(np.int32)
    for position in (0, 1):
        targets = answers.copy()
        targets[1:, position] = (targets[1:, position] + 1) % 5
        test = evaluation.splits["test"]._replace(true_targets=targets)
        changed = dataclasses.replace(evaluation, splits=evaluation.splits | {"test": test})
        assert numbers(Accuracy(), changed)["accuracy/test"] == pytest.approx(1 / len(answers))


def test_without_corruption_its_splits_are_absent() -> None:
    evaluation = member(addition(7), FORMS[0][1])
    assert set(numbers(Accuracy(), evaluation)) == {"accuracy/train", "accuracy/test"}
    assert set(numbers(Loss(), evaluation)) == {"loss/train", "loss/test"}


@pytest.mark.parametrize(("corruption", "empty"), [(0.001, ("corrupted", "corrupted_true")), (1.0, ("uncorrupted",))])
def test_an_empty_mask_counts_as_zero(corruption: float, empty: tuple[str, ...]) -> None:
    values = numbers(Loss(), member(addition(7, corruption=corruption), FORMS[0][1]))
    assert all(math.isfinite(value) for value in values.values())
    assert {name for name in CORRUPTION_SPLITS if values[f"loss/{name}"] == 0} == set(empty)


def test_members_of_different_corruption_are_measured_side_by_side() -> None:
    alone = [fitted_labels(member(addition(7, corruption=xi), FORMS[0][1])) for xi in (0.2, 0.7)]
    together = jax.tree.map(lambda *leaves: jnp.stack(leaves), *alone)
    for config in (Accuracy(), Loss(), WeightNorm(), NeuronIPR()):
        values = jax.jit(jax.vmap(lambda each, config=config: config.values(each)))(together)
        for i, each in enumerate(alone):
            of_member = {key: float(value[i]) for key, value in values.items()}
            assert of_member == pytest.approx(numbers(config, each), rel=1e-5), (config, i)


def test_weight_norm_is_over_parameters_alone() -> None:
    params = {
        "layer": {"kernel": jnp.array([[3.0]]), "bias": jnp.array([-4.0])},
        "output": {"kernel": jnp.array([12.0])},
    }
    variables = {"params": params, "batch_stats": {"mean": jnp.array([100.0])}}
    evaluation = dataclasses.replace(member(addition(7), FORMS[0][1]), variables=variables)
    assert numbers(WeightNorm(), evaluation) == {"weight_norm": 13.0}


@pytest.mark.parametrize("p", [13, 97])
def test_a_cosine_has_participation_ratio_1(p: int) -> None:
    k, phase = np.meshgrid(np.arange(1, p // 2 + 1), [0.0, 0.3, 2.0, 4.4], indexing="ij")
    angle = 2 * np.pi * k[..., None] * np.arange(p) / p + phase[..., None]
    for amplitude in (1e-12, 0.01, 300.0):
        rows = jnp.asarray(amplitude * np.cos(angle).reshape(-1, p), jnp.float32)
        np.testing.assert_allclose(inverse_participation_ratio(rows), 1.0, rtol=1e-4)


def test_a_full_spectrum_would_halve_the_ratio_of_a_cosine() -> None:
    row = np.cos(2 * np.pi * 3 * np.arange(13) / 13 + 1)
    power = np.abs(np.fft.fft(row)) ** 2
    full = (power**2).sum() / power.sum() ** 2
    (one_sided,) = inverse_participation_ratio(jnp.asarray(row[None], jnp.float32))
    assert full == pytest.approx(0.5)
    assert float(one_sided) == pytest.approx(2 * full, rel=1e-4)


@pytest.mark.parametrize("p", [12, 13])
def test_a_single_spike_has_a_white_spectrum(p: int) -> None:
    ratios = inverse_participation_ratio(jnp.eye(p) * -2.5)
    np.testing.assert_allclose(ratios, 1 / (p // 2 + 1), rtol=1e-5)


def test_two_equal_cosines_have_ratio_one_half_and_zeros_none() -> None:
    n = np.arange(13)
    rows = np.stack([np.cos(2 * np.pi * 2 * n / 13) + np.sin(2 * np.pi * 5 * n / 13), np.zeros(13)])
    np.testing.assert_allclose(inverse_participation_ratio(jnp.asarray(rows, jnp.float32)), [0.5, 0.0], rtol=1e-4)


def test_a_neuron_s_ratio_is_the_mean_of_its_three_weights() -> None:
    p = 13
    wave = np.cos(2 * np.pi * np.arange(p) / p)
    spike = np.eye(p)[0]
    kernels = np.stack([np.stack([wave, wave, spike]), np.stack([wave, spike, wave])]), np.stack([wave, wave, spike])
    params = {"layer_0": {"kernel": kernels[0].transpose(0, 2, 1)}, "output": {"kernel": kernels[1]}}
    variables = {"params": jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), params)}
    evaluation = member(addition(p), squared_mlp(3), [variables])
    each = [1.0, (2 + 1 / 7) / 3, (1 + 2 / 7) / 3]
    values = numbers(NeuronIPR(threshold=0.5), evaluation)
    assert values == pytest.approx({"ipr": sum(each) / 3, "low_ipr_fraction": 1 / 3}, rel=1e-4)
    assert numbers(NeuronIPR(threshold=0.8), evaluation)["low_ipr_fraction"] == pytest.approx(2 / 3)


def normed(*steps: tuple[list[np.ndarray], list[float]], **bounds: float) -> dict[tuple[int, str], float]:
    """The rows of `NormByIPR` of networks at steps 0, 10, ...: neurons of one vector each, and their scales."""
    variables: list[Variables] = []
    for neurons, scales in steps:
        vectors = np.array(neurons)
        params = {"layer_0": {"kernel": np.stack([vectors.T] * 2)}, "output": {"kernel": vectors}}
        variables.append({"params": {**params, "norm_0": {"scale": np.array(scales)}}})
    config = dataclasses.replace(squared_mlp(len(steps[0][1])), batch_norm=True)
    as_arrays = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), variables)
    return table_of(NormByIPR(**bounds), members(addition(13), config, as_arrays))


WAVE, SPIKE = np.cos(2 * np.pi * 2 * np.arange(13) / 13), np.eye(13)[3]  # of IPR 1 and 1/7
CORRELATION, PERIODIC, APERIODIC = "norm_ipr_correlation", "norm_scale.periodic", "norm_scale.aperiodic"


def test_batch_norm_scales_are_averaged_by_size_over_each_kind_of_neuron() -> None:
    found = normed(([WAVE, WAVE, SPIKE, SPIKE], [3.0, -5.0, 0.5, -1.5]))
    # Two values of IPR at a distance d, scales 4 -+ 1 and 1 -+ 0.5: covariance 0.75 d, variances d^2 / 4 and 2.875.
    correlation = 0.75 / (0.25 * 2.875) ** 0.5
    expected = {(0, CORRELATION): correlation, (0, PERIODIC): 4, (0, APERIODIC): 1}
    assert found == pytest.approx(expected, rel=1e-4)


def test_every_snapshot_has_rows_and_a_kind_without_neurons_has_none() -> None:
    both = [WAVE + 2 * SPIKE] * 2  # between the two bounds
    one = ([WAVE, SPIKE], [2.0, 1.0])
    found = normed(one, ([WAVE, SPIKE], [1.0, 2.0]), ([WAVE, WAVE], [2.0, 1.0]), (both, [1.0, 2.0]))
    kinds = [(0, PERIODIC), (0, APERIODIC), (10, PERIODIC), (10, APERIODIC), (20, PERIODIC)]
    assert set(found) == {*kinds, *((step, CORRELATION) for step in (0, 10, 20, 30))}
    assert [found[step, CORRELATION] for step in (0, 10, 20, 30)] == pytest.approx([1, -1, 0, 0])
    assert (0, APERIODIC) not in normed(one, low=0.1)
    assert (0, PERIODIC) not in normed(one, high=1.1)


def test_scales_by_ipr_need_batch_norm() -> None:
    with pytest.raises(UserError, match=r"NormByIPR: .* expected model\.batch_norm=true"):
        condition(addition(7), squared_mlp(4), analyses=(NormByIPR(),))


def memoriser(p: int, noise: int, seed: int = 0) -> Variables:
    """Returns a network of 25 periodic neurons, which add, beside `noise` random ones of small weight."""
    params = trigonometric(p, {3: 5.0}, {3: 5})["params"]
    draw = np.random.default_rng(seed)
    into = np.concatenate([0.3 * draw.normal(size=(2, p, noise)), params["layer_0"]["kernel"]], axis=2)
    out = np.concatenate([0.1 * draw.normal(size=(noise, p)), params["output"]["kernel"]], axis=0)
    new = {"layer_0": {"kernel": into}, "output": {"kernel": out}}
    return {"params": jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), new)}


def test_pruning_keeps_the_neurons_that_the_order_says() -> None:
    snapshots = members(addition(13), squared_mlp(50), [{"params": {}}, memoriser(13, noise=25)])
    lowest = table_of(PruneNeurons(order="lowest", fractions=(0.0, 0.5)), snapshots)
    highest = table_of(PruneNeurons(order="highest", fractions=(0, 0.5)), snapshots)
    # The frequency 3 alone tells the 13 sums apart, by less than the noise beside it.
    assert lowest[10, "accuracy.pruned_lowest_ipr.0.5/test"] == 1
    assert lowest[10, "accuracy.pruned_lowest_ipr.0.5/train"] == 1
    assert highest[10, "accuracy.pruned_highest_ipr.0.5/test"] < 0.4
    assert set(lowest) == {
        (10, f"accuracy.pruned_lowest_ipr.{fraction}/{split}")
        for fraction in ("0", "0.5")
        for split in ("train", "test")
    }


@pytest.mark.parametrize("order", ["lowest", "highest"])
@pytest.mark.parametrize("bias", [False, True])
def test_pruning_against_plain_numpy(order: str, bias: bool) -> None:
    p, width = 11, 20
    config = MLPConfig(hidden=(width,), bias=bias, init_std=0.7, activation="relu", batch_norm=bias)
    task = addition(p, corruption=0.3)
    snapshots = members(task, config)
    evaluation = snapshots.evaluation(snapshots.last())
    kernel = np.asarray(evaluation.variables["params"]["layer_0"]["kernel"], np.float64)
    out = np.asarray(evaluation.variables["params"]["output"]["kernel"], np.float64)
    power = np.abs(np.fft.rfft(np.stack([kernel[0].T, kernel[1].T, out]), axis=-1)) ** 2
    ipr = ((power**2).sum(-1) / power.sum(-1) ** 2).mean(0)
    ranked = sorted(range(width), key=lambda n: ipr[n] if order == "lowest" else -ipr[n])
    fractions = (0.0, 0.24, 0.26, 0.9, 1.0)
    found = table_of(PruneNeurons(order=order, fractions=fractions), snapshots)
    for fraction in fractions:
        params = jax.tree.map(np.array, evaluation.variables["params"])
        for neuron in ranked[: round(fraction * width)]:
            params["layer_0"]["kernel"][:, :, neuron] = 0
            params["output"]["kernel"][neuron] = 0
        pruned = dataclasses.replace(evaluation, variables={**evaluation.variables, "params": params})
        for split, value in by_loops(pruned, right).items():
            key = f"accuracy.pruned_{order}_ipr.{fraction:g}/{split}"
            assert found[10, key] == pytest.approx(value, abs=1e-6), key


def test_pruning_nothing_and_everything() -> None:
    snapshots = members(addition(11, corruption=0.3), MLPConfig(hidden=(20,), bias=False, init_std=0.7))
    found = table_of(PruneNeurons(order="lowest", fractions=(0.0, 1.0)), snapshots)
    unpruned = numbers(Accuracy(), snapshots.evaluation(10))
    assert {key: found[10, key.replace("accuracy", "accuracy.pruned_lowest_ipr.0")] for key in unpruned} == unpruned
    # With no neuron left all logits are zero, and the first of equal logits is 0.
    for split in ("train", "test"):
        zeros = (snapshots.splits[split].targets == 0).mean()
        assert found[10, f"accuracy.pruned_lowest_ipr.1/{split}"] == pytest.approx(zeros)


@pytest.mark.parametrize("loss", [nats, squares])
def test_a_trigonometric_network_is_its_key_frequencies(loss: Any) -> None:
    p = 13
    snapshots = members(addition(p), squared_mlp(50), [trigonometric(p, {2: 3.0, 5: 2.0}, {2: 5, 5: 5})], loss)
    found = table_of(ProgressMeasures(neurons=0.5), snapshots)
    c, s = np.arange(p), np.arange(p)[:, None]
    angle = 2 * np.pi * (s - c) / p
    logits = jnp.asarray(3 * np.cos(2 * angle) + 2 * np.cos(5 * angle), jnp.float32)
    own = float(loss(logits[:, None], jnp.arange(p)[:, None]).mean())
    # Excluded logits are all zero.
    excluded = math.log(p) if loss is nats else 1 / p
    expected = {"restricted_loss/all": own, "excluded_loss/train": excluded, "key_frequencies": 2, "key_variance": 1}
    assert {key: found[0, key] for key in expected} == pytest.approx(expected, rel=1e-4)
    assert {step for step, _ in found} == {0}
    assert {key for _, key in found} == {*expected, "gini"}


def test_a_component_that_is_not_key_leaves_the_restricted_loss_alone() -> None:
    p = 13
    phases = {2: 5, 5: 5, 3: 3}
    clean = members(addition(p), squared_mlp(50), [trigonometric(p, {2: 3.0, 5: 2.0}, phases)])
    mixed = members(addition(p), squared_mlp(59), [trigonometric(p, {2: 3.0, 5: 2.0, 3: 4.0}, phases)])
    other = members(addition(p), squared_mlp(9), [trigonometric(p, {3: 4.0}, phases)])
    config = ProgressMeasures(neurons=0.3)
    before, after = table_of(config, clean), table_of(config, mixed)
    assert after[0, "key_frequencies"] == 2
    assert after[0, "restricted_loss/all"] == pytest.approx(before[0, "restricted_loss/all"], rel=1e-4)
    assert after[0, "key_variance"] == pytest.approx((9 + 4) / (9 + 4 + 16), rel=1e-4)
    loss_of_other = numbers(Loss(), other.evaluation(0))["loss/train"]
    assert after[0, "excluded_loss/train"] == pytest.approx(loss_of_other, rel=1e-4)
    every = table_of(ProgressMeasures(neurons=0.1), mixed)
    assert every[0, "key_frequencies"] == 3
    assert every[0, "key_variance"] == pytest.approx(1, rel=1e-4)


def test_a_network_without_its_key_frequencies_is_at_chance() -> None:
    p = 13
    phases = {2: 5, 5: 5, 3: 3}
    amplitudes = {2: 3.0, 5: 2.0, 3: 4.0}

    def loss(*frequencies: int) -> float:
        chosen = {k: amplitudes[k] for k in frequencies}
        width = sum(phases[k] ** 2 for k in frequencies)
        return numbers(Loss(), member(addition(p), squared_mlp(width), [trigonometric(p, chosen, phases)]))["loss/test"]

    def ablated(neurons: float, *frequencies: int) -> dict[str, float]:
        chosen = {k: amplitudes[k] for k in frequencies}
        width = sum(phases[k] ** 2 for k in frequencies)
        snapshots = members(addition(p), squared_mlp(width), [{"params": {}}, trigonometric(p, chosen, phases)])
        found = table_of(AblateFrequencies(neurons=neurons), snapshots)
        assert {step for step, _ in found} == {10}
        return {key.removeprefix("ablated_loss."): value for (_, key), value in found.items()}

    chance = math.log(p)
    assert ablated(0.5, 2, 5) == pytest.approx(
        {
            "nothing/test": loss(2, 5),
            "keys/test": chance,
            "others/test": loss(2, 5),
            "one_key/test": loss(2),  # the smaller of two amplitudes matters least
            "one_other/test": loss(2, 5),
            "chance": chance,
        },
        rel=1e-4,
    )
    # The frequency 3 has too few neurons to be key.
    assert ablated(0.3, 2, 5, 3) == pytest.approx(
        {
            "nothing/test": loss(2, 5, 3),
            "keys/test": loss(3),
            "others/test": loss(2, 5),
            "one_key/test": min(loss(2, 3), loss(5, 3)),
            "one_other/test": max(loss(2, 5), loss(2, 5, 3)),
            "chance": chance,
        },
        rel=1e-4,
    )
    assert ablated(1.0, 2, 5)["one_key/test"] == pytest.approx(loss(2, 5), rel=1e-4)  # there is none


@pytest.mark.parametrize("p", [7, 8])
def test_the_components_of_a_frequency_are_projections_on_eight_waves(p: int) -> None:
    logits = np.random.default_rng(0).normal(size=(p, p, 3))
    a, b = np.meshgrid(np.arange(p), np.arange(p), indexing="ij")
    chosen = np.arange(p // 2 + 1) == 2
    expected = np.zeros_like(logits)
    w = 2 * np.pi * 2 / p
    of_a, of_b = (np.cos(w * a), np.sin(w * a)), (np.cos(w * b), np.sin(w * b))
    for wave in [*of_a, *of_b, *(x * y for x in of_a for y in of_b)]:
        direction = wave / np.linalg.norm(wave)
        expected += direction[..., None] * np.einsum("ab,abv->v", direction, logits)
    found = components(jnp.asarray(logits, jnp.float32), jnp.asarray(chosen))
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_key_frequencies_are_those_of_the_last_snapshot() -> None:
    p = 13
    series = [trigonometric(p, {k: 3.0}, {k: 5}) for k in (4, 6)]
    found = table_of(ProgressMeasures(), members(addition(p), squared_mlp(25), series))
    assert found[0, "key_variance"] == pytest.approx(0, abs=1e-6)
    assert found[10, "key_variance"] == pytest.approx(1, rel=1e-4)
    assert found[0, "restricted_loss/all"] == pytest.approx(math.log(p), rel=1e-4)


def unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector)


@pytest.mark.parametrize("p", [7, 8])
@pytest.mark.parametrize(("form", "model"), [("a b =", TRANSFORMER), ("a b", MLPConfig(hidden=(12,), init_std=0.5))])
def test_progress_measures_by_explicit_projections(p: int, form: str, model: ModelConfig) -> None:
    snapshots = members(addition(p, form, corruption=0.4), model)
    a, b = (grid.ravel() for grid in np.meshgrid(np.arange(p), np.arange(p), indexing="ij"))
    inputs = np.stack([a, b, np.full(p * p, p)], axis=1)[:, : 3 if form == "a b =" else 2]
    frequencies = range(1, (p - 1) // 2 + 1)
    tap = "block_0/mlp/hidden" if form == "a b =" else "hidden_0"
    last = snapshots.variables_by_step[10]
    captured = jax.jit(lambda variables: capture(snapshots.module, variables, jnp.asarray(inputs), [tap]))(last)
    hidden = np.asarray(captured[tap], np.float64).reshape(p * p, -1)
    hidden = hidden - hidden.mean(0)
    explained = []
    for k in frequencies:
        w = 2 * np.pi * k / p
        of_a, of_b = (np.cos(w * a), np.sin(w * a)), (np.cos(w * b), np.sin(w * b))
        waves = [*of_a, *of_b, *(x * y for x in of_a for y in of_b)]
        explained.append(sum((unit(wave) @ hidden) ** 2 for wave in waves) / np.maximum((hidden**2).sum(0), 1e-30))
    live = (hidden**2).sum(0) > 1e-12
    follows = np.where(live, np.argmax(explained, axis=0), -1)
    shares = [float((follows == i).mean()) for i in range(len(frequencies))]
    key = [k for k, share in zip(frequencies, shares, strict=True) if share >= max(shares)]
    assert len(key) < len(frequencies)
    found = table_of(ProgressMeasures(neurons=max(shares)), snapshots)
    grid = jnp.asarray(hidden.reshape(p, p, -1), jnp.float32)
    np.testing.assert_allclose(explained_variance(grid)[1 : len(frequencies) + 1], explained, atol=1e-4)

    for step in snapshots.variables_by_step:
        logits = np.asarray(jitted_logits(snapshots.evaluation(step), inputs), np.float64)[:, 0, :p]
        parts = []
        for k in key:
            w = 2 * np.pi * k / p
            c_k, s_k = unit(np.cos(w * (a + b))), unit(np.sin(w * (a + b)))
            parts.append(np.outer(c_k, c_k @ logits) + np.outer(s_k, s_k @ logits))
        restricted, excluded = sum(parts) + logits.mean(0), logits - sum(parts)
        train = snapshots.splits["train"]
        at = train.inputs[:, 0] * p + train.inputs[:, 1]
        variance = sum((part**2).sum() for part in parts) / ((logits - logits.mean(0)) ** 2).sum()
        expected = {
            "restricted_loss/all": np.mean([plain_nats(restricted[[i]], [(a[i] + b[i]) % p]) for i in range(p * p)]),
            "excluded_loss/train": np.mean(
                [plain_nats(excluded[[i]], given) for i, given in zip(at, train.targets, strict=True)]
            ),
            "key_frequencies": len(key),
            "key_variance": variance,
        }
        assert {name: found[step, name] for name in expected} == pytest.approx(expected, rel=1e-4), step


def test_the_frequency_of_a_neuron_explains_its_square() -> None:
    p = 13
    angle = 2 * np.pi * 2 * np.arange(p) / p
    # Of (cos A + cos B)^2, 2 cos A cos B has variance 1, and cos^2 A, cos^2 B each 1/8 at twice the frequency.
    neurons = [(np.cos(angle + 0.4)[:, None] + np.cos(angle)[None]) ** 2, np.full((p, p), 3.0)]
    explained = np.asarray(explained_variance(jnp.asarray(np.stack(neurons, axis=-1), jnp.float32)))
    expected = np.zeros((7, 2))
    expected[2, 0], expected[4, 0] = 0.8, 0.2
    np.testing.assert_allclose(explained, expected, atol=1e-5)


def test_gini() -> None:
    assert float(gini(jnp.ones(8))) == pytest.approx(0, abs=1e-6)
    assert float(gini(jnp.eye(8)[3])) == pytest.approx(1 - 1 / 8)
    assert float(gini(jnp.zeros(8))) == 0
    values = np.random.default_rng(0).exponential(size=20)
    pairs = np.abs(values[:, None] - values[None]).sum() / (2 * 20 * values.sum())
    assert float(gini(jnp.asarray(values, jnp.float32))) == pytest.approx(pairs, rel=1e-5)


@pytest.mark.parametrize("p", [8, 13])
def test_fourier_norms_are_those_of_an_orthonormal_basis(p: int) -> None:
    n = np.arange(p)
    embedding = np.random.default_rng(0).normal(size=(p, 5))
    waves = [np.cos(2 * np.pi * k * n / p) for k in range(p // 2 + 1)]
    waves += [np.sin(2 * np.pi * k * n / p) for k in range(1, (p - 1) // 2 + 1)]
    expected = [np.linalg.norm(unit(wave) @ embedding) for wave in waves]
    assert len(expected) == p
    np.testing.assert_allclose(fourier_norms(jnp.asarray(embedding, jnp.float32)), expected, rtol=1e-4)


def test_the_gini_of_the_embedding() -> None:
    p = 13
    found = table_of(ProgressMeasures(), members(addition(p), squared_mlp(25), [trigonometric(p, {4: 3.0}, {4: 5})]))
    # One cosine and one sine of equal norm, of 13 components.
    assert found[0, "gini"] == pytest.approx(1 - 2 / p, rel=1e-4)


def test_a_network_that_is_constant_gives_numbers() -> None:
    snapshots = members(addition(7), squared_mlp(4))
    zeros = [jax.tree.map(jnp.zeros_like, each) for each in snapshots.variables_by_step.values()]
    snapshots = members(addition(7), squared_mlp(4), zeros)
    for config in (ProgressMeasures(), PruneNeurons(order="highest", fractions=(0.5,))):
        assert all(math.isfinite(value) for value in table_of(config, snapshots).values())
    assert table_of(ProgressMeasures(), snapshots)[10, "key_frequencies"] == 0
    assert numbers(NeuronIPR(), snapshots.evaluation(0)) == {"ipr": 0, "low_ipr_fraction": 1}


def test_all_snapshots_share_one_compiled_program() -> None:
    traced = []

    def counting(logits: jax.Array, targets: jax.Array) -> jax.Array:
        traced.append(logits.shape)
        return nats(logits, targets)

    series = [trigonometric(13, {4: amplitude}, {4: 5}) for amplitude in (1.0, 2.0, 3.0)]
    table_of(ProgressMeasures(), members(addition(13), squared_mlp(25), series, counting))
    assert len(traced) == 2


def condition(task: Task, model: ModelConfig, **changes: Any) -> Condition:
    fields = {"name": "a", "task": task, "model": model, "optimizer": SGD(learning_rate=1), "steps": 9}
    return Condition(**(fields | changes))


TWO_LAYERS = TransformerConfig(layers=2, width=8, heads=2, mlp_width=12)


@pytest.mark.parametrize(
    ("task", "model"),
    [
        (addition(7, "a b ="), MLPConfig(hidden=(4,))),
        (addition(7), MLPConfig(hidden=(4, 4))),
        (addition(7), TRANSFORMER),
    ],
)
def test_neurons_need_one_hidden_layer_on_two_tokens(task: Task, model: ModelConfig) -> None:
    with pytest.raises(UserError, match=r"NeuronIPR: got .* expected an MLPConfig with one hidden layer"):
        condition(task, model, measures=(NeuronIPR(),))
    with pytest.raises(UserError, match=r"PruneNeurons: got .* expected an MLPConfig with one hidden layer"):
        condition(task, model, analyses=(PruneNeurons(order="lowest", fractions=(0.5,)),))


@pytest.mark.parametrize(
    ("task", "model", "problem"),
    [
        (addition(7, "a b ="), TWO_LAYERS, "one layer"),
        (addition(7), MLPConfig(hidden=(4, 4)), "one hidden layer"),
        (addition(7, "<eos> a op b = c <eos>"), TRANSFORMER, "format 'a b' or 'a b ='"),
        (ModularTask(p=7, operation="x*y", train_fraction=0.5), TRANSFORMER, "operation 'x\\+y'"),
    ],
)
def test_analyses_of_frequencies_need_one_layer_and_addition(task: Task, model: ModelConfig, problem: str) -> None:
    for analysis in (ProgressMeasures(), AblateFrequencies()):
        with pytest.raises(UserError, match=f"{type(analysis).__name__}: .*{problem}"):
            condition(task, model, analyses=(analysis,))


def test_a_stopping_rule_looks_at_what_is_measured() -> None:
    for measure, near in (("acuracy", "accuracy/test"), ("weight_norm", "weight_norm")):
        stop = Stop(measure=measure)
        with pytest.raises(UserError, match=f"measures no '{stop.key}'; did you mean '{near}'"):
            condition(addition(7), squared_mlp(4), measures=(Accuracy(), Loss(), WeightNorm()), stop=stop)
    condition(addition(7), squared_mlp(4), measures=(WeightNorm(),), stop=Stop(measure="weight_norm", split=""))


@pytest.mark.parametrize("measure", [Accuracy(), Loss(), WeightNorm()])
@pytest.mark.parametrize("corruption", [0.0, 0.5])
def test_the_keys_of_a_measure_are_those_of_its_values(measure: Measure, corruption: float) -> None:
    task = dataclasses.replace(addition(7), corruption=corruption)
    found = measure.values(members(task, squared_mlp(4)).evaluation(0))
    assert measure.keys(condition(task, squared_mlp(4))) == found.keys()


def test_a_config_without_a_function_is_refused() -> None:
    snapshots = members(addition(7), squared_mlp(4))
    with pytest.raises(UserError, match="Measure: expected one of its kinds, AUC, Accuracy"):
        Measure().values(snapshots.evaluation(0))
    with pytest.raises(UserError, match=r"Analysis: expected one of its kinds, .*PruneNeurons"):
        Analysis().rows(snapshots)
