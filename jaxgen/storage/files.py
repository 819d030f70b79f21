"""Atomic files: a written file is on disk, whole and under its name, or it is not there at all.

In an object store, "on disk" means that the store has the file.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import secrets
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxgen.errors import UserError
from jaxgen.storage import links, objects

_ADVICE = "restore it from a copy, or start beside it with --fresh"
# The longest file name made from a text. File systems allow 255 bytes, and endings are added to the name.
_LONGEST_NAME = 120


def file_names(texts: Sequence[str]) -> list[str]:
    """Returns a file name for each text: its letters and digits. A digest is added if they are too long, or equal those
    of another text when case is ignored."""
    plain = [re.sub(r"[^A-Za-z0-9=.,_+-]", "_", text) for text in texts]
    owners = Counter(name.casefold() for name, _ in set(zip(plain, texts, strict=True)))
    return [
        name
        if len(name) <= _LONGEST_NAME and owners[name.casefold()] == 1
        else f"{name[: _LONGEST_NAME - 9]}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
        for name, text in zip(plain, texts, strict=True)
    ]


def write_text(path: Path, text: str) -> None:
    """Writes a text file atomically, and returns when it is on disk."""
    make_directory(path.parent)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)  # the umask removes permissions
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(handle)
        os.replace(temporary, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        if isinstance(error, OSError) and error.errno is not None and error.filename is None:
            error.filename = str(path)  # the system gives no file name when a write fails
        raise
    sync_directory(path.parent)
    objects.send(path)


def write_json(path: Path, data: Any) -> None:
    """Writes a JSON file atomically, and returns when it is on disk."""
    write_text(path, json.dumps(data, indent=1, allow_nan=False) + "\n")


def write_sealed(path: Path, data: Mapping[str, Any]) -> None:
    """Writes a JSON object as `write_json` does, together with its digest."""
    data = json.loads(json.dumps(data))  # the form in which it will be read: keys become text
    write_json(path, {"sha256": digest_of_json(data), **data})


def read_sealed(path: Path, fields: Mapping[str, type] | None = None) -> Any:
    """Reads a file of `write_sealed`, as `read_json` does, and checks its digest.

    Raises:
      UserError: as `read_json`, or the contents differ from what was written.
    """
    data = read_json(path)
    if isinstance(data, dict) and "sha256" not in data:
        raise UserError(f"{path} has no digest: it was edited, or written by an older jaxgen; {_ADVICE}")
    check_fields(path, data, {"sha256": str, **(fields or {})})
    if data.pop("sha256") != digest_of_json(data):
        raise UserError(f"{path} is damaged: it has other contents than were written; {_ADVICE}")
    return data


def digest_of_json(data: Any) -> str:
    """Returns the SHA-256 of JSON data, independent of its layout in a file."""
    return hashlib.sha256(json.dumps(data, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def read_json(path: Path, fields: Mapping[str, type] | None = None) -> Any:
    """Reads a JSON file.

    Args:
      path: the file.
      fields: the fields that it must hold, with their types.

    Raises:
      UserError: the path is not a file, or the file is not JSON or lacks a field.
    """
    if not path.is_file():
        raise UserError(f"{path} is missing or not a file; {_ADVICE}")
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is damaged: {error}; {_ADVICE}") from None
    check_fields(path, data, fields or {})
    return data


def check_fields(path: Path, data: Any, fields: Mapping[str, type | tuple[type, ...]]) -> None:
    """Raises `UserError` if data read from a file lacks one of these fields, or its type is wrong."""
    for name, kind in fields.items():
        if not isinstance(data, dict) or not isinstance(data.get(name), kind):
            kinds = " or ".join(each.__name__ for each in (kind if isinstance(kind, tuple) else (kind,)))
            raise UserError(f"{path} is damaged: expected '{name}' ({kinds}); restore it from a copy")


@contextlib.contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turns an error about the form of data read from a file into a `UserError`."""
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError) as error:
        raise UserError(f"{path} is damaged: {type(error).__name__} {error}; restore it from a copy") from None


def make_directory(path: Path) -> None:
    """Makes a directory and its parents, all or none of them, and returns when they are on disk.

    Raises:
      UserError: a file is in the way, or a link within a run.
    """
    links.check(path)
    missing = [each for each in (path, *path.parents) if not each.is_dir()]
    made: list[Path] = []
    try:
        for each in reversed(missing):
            try:
                each.mkdir(exist_ok=True)
            except FileExistsError:
                raise UserError(
                    f"{each} is a file, expected a folder; put it elsewhere, or name another folder"
                ) from None
            made.append(each)
            sync_directory(each.parent)
    except (OSError, UserError):
        for each in reversed(made):
            with contextlib.suppress(OSError):  # it is no longer empty
                each.rmdir()
        raise


def remove_path(path: Path) -> None:
    """Removes a file, a link or a whole folder, but never the target of a link."""
    links.check(path.parent)
    if path.is_dir() and not path.is_symlink():
        import shutil

        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def sync_directory(path: Path) -> None:
    """Waits until the entries of a directory are on disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
