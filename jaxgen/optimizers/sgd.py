"""Gradient descent."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

from jaxgen.config import NonNegative, PerMember, Rate
from jaxgen.optimizers.base import OptimizerConfig

if TYPE_CHECKING:
    import optax

    from jaxgen.optimizers.links import Scalar


@dataclasses.dataclass(frozen=True, kw_only=True)
class SGD(OptimizerConfig):
    """Gradient descent; the decay `l2` is added to the gradient, as in torch.optim.SGD."""

    momentum: Rate = 0.0
    l2: Annotated[NonNegative, PerMember] = 0.0

    def build(self, scalars: Mapping[str, Scalar], horizon: int) -> optax.GradientTransformationExtraArgs:
        import optax

        from jaxgen.optimizers.links import chain

        momentum = [optax.trace(decay=self.momentum)] if self.momentum else []
        decay = optax.add_decayed_weights(scalars["l2"])
        return chain(decay, *momentum, optax.scale_by_learning_rate(self.rate(scalars, horizon)))
