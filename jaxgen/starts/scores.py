"""Scores of single weights, and the masks that keep the highest scores.

A score is a tree like the parameters. Only matrices (rank 2 or more) are pruned, all together; vectors (biases, norms)
are not.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxgen.models.stacked import matrices

Tree = Any


class Examples(NamedTuple):
    """The training examples as functions of the parameters, in evaluation mode."""

    logits: Callable[[Tree], jax.Array]  # parameters -> logits (N, K, V) of the N training examples
    loss: Callable[[jax.Array], jax.Array]  # logits (N, K, V) -> the mean loss ()


def masked(tree: Tree, mask: Tree | None) -> Tree:
    """Returns the tree with 0 where the mask holds a parameter at zero, even if the entry was not finite."""
    if mask is None:
        return tree
    return jax.tree.map(lambda leaf, kept: jnp.where(kept > 0, leaf, jnp.zeros_like(leaf)), tree, mask)


def top_mask(scores: Tree, keep: float) -> Tree:
    """Returns 1.0 at the round(keep * n) highest scores of the n matrix entries, else 0.0; vectors are 1.0.

    Ties keep the earlier leaf, then the earlier entry. An entry with score -inf is never kept.
    """
    return keep_highest(scores, round(keep * matrix_entries(scores)))


def matrix_entries(tree: Tree) -> int:
    """Returns the number of entries in all matrices together."""
    leaves, chosen = jax.tree.leaves(tree), jax.tree.leaves(matrices(tree))
    return sum(leaf.size for leaf, is_matrix in zip(leaves, chosen, strict=True) if is_matrix)


def keep_highest(scores: Tree, count: int | jax.Array) -> Tree:
    """Returns the same as `top_mask`, for the `count` highest scores."""
    leaves, chosen = jax.tree.leaves(scores), jax.tree.leaves(matrices(scores))
    flat_N = jnp.concatenate([leaf.ravel() for leaf, is_matrix in zip(leaves, chosen, strict=True) if is_matrix])
    rank_N = jnp.argsort(jnp.argsort(-flat_N, stable=True), stable=True)
    kept_N = (rank_N < count) & (flat_N > -jnp.inf)
    offset = 0
    masks = []
    for leaf, is_matrix in zip(leaves, chosen, strict=True):
        if is_matrix:
            masks.append(kept_N[offset : offset + leaf.size].reshape(leaf.shape).astype(leaf.dtype))
            offset += leaf.size
        else:
            masks.append(jnp.ones_like(leaf))
    return jax.tree.unflatten(jax.tree.structure(scores), masks)


def within(scores: Tree, mask: Tree | None) -> Tree:
    """Returns the scores, with -inf where a mask has already removed the weight."""
    if mask is None:
        return scores
    return jax.tree.map(lambda score, kept: jnp.where(kept > 0, score, -jnp.inf), scores, mask)


def magnitude_scores(params: Tree) -> Tree:
    """Returns |w|."""
    return jax.tree.map(jnp.abs, params)


def random_scores(params: Tree, key: jax.Array) -> Tree:
    """Returns independent uniform numbers."""
    leaves, structure = jax.tree.flatten(params)
    keys = jax.random.split(key, len(leaves))
    drawn = [jax.random.uniform(each, leaf.shape, leaf.dtype) for each, leaf in zip(keys, leaves, strict=True)]
    return jax.tree.unflatten(structure, drawn)
