"""Attention of short sequences on a TPU: several sequences in a tile, with one pass over memory.

Queries, keys and values are read without a transpose, as rows with all heads, (B S, H C). A tile has several whole
sequences; the scores of a head are one matrix product of its rows with themselves, masked to the sequences on its
diagonal. The gradient recomputes the probabilities from queries and keys, and computes all three gradients in one
kernel, in which only one program writes each row of a gradient.

In such a product every row meets every other, and 0 * nan is nan. So numbers that are not finite are replaced by zeros
in the factors of sums, and the scores of the rows that see them are set to nan. Scores, probabilities and their
gradients are selected.

Float32 products have float32 precision; bfloat16 products accumulate in float32. Shape letters: see problem.py.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu

from jaxgen.kernels.attention.packing import HIDDEN, Packing, pack
from jaxgen.kernels.attention.problem import Problem, Segments
from jaxgen.kernels.attention.tpu_products import NN, NT, TN, product, spoiled, without

Ref = Any

# Rows of a tile, equal to those of the matrix unit.
TILE_ROWS = 128
# Bytes of a program's blocks; the pipeline holds two sets of them, and a core's scoped memory is 16 MiB.
BLOCK_BYTES = 3 << 20
LANES = 128


@dataclasses.dataclass(frozen=True)
class _Plan:
    """The work of one program of the grid: a number of tiles for a number of key heads."""

    problem: Problem
    packing: Packing
    batch: int
    tiles: int
    kv_heads: int

    @property
    def grid(self) -> tuple[int, int]:
        return (
            -(-self.batch // (self.packing.sequences * self.tiles)),
            self.problem.kv_heads // self.kv_heads,
        )

    @property
    def partial(self) -> bool:
        """Whether the last program has slots without a sequence."""
        return self.batch % (self.packing.sequences * self.tiles) > 0


def forward(
    problem: Problem,
    q_BQHC: jax.Array,
    k_BSGC: jax.Array,
    v_BSGC: jax.Array,
    segments: Segments | None,
    bias_1HQS: jax.Array | None,
    *,
    interpret: bool = False,
) -> tuple[jax.Array, None, None]:
    """Returns the output (B, Q, H, C), no logarithms, and no residuals beside the inputs."""
    o, *_ = _call(problem, _forward_kernel, (q_BQHC,), (k_BSGC, v_BSGC), 1, 0, segments, bias_1HQS, interpret)
    return o, None, None


def backward(
    problem: Problem,
    q_BQHC: jax.Array,
    k_BSGC: jax.Array,
    v_BSGC: jax.Array,
    segments: Segments | None,
    bias_1HQS: jax.Array | None,
    o_BQHC: jax.Array,
    residual: None,
    do_BQHC: jax.Array,
    dlse: None,
    *,
    interpret: bool = False,
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array | None]:
    """Returns the gradients of queries, keys, values and bias."""
    of_queries, of_keys = (q_BQHC, do_BQHC), (k_BSGC, v_BSGC)
    dq, dk, dv, *dbias = _call(problem, _backward_kernel, of_queries, of_keys, 1, 2, segments, bias_1HQS, interpret)
    return dq, dk, dv, dbias[0] if dbias else None


def _call(
    problem: Problem,
    kernel: Any,
    of_queries: tuple[jax.Array, ...],
    of_keys: tuple[jax.Array, ...],
    query_outputs: int,
    key_outputs: int,
    segments: Segments | None,
    bias_1HQS: jax.Array | None,
    interpret: bool,
) -> list[jax.Array]:
    """Runs `kernel` on arrays shaped like the queries and like the keys, and returns the given number of each.

    With a bias and key-like outputs, the gradient of the bias follows.
    """
    q, k = of_queries[0], of_keys[0]
    packing = _packing(problem, k.dtype)
    kv_heads = _heads_of_a_program(problem)
    columns = kv_heads * problem.width
    q_bytes = packing.q_rows * columns * problem.group * k.dtype.itemsize
    k_bytes = packing.k_rows * columns * k.dtype.itemsize
    tile_bytes = (len(of_queries) + query_outputs) * q_bytes + (len(of_keys) + key_outputs) * k_bytes
    tiles = max(1, min(-(-q.shape[0] // packing.sequences), BLOCK_BYTES // tile_bytes))
    plan = _Plan(problem, packing, q.shape[0], tiles, kv_heads)

    of_query = pl.BlockSpec((tiles * packing.q_rows, columns * problem.group), lambda i, j: (i, j))
    of_key = pl.BlockSpec((tiles * packing.k_rows, columns), lambda i, j: (i, j))
    inputs = [packing.pad(x, packing.queries) for x in of_queries] + [packing.pad(x, packing.length) for x in of_keys]
    specs = [of_query] * len(of_queries) + [of_key] * len(of_keys)
    shapes = [inputs[0]] * query_outputs + [inputs[len(of_queries)]] * key_outputs
    outputs = [jax.ShapeDtypeStruct(each.shape, each.dtype) for each in shapes]
    output_specs = [of_query] * query_outputs + [of_key] * key_outputs

    inputs.append(jnp.asarray(packing.seen(problem).astype(np.int32)))
    specs.append(pl.BlockSpec(inputs[-1].shape, lambda i, j: (0, 0)))
    if segments is not None:
        for ids in packing.segments(segments, plan.grid[0] * tiles):
            inputs.append(ids)
            specs.append(pl.BlockSpec((tiles, *ids.shape[1:]), lambda i, j: (i, 0, 0)))
    if bias_1HQS is not None:
        pairs = (kv_heads * problem.group, packing.q_rows, packing.k_rows)
        inputs.append(packing.bias(problem, bias_1HQS))
        alike = bias_1HQS.shape[1] == 1
        specs.append(pl.BlockSpec((1 if alike else pairs[0], *pairs[1:]), lambda i, j: (0 if alike else j, 0, 0)))
        if key_outputs:
            outputs.append(jax.ShapeDtypeStruct((plan.grid[0], problem.heads, *pairs[1:]), jnp.float32))
            output_specs.append(pl.BlockSpec((None, *pairs), lambda i, j: (i, j, 0, 0)))
    found = pl.pallas_call(
        functools.partial(kernel, plan),
        grid=plan.grid,
        in_specs=specs,
        out_specs=output_specs,
        out_shape=outputs,
        compiler_params=pltpu.CompilerParams(dimension_semantics=("parallel", "parallel")),
        interpret=interpret,
        name=f"short_attention{kernel.__name__.removesuffix('_kernel')}",
    )(*inputs)
    likes = [q] * query_outputs + [k] * key_outputs
    results = [packing.unpad(x, like) for x, like in zip(found, likes, strict=False)]
    if bias_1HQS is not None and key_outputs:
        results.append(packing.of_bias(found[-1], bias_1HQS))
    return results


def _packing(problem: Problem, dtype: jnp.dtype) -> Packing:
    return pack(len(problem.positions), problem.length, sublanes=32 // dtype.itemsize, rows=TILE_ROWS)


def _heads_of_a_program(problem: Problem) -> int:
    """Returns the number of key heads in a program: all, or about 512 columns of them, in whole lanes."""
    for heads in range(1, problem.kv_heads):
        columns = heads * problem.width
        if problem.kv_heads % heads == 0 and columns % LANES == 0 and columns * problem.group >= 512:
            return heads
    return problem.kv_heads


def _forward_kernel(plan: _Plan, q_ref: Ref, k_ref: Ref, v_ref: Ref, seen_ref: Ref, *refs: Ref) -> None:
    *more_refs, o_ref = refs
    problem, width = plan.problem, plan.problem.width
    ids_refs, bias_ref = _more(problem, more_refs)

    def tile(t: jax.Array, _: None) -> None:
        seen = _seen(plan, t, seen_ref, ids_refs)
        for g in range(plan.kv_heads):
            (k, whole_k), (v, whole_v) = (without(_read(plan, ref, t, g)) for ref in (k_ref, v_ref))
            k = spoiled(k, whole_k & whole_v)
            for h in range(g * problem.group, (g + 1) * problem.group):
                q = spoiled(*without(_read(plan, q_ref, t, h)))
                p, total = _probabilities(*_scores(problem, q, k, seen, bias_ref, h)[:2])
                o = product(p.astype(v.dtype), v, NN) / total
                o_ref[_rows(plan, o_ref, t), h * width : (h + 1) * width] = o.astype(o_ref.dtype)

    jax.lax.fori_loop(0, plan.tiles, tile, None)


def _backward_kernel(plan: _Plan, q_ref: Ref, do_ref: Ref, k_ref: Ref, v_ref: Ref, seen_ref: Ref, *refs: Ref) -> None:
    problem, width = plan.problem, plan.problem.width
    *others, dbias_ref = refs if problem.bias else (*refs, None)
    *more_refs, dq_ref, dk_ref, dv_ref = others
    if dbias_ref is not None:
        dbias_ref[...] = jnp.zeros_like(dbias_ref)
    ids_refs, bias_ref = _more(problem, more_refs)
    program = pl.program_id(0)

    def tile(t: jax.Array, _: None) -> None:
        seen = _seen(plan, t, seen_ref, ids_refs)
        if plan.partial and problem.bias:
            # The bias is the only gradient that slots without a sequence would affect.
            first = (program * plan.tiles + t) * plan.packing.q_rows
            row = jax.lax.broadcasted_iota(jnp.int32, seen.shape, 0) + first
            seen &= row < plan.batch * plan.packing.queries
        for g in range(plan.kv_heads):
            (k, whole_k), (v, whole_v) = (without(_read(plan, ref, t, g)) for ref in (k_ref, v_ref))
            spoiled_k = spoiled(k, whole_k & whole_v)
            dk = dv = jnp.zeros(k.shape, jnp.float32)
            for h in range(g * problem.group, (g + 1) * problem.group):
                (q, whole_q), (do, whole_do) = (without(_read(plan, ref, t, h)) for ref in (q_ref, do_ref))
                spoiled_q = spoiled(q, whole_q & whole_do)
                scores, visible, slope = _scores(problem, spoiled_q, spoiled_k, seen, bias_ref, h)
                p, total = _probabilities(scores, visible)
                p = jnp.where(visible, p / total, 0.0)
                dp = jnp.where(visible, product(do, v, NT), 0.0)
                ds = p * (dp - jnp.sum(p * dp, axis=1, keepdims=True))
                if slope is not None:
                    ds *= slope
                ds = jnp.where(visible, ds, 0.0)
                if dbias_ref is not None:
                    dbias_ref[h] += ds
                ds = (ds * problem.scale).astype(q.dtype)
                dq_ref[_rows(plan, dq_ref, t), h * width : (h + 1) * width] = product(ds, k, NN).astype(dq_ref.dtype)
                dk += product(ds, q, TN)
                dv += product(p.astype(do.dtype), do, TN)
            dk_ref[_rows(plan, dk_ref, t), g * width : (g + 1) * width] = dk.astype(dk_ref.dtype)
            dv_ref[_rows(plan, dv_ref, t), g * width : (g + 1) * width] = dv.astype(dv_ref.dtype)

    jax.lax.fori_loop(0, plan.tiles, tile, None)


def _more(problem: Problem, refs: list[Ref]) -> tuple[list[Ref], Ref | None]:
    """Returns the references to segments, if any, and to the bias."""
    return (refs[:-1], refs[-1]) if problem.bias else (refs, None)


def _rows(plan: _Plan, ref: Ref, t: jax.Array) -> Any:
    rows = ref.shape[0] // plan.tiles
    return pl.ds(pl.multiple_of(t * rows, math.gcd(rows, LANES)), rows)


def _read(plan: _Plan, ref: Ref, t: jax.Array, head: int) -> jax.Array:
    """Returns the rows of a tile for a head. Slots without a sequence hold arbitrary numbers, even nan."""
    width = plan.problem.width
    return ref[_rows(plan, ref, t), head * width : (head + 1) * width]


def _seen(plan: _Plan, t: jax.Array, seen_ref: Ref, ids_refs: list[Ref]) -> jax.Array:
    """Returns which key rows of a tile a query row sees."""
    seen = seen_ref[...] != 0
    if ids_refs:
        q_ids, k_ids = (ref[t] for ref in ids_refs)
        seen &= jnp.broadcast_to(q_ids, (LANES, q_ids.shape[1])).T[:, :1] == k_ids
    return seen


def _scores(
    problem: Problem, q: jax.Array, k: jax.Array, seen: jax.Array, bias_ref: Ref | None, head: int
) -> tuple[jax.Array, jax.Array, jax.Array | None]:
    """Returns scores, which of them are visible, and the derivative of the soft cap, if any."""
    slope: jax.Array | None = None
    scores = product(q, k, NT) * problem.scale
    if bias_ref is not None:
        bias = bias_ref[min(head, bias_ref.shape[0] - 1)]
        scores += bias
        seen = seen & (bias != -jnp.inf)
    if problem.softcap is not None:
        share = jnp.tanh(scores / problem.softcap)
        scores, slope = problem.softcap * share, 1.0 - share * share
    return scores, seen, slope


def _probabilities(scores: jax.Array, seen: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns the unnormalised probabilities of the keys, float32, and their sum, which is 1 if no key is seen."""
    scores = jnp.where(seen, scores, HIDDEN)
    p = jnp.where(seen, jnp.exp(scores - jnp.max(scores, axis=1, keepdims=True)), 0.0)
    total = jnp.sum(p, axis=1, keepdims=True)
    return p, jnp.where(total == 0, 1.0, total)
