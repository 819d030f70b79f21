"""The manifest, which makes a directory of files a checkpoint: it is written last. This module imports no jax.

    <step>/state/           the files of Orbax
    <step>/manifest.json    every file's size and SHA-256, every leaf's shape and dtype, and its population

A directory without a manifest is a save that did not end. A directory with a manifest is a checkpoint. It is intact if
its files are exactly those that the manifest lists, each with its digest.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxgen.errors import UserError
from jaxgen.storage import objects
from jaxgen.storage.files import digest_of_json, remove_path, sync_directory, write_sealed

MANIFEST, STATE = "manifest.json", "state"
_STEP = re.compile("0|[1-9][0-9]*")


class Damaged(UserError):
    """A checkpoint is not what was saved."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Manifest:
    """What was saved."""

    digest: str  # of all fields below
    step: int
    leaves: Mapping[str, tuple[str, tuple[int, ...]]]  # dotted path -> dtype, shape
    facts: Mapping[str, Any]  # the population, and where it was trained: identities, environment, ...
    files: Mapping[str, tuple[int, str]]  # path below state/ -> bytes, SHA-256

    @property
    def bytes(self) -> int:
        return sum(size for size, _ in self.files.values())


def all_steps(directory: Path) -> list[int]:
    """Returns the steps of a directory in order, including those whose save did not end."""
    if objects.is_remote(directory):
        found = {name.partition("/")[0] for name in objects.names(directory)}
    else:
        found = {path.name for path in directory.glob("*")}
    return sorted(int(name) for name in found if _STEP.fullmatch(name))


def published_steps(directory: Path) -> list[int]:
    """Returns the steps of a directory's checkpoints, intact or not, in order."""
    if objects.is_remote(directory):
        found = (name.rpartition("/") for name in objects.names(directory))
        return sorted(int(step) for step, _, name in found if name == MANIFEST and _STEP.fullmatch(step))
    return [step for step in all_steps(directory) if (directory / str(step) / MANIFEST).exists()]


def publish(path: Path, step: int, leaves: Mapping[str, Any], facts: Mapping[str, Any]) -> str:
    """Makes the files below `path/state` a checkpoint, and returns its digest. On return the checkpoint is on disk.

    Args:
      path: the directory of the step.
      step: the step.
      leaves: the arrays that were saved, by dotted path.
      facts: JSON data to keep with them.
    """
    files = _digests(path / STATE, sync=True)
    objects.send(*(path / STATE / name for name in files))
    data = {
        "step": step,
        "leaves": {name: [str(leaf.dtype), list(leaf.shape)] for name, leaf in leaves.items()},
        "facts": facts,
        "files": {name: list(file) for name, file in files.items()},
    }
    write_sealed(path / MANIFEST, data)
    sync_directory(path.parent)
    return digest_of_json(data)


def read_manifest(path: Path) -> Manifest:
    """Returns the manifest of a step's directory, without checking the files that it names.

    Raises:
      Damaged: the manifest is missing or changed.
    """
    manifest_path = path / MANIFEST
    _check_directory(path)
    if not stat.S_ISREG(_mode(manifest_path)):
        raise Damaged(f"{path} has no {MANIFEST}: the save did not end, or the file was lost")
    try:
        data = json.loads(manifest_path.read_bytes())
        digest = data.pop("sha256")
        manifest = Manifest(
            digest=digest,
            step=data["step"],
            leaves={name: (dtype, tuple(shape)) for name, (dtype, shape) in data["leaves"].items()},
            facts=data["facts"],
            files={name: (size, digest) for name, (size, digest) in data["files"].items()},
        )
        as_written = digest == digest_of_json(data) and path.name == str(manifest.step)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise Damaged(f"{manifest_path} cannot be read") from None
    if not as_written:
        raise Damaged(f"{manifest_path} is not as it was written")
    return manifest


def verify(path: Path) -> Manifest:
    """Returns the manifest of a step's directory, after reading every file that it names.

    Raises:
      Damaged: the directory is no checkpoint, or a file is not as it was saved; the message names the file.
    """
    _fetch(path)
    manifest = read_manifest(path)
    _check_directory(path / STATE)
    found = _digests(path / STATE, sync=False)
    for name in sorted(manifest.files.keys() | found.keys()):
        file = path / STATE / name
        if name not in found:
            raise Damaged(f"{file} is missing")
        if name not in manifest.files:
            raise Damaged(f"{file} does not belong to the checkpoint")
        (size, digest), (found_size, found_digest) = manifest.files[name], found[name]
        if size != found_size:
            raise Damaged(f"{file} has {found_size} bytes, {size} were saved")
        if digest != found_digest:
            raise Damaged(f"{file} has other contents than were saved")
    return manifest


def check_owner(path: Path, found: Manifest, owner: Mapping[str, Any]) -> None:
    """Compares a checkpoint's facts with those of the population in whose directory it lies.

    Args:
      path: the directory of the step.
      found: its manifest.
      owner: the population's facts `identities` and `run` (`PopulationDirectory.owner`).

    Raises:
      UserError: the checkpoint holds other members, or the same members in another order.
    """
    there, wanted = found.facts.get("identities"), owner["identities"]
    if there != wanted:
        there = there if isinstance(there, list) else []
        missing = [each for each in wanted if each not in there]
        extra = [each for each in there if each not in wanted]
        raise UserError(
            f"{path} holds the state of other runs: missing {missing or 'none'}, extra {extra or 'none'}, "
            f"expected {wanted} in this order"
        )
    if found.facts.get("run") != owner["run"]:
        raise UserError(
            f"{path} was saved with another run.json than the one in its directory: restore the files that belong "
            f"together from a copy, or start beside it with --fresh"
        )


def remove(path: Path) -> None:
    """Removes a step's directory, the manifest first, so that a partly removed directory is no checkpoint."""
    objects.remove(path / MANIFEST)
    objects.remove(path)
    if path.is_dir() and not path.is_symlink():
        remove_path(path / MANIFEST)
    remove_path(path)


def _fetch(path: Path) -> None:
    """Fetches from the store the files of a step that its manifest names."""
    if not objects.is_remote(path):
        return
    path.mkdir(parents=True, exist_ok=True)
    objects.fetch(path, [MANIFEST])
    names: list[str] = []
    with contextlib.suppress(
        OSError, ValueError, LookupError, TypeError, RecursionError
    ):  # `verify` reports what is wrong
        names = [str(name) for name in json.loads((path / MANIFEST).read_bytes())["files"]]
    objects.fetch(path / STATE, names)


def _digests(root: Path, *, sync: bool) -> dict[str, tuple[int, str]]:
    """Returns size and SHA-256 of every file below `root`. With `sync` it first makes sure that they are on disk."""
    found = {}
    for folder, folders, names in os.walk(root):
        for name in (*folders, *names):
            path = Path(folder, name)
            mode = _mode(path)
            if stat.S_ISDIR(mode):
                continue
            if not stat.S_ISREG(mode):
                raise Damaged(f"{path} is not a regular file")
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
                found[path.relative_to(root).as_posix()] = (os.fstat(file.fileno()).st_size, digest)
                if sync:
                    os.fsync(file.fileno())
        if sync:
            sync_directory(Path(folder))
    return found


def _check_directory(path: Path) -> None:
    if not stat.S_ISDIR(_mode(path)):
        raise Damaged(f"{path} is missing or not a directory")


def _mode(path: Path) -> int:
    """Returns the file's mode, without following a link; 0 if there is no file."""
    try:
        return path.lstat().st_mode
    except OSError:
        return 0
