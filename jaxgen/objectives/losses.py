"""Training losses, one value an example: logits (B, K, V) and targets, (B, K) or real (B, K, V), give (B,).

A position whose target is IGNORED is left out of the mean over the K read-out positions, and of the gradient, even if
its logits are not finite.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jaxgen.tasks.base import IGNORED


def cross_entropy(logits_BKV: jax.Array, targets_BK: jax.Array) -> jax.Array:
    """Returns -log softmax of the target, in nats, averaged over the K read-out positions.

    It is log(1 + sum over j != y of exp(z_j - z_y)), summed before the 1 is added. A float32 log_softmax gives zero
    loss and zero gradient at margins near 40. This form still gives both, so the float64 loss of Nanda et al. is not
    needed.
    """
    logits_BKV = _where_asked(logits_BKV, targets_BK)
    target_BKV = jax.nn.one_hot(targets_BK, logits_BKV.shape[-1], dtype=jnp.bool_)
    target_BK1 = jnp.sum(jnp.where(target_BKV, logits_BKV, 0.0), axis=-1, keepdims=True)
    excess_BKV = jnp.where(target_BKV, -jnp.inf, logits_BKV - target_BK1)
    # log(1 + sum exp d) = m + log(exp(-m) + sum exp(d - m)); m cancels, so no gradient goes through it.
    shift_BK1 = jax.lax.stop_gradient(jnp.maximum(jnp.max(excess_BKV, axis=-1, keepdims=True), 0.0))
    others_BK = jnp.sum(jnp.exp(excess_BKV - shift_BK1), axis=-1)
    shift_BK = shift_BK1[..., 0]
    return _mean_of_asked(shift_BK + jnp.log1p(others_BK + jnp.expm1(-shift_BK)), targets_BK)


def mean_squared_error(logits_BKV: jax.Array, targets_BK: jax.Array) -> jax.Array:
    """Returns the squared distance to the one-hot target, averaged over K and V."""
    logits_BKV = _where_asked(logits_BKV, targets_BK)
    target_BKV = jax.nn.one_hot(targets_BK, logits_BKV.shape[-1], dtype=logits_BKV.dtype)
    return _mean_of_asked(jnp.mean((logits_BKV - target_BKV) ** 2, axis=-1), targets_BK)


def squared_error(outputs_BKV: jax.Array, targets_BKV: jax.Array) -> jax.Array:
    """Returns the squared distance to real targets, averaged over K and V."""
    return jnp.mean(jnp.square(outputs_BKV - targets_BKV), axis=(-2, -1))


def _where_asked(logits_BKV: jax.Array, targets_BK: jax.Array) -> jax.Array:
    """Returns the logits, with 0 where the target is IGNORED, because 0 times a gradient that is not finite is NaN."""
    return jnp.where((targets_BK != IGNORED)[..., None], logits_BKV, 0.0)


def _mean_of_asked(value_BK: jax.Array, targets_BK: jax.Array) -> jax.Array:
    """Returns the mean (B,) over the positions whose target is not IGNORED; 0 if there are none."""
    # An ensemble gives several answers for one target, as if at K positions.
    asked_BK = jnp.broadcast_to(targets_BK != IGNORED, value_BK.shape)
    count_B = jnp.maximum(jnp.sum(asked_BK, axis=-1, dtype=jnp.float32), 1.0)
    return jnp.sum(jnp.where(asked_BK, value_BK, 0.0), axis=-1) / count_B
