"""The random streams of a run: everything that training draws has its own number here.

A key depends only on (seed, stream, step). It fixes its implementation, so its draws depend on no setting of jax or of
the environment.
"""

from __future__ import annotations

import contextlib
import enum

import jax
import jax.numpy as jnp


class Stream(enum.IntEnum):
    """The purposes of random draws. A number never changes, because recorded runs have drawn from it."""

    INIT = 0
    BATCH = 1
    DROPOUT = 2
    TRANSFORM = 3  # of a start
    UPDATE_NOISE = 4
    WEIGHT_NOISE = 5
    CURRICULUM = 6  # the order in which examples join
    POSITIONS = 7  # the places of tokens


def stream_key(seed: jax.Array | int, stream: Stream, step: jax.Array | None = None) -> jax.Array:
    """Returns the key of a stream, or of one step of it.

    Args:
      seed: () int32, not negative.
      stream: the purpose of the draws.
      step: () int32; None: the stream has only one draw.
    """
    # jax.random.key would add jax_random_seed_offset, and use the default implementation.
    data_2 = jnp.stack([jnp.zeros((), jnp.uint32), jnp.asarray(seed, jnp.uint32)])
    key = jax.random.fold_in(jax.random.wrap_key_data(data_2, impl="threefry2x32"), int(stream))
    return key if step is None else jax.random.fold_in(key, step)


def fixed_draws() -> contextlib.AbstractContextManager[None]:
    """Programs traced within it draw the same from a key, whatever jax's threefry settings are."""
    context: contextlib.AbstractContextManager[None] = jax.threefry_partitionable(True)
    return context
