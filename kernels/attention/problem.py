"""The static description of an attention problem.

Shape letters, here and in all of this folder: B batch, Q query positions, S key positions, H heads of queries, G heads
of keys and values, C width of a head, R rows of a tile (positions of several sequences).
"""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np


class Unsupported(ValueError):
    """The requested implementation cannot do it; the message says why."""


# Larger numbers count as not finite, because a float32 is multiplied as a sum of bfloat16, where they are infinite.
LARGEST = float(jnp.finfo(jnp.bfloat16).max)
# The reserved segments of padding: of queries that see nothing, and of keys that nothing sees.
OF_NO_QUERY, OF_NO_KEY = np.iinfo(np.int32).min, np.iinfo(np.int32).min + 1

Segments = tuple[jax.Array, jax.Array]  # of queries (B, Q) int32, of keys (B, S) int32


@dataclasses.dataclass(frozen=True, kw_only=True)
class Problem:
    """An attention problem for any batch size. It is hashable, so each problem is compiled once.

    Attributes:
      positions: the ascending positions of the Q queries; 0 to Q - 1 if positions do not matter.
      length: S.
      heads: H, a multiple of `kv_heads`.
      kv_heads: G.
      width: C.
      dtype: of queries, keys and values.
      causal: whether keys after a query's own position are hidden.
      window: a query sees keys less than this many positions away; None: all.
      segments: whether a query sees only keys of its own segment.
      bias: whether a bias is added to the scores.
      scale: the factor of the scores.
      lengths: whether each example has its own number of queries or keys.
      softcap: scores go through softcap tanh(score / softcap); None: unchanged.
      lse: whether the logarithm of each query's sum of exponentials is returned as well.
      shared_bias: whether all examples share one bias.
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
    lengths: bool = False
    softcap: float | None = None
    lse: bool = False
    shared_bias: bool = False

    @property
    def group(self) -> int:
        """The number of query heads that share one head of keys and values."""
        return self.heads // max(self.kv_heads, 1)

    @property
    def ordered(self) -> bool:
        """Whether the positions of queries and keys matter."""
        return self.causal or self.window is not None

    @property
    def empty(self) -> bool:
        """Whether there is nothing to compute in any example."""
        return not (self.positions and self.length and self.heads and self.width)

    def seen(self) -> np.ndarray:
        """Returns (Q, S) bool: which positions a query sees, ignoring segments and lengths."""
        away_QS = np.array(self.positions, int)[:, None] - np.arange(self.length)
        seen_QS = away_QS >= 0 if self.causal else np.ones_like(away_QS, bool)
        return seen_QS if self.window is None else seen_QS & (np.abs(away_QS) < self.window)


def describe(
    q_BQHC: jax.Array,
    k_BSGC: jax.Array,
    v_BSGC: jax.Array,
    *,
    causal: bool,
    segment_ids: jax.Array | Segments | None = None,
    bias: jax.Array | None = None,
    window: int | None = None,
    scale: float | None = None,
    q_positions: Sequence[int] | None = None,
    q_lengths: jax.Array | None = None,
    kv_lengths: jax.Array | None = None,
    softcap: float | None = None,
    with_lse: bool = False,
) -> Problem:
    """Returns the problem for the arguments of `attention`.

    Raises:
      ValueError: the arguments do not fit together; the message has what was got and expected, and the rule.
    """
    if q_BQHC.ndim != 4 or k_BSGC.ndim != 4 or k_BSGC.shape != v_BSGC.shape:
        raise ValueError(
            f"attention: got q {q_BQHC.shape}, k {k_BSGC.shape}, v {v_BSGC.shape}, expected q (B, Q, H, C) and "
            f"k and v (B, S, G, C) alike"
        )
    batch, queries, heads, width = q_BQHC.shape
    length, kv_heads = k_BSGC.shape[1:3]
    if (batch, width) != (k_BSGC.shape[0], k_BSGC.shape[3]) or (heads % kv_heads if kv_heads else heads):
        raise ValueError(
            f"attention: got q {q_BQHC.shape} and k {k_BSGC.shape}, expected equal batches and widths of a head, and "
            f"heads of q a multiple of those of k"
        )
    if not (q_BQHC.dtype == k_BSGC.dtype == v_BSGC.dtype and jnp.issubdtype(q_BQHC.dtype, jnp.floating)):
        raise ValueError(f"attention: got {q_BQHC.dtype}, {k_BSGC.dtype}, {v_BSGC.dtype}, expected one floating type")
    window = _window(window, length)
    positions = _positions(q_positions, queries, length, bool(causal) or window is not None)
    _check_ids(segment_ids, batch, queries, length)
    for name, lengths in (("q_lengths", q_lengths), ("kv_lengths", kv_lengths)):
        if lengths is not None and not (lengths.shape == (batch,) and jnp.issubdtype(lengths.dtype, jnp.integer)):
            raise ValueError(
                f"attention: got {name} {lengths.shape} of {lengths.dtype}, expected ({batch},) whole numbers"
            )
    whole = (batch, heads, queries, length)
    if bias is not None and not (bias.ndim == 4 and all(n in (1, m) for n, m in zip(bias.shape, whole, strict=True))):
        raise ValueError(f"attention: got bias {bias.shape}, expected {whole}, or 1 in the place of any of them")
    if bias is not None and not jnp.issubdtype(bias.dtype, jnp.floating):
        raise ValueError(f"attention: got a bias of {bias.dtype}, expected a floating type; -inf hides a key")
    if softcap is not None and not 0 < softcap < float("inf"):
        raise ValueError(f"attention: got softcap {softcap}, expected a number above 0; None leaves scores as they are")
    return Problem(
        positions=positions,
        length=length,
        heads=heads,
        kv_heads=kv_heads,
        width=width,
        dtype=str(q_BQHC.dtype),
        causal=bool(causal),
        window=window,
        segments=segment_ids is not None,
        bias=bias is not None,
        scale=max(width, 1) ** -0.5 if scale is None else float(scale),
        lengths=q_lengths is not None or kv_lengths is not None,
        softcap=None if softcap is None else float(softcap),
        lse=bool(with_lse),
        shared_bias=bias is not None and bias.shape[0] == 1,
    )


def segments_of(
    problem: Problem,
    batch: int,
    segment_ids: jax.Array | Segments | None,
    q_lengths: jax.Array | None,
    kv_lengths: jax.Array | None,
) -> Segments | None:
    """Returns the segments of queries and of keys; those beyond an example's lengths get the reserved segments."""
    if segment_ids is None and q_lengths is None and kv_lengths is None:
        return None
    if segment_ids is None:
        segment_ids = (
            jnp.zeros((batch, len(problem.positions)), jnp.int32),
            jnp.zeros((batch, problem.length), jnp.int32),
        )
    elif not isinstance(segment_ids, tuple):
        segment_ids = segment_ids[:, np.array(problem.positions, int)], segment_ids

    def within(ids: jax.Array, lengths: jax.Array | None, outside: int) -> jax.Array:
        ids = ids.astype(jnp.int32)
        if lengths is None:
            return ids
        return jnp.where(jnp.arange(ids.shape[1])[None] < lengths.astype(jnp.int32)[:, None], ids, jnp.int32(outside))

    return within(segment_ids[0], q_lengths, OF_NO_QUERY), within(segment_ids[1], kv_lengths, OF_NO_KEY)


