"""Adversarial training, and its search for perturbations."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from jaxgen.config import Config, NonNegative, Positive, PositiveInt
from jaxgen.errors import UserError
from jaxgen.objectives.base import Minimised, Model, Objective
from jaxgen.objectives.supervised import CrossEntropy

if TYPE_CHECKING:
    import jax

    from jaxgen.measures.evaluation import LossFn
    from jaxgen.tasks.base import Split

Tree = Any


@dataclasses.dataclass(frozen=True, kw_only=True)
class Attack(Config):
    """A search for the perturbation of features, with norm at most `radius`, that raises the loss most.

    Projected gradient ascent from 0 (Madry et al., arXiv 1706.06083): `steps` steps of `step_size` along the
    gradient divided by its norm (l2) or along its sign (linf), each followed by the projection on the ball.
    One step of linf with step_size = radius is the fast gradient sign method.
    """

    norm: Literal["l2", "linf"]
    radius: NonNegative
    step_size: Positive
    steps: PositiveInt


@dataclasses.dataclass(frozen=True, kw_only=True)
class Adversarial(Objective):
    """Adversarial training: the loss on training examples perturbed by the attack (Madry et al., arXiv 1706.06083). The
    attack uses the model in evaluation mode. Measures report the loss without it."""

    attack: Attack
    loss: Objective = CrossEntropy()

    def check(self, condition: Any) -> None:
        self.loss.check(condition)
        if not condition.task.shape().features:
            raise UserError("loss: adversarial training perturbs real features, but the task gives tokens")

    def example_loss(self) -> LossFn:
        return self.loss.example_loss()

    def prepare(self, model: Model, params: Tree, batch: Split) -> Split:
        import jax.numpy as jnp

        from jaxgen.objectives.attack import strongest

        def loss(delta: jax.Array) -> jax.Array:
            return jnp.sum(self.example_loss()(model.evaluate(params, batch.inputs + delta), batch.targets))

        delta = strongest(loss, jnp.zeros_like(batch.inputs), **dataclasses.asdict(self.attack))
        return batch._replace(inputs=batch.inputs + delta)

    def batch_loss(
        self, model: Model, params: Tree, batch: Split, key: jax.Array, references: Mapping[str, Tree], extra: Tree
    ) -> Minimised:
        return self.loss.batch_loss(model, params, batch, key, references, extra)
