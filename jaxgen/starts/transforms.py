"""Starts from another condition: its parameters, and the transforms applied to them.

A transform is a pure function of one member's start, its training examples and its seed; several apply in order.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxgen.measures.evaluation import LossFn, Variables
from jaxgen.starts.scores import Examples, masked
from jaxgen.streams import Stream, fixed_draws, stream_key
from jaxgen.tasks.base import Split

if TYPE_CHECKING:
    from jaxgen.condition import Condition
    from jaxgen.starts.base import Transform

Tree = Any


class Start(NamedTuple):
    """The start of a member, before or after a transform."""

    params: Tree
    model_state: Tree  # Flax collections beside the parameters, such as BatchNorm statistics
    mask: Tree | None  # like params, 1 where a parameter is trained; None: all are
    parent_init: Variables  # the collections that the parent itself started from, including the parameters

    def variables(self) -> Variables:
        """Returns all Flax collections."""
        return {"params": self.params, **self.model_state}


def start_from(parent: Start, transforms: tuple[Transform, ...], condition: Condition, seed: int) -> Start:
    """Returns the start of a member of `condition`.

    Args:
      parent: the parent's parameters, and the other collections of its model.
      transforms: the transforms to apply.
      condition: the member's condition.
      seed: the seed of the member and its parent.
    """
    module = condition.model.build(condition.task.shape(), jnp.dtype(condition.numerics.compute_dtype))
    train = jax.tree.map(jnp.asarray, condition.task.table(seed)["train"])
    with jax.default_matmul_precision(condition.numerics.matmul_precision), fixed_draws():
        key = stream_key(seed, Stream.TRANSFORM)
        return _transformed(parent, train, key, transforms, module, condition.loss.example_loss())


@functools.partial(jax.jit, static_argnums=(3, 4, 5))
def _transformed(
    start: Start,
    train: Split,
    key: jax.Array,
    transforms: tuple[Transform, ...],
    module: nn.Module,
    loss: LossFn,
) -> Start:
    return apply_transforms(start, transforms, functools.partial(training_examples, module, train, loss), key)


def training_examples(module: nn.Module, train: Split, loss: LossFn, model_state: Tree) -> Examples:
    """Returns the training split as functions of the parameters, in evaluation mode."""

    def logits(params: Tree) -> jax.Array:
        logits_NKV: Any = module.apply({"params": params, **model_state}, train.inputs)
        return logits_NKV

    return Examples(logits=logits, loss=lambda logits_NKV: jnp.mean(loss(logits_NKV, train.targets)))


def apply_transforms(
    start: Start, transforms: tuple[Transform, ...], examples: Callable[[Tree], Examples], key: jax.Array
) -> Start:
    """Applies the transforms in order; a mask acts on all later ones.

    Args:
      start: the parent's parameters, and the other collections of its model.
      transforms: the transforms to apply.
      examples: maps a model's state to the training examples that masks use for scores.
      key: the PRNG key of random masks.
    """
    given = start
    for transform in transforms:
        start = transform.apply(start, given, examples, key)
        start = start._replace(params=masked(start.params, start.mask))
    return start


def scaled(params: Tree, factor: jax.Array | float) -> Tree:
    """Returns every parameter times `factor`."""
    return jax.tree.map(lambda w: w * factor, params)
