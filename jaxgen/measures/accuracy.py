"""Accuracy and loss by split, and the norm of the weights."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxgen.errors import UserError
from jaxgen.measures.evaluation import Evaluation
from jaxgen.models.decoding import likeliest
from jaxgen.tasks.base import IGNORED

# Maps logits (B, K, V) and targets (B, K), or real targets (B, K, V), to each example's value (B,).
Score = Callable[[jax.Array, jax.Array], jax.Array]


def accuracy(evaluation: Evaluation) -> dict[str, jax.Array]:
    """Returns `accuracy/<split>`: the fraction of examples whose K read-out tokens are all correct, or IGNORED."""
    return {f"accuracy/{name}": value for name, value in means_by_split(evaluation, _right).items()}


def loss(evaluation: Evaluation) -> dict[str, jax.Array]:
    """Returns `loss/<split>`: the mean training loss."""
    return {f"loss/{name}": value for name, value in means_by_split(evaluation, evaluation.loss).items()}


def by_position(evaluation: Evaluation) -> dict[str, jax.Array]:
    """Returns `accuracy.<k>/<split>` and `loss.<k>/<split>`: accuracy and loss at read-out position k only."""
    values: dict[str, jax.Array] = {}
    for k in range(len(evaluation.shape.readout)):
        asked = means_by_split(evaluation, _at(k, _asked))
        for name, score in (("accuracy", _right), ("loss", evaluation.loss)):
            means = means_by_split(evaluation, _at(k, _where_asked(score)))
            tiny = jnp.finfo(jnp.float32).tiny
            values |= {f"{name}.{k}/{split}": mean / jnp.maximum(asked[split], tiny) for split, mean in means.items()}
    return values


def weight_norm(evaluation: Evaluation) -> dict[str, jax.Array]:
    """Returns `weight_norm`: the root of the sum of the squares of all parameters."""
    squares = [jnp.sum(jnp.square(leaf)) for leaf in jax.tree.leaves(evaluation.variables["params"])]
    return {"weight_norm": jnp.sqrt(sum(squares, start=jnp.zeros(())))}


def _right(logits_BKV: jax.Array, targets_BK: jax.Array) -> jax.Array:
    if jnp.issubdtype(targets_BK.dtype, jnp.floating):
        raise UserError("measures: Accuracy needs tokens as targets, but the task's targets are real numbers; use Loss")
    return all_right(likeliest(logits_BKV), targets_BK)


def all_right(answers_BK: jax.Array, targets_BK: jax.Array) -> jax.Array:
    """Returns (B,) float32: whether every answer of an example that has a target is correct."""
    return jnp.all((answers_BK == targets_BK) | (targets_BK == IGNORED), axis=-1).astype(jnp.float32)


def _asked(_: jax.Array, targets_B1: jax.Array) -> jax.Array:
    return (targets_B1[:, 0] != IGNORED).astype(jnp.float32)


def _where_asked(score: Score) -> Score:
    def where_asked(logits_B1V: jax.Array, targets_B1: jax.Array) -> jax.Array:
        return jnp.where(_asked(logits_B1V, targets_B1) > 0, score(logits_B1V, targets_B1), 0.0)

    return where_asked


def _at(k: int, score: Score) -> Score:
    return lambda logits_BKV, targets_BK: score(logits_BKV[:, k : k + 1], targets_BK[:, k : k + 1])


def means_by_split(evaluation: Evaluation, score: Score) -> dict[str, jax.Array]:
    """Returns the mean of a score over each split of `Accuracy`."""
    means = {}
    for name, split in evaluation.splits.items():
        inputs_BS, targets_BK, true_BK, corrupted_B = (jnp.asarray(column) for column in split)
        logits_BKV = evaluation.logits(inputs_BS)
        if name != "train":
            means[name] = jnp.mean(score(logits_BKV, true_BK))
            continue
        given_B = score(logits_BKV, targets_BK)
        means[name] = jnp.mean(given_B)
        if evaluation.corruption:
            means["corrupted"] = _masked_mean(given_B, corrupted_B)
            means["corrupted_true"] = _masked_mean(score(logits_BKV, true_BK), corrupted_B)
            means["uncorrupted"] = _masked_mean(given_B, ~corrupted_B)
    return means


def _masked_mean(value_B: jax.Array, mask_B: jax.Array) -> jax.Array:
    """Returns the mean of the values under the mask; 0 if the mask is empty."""
    count = jnp.maximum(jnp.sum(mask_B, dtype=jnp.float32), 1.0)
    return jnp.sum(jnp.where(mask_B, value_B, 0.0)) / count
