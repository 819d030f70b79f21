"""Wrappers that change the gradients or the updates of any optimiser."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING

from jaxgen.config import Positive
from jaxgen.optimizers.base import OptimizerWrapper

if TYPE_CHECKING:
    import optax

    from jaxgen.optimizers.links import Scalar


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClipNorm(OptimizerWrapper):
    """Scales the gradients by one factor so that their global norm is at most `max_norm`
    (torch.nn.utils.clip_grad_norm_; Pascanu et al., arXiv 1211.5063)."""

    max_norm: Positive

    def before(self, scalars: Mapping[str, Scalar]) -> list[optax.GradientTransformation]:
        import optax

        return [optax.clip_by_global_norm(self.max_norm)]

    def couples_parameters(self) -> bool:
        return True
