"""Checkpoints through Orbax; no Orbax type leaves this file.

A tree is saved as its leaves by dotted path, so reading it needs no code of the run. Every file is compared with the
manifest (manifest.py) before it is read.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import re
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp

from jaxgen.errors import UserError
from jaxgen.run import manifest
from jaxgen.run.manifest import Damaged, Manifest
from jaxgen.storage import objects
from jaxgen.storage.files import digest_of_json, make_directory, remove_path

Tree = Any

# Orbax and the libraries below it read other characters of a path as patterns or URLs, or reject them.
_PLAIN = re.compile(r"[A-Za-z0-9/._=,+ -]+")


class SaveError(Exception):
    """A checkpoint could not be saved; earlier checkpoints are unchanged."""


class CheckpointStore:
    """The recovery checkpoints or the snapshots of a population, by step. One process writes, any number read.

    Args:
      directory: holds the checkpoints; created by the first save.
      keep: how many of the newest checkpoints are kept; None keeps all.
      owner: the facts that identify the population (see `manifest.check_owner`); None accepts any.
      digests: the expected digests by step; a step without one is accepted with any digest.
    """

    def __init__(
        self,
        directory: Path,
        keep: int | None = None,
        owner: Mapping[str, Any] | None = None,
        digests: Mapping[int, str] | None = None,
    ):
        self.directory = directory.absolute()
        self.keep = keep
        self.owner = owner
        self.digests = dict(digests or {})
        _ignore_closed_loops()
        self._damaged: set[int] = set()
        # Each process reads for itself and only one writes, so Orbax must not wait for the others.
        here = jax.process_index()
        alone = ocp.options.MultiprocessingOptions(primary_host=here, active_processes={here})
        handler = ocp.StandardCheckpointHandler(multiprocessing_options=alone)
        self._orbax = ocp.Checkpointer(handler, multiprocessing_options=alone)

    def steps(self) -> list[int]:
        """Returns the saved steps, including damaged ones."""
        return manifest.published_steps(self.directory)

    def all_steps(self) -> list[int]:
        """Returns the saved steps and those whose save did not end."""
        return manifest.all_steps(self.directory)

    def save(self, step: int, tree: Tree, facts: Mapping[str, Any] | None = None) -> None:
        """Saves a tree of arrays. On return it is on disk and has been read back.

        The arrays of a step are saved once; a second save of the step replaces only its facts.

        Args:
          step: the step.
          tree: the arrays.
          facts: JSON data to keep in the manifest.

        Raises:
          SaveError: the tree could not be saved, with the reason.
        """
        leaves = {path: np.asarray(leaf) for path, leaf in _leaves(jax.device_get(tree)).items()}
        facts = {**(facts or {}), **(self.owner or {})}
        path = self.directory / str(step)
        kept = self._kept(step)
        try:
            if kept is None:
                self._write(path, leaves)
            if kept is None or digest_of_json(kept.facts) != digest_of_json(facts):
                self.digests[step] = manifest.publish(path, step, leaves, facts)
            else:
                self.digests[step] = kept.digest
            if objects.is_remote(path):
                remove_path(path)  # the next reader fetches it again
        except (OSError, ValueError, RuntimeError, LookupError, Damaged) as error:
            # An error of Orbax or tensorstore has many lines; the first says what happened.
            if kept is None:
                with contextlib.suppress(OSError):
                    remove_path(path)
            raise SaveError(f"{path}: {_reason(error)}") from error
        self._damaged.discard(step)
        if self.keep is not None:
            self._prune(self.keep)

    def _write(self, path: Path, leaves: Mapping[str, np.ndarray]) -> None:
        """Writes the files of a step, and reads them back."""
        if path.name in map(str, self.all_steps()):
            manifest.remove(path)
        make_directory(path)
        with _quietly(), _plain(path / manifest.STATE) as state:
            self._orbax.save(state, args=ocp.args.StandardSave(leaves))
        self._compare(path / manifest.STATE, leaves)

    def _kept(self, step: int) -> Manifest | None:
        """Returns the manifest of a step if it is saved and intact."""
        if step in self.steps() and step not in self._damaged:
            with contextlib.suppress(Damaged):
                return self.verify(step)
        return None

    def _compare(self, state: Path, leaves: Mapping[str, np.ndarray]) -> None:
        """Raises `Damaged` if the files below `state` do not read back as these leaves."""
        found = self._read(state, {path: (str(leaf.dtype), leaf.shape) for path, leaf in leaves.items()})
        for path, leaf in leaves.items():
            if found[path].tobytes() != leaf.tobytes():
                raise Damaged(f"'{path}' is read back with other values")

    def _read(self, state: Path, wanted: Mapping[str, tuple[str, tuple[int, ...]]]) -> dict[str, np.ndarray]:
        abstract = {path: _empty(shape, dtype) for path, (dtype, shape) in wanted.items()}
        try:
            with _quietly(), _plain(state) as plain:
                loaded = self._orbax.restore(plain, args=ocp.args.StandardRestore(abstract))
        except Exception as error:  # any error here means that these files are no checkpoint
            raise Damaged(f"{state} cannot be read: {_reason(error)}") from error
        leaves = {path: np.asarray(leaf) for path, leaf in loaded.items()}
        if {path: (str(leaf.dtype), leaf.shape) for path, leaf in leaves.items()} != dict(wanted):
            raise Damaged(f"{state} holds other leaves than its manifest says")
        return leaves

    def _prune(self, keep: int) -> None:
        """Removes all but the newest intact checkpoints, and the remains of saves that did not end."""
        published = self.steps()
        intact = [step for step in published if step not in self._damaged]
        oldest = intact[-keep:][0]
        for step in self.all_steps():
            if step < oldest or step not in published:
                self._remove(step)

    def verify(self, step: int) -> Manifest:
        """Returns the manifest of a step after checking that all its files are as they were saved.

        Raises:
          Damaged: a file is not as it was saved (the message names it), or the save did not end.
          UserError: there is no such step, or it belongs to another population.
        """
        if step not in self.all_steps():
            raise UserError(f"{self.directory} has no step {step}; it has {self.steps() or 'none'}")
        path = self.directory / str(step)
        try:
            found = manifest.verify(path)
            if self.digests.get(step, found.digest) != found.digest:
                raise Damaged(f"{path} is another checkpoint than was saved there")
        except Damaged:
            self._damaged.add(step)
            raise
        if self.owner is not None:
            manifest.check_owner(path, found, self.owner)
        return found

    def drop_after(self, step: int) -> None:
        """Removes the steps after `step`, and the remains of saves that did not end."""
        published = self.steps()
        for each in self.all_steps():
            if each > step or each not in published:
                self._remove(each)

    def _remove(self, step: int) -> None:
        manifest.remove(self.directory / str(step))
        self.digests.pop(step, None)

    def load(self, step: int) -> dict[str, np.ndarray]:
        """Returns the leaves of a step by dotted path, as numpy arrays, exactly as they were saved.

        Raises:
          Damaged: the files are missing or changed.
          UserError: there is no such step.
        """
        return self._read(self.directory / str(step) / manifest.STATE, self.verify(step).leaves)

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


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Stops Orbax's threads from logging the traceback of a failed save: the error is raised and shown in one line."""
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)


@contextlib.contextmanager
def _plain(path: Path) -> Iterator[Path]:
    """Yields a path of plain characters that leads to `path`: the path itself, or a link in another folder."""
    if _PLAIN.fullmatch(str(path)):
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="jaxgen-") as folder:
        link = Path(folder, "step")
        link.symlink_to(path.parent)
        yield link / path.name


@functools.cache
def _ignore_closed_loops() -> None:
    """Silences tensorstore's reports of writes that end after the first one failed: nobody waits for them any more."""
    tell = sys.unraisablehook

    def hook(what: Any) -> None:
        if not (isinstance(what.exc_value, RuntimeError) and str(what.exc_value) == "Event loop is closed"):
            tell(what)

    sys.unraisablehook = hook


def _empty(shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """Returns an array with this shape and dtype that takes no memory."""
    return np.broadcast_to(np.zeros((), jnp.dtype(dtype)), shape)


def _reason(error: Exception) -> str:
    lines = str(error).splitlines()
    return lines[0] if lines else type(error).__name__


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
