"""Attention kernels on the device against the definition in float64: values, gradients, and isolation.

Shape letters: B batch, Q queries, S keys, H heads of queries, G heads of keys, C width of a head.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.device import Record
from jaxgen.kernels.attention import Unsupported, attention

# How far from float64 a result of a type may be, of numbers about 1: twice what the interpreted kernels are held to,
# since tensor cores round products of float32 to three bfloat16 numbers.
LIMITS = {"float32": 4e-5, "bfloat16": 5e-2, "float16": 6e-3}
FEATURES: dict[str, dict[str, Any]] = {
    "causal": {},
    "lengths": {"lengths": True},
    "last query": {"last": True},
    "segments": {"segments": True},
    "shared keys": {"kv_heads": 2},
    "window": {"window": 5},
    "softcap": {"softcap": 3.0},
    "all keys": {"causal": False},
}


@dataclasses.dataclass(frozen=True)
class Case:
    """One problem for one implementation."""

    asked: str
    feature: str
    dtype: str
    length: int
    width: int
    batch: int = 3
    heads: int = 4
    kv_heads: int = 4
    causal: bool = True
    window: int | None = None
    softcap: float | None = None
    lengths: bool = False
    segments: bool = False
    last: bool = False


def cases(asked: str, lengths: tuple[int, ...], widths: tuple[int, ...]) -> Iterator[Case]:
    """Yields first every feature at one size, then other widths and types."""
    for length in lengths:
        for feature, changes in FEATURES.items():
            yield Case(asked, feature, "bfloat16", length, 64, **changes)
    for length in lengths:
        for dtype in ("float32", "float16", "bfloat16"):
            for width in widths:
                yield Case(asked, "causal", dtype, length, width)


def run(record: Record, tiny: bool) -> None:
    if tiny:
        found = list(cases("xla", (7,), (16,)))
    else:
        found = [*cases("pallas", (20, 300), (16, 32, 64, 128, 256)), *cases("cudnn", (300,), (64, 128))]
        found += [*cases("pallas", (5, 64, 1000), (64,)), *cases("xla", (20, 300), (64,))]
    for case in dict.fromkeys(found):
        began = time.perf_counter()
        about = {"by": case.asked, "of": case.feature, "dtype": case.dtype, "S": case.length, "C": case.width}
        try:
            worst = check(case)
        except Unsupported as error:
            record(**about, refused=str(error))
        except Exception as error:  # a kernel that does not compile must not hide the others
            record(**about, failed=f"{type(error).__name__}: {str(error)[:300]}", passed=False)
        else:
            limit = LIMITS[case.dtype]
            passed = max(worst.values()) < limit and worst["leaked"] == 0
            record(**about, **worst, limit=limit, passed=passed, seconds=time.perf_counter() - began)


def check(case: Case) -> dict[str, float]:
    """Returns the largest errors of o, dq, dk and dv, relative to their largest number, and how many numbers changed
    when what is hidden became nan."""
    random = np.random.default_rng(0)
    queries = 1 if case.last else case.length
    shapes = [(queries, case.heads), (case.length, case.kv_heads), (case.length, case.kv_heads), (queries, case.heads)]
    drawn = [random.normal(size=(case.batch, *shape, case.width)) for shape in shapes]
    arrays = [jnp.asarray(each, case.dtype) for each in drawn]
    kept_B = random.integers(1, case.length + 1, case.batch) if case.lengths else np.full(case.batch, case.length)
    segment_BS = random.integers(0, 2, (case.batch, case.length)) if case.segments else None
    at_Q = np.array([case.length - 1]) if case.last else np.arange(case.length)
    options: dict[str, Any] = {"causal": case.causal, "window": case.window, "softcap": case.softcap}
    options |= {"q_positions": tuple(at_Q.tolist()), "implementation": case.asked}
    extra = {}
    if case.lengths:
        extra["kv_lengths"] = jnp.asarray(kept_B, jnp.int32)
    if segment_BS is not None:
        extra["segment_ids"] = jnp.asarray(segment_BS, jnp.int32)

    @jax.jit
    def passes(q: Any, k: Any, v: Any, do: Any, extra: dict[str, Any]) -> Any:
        o, gradients = jax.vjp(lambda q, k, v: attention(q, k, v, **options, **extra), q, k, v)
        return o, *gradients(do)

    seen_BQS = visible(case, at_Q, kept_B, segment_BS)
    got = [np.asarray(each, np.float64) for each in passes(*arrays, extra)]
    wanted = definition(*(np.asarray(each, np.float64) for each in arrays), seen_BQS, case.softcap)
    worst = {
        name: float(np.abs(one - other).max() / max(1.0, np.abs(other).max())) if np.isfinite(one).all() else np.inf
        for name, one, other in zip(("o", "dq", "dk", "dv"), got, wanted, strict=True)
    }
    hidden_BS = ~seen_BQS.any(axis=1)
    q, k, v, do = arrays
    k, v = (jnp.where(hidden_BS[:, :, None, None], jnp.asarray(jnp.nan, x.dtype), x) for x in (k, v))
    with_nan = [np.asarray(each, np.float64) for each in passes(q, k, v, do, extra)]
    leaked = sum(int((one != other).sum()) for one, other in zip(got, with_nan, strict=True))
    return worst | {"leaked": leaked}


def visible(case: Case, at_Q: np.ndarray, kept_B: np.ndarray, segment_BS: np.ndarray | None) -> np.ndarray:
    """Returns (B, Q, S) bool: which keys a query sees."""
    away_QS = at_Q[:, None] - np.arange(case.length)
    seen_QS = away_QS >= 0 if case.causal else np.ones_like(away_QS, bool)
    if case.window is not None:
        seen_QS &= np.abs(away_QS) < case.window
    seen_BQS = seen_QS[None] & (np.arange(case.length) < kept_B[:, None])[:, None]
    if segment_BS is not None:
        seen_BQS &= segment_BS[:, at_Q, None] == segment_BS[:, None]
    return seen_BQS


def definition(
    q_BQHC: np.ndarray, k_BSGC: np.ndarray, v_BSGC: np.ndarray, do_BQHC: np.ndarray, seen_BQS: np.ndarray, softcap: Any
) -> list[np.ndarray]:
    """Returns output and gradients in float64."""
    group = q_BQHC.shape[2] // k_BSGC.shape[2]
    k_BSHC, v_BSHC = (np.repeat(x, group, axis=2) for x in (k_BSGC, v_BSGC))
    scale = q_BQHC.shape[-1] ** -0.5
    raw_BHQS = scale * np.einsum("bqhc,bshc->bhqs", q_BQHC, k_BSHC)
    scores_BHQS = raw_BHQS if softcap is None else softcap * np.tanh(raw_BHQS / softcap)
    seen_B1QS = seen_BQS[:, None]
    highest = np.where(seen_B1QS, scores_BHQS, -np.inf).max(axis=-1, keepdims=True)
    p_BHQS = np.where(seen_B1QS, np.exp(scores_BHQS - np.where(np.isfinite(highest), highest, 0)), 0)
    p_BHQS /= np.maximum(p_BHQS.sum(axis=-1, keepdims=True), np.finfo(np.float64).tiny)
    o_BQHC = np.einsum("bhqs,bshc->bqhc", p_BHQS, v_BSHC)
    dp_BHQS = np.einsum("bqhc,bshc->bhqs", do_BQHC, v_BSHC)
    ds_BHQS = p_BHQS * (dp_BHQS - (dp_BHQS * p_BHQS).sum(axis=-1, keepdims=True)) * scale
    if softcap is not None:
        ds_BHQS *= 1 - (scores_BHQS / softcap) ** 2
    of_heads = (
        np.einsum("bhqs,bqhc->bshc", ds_BHQS, q_BQHC),
        np.einsum("bhqs,bqhc->bshc", p_BHQS, do_BQHC),
    )
    dk_BSGC, dv_BSGC = (x.reshape(*x.shape[:2], -1, group, x.shape[-1]).sum(axis=3) for x in of_heads)
    return [o_BQHC, np.einsum("bhqs,bshc->bqhc", ds_BHQS, k_BSHC), dk_BSGC, dv_BSGC]
