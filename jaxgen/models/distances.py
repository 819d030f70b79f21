"""How places and distances are coded: what the kinds of jaxgen.models.positions compute.

Shape letters: B examples, S positions, Q queries, P places, N distances of S positions, H heads, C width of a head,
D width, K buckets.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax.typing import DTypeLike

Array = Any  # of numpy where the network's build knows it, else of jax


class Scoring(NamedTuple):
    """How a model scores keys."""

    causal: bool
    scale: float  # the factor of the products
    kernel_init: Any
    dtype: DTypeLike  # of the products


def looked_up(table_PX: np.ndarray, place: Array) -> Array:
    """Returns the rows of a table at places of any shape: of numpy if the places are."""
    return table_PX[place] if isinstance(place, np.ndarray) else jnp.asarray(table_PX)[place]


def sinusoids(place_P: np.ndarray, width: int) -> np.ndarray:
    """Returns (P, D) float32: sines at even, cosines at odd indices (Vaswani et al., section 3.5)."""
    angles = place_P[:, None] / 10000.0 ** (np.arange(0, width, 2) / width)
    return np.stack([np.sin(angles), np.cos(angles)], axis=-1).reshape(len(place_P), width).astype(np.float32)


def turned(x_BSHC: jax.Array, place_S: Array, rows: int, base: float) -> jax.Array:
    """Returns x with each pair of entries turned by its place's angle; places are (S,) or (B, S), below `rows`."""
    # Angles of large places need more digits than float32 has, so the tables are numpy's.
    angles_PC = np.arange(rows)[:, None] / base ** (np.arange(0, x_BSHC.shape[-1], 2) / x_BSHC.shape[-1])
    cos, sin = (
        jnp.asarray(looked_up(f(angles_PC).astype(np.float32), place_S))[..., None, :] for f in (np.cos, np.sin)
    )
    pairs = x_BSHC.astype(jnp.float32).reshape(*x_BSHC.shape[:-1], -1, 2)
    cos, sin = (each if each.ndim == 4 else each[None] for each in (cos, sin))
    even, odd = pairs[..., 0], pairs[..., 1]
    return jnp.stack([even * cos - odd * sin, even * sin + odd * cos], -1).reshape(x_BSHC.shape).astype(x_BSHC.dtype)


def distances(place_S: Array) -> Array:
    """Returns (N,) int32, N = 2S - 1: the signed distances of -(S - 1) to S - 1 steps."""
    xp = np if isinstance(place_S, np.ndarray) else jnp
    return xp.concatenate([-place_S[:0:-1], place_S])


def slopes(heads: int) -> np.ndarray:
    """Returns (H,) float32: the slopes of ALiBi."""
    below = 2 ** int(math.log2(heads))
    of_below = 2.0 ** (-8 / below * np.arange(1, below + 1))
    of_above = 2.0 ** (-8 / (2 * below) * np.arange(1, 2 * below + 1, 2))
    return np.concatenate([of_below, of_above[: heads - below]]).astype(np.float32)


def falling(steps_QS: Array, place_S: Array, heads: int, causal: bool) -> jax.Array:
    """Returns ALiBi's bias (1, H, Q, S) float32."""
    apart_QS = jnp.asarray(place_S)[jnp.abs(steps_QS)].astype(jnp.float32)
    if not causal:
        apart_QS -= 0.5 * (steps_QS > 0).astype(jnp.float32)
    return -jnp.asarray(slopes(heads))[None, :, None, None] * apart_QS[None, None]


def buckets(distance_N: np.ndarray, count: int, furthest: int, causal: bool) -> np.ndarray:
    """Returns T5's bucket (N,) int32 of each signed distance, that of the query less that of the key."""
    behind_N, first_N = np.maximum(distance_N, 0), np.zeros_like(distance_N)
    if not causal:
        count //= 2
        behind_N, first_N = np.abs(distance_N), np.where(distance_N < 0, count, 0)
    exact = count // 2
    grown_N = np.log(np.maximum(behind_N, 1) / exact) / math.log(furthest / exact) * (count - exact)
    wide_N = np.minimum(exact + np.trunc(grown_N), count - 1)
    return (first_N + np.where(behind_N < exact, behind_N, wide_N)).astype(np.int32)


class BucketBias(nn.Module):
    """T5's bias (1, H, Q, S) float32."""

    buckets: int
    furthest: int
    rows: int
    given: Scoring

    @nn.compact
    def __call__(self, q_BHQC: jax.Array, steps_QS: Array, place_S: Array) -> jax.Array:
        heads, width = q_BHQC.shape[1], q_BHQC.shape[1] * q_BHQC.shape[3]
        every = np.arange(1 - self.rows, self.rows)
        bucket_of = buckets(every, self.buckets, self.furthest, self.given.causal)
        bucket_N = looked_up(bucket_of, distances(place_S) + np.int32(self.rows - 1))
        init = nn.initializers.normal(width**-0.5)
        table_KH = self.param("embedding", init, (self.buckets, heads), jnp.float32)
        bias_NH = table_KH[jnp.asarray(bucket_N)]
        return bias_NH[steps_QS + np.int32(place_S.shape[0] - 1)].transpose(2, 0, 1)[None]


class ContentAndDistance(nn.Module):
    """What Transformer-XL adds to the scaled product q k: (u k + (q + v) W r) times the scale, (B, H, Q, S) float32."""

    rows: int
    given: Scoring

    @nn.compact
    def __call__(self, q_BHQC: jax.Array, k_BHSC: jax.Array, steps_QS: Array, place_S: Array) -> jax.Array:
        given, (heads, _, size) = self.given, q_BHQC.shape[1:]
        small = nn.initializers.normal(0.02)
        content_HC, distance_HC = (
            self.param(name, small, (heads * size,), jnp.float32).reshape(heads, size).astype(given.dtype)
            for name in ("content", "distance")
        )
        kernel_DD = self.param("kernel", given.kernel_init, (heads * size, heads * size), jnp.float32)
        table = sinusoids(np.arange(1 - self.rows, self.rows), heads * size)
        wave_ND = jnp.asarray(looked_up(table, distances(place_S) + np.int32(self.rows - 1)))
        r_NHC = (wave_ND.astype(given.dtype) @ kernel_DD.astype(given.dtype)).reshape(-1, heads, size)
        r_QSHC = r_NHC[steps_QS + np.int32(place_S.shape[0] - 1)]
        of_content = jnp.einsum("hc,bhsc->bhs", content_HC, k_BHSC, preferred_element_type=jnp.float32)
        asked_BHQC = q_BHQC + distance_HC[None, :, None]
        of_distance = jnp.einsum("bhqc,qshc->bhqs", asked_BHQC, r_QSHC, preferred_element_type=jnp.float32)
        return (of_content[:, :, None] + of_distance) * given.scale


def shifted(key: jax.Array, length: int, examples: int, up_to: int) -> jax.Array:
    """Returns places (B, S) int32 that begin uniformly from 0 to `up_to` - S."""
    first_B1 = jax.random.randint(key, (examples, 1), 0, up_to - length + 1, jnp.int32)
    return first_B1 + jnp.arange(length, dtype=jnp.int32)[None]


def chosen(key: jax.Array, count: int, among: int, first: int) -> jax.Array:
    """Returns `first` zeros, and then `count` sorted numbers of first to first + `among` - 1, without replacement."""
    order = jnp.argsort(jax.random.bits(key, (among,), jnp.uint32), stable=True).astype(jnp.int32)
    drawn = jnp.sort(order[:count]) + jnp.int32(first)
    return jnp.concatenate([jnp.zeros(first, jnp.int32), drawn])