def finite(x: jax.Array) -> jax.Array:
    """Returns which numbers are finite; a float32 above `LARGEST` counts as not finite."""
    largest = float(jnp.finfo(x.dtype).max)
    return jnp.abs(x) <= jnp.array(min(largest, LARGEST) if x.dtype == jnp.float32 else largest, x.dtype)


def zeroed(x: jax.Array) -> jax.Array:
    """Returns x with zeros for numbers that are not finite, so that a weight of zero gives zero."""
    return jnp.where(finite(x), x, jnp.zeros_like(x))


def whole_rows(x: jax.Array) -> jax.Array:
    """Returns (..., 1) bool: whether all C numbers of x (..., C) are finite."""
    return jnp.all(finite(x), axis=-1, keepdims=True)


def spoiled(q_BQHC: jax.Array, k_BSGC: jax.Array, v_BSGC: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Sets queries that are not finite, and keys that are not or whose values are not, to nan, so that their scores are
    nan."""

    def add(x: jax.Array, whole: jax.Array) -> jax.Array:
        return x + jnp.where(whole, 0, jnp.nan).astype(x.dtype)

    return add(q_BQHC, whole_rows(q_BQHC)), add(k_BSGC, whole_rows(k_BSGC) & whole_rows(v_BSGC))


def _window(window: int | None, length: int) -> int | None:
    """Returns the window; None if it contains all keys."""
    if window is None:
        return None
    try:
        window = operator.index(window)
    except TypeError:
        raise ValueError(f"attention: got window {window!r}, expected a whole number, or None") from None
    if window < 1:
        raise ValueError(f"attention: got window {window}, expected at least 1: a position sees itself")
    return window if window < length else None


def _positions(q_positions: Sequence[int] | None, queries: int, length: int, ordered: bool) -> tuple[int, ...]:
    if q_positions is None:
        if queries != length and ordered:
            raise ValueError(
                f"attention: {queries} queries of {length} positions need q_positions, their positions, because "
                f"causality and windows depend on them"
            )
        return tuple(range(queries))
    try:
        positions = tuple(operator.index(position) for position in q_positions)
    except TypeError:
        raise ValueError(
            f"attention: got q_positions {q_positions}, expected whole numbers, known when compiling"
        ) from None
    if len(positions) != queries or sorted({*positions} & {*range(length)}) != [*positions]:
        raise ValueError(
            f"attention: got q_positions {positions}, expected {queries} rising numbers from 0 to {length - 1}"
        )
    return positions


def _check_ids(segment_ids: jax.Array | Segments | None, batch: int, queries: int, length: int) -> None:
    if segment_ids is None:
        return
    of_queries, of_keys = (batch, queries), (batch, length)
    if isinstance(segment_ids, tuple):
        ids, wanted = list(segment_ids), [of_queries, of_keys]
        expected = f"a pair, of queries {of_queries} and of keys {of_keys}"
    else:
        ids, wanted, expected = [segment_ids], [of_keys], str(of_keys)
    if [each.shape for each in ids] != wanted:
        got = ", ".join(str(each.shape) for each in ids)
        raise ValueError(f"attention: got segment_ids {got}, expected {expected}")
    if not all(jnp.issubdtype(each.dtype, jnp.integer) for each in ids):
        raise ValueError(f"attention: got segment_ids of {ids[0].dtype}, expected whole numbers")
