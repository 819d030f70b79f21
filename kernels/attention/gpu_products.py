"""Matrix products inside a Hopper kernel, and the layout of their factors in shared memory.

Only this file uses `wgmma`. An interpreter has no `wgmma`: there a product is a plain product of the loaded tiles, so
interpreted tests do not cover `wgmma` and the layouts of its factors.

`wgmma` has no float32 products, so a float32 is split into a sum of three bfloat16 numbers, its parts.
"""

from __future__ import annotations

import inspect
import math
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import mosaic_gpu as plgpu

from jaxgen.kernels.attention.problem import Problem

Ref = Any

LOG2E = math.log2(math.e)
WGMMA = plgpu.Layout.WGMMA
# The shared memory of a block of threads, minus that of barriers and single numbers.
SHARED_BYTES = 232448 - 4096
# Newer versions of jax accept no index here.
_NO_INDEX = ((),) if "idx" in inspect.signature(plgpu.load).parameters else ()


# Newer versions of jax have an interpreter of Mosaic GPU.
HAS_INTERPRETER = hasattr(plgpu, "InterpretGPUParams")


def interpreter(*, find_races: bool) -> Any:
    """Returns the parameters of the interpreter; races are unordered accesses of shared memory."""
    return getattr(plgpu, "InterpretGPUParams")(detect_races=find_races)  # noqa: B009


def compiler_params(problem: Problem) -> plgpu.CompilerParams:
    """Returns the compiler parameters of a kernel; float32 uses exact exponentials and quotients."""
    exact = problem.dtype == "float32"
    return plgpu.CompilerParams(approx_math=not exact, lowering_semantics=plgpu.LoweringSemantics.Lane)


def load(ref: Ref, layout: Any) -> jax.Array:
    """Loads a reference to shared memory into registers with this layout."""
    return plgpu.load(ref, *_NO_INDEX, layout=layout)


def tiles(width: int, dtype: Any) -> tuple[Any, ...]:
    """Returns the transforms that lay out a matrix with rows of `width` numbers in shared memory for `wgmma`."""
    size = jnp.dtype(dtype).itemsize
    swizzle = plgpu.find_swizzle(width * size * 8)
    # Typed as Any, because later versions of jax leave a method of these classes abstract.
    tiling: Any = plgpu.TilingTransform
    swizzling: Any = plgpu.SwizzleTransform
    return (tiling((8, swizzle // size)), swizzling(swizzle))


def part_count(dtype: str) -> int:
    """Returns the number of `part_type` parts of a number: three bfloat16 hold a float32's 24 bits."""
    return 3 if dtype == "float32" else 1


def part_type(dtype: str) -> jnp.dtype:
    """Returns the dtype of the factors of products."""
    return jnp.dtype(jnp.bfloat16 if dtype == "float32" else dtype)


def in_parts(x: jax.Array) -> jax.Array:
    """Returns x (..., C) as its parts side by side (..., 3 C); 16-bit numbers stay unchanged."""
    parts, rest = [], x
    if part_count(x.dtype.name) == 1:
        return x
    for _ in range(part_count(x.dtype.name)):
        # XLA may remove a cast to bfloat16 and back, but not this operation.
        part = jax.lax.reduce_precision(rest, exponent_bits=8, mantissa_bits=7)
        parts.append(part.astype(jnp.bfloat16))
        rest -= part
    return jnp.concatenate(parts, axis=-1)


def parts_of(ref: Ref, problem: Problem, head: int = 0) -> list[Ref]:
    """Returns references to the parts of a head in shared memory, for rows made by `in_parts`."""
    count = part_count(problem.dtype)
    return [ref.at[:, pl.ds((head * count + i) * problem.width, problem.width)] for i in range(count)]


def split(x: jax.Array, count: int, dtype: jnp.dtype) -> list[jax.Array]:
    """Returns float32 registers as their parts."""
    parts = []
    for _ in range(count):
        parts.append(x.astype(dtype))
        x -= parts[-1].astype(jnp.float32)
    return parts


def capped(problem: Problem, products: jax.Array) -> tuple[jax.Array, jax.Array | None]:
    """Returns the scores times log2(e), and the derivative of the soft cap (None without a soft cap)."""
    if problem.softcap is None:
        return products * (problem.scale * LOG2E), None
    # This tanh is as exact as the exponential; the approximate instruction is off by 5e-4.
    share = 1.0 - 2.0 / (1.0 + jnp.exp2(products * (problem.scale / problem.softcap * 2.0 * LOG2E)))
    return share * (problem.softcap * LOG2E), 1.0 - share * share


def tile_product(
    left: list[Ref] | jax.Array,
    right: list[Ref],
    *,
    left_transposed: bool = False,
    right_transposed: bool = False,
    add: jax.Array | None = None,
    interpret: bool = False,
) -> jax.Array:
    """Returns left @ right + add in float32.

    Products of parts too small to affect a float32 are left out: six of nine remain.

    Args:
      left: references to the parts in shared memory, or an array in float32 in registers of `WGMMA`'s layout, which
        cannot be transposed.
      right: references to the parts in shared memory.
      left_transposed: whether `left` is given as (K, M).
      right_transposed: whether `right` is given as (N, K).
      add: the array to which the product is added.
      interpret: whether this is for an interpreter.
    """
    lefts = left if isinstance(left, list) else split(left, len(right), right[0].dtype)
    # The smallest products first.
    pairs = [(lefts[i], right[j]) for i in range(len(right)) for j in range(len(right) - i)][::-1]
    if interpret:
        found: Any = 0.0 if add is None else add
        for a, b in pairs:
            a, b = a[...], b[...]
            a, b = a.T if left_transposed else a, b.T if right_transposed else b
            found += jnp.dot(a, b, preferred_element_type=jnp.float32)
        return found

    def multiply(acc_ref: Ref) -> None:
        for a, b in pairs:
            a = a.transpose((1, 0)) if left_transposed else a
            plgpu.wgmma(acc_ref, a, b.transpose((1, 0)) if right_transposed else b)

    if add is None:

        def alone(acc_ref: Ref) -> jax.Array:
            multiply(acc_ref)
            return acc_ref[...]

        rows = lefts[0].shape[1 if left_transposed else 0]
        columns = right[0].shape[0 if right_transposed else 1]
        return pl.run_scoped(alone, plgpu.ACC((rows, columns), jnp.float32))
    return pl.run_state(multiply)(plgpu.ACC.init(add))
