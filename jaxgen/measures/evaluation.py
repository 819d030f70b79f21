"""The arguments of measures and analyses."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax

from jaxgen.tasks.base import Split, Task, TaskShape

Variables = Mapping[str, Any]  # Flax collections: 'params', and 'batch_stats' if the model has them
# Maps logits (B, K, V) and targets (B, K), or real targets (B, K, V), to each example's loss (B,).
LossFn = Callable[[jax.Array, jax.Array], jax.Array]


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["variables", "splits"],
    meta_fields=["module", "shape", "loss", "corruption"],
)
@dataclasses.dataclass(frozen=True, kw_only=True)
class Evaluation:
    """One member at one step: everything that a measure may read. It is a pytree, so `jit` and `vmap` accept it."""

    module: nn.Module
    variables: Variables
    splits: Mapping[str, Split]
    shape: TaskShape
    loss: LossFn
    corruption: bool  # whether the task draws some training labels at random

    def logits(self, inputs: jax.Array) -> jax.Array:
        """Returns logits (B, K, V) in evaluation mode; the compiler merges equal calls."""
        logits = self.module.apply(self.variables, inputs)
        assert isinstance(logits, jax.Array)
        return logits


@dataclasses.dataclass(frozen=True, kw_only=True)
class MemberSnapshots:
    """One member's snapshots by step, for an analysis."""

    task: Task
    module: nn.Module
    variables_by_step: Mapping[int, Variables]
    splits: Mapping[str, Split]
    loss: LossFn

    @property
    def shape(self) -> TaskShape:
        return self.task.shape()

    def evaluation(self, step: int) -> Evaluation:
        return Evaluation(
            module=self.module,
            variables=self.variables_by_step[step],
            splits=self.splits,
            shape=self.shape,
            loss=self.loss,
            corruption=self.task.corrupts(),
        )

    def last(self) -> int:
        return max(self.variables_by_step)
