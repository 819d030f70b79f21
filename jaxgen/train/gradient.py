"""Computes the gradient of a batch: at once, in microbatches, or in shards whose sum has a fixed order."""

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
    """The state that a batch changes beside the parameters."""

    model_state: Tree
    extra: Tree


class Gradient(NamedTuple):
    """The result of a batch."""

    loss: jax.Array  # () float32, the mean over its examples
    grads: Tree  # like params
    kept: Kept | None  # None: the batch was cut, and this state is unchanged


# Maps examples and a PRNG key to their gradient.
OfExamples = Callable[[Split, jax.Array], Gradient]
# Maps the gradient function of a part to the gradient of the whole batch.
Gradients = Callable[[OfExamples, Split, jax.Array], Gradient]


def gradients(microbatches: int, shards: int | None, devices: int) -> Gradients:
    """Returns the function that combines the gradients of parts into the gradient of a batch.

    Args:
      microbatches: the number of parts that are computed one after another.
      shards: the number of logical shards; None: none.
      devices: the number of devices that the batch is spread over.
    """
    if shards is not None:
        return functools.partial(_in_fixed_order, shards, devices)
    if microbatches > 1:
        return functools.partial(_in_microbatches, microbatches)
    return lambda of, batch, key: of(batch, key)


def _in_microbatches(parts: int, of: OfExamples, batch: Split, key: jax.Array) -> Gradient:
    # Part i takes examples i, i + parts, ..., so every device holds the same number of examples of each part.
    cut = jax.tree.map(lambda column: column.reshape(-1, parts, *column.shape[1:]).swapaxes(0, 1), batch)

    def one(i: jax.Array, part: Split) -> tuple[jax.Array, Tree]:
        found = of(jax.tree.map(spread_examples, part), jax.random.fold_in(key, i))
        return found.loss, found.grads

    def add(sums: Tree, numbered: tuple[jax.Array, Split]) -> tuple[Tree, None]:
        return jax.tree.map(jnp.add, sums, one(*numbered)), None

    first = jax.eval_shape(lambda cut: one(jnp.int32(0), jax.tree.map(lambda column: column[0], cut)), cut)
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), first)
    sums, _ = jax.lax.scan(add, zeros, (jnp.arange(parts), cut))
    loss, grads = jax.tree.map(lambda total: total / parts, sums)
    return Gradient(loss, grads, kept=None)


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
    loss, grads = jax.tree.map(lambda total: total / shards, sums)
    return Gradient(loss, grads, kept=None)
