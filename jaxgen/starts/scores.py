"""Scores of single weights, and the masks that keep those of the highest score.

A score is a tree like the parameters. Only matrices (rank 2 and more) are pruned, all together; vectors (biases,
norms) are kept whole.
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
    """Returns a tree like the parameters, 0 where the mask holds a parameter at zero, whatever stood there."""
    if mask is None:
        return tree
    return jax.tree.map(lambda leaf, kept: jnp.where(kept > 0, leaf, jnp.zeros_like(leaf)), tree, mask)


def top_mask(scores: Tree, keep: float) -> Tree:
    """Returns 1.0 at the round(keep * n) highest scores of the n matrix entries, else 0.0; vectors are 1.0.

    Of equal scores the earlier leaf, then the earlier entry, is kept; one of -inf never is.
    """
    return _top(scores, round(keep * _entries(scores)))


def _entries(tree: Tree) -> int:
    leaves, chosen = jax.tree.leaves(tree), jax.tree.leaves(matrices(tree))
    return sum(leaf.size for leaf, is_matrix in zip(leaves, chosen, strict=True) if is_matrix)


def _top(scores: Tree, count: int | jax.Array) -> Tree:
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
    """Returns the scores, -inf where a mask has removed the weight already."""
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


def snip_scores(params: Tree, examples: Examples) -> Tree:
    """Returns |w dL/dw|: what removing a weight changes of the loss, to first order (Lee et al., arXiv 1810.02340).

    It is not divided by its sum, which no order depends on.
    """
    gradient = jax.grad(lambda at: examples.loss(examples.logits(at)))(params)
    return jax.tree.map(lambda w, g: jnp.abs(w * g), params, gradient)


def grasp_scores(params: Tree, mask: Tree | None, examples: Examples, temperature: float) -> Tree:
    """Returns w (H g): highest where removing a weight lowers the gradient's norm most (Wang et al., arXiv 2002.07376).

    g is the gradient and H the Hessian of the loss of the logits divided by `temperature`, both of the weights that
    `mask` has left. Wang et al. write -w (H g), and prune where it is highest.
    """
    gradient = jax.grad(lambda at: examples.loss(examples.logits(at) / temperature))
    _, curved = jax.jvp(gradient, (params,), (masked(gradient(params), mask),))
    return jax.tree.map(jnp.multiply, params, curved)


def synflow_scores(params: Tree, examples: Examples) -> Tree:
    """Returns |w dR/d|w|| of R, the sum of the logits under the magnitudes of all weights (arXiv 2006.05467).

    Tanaka et al. feed an input of ones. Tokens have none: R is summed over the training examples.
    """
    magnitudes = jax.tree.map(jnp.abs, params)
    flow = jax.grad(lambda at: jnp.sum(examples.logits(at)))(magnitudes)
    return jax.tree.map(lambda w, g: jnp.abs(w * g), magnitudes, flow)


def synflow_mask(params: Tree, mask: Tree | None, examples: Examples, keep: float, iterations: int) -> Tree:
    """Returns the mask after `iterations` rounds, each of which scores what the last one left of `mask`.

    Round i of n keeps the fraction keep^(i / n) (Tanaka et al., Alg. 1).
    """
    fractions = [keep ** (i / iterations) for i in range(1, iterations + 1)]
    counts = jnp.array([round(fraction * _entries(params)) for fraction in fractions], jnp.int32)

    def prune(i: jax.Array, mask: Tree) -> Tree:
        scores = synflow_scores(masked(params, mask), examples)
        return _top(within(scores, mask), counts[i])

    every = jax.tree.map(jnp.ones_like, params)
    return jax.lax.fori_loop(0, iterations, prune, every if mask is None else mask)
