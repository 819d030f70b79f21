"""Parameters of layers that run as one scan: stacked on a leading axis, in the module named `SCANNED`."""

from __future__ import annotations

from typing import Any

import jax

Tree = Any

SCANNED = "blocks"


def matrices(params: Tree) -> Tree:
    """Returns, in a tree like params, whether each is a matrix (rank 2 or more) in its layer; vectors are biases and
    norms."""

    def is_matrix(path: Any, w: jax.Array) -> bool:
        stacked = any(getattr(key, "key", None) == SCANNED for key in path)
        return w.ndim - stacked > 1

    return jax.tree.map_with_path(is_matrix, params)
