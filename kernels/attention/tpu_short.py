"""Attention of short sequences on a TPU: several sequences in a tile, one pass over memory each way.

Queries, keys and values are read as they lie, as rows of all heads, (B S, H C). A tile is some whole sequences; the
scores of a head are one matrix product of its rows with themselves, masked down to the sequences on its diagonal. The
gradient computes the probabilities again from queries and keys, and gives all three gradients from one kernel, in
which every row of every gradient is written by one program alone.

Products of float32 take float32's precision, those of bfloat16 add up in float32. Shape letters: see problem.py.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu

from jaxgen.kernels.attention.packing import HIDDEN, Packing, pack
from jaxgen.kernels.attention.problem import Problem
from jaxgen.kernels.attention.tpu_products import NN, NT, TN, product

Ref = Any

# Rows of a tile: those of the matrix unit.
TILE_ROWS = 128
# Bytes of the blocks of a program; the pipeline keeps two sets of them, and a core's scoped memory is 16 MiB.
BLOCK_BYTES = 3 << 20
LANES = 128


@dataclasses.dataclass(frozen=True)
class _Plan:
    """What a program of the grid does: so many tiles of so many heads of keys."""

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
        """Whether the last program has places where no sequence is."""
        return self.batch % (self.packing.sequences * self.tiles) > 0


def forward(
    problem: Problem,
    q_BQHC: jax.Array,
    k_BSGC: jax.Array,
    v_BSGC: jax.Array,
    segment_ids_BS: jax.Array | None,
    *,
    interpret: bool = False,
) -> tuple[jax.Array, None]:
    """Returns the output (B, Q, H, C), and nothing that the gradient needs beside the inputs."""
    outputs = _call(problem, _forward_kernel, (q_BQHC,), (k_BSGC, v_BSGC), 1, 0, segment_ids_BS, interpret)
    return outputs[0], None


def backward(
    problem: Problem,
    q_BQHC: jax.Array,
    k_BSGC: jax.Array,
    v_BSGC: jax.Array,
    segment_ids_BS: jax.Array | None,
    o_BQHC: jax.Array,
    residual: None,
    do_BQHC: jax.Array,
    *,
    interpret: bool = False,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Returns the gradients of queries, keys and values."""
    dq, dk, dv = _call(
        problem, _backward_kernel, (q_BQHC, do_BQHC), (k_BSGC, v_BSGC), 1, 2, segment_ids_BS, interpret
    )  # fmt: skip
    return dq, dk, dv


