"""Filters that amplify the slow part of the gradients, and the Adam that they are used with."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, ClassVar

from jaxgen.config import NonNegative, PerMember, Positive, PositiveInt, Rate
from jaxgen.optimizers import OptimizerConfig, OptimizerWrapper

if TYPE_CHECKING:
    import optax

    from jaxgen.optimizers.links import Scalar


@dataclasses.dataclass(frozen=True, kw_only=True)
class EMAFilter(OptimizerWrapper):
    """Adds to each gradient `gain` times its exponential moving average (Grokfast, arXiv 2405.20233).

    With m = momentum * m + (1 - momentum) * g, and m = g at the first step, `base` is given
    g + gain * m. The paper calls the momentum alpha and the gain lambda.
    """

    saved_as: ClassVar[str] = "EMAFilter"

    momentum: Annotated[Rate, PerMember]
    gain: Annotated[NonNegative, PerMember]

    def before(self, scalars: Mapping[str, Scalar]) -> list[optax.GradientTransformation]:
        from .links import add_moving_average

        return [add_moving_average(scalars["momentum"], scalars["gain"])]


@dataclasses.dataclass(frozen=True, kw_only=True)
class MAFilter(OptimizerWrapper):
    """Adds to each gradient `gain` times the mean of the last `window` gradients, its own among them
    (Grokfast-MA, arXiv 2405.20233). Before there are so many, gradients stay as they are."""

    saved_as: ClassVar[str] = "MAFilter"
    smoke_sizes: ClassVar[Mapping[str, int]] = {"window": 2}  # it acts once it is full

    window: PositiveInt
    gain: Annotated[NonNegative, PerMember]

    def before(self, scalars: Mapping[str, Scalar]) -> list[optax.GradientTransformation]:
        from .links import add_window_mean

        return [add_window_mean(self.window, scalars["gain"])]


@dataclasses.dataclass(frozen=True, kw_only=True)
class AdamL2(OptimizerConfig):
    """Adam with the decay added to the gradient before it (torch.optim.Adam's weight_decay)."""

    saved_as: ClassVar[str] = "AdamL2"

    l2: Annotated[NonNegative, PerMember] = 0.0
    b1: Rate = 0.9
    b2: Rate = 0.98
    eps: Positive = 1e-8

    def build(self, scalars: Mapping[str, Scalar], horizon: int) -> optax.GradientTransformationExtraArgs:
        import optax

        from jaxgen.optimizers.links import chain

        return chain(
            optax.add_decayed_weights(scalars["l2"]),
            optax.scale_by_adam(b1=self.b1, b2=self.b2, eps=self.eps),
            optax.scale_by_learning_rate(self.rate(scalars, horizon)),
        )
