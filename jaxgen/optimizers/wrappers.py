"""What acts on the gradients or the updates of any optimiser."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

from jaxgen.config import NonNegative, PerMember, Positive, PositiveInt, Rate
from jaxgen.optimizers.base import OptimizerWrapper

if TYPE_CHECKING:
    import optax

    from jaxgen.optimizers.links import Scalar


@dataclasses.dataclass(frozen=True, kw_only=True)
class EMAFilter(OptimizerWrapper):
    """Adds to each gradient `gain` times its exponential moving average (Grokfast, arXiv 2405.20233).

    With m = momentum * m + (1 - momentum) * g, and m = g at the first step, `base` is given
    g + gain * m. The paper calls the momentum alpha and the gain lambda.
    """

    momentum: Annotated[Rate, PerMember]
    gain: Annotated[NonNegative, PerMember]

    def before(self, scalars: Mapping[str, Scalar]) -> list[optax.GradientTransformation]:
        from jaxgen.optimizers.links import add_moving_average

        return [add_moving_average(scalars["momentum"], scalars["gain"])]


@dataclasses.dataclass(frozen=True, kw_only=True)
class MAFilter(OptimizerWrapper):
    """Adds to each gradient `gain` times the mean of the last `window` gradients, its own among them
    (Grokfast-MA, arXiv 2405.20233). Before there are so many, gradients stay as they are."""

    window: PositiveInt
    gain: Annotated[NonNegative, PerMember]

    def before(self, scalars: Mapping[str, Scalar]) -> list[optax.GradientTransformation]:
        from jaxgen.optimizers.links import add_window_mean

        return [add_window_mean(self.window, scalars["gain"])]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClipNorm(OptimizerWrapper):
    """Scales the gradients by one factor so that their norm, of all together, is at most `max_norm`
    (torch.nn.utils.clip_grad_norm_; Pascanu et al., arXiv 1211.5063)."""

    max_norm: Positive

    def before(self, scalars: Mapping[str, Scalar]) -> list[optax.GradientTransformation]:
        import optax

        return [optax.clip_by_global_norm(self.max_norm)]

    def couples_parameters(self) -> bool:
        return True


@dataclasses.dataclass(frozen=True, kw_only=True)
class ConstantNorm(OptimizerWrapper):
    """After every step of `base`, scales all parameters together back to the norm that they started
    with (Omnigrok, arXiv 2210.01117)."""

    def after(self, scalars: Mapping[str, Scalar]) -> list[optax.GradientTransformation]:
        from jaxgen.optimizers.links import keep_norm

        return [keep_norm()]

    def couples_parameters(self) -> bool:
        return True
