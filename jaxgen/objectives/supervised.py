"""Supervised objectives: the mean of each example's loss."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from jaxgen.objectives.base import Minimised, Model, Objective

if TYPE_CHECKING:
    import jax

    from jaxgen.measures.evaluation import LossFn
    from jaxgen.tasks.base import Split

Tree = Any


@dataclasses.dataclass(frozen=True, kw_only=True)
class Supervised(Objective, family=True):
    """The mean over the examples of `example_loss`, at the targets of the task."""

    def batch_loss(
        self, model: Model, params: Tree, batch: Split, key: jax.Array, references: Mapping[str, Tree], extra: Tree
    ) -> Minimised:
        import jax.numpy as jnp

        logits, state = model.apply(params, batch.inputs, key)
        return Minimised(jnp.mean(self.example_loss()(logits, batch.targets)), state, extra)


@dataclasses.dataclass(frozen=True, kw_only=True)
class CrossEntropy(Supervised):
    """Cross-entropy in nats, averaged over the read-out positions that have a target."""

    word: ClassVar[str] = "cross_entropy"

    def example_loss(self) -> LossFn:
        from jaxgen.objectives.losses import cross_entropy

        return cross_entropy


@dataclasses.dataclass(frozen=True, kw_only=True)
class MeanSquaredError(Supervised):
    """Squared distance of the logits to the one-hot target, averaged over the outputs."""

    word: ClassVar[str] = "mse"

    def example_loss(self) -> LossFn:
        from jaxgen.objectives.losses import mean_squared_error

        return mean_squared_error


@dataclasses.dataclass(frozen=True, kw_only=True)
class SquaredError(Supervised):
    """Squared distance to real targets, averaged over the outputs."""

    word: ClassVar[str] = "squared_error"
    real_targets: ClassVar[bool] = True

    def example_loss(self) -> LossFn:
        from jaxgen.objectives.losses import squared_error

        return squared_error
