"""Optimisers from their configurations: optax chains whose scalars may be traced, a value a member."""

from __future__ import annotations

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import optax

from jaxgen.train.config import SGD, AdamL2, AdamW, OptimizerConfig

Scalar = jax.Array | float


def build_optimizer(config: OptimizerConfig, scalars: Mapping[str, Scalar]) -> optax.GradientTransformation:
    """Returns the optax transformation.

    Args:
      config: the optimiser; its numbers marked `PerMember` are not read.
      scalars: these numbers by name (`learning_rate`, `weight_decay`, ...), traced or not.
    """

    def learning_rate(count: jax.Array) -> Scalar:
        rate = scalars["learning_rate"]
        if config.warmup == 0:
            return rate
        return rate * jnp.minimum(1.0, (count + 1).astype(jnp.float32) / config.warmup)

    descend = optax.scale_by_learning_rate(learning_rate)
    if isinstance(config, AdamW):
        mask = (lambda params: jax.tree.map(lambda w: w.ndim > 1, params)) if config.decay == "matrices" else None
        return optax.chain(
            optax.scale_by_adam(b1=config.b1, b2=config.b2, eps=config.eps),
            optax.add_decayed_weights(scalars["weight_decay"], mask),
            descend,
        )
    if isinstance(config, AdamL2):
        return optax.chain(
            optax.add_decayed_weights(scalars["l2"]),
            optax.scale_by_adam(b1=config.b1, b2=config.b2, eps=config.eps),
            descend,
        )
    if isinstance(config, SGD):
        momentum = [optax.trace(decay=config.momentum)] if config.momentum else []
        return optax.chain(optax.add_decayed_weights(scalars["l2"]), *momentum, descend)
    raise TypeError(f"no optimiser for {type(config).__name__}")
