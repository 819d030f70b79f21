"""How near a network is to a linear function, and where its neurons point.

Shape letters: B examples, S features, W neurons, H half of them.
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


def alignment(evaluation: Evaluation) -> dict[str, jax.Array]:
    """Returns `alignment.own` and `alignment.other`; see `Alignment`."""
    w_SW = evaluation.variables["params"]["layer_0"]["kernel"]
    # Weights of 1e-19 have squares that float32 cannot hold.
    w_SW = w_SW / jnp.max(jnp.abs(w_SW), axis=0, keepdims=True)
    # The task puts mu1 along the first axis and mu2 along the second; the first half of the neurons has a_j > 0.
    cos_2W = jnp.abs(w_SW[:2]) / jnp.linalg.norm(w_SW, axis=0, keepdims=True)
    positive_2H, negative_2H = jnp.split(cos_2W, 2, axis=1)
    own_W = jnp.concatenate([positive_2H[0], negative_2H[1]])
    other_W = jnp.concatenate([positive_2H[1], negative_2H[0]])
    return {"alignment.own": jnp.mean(own_W), "alignment.other": jnp.mean(other_W)}
