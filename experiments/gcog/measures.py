"""Accuracy by operator and by kind of answer.

Shape letters: B examples, S input positions, X operators and the if-then-else.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jaxgen.measures.evaluation import Evaluation
from jaxgen.models.decoding import likeliest

from .parts import OPERATORS, SWITCH, group_key, is_numbered


def by_operator(evaluation: Evaluation) -> dict[str, jax.Array]:
    """Returns the accuracy on the questions of each operator, on those of yes or no and on the others; see
    `ByOperator`."""
    values: dict[str, jax.Array] = {}
    for name, split in evaluation.splits.items():
        inputs_BSC, target_B = jnp.asarray(split.inputs), jnp.asarray(split.true_targets)[:, 0]
        right_B = likeliest(evaluation.logits(inputs_BSC))[:, 0] == target_B
        if inputs_BSC.shape[2] == 7:  # the encoding in numbers
            operator_BS = inputs_BSC[:, :, 0].astype(jnp.int32)
        else:
            on_BSX = inputs_BSC[:, :, : SWITCH + 1] > 0
            operator_BS = jnp.where(jnp.any(on_BSX, axis=2), jnp.argmax(on_BSX, axis=2) + 1, 0)
        root_B = jnp.take_along_axis(operator_BS, jnp.argmax(operator_BS > 0, axis=1)[:, None], axis=1)[:, 0] - 1
        groups = {operator: root_B == i for i, operator in enumerate(OPERATORS)}
        groups |= {"boolean": target_B < 2, "other": target_B >= 2}
        groups |= {"": jnp.ones_like(right_B)} if is_numbered(name) else {}
        for group, of_B in groups.items():
            count = jnp.maximum(jnp.sum(of_B, dtype=jnp.float32), 1.0)
            values[group_key(group, name)] = jnp.sum(right_B & of_B, dtype=jnp.float32) / count
    return values
