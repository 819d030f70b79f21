"""How often the loss is small."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jaxgen.measures.accuracy import means_by_split
from jaxgen.measures.evaluation import Evaluation

from .parts import WithinError


def within_error(config: WithinError, evaluation: Evaluation) -> dict[str, jax.Array]:
    """Returns `within_error/<split>`: the fraction of examples whose loss is below `config.below`."""

    def within(outputs_BKV: jax.Array, targets: jax.Array) -> jax.Array:
        return (evaluation.loss(outputs_BKV, targets) < config.below).astype(jnp.float32)

    return {f"within_error/{name}": value for name, value in means_by_split(evaluation, within).items()}
