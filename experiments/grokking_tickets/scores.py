"""Scores of weights before training, and norms of all parameters.

A score is a tree like the parameters (jaxgen/starts/scores.py).
"""

from __future__ import annotations

from typing import Any, Literal

import jax
import jax.numpy as jnp

from jaxgen.starts.scores import Examples, keep_highest, masked, matrix_entries, within

Tree = Any


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
    counts = jnp.array([round(fraction * matrix_entries(params)) for fraction in fractions], jnp.int32)

    def prune(i: jax.Array, mask: Tree) -> Tree:
        scores = synflow_scores(masked(params, mask), examples)
        return keep_highest(within(scores, mask), counts[i])

    every = jax.tree.map(jnp.ones_like, params)
    return jax.lax.fori_loop(0, iterations, prune, every if mask is None else mask)


def norm(params: Tree, kind: Literal["l1", "l2"]) -> jax.Array:
    """Returns the L1 or L2 norm () of all parameters together."""
    power = {"l1": jnp.abs, "l2": jnp.square}[kind]
    total = sum((jnp.sum(power(leaf)) for leaf in jax.tree.leaves(params)), start=jnp.zeros(()))
    return jnp.sqrt(total) if kind == "l2" else total
