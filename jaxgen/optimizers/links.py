"""Optax chains whose scalars may be traced, with one value a member."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import jax
import optax

from jaxgen.models.stacked import matrices

if TYPE_CHECKING:
    from jaxgen.optimizers.adam import AdamW

Scalar = jax.Array | float
Tree = Any


def chain(*parts: optax.GradientTransformation) -> optax.GradientTransformationExtraArgs:
    """Chains the links, in the form that `Updates.build` returns."""
    return optax.with_extra_args_support(optax.chain(*parts))


def adamw(
    config: AdamW,
    scalars: Mapping[str, Scalar],
    horizon: int,
    *,
    decay: Callable[..., optax.GradientTransformation] = optax.add_decayed_weights,
    then: Sequence[optax.GradientTransformation] = (),
) -> optax.GradientTransformationExtraArgs:
    """Returns Adam with decoupled decay.

    Args:
      config: betas, eps, and which parameters decay.
      scalars: `learning_rate` and `weight_decay`.
      horizon: the last step of the run.
      decay: maps the strength, and the mask of decaying parameters, to the link that adds the decay.
      then: links between the decay and the learning rate.
    """
    mask: Any = matrices if config.decay == "matrices" else None
    return chain(
        optax.scale_by_adam(b1=config.b1, b2=config.b2, eps=config.eps),
        decay(scalars["weight_decay"], mask),
        *then,
        optax.scale_by_learning_rate(config.rate(scalars, horizon)),
    )
