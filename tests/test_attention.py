"""Attention kernels, interpreted: values and gradients against the definition in float64, and how they compose."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from jaxgen.kernels.attention import Interpreter, attention

TPU, GPU = Interpreter("tpu"), Interpreter("gpu")
# How far from float64 a result of a type may be, of numbers about 1.
CLOSE = {"float32": 2e-5, "bfloat16": 5e-2, "float16": 6e-3}


def draw(seed: int, batch: int, queries: int, length: int, heads: int, kv_heads: int, width: int) -> list[np.ndarray]:
    """Returns q, k, v and the gradient of the output."""
    random = np.random.default_rng(seed)
    of_keys = (batch, length, kv_heads, width)
    return [
        random.normal(size=s)
        for s in ((batch, queries, heads, width), of_keys, of_keys, (batch, queries, heads, width))
    ]


def by_hand(q, k, v, do, *, causal, window=None, segment_ids=None, q_positions=None, scale=None):
    """Returns output and gradients in float64 by loops over examples and heads: another formulation than jax's."""
    batch, _, heads, width = q.shape
    length, group = k.shape[1], heads // k.shape[2]
    scale = width**-0.5 if scale is None else scale
    positions = range(length) if q_positions is None else q_positions
    o, dq, dk, dv = (np.zeros_like(x) for x in (q, q, k, v))
    for b in range(batch):
        for h in range(heads):
            for i, at in enumerate(positions):
                see = [
                    s
                    for s in range(length)
                    if (s <= at or not causal)
                    and (window is None or abs(s - at) < window)
                    and (segment_ids is None or segment_ids[b, s] == segment_ids[b, at])
                ]
                keys, values = k[b, see, h // group], v[b, see, h // group]
                p = np.exp(scale * keys @ q[b, i, h])
                p /= p.sum()
                o[b, i, h] = p @ values
                ds = p * (values @ do[b, i, h] - o[b, i, h] @ do[b, i, h]) * scale
                dq[b, i, h] = ds @ keys
                dk[b, see, h // group] += ds[:, None] * q[b, i, h]
                dv[b, see, h // group] += p[:, None] * do[b, i, h]
    return o, dq, dk, dv


def outcome(q, k, v, do, dtype: str, **how: Any) -> list[np.ndarray]:
    """Returns output and gradients of `attention`, as float64."""

    @jax.jit
    def run(q: Any, k: Any, v: Any, do: Any) -> Any:
        o, gradients = jax.vjp(functools.partial(attention, **how), q, k, v)
        return o, *gradients(do)

    return [np.asarray(x, np.float64) for x in run(*(jnp.asarray(x, dtype) for x in (q, k, v, do)))]


@st.composite
def problems(draw_: Any, longest: int, widths: tuple[int, ...] = (16, 24, 64)) -> dict[str, Any]:
    length = draw_(st.integers(1, longest))
    kv_heads = draw_(st.sampled_from((1, 2)))
    positions = draw_(st.sampled_from((None, "last", "some")))
    return {
        "seed": draw_(st.integers(0, 99)),
        "batch": draw_(st.integers(1, 5)),
        "length": length,
        "heads": kv_heads * draw_(st.sampled_from((1, 2))),
        "kv_heads": kv_heads,
        "width": draw_(st.sampled_from(widths)),
        "dtype": draw_(st.sampled_from(("float32", "bfloat16", "float16"))),
        "causal": draw_(st.booleans()),
        "window": draw_(st.none() | st.integers(1, length)),
        "segments": draw_(st.booleans()),
        "q_positions": {
            None: None,
            "last": (length - 1,),
            "some": tuple(range(draw_(st.integers(0, length - 1)), length, draw_(st.integers(1, 3)))),
        }[positions],
    }


def check(problem: dict[str, Any], **how: Any) -> None:
    seed, batch, length = problem["seed"], problem["batch"], problem["length"]
    positions = problem["q_positions"]
    sizes = (batch, length if positions is None else len(positions), length, problem["heads"], problem["kv_heads"])
    dtype = problem["dtype"]
    # Both begin with the numbers as the type has them.
    arrays = [np.asarray(jnp.asarray(x, dtype), np.float64) for x in draw(seed, *sizes, problem["width"])]
    mask = {"causal": problem["causal"], "window": problem["window"], "q_positions": positions}
    if problem["segments"]:
        mask["segment_ids"] = np.random.default_rng(seed).integers(-1, 2, (batch, length)).astype(np.int32)
    wanted = by_hand(*arrays, **mask)
    if problem["segments"]:
        mask["segment_ids"] = jnp.asarray(mask["segment_ids"])
    for name, got, want in zip(["o", "dq", "dk", "dv"], outcome(*arrays, dtype, **mask, **how), wanted, strict=True):
        assert np.isfinite(got).all(), f"{name} has places that were never written"
        far = np.abs(got - want).max() / max(1, np.abs(want).max())
        assert far < CLOSE[dtype], f"{name} is off by {far}"


HARD = {
    "seed": 0, "batch": 4, "length": 7, "heads": 4, "kv_heads": 2, "width": 24, "dtype": "float32", "causal": True,
    "window": 3, "segments": True, "q_positions": None,
}  # fmt: skip


@settings(max_examples=12)
@given(problem=problems(64))
@example(problem=HARD)
def test_xla_is_the_definition(problem: dict[str, Any]) -> None:
    check(problem, implementation="xla")
    if problem["dtype"] == "float32":
        check(problem, implementation="reference")


@settings(max_examples=12)
@given(problem=problems(64))
@example(problem=HARD)
@example(problem=HARD | {"length": 33, "batch": 5, "q_positions": (32,), "window": None})
@example(problem=HARD | {"length": 64, "batch": 3, "dtype": "bfloat16"})
def test_the_short_kernel_of_tpus(problem: dict[str, Any]) -> None:
    check(problem, implementation="pallas", device=TPU)


@settings(max_examples=6)
@given(problem=problems(300).filter(lambda problem: problem["length"] > 64))
@example(problem=HARD | {"length": 300, "batch": 1})
def test_the_flash_kernel_of_tpus(problem: dict[str, Any]) -> None:
    check(problem, implementation="pallas", device=TPU)
