"""Starts from another condition: its parameters, and the transforms applied to them.

A transform is a pure function of one member's start, its training examples and its seed; several
apply in their order.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxgen.experiment import Condition
from jaxgen.measures.evaluation import LossFn, Variables
from jaxgen.models.build import build_model
from jaxgen.tasks.base import Split
from jaxgen.train.config import (
    GraSPMask,
    MagnitudeMask,
    Mask,
    MatchNorm,
    Norm,
    RandomMask,
    Rewind,
    ScaleParams,
    SNIPMask,
    SynFlowMask,
    Transform,
)
from jaxgen.train.losses import build_loss
from jaxgen.train.pruning import (
    Objective,
    grasp_scores,
    magnitude_scores,
    masked,
    random_scores,
    snip_scores,
    synflow_mask,
    top_mask,
    within,
)
from jaxgen.train.streams import Stream, fixed_draws, stream_key

Tree = Any


class Start(NamedTuple):
    """What a member starts from, before and after a transform."""

    params: Tree
    model_state: Tree  # Flax collections beside the parameters, such as BatchNorm statistics
    mask: Tree | None  # like params, 1 where a parameter is trained; None: everywhere
    parent_init: Variables  # the collections that the parent itself started from, the parameters among them

    def variables(self) -> Variables:
        """Returns all Flax collections."""
        return {"params": self.params, **self.model_state}


def start_from(parent: Start, transforms: tuple[Transform, ...], condition: Condition, seed: int) -> Start:
    """Returns where a member of `condition` starts.

    Args:
      parent: the parent's parameters, and what its model keeps beside them.
      transforms: what to do to them.
      condition: the member's own.
      seed: the member's, and the parent's.
    """
    module = build_model(condition.model, condition.task.shape(), jnp.dtype(condition.numerics.compute_dtype))
    train = jax.tree.map(jnp.asarray, condition.task.table(seed)["train"])
    with jax.default_matmul_precision(condition.numerics.matmul_precision), fixed_draws():
        key = stream_key(seed, Stream.TRANSFORM)
        return _transformed(parent, train, key, transforms, module, build_loss(condition.loss))


@functools.partial(jax.jit, static_argnums=(3, 4, 5))
def _transformed(
    start: Start,
    train: Split,
    key: jax.Array,
    transforms: tuple[Transform, ...],
    module: nn.Module,
    loss: LossFn,
) -> Start:
    return apply_transforms(start, transforms, functools.partial(training_objective, module, train, loss), key)


def training_objective(module: nn.Module, train: Split, loss: LossFn, model_state: Tree) -> Objective:
    """Returns the training split as functions of the parameters, in evaluation mode."""

    def logits(params: Tree) -> jax.Array:
        logits_NKV: Any = module.apply({"params": params, **model_state}, train.inputs)
        return logits_NKV

    return Objective(logits=logits, loss=lambda logits_NKV: jnp.mean(loss(logits_NKV, train.targets)))


def apply_transforms(
    start: Start, transforms: tuple[Transform, ...], objective: Callable[[Tree], Objective], key: jax.Array
) -> Start:
    """Applies the transforms in order; a mask holds from where it is made.

    Args:
      start: the parent's parameters, and what its model keeps beside them.
      transforms: what to do to them.
      objective: from a model's state to the training examples that masks are scored on.
      key: what random masks are drawn from.
    """
    given = start
    for transform in transforms:
        start = _apply(start, transform, given, objective, key)
        start = start._replace(params=masked(start.params, start.mask))
    return start


def _apply(
    start: Start, transform: Transform, given: Start, objective: Callable[[Tree], Objective], key: jax.Array
) -> Start:
    params, mask = start.params, start.mask
    if isinstance(transform, ScaleParams):
        return start._replace(params=_scaled(params, transform.factor))
    if isinstance(transform, Rewind):
        first = dict(start.parent_init)
        return start._replace(params=first.pop("params"), model_state=first)
    if isinstance(transform, MatchNorm):
        other = apply_transforms(given, transform.of, objective, key)
        factor = norm(other.params, transform.norm) / norm(params, transform.norm)
        return start._replace(params=_scaled(params, factor))
    examples = objective(start.model_state)
    if isinstance(transform, SynFlowMask):
        return start._replace(mask=synflow_mask(params, mask, examples, transform.keep, transform.iterations))
    scores = _scores(params, mask, transform, examples, key)
    return start._replace(mask=top_mask(within(scores, mask), transform.keep))


def _scores(params: Tree, mask: Tree | None, transform: Mask, objective: Objective, key: jax.Array) -> Tree:
    if isinstance(transform, MagnitudeMask):
        return magnitude_scores(params)
    if isinstance(transform, RandomMask):
        return random_scores(params, key)
    if isinstance(transform, SNIPMask):
        return snip_scores(params, objective)
    if isinstance(transform, GraSPMask):
        return grasp_scores(params, mask, objective, transform.temperature)
    raise TypeError(f"no transform {type(transform).__name__}")


def norm(params: Tree, kind: Norm) -> jax.Array:
    """Returns the L1 or L2 norm () of all parameters together."""
    power = {"l1": jnp.abs, "l2": jnp.square}[kind]
    total = sum((jnp.sum(power(leaf)) for leaf in jax.tree.leaves(params)), start=jnp.zeros(()))
    return jnp.sqrt(total) if kind == "l2" else total


def _scaled(params: Tree, factor: jax.Array | float) -> Tree:
    return jax.tree.map(lambda w: w * factor, params)
