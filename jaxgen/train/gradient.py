"""The gradient of a batch: of all of it at once, of parts one after the other, or of shards added in a fixed order."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxgen.distributed.mesh import DATA
from jaxgen.models.sharding import spread_examples
from jaxgen.tasks.base import Split

Tree = Any


class Kept(NamedTuple):
    """What a batch changes beside the parameters."""

    model_state: Tree
    extra: Tree


class Gradient(NamedTuple):
    """What a batch gives."""

    loss: jax.Array  # () float32, the mean over its examples
    grads: Tree  # like params
    kept: Kept | None  # None: the batch was cut, and what is kept stays as it was


# From examples and the key of what is drawn, to their gradient.
OfExamples = Callable[[Split, jax.Array], Gradient]
# The same, from how a part of the batch gives its gradient.
Gradients = Callable[[OfExamples, Split, jax.Array], Gradient]


def gradients(microbatches: int, shards: int | None, devices: int) -> Gradients:
    """Returns how the gradient of a batch is put together.

    Args:
      microbatches: the number of parts that are taken one after the other.
      shards: the number of logical shards; None: none.
      devices: over how many the batch is spread.
    """
    if shards is not None:
        return functools.partial(_in_fixed_order, shards, devices)
    if microbatches > 1:
        return functools.partial(_in_microbatches, microbatches)
    return lambda of, batch, key: of(batch, key)


def _in_microbatches(parts: int, of: OfExamples, batch: Split, key: jax.Array) -> Gradient:
    # A part takes every so many-th example: of those that a device has, it has the same number of each part.
    cut = jax.tree.map(lambda column: column.reshape(-1, parts, *column.shape[1:]).swapaxes(0, 1), batch)

    def one(i: jax.Array, part: Split) -> tuple[jax.Array, Tree]:
        found = of(jax.tree.map(spread_examples, part), jax.random.fold_in(key, i))
        return found.loss, found.grads

    def add(sums: Tree, numbered: tuple[jax.Array, Split]) -> tuple[Tree, None]:
        return jax.tree.map(jnp.add, sums, one(*numbered)), None

    first = jax.eval_shape(lambda cut: one(jnp.int32(0), jax.tree.map(lambda column: column[0], cut)), cut)
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), first)
    sums, _ = jax.lax.scan(add, zeros, (jnp.arange(parts), cut))
    return Gradient(*jax.tree.map(lambda total: total / parts, sums), kept=None)


def _in_fixed_order(shards: int, devices: int, of: OfExamples, batch: Split, key: jax.Array) -> Gradient:
    cut = jax.tree.map(lambda column: column.reshape(shards, -1, *column.shape[1:]), batch)

    def one(i: jax.Array) -> tuple[jax.Array, Tree]:
        shard = jax.tree.map(lambda column: column[i], cut)
        found = of(shard, jax.random.fold_in(key, i))
        return found.loss, found.grads

    each = shards // devices
    mine = jax.lax.map(one, jax.lax.axis_index(DATA) * each + jnp.arange(each))
    found = jax.lax.all_gather(mine, DATA, tiled=True)
    zeros = jax.tree.map(lambda of: jnp.zeros_like(of[0]), found)
    sums, _ = jax.lax.scan(lambda sums, of: (jax.tree.map(jnp.add, sums, of), None), zeros, found)
    return Gradient(*jax.tree.map(lambda total: total / shards, sums), kept=None)
