"""A model traced with shapes alone."""

from __future__ import annotations

from typing import Any

import jax

from jaxgen.condition import Condition
from jaxgen.errors import UserError


def traced(condition: Condition) -> Any:
    """Returns the shapes of the variables of a condition's model.

    Raises:
      UserError: its logits are not (B, K, V): broadcast against the targets, any other shape trains something else.
    """
    shape = condition.task.shape()
    module = condition.model.build(shape)
    logits, variables = jax.eval_shape(module.init_with_output, jax.random.key(0), shape.blank())
    expected = (1, len(shape.readout), shape.vocabulary)
    if (got := getattr(logits, "shape", type(logits).__name__)) != expected:
        raise UserError(
            f"{type(condition.model).saved_as}: got logits of shape {got} for one example of '{condition.name}', "
            f"expected {expected}: (examples, positions that are read out, vocabulary)"
        )
    return variables
