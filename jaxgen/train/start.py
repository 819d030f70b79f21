"""Starts from another condition: its parameters, and the transforms applied to them.

A transform is a pure function of one member's start, its training examples and its seed; several
apply in their order.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxgen.experiment import Condition
from jaxgen.measures.evaluation import LossFn
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
    random_scores,
    snip_scores,
    synflow_mask,
    top_mask,
    within,
)

Tree = Any

# Beside the streams of jaxgen.train.program, so that no transform draws what training draws.
_TRANSFORM = 3


class Start(NamedTuple):
    """What a member starts from, before and after a transform."""

    params: Tree
    mask: Tree | None  # like params, 1 where a parameter is trained; None: everywhere
    parent_init: Tree  # the parameters that the parent itself started from


def start_from(
    parent: Start, transforms: tuple[Transform, ...], condition: Condition, seed: int, model_state: Tree
) -> Start:
    """Returns where a member of `condition` starts.

    Args:
      parent: the parent's parameters.
      transforms: what to do to them.
      condition: the member's own.
      seed: the member's, and the parent's.
      model_state: the parent's Flax collections beside the parameters.
    """
    module = build_model(condition.model, condition.task.shape(), jnp.dtype(condition.numerics.compute_dtype))
    train = jax.tree.map(jnp.asarray, condition.task.table(seed)["train"])
    key = jax.random.fold_in(jax.random.key(seed), _TRANSFORM)
    with jax.default_matmul_precision(condition.numerics.matmul_precision):
        return _transformed(parent, train, model_state, key, transforms, module, build_loss(condition.loss))


@functools.partial(jax.jit, static_argnums=(4, 5, 6))
def _transformed(
    start: Start,
    train: Split,
    model_state: Tree,
    key: jax.Array,
    transforms: tuple[Transform, ...],
    module: nn.Module,
    loss: LossFn,
) -> Start:
    return apply_transforms(start, transforms, training_objective(module, train, model_state, loss), key)


def training_objective(module: nn.Module, train: Split, model_state: Tree, loss: LossFn) -> Objective:
    """Returns the training split as functions of the parameters, in evaluation mode."""

    def logits(params: Tree) -> jax.Array:
        logits_NKV: Any = module.apply({"params": params, **model_state}, train.inputs)
        return logits_NKV

    return Objective(logits=logits, loss=lambda logits_NKV: jnp.mean(loss(logits_NKV, train.targets)))


def apply_transforms(start: Start, transforms: tuple[Transform, ...], objective: Objective, key: jax.Array) -> Start:
    """Applies the transforms in order; a mask holds from where it is made.

    Args:
      start: the parent's parameters.
      transforms: what to do to them.
      objective: the training examples that masks are scored on.
      key: what random masks are drawn from.
    """
    given = start
    for transform in transforms:
        start = _apply(start, transform, given, objective, key)
        if start.mask is not None:
            start = start._replace(params=jax.tree.map(jnp.multiply, start.params, start.mask))
    return start


def _apply(start: Start, transform: Transform, given: Start, objective: Objective, key: jax.Array) -> Start:
    params, mask = start.params, start.mask
    if isinstance(transform, ScaleParams):
        return start._replace(params=_scaled(params, transform.factor))
    if isinstance(transform, Rewind):
        return start._replace(params=start.parent_init)
    if isinstance(transform, MatchNorm):
        other = apply_transforms(given, transform.of, objective, key)
        factor = norm(other.params, transform.norm) / norm(params, transform.norm)
        return start._replace(params=_scaled(params, factor))
    if isinstance(transform, SynFlowMask):
        return start._replace(mask=synflow_mask(params, mask, objective, transform.keep, transform.iterations))
    return start._replace(mask=top_mask(within(_scores(params, transform, objective, key), mask), transform.keep))


def _scores(params: Tree, transform: Mask, objective: Objective, key: jax.Array) -> Tree:
    if isinstance(transform, MagnitudeMask):
        return magnitude_scores(params)
    if isinstance(transform, RandomMask):
        return random_scores(params, key)
    if isinstance(transform, SNIPMask):
        return snip_scores(params, objective)
    if isinstance(transform, GraSPMask):
        return grasp_scores(params, objective, transform.temperature)
    raise TypeError(f"no transform {type(transform).__name__}")


def norm(params: Tree, kind: Norm) -> jax.Array:
    """Returns the L1 or L2 norm () of all parameters together."""
    power = {"l1": jnp.abs, "l2": jnp.square}[kind]
    total = sum((jnp.sum(power(leaf)) for leaf in jax.tree.leaves(params)), start=jnp.zeros(()))
    return jnp.sqrt(total) if kind == "l2" else total


def _scaled(params: Tree, factor: jax.Array | float) -> Tree:
    return jax.tree.map(lambda w: w * factor, params)
