"""What an attention is asked to compute: everything about it that is static.

Shape letters, here and in all of this folder: B batch, Q positions that ask, S positions that are asked, H heads of
queries, G heads of keys and values, C width of a head, R rows of a tile (positions of several sequences).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np


class Unsupported(ValueError):
    """An implementation was asked for by name and cannot do it; the message says why."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Problem:
    """An attention of a batch of any size. Hashable, so a program is compiled once for each.

    Attributes:
      positions: of the queries, Q rising numbers below `length`.
      length: S.
      heads: H, a multiple of `kv_heads`.
      kv_heads: G.
      width: C.
      dtype: of queries, keys and values.
      causal: whether a query sees no key after its own position.
      window: a query sees keys less than so many positions away; None: all.
      segments: whether a query sees keys of its own segment alone.
      bias: whether a bias is added to the scores.
      scale: what scores are multiplied by.
    """

    positions: tuple[int, ...]
    length: int
    heads: int
    kv_heads: int
    width: int
    dtype: str
    causal: bool
    window: int | None
    segments: bool
    bias: bool
    scale: float

    @property
    def group(self) -> int:
        """How many heads of queries share one of keys and values."""
        return self.heads // self.kv_heads

    def seen(self) -> np.ndarray:
        """Returns (Q, S) bool: which positions a query sees, segments aside. A query sees its own at least."""
        away_QS = np.array(self.positions)[:, None] - np.arange(self.length)
        seen_QS = away_QS >= 0 if self.causal else np.ones_like(away_QS, bool)
        return seen_QS if self.window is None else seen_QS & (np.abs(away_QS) < self.window)


def describe(
    q_BQHC: jax.Array,
    k_BSGC: jax.Array,
    v_BSGC: jax.Array,
    *,
    causal: bool,
    segment_ids: jax.Array | None,
    bias: jax.Array | None,
    window: int | None,
    scale: float | None,
    q_positions: Sequence[int] | None,
) -> Problem:
    """Returns the problem that the arguments of `attention` pose.

    Raises:
      ValueError: they do not fit each other; got, expected and rule are in the message.
    """
    if q_BQHC.ndim != 4 or k_BSGC.ndim != 4 or k_BSGC.shape != v_BSGC.shape:
        raise ValueError(
            f"attention: got q {q_BQHC.shape}, k {k_BSGC.shape}, v {v_BSGC.shape}, expected q (B, Q, H, C) and "
            f"k and v (B, S, G, C) alike"
        )
    batch, queries, heads, width = q_BQHC.shape
    length, kv_heads = k_BSGC.shape[1:3]
    if (batch, width) != (k_BSGC.shape[0], k_BSGC.shape[3]) or heads % kv_heads:
        raise ValueError(
            f"attention: got q {q_BQHC.shape} and k {k_BSGC.shape}, expected equal batches and widths of a head, and "
            f"heads of q a multiple of those of k"
        )
    if not (q_BQHC.dtype == k_BSGC.dtype == v_BSGC.dtype and jnp.issubdtype(q_BQHC.dtype, jnp.floating)):
        raise ValueError(f"attention: got {q_BQHC.dtype}, {k_BSGC.dtype}, {v_BSGC.dtype}, expected one floating type")
    if q_positions is None and queries != length:
        raise ValueError(f"attention: {queries} queries of {length} positions need q_positions, where they stand")
    positions = tuple(range(length)) if q_positions is None else tuple(int(position) for position in q_positions)
    if len(positions) != queries or sorted({*positions} & {*range(length)}) != [*positions]:
        raise ValueError(
            f"attention: got q_positions {positions}, expected {queries} rising numbers from 0 to {length - 1}"
        )
    if segment_ids is not None and segment_ids.shape != (batch, length):
        raise ValueError(f"attention: got segment_ids {segment_ids.shape}, expected ({batch}, {length})")
    whole = (batch, heads, queries, length)
    if bias is not None and not (bias.ndim == 4 and all(n in (1, m) for n, m in zip(bias.shape, whole, strict=True))):
        raise ValueError(f"attention: got bias {bias.shape}, expected {whole}, or 1 in the place of any of them")
    if window is not None and window < 1:
        raise ValueError(f"attention: got window {window}, expected at least 1: a position sees itself")
    return Problem(
        positions=positions,
        length=length,
        heads=heads,
        kv_heads=kv_heads,
        width=width,
        dtype=str(q_BQHC.dtype),
        causal=causal,
        window=window,
        segments=segment_ids is not None,
        bias=bias is not None,
        scale=width**-0.5 if scale is None else float(scale),
    )
