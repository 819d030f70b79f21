"""Matrix products inside a TPU kernel."""

from __future__ import annotations

import jax
import jax.numpy as jnp

Dimensions = tuple[tuple[tuple[int, ...], tuple[int, ...]], tuple[tuple[int, ...], tuple[int, ...]]]

# Which dimension of the left and of the right factor is summed over.
NN: Dimensions = (((1,), (0,)), ((), ()))
NT: Dimensions = (((1,), (1,)), ((), ()))
TN: Dimensions = (((0,), (0,)), ((), ()))


def product(left: jax.Array, right: jax.Array, dimensions: Dimensions) -> jax.Array:
    """Returns a product in float32; of float32 factors it has float32's precision."""
    highest = left.dtype == jnp.float32
    precision = jax.lax.Precision.HIGHEST if highest else jax.lax.Precision.DEFAULT
    return jax.lax.dot_general(
        left, right, dimensions, precision=precision, preferred_element_type=jnp.float32
    )  # fmt: skip
