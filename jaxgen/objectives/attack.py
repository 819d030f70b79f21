"""Projected gradient ascent: perturbations of features that raise a loss.

Shape letters: B examples, D features.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp


def strongest(
    loss: Callable[[jax.Array], jax.Array],
    zero_BD: jax.Array,
    *,
    norm: Literal["l2", "linf"],
    radius: float | jax.Array,
    step_size: float | jax.Array,
    steps: int,
) -> jax.Array:
    """Returns the perturbations (B, D) that an `Attack` with these fields finds, each row inside the ball.

    Args:
      loss: maps perturbations (B, D) to the sum of the losses that each row should raise.
      zero_BD: the starting point.
      norm: the norm of the ball.
      radius: the radius of the ball, traced or not.
      step_size: the step size of the ascent, traced or not.
      steps: the number of steps of the ascent.
    """

    def step(_: int, delta_BD: jax.Array) -> jax.Array:
        gradient_BD = jax.grad(loss)(delta_BD)
        if norm == "linf":
            return jnp.clip(delta_BD + step_size * jnp.sign(gradient_BD), -radius, radius)
        delta_BD = delta_BD + step_size * _unit(gradient_BD)
        norm_B1 = jnp.linalg.norm(delta_BD, axis=1, keepdims=True)
        return delta_BD * jnp.minimum(1.0, radius / jnp.maximum(norm_B1, jnp.finfo(jnp.float32).tiny))

    return jax.lax.fori_loop(0, steps, step, zero_BD)


def _unit(gradient_BD: jax.Array) -> jax.Array:
    """Returns each row divided by its l2 norm; rows of zeros stay zero. The gradients of fitted examples are so small
    that their squares are 0 in float32."""
    largest_B1 = jnp.max(jnp.abs(gradient_BD), axis=1, keepdims=True)
    scaled_BD = gradient_BD / jnp.where(largest_B1 > 0, largest_B1, 1.0)
    return scaled_BD / jnp.maximum(jnp.linalg.norm(scaled_BD, axis=1, keepdims=True), 1.0)
