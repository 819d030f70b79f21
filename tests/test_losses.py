"""Losses against float64 numpy, also where float32 log_softmax fails."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from jaxgen.objectives.losses import cross_entropy, mean_squared_error, squared_error
from jaxgen.tasks.base import IGNORED


def exact(logits_BKV: np.ndarray, targets_BK: np.ndarray) -> np.ndarray:
    z = logits_BKV.astype(np.float64)
    target = np.take_along_axis(z, targets_BK[..., None], axis=-1)
    others = np.where(np.arange(z.shape[-1]) == targets_BK[..., None], -np.inf, z - target)
    top = np.maximum(others.max(-1, keepdims=True), 0)
    total = np.expm1(-top[..., 0]) + np.exp(others - top).sum(-1)
    return (top[..., 0] + np.log1p(total)).mean(-1)


@given(
    logits=hnp.arrays(np.float32, (4, 2, 5), elements=st.floats(-100, 100, width=32)),
    targets=hnp.arrays(np.int32, (4, 2), elements=st.integers(0, 4)),
)
def test_cross_entropy_is_exact(logits: np.ndarray, targets: np.ndarray) -> None:
    np.testing.assert_allclose(cross_entropy(jnp.array(logits), jnp.array(targets)), exact(logits, targets), rtol=2e-5)


@given(logits=hnp.arrays(np.float32, (3, 1, 6), elements=st.floats(-20, 20, width=32)))
def test_its_gradient_is_softmax_minus_one_hot(logits: np.ndarray) -> None:
    targets = jnp.array([[0], [3], [5]], jnp.int32)
    gradient = jax.grad(lambda z: cross_entropy(z, targets).sum())(jnp.array(logits))
    z = logits.astype(np.float64)
    softmax = np.exp(z - z.max(-1, keepdims=True))
    softmax /= softmax.sum(-1, keepdims=True)
    np.testing.assert_allclose(gradient, softmax - np.eye(6)[np.array(targets)], atol=3e-6)


def test_a_margin_of_40_still_has_loss_and_gradient() -> None:
    logits = jnp.array([[[40.0, 0.0, 0.0]]])
    targets = jnp.zeros((1, 1), jnp.int32)
    loss, gradient = jax.value_and_grad(lambda z: cross_entropy(z, targets).sum())(logits)
    np.testing.assert_allclose(loss, 2 * np.exp(-40.0), rtol=1e-6)
    np.testing.assert_allclose(gradient[0, 0], np.exp(-40.0) * np.array([-2, 1, 1]), rtol=1e-6)
    assert -jax.nn.log_softmax(logits)[0, 0, 0] == 0


def test_mean_squared_error_averages_over_outputs() -> None:
    logits = jnp.array([[[1.0, 2.0, 0.0, 1.0]]])
    assert mean_squared_error(logits, jnp.array([[1]], jnp.int32))[0] == pytest.approx((1 + 1 + 0 + 1) / 4)


@pytest.mark.parametrize("loss", [cross_entropy, mean_squared_error])
def test_an_ignored_position_is_left_out_of_loss_and_gradient(loss) -> None:
    logits = jnp.array(np.random.default_rng(0).normal(size=(4, 3, 5)), jnp.float32)
    targets = jnp.array([[1, 2, IGNORED], [IGNORED, 0, 4], [3, 3, 3], [IGNORED] * 3], jnp.int32)
    alone = loss(logits.reshape(12, 1, 5), jnp.maximum(targets, 0).reshape(12, 1)).reshape(4, 3)
    asked = np.asarray(targets) != IGNORED
    expected = [np.asarray(row)[those].mean() if those.any() else 0 for row, those in zip(alone, asked, strict=True)]
    np.testing.assert_allclose(loss(logits, targets), expected, rtol=1e-6)
    gradient = np.asarray(jax.grad(lambda z: loss(z, targets).sum())(logits))
    np.testing.assert_array_equal(np.any(gradient != 0, axis=-1), asked)


def test_squared_error_is_of_real_targets_and_averages_over_outputs() -> None:
    outputs = jnp.array([[[1.0, 2.0]], [[0.0, -1.0]]])
    targets = jnp.array([[[0.5, 2.0]], [[3.0, 0.0]]])
    np.testing.assert_allclose(squared_error(outputs, targets), [0.25 / 2, (9 + 1) / 2])


@pytest.mark.parametrize("loss", [cross_entropy, mean_squared_error])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_an_ignored_position_may_hold_what_is_not_finite(loss, value: float) -> None:
    logits = jnp.array(np.random.default_rng(0).normal(size=(2, 3, 5)), jnp.float32)
    targets = jnp.array([[1, IGNORED, 2], [IGNORED, 0, IGNORED]], jnp.int32)
    hidden = jnp.where((targets == IGNORED)[..., None], value, logits)
    for found, expected in zip(
        jax.value_and_grad(lambda z: loss(z, targets).sum())(hidden),
        jax.value_and_grad(lambda z: loss(z, targets).sum())(logits),
        strict=True,
    ):
        np.testing.assert_array_equal(found, expected)