def _call(
    problem: Problem,
    kernel: Any,
    of_queries: tuple[jax.Array, ...],
    of_keys: tuple[jax.Array, ...],
    query_outputs: int,
    key_outputs: int,
    segment_ids_BS: jax.Array | None,
    interpret: bool,
) -> list[jax.Array]:
    """Runs `kernel` on arrays like the queries and like the keys, and returns as many like each."""
    q, k = of_queries[0], of_keys[0]
    packing = pack(len(problem.positions), problem.length, sublanes=32 // k.dtype.itemsize, rows=TILE_ROWS)
    kv_heads = _heads_of_a_program(problem)
    columns = kv_heads * problem.width
    q_bytes = packing.q_rows * columns * problem.group * k.dtype.itemsize
    k_bytes = packing.k_rows * columns * k.dtype.itemsize
    tile_bytes = (len(of_queries) + query_outputs) * q_bytes + (len(of_keys) + key_outputs) * k_bytes
    tiles = max(1, min(-(-q.shape[0] // packing.sequences), BLOCK_BYTES // tile_bytes))
    plan = _Plan(problem, packing, q.shape[0], tiles, kv_heads)

    of_query = pl.BlockSpec((tiles * packing.q_rows, columns * problem.group), lambda i, j: (i, j))
    of_key = pl.BlockSpec((tiles * packing.k_rows, columns), lambda i, j: (i, j))
    mask = jnp.asarray(packing.mask(problem))
    inputs = [packing.pad(x, packing.queries) for x in of_queries] + [packing.pad(x, packing.length) for x in of_keys]
    specs = [of_query] * len(of_queries) + [of_key] * len(of_keys) + [pl.BlockSpec(mask.shape, lambda i, j: (0, 0))]
    inputs.append(mask)
    if segment_ids_BS is not None:
        for ids in packing.segments(problem, segment_ids_BS, plan.grid[0] * tiles):
            inputs.append(ids)
            specs.append(pl.BlockSpec((tiles, *ids.shape[1:]), lambda i, j: (i, 0, 0)))
    shapes = [inputs[0]] * query_outputs + [inputs[len(of_queries)]] * key_outputs
    outputs = pl.pallas_call(
        functools.partial(kernel, plan),
        grid=plan.grid,
        in_specs=specs,
        out_specs=[of_query] * query_outputs + [of_key] * key_outputs,
        out_shape=[jax.ShapeDtypeStruct(each.shape, each.dtype) for each in shapes],
        compiler_params=pltpu.CompilerParams(dimension_semantics=("parallel", "parallel")),
        interpret=interpret,
        name=f"short_attention{kernel.__name__.removesuffix('_kernel')}",
    )(*inputs)
    likes = [q] * query_outputs + [k] * key_outputs
    return [packing.unpad(x, like) for x, like in zip(outputs, likes, strict=True)]


def _heads_of_a_program(problem: Problem) -> int:
    """Returns how many heads of keys a program has: all, or as many as are about 512 columns, whole lanes of them."""
    for heads in range(1, problem.kv_heads):
        columns = heads * problem.width
        if problem.kv_heads % heads == 0 and columns % LANES == 0 and columns * problem.group >= 512:
            return heads
    return problem.kv_heads


def _forward_kernel(plan: _Plan, q_ref: Ref, k_ref: Ref, v_ref: Ref, mask_ref: Ref, *refs: Ref) -> None:
    *ids_refs, o_ref = refs
    problem, width = plan.problem, plan.problem.width
    read = functools.partial(_read, plan, pl.program_id(0))

    def tile(t: jax.Array, _: None) -> None:
        hidden = _hidden(plan, t, mask_ref, ids_refs)
        for g in range(plan.kv_heads):
            k = read(k_ref, t, g)
            v = read(v_ref, t, g)
            for h in range(g * problem.group, (g + 1) * problem.group):
                p, total = _probabilities(problem, read(q_ref, t, h), k, hidden)
                o = product(p.astype(v.dtype), v, NN) / total
                o_ref[_rows(plan, o_ref, t), h * width : (h + 1) * width] = o.astype(o_ref.dtype)

    jax.lax.fori_loop(0, plan.tiles, tile, None)


def _backward_kernel(plan: _Plan, q_ref: Ref, do_ref: Ref, k_ref: Ref, v_ref: Ref, mask_ref: Ref, *refs: Ref) -> None:
    *ids_refs, dq_ref, dk_ref, dv_ref = refs
    problem, width = plan.problem, plan.problem.width
    read = functools.partial(_read, plan, pl.program_id(0))

    def tile(t: jax.Array, _: None) -> None:
        hidden = _hidden(plan, t, mask_ref, ids_refs)
        for g in range(plan.kv_heads):
            k = read(k_ref, t, g)
            v = read(v_ref, t, g)
            dk = dv = jnp.zeros(k.shape, jnp.float32)
            for h in range(g * problem.group, (g + 1) * problem.group):
                q, do = read(q_ref, t, h), read(do_ref, t, h)
                p, total = _probabilities(problem, q, k, hidden)
                p /= total
                dp = product(do, v, NT)
                ds = p * (dp - jnp.sum(p * dp, axis=1, keepdims=True)) * problem.scale
                ds = ds.astype(q.dtype)
                dq_ref[_rows(plan, dq_ref, t), h * width : (h + 1) * width] = product(ds, k, NN).astype(dq_ref.dtype)
                dk += product(ds, q, TN)
                dv += product(p.astype(do.dtype), do, TN)
            dk_ref[_rows(plan, dk_ref, t), g * width : (g + 1) * width] = dk.astype(dk_ref.dtype)
            dv_ref[_rows(plan, dv_ref, t), g * width : (g + 1) * width] = dv.astype(dv_ref.dtype)

    jax.lax.fori_loop(0, plan.tiles, tile, None)


def _rows(plan: _Plan, ref: Ref, t: jax.Array) -> Any:
    rows = ref.shape[0] // plan.tiles
    return pl.ds(pl.multiple_of(t * rows, math.gcd(rows, LANES)), rows)


def _read(plan: _Plan, program: jax.Array, ref: Ref, t: jax.Array, head: int) -> jax.Array:
    """Returns the rows of a tile of a head; zeros where no sequence is, since memory there may hold nan."""
    rows, width = _rows(plan, ref, t), plan.problem.width
    x = ref[rows, head * width : (head + 1) * width]
    if not plan.partial:
        return x
    there = plan.batch * (rows.size // plan.packing.sequences)
    first = (program * plan.tiles + t) * rows.size
    index = jax.lax.broadcasted_iota(jnp.int32, x.shape, 0) + first
    return jnp.where(index < there, x, jnp.zeros_like(x))


def _hidden(plan: _Plan, t: jax.Array, mask_ref: Ref, ids_refs: list[Ref]) -> jax.Array:
    """Returns what is added to the scores of a tile."""
    hidden = mask_ref[...]
    if ids_refs:
        q_ids, k_ids = (ref[t] for ref in ids_refs)
        same = jnp.broadcast_to(q_ids, (LANES, q_ids.shape[1])).T[:, :1] == k_ids
        hidden = jnp.where(same, hidden, HIDDEN)
    return hidden


def _probabilities(problem: Problem, q: jax.Array, k: jax.Array, hidden: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns what the keys' probabilities are in proportion to, float32, and its sum over the keys."""
    scores = product(q, k, NT) * problem.scale + hidden
    p = jnp.exp(scores - jnp.max(scores, axis=1, keepdims=True))
    return p, jnp.sum(p, axis=1, keepdims=True)
