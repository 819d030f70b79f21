"""A held norm, as a link of an optax chain."""

from __future__ import annotations

from typing import Any

import jax
import optax

Tree = Any


def keep_norm() -> optax.GradientTransformation:
    """Returns the last link of `ConstantNorm`: the updated parameters have the norm of the first ones."""

    def init(params: Tree) -> jax.Array:
        norm: jax.Array = optax.tree.norm(params)
        return norm

    def update(updates: Tree, norm: jax.Array, params: Tree | None = None) -> tuple[Tree, jax.Array]:
        assert params is not None
        moved = optax.apply_updates(params, updates)
        scale = norm / optax.tree.norm(moved)
        return jax.tree.map(lambda after, before: scale * after - before, moved, params), norm

    return optax.GradientTransformation(init, update)
