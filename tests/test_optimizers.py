"""Optimisers against their update rules, written out in numpy."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxgen.config import per_member_values
from jaxgen.train.config import SGD, AdamL2, AdamW, OptimizerConfig
from jaxgen.train.optimizers import build_optimizer

STEPS = 5
START = {"kernel": np.array([[1.0, -2.0], [0.5, 3.0]]), "bias": np.array([0.3, -0.7])}


def gradients(step: int) -> dict[str, np.ndarray]:
    return {name: np.sin(w * (step + 1)) for name, w in START.items()}


def ours(config: OptimizerConfig) -> dict[str, np.ndarray]:
    optimizer = build_optimizer(config, {k: jnp.float32(v) for k, v in per_member_values(config).items()})
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
    optimizer = build_optimizer(AdamW(learning_rate=0.01), {"learning_rate": 0.01, "weight_decay": 15.0})
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
