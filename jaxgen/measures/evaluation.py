"""The arguments of measures and analyses."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxgen.tasks.base import Split, Task, TaskShape

Variables = Mapping[str, Any]  # Flax collections: 'params', and 'batch_stats' if the model has them
# Maps logits (B, K, V) and targets (B, K), or real targets (B, K, V), to each example's loss (B,).
LossFn = Callable[[jax.Array, jax.Array], jax.Array]


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["variables", "splits"],
    meta_fields=["module", "shape", "loss", "corruption", "at_once"],
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
    at_once: int | None = None  # how many examples are computed together; None: all that are given

    def logits(self, inputs: jax.Array) -> jax.Array:
        """Returns logits (B, K, V) in evaluation mode; the compiler merges equal calls, unless they are of parts."""
        if self.at_once is None or self.at_once >= len(inputs):
            return self._logits(inputs)
        # Filled up, as the rest alone would be a second program.
        parts = -(-len(inputs) // self.at_once)
        filled = jnp.resize(inputs, (parts * self.at_once, *inputs.shape[1:]))
        logits = jax.lax.map(self._logits, filled.reshape(parts, self.at_once, *inputs.shape[1:]))
        return logits.reshape(-1, *logits.shape[2:])[: len(inputs)]

    def _logits(self, inputs: jax.Array) -> jax.Array:
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
