"""Adam and its kin."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

from jaxgen.config import NonNegative, PerMember, Positive, Rate
from jaxgen.optimizers.base import OptimizerConfig

if TYPE_CHECKING:
    import jax
    import optax

    from jaxgen.optimizers.links import Scalar

Tree = Any


@dataclasses.dataclass(frozen=True, kw_only=True)
class AdamW(OptimizerConfig):
    """Adam with decoupled decay: a step also subtracts learning_rate * weight_decay * w, as in
    torch.optim.AdamW and optax.adamw."""

    weight_decay: Annotated[NonNegative, PerMember] = 0.0
    decay: Literal["all", "matrices"] = "all"  # matrices: no biases and norms (rank 1)
    b1: Rate = 0.9
    b2: Rate = 0.98
    eps: Positive = 1e-8

    def build(self, scalars: Mapping[str, Scalar], horizon: int) -> optax.GradientTransformationExtraArgs:
        from jaxgen.optimizers.links import adamw

        return adamw(self, scalars, horizon)


@dataclasses.dataclass(frozen=True, kw_only=True)
class AdamWToInit(AdamW):
    """AdamW that decays towards the parameters that training started from: a step also subtracts
    learning_rate * weight_decay * (w - w_start) (Power et al., arXiv 2201.02177, Sec. 3.3)."""

    def build(self, scalars: Mapping[str, Scalar], horizon: int) -> optax.GradientTransformationExtraArgs:
        from jaxgen.optimizers.links import adamw, add_decay_to_start

        return adamw(self, scalars, horizon, decay=add_decay_to_start)


@dataclasses.dataclass(frozen=True, kw_only=True)
class NoisyAdamW(AdamW):
    """AdamW with Gaussian noise, drawn anew at every step (Power et al., arXiv 2201.02177, App. A.1.2).

    The gradient is taken at w + weight_noise * N(0, 1), and a step is
    learning_rate * (Adam's direction + weight_decay * w + update_noise * N(0, 1)).
    """

    moved_masked = True

    weight_noise: Annotated[NonNegative, PerMember] = 0.0
    update_noise: Annotated[NonNegative, PerMember] = 0.0

    def build(self, scalars: Mapping[str, Scalar], horizon: int) -> optax.GradientTransformationExtraArgs:
        from jaxgen.optimizers.links import adamw, add_noise

        return adamw(self, scalars, horizon, then=[add_noise(scalars["update_noise"])] if self.update_noise > 0 else [])

    def gradient_point(self, params: Tree, scalars: Mapping[str, Scalar], draw: Callable[[], jax.Array]) -> Tree:
        from jaxgen.optimizers.links import with_noise

        return with_noise(params, scalars["weight_noise"], draw()) if self.weight_noise > 0 else params

    def corrections(self) -> list[str]:
        return ["weight noise is drawn apart from masks"] if self.weight_noise > 0 else []


@dataclasses.dataclass(frozen=True, kw_only=True)
class AdamL2(OptimizerConfig):
    """Adam with the decay added to the gradient before it (torch.optim.Adam's weight_decay)."""

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
