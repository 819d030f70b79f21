"""What training minimises; imports no jax until it is computed."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from jaxgen.config import Config
from jaxgen.errors import UserError

if TYPE_CHECKING:
    import flax.linen as nn
    import jax

    from jaxgen.measures.evaluation import LossFn
    from jaxgen.tasks.base import Split

Tree = Any


@dataclasses.dataclass(frozen=True)
class Model:
    """The network as an objective sees it: pure functions of the parameters."""

    training: nn.Module  # takes kernels, and recomputes activations where that saves memory
    evaluation: nn.Module  # written out: has gradients of any order
    state: Tree  # Flax collections beside the parameters, such as BatchNorm statistics
    numbers: Mapping[str, Any]  # () float32: what differs between members while training, such as the dropout rate

    def apply(self, params: Tree, inputs: jax.Array, key: jax.Array) -> tuple[jax.Array, Tree]:
        """Returns the logits (B, K, V) in training mode, and the next state; dropout draws from `key`."""
        logits, state = self.training.apply(
            {"params": params, **self.state},
            inputs,
            train=True,
            **self.numbers,
            rngs={"dropout": key},
            mutable=list(self.state),
        )
        return logits, dict(state)

    def evaluate(self, params: Tree, inputs: jax.Array) -> jax.Array:
        """Returns the logits (B, K, V) in evaluation mode."""
        logits: Any = self.evaluation.apply({"params": params, **self.state}, inputs)
        return logits


class Minimised(NamedTuple):
    """What an objective gives of one batch."""

    loss: jax.Array  # () float32: what the gradient is of
    model_state: Tree  # the model's next state
    extra: Tree  # the objective's next memory


@dataclasses.dataclass(frozen=True, kw_only=True)
class Objective(Config, family=True):
    """From a model and a batch to a loss. A kind of your own has fields and `batch_loss`.

    Whatever it keeps from step to step is in `extra`, which is checkpointed with the run.
    """

    # Whether the task's targets must be V real numbers; else they are tokens.
    real_targets: ClassVar[bool] = False

    def check(self, condition: Any) -> None:
        real = condition.task.shape().real_targets
        if real != self.real_targets:
            kinds = [cls for cls in Config.kinds.values() if issubclass(cls, Objective) and cls.word is not None]
            fit = " or ".join(repr(cls.word) for cls in kinds if cls.real_targets == real)
            raise UserError(
                f"loss: got '{self.word or type(self).__name__}', expected {fit}: the targets of the task are "
                f"{'real numbers' if real else 'tokens'}"
            )

    def example_loss(self) -> LossFn:
        """Returns the function from logits (B, K, V) and targets to each example's loss (B,), which measures report."""
        raise NotImplementedError

    def init(self, params: Tree) -> Tree:
        """Returns `extra` at step 0: arrays; () where nothing is kept."""
        return ()

    def prepare(self, model: Model, params: Tree, batch: Split) -> Split:
        """Returns the batch that `batch_loss` is given. No gradient goes through it."""
        return batch

    def batch_loss(
        self, model: Model, params: Tree, batch: Split, key: jax.Array, references: Mapping[str, Tree], extra: Tree
    ) -> Minimised:
        """Returns the loss of a batch. Pure.

        Args:
          model: the network.
          params: its parameters.
          batch: B examples.
          key: what is drawn is drawn from it.
          references: parameters of other runs, frozen, by name.
          extra: what `init` or the step before gave.
        """
        raise NotImplementedError
