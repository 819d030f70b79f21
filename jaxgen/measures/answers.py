"""Accuracy of answers with several tokens: by token, by greedy decoding, and by prompt length.

Shape letters: B examples, K read-out positions.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen.measures.accuracy import all_right
from jaxgen.measures.config import AccuracyByLength, MeanTokenAccuracy
from jaxgen.measures.evaluation import Evaluation
from jaxgen.models.decoding import greedy, likeliest
from jaxgen.tasks.base import IGNORED, Split


def token_accuracy(evaluation: Evaluation) -> dict[str, jax.Array]:
    """Returns `token_accuracy/<split>`."""
    values = {}
    for split in evaluation.splits:
        answers_BK, targets_BK = _answers(evaluation, split, by_itself=False)
        asked_BK = targets_BK != IGNORED
        right = jnp.sum((answers_BK == targets_BK) & asked_BK, dtype=jnp.float32)
        values[f"token_accuracy/{split}"] = right / jnp.maximum(jnp.sum(asked_BK, dtype=jnp.float32), 1.0)
    return values


def mean_token_accuracy(config: MeanTokenAccuracy, evaluation: Evaluation) -> dict[str, jax.Array]:
    """Returns `mean_token_accuracy/<split>`, and by length `mean_token_accuracy.<edge>/<split>`."""
    values: dict[str, jax.Array] = {}
    for name, split in evaluation.splits.items():
        targets_BK = jnp.asarray(split.targets if name == "train" else split.true_targets)
        asked_BK = targets_BK != IGNORED
        right_BK = (likeliest(evaluation.logits(jnp.asarray(split.inputs))) == targets_BK) & asked_BK
        count_B = jnp.maximum(jnp.sum(asked_BK, axis=1, dtype=jnp.float32), 1.0)
        score_B = jnp.sum(right_BK, axis=1, dtype=jnp.float32) / count_B
        values[f"mean_token_accuracy/{name}"] = jnp.mean(score_B)
        length_B, least = _lengths(evaluation, split, asked_BK), 0
        for edge in config.edges:
            here_B = ((length_B > least) & (length_B <= edge)).astype(jnp.float32)
            values[f"mean_token_accuracy.{edge}/{name}"] = jnp.sum(score_B * here_B) / jnp.sum(here_B)
            least = edge
    return values


def _lengths(evaluation: Evaluation, split: Split, asked_BK: jax.Array) -> jax.Array:
    """Returns the lengths (B,) of the sources, or of what is before the first target."""
    inputs_BS, source = jnp.asarray(split.inputs), evaluation.shape.source
    if source is not None:
        return jnp.argmax(inputs_BS == source.separator, axis=1)
    return jnp.asarray(np.array(evaluation.shape.readout_at(inputs_BS.shape[1])))[jnp.argmax(asked_BK, axis=1)]


def greedy_accuracy(evaluation: Evaluation) -> dict[str, jax.Array]:
    """Returns `greedy_accuracy/<split>`."""
    return {
        f"greedy_accuracy/{split}": jnp.mean(all_right(*_answers(evaluation, split, by_itself=True)))
        for split in evaluation.splits
    }


def accuracy_by_length(config: AccuracyByLength, evaluation: Evaluation) -> dict[str, jax.Array]:
    """Returns `accuracy.to_<edge>/<split>` and `share.to_<edge>/<split>`."""
    values: dict[str, jax.Array] = {}
    for split, of in evaluation.splits.items():
        answers_BK, targets_BK = _answers(evaluation, split, by_itself=config.greedy)
        readout_K = jnp.asarray(np.array(evaluation.shape.readout_at(of.inputs.shape[1])))
        length_B = readout_K[jnp.argmax(targets_BK != IGNORED, axis=1)] + 1
        edge_B = jnp.searchsorted(jnp.asarray(config.edges), length_B)
        for i, edge in enumerate(config.edges):
            counts_B = (edge_B == i).astype(jnp.float32)
            share = jnp.mean(counts_B)
            right = jnp.mean(counts_B * all_right(answers_BK, targets_BK)) / jnp.maximum(share, 1e-9)
            values |= {f"accuracy.to_{edge}/{split}": right, f"share.to_{edge}/{split}": share}
    return values


def _answers(evaluation: Evaluation, split: str, *, by_itself: bool) -> tuple[jax.Array, jax.Array]:
    """Returns the answers and the targets of a split, both (B, K)."""
    of = evaluation.splits[split]
    inputs_BS, targets_BK = jnp.asarray(of.inputs), jnp.asarray(of.targets if split == "train" else of.true_targets)
    if by_itself:
        return greedy(evaluation.module, evaluation.variables, evaluation.shape, inputs_BS, targets_BK), targets_BK
    return likeliest(evaluation.logits(inputs_BS)), targets_BK
