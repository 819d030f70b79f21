"""Refuses links inside a run: a run may come from a stranger, and opening it writes and deletes files in it.

The run's directory and its parents may be links. Nothing below it may be one: `confine` refuses by name the links that
it finds when a run is opened, and `check` looks again at every write and removal.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from jaxgen.errors import UserError

_FOLDERS = {"populations", "job", "recovery", "snapshots", "profile", "wandb", "claims", "paper", "figures"}
_FILES = {
    "run.json", "table.csv", "results.json", "report.html",
    "metrics.jsonl", "status.json", "events.jsonl", "analyses.json", "owner.json", "lock",
    "job.json", "log", "starts",
}  # fmt: skip
# A resumed run rebuilds these, or leaves them out if it cannot, so a link here need not stop it.
_MIRROR = "tensorboard"

_confined: set[Path] = set()


def confine(run: Path) -> None:
    """Ensures that nothing below a run's directory is read, written or removed through a link.

    Raises:
      UserError: an entry is a link or no regular file, or a file where a folder belongs, or the reverse.
    """
    run = run.absolute()
    _confined.add(run)
    if run.is_dir():
        _look(run, run)


def check(path: Path) -> None:
    """Raises `UserError` if a path in a confined run is a link, or lies below a link in the run."""
    path = path.absolute()
    parts = [path, *path.parents]
    for number, each in enumerate(parts):
        if each in _confined:
            for part in reversed(parts[:number]):
                if part.is_symlink():
                    raise UserError(_told(part))
            return


def open_in_place(path: Path, flags: int) -> int:
    """Opens or creates a file that is written in place, and returns its descriptor.

    Raises:
      UserError: the file is a link, no regular file, or has a second name (a hard link) that would change too.
    """
    check(path)
    if path.is_symlink():
        raise UserError(_told(path))
    # Non-blocking, because opening a named pipe would wait for a process at its other end.
    opened = os.open(path, flags | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)
    if not path.is_file() or os.fstat(opened).st_nlink > 1:
        os.close(opened)
        raise UserError(
            f"{path} is no regular file, or has a second name (a hard link) that would change too; "
            f"put a copy in its place: cp FILE COPY && mv COPY FILE"
        )
    return opened


def _look(folder: Path, run: Path) -> None:
    known = run in (folder, folder.parent) or folder.parent == run / "populations"
    for path, mode in _entries(folder):
        name = path.name
        if stat.S_ISLNK(mode):
            refuse(path, run)
        elif stat.S_ISDIR(mode):
            if known and name in _FILES:
                raise UserError(f"{path} is a folder, expected a file; restore it from a copy, or remove it")
            # A checkpoint's manifest lists its files.
            if name != _MIRROR and not (name.isdecimal() and folder.name in ("recovery", "snapshots")):
                _look(path, run)
        elif not stat.S_ISREG(mode):
            raise UserError(f"{path} is neither a file nor a folder; remove it")
        elif known and name in _FOLDERS:
            raise UserError(f"{path} is a file, expected a folder; restore it from a copy, or remove it")


def refuse(link: Path, run: Path) -> None:
    """Raises `UserError` for a link in a run, unless it is one that a run may have."""
    if link.name != _MIRROR and not _of_wandb(link, run):
        raise UserError(_told(link))


def _entries(folder: Path) -> Iterator[tuple[Path, int]]:
    """Yields the entries of a folder in order, each with its mode. A training process may remove some meanwhile."""
    with contextlib.suppress(FileNotFoundError):
        for name in sorted(os.listdir(folder)):
            with contextlib.suppress(FileNotFoundError):
                yield folder / name, (folder / name).lstat().st_mode


def _of_wandb(path: Path, run: Path) -> bool:
    """Returns whether a link is one that W&B makes to its newest files: such a link does not leave its folder."""
    if "wandb" not in path.relative_to(run).parts[:-1]:
        return False
    target = Path(os.readlink(path))
    return not target.is_absolute() and ".." not in target.parts


def _told(path: Path) -> str:
    return f"{path} is a link, and a run may hold no links; replace it by its target, or remove it"
