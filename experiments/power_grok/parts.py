"""AdamW that decays towards the start, and AdamW with noise."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from jaxgen.config import NonNegative, PerMember
from jaxgen.optimizers import AdamW

if TYPE_CHECKING:
    import jax
    import optax

    from jaxgen.optimizers.links import Scalar

Tree = Any


@dataclasses.dataclass(frozen=True, kw_only=True)
class AdamWToInit(AdamW):
    """AdamW that decays towards the parameters that training started from: a step also subtracts
    learning_rate * weight_decay * (w - w_start) (Power et al., arXiv 2201.02177, Sec. 3.3)."""

    saved_as: ClassVar[str] = "AdamWToInit"

    def build(self, scalars: Mapping[str, Scalar], horizon: int) -> optax.GradientTransformationExtraArgs:
        from jaxgen.optimizers.links import adamw

        from .links import add_decay_to_start

        return adamw(self, scalars, horizon, decay=add_decay_to_start)


@dataclasses.dataclass(frozen=True, kw_only=True)
class NoisyAdamW(AdamW):
    """AdamW with Gaussian noise, drawn anew at every step (Power et al., arXiv 2201.02177, App. A.1.2).

    The gradient is taken at w + weight_noise * N(0, 1), and a step is
    learning_rate * (Adam's direction + weight_decay * w + update_noise * N(0, 1)).
    """

    saved_as: ClassVar[str] = "NoisyAdamW"
    moved_masked = True

    weight_noise: Annotated[NonNegative, PerMember] = 0.0
    update_noise: Annotated[NonNegative, PerMember] = 0.0

    def build(self, scalars: Mapping[str, Scalar], horizon: int) -> optax.GradientTransformationExtraArgs:
        from jaxgen.optimizers.links import adamw

        from .links import add_noise

        return adamw(self, scalars, horizon, then=[add_noise(scalars["update_noise"])] if self.update_noise > 0 else [])

    def gradient_point(self, params: Tree, scalars: Mapping[str, Scalar], draw: Callable[[], jax.Array]) -> Tree:
        from .links import with_noise

        return with_noise(params, scalars["weight_noise"], draw()) if self.weight_noise > 0 else params

    def corrections(self) -> list[str]:
        return ["weight noise is drawn apart from masks"] if self.weight_noise > 0 else []
