"""Attention of short sequences on a Hopper GPU: several sequences in a tile of 64 rows, one pass over memory each way.

A warpgroup has a tile and goes through its heads, the next of which is copied while it works. The scores of a head are
one product of 64 x 64, masked down to the sequences on its diagonal; the gradient computes the probabilities again and
gives all three gradients from one kernel, in which every row is written by one program alone. A tile has as many whole
sequences as fill a multiple of 8 rows; where none does (9 positions, say) sequences are padded until some do. Queries
that stand at some positions alone are put there, among zeros.

Shape letters: see problem.py; N rows of all tiles.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import mosaic_gpu as plgpu

from jaxgen.kernels.attention.gpu_products import (
    SHARED_BYTES,
    WGMMA,
    compiler_params,
    in_parts,
    interpreter,
    load,
    part_count,
    part_type,
    parts_of,
    split,
    tile_product,
    tiles,
)
from jaxgen.kernels.attention.packing import HIDDEN, NOWHERE, among_all, of_queries
from jaxgen.kernels.attention.problem import Problem

Ref = Any

ROWS = 64
LOG2E = math.log2(math.e)


def shared_bytes(problem: Problem, stages: int = 1) -> int:
    """Returns what the gradient of a head of keys takes: `stages` times four inputs, three outputs, two squares."""
    part_bytes = part_count(problem.dtype) * part_type(problem.dtype).itemsize
    inputs = stages * (2 * problem.group + 2) * problem.width * part_bytes
    outputs = (problem.group + 2) * problem.width * jnp.dtype(problem.dtype).itemsize
    return ROWS * (inputs + outputs + 2 * ROWS * part_bytes)


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
    rows = _Rows(problem, q_BQHC.shape[0], segment_ids_BS)
    inputs = [rows.queries(q_BQHC), rows.keys(k_BSGC), rows.keys(v_BSGC)]
    (o,) = _call(problem, _forward_body, rows, inputs, [problem.heads], interpret)
    return rows.of_queries(o), None


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
    rows = _Rows(problem, q_BQHC.shape[0], segment_ids_BS)
    inputs = [rows.queries(q_BQHC), rows.queries(do_BQHC), rows.keys(k_BSGC), rows.keys(v_BSGC)]
    dq, dk, dv = _call(
        problem, _backward_body, rows, inputs, [problem.heads, problem.kv_heads, problem.kv_heads], interpret
    )
    return rows.of_queries(dq), rows.of_keys(dk), rows.of_keys(dv)


class _Rows:
    """How arrays are laid out for the kernel: rows of all heads, whole sequences in a tile.

    Attributes:
      length: positions of a sequence, S or a little more.
      sequences: of a tile.
      used: rows of a tile, a multiple of 8; zeros follow them.
    """

    def __init__(self, problem: Problem, batch: int, segment_ids_BS: jax.Array | None):
        self.problem, self.batch = problem, batch
        self.length = next(length for length in range(problem.length, ROWS + 1) if _least(length) * length <= ROWS)
        least = _least(self.length)
        self.sequences = ROWS // (least * self.length) * least
        self.used = self.sequences * self.length
        self.more = -batch % self.sequences
        self.segments = None
        if segment_ids_BS is not None:
            ids = jnp.pad(segment_ids_BS, self._padding(2), constant_values=NOWHERE).reshape(-1, self.used)
            self.segments = jnp.pad(ids, ((0, 0), (0, ROWS - self.used)), constant_values=NOWHERE)

    def _padding(self, dimensions: int) -> tuple[tuple[int, int], ...]:
        return ((0, self.more), (0, self.length - self.problem.length)) + ((0, 0),) * (dimensions - 2)

    def keys(self, x_BSGC: jax.Array) -> jax.Array:
        rows = (self.batch + self.more) * self.length
        return jnp.pad(in_parts(x_BSGC), self._padding(4)).reshape(rows, -1)

    def of_keys(self, x_NC: jax.Array) -> jax.Array:
        x_BSGC = x_NC.reshape(self.batch + self.more, self.length, -1, self.problem.width)
        return x_BSGC[: self.batch, : self.problem.length]

    def queries(self, x_BQHC: jax.Array) -> jax.Array:
        return self.keys(among_all(self.problem, x_BQHC))

    def of_queries(self, x: jax.Array) -> jax.Array:
        return of_queries(self.problem, self.of_keys(x))


def _least(length: int) -> int:
    """Returns how many sequences fill a multiple of 8 rows, which is how rows lie in shared memory."""
    return 8 // math.gcd(length, 8)


def _call(
    problem: Problem, body: Any, rows: _Rows, inputs: list[jax.Array], heads: list[int], interpret: bool
) -> list[jax.Array]:
    """Runs `body` on every tile and head of keys, and returns an array for each number of `heads`."""
    count = len(inputs)
    outputs = [jax.ShapeDtypeStruct((inputs[0].shape[0], each * problem.width), problem.dtype) for each in heads]
    arrays = inputs if rows.segments is None else [*inputs, rows.segments]

    def lies(dtype: Any) -> tuple[Any, ...]:
        # Both factors of a product lie alike, by the width of a head.
        return () if interpret else tiles(problem.width, dtype)

    stages = 2 if problem.kv_heads > 1 and shared_bytes(problem, stages=2) <= SHARED_BYTES else 1

    def columns(x: Any) -> int:
        return x.shape[1] // problem.kv_heads

    square = plgpu.SMEM((ROWS, ROWS), inputs[0].dtype, transforms=lies(inputs[0].dtype))
    scratch_squares = [square] * (2 * part_count(problem.dtype) if body is _backward_body else 0)

    def divided(refs: tuple[Ref, ...]) -> Iterator[Any]:
        for size in (len(arrays), len(outputs), count, len(outputs), len(arrays) - count, len(scratch_squares)):
            yield refs[:size]
            refs = refs[size:]
        yield from refs

    def kernel(*refs: Ref) -> None:
        array_refs, output_refs, input_blocks, output_blocks, ids_blocks, squares, barrier, ids_barrier = divided(refs)
        tile = jax.lax.axis_index("tile")
        here, filled = pl.ds(tile * rows.used, rows.used), pl.ds(0, rows.used)

        def fetch(g: Any) -> None:
            for x, array_ref, block in zip(inputs, array_refs, input_blocks, strict=False):
                of_head = pl.ds(g * columns(x), columns(x))
                slot = jax.lax.rem(g, jnp.int32(stages))
                plgpu.copy_gmem_to_smem(array_ref.at[here, of_head], block.at[slot, filled], barrier.at[slot])

        def step(g: jax.Array, _: None) -> None:
            slot = jax.lax.rem(g, jnp.int32(stages))
            if stages == 2:
                pl.when(g + 1 < problem.kv_heads)(lambda: fetch(g + 1))
            plgpu.barrier_wait(barrier.at[slot])
            # The last head's results have been read before these take their place.
            plgpu.wait_smem_to_gmem(0)
            blocks = [*(block.at[slot] for block in input_blocks), *ids_blocks, *output_blocks]
            body(problem, rows, blocks, squares, interpret)
            plgpu.commit_smem()
            for x, block, output_ref in zip(outputs, output_blocks, output_refs, strict=True):
                of_head = pl.ds(g * columns(x), columns(x))
                plgpu.copy_smem_to_gmem(block.at[filled], output_ref.at[here, of_head])
            if stages == 1:
                pl.when(g + 1 < problem.kv_heads)(lambda: fetch(g + 1))

        if rows.used < ROWS:
            # What is never copied to is multiplied by probabilities of 0, and must not be nan.
            for x, block in zip(inputs, input_blocks, strict=True):
                zeros = plgpu.layout_cast(jnp.zeros((ROWS, columns(x)), x.dtype), WGMMA)
                for slot in range(stages):
                    block.at[slot][...] = zeros
            plgpu.commit_smem()
        for block in ids_blocks:
            plgpu.copy_gmem_to_smem(array_refs[-1].at[tile], block, ids_barrier)
            plgpu.barrier_wait(ids_barrier)
        fetch(jnp.int32(0))
        jax.lax.fori_loop(0, problem.kv_heads, step, None)
        plgpu.wait_smem_to_gmem(0)

    found = plgpu.kernel(
        kernel,
        out_type=outputs,
        scratch_types=[
            *[plgpu.SMEM((stages, ROWS, columns(x)), x.dtype, transforms=lies(x.dtype)) for x in inputs],
            *[plgpu.SMEM((ROWS, columns(x)), x.dtype, transforms=lies(x.dtype)) for x in outputs],
            *([] if rows.segments is None else [plgpu.SMEM((ROWS,), jnp.int32)]),
            *scratch_squares,
            plgpu.Barrier(num_arrivals=count, num_barriers=stages),
            plgpu.Barrier(),
        ],
        grid=(inputs[0].shape[0] // rows.used,),
        grid_names=("tile",),
        compiler_params=compiler_params(problem),
        interpret=interpreter(find_races=True) if interpret else None,
    )(*arrays)
    return list(found)


def _forward_body(problem: Problem, rows: _Rows, blocks: Any, squares: Any, interpret: bool) -> None:
    q_ref, k_ref, v_ref, *ids_ref, o_ref = blocks
    product = functools.partial(tile_product, interpret=interpret)
    k, v = parts_of(k_ref, problem), parts_of(v_ref, problem)
    hidden = _hidden(problem, rows, ids_ref)
    for n in range(problem.group):
        p, total = _probabilities(problem, product(parts_of(q_ref, problem, n), k, right_transposed=True), hidden)
        o = product(p, v) / jax.lax.broadcast_in_dim(total, (ROWS, problem.width), [0])
        o_ref.at[:, pl.ds(n * problem.width, problem.width)][...] = o.astype(o_ref.dtype)


def _backward_body(problem: Problem, rows: _Rows, blocks: Any, squares: Any, interpret: bool) -> None:
    q_ref, do_ref, k_ref, v_ref, *ids_ref, dq_ref, dk_ref, dv_ref = blocks
    count, dtype = part_count(problem.dtype), part_type(problem.dtype)
    p_refs, ds_refs = list(squares[:count]), list(squares[count:])
    product = functools.partial(tile_product, interpret=interpret)
    k, v = parts_of(k_ref, problem), parts_of(v_ref, problem)
    hidden = _hidden(problem, rows, ids_ref)
    dk = dv = plgpu.layout_cast(jnp.zeros((ROWS, problem.width), jnp.float32), WGMMA)
    for n in range(problem.group):
        q, do = parts_of(q_ref, problem, n), parts_of(do_ref, problem, n)
        p, total = _probabilities(problem, product(q, k, right_transposed=True), hidden)
        p /= jax.lax.broadcast_in_dim(total, p.shape, [0])
        dp = product(do, v, right_transposed=True)
        ds = p * (dp - jax.lax.broadcast_in_dim((p * dp).sum(axis=1), p.shape, [0])) * problem.scale
        dq = product(ds, k)
        dq_ref.at[:, pl.ds(n * problem.width, problem.width)][...] = dq.astype(dq_ref.dtype)
        # Only what lies in shared memory can be transposed on its way into a product.
        for refs, x in ((p_refs, p), (ds_refs, ds)):
            for ref, part in zip(refs, split(x, count, dtype), strict=True):
                ref[...] = part
        plgpu.commit_smem()
        dv = product(p_refs, do, left_transposed=True, add=dv)
        dk = product(ds_refs, q, left_transposed=True, add=dk)
    dk_ref[...] = dk.astype(dk_ref.dtype)
    dv_ref[...] = dv.astype(dv_ref.dtype)


def _hidden(problem: Problem, rows: _Rows, ids_ref: list[Ref]) -> jax.Array | None:
    """Returns (64, 64) bool: which keys a query does not see; None where it sees all."""
    if problem.length == ROWS and not (problem.causal or problem.window or ids_ref):
        return None

    def index(dimension: int) -> jax.Array:
        return plgpu.broadcasted_iota(jnp.int32, (ROWS, ROWS), dimension, layout=WGMMA)

    # Row // length, by a product: exact for rows below 64.
    share = -(-(1 << 16) // rows.length)
    query, key = index(0), index(1)
    of_key = (key * share) >> 16
    seen = (query * share) >> 16 == of_key
    if problem.length < rows.length:
        seen &= key - of_key * rows.length < problem.length
    if problem.causal:
        seen &= key <= query
    if problem.window is not None:
        seen &= (query - key < problem.window) & (key - query < problem.window)
    if ids_ref:
        of_queries, of_keys = (_along(ids_ref[0], dimension) for dimension in (0, 1))
        seen &= of_queries == of_keys
    return ~seen


def _along(ids_ref: Ref, dimension: int) -> jax.Array:
    ids = load(ids_ref, WGMMA.reduce(1 - dimension))
    return jax.lax.broadcast_in_dim(ids, (ROWS, ROWS), [dimension])


def _probabilities(problem: Problem, scores: jax.Array, hidden: jax.Array | None) -> tuple[jax.Array, jax.Array]:
    """Returns what the keys' probabilities are in proportion to, float32, and its sum over the keys (64,)."""
    scores *= problem.scale * LOG2E
    if hidden is not None:
        scores = jnp.where(hidden, HIDDEN, scores)
    p = jnp.exp2(scores - jax.lax.broadcast_in_dim(scores.max(axis=1), scores.shape, [0]))
    return p, p.sum(axis=1)
