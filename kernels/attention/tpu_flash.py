"""Attention of long sequences on a TPU, in blocks of keys without writing scores to memory (Dao et al., 2205.14135).

Scores are held transposed, with keys as rows and queries as columns. Numbers of a query (the maximum and sum of its
softmax, its position, its segment) are then a row of lanes, reductions go along the sublanes, and rows with one number
a query are dense in memory. The gradient has one kernel for keys and values and one for queries; both recompute the
probabilities from the saved logarithm of their sum. Blocks that no query sees are neither read nor computed.

Numbers that are not finite are replaced by zeros in the factors of sums when these are laid out, and the scores or the
logarithms of the rows that see them are set to nan. Probabilities and their gradients are selected. So no sum contains
0 * nan.

Float32 products have float32 precision; bfloat16 products accumulate in float32. Shape letters: see problem.py; I block
of queries, J block of keys.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu

from jaxgen.kernels.attention.blocks import Blocks, tpu_blocks
from jaxgen.kernels.attention.packing import HIDDEN
from jaxgen.kernels.attention.problem import OF_NO_KEY, OF_NO_QUERY, Problem, Segments, spoiled, whole_rows, zeroed
from jaxgen.kernels.attention.ranges import key_blocks, query_blocks
from jaxgen.kernels.attention.tpu_products import NN, NT, TN, product

Ref = Any

LANES = 128
LOG2E = math.log2(math.e)


def forward(
    problem: Problem,
    q_BQHC: jax.Array,
    k_BSGC: jax.Array,
    v_BSGC: jax.Array,
    segments: Segments | None,
    bias: None,
    *,
    interpret: bool = False,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Returns the output (B, Q, H, C), the logarithm of each query's sum of exponentials (B, H, Q), and this logarithm
    again to base 2 for whole blocks of queries (B, H, 1, Q).
    """
    blocks = _blocks(problem)
    rows = _Rows(problem, blocks, segments)
    q, k = spoiled(q_BQHC, k_BSGC, v_BSGC)
    q, k, v = rows.heads_first(q, blocks.queries), *(rows.heads_first(x, blocks.keys) for x in (k, zeroed(v_BSGC)))
    batch, heads, queries, width = q.shape
    grid = (batch, heads, queries // blocks.queries, k.shape[2] // blocks.keys)
    seen = key_blocks(problem, blocks, grid[2], grid[3])

    def of_query(b: Any, h: Any, i: Any, j: Any, *_: Any) -> Any:
        return b, h, i, 0

    def of_key(b: Any, h: Any, i: Any, j: Any, seen_ref: Ref) -> Any:
        return b, jax.lax.div(h, problem.group), jnp.clip(j, seen_ref[0, i], seen_ref[1, i]), 0

    def row(b: Any, h: Any, i: Any, j: Any, *_: Any) -> Any:
        return b, h, 0, i

    block = (None, None, blocks.queries, width)
    ids, id_specs = rows.specs(lambda b, h, i, j, _: i, lambda b, h, i, j, seen_ref: of_key(b, h, i, j, seen_ref)[2])
    o, logs = pl.pallas_call(
        functools.partial(_forward_kernel, problem, blocks),
        grid_spec=pltpu.PrefetchScalarGridSpec(
            num_scalar_prefetch=1,
            grid=grid,
            in_specs=[
                pl.BlockSpec(block, of_query),
                *[pl.BlockSpec((None, None, blocks.keys, width), of_key)] * 2,
                *id_specs,
            ],
            out_specs=[pl.BlockSpec(block, of_query), pl.BlockSpec((None, None, 1, blocks.queries), row)],
            scratch_shapes=[
                pltpu.VMEM((1, blocks.queries), jnp.float32),
                pltpu.VMEM((1, blocks.queries), jnp.float32),
                pltpu.VMEM((width, blocks.queries), jnp.float32),
            ],
        ),
        out_shape=[
            jax.ShapeDtypeStruct(q.shape, q.dtype),
            jax.ShapeDtypeStruct((batch, heads, 1, queries), jnp.float32),
        ],
        compiler_params=pltpu.CompilerParams(dimension_semantics=("parallel", "parallel", "parallel", "arbitrary")),
        interpret=interpret,
        name="flash_attention_forward",
    )(jnp.asarray(seen), q, k, v, *ids)
    return rows.heads_last(o, q_BQHC), logs[:, :, 0, : q_BQHC.shape[1]] / LOG2E, logs


def backward(
    problem: Problem,
    q_BQHC: jax.Array,
    k_BSGC: jax.Array,
    v_BSGC: jax.Array,
    segments: Segments | None,
    bias: None,
    o_BQHC: jax.Array,
    logs_BH1Q: jax.Array,
    do_BQHC: jax.Array,
    dlse_BHQ: jax.Array | None,
    *,
    interpret: bool = False,
) -> tuple[jax.Array, jax.Array, jax.Array, None]:
    """Returns the gradients of queries, keys and values."""
    blocks = _blocks(problem)
    rows = _Rows(problem, blocks, segments)
    q, do = (rows.heads_first(zeroed(x), blocks.queries) for x in (q_BQHC, do_BQHC))
    k, v = (rows.heads_first(zeroed(x), blocks.keys) for x in (k_BSGC, v_BSGC))
    # The softmax subtracts sum(p dp) over keys from every query's score gradients, which equals sum(o do).
    taken_BQH = jnp.sum(o_BQHC.astype(jnp.float32) * do_BQHC.astype(jnp.float32), axis=-1)
    taken_BHQ = taken_BQH.transpose(0, 2, 1) if dlse_BHQ is None else taken_BQH.transpose(0, 2, 1) - dlse_BHQ
    more = q.shape[2] - q_BQHC.shape[1]
    taken = jnp.pad(taken_BHQ[:, :, None], ((0, 0),) * 3 + ((0, more),))
    # If a query or its keys are not finite, its logarithm is already not finite.
    whole_BH1Q = whole_rows(do_BQHC).transpose(0, 2, 3, 1)
    whole_BH1Q = jnp.pad(whole_BH1Q, ((0, 0),) * 3 + ((0, more),), constant_values=True)
    inputs = (q, k, v, do, jnp.where(whole_BH1Q, logs_BH1Q, jnp.nan), taken)
    dq = _query_gradient(problem, blocks, rows, inputs, interpret)
    dk, dv = _key_gradients(problem, blocks, rows, inputs, interpret)
    return rows.heads_last(dq, q_BQHC), rows.heads_last(dk, k_BSGC), rows.heads_last(dv, v_BSGC), None


def _query_gradient(
    problem: Problem, blocks: Blocks, rows: _Rows, inputs: tuple[jax.Array, ...], interpret: bool
) -> Any:
    q, k = inputs[:2]
    batch, heads, queries, width = q.shape
    grid = (batch, heads, queries // blocks.queries, k.shape[2] // blocks.keys)
    seen = key_blocks(problem, blocks, grid[2], grid[3])

    def of_key(b: Any, h: Any, i: Any, j: Any, seen_ref: Ref) -> Any:
        return b, jax.lax.div(h, problem.group), jnp.clip(j, seen_ref[0, i], seen_ref[1, i]), 0

    of_query = pl.BlockSpec((None, None, blocks.queries, width), lambda b, h, i, j, _: (b, h, i, 0))
    key = pl.BlockSpec((None, None, blocks.keys, width), of_key)
    row = pl.BlockSpec((None, None, 1, blocks.queries), lambda b, h, i, j, _: (b, h, 0, i))
    ids, id_specs = rows.specs(lambda b, h, i, j, _: i, lambda b, h, i, j, seen_ref: of_key(b, h, i, j, seen_ref)[2])
    return pl.pallas_call(
        functools.partial(_query_gradient_kernel, problem, blocks),
        grid_spec=pltpu.PrefetchScalarGridSpec(
            num_scalar_prefetch=1,
            grid=grid,
            in_specs=[of_query, key, key, of_query, row, row, *id_specs],
            out_specs=of_query,
            scratch_shapes=[pltpu.VMEM((width, blocks.queries), jnp.float32)],
        ),
        out_shape=jax.ShapeDtypeStruct(q.shape, q.dtype),
        compiler_params=pltpu.CompilerParams(dimension_semantics=("parallel", "parallel", "parallel", "arbitrary")),
        interpret=interpret,
        name="flash_attention_query_gradient",
    )(jnp.asarray(seen), *inputs, *ids)


def _key_gradients(
    problem: Problem, blocks: Blocks, rows: _Rows, inputs: tuple[jax.Array, ...], interpret: bool
) -> Any:
    q, k = inputs[:2]
    batch, kv_heads, length, width = k.shape
    # The query heads of a key head, and their blocks, run one after another and accumulate.
    grid = (batch, kv_heads, length // blocks.keys, problem.group, q.shape[2] // blocks.queries)
    seeing = query_blocks(problem, blocks, grid[4], grid[2])

    def block(j: Any, i: Any, seeing_ref: Ref) -> Any:
        return jnp.clip(i, seeing_ref[0, j], seeing_ref[1, j])

    def of_query(b: Any, g: Any, j: Any, n: Any, i: Any, seeing_ref: Ref) -> Any:
        return b, g * problem.group + n, block(j, i, seeing_ref), 0

    def row(b: Any, g: Any, j: Any, n: Any, i: Any, seeing_ref: Ref) -> Any:
        return b, g * problem.group + n, 0, block(j, i, seeing_ref)

    query = pl.BlockSpec((None, None, blocks.queries, width), of_query)
    key = pl.BlockSpec((None, None, blocks.keys, width), lambda b, g, j, n, i, _: (b, g, j, 0))
    rowspec = pl.BlockSpec((None, None, 1, blocks.queries), row)
    ids, id_specs = rows.specs(lambda b, g, j, n, i, seeing_ref: block(j, i, seeing_ref), lambda b, g, j, n, i, _: j)
    return pl.pallas_call(
        functools.partial(_key_gradients_kernel, problem, blocks),
        grid_spec=pltpu.PrefetchScalarGridSpec(
            num_scalar_prefetch=1,
            grid=grid,
            in_specs=[query, key, key, query, rowspec, rowspec, *id_specs],
            out_specs=[key, key],
            scratch_shapes=[pltpu.VMEM((blocks.keys, width), jnp.float32)] * 2,
        ),
        out_shape=[jax.ShapeDtypeStruct(k.shape, k.dtype)] * 2,
        compiler_params=pltpu.CompilerParams(dimension_semantics=("parallel",) * 3 + ("arbitrary",) * 2),
        interpret=interpret,
        name="flash_attention_key_gradients",
    )(jnp.asarray(seeing), *inputs, *ids)


def _forward_kernel(
    problem: Problem, blocks: Blocks, seen_ref: Ref, q_ref: Ref, k_ref: Ref, v_ref: Ref, *refs: Ref
) -> None:
    *ids_refs, o_ref, logs_ref, most_ref, sum_ref, o_acc_ref = refs
    i, j = pl.program_id(2), pl.program_id(3)

    @pl.when(j == 0)
    def _() -> None:
        most_ref[...] = jnp.full_like(most_ref, HIDDEN)
        sum_ref[...] = jnp.zeros_like(sum_ref)
        o_acc_ref[...] = jnp.zeros_like(o_acc_ref)

    @pl.when((seen_ref[0, i] <= j) & (j <= seen_ref[1, i]))
    def _() -> None:
        scores_JI, seen_JI, _ = _scores(problem, blocks, q_ref, k_ref, ids_refs, j)
        scores_JI = _only(seen_JI, scores_JI, HIDDEN)
        most_1I = jnp.maximum(most_ref[...], jnp.max(scores_JI, axis=0, keepdims=True))
        p_JI = _only(seen_JI, jnp.exp2(scores_JI - most_1I), 0.0)
        shrink_1I = jnp.exp2(most_ref[...] - most_1I)
        most_ref[...] = most_1I
        sum_ref[...] = sum_ref[...] * shrink_1I + jnp.sum(p_JI, axis=0, keepdims=True)
        v_JC = v_ref[...]
        o_acc_ref[...] = o_acc_ref[...] * shrink_1I + product(v_JC, p_JI.astype(v_JC.dtype), TN)

    @pl.when(j == pl.num_programs(3) - 1)
    def _() -> None:
        some_1I = jnp.where(sum_ref[...] == 0, 1.0, sum_ref[...])
        o_ref[...] = (o_acc_ref[...] / some_1I).T.astype(o_ref.dtype)
        logs_ref[...] = jnp.where(sum_ref[...] == 0, -jnp.inf, most_ref[...] + jnp.log2(some_1I))


def _query_gradient_kernel(
    problem: Problem,
    blocks: Blocks,
    seen_ref: Ref,
    q_ref: Ref,
    k_ref: Ref,
    v_ref: Ref,
    do_ref: Ref,
    logs_ref: Ref,
    taken_ref: Ref,
    *refs: Ref,
) -> None:
    *ids_refs, dq_ref, dq_acc_ref = refs
    i, j = pl.program_id(2), pl.program_id(3)

    @pl.when(j == 0)
    def _() -> None:
        dq_acc_ref[...] = jnp.zeros_like(dq_acc_ref)

    @pl.when((seen_ref[0, i] <= j) & (j <= seen_ref[1, i]))
    def _() -> None:
        _, ds_JI = _gradients(problem, blocks, q_ref, k_ref, v_ref, do_ref, logs_ref, taken_ref, ids_refs, j)
        dq_acc_ref[...] += product(k_ref[...], ds_JI.astype(k_ref.dtype), TN)

    @pl.when(j == pl.num_programs(3) - 1)
    def _() -> None:
        dq_ref[...] = dq_acc_ref[...].T.astype(dq_ref.dtype)


def _key_gradients_kernel(
    problem: Problem,
    blocks: Blocks,
    seeing_ref: Ref,
    q_ref: Ref,
    k_ref: Ref,
    v_ref: Ref,
    do_ref: Ref,
    logs_ref: Ref,
    taken_ref: Ref,
    *refs: Ref,
) -> None:
    *ids_refs, dk_ref, dv_ref, dk_acc_ref, dv_acc_ref = refs
    j, n, i = pl.program_id(2), pl.program_id(3), pl.program_id(4)

    @pl.when((n == 0) & (i == 0))
    def _() -> None:
        dk_acc_ref[...] = jnp.zeros_like(dk_acc_ref)
        dv_acc_ref[...] = jnp.zeros_like(dv_acc_ref)

    @pl.when((seeing_ref[0, j] <= i) & (i <= seeing_ref[1, j]))
    def _() -> None:
        p_JI, ds_JI = _gradients(problem, blocks, q_ref, k_ref, v_ref, do_ref, logs_ref, taken_ref, ids_refs, j)
        q_IC, do_IC = q_ref[...], do_ref[...]
        dv_acc_ref[...] += product(p_JI.astype(do_IC.dtype), do_IC, NN)
        dk_acc_ref[...] += product(ds_JI.astype(q_IC.dtype), q_IC, NN)

    @pl.when((n == pl.num_programs(3) - 1) & (i == pl.num_programs(4) - 1))
    def _() -> None:
        dk_ref[...] = dk_acc_ref[...].astype(dk_ref.dtype)
        dv_ref[...] = dv_acc_ref[...].astype(dv_ref.dtype)


def _gradients(
    problem: Problem,
    blocks: Blocks,
    q_ref: Ref,
    k_ref: Ref,
    v_ref: Ref,
    do_ref: Ref,
    logs_ref: Ref,
    taken_ref: Ref,
    ids_refs: list[Ref],
    j: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    """Returns a block of probabilities (J, I), and the gradients of the products of queries and keys."""
    scores_JI, seen_JI, slope_JI = _scores(problem, blocks, q_ref, k_ref, ids_refs, j)
    p_JI = _only(seen_JI, jnp.exp2(scores_JI - logs_ref[...]), 0.0)
    ds_JI = p_JI * (product(v_ref[...], do_ref[...], NT) - taken_ref[...]) * problem.scale
    if slope_JI is not None:
        ds_JI *= slope_JI
    return p_JI, _only(seen_JI, ds_JI, 0.0)


def _only(seen: jax.Array | None, x: jax.Array, otherwise: float) -> jax.Array:
    return x if seen is None else jnp.where(seen, x, otherwise)


def _scores(
    problem: Problem, blocks: Blocks, q_ref: Ref, k_ref: Ref, ids_refs: list[Ref], j: jax.Array
) -> tuple[jax.Array, jax.Array | None, jax.Array | None]:
    """Returns a block of scores (J, I) times log2(e), which of them are visible (None: all), and the derivative of the
    soft cap (None without a soft cap).
    """
    slope_JI = None
    if problem.softcap is None:
        scores_JI = product(k_ref[...], q_ref[...], NT) * (problem.scale * LOG2E)
    else:
        share_JI = jnp.tanh(product(k_ref[...], q_ref[...], NT) * (problem.scale / problem.softcap))
        scores_JI, slope_JI = share_JI * (problem.softcap * LOG2E), 1.0 - share_JI * share_JI
    positions_ref, *segment_refs = ids_refs
    key_J1 = jax.lax.broadcasted_iota(jnp.int32, (blocks.keys, 1), 0) + j * blocks.keys
    seen_JI = None

    def only(where: jax.Array) -> None:
        nonlocal seen_JI
        seen_JI = where if seen_JI is None else seen_JI & where

    if problem.length % blocks.keys:
        only(key_J1 < problem.length)
    if problem.causal:
        only(key_J1 <= positions_ref[...])
    if problem.window is not None:
        away_JI = positions_ref[...] - key_J1
        only((away_JI < problem.window) & (away_JI > -problem.window))
    if segment_refs:
        q_ids_1I, k_ids_1J = (ref[...] for ref in segment_refs)
        only(jnp.broadcast_to(k_ids_1J, (LANES, blocks.keys)).T[:, :1] == q_ids_1I)
    return scores_JI, seen_JI, slope_JI


def _blocks(problem: Problem) -> Blocks:
    return tpu_blocks(problem).within(len(problem.positions), problem.length, LANES)


class _Rows:
    """The layout of arrays for the kernels: heads before positions, padded to whole blocks."""

    def __init__(self, problem: Problem, blocks: Blocks, segments: Segments | None):
        self.blocks = blocks
        queries = len(problem.positions)
        self.more_queries, self.more_keys = -queries % blocks.queries, -problem.length % blocks.keys
        positions = np.pad(np.array(problem.positions, np.int32), (0, self.more_queries), mode="edge")
        self.arrays = [jnp.asarray(positions)[None, None]]
        if segments is not None:
            more, nowhere = (self.more_queries, self.more_keys), (OF_NO_QUERY, OF_NO_KEY)
            for i, ids in enumerate(segments):
                padded = jnp.pad(ids, ((0, 0), (0, more[i])), constant_values=nowhere[i])
                self.arrays.append(padded[:, None])

    def heads_first(self, x_BSHC: jax.Array, block: int) -> jax.Array:
        x_BHSC = x_BSHC.transpose(0, 2, 1, 3)
        return jnp.pad(x_BHSC, ((0, 0), (0, 0), (0, -x_BHSC.shape[2] % block), (0, 0)))

    def heads_last(self, x_BHSC: jax.Array, like_BSHC: jax.Array) -> jax.Array:
        return x_BHSC[:, :, : like_BSHC.shape[1]].transpose(0, 2, 1, 3)

    def specs(self, query_block: Any, key_block: Any) -> tuple[list[jax.Array], list[pl.BlockSpec]]:
        """Returns the positions of queries (1, 1, Q) and, if any, segments of queries and keys (B, 1, _)."""
        specs = [pl.BlockSpec((None, 1, self.blocks.queries), lambda *at: (0, 0, query_block(*at)))]
        if len(self.arrays) > 1:
            specs.append(pl.BlockSpec((None, 1, self.blocks.queries), lambda *at: (at[0], 0, query_block(*at))))
            specs.append(pl.BlockSpec((None, 1, self.blocks.keys), lambda *at: (at[0], 0, key_block(*at))))
        return self.arrays, specs
