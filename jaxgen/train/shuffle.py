"""Epoch shuffles that are computed per index, so no order is stored or sorted."""

from __future__ import annotations

import jax
import jax.numpy as jnp

_ROUNDS = 6


def shuffled_index(index_N: jax.Array, count: int, key: jax.Array) -> jax.Array:
    """Applies a keyed permutation of range(count) to each index.

    It is a Feistel network over the next even power of two. Results beyond `count` go through it again until they fall
    inside, which keeps it a permutation (cycle walking).

    Args:
      index_N: (N,) int32 in [0, count).
      count: the size of the permuted range.
      key: a jax PRNG key.
    """
    half_bits = max(1, ((count - 1).bit_length() + 1) // 2)
    low = jnp.uint32((1 << half_bits) - 1)
    keys = jax.random.bits(key, (_ROUNDS,), jnp.uint32)

    def permute(value_N: jax.Array) -> jax.Array:
        left_N, right_N = value_N >> half_bits, value_N & low
        for round_key in keys:
            mixed_N = (right_N ^ round_key) * jnp.uint32(0x85EBCA6B)
            mixed_N = (mixed_N ^ (mixed_N >> 13)) * jnp.uint32(0xC2B2AE35)
            left_N, right_N = right_N, left_N ^ ((mixed_N ^ (mixed_N >> 16)) & low)
        return (left_N << half_bits) | right_N

    def walk(value_N: jax.Array) -> jax.Array:
        return jnp.where(value_N < count, value_N, permute(value_N))

    first_N = permute(index_N.astype(jnp.uint32))
    return jax.lax.while_loop(lambda value_N: jnp.any(value_N >= count), walk, first_N).astype(jnp.int32)
