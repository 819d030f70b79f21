"""The random streams of a run: everything that training draws has a number of its own here.

A key is a function of (seed, stream, step) alone. Its implementation is part of it, so what it draws depends on no
setting of jax's or of the environment's.
"""

from __future__ import annotations

import contextlib
import enum

import jax
import jax.numpy as jnp


class Stream(enum.IntEnum):
    """Who draws. A number never changes: recorded runs have drawn from it."""

    INIT = 0
    BATCH = 1
    DROPOUT = 2
    TRANSFORM = 3  # of a start
    UPDATE_NOISE = 4
    WEIGHT_NOISE = 5


def stream_key(seed: jax.Array | int, stream: Stream, step: jax.Array | None = None) -> jax.Array:
    """Returns the key of a stream, or of one step of it.

    Args:
      seed: () int32, not negative.
      stream: who draws.
      step: () int32; None: the stream is drawn from once.
    """
    # jax.random.key would add jax_random_seed_offset, and take the default implementation.
    data_2 = jnp.stack([jnp.zeros((), jnp.uint32), jnp.asarray(seed, jnp.uint32)])
    key = jax.random.fold_in(jax.random.wrap_key_data(data_2, impl="threefry2x32"), int(stream))
    return key if step is None else jax.random.fold_in(key, step)


def fixed_draws() -> contextlib.AbstractContextManager[None]:
    """Within it, programs are traced that draw the same from a key whatever the environment says of threefry."""
    context: contextlib.AbstractContextManager[None] = jax.threefry_partitionable(True)
    return context
