"""Matrix products inside a Hopper kernel, and how their factors lie in shared memory.

The one place that knows `wgmma`. An interpreter has none: there a product is a plain one of the loaded tiles, and what
stays uncovered is `wgmma` itself, with the layouts of its factors.
"""

from __future__ import annotations

import inspect
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import mosaic_gpu as plgpu

Ref = Any

WGMMA = plgpu.Layout.WGMMA
# Newer versions of jax take no index here.
_NO_INDEX = ((),) if "idx" in inspect.signature(plgpu.load).parameters else ()


# Newer versions have an interpreter of Mosaic GPU.
HAS_INTERPRETER = hasattr(plgpu, "InterpretGPUParams")


def interpreter(*, find_races: bool) -> Any:
    """Returns what a kernel is interpreted by; races are accesses of shared memory that nothing orders."""
    return getattr(plgpu, "InterpretGPUParams")(detect_races=find_races)  # noqa: B009


def load(ref: Ref, layout: Any) -> jax.Array:
    """Returns what a reference to shared memory holds, in registers of that layout."""
    return plgpu.load(ref, *_NO_INDEX, layout=layout)


def tiles(width: int, dtype: Any) -> tuple[Any, ...]:
    """Returns how a matrix with rows of `width` numbers lies in shared memory for `wgmma`."""
    size = jnp.dtype(dtype).itemsize
    swizzle = plgpu.find_swizzle(width * size * 8)
    return (plgpu.TilingTransform((8, swizzle // size)), plgpu.SwizzleTransform(swizzle))


def tile_product(
    left: Any,
    right: Ref,
    *,
    left_transposed: bool = False,
    right_transposed: bool = False,
    add: jax.Array | None = None,
    interpret: bool = False,
) -> jax.Array:
    """Returns left @ right + add in float32.

    Args:
      left: a reference to shared memory, or an array in registers of `WGMMA`'s layout, which cannot be transposed.
      right: a reference to shared memory.
      left_transposed: whether `left` is given as (K, M).
      right_transposed: whether `right` is given as (N, K).
      add: what the product is added to.
      interpret: whether this is for an interpreter.
    """
    if interpret:
        left, right = left[...], right[...]
        left, right = left.T if left_transposed else left, right.T if right_transposed else right
        found = jnp.dot(left, right, preferred_element_type=jnp.float32)
        return found if add is None else found + add
    left = left.transpose((1, 0)) if left_transposed else left
    right = right.transpose((1, 0)) if right_transposed else right
    if add is None:

        def alone(acc_ref: Ref) -> jax.Array:
            plgpu.wgmma(acc_ref, left, right)
            return acc_ref[...]

        return pl.run_scoped(alone, plgpu.ACC((left.shape[0], right.shape[1]), jnp.float32))
    return pl.run_state(lambda acc_ref: plgpu.wgmma(acc_ref, left, right))(plgpu.ACC.init(add))
