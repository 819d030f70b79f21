"""Training on a subset of a task's examples that grows while training goes on."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any

from jaxgen.config import Config, PositiveInt, Range
from jaxgen.errors import UserError
from jaxgen.tasks.base import Array


@dataclasses.dataclass(frozen=True, kw_only=True)
class Growing(Config):
    """A share of the training examples trains at first; the others join in a random order, so there is always
    something new.

    At step s the share is the larger of `first` and s / `full_at`, at most 1, and a batch is drawn uniformly from it,
    with replacement. With `first=1` all examples train from the start, in the same way. The rule is that of
    `always_novel` in github.com/owenzx/data4comp, which reckons the share anew once an epoch.
    """

    first: Annotated[float, Range(above=0, at_most=1)]
    full_at: PositiveInt  # the step from which all examples train

    def check(self, condition: Any) -> None:
        if condition.task.kind() != "table" or condition.batch_size is None:
            raise UserError(
                "curriculum: got a task that makes fresh examples, or batches of all examples; expected a table of "
                "training examples and a batch_size"
            )

    def joined(self, step: Array, count: int, xp: Any) -> Array:
        """Returns () int32, how many of `count` examples train at a step, at least one."""
        part = xp.minimum(step.astype(xp.float32) / xp.float32(self.full_at), xp.float32(1))
        share = xp.maximum(part, xp.float32(self.first))
        return xp.clip((share * count).astype(xp.int32), 1, count)
