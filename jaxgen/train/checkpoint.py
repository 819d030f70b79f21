"""Checkpoints through Orbax; no Orbax type leaves this file.

A tree is saved as its leaves by dotted path, so that reading one needs no code of the run.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from jaxgen.errors import UserError

Tree = Any


class CheckpointStore:
    """The checkpoints of one kind of a population, by step.

    Args:
      directory: where they live; made on the first save.
      keep: how many of the newest are kept; None keeps all.
    """

    def __init__(self, directory: Path, keep: int | None = None):
        self.directory = directory.absolute()
        options = ocp.CheckpointManagerOptions(max_to_keep=keep, enable_async_checkpointing=False)
        handler = ocp.StandardCheckpointHandler()
        self._manager = ocp.CheckpointManager(self.directory, options=options, item_handlers=handler)

    def steps(self) -> list[int]:
        return sorted(self._manager.all_steps())

    def save(self, step: int, tree: Tree) -> None:
        """Saves a tree of arrays; it is on disk when this returns. A step is saved once."""
        if step not in self._manager.all_steps():
            self._manager.save(step, args=ocp.args.StandardSave(_leaves(jax.device_get(tree))))
            self._manager.wait_until_finished()

    def load(self, step: int) -> dict[str, np.ndarray]:
        """Returns the leaves of a step by dotted path, as numpy arrays.

        Raises:
          UserError: there is no such step.
        """
        if step not in self._manager.all_steps():
            raise UserError(f"{self.directory} has no step {step}; it has {self.steps() or 'none'}")
        metadata = self._manager.item_metadata(step)
        abstract = {path: np.empty(leaf.shape, leaf.dtype) for path, leaf in metadata.items()}
        loaded = self._manager.restore(step, args=ocp.args.StandardRestore(abstract))
        return {path: np.asarray(leaf) for path, leaf in loaded.items()}

    def restore(self, step: int, like: Tree) -> Tree:
        """Returns the tree of a step in the structure of `like`.

        Raises:
          UserError: the leaves differ from those of `like`; missing, extra and changed ones are listed.
        """
        found = self.load(step)
        wanted = _leaves(like)
        missing, extra = sorted(wanted.keys() - found.keys()), sorted(found.keys() - wanted.keys())
        changed = [
            f"{path} ({found[path].dtype}{list(found[path].shape)}, expected {leaf.dtype}{list(leaf.shape)})"
            for path, leaf in wanted.items()
            if path in found and (found[path].shape, found[path].dtype) != (leaf.shape, leaf.dtype)
        ]
        if missing or extra or changed:
            raise UserError(
                f"{self.directory}/{step} does not fit this run: missing {missing or 'nothing'}, "
                f"extra {extra or 'nothing'}, changed {changed or 'nothing'}"
            )
        return jax.tree.unflatten(jax.tree.structure(like), [found[path] for path in wanted])

    def close(self) -> None:
        self._manager.close()


def _leaves(tree: Tree) -> dict[str, Any]:
    paths, _ = jax.tree.flatten_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="."): leaf for path, leaf in paths}


def nest(leaves: dict[str, Any], prefix: str) -> Tree:
    """Returns the leaves below `prefix` as nested dicts, such as the parameters of a Flax module."""
    tree: dict[str, Any] = {}
    for path, leaf in leaves.items():
        if path.startswith(f"{prefix}."):
            *parents, name = path.removeprefix(f"{prefix}.").split(".")
            part = tree
            for parent in parents:
                part = part.setdefault(parent, {})
            part[name] = leaf
    return tree
