"""Attention of short sequences on a Hopper GPU: several sequences in a tile of 64 rows, with one pass over memory.

A warpgroup has a tile and loops over its heads; the next head is copied while it computes. The scores of a head are one
product of 64 x 64, masked to the sequences on its diagonal. The gradient recomputes the probabilities and computes all
three gradients in one kernel, in which only one program writes each row. A tile has a number of whole sequences that
fills a multiple of 8 rows; if no number does (9 positions, for example), sequences are padded. If queries exist only at
some positions, the others are filled with zeros.

In such a product every row meets every other, and 0 * nan is nan. So numbers that are not finite are replaced by zeros
in shared memory, and the scores of the rows that see them are set to nan; probabilities and their gradients are
selected. This costs no traffic, and only one number a row of memory.

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
    capped,
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
from jaxgen.kernels.attention.packing import HIDDEN, among_all, of_queries, room
from jaxgen.kernels.attention.problem import LARGEST, OF_NO_KEY, OF_NO_QUERY, Problem, Segments

Ref = Any

ROWS = 64


def shared_bytes(problem: Problem, stages: int = 1) -> int:
    """Returns the shared memory of the gradient for a head of keys: `stages` times four inputs, three outputs, two
    squares."""
    part_bytes = part_count(problem.dtype) * part_type(problem.dtype).itemsize
    inputs = stages * (2 * problem.group + 2) * problem.width * part_bytes
    outputs = (problem.group + 2) * problem.width * jnp.dtype(problem.dtype).itemsize
    return ROWS * (inputs + outputs + 2 * ROWS * part_bytes + 4)


def forward(
    problem: Problem,
    q_BQHC: jax.Array,
    k_BSGC: jax.Array,
    v_BSGC: jax.Array,
    segments: Segments | None,
    bias: None,
    *,
    interpret: bool = False,
) -> tuple[jax.Array, None, None]:
    """Returns the output (B, Q, H, C), no logarithms, and no residuals beside the inputs."""
    rows = _Rows(problem, q_BQHC.shape[0], segments)
    inputs = [rows.queries(q_BQHC), rows.keys(k_BSGC), rows.keys(v_BSGC)]
    (o,) = _call(problem, _forward_body, rows, inputs, [problem.heads], interpret)
    return rows.of_queries(o), None, None


def backward(
    problem: Problem,
    q_BQHC: jax.Array,
    k_BSGC: jax.Array,
    v_BSGC: jax.Array,
    segments: Segments | None,
    bias: None,
    o_BQHC: jax.Array,
    residual: None,
    do_BQHC: jax.Array,
    dlse: None,
    *,
    interpret: bool = False,
) -> tuple[jax.Array, jax.Array, jax.Array, None]:
    """Returns the gradients of queries, keys and values."""
    rows = _Rows(problem, q_BQHC.shape[0], segments)
    inputs = [rows.queries(q_BQHC), rows.queries(do_BQHC), rows.keys(k_BSGC), rows.keys(v_BSGC)]
    dq, dk, dv = _call(
        problem, _backward_body, rows, inputs, [problem.heads, problem.kv_heads, problem.kv_heads], interpret
    )
    return rows.of_queries(dq), rows.of_keys(dk), rows.of_keys(dv), None


class _Rows:
    """The layout of arrays for the kernel: rows with all heads, whole sequences in a tile.

    Attributes:
      length: the positions of a sequence for queries and keys, maybe with padding.
      sequences: the number of sequences in a tile.
      used: the used rows of a tile, a multiple of 8; zeros follow them.
    """

    def __init__(self, problem: Problem, batch: int, segments: Segments | None):
        self.problem, self.batch = problem, batch
        self.length = next(length for length in range(room(problem), ROWS + 1) if _least(length) * length <= ROWS)
        least = _least(self.length)
        self.sequences = ROWS // (least * self.length) * least
        self.used = self.sequences * self.length
        self.more = -batch % self.sequences
        self.segments = []
        if segments is not None:
            among = (among_all(problem, segments[0], OF_NO_QUERY), segments[1])
            for ids_BS, nowhere in zip(among, (OF_NO_QUERY, OF_NO_KEY), strict=True):
                ids = jnp.pad(ids_BS, self._padding(ids_BS), constant_values=nowhere).reshape(-1, self.used)
                self.segments.append(jnp.pad(ids, ((0, 0), (0, ROWS - self.used)), constant_values=nowhere))

    def _padding(self, x_BS: jax.Array) -> tuple[tuple[int, int], ...]:
        return ((0, self.more), (0, self.length - x_BS.shape[1])) + ((0, 0),) * (x_BS.ndim - 2)

    def keys(self, x_BSGC: jax.Array) -> jax.Array:
        rows = (self.batch + self.more) * self.length
        return jnp.pad(in_parts(x_BSGC), self._padding(x_BSGC)).reshape(rows, -1)

    def of_keys(self, x_NC: jax.Array) -> jax.Array:
        return self._by_example(x_NC)[:, : self.problem.length]

    def queries(self, x_BQHC: jax.Array) -> jax.Array:
        return self.keys(among_all(self.problem, x_BQHC))

    def of_queries(self, x: jax.Array) -> jax.Array:
        return of_queries(self.problem, self._by_example(x)[:, : room(self.problem)])

    def _by_example(self, x_NC: jax.Array) -> jax.Array:
        return x_NC.reshape(self.batch + self.more, self.length, -1, self.problem.width)[: self.batch]


def _least(length: int) -> int:
    """Returns the smallest number of sequences that fills a multiple of 8 rows, the unit of rows in shared memory."""
    return 8 // math.gcd(length, 8)


def _call(
    problem: Problem, body: Any, rows: _Rows, inputs: list[jax.Array], heads: list[int], interpret: bool
) -> list[jax.Array]:
    """Runs `body` on every tile and head of keys, and returns one array for each entry of `heads`."""
    count = len(inputs)
    outputs = [jax.ShapeDtypeStruct((inputs[0].shape[0], each * problem.width), problem.dtype) for each in heads]
    arrays = [*inputs, *rows.segments]

    def lies(dtype: Any) -> tuple[Any, ...]:
        # Both factors of a product have the same layout, given by the width of a head.
        return () if interpret else tiles(problem.width, dtype)

    stages = 2 if problem.kv_heads > 1 and shared_bytes(problem, stages=2) <= SHARED_BYTES else 1

    def columns(x: Any) -> int:
        return x.shape[1] // problem.kv_heads

    square = plgpu.SMEM((ROWS, ROWS), inputs[0].dtype, transforms=lies(inputs[0].dtype))
    scratch_squares = [square] * (2 * part_count(problem.dtype) if body is _backward_body else 0)

    def divided(refs: tuple[Ref, ...]) -> Iterator[Any]:
        for size in (len(arrays), len(outputs), count, len(outputs), len(rows.segments), len(scratch_squares)):
            yield refs[:size]
            refs = refs[size:]
        yield from refs

    def kernel(*refs: Ref) -> None:
        array_refs, output_refs, input_blocks, output_blocks, ids_blocks, squares, *others = divided(refs)
        missing_ref, barrier, ids_barrier = others
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
            # The last head's results have been read before these overwrite them.
            plgpu.wait_smem_to_gmem(0)
            blocks = [*(block.at[slot] for block in input_blocks), *output_blocks]
            body(problem, rows, blocks, ids_blocks, squares, missing_ref, interpret)
            plgpu.commit_smem()
            for x, block, output_ref in zip(outputs, output_blocks, output_refs, strict=True):
                of_head = pl.ds(g * columns(x), columns(x))
                plgpu.copy_smem_to_gmem(block.at[filled], output_ref.at[here, of_head])
            if stages == 1:
                pl.when(g + 1 < problem.kv_heads)(lambda: fetch(g + 1))

        if rows.used < ROWS:
            # Rows that no copy fills are multiplied by probabilities of 0, so they must not be nan.
            for x, block in zip(inputs, input_blocks, strict=True):
                zeros = plgpu.layout_cast(jnp.zeros((ROWS, columns(x)), x.dtype), WGMMA)
                for slot in range(stages):
                    block.at[slot][...] = zeros
            plgpu.commit_smem()
        for array_ref, block in zip(array_refs[count:], ids_blocks, strict=True):
            plgpu.copy_gmem_to_smem(array_ref.at[tile], block, ids_barrier)
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
            *[plgpu.SMEM((ROWS,), jnp.int32)] * len(rows.segments),
            *scratch_squares,
            plgpu.SMEM((ROWS,), jnp.float32),
            plgpu.Barrier(num_arrivals=count, num_barriers=stages),
            plgpu.Barrier(),
        ],
        grid=(inputs[0].shape[0] // rows.used,),
        grid_names=("tile",),
        compiler_params=compiler_params(problem),
        interpret=interpreter(find_races=True) if interpret else None,
    )(*arrays)
    return list(found)


def _forward_body(
    problem: Problem, rows: _Rows, blocks: Any, ids: Any, squares: Any, missing_ref: Ref, interpret: bool
) -> None:
    q_ref, k_ref, v_ref, o_ref = blocks
    product = functools.partial(tile_product, interpret=interpret)
    k, v = parts_of(k_ref, problem), parts_of(v_ref, problem)
    of_keys = _along_keys(_take_out(k) + _take_out(v), missing_ref)
    seen = _seen(problem, rows, ids)
    for n in range(problem.group):
        q = parts_of(q_ref, problem, n)
        missing = of_keys + _along_queries(_take_out(q))
        plgpu.commit_smem()
        p, total, _ = _probabilities(problem, product(q, k, right_transposed=True), seen, missing)
        o = product(p, v) / jax.lax.broadcast_in_dim(total, (ROWS, problem.width), [0])
        o_ref.at[:, pl.ds(n * problem.width, problem.width)][...] = o.astype(o_ref.dtype)


def _backward_body(
    problem: Problem, rows: _Rows, blocks: Any, ids: Any, squares: Any, missing_ref: Ref, interpret: bool
) -> None:
    q_ref, do_ref, k_ref, v_ref, dq_ref, dk_ref, dv_ref = blocks
    count, dtype = part_count(problem.dtype), part_type(problem.dtype)
    p_refs, ds_refs = list(squares[:count]), list(squares[count:])
    product = functools.partial(tile_product, interpret=interpret)
    k, v = parts_of(k_ref, problem), parts_of(v_ref, problem)
    of_keys = _along_keys(_take_out(k) + _take_out(v), missing_ref)
    seen = _seen(problem, rows, ids)
    dk = dv = plgpu.layout_cast(jnp.zeros((ROWS, problem.width), jnp.float32), WGMMA)
    for n in range(problem.group):
        q, do = parts_of(q_ref, problem, n), parts_of(do_ref, problem, n)
        missing = of_keys + _along_queries(_take_out(q) + _take_out(do))
        plgpu.commit_smem()
        p, total, slope = _probabilities(problem, product(q, k, right_transposed=True), seen, missing)
        p = _only(seen, p / _along_queries(total))
        dp = _only(seen, product(do, v, right_transposed=True))
        ds = p * (dp - _along_queries((p * dp).sum(axis=1))) * problem.scale
        ds = _only(seen, ds if slope is None else ds * slope)
        dq = product(ds, k)
        dq_ref.at[:, pl.ds(n * problem.width, problem.width)][...] = dq.astype(dq_ref.dtype)
        # Only factors in shared memory can be transposed by a product.
        for refs, x in ((p_refs, p), (ds_refs, ds)):
            for ref, part in zip(refs, split(x, count, dtype), strict=True):
                ref[...] = part
        plgpu.commit_smem()
        dv = product(p_refs, do, left_transposed=True, add=dv)
        dk = product(ds_refs, q, left_transposed=True, add=dk)
    dk_ref[...] = dk.astype(dk_ref.dtype)
    dv_ref[...] = dv.astype(dv_ref.dtype)


def _take_out(parts: list[Ref]) -> jax.Array:
    """Replaces numbers that are not finite by zeros, and returns (64,) float32, above 0 for rows that had some."""
    found = []
    for ref in parts:
        numbers = load(ref, WGMMA).astype(jnp.float32)
        there = (numbers <= LARGEST) & (numbers >= -LARGEST)
        ref[...] = jnp.where(there, numbers, 0.0).astype(ref.dtype)
        ones = plgpu.layout_cast(jnp.ones(numbers.shape, jnp.float32), WGMMA)
        found.append(jnp.where(there, 0.0, ones).max(axis=1))
    # The first part of a number that is not finite is not finite either.
    return found[0]


def _along_queries(x: jax.Array) -> jax.Array:
    return jax.lax.broadcast_in_dim(x, (ROWS, ROWS), [0])


def _along_keys(missing: jax.Array, missing_ref: Ref) -> jax.Array:
    """Returns numbers of rows (64,) as numbers of columns (64, 64)."""
    missing_ref[...] = missing
    plgpu.commit_smem()
    return _along(missing_ref, 1)


def _seen(problem: Problem, rows: _Rows, ids_refs: list[Ref]) -> jax.Array | None:
    """Returns (64, 64) bool: which keys a query sees; None if it sees all."""
    if problem.length == rows.length == ROWS and not (problem.ordered or ids_refs):
        return None

    def index(dimension: int) -> jax.Array:
        return plgpu.broadcasted_iota(jnp.int32, (ROWS, ROWS), dimension, layout=WGMMA)

    # Row // length, computed by a product, which is exact for rows below 64.
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
    if ids_refs:
        of_queries, of_keys = (_along(ref, dimension) for dimension, ref in enumerate(ids_refs))
        seen &= of_queries == of_keys
    return seen


def _along(ref: Ref, dimension: int) -> jax.Array:
    return jax.lax.broadcast_in_dim(load(ref, WGMMA.reduce(1 - dimension)), (ROWS, ROWS), [dimension])


def _only(seen: jax.Array | None, x: jax.Array, otherwise: float = 0.0) -> jax.Array:
    return x if seen is None else jnp.where(seen, x, otherwise)


def _probabilities(
    problem: Problem, products: jax.Array, seen: jax.Array | None, missing: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array | None]:
    """Returns the unnormalised probabilities of the keys, float32; their sum over the keys (64,); the soft cap's slope.

    The sum is 1 if no key is seen. The slope is the derivative of the soft cap; None without a soft cap.
    """
    scores, slope = capped(problem, jnp.where(missing == 0, products, jnp.nan))
    scores = _only(seen, scores, HIDDEN)
    p = _only(seen, jnp.exp2(scores - _along_queries(scores.max(axis=1))))
    total = p.sum(axis=1)
    return p, jnp.where(total == 0, 1.0, total), slope
