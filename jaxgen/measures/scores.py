"""Measures of the score of a two-class model: the logit of class 1 minus the logit of class 0.

Shape letters: B examples.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jaxgen.measures.evaluation import Evaluation


def auc(evaluation: Evaluation) -> dict[str, jax.Array]:
    """Returns `auc/<split>`; see `AUC`."""
    areas = {}
    for name, split in evaluation.splits.items():
        labels_B1 = split.targets if name == "train" else split.true_targets
        score_B = score(evaluation, jnp.asarray(split.inputs))
        areas[f"auc/{name}"] = area_under_roc(score_B, jnp.asarray(labels_B1)[:, 0] == 1)
    return areas


def area_under_roc(score_B: jax.Array, positive_B: jax.Array) -> jax.Array:
    """Returns the fraction of pairs of a positive and a negative example in which the positive one scores higher; equal
    scores count half. NaN if one of the classes has no example."""
    negatives_B = jnp.sort(jnp.where(positive_B, jnp.inf, score_B))  # the positives are inf, at the end
    below_B, not_above_B = (jnp.searchsorted(negatives_B, score_B, side=side) for side in ("left", "right"))
    positives = jnp.sum(positive_B, dtype=jnp.float32)
    negatives = score_B.shape[0] - positives
    # A mean of fractions: a sum of ranks would be too large for float32.
    part_B = 0.5 * (below_B + not_above_B).astype(jnp.float32) / negatives
    return jnp.sum(jnp.where(positive_B, part_B, 0.0)) / positives


def score(evaluation: Evaluation, inputs_BS: jax.Array) -> jax.Array:
    """Returns the score (B,) of each example."""
    logits_BV = evaluation.logits(inputs_BS)[:, 0]
    return logits_BV[:, 1] - logits_BV[:, 0]
