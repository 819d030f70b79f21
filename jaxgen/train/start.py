"""Starts from another condition: its parameters, and the transforms applied to them.

A transform is a pure function of one member's start; several apply in their order.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxgen.train.config import MagnitudeMask, Rewind, ScaleParams, Transform

Tree = Any


class Start(NamedTuple):
    """What a member starts from, before and after a transform."""

    params: Tree
    mask: Tree | None  # like params, 1 where a parameter is trained; None: everywhere
    parent_init: Tree  # the parameters that the parent itself started from


def apply_transforms(start: Start, transforms: tuple[Transform, ...]) -> Start:
    """Applies the transforms in order; a mask holds from where it is made."""
    for transform in transforms:
        start = _apply(start, transform)
        if start.mask is not None:
            start = start._replace(params=jax.tree.map(jnp.multiply, start.params, start.mask))
    return start


def _apply(start: Start, transform: Transform) -> Start:
    if isinstance(transform, ScaleParams):
        return start._replace(params=jax.tree.map(lambda w: w * transform.factor, start.params))
    if isinstance(transform, Rewind):
        return start._replace(params=start.parent_init)
    if isinstance(transform, MagnitudeMask):
        return start._replace(mask=magnitude_mask(start.params, transform.keep))
    raise TypeError(f"no transform {type(transform).__name__}")


def magnitude_mask(params: Tree, keep: float) -> Tree:
    """Returns 1.0 at the round(keep * n) largest magnitudes of the n matrix entries, else 0.0.

    Vectors (biases, norms) are kept whole. Of equal magnitudes the earlier leaf, then the earlier entry, is kept.
    """
    matrices = [leaf for leaf in jax.tree.leaves(params) if leaf.ndim > 1]
    flat_N = jnp.concatenate([jnp.abs(leaf).ravel() for leaf in matrices])
    rank_N = jnp.argsort(jnp.argsort(-flat_N, stable=True), stable=True)
    kept_N = rank_N < round(keep * flat_N.size)
    offset = 0
    masks = []
    for leaf in jax.tree.leaves(params):
        if leaf.ndim > 1:
            masks.append(kept_N[offset : offset + leaf.size].reshape(leaf.shape).astype(leaf.dtype))
            offset += leaf.size
        else:
            masks.append(jnp.ones_like(leaf))
    return jax.tree.unflatten(jax.tree.structure(params), masks)
