"""Optimisers against their update rules, written out in numpy."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxgen.config import per_member_values
from jaxgen.experiments.grokfast.parts import AdamL2, EMAFilter, MAFilter
from jaxgen.experiments.omnigrok.parts import ConstantNorm
from jaxgen.experiments.power_grok.parts import AdamWToInit, NoisyAdamW
from jaxgen.optimizers import (
    SGD,
    AdamW,
    ClipNorm,
    Linear,
    Noam,
    OptimizerConfig,
    Schedule,
)

STEPS = 5
START = {"kernel": np.array([[1.0, -2.0], [0.5, 3.0]]), "bias": np.array([0.3, -0.7])}


def gradients(step: int) -> dict[str, np.ndarray]:
    return {name: np.sin(w * (step + 1)) for name, w in START.items()}


def ours(config: OptimizerConfig) -> dict[str, np.ndarray]:
    optimizer = config.build({k: jnp.float32(v) for k, v in per_member_values(config).items()}, 100)
    params = jax.tree.map(lambda w: jnp.array(w, jnp.float32), START)
    state = optimizer.init(params)
    for step in range(STEPS):
        grads = jax.tree.map(lambda g: jnp.array(g, jnp.float32), gradients(step))
        with jax.numpy_dtype_promotion("standard"):
            updates, state = optimizer.update(grads, state, params)
        params = optax.apply_updates(params, updates)
    return {name: np.asarray(w) for name, w in params.items()}


def adam(config, *, decoupled: float, added: float, decays=lambda name: True) -> dict[str, np.ndarray]:
    params = {name: w.copy() for name, w in START.items()}
    mean = {name: np.zeros_like(w) for name, w in START.items()}
    square = {name: np.zeros_like(w) for name, w in START.items()}
    for step in range(STEPS):
        rate = config.learning_rate * (min(1, (step + 1) / config.warmup) if config.warmup else 1)
        for name, gradient in gradients(step).items():
            gradient = gradient + added * params[name]
            mean[name] = config.b1 * mean[name] + (1 - config.b1) * gradient
            square[name] = config.b2 * square[name] + (1 - config.b2) * gradient**2
            direction = mean[name] / (1 - config.b1 ** (step + 1))
            direction /= np.sqrt(square[name] / (1 - config.b2 ** (step + 1))) + config.eps
            decay = decoupled if decays(name) else 0.0
            params[name] = params[name] - rate * (direction + decay * params[name])
    return params


def assert_equal(got: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    for name, w in expected.items():
        np.testing.assert_allclose(got[name], w, rtol=2e-5, err_msg=name)


@pytest.mark.parametrize("warmup", [0, 3])
def test_adamw_decays_by_the_learning_rate_times_the_decay(warmup: int) -> None:
    config = AdamW(learning_rate=0.01, weight_decay=15.0, warmup=warmup)
    assert_equal(ours(config), adam(config, decoupled=15.0, added=0.0))


def test_adamw_can_spare_vectors() -> None:
    config = AdamW(learning_rate=0.01, weight_decay=15.0, decay="matrices")
    assert_equal(ours(config), adam(config, decoupled=15.0, added=0.0, decays=lambda name: name == "kernel"))


def test_a_step_of_zero_gradient_only_shrinks() -> None:
    optimizer = AdamW(learning_rate=0.01).build({"learning_rate": 0.01, "weight_decay": 15.0}, 100)
    params = {"w": jnp.ones((2, 2))}
    with jax.numpy_dtype_promotion("standard"):
        updates, _ = optimizer.update({"w": jnp.zeros((2, 2))}, optimizer.init(params), params)
    np.testing.assert_allclose(params["w"] + updates["w"], 1 - 0.01 * 15, rtol=1e-6)


def test_adam_l2_adds_the_decay_to_the_gradient() -> None:
    config = AdamL2(learning_rate=0.01, l2=0.5)
    assert_equal(ours(config), adam(config, decoupled=0.0, added=0.5))


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_sgd(momentum: float) -> None:
    params = {name: w.copy() for name, w in START.items()}
    velocity = {name: np.zeros_like(w) for name, w in START.items()}
    for step in range(STEPS):
        for name, gradient in gradients(step).items():
            velocity[name] = momentum * velocity[name] + gradient + 0.1 * params[name]
            params[name] = params[name] - 0.05 * velocity[name]
    assert_equal(ours(SGD(learning_rate=0.05, momentum=momentum, l2=0.1)), params)


def filtered(filter_gradient) -> dict[str, np.ndarray]:
    """Gradient descent with momentum on gradients that `filter_gradient(history)` makes of those so far."""
    params = {name: w.copy() for name, w in START.items()}
    velocity = {name: np.zeros_like(w) for name, w in START.items()}
    for step in range(STEPS):
        for name in START:
            history = [gradients(s)[name] for s in range(step + 1)]
            velocity[name] = 0.9 * velocity[name] + filter_gradient(history)
            params[name] = params[name] - 0.05 * velocity[name]
    return params


DESCENT = SGD(learning_rate=0.05, momentum=0.9)


def test_the_ema_filter_adds_the_moving_average_that_starts_as_the_first_gradient() -> None:
    def ema(history):
        mean = history[0]
        for gradient in history[1:]:
            mean = 0.8 * mean + 0.2 * gradient
        return history[-1] + 2.0 * mean

    assert_equal(ours(EMAFilter(base=DESCENT, momentum=0.8, gain=2.0)), filtered(ema))


@pytest.mark.parametrize("window", [1, 3, STEPS, STEPS + 1])
def test_the_ma_filter_adds_the_mean_of_a_window_once_it_is_full(window: int) -> None:
    def ma(history):
        return history[-1] + (5.0 * np.mean(history[-window:], axis=0) if len(history) >= window else 0.0)

    assert_equal(ours(MAFilter(base=DESCENT, window=window, gain=5.0)), filtered(ma))


@pytest.mark.parametrize(
    "base", [AdamW(learning_rate=0.1, weight_decay=5.0), AdamL2(learning_rate=0.1, l2=0.1), DESCENT], ids=str
)
def test_a_filter_of_no_gain_changes_nothing(base: OptimizerConfig) -> None:
    assert_equal(ours(EMAFilter(base=base, momentum=0.9, gain=0.0)), ours(base))
    assert_equal(ours(MAFilter(base=base, window=2, gain=0.0)), ours(base))


def test_clipping_is_of_all_gradients_together_and_spares_small_ones() -> None:
    params = {name: w.copy() for name, w in START.items()}
    factors = []
    for step in range(STEPS):
        factors.append(min(1.0, 1.7 / norm(gradients(step))))
        for name, gradient in gradients(step).items():
            params[name] = params[name] - 0.05 * factors[-1] * gradient
    assert min(factors) < 1.0 == max(factors)
    assert_equal(ours(ClipNorm(base=SGD(learning_rate=0.05), max_norm=1.7)), params)


def norm(params: dict[str, np.ndarray]) -> float:
    return float(np.sqrt(sum(np.sum(w**2) for w in params.values())))


@pytest.mark.parametrize("base", [AdamW(learning_rate=0.1, weight_decay=5.0), DESCENT], ids=str)
def test_a_constant_norm_holds_for_all_parameters_together(base: OptimizerConfig) -> None:
    held, free = ours(ConstantNorm(base=base)), ours(base)
    assert norm(held) == pytest.approx(norm(START), rel=1e-5)
    assert norm(free) != pytest.approx(norm(START), rel=1e-2)


def test_one_step_of_constant_norm_is_a_step_and_a_scaling() -> None:
    config = ConstantNorm(base=SGD(learning_rate=0.5))
    optimizer = config.build({k: jnp.float32(v) for k, v in per_member_values(config).items()}, 100)
    params = jax.tree.map(lambda w: jnp.array(w, jnp.float32), START)
    grads = jax.tree.map(lambda g: jnp.array(g, jnp.float32), gradients(0))
    with jax.numpy_dtype_promotion("standard"):
        updates, _ = optimizer.update(grads, optimizer.init(params), params)
    stepped = {name: w - 0.5 * gradients(0)[name] for name, w in START.items()}
    scaled = {name: w * norm(START) / norm(stepped) for name, w in stepped.items()}
    assert_equal(optax.apply_updates(params, updates), scaled)


def test_wrappers_wrap_each_other() -> None:
    config = ConstantNorm(base=EMAFilter(base=DESCENT, momentum=0.5, gain=1.0))
    assert set(per_member_values(config)) == {"base.momentum", "base.gain", "base.base.learning_rate", "base.base.l2"}
    assert norm(ours(config)) == pytest.approx(norm(START), rel=1e-5)


def test_decay_towards_the_start() -> None:
    config = AdamWToInit(learning_rate=0.01, weight_decay=15.0)
    params = {name: w.copy() for name, w in START.items()}
    plain = AdamW(learning_rate=0.01).build({"learning_rate": 0.01, "weight_decay": 0.0}, 100)
    state = plain.init(START)
    for step in range(STEPS):
        with jax.numpy_dtype_promotion("standard"):
            updates, state = plain.update(gradients(step), state, params)
        params = {name: w + np.asarray(updates[name]) - 0.01 * 15.0 * (w - START[name]) for name, w in params.items()}
    assert_equal(ours(config), params)


def test_a_step_of_zero_gradient_goes_back_to_the_start() -> None:
    config = AdamWToInit(learning_rate=0.01, weight_decay=15.0, decay="matrices")
    optimizer = config.build({"learning_rate": 0.01, "weight_decay": 15.0}, 100)
    state = optimizer.init({"w": jnp.ones((2, 2)), "b": jnp.ones(2)})
    moved = {"w": jnp.full((2, 2), 3.0), "b": jnp.full(2, 3.0)}
    with jax.numpy_dtype_promotion("standard"):
        updates, _ = optimizer.update(jax.tree.map(jnp.zeros_like, moved), state, moved)
    np.testing.assert_allclose(moved["w"] + updates["w"], 3 - 0.01 * 15 * (3 - 1), rtol=1e-6)
    np.testing.assert_array_equal(updates["b"], 0)


def test_update_noise_is_gaussian_and_its_key_decides() -> None:
    config = NoisyAdamW(learning_rate=0.5, update_noise=2.0)
    optimizer = config.build({"learning_rate": 0.5, "weight_decay": 0.0, "update_noise": 2.0}, 100)
    params = {"a": jnp.zeros((100, 100)), "b": jnp.zeros((100, 100))}
    with jax.numpy_dtype_promotion("standard"):
        first, again, other = (
            optimizer.update(params, optimizer.init(params), params, key=jax.random.key(seed))[0] for seed in (0, 0, 1)
        )
    for name in params:
        assert np.mean(first[name]) == pytest.approx(0, abs=0.04)
        assert np.std(first[name]) == pytest.approx(0.5 * 2.0, abs=0.03)
        np.testing.assert_array_equal(first[name], again[name])
    for one, two in [(first["a"], first["b"]), (first["a"], other["a"])]:
        assert abs(np.corrcoef(np.ravel(one), np.ravel(two))[0, 1]) < 0.04


def test_noise_is_left_out_at_zero() -> None:
    config = NoisyAdamW(learning_rate=0.01, weight_decay=15.0)
    assert_equal(ours(config), adam(config, decoupled=15.0, added=0.0))


def factors(schedule: Schedule, counts: range, horizon: int = 100) -> np.ndarray:
    return np.array([schedule.factor(jnp.int32(count), horizon) for count in counts])


def test_noam_rises_to_its_warm_up_and_falls_as_the_root() -> None:
    found = factors(Noam(width=256, warmup=50), range(200))
    expected = [256**-0.5 * min(n**-0.5, n / 50**1.5) for n in range(1, 201)]
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert np.argmax(found) == 49
    # Twice the root is the factor of the paper's own setting.
    assert 2 * factors(Noam(width=256, warmup=5000), range(4999, 5000))[0] == pytest.approx(1.768e-3, rel=1e-3)


def test_linear_falls_to_the_end_of_the_run() -> None:
    np.testing.assert_allclose(factors(Linear(), range(101)), [1 - n / 100 for n in range(101)], atol=1e-6)
    late = factors(Linear(least=0.2, after=50), range(120))
    expected = [1.0] * 50 + [1 - 0.8 * min(n / 50, 1) for n in range(70)]
    np.testing.assert_allclose(late, expected, atol=1e-6)
    assert AdamW(learning_rate=1.0, schedule=Linear()).uses_horizon()
    assert not AdamW(learning_rate=1.0, schedule=Noam(width=4, warmup=2)).uses_horizon()
