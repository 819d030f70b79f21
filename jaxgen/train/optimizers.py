"""Optimisers from their configurations: optax chains whose scalars may be traced, a value a member."""

from __future__ import annotations

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import optax

from jaxgen.models.stacked import matrices
from jaxgen.train.config import (
    SGD,
    AdamL2,
    AdamW,
    AdamWToInit,
    ClipNorm,
    ConstantNorm,
    EMAFilter,
    MAFilter,
    NoisyAdamW,
    OptimizerConfig,
    OptimizerWrapper,
)
from jaxgen.train.transformations import (
    Scalar,
    add_decay_to_start,
    add_moving_average,
    add_noise,
    add_window_mean,
    keep_norm,
)


def build_optimizer(
    config: OptimizerConfig | OptimizerWrapper, scalars: Mapping[str, Scalar]
) -> optax.GradientTransformationExtraArgs:
    """Returns the optax transformation; `update` also takes `key`, for what is drawn at this step, and the `mask` of
    the parameters, None where there is none. It is given gradients and parameters that are masked.

    Args:
      config: the optimiser; its numbers marked `PerMember` are not read.
      scalars: these numbers by dotted path (`learning_rate`, `base.weight_decay`, ...), traced or not.
    """
    if isinstance(config, OptimizerWrapper):
        prefix = "base."
        own = {path.removeprefix(prefix): value for path, value in scalars.items() if path.startswith(prefix)}
        base = build_optimizer(config.base, own)
        if isinstance(config, EMAFilter):
            return _chain(add_moving_average(scalars["momentum"], scalars["gain"]), base)
        if isinstance(config, MAFilter):
            return _chain(add_window_mean(config.window, scalars["gain"]), base)
        if isinstance(config, ClipNorm):
            return _chain(optax.clip_by_global_norm(config.max_norm), base)
        if isinstance(config, ConstantNorm):
            return _chain(base, keep_norm())
        raise TypeError(f"no optimiser for {type(config).__name__}")

    def learning_rate(count: jax.Array) -> Scalar:
        rate = scalars["learning_rate"]
        if config.warmup == 0:
            return rate
        return rate * jnp.minimum(1.0, (count + 1).astype(jnp.float32) / config.warmup)

    descend = optax.scale_by_learning_rate(learning_rate)
    if isinstance(config, AdamW):
        mask = matrices if config.decay == "matrices" else None
        decay = add_decay_to_start if isinstance(config, AdamWToInit) else optax.add_decayed_weights
        noisy = isinstance(config, NoisyAdamW) and config.update_noise > 0
        return _chain(
            optax.scale_by_adam(b1=config.b1, b2=config.b2, eps=config.eps),
            decay(scalars["weight_decay"], mask),
            *([add_noise(scalars["update_noise"])] if noisy else []),
            descend,
        )
    if isinstance(config, AdamL2):
        return _chain(
            optax.add_decayed_weights(scalars["l2"]),
            optax.scale_by_adam(b1=config.b1, b2=config.b2, eps=config.eps),
            descend,
        )
    if isinstance(config, SGD):
        momentum = [optax.trace(decay=config.momentum)] if config.momentum else []
        return _chain(optax.add_decayed_weights(scalars["l2"]), *momentum, descend)
    raise TypeError(f"no optimiser for {type(config).__name__}")


def _chain(*parts: optax.GradientTransformation) -> optax.GradientTransformationExtraArgs:
    return optax.with_extra_args_support(optax.chain(*parts))
