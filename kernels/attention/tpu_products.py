"""Matrix products inside a TPU kernel."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jaxgen.kernels.attention.problem import LARGEST

Dimensions = tuple[tuple[tuple[int, ...], tuple[int, ...]], tuple[tuple[int, ...], tuple[int, ...]]]

# The contracted dimensions of the left and of the right factor.
NN: Dimensions = (((1,), (0,)), ((), ()))
NT: Dimensions = (((1,), (1,)), ((), ()))
TN: Dimensions = (((0,), (0,)), ((), ()))


def product(left: jax.Array, right: jax.Array, dimensions: Dimensions) -> jax.Array:
    """Returns a product in float32; float32 factors give float32 precision."""
    highest = left.dtype == jnp.float32
    precision = jax.lax.Precision.HIGHEST if highest else jax.lax.Precision.DEFAULT
    return jax.lax.dot_general(
        left, right, dimensions, precision=precision, preferred_element_type=jnp.float32
    )  # fmt: skip


def without(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns x with zeros for numbers that are not finite, and (rows, 1) bool: whether all numbers of a row are
    finite."""
    # TPUs before v6e compare only float32.
    numbers = x.astype(jnp.float32)
    there = jnp.abs(numbers) <= LARGEST
    missing = jnp.max(jnp.where(there, 0.0, 1.0), axis=1, keepdims=True)
    return jnp.where(there, numbers, 0.0).astype(x.dtype), missing == 0


def spoiled(x: jax.Array, whole: jax.Array) -> jax.Array:
    """Returns x with nan in the rows that are not whole, so that their scores are nan."""
    return jnp.where(whole, x.astype(jnp.float32), jnp.nan).astype(x.dtype)
