"""No link leads out of a run: it may come from a stranger, and whoever opens it writes and deletes in it.

The run's directory itself may be a link, and so may folders above it. Below it nothing is one: what is found at the
opening is refused by name (`confine`), and every write and removal looks again (`check`).
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from jaxgen.errors import UserError

_FOLDERS = {"populations", "job", "recovery", "snapshots", "profile", "wandb", "claims", "paper"}
_FILES = {
    "run.json", "table.csv", "results.json", "report.html",
    "metrics.jsonl", "status.json", "events.jsonl", "analyses.json", "owner.json", "lock",
    "job.json", "log", "starts",
}  # fmt: skip
# Made anew whenever a run goes on, and left out where it cannot be: a link here stops nobody.
_MIRROR = "tensorboard"

_confined: set[Path] = set()


def confine(run: Path) -> None:
    """Has nothing below a run's directory be read, written or removed through a link.

    Raises:
      UserError: something in it is a link or no regular file, or a file where a folder belongs or the reverse.
    """
    run = run.absolute()
    _confined.add(run)
    if run.is_dir():
        _look(run, run)


def check(path: Path) -> None:
    """Raises `UserError` where a path in a confined run is a link, or lies below one that is in the run."""
    path = path.absolute()
    parts = [path, *path.parents]
    for number, each in enumerate(parts):
        if each in _confined:
            for part in reversed(parts[:number]):
                if part.is_symlink():
                    raise UserError(_told(part))
            return


def open_in_place(path: Path, flags: int) -> int:
    """Opens a file that is written where it lies, or makes it, and returns its descriptor.

    Raises:
      UserError: it is a link, no regular file, or has a second name, which would show what is written too.
    """
    check(path)
    if path.is_symlink():
        raise UserError(_told(path))
    # Without waiting: a named pipe has nobody at its other end.
    opened = os.open(path, flags | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)
    if not path.is_file() or os.fstat(opened).st_nlink > 1:
        os.close(opened)
        raise UserError(
            f"{path} is no file, or has a second name (a hard link) that would be written too; "
            f"put a copy in its place: cp FILE COPY && mv COPY FILE"
        )
    return opened


def _look(folder: Path, run: Path) -> None:
    known = run in (folder, folder.parent) or folder.parent == run / "populations"
    for path, mode in _entries(folder):
        name = path.name
        if stat.S_ISLNK(mode):
            if name != _MIRROR and not _of_wandb(path, run):
                raise UserError(_told(path))
        elif stat.S_ISDIR(mode):
            if known and name in _FILES:
                raise UserError(f"{path} is a folder, expected a file; restore it from a copy, or remove it")
            # A manifest knows what is in a checkpoint.
            if name != _MIRROR and not (name.isdecimal() and folder.name in ("recovery", "snapshots")):
                _look(path, run)
        elif not stat.S_ISREG(mode):
            raise UserError(f"{path} is neither a file nor a folder; remove it")
        elif known and name in _FOLDERS:
            raise UserError(f"{path} is a file, expected a folder; restore it from a copy, or remove it")


def _entries(folder: Path) -> Iterator[tuple[Path, int]]:
    """Gives what is in a folder, in order, each with its mode; whoever trains may remove some of it meanwhile."""
    with contextlib.suppress(FileNotFoundError):
        for name in sorted(os.listdir(folder)):
            with contextlib.suppress(FileNotFoundError):
                yield folder / name, (folder / name).lstat().st_mode


def _of_wandb(path: Path, run: Path) -> bool:
    """Returns whether a link is one that W&B makes to its newest files: it leads no higher than where it lies."""
    if "wandb" not in path.relative_to(run).parts[:-1]:
        return False
    target = Path(os.readlink(path))
    return not target.is_absolute() and ".." not in target.parts


def _told(path: Path) -> str:
    return f"{path} is a link, and nothing in a run may be one; put what it names in its place, or remove it"
