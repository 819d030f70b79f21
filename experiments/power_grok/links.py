"""Decay towards the start, and noise, as links of an optax chain. Their scalars may be traced, a value a member."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import optax

from jaxgen.optimizers.links import Scalar
from jaxgen.starts.scores import masked

Tree = Any


class StartState(NamedTuple):
    """The parameters that training started from."""

    params: Tree


def add_decay_to_start(weight_decay: Scalar, mask: Any = None) -> optax.GradientTransformation:
    """Adds weight_decay * (w - w_start) to the updates, with w_start the parameters given to `init`.

    Args:
      weight_decay: the strength, traced or not.
      mask: as in `optax.add_decayed_weights`; None: every parameter decays.
    """

    def init(params: Tree) -> StartState:
        return StartState(params)

    def update(updates: Tree, state: StartState, params: Tree | None = None) -> tuple[Tree, StartState]:
        pulled = jax.tree.map(lambda u, w, start: u + weight_decay * (w - start), updates, params, state.params)
        return pulled, state

    transformation = optax.GradientTransformation(init, update)
    return transformation if mask is None else optax.masked(transformation, mask)


def add_noise(deviation: Scalar) -> optax.GradientTransformationExtraArgs:
    """Adds deviation * N(0, 1), drawn from the `key` given to `update`, to every update that its `mask` leaves."""

    def update(
        updates: Tree, state: Any, params: Tree | None = None, *, key: jax.Array, mask: Tree | None = None, **_: Any
    ) -> tuple[Tree, Any]:
        return masked(with_noise(updates, deviation, key), mask), state

    return optax.GradientTransformationExtraArgs(lambda _: optax.EmptyState(), update)


def with_noise(tree: Tree, deviation: Scalar, key: jax.Array) -> Tree:
    """Returns the tree with deviation * N(0, 1) added to every entry, each leaf from a key of its own."""
    leaves, structure = jax.tree.flatten(tree)
    noisy = [
        leaf + deviation * jax.random.normal(jax.random.fold_in(key, i), leaf.shape, leaf.dtype)
        for i, leaf in enumerate(leaves)
    ]
    return jax.tree.unflatten(structure, noisy)
