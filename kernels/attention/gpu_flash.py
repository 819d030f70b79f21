"""Attention of long sequences on a Hopper GPU, in blocks of keys without writing scores to memory (2205.14135).

Two warpgroups compute, each with its own 64 rows, and a third copies their inputs a few blocks ahead (Shah et al.,
2407.08608, without its hand-made schedule of the two). The gradient has one kernel for queries and one for keys and
values, causal or not. Both recompute the probabilities from the saved logarithm of their sum. If queries exist only at
some positions, the others are filled with zeros. If heads share keys, each head writes its own gradient of the keys,
and these are summed outside the kernel.

Numbers that are not finite are first replaced by zeros in the factors of sums, and the scores or the logarithms of the
rows that see them are set to nan. Probabilities and their gradients are selected. So no sum contains 0 * nan.

Shape letters: see problem.py; I rows of queries, J rows of keys.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import mosaic_gpu as plgpu

from jaxgen.kernels.attention.blocks import gpu_blocks
from jaxgen.kernels.attention.gpu_products import (
    LOG2E,
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
    tile_product,
    tiles,
)
from jaxgen.kernels.attention.packing import HIDDEN, among_all, of_queries, room
from jaxgen.kernels.attention.problem import OF_NO_KEY, OF_NO_QUERY, Problem, Segments, spoiled, whole_rows, zeroed

Ref = Any

ROWS = 64  # rows per warpgroup
COPY_REGISTERS = 40
ACROSS, DOWN = WGMMA.reduce(1), WGMMA.reduce(0)  # layouts with one number a row, and one a column


def shared_bytes(problem: Problem, groups: int = 1) -> int:
    """Returns the shared memory of the gradient kernels: two inputs of each warpgroup, two blocks of two, maybe an
    output."""
    part_bytes = part_count(problem.dtype) * part_type(problem.dtype).itemsize
    at_a_time = max(ROWS, gpu_blocks(problem).keys)
    summed = _summed(problem, groups)
    output = 0 if summed == part_type(problem.dtype) else groups * ROWS * summed.itemsize
    return problem.width * ((2 * groups * ROWS + 4 * at_a_time) * part_bytes + output)


def _groups(problem: Problem) -> int:
    """Returns the number of computing warpgroups: two, or one if only its rows fit into shared memory."""
    return 2 if problem.width <= 128 and shared_bytes(problem, groups=2) <= SHARED_BYTES else 1


def _summed(problem: Problem, groups: int) -> jnp.dtype:
    """Returns the dtype of key gradients: float32 if they are summed later and fit into shared memory."""
    return jnp.dtype(jnp.float32 if problem.group > 1 and groups > 1 else problem.dtype)


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
    again to base 2 for all rows (B, H, S).
    """
    rows = _Rows(problem, segments)
    q, k = spoiled(q_BQHC, k_BSGC, v_BSGC)
    q, k, v = rows.queries(in_parts(q)), rows.keys(in_parts(k)), rows.keys(in_parts(zeroed(v_BSGC)))
    batch, length, heads, _ = q.shape
    groups, product = _groups(problem), functools.partial(tile_product, interpret=interpret)
    found = _launch(
        problem,
        functools.partial(_forward, product, problem, rows.keys_at_a_time, length),
        [q, k, v, *rows.segments],
        [
            jax.ShapeDtypeStruct((batch, length, heads, problem.width), problem.dtype),
            jax.ShapeDtypeStruct((batch, heads, length), jnp.float32),
        ],
        [
            _own(groups, problem),
            _row(groups, jnp.float32),
            *([_row(groups, jnp.int32)] if rows.segments else []),
            *_out(groups, problem, jnp.dtype(problem.dtype)),
        ],
        (batch, heads, length // (groups * ROWS)),
        interpret,
    )
    lse_BHQ = rows.of_queries(found[1].swapaxes(1, 2)).swapaxes(1, 2) / LOG2E
    return rows.of_queries(found[0]), lse_BHQ, found[1]


def backward(
    problem: Problem,
    q_BQHC: jax.Array,
    k_BSGC: jax.Array,
    v_BSGC: jax.Array,
    segments: Segments | None,
    bias: None,
    o_BQHC: jax.Array,
    logs_BHS: jax.Array,
    do_BQHC: jax.Array,
    dlse_BHQ: jax.Array | None,
    *,
    interpret: bool = False,
) -> tuple[jax.Array, jax.Array, jax.Array, None]:
    """Returns the gradients of queries, keys and values."""
    rows = _Rows(problem, segments)
    q, do = (rows.queries(in_parts(zeroed(x))) for x in (q_BQHC, do_BQHC))
    k, v = (rows.keys(in_parts(zeroed(x))) for x in (k_BSGC, v_BSGC))
    batch, length, heads, _ = q.shape
    groups, product = _groups(problem), functools.partial(tile_product, interpret=interpret)
    # The softmax subtracts sum(p dp) over keys from every query's score gradients, which equals sum(o do).
    taken_BQH = jnp.sum(o_BQHC.astype(jnp.float32) * do_BQHC.astype(jnp.float32), axis=-1)
    if dlse_BHQ is not None:
        taken_BQH -= dlse_BHQ.swapaxes(1, 2)
    taken_BHS = rows.queries(taken_BQH).swapaxes(1, 2)
    # If a query or its keys are not finite, its logarithm is already not finite.
    missing_BHS = rows.queries(~whole_rows(do_BQHC)[..., 0]).swapaxes(1, 2)
    logs_BHS = jnp.where(missing_BHS, jnp.nan, logs_BHS)
    inputs = [q, k, v, do, logs_BHS, taken_BHS, *rows.segments]
    grid = (batch, heads, length // (groups * ROWS))
    own, own_ids = _own(groups, problem), [_row(groups, jnp.int32)] if rows.segments else []
    numbers = [_row(groups, jnp.float32)] * 2
    (dq,) = _launch(
        problem,
        functools.partial(_query_gradient, product, problem, rows.keys_at_a_time, length),
        inputs,
        [jax.ShapeDtypeStruct((batch, length, heads, problem.width), problem.dtype)],
        [own, own, *numbers, *own_ids, *_out(groups, problem, jnp.dtype(problem.dtype))],
        grid,
        interpret,
    )
    summed = _summed(problem, groups)
    of_keys = jax.ShapeDtypeStruct((batch, length, heads, problem.width), summed)
    dk, dv = _launch(
        problem,
        functools.partial(_key_gradients, product, problem, length),
        inputs,
        [of_keys, of_keys],
        [own, own, *own_ids, *_out(groups, problem, summed)],
        grid,
        interpret,
    )
    if problem.group > 1:
        shape = (batch, length, problem.kv_heads, problem.group, problem.width)
        dk, dv = (x.astype(jnp.float32).reshape(shape).sum(axis=3).astype(problem.dtype) for x in (dk, dv))
    return rows.of_queries(dq), rows.of_keys(dk), rows.of_keys(dv), None


class _Rows:
    """The layout of arrays for the kernels: unchanged, but padded to whole blocks."""

    def __init__(self, problem: Problem, segments: Segments | None):
        self.problem = problem
        self.keys_at_a_time = gpu_blocks(problem).keys
        whole = max(_groups(problem) * ROWS, self.keys_at_a_time)
        self.length = -(-room(problem) // whole) * whole
        self.segments = []
        if segments is not None:
            queries = self._padded(among_all(problem, segments[0], OF_NO_QUERY), OF_NO_QUERY)
            self.segments = [queries, self._padded(segments[1], OF_NO_KEY)]

    def _padded(self, x_BS: jax.Array, otherwise: int = 0) -> jax.Array:
        more = ((0, 0), (0, self.length - x_BS.shape[1])) + ((0, 0),) * (x_BS.ndim - 2)
        return jnp.pad(x_BS, more, constant_values=otherwise)

    def keys(self, x_BSGC: jax.Array) -> jax.Array:
        return self._padded(x_BSGC)

    def of_keys(self, x_BSGC: jax.Array) -> jax.Array:
        return x_BSGC[:, : self.problem.length]

    def queries(self, x_BQ: jax.Array) -> jax.Array:
        return self._padded(among_all(self.problem, x_BQ))

    def of_queries(self, x_BS: jax.Array) -> jax.Array:
        return of_queries(self.problem, x_BS[:, : room(self.problem)])


def _own(groups: int, problem: Problem) -> Any:
    dtype = part_type(problem.dtype)
    shape = (groups, ROWS, part_count(problem.dtype) * problem.width)
    return plgpu.SMEM(shape, dtype, transforms=tiles(problem.width, dtype))


def _out(groups: int, problem: Problem, dtype: jnp.dtype) -> list[Any]:
    """Returns shared memory for an output, if no input's memory has the same shape and dtype."""
    if dtype == part_type(problem.dtype):
        return []
    return [plgpu.SMEM((groups, ROWS, problem.width), dtype, transforms=tiles(problem.width, dtype))]


def _row(groups: int, dtype: Any) -> Any:
    return plgpu.SMEM((groups, ROWS), dtype)


def _launch(
    problem: Problem,
    body: Any,
    inputs: list[jax.Array],
    outputs: list[jax.ShapeDtypeStruct],
    scratch: list[Any],
    grid: tuple[int, int, int],
    interpret: bool,
) -> list[jax.Array]:
    """Runs `body(inputs, outputs, scratch, barrier)` for every example, head and pair of warpgroups."""
    count, groups = len(inputs) + len(outputs), scratch[0].shape[0]

    def kernel(*refs: Ref) -> None:
        body(refs[: len(inputs)], refs[len(inputs) : count], refs[count:-1], refs[-1])

    found = plgpu.kernel(
        kernel,
        out_type=outputs,
        scratch_types=[*scratch, plgpu.Barrier(num_barriers=groups)],
        grid=grid[::-1],
        grid_names=("block", "head", "example"),
        num_threads=groups + 1,
        thread_name="group",
        compiler_params=compiler_params(problem),
        # The interpreter of jax 0.12 does not recognise the order that this pipeline's barriers enforce.
        interpret=interpreter(find_races=False) if interpret else None,
    )(*inputs)
    return list(found)


def _place(problem: Problem) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array, jax.Array]:
    """Returns example, head, head of keys, warpgroup, and the first row of the block."""
    head = jax.lax.axis_index("head")
    first = jax.lax.axis_index("block") * (_groups(problem) * ROWS)
    return (
        jax.lax.axis_index("example"),
        head,
        jax.lax.div(head, jnp.int32(problem.group)),
        jax.lax.axis_index("group"),
        first,
    )


def _copy_in(pairs: list[tuple[Ref, Ref]], barrier_ref: Ref) -> None:
    # One after another: a barrier counts one arrival.
    for source, target in pairs:
        plgpu.copy_gmem_to_smem(source, target, barrier_ref)
        plgpu.barrier_wait(barrier_ref)


def _copy_out(pairs: list[tuple[Ref, Ref]]) -> None:
    plgpu.commit_smem()
    for source, target in pairs:
        plgpu.copy_smem_to_gmem(source, target)
    plgpu.wait_smem_to_gmem(0)


def _pipeline(groups: int, step: Any, context: Any, first: Any, count: Any, blocks: list[Any]) -> None:
    """Runs the warpgroups over `count` blocks from `first` on; `blocks` has references, block shapes and transforms."""

    def spec(shape: tuple[int, ...], transforms: Any) -> plgpu.BlockSpec:
        return plgpu.BlockSpec(shape, lambda i: (first + i,) + (0,) * (len(shape) - 1), transforms=transforms)

    plgpu.emit_pipeline_warp_specialized(
        step,
        grid=(count,),
        max_concurrent_steps=2,
        num_compute_wgs=groups,
        memory_registers=COPY_REGISTERS,
        wg_axis="group",
        compute_context=context,
        in_specs=[spec(shape, transforms) for _, shape, transforms in blocks],
    )(*(ref for ref, _, _ in blocks))


def _zeros(*shape: int) -> jax.Array:
    return plgpu.layout_cast(jnp.zeros(shape, jnp.float32), WGMMA if len(shape) == 2 else ACROSS)


def _spread(row: jax.Array, like: jax.Array, dimension: int = 0) -> jax.Array:
    return jax.lax.broadcast_in_dim(row, like.shape, [dimension])


def _steps(problem: Problem, length: int, first: jax.Array, rows: int, at_a_time: int, keys: bool) -> Any:
    """Returns the first block, and the number of blocks, that rows `first` to `first + rows` see; for `keys`, the
    blocks that see them.
    """
    window = length if problem.window is None else problem.window
    ahead = window if keys or not problem.causal else 1
    behind = window if not keys or not problem.causal else 1
    begin = jnp.maximum(first - (behind - 1), 0)
    end = jnp.minimum(first + rows + (ahead - 1), length)
    begin = jax.lax.div(begin, jnp.int32(at_a_time))
    return begin, jax.lax.div(end + (at_a_time - 1), jnp.int32(at_a_time)) - begin


def _seen(
    problem: Problem, like: jax.Array, length: int, query: jax.Array, key: jax.Array, down: int, ids: Any
) -> jax.Array | None:
    """Returns which keys a query sees; None if it sees all.

    Args:
      problem: the problem.
      like: scores of queries and keys that begin at `query` and `key`.
      length: the number of positions, including padding.
      query: the first query.
      key: the first key.
      down: the axis of the queries.
      ids: segments of the rows and of the columns, if any.
    """
    seen = None

    def only(where: jax.Array) -> None:
        nonlocal seen
        seen = where if seen is None else seen & where

    queries = plgpu.broadcasted_iota(jnp.int32, like.shape, down, layout=WGMMA) + query
    keys = plgpu.broadcasted_iota(jnp.int32, like.shape, 1 - down, layout=WGMMA) + key
    if problem.length < length:
        only(keys < problem.length)
    if problem.causal:
        only(keys <= queries)
    if problem.window is not None:
        only((queries - keys < problem.window) & (keys - queries < problem.window))
    if ids is not None:
        only(_spread(ids[0], like, 0) == _spread(ids[1], like, 1))
    return seen


def _only(seen: jax.Array | None, x: jax.Array, otherwise: float = 0.0) -> jax.Array:
    return x if seen is None else jnp.where(seen, x, otherwise)


def _forward(
    product: Any, problem: Problem, at_a_time: int, length: int, inputs: Any, outputs: Any, scratch: Any, barrier: Ref
) -> None:
    q_ref, k_ref, v_ref, *ids_ref = inputs
    o_ref, logs_ref = outputs
    own_ref, row_ref, *rest_ref = scratch
    own = len(ids_ref) // 2
    own_ids_ref, out_ref = rest_ref[:own], [*rest_ref[own:], own_ref][0]
    example, head, kv_head, group, base = _place(problem)
    parts = functools.partial(parts_of, problem=problem)
    first, count = _steps(problem, length, base, _groups(problem) * ROWS, at_a_time, keys=False)
    query = base + group * ROWS
    mine = pl.ds(query, ROWS)

    def context(pipeline: Any) -> None:
        pairs = [(q_ref.at[example, mine, head], own_ref.at[group])]
        if ids_ref:
            pairs.append((ids_ref[0].at[example, mine], own_ids_ref[0].at[group]))
        _copy_in(pairs, barrier.at[group])
        most = plgpu.layout_cast(jnp.full((ROWS,), HIDDEN, jnp.float32), ACROSS)
        o, most, total = pipeline((_zeros(ROWS, problem.width), most, _zeros(ROWS)))
        some = jnp.where(total == 0, 1.0, total)
        out_ref.at[group][...] = (o / _spread(some, o)).astype(o_ref.dtype)
        row_ref.at[group][...] = jnp.where(total == 0, -jnp.inf, most + jnp.log(some) * LOG2E)
        _copy_out(
            [(out_ref.at[group], o_ref.at[example, mine, head]), (row_ref.at[group], logs_ref.at[example, head, mine])]
        )

    def step(indices: Any, k_block: Ref, v_block: Ref, *rest: Any) -> Any:
        *ids_block, carry = rest
        o, most, total = carry
        key = (first + indices[0]) * at_a_time
        scores, _ = capped(problem, product(parts(own_ref.at[group]), parts(k_block), right_transposed=True))
        seen = _seen(problem, scores, length, query, key, 0, _ids(own_ids_ref, ids_block, group))
        scores = _only(seen, scores, HIDDEN)
        next_most = jnp.maximum(most, scores.max(axis=1))
        p = _only(seen, jnp.exp2(scores - _spread(next_most, scores)))
        shrink = jnp.exp2(most - next_most)
        o = product(p, parts(v_block), add=o * _spread(shrink, o))
        return o, next_most, total * shrink + p.sum(axis=1)

    lies = tiles(problem.width, q_ref.dtype)
    blocks: list[Any] = [(ref.at[example, :, kv_head], (at_a_time, k_ref.shape[-1]), lies) for ref in (k_ref, v_ref)]
    blocks += [(ref.at[example], (at_a_time,), ()) for ref in ids_ref[1:]]
    _pipeline(_groups(problem), step, context, first, count, blocks)


def _ids(own_ids_ref: Any, ids_block: Any, group: jax.Array) -> Any:
    if not own_ids_ref:
        return None
    return load(own_ids_ref[0].at[group], ACROSS), load(ids_block[0], DOWN)


def _query_gradient(
    product: Any, problem: Problem, at_a_time: int, length: int, inputs: Any, outputs: Any, scratch: Any, barrier: Ref
) -> None:
    q_ref, k_ref, v_ref, do_ref, logs_ref, taken_ref, *ids_ref = inputs
    (dq_ref,) = outputs
    own_q_ref, own_do_ref, own_logs_ref, own_taken_ref, *rest_ref = scratch
    own = len(ids_ref) // 2
    own_ids_ref, out_ref = rest_ref[:own], [*rest_ref[own:], own_q_ref][0]
    example, head, kv_head, group, base = _place(problem)
    parts = functools.partial(parts_of, problem=problem)
    first, count = _steps(problem, length, base, _groups(problem) * ROWS, at_a_time, keys=False)
    query = base + group * ROWS
    mine = pl.ds(query, ROWS)

    def context(pipeline: Any) -> None:
        pairs = [
            (q_ref.at[example, mine, head], own_q_ref.at[group]),
            (do_ref.at[example, mine, head], own_do_ref.at[group]),
            (logs_ref.at[example, head, mine], own_logs_ref.at[group]),
            (taken_ref.at[example, head, mine], own_taken_ref.at[group]),
        ]
        if ids_ref:
            pairs.append((ids_ref[0].at[example, mine], own_ids_ref[0].at[group]))
        _copy_in(pairs, barrier.at[group])
        dq = pipeline(_zeros(ROWS, problem.width))
        out_ref.at[group][...] = dq.astype(dq_ref.dtype)
        _copy_out([(out_ref.at[group], dq_ref.at[example, mine, head])])

    def step(indices: Any, k_block: Ref, v_block: Ref, *rest: Any) -> Any:
        *ids_block, dq = rest
        key = (first + indices[0]) * at_a_time
        scores, slope = capped(problem, product(parts(own_q_ref.at[group]), parts(k_block), right_transposed=True))
        seen = _seen(problem, scores, length, query, key, 0, _ids(own_ids_ref, ids_block, group))
        logs = load(own_logs_ref.at[group], ACROSS)
        taken = load(own_taken_ref.at[group], ACROSS)
        p = jnp.exp2(scores - _spread(logs, scores))
        dp = product(parts(own_do_ref.at[group]), parts(v_block), right_transposed=True)
        ds = p * (dp - _spread(taken, dp)) * problem.scale
        ds = _only(seen, ds if slope is None else ds * slope)
        return product(ds, parts(k_block), add=dq)

    lies = tiles(problem.width, q_ref.dtype)
    blocks: list[Any] = [(ref.at[example, :, kv_head], (at_a_time, k_ref.shape[-1]), lies) for ref in (k_ref, v_ref)]
    blocks += [(ref.at[example], (at_a_time,), ()) for ref in ids_ref[1:]]
    _pipeline(_groups(problem), step, context, first, count, blocks)


def _key_gradients(
    product: Any, problem: Problem, length: int, inputs: Any, outputs: Any, scratch: Any, barrier: Ref
) -> None:
    q_ref, k_ref, v_ref, do_ref, logs_ref, taken_ref, *ids_ref = inputs
    dk_ref, dv_ref = outputs
    own_k_ref, own_v_ref, *rest_ref = scratch
    own = len(ids_ref) // 2
    own_ids_ref, out_ref = rest_ref[:own], rest_ref[own:]
    example, head, kv_head, group, base = _place(problem)
    parts = functools.partial(parts_of, problem=problem)
    first, count = _steps(problem, length, base, _groups(problem) * ROWS, ROWS, keys=True)
    key = base + group * ROWS
    mine = pl.ds(key, ROWS)

    def context(pipeline: Any) -> None:
        pairs = [
            (k_ref.at[example, mine, kv_head], own_k_ref.at[group]),
            (v_ref.at[example, mine, kv_head], own_v_ref.at[group]),
        ]
        if ids_ref:
            pairs.append((ids_ref[1].at[example, mine], own_ids_ref[0].at[group]))
        _copy_in(pairs, barrier.at[group])
        zeros = _zeros(ROWS, problem.width)
        gradients = pipeline((zeros, zeros))
        for gradient, own_ref, target_ref in zip(gradients, (own_k_ref, own_v_ref), (dk_ref, dv_ref), strict=True):
            place_ref = out_ref[0] if out_ref else own_ref
            place_ref.at[group][...] = gradient.astype(target_ref.dtype)
            _copy_out([(place_ref.at[group], target_ref.at[example, mine, head])])

    def step(indices: Any, q_block: Ref, do_block: Ref, logs_block: Ref, taken_block: Ref, *rest: Any) -> Any:
        *ids_block, carry = rest
        dk, dv = carry
        query = (first + indices[0]) * ROWS
        # Keys are the rows, so that each product has a factor in registers without a transpose.
        scores, slope = capped(problem, product(parts(own_k_ref.at[group]), parts(q_block), right_transposed=True))
        seen = _seen(problem, scores, length, query, key, 1, _ids(own_ids_ref, ids_block, group))
        logs, taken = (load(ref, DOWN) for ref in (logs_block, taken_block))
        p = _only(seen, jnp.exp2(scores - _spread(logs, scores, 1)))
        dv = product(p, parts(do_block), add=dv)
        dp = product(parts(own_v_ref.at[group]), parts(do_block), right_transposed=True)
        ds = p * (dp - _spread(taken, dp, 1)) * problem.scale
        ds = _only(seen, ds if slope is None else ds * slope)
        return product(ds, parts(q_block), add=dk), dv

    lies = tiles(problem.width, q_ref.dtype)
    blocks: list[Any] = [(ref.at[example, :, head], (ROWS, q_ref.shape[-1]), lies) for ref in (q_ref, do_ref)]
    blocks += [(ref.at[example, head], (ROWS,), ()) for ref in (logs_ref, taken_ref)]
    blocks += [(ref.at[example], (ROWS,), ()) for ref in ids_ref[:1]]
    _pipeline(_groups(problem), step, context, first, count, blocks)
