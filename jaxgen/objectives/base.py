"""The contract of objectives, which training minimises. Imports no jax until one is computed."""

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

    training: nn.Module  # uses kernels and rematerialisation if requested
    evaluation: nn.Module  # uses neither, so gradients of any order exist
    state: Tree  # Flax collections beside the parameters, such as BatchNorm statistics
    numbers: Mapping[str, Any]  # () float32: training arguments that differ between members, such as the dropout rate
    streams: Mapping[str, jax.Array]  # keys of what else the network draws in training (`ModelConfig.draws`)

    def apply(self, params: Tree, inputs: jax.Array, key: jax.Array) -> tuple[jax.Array, Tree]:
        """Returns the logits (B, K, V) in training mode, and the next state; dropout draws from `key`."""
        logits, state = self.training.apply(
            {"params": params, **self.state},
            inputs,
            train=True,
            **self.numbers,
            rngs={"dropout": key, **self.streams},
            mutable=list(self.state),
        )
        return logits, dict(state)

    def evaluate(self, params: Tree, inputs: jax.Array) -> jax.Array:
        """Returns the logits (B, K, V) in evaluation mode."""
        logits: Any = self.evaluation.apply({"params": params, **self.state}, inputs)
        return logits


class Minimised(NamedTuple):
    """The result of an objective for one batch."""

    loss: jax.Array  # () float32: the value to differentiate
    model_state: Tree  # the model's next state
    extra: Tree  # the objective's next memory


@dataclasses.dataclass(frozen=True, kw_only=True)
class Objective(Config, family=True):
    """Maps a model and a batch to a loss. Your own kind has fields and `batch_loss`.

    Its state from step to step is `extra`, which is checkpointed with the run.
    """

    # Whether the task's targets must be V real numbers; otherwise they must be tokens.
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
        """Returns the function from logits (B, K, V) and targets to each example's loss (B,). Measures report this
        loss."""
        raise NotImplementedError

    def init(self, params: Tree) -> Tree:
        """Returns `extra` at step 0: a tree of arrays; () if there is no state."""
        return ()

    def prepare(self, model: Model, params: Tree, batch: Split) -> Split:
        """Returns the batch that `batch_loss` receives. No gradient flows through it."""
        return batch

    def batch_loss(
        self, model: Model, params: Tree, batch: Split, key: jax.Array, references: Mapping[str, Tree], extra: Tree
    ) -> Minimised:
        """Returns the loss of a batch. Pure.

        Args:
          model: the network.
          params: its parameters.
          batch: B examples.
          key: the PRNG key of all random draws.
          references: frozen parameters of other runs, by name.
          extra: the result of `init` or of the step before.
        """
        raise NotImplementedError
