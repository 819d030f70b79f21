"""How near a network is to a linear function.

Shape letters: B examples, S features.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jaxgen.measures.evaluation import Evaluation
from jaxgen.measures.scores import score


def linear_fit(evaluation: Evaluation) -> dict[str, jax.Array]:
    """Returns `linear_r2/<split>`; see `LinearFit`."""
    found = {}
    for name, split in evaluation.splits.items():
        inputs_BS = jnp.asarray(split.inputs)
        f_B, mirrored_B = score(evaluation, inputs_BS), score(evaluation, -inputs_BS)
        even_B = 0.5 * (f_B + mirrored_B)
        found[f"linear_r2/{name}"] = 1.0 - jnp.var(even_B) / jnp.var(f_B)
    return found
