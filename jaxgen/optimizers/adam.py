"""Adam with decoupled decay."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

from jaxgen.config import NonNegative, PerMember, Positive, Rate
from jaxgen.optimizers.base import OptimizerConfig

if TYPE_CHECKING:
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

    def decay_a_step(self) -> float:
        return self.learning_rate * self.weight_decay

    def build(self, scalars: Mapping[str, Scalar], horizon: int) -> optax.GradientTransformationExtraArgs:
        from jaxgen.optimizers.links import adamw

        return adamw(self, scalars, horizon)
