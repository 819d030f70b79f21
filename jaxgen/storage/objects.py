"""Runs in object stores, gs:// and s3://. Imports no jax, and other libraries only when a store is used.

A location such as s3://bucket/runs is mirrored in a private temporary folder of this process. A call that writes a file
there uploads it before it returns (`send`). Opening a run fetches its files, and reading a checkpoint fetches the
checkpoint (`fetch`). The store holds the same names and bytes as a run's directory on a disk, so either can be copied
over the other.

This module relies on two promises of a store: an object is there whole or not at all, and listing names all objects.
Nothing is renamed, appended to or locked. An object that only one process may create is written with a precondition
that it does not exist yet (`create`).
"""

from __future__ import annotations

import atexit
import contextlib
import dataclasses
import functools
import os
import re
import time
from collections.abc import Container, Iterator
from pathlib import Path
from typing import Any

from jaxgen.errors import UserError, shown

_DRIVERS = {"gs": "gcs", "s3": "s3"}  # tensorstore's names
_LOCATION = re.compile(r"([a-z0-9]+)://([^/]*)/*(.*)")
# Retries last about 15 s. After that training continues, and the next save tries again.
_RETRIES = {"max_retries": 5, "initial_delay": "500ms", "max_delay": "8s"}
# Answers of a store for which a retry does not help.
_REFUSALS = ("NOT_FOUND", "PERMISSION_DENIED", "UNAUTHENTICATED", "INVALID_ARGUMENT")


class StoreError(OSError):
    """An operation of an object store failed."""

    def __init__(self, url: str, error: Exception):
        reason = (str(error).splitlines() or [type(error).__name__])[0].partition(" [")[0].strip()
        super().__init__(f"{url}: {reason}")
        self.refused = reason.startswith(_REFUSALS)


@dataclasses.dataclass(frozen=True)
class _Bucket:
    """A bucket, and the local folder that mirrors it."""

    scheme: str
    name: str
    folder: Path
    sent: dict[Path, tuple[int, int]]  # size and modification time of the files when they were sent
    generations: dict[Path, bytes]  # the objects' generations when last seen

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.name}"

    @functools.cached_property
    def store(self) -> Any:
        import tensorstore

        spec: dict[str, Any] = {"driver": _DRIVERS[self.scheme], "bucket": self.name}
        context = tensorstore.Context({f"{spec['driver']}_request_retries": _RETRIES})
        if self.scheme == "s3":
            if endpoint := os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL"):
                region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1"
                spec |= {"endpoint": endpoint, "aws_region": region}
            if "AWS_ACCESS_KEY_ID" in os.environ:
                # Otherwise tensorstore looks for credential files first, and logs each one that is missing.
                spec["aws_credentials"] = {"type": "environment"}
        return self.done(tensorstore.KvStore.open(spec, context=context), "")

    def done(self, future: Any, key: str) -> Any:
        """Returns a future's result.

        Raises:
          StoreError: the operation failed.
        """
        try:
            return future.result()
        except Exception as error:
            raise StoreError(f"{self.url}/{key}", error) from None

    def keys(self, key: str) -> list[str]:
        """Returns the keys of the objects at a key, or below it."""
        import tensorstore

        within = tensorstore.KvStore.KeyRange(key, f"{key}0") if key else tensorstore.KvStore.KeyRange()
        found = [each.decode() for each in self.done(self.store.list(within), key)]
        return sorted(each for each in found if each == key or each.startswith(f"{key}/" if key else ""))


_buckets: dict[str, _Bucket] = {}
_owned: set[Path] = set()
_scratch_locks: list[Any] = []


def locate(text: str) -> Path:
    """Returns the path of a folder, or the local folder that mirrors gs://BUCKET/FOLDER or s3://BUCKET/FOLDER.

    Raises:
      UserError: the text has another form with `://`.
    """
    match = _LOCATION.fullmatch(text)
    if match is None:
        return local_path(text)
    scheme, name, key = match.groups()
    # Stores have their own rules; these keep the local mirror of a bucket inside its folder.
    rightful = re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{2,221}", name) and text.isprintable()
    if scheme not in _DRIVERS or not rightful or {"..", "."} & set(key.split("/")) or len(key.encode()) > 900:
        raise UserError(f"got {shown(text)}, expected a folder, gs://BUCKET/FOLDER or s3://BUCKET/FOLDER")
    url = f"{scheme}://{name}"
    if url not in _buckets:
        _buckets[url] = _Bucket(scheme, name, _scratch() / scheme / name, {}, {})
    return _buckets[url].folder / key


def local_path(text: str) -> Path:
    """Returns the path of a file or folder on this machine.

    Raises:
      UserError: the text is empty, not printable, or a location in a store.
    """
    if not text or not text.isprintable() or "://" in text:
        raise UserError(f"got {shown(text)}, expected the path of a file or folder, of printable characters")
    return Path(text)


def url(path: Path) -> str:
    """Returns the location of a file: its URL in a store, or the path itself."""
    return with_urls(str(path))


def with_urls(text: str) -> str:
    """Replaces the local paths of stored files in a text by their URLs."""
    for bucket in _buckets.values():
        text = text.replace(str(bucket.folder), bucket.url)
    return text


def is_remote(path: Path) -> bool:
    """Returns whether a path mirrors a location in a store."""
    return _home(path) is not None


def exists(path: Path) -> bool:
    """Returns whether a file or folder exists, here or in the store that keeps it."""
    if path.exists():
        return True
    home = _home(path)
    return home is not None and bool(home[0].keys(home[1]))


def names(folder: Path) -> list[str]:
    """Lists the paths of the files below a folder in a store, relative to it, in order."""
    home = _home(folder)
    assert home is not None
    bucket, key = home
    # Web consoles create objects whose names end with a slash, to show folders.
    return [each.removeprefix(f"{key}/") for each in bucket.keys(key) if each != key and not each.endswith("/")]


def send(*paths: Path) -> None:
    """Uploads these files and waits until the store has them."""
    writes = []
    for path in paths:
        home = _home(path)
        if home is not None:
            bucket, key = home
            stat = path.stat()
            writes.append((bucket, key, path, stat, bucket.store.write(key, path.read_bytes())))
    for bucket, key, path, stat, write in writes:
        bucket.generations[path] = bucket.done(write, key).generation
        bucket.sent[path] = (stat.st_size, stat.st_mtime_ns)


def put(path: Path, data: bytes) -> None:
    """Writes an object, ignoring the local file."""
    home = _home(path)
    assert home is not None
    bucket, key = home
    bucket.done(bucket.store.write(key, data), key)


def send_changed(folder: Path, leave: Container[str]) -> None:
    """Uploads the files below a folder that are new or changed since the last upload, except files and folders whose
    name is in `leave`."""
    home = _home(folder)
    if home is None:
        return
    changed = []
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not any(part in leave for part in path.relative_to(folder).parts):
            stat = path.stat()
            if home[0].sent.get(path) != (stat.st_size, stat.st_mtime_ns):
                changed.append(path)
    send(*changed)


def fetch(folder: Path, wanted: list[str] | None = None, leave: Container[str] = ()) -> None:
    """Makes local files equal to those in the store.

    Args:
      folder: the folder.
      wanted: the files below it; None: all files except those of owned folders.
      leave: names of folders whose files are not fetched.
    """
    home = _home(folder)
    if home is None:
        return
    bucket, key = home
    reads = []
    for name in names(folder) if wanted is None else wanted:
        path = folder / name
        parts = name.split("/")
        if any(part in leave for part in parts):
            continue
        if {"", ".", ".."} & set(parts):
            raise UserError(f"{bucket.url}/{key}/{name}: this cannot be the name of a file; rename it")
        if wanted is None and any(path.is_relative_to(each) for each in _owned):
            continue
        known = bucket.generations.get(path) if path.exists() else None
        at = f"{key}/{name}" if key else name
        reads.append((path, at, bucket.store.read(at, if_not_equal=known)))
    for path, at, read in reads:
        found = bucket.done(read, at)
        if found.state == "missing":
            path.unlink(missing_ok=True)
        elif found.state == "value":
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary = path.with_name(f".{path.name}.tmp")
            temporary.write_bytes(found.value)
            temporary.replace(path)
            bucket.generations[path] = found.stamp.generation
            stat = path.stat()
            bucket.sent[path] = (stat.st_size, stat.st_mtime_ns)


@contextlib.contextmanager
def owned(folder: Path) -> Iterator[None]:
    """Declares the local files of a folder the newest: inside, they are fetched only if named."""
    _owned.add(folder)
    try:
        yield
    finally:
        _owned.discard(folder)


def remove(path: Path) -> None:
    """Removes a file or folder from the store; the local mirror stays."""
    home = _home(path)
    if home is not None:
        bucket, key = home
        for each, removal in [(each, bucket.store.write(each, None)) for each in bucket.keys(key)]:
            bucket.done(removal, each)


def create(path: Path, data: bytes) -> bool:
    """Creates an object unless it exists, and returns whether it did. No other process may pass the same `data`."""
    home = _home(path)
    assert home is not None
    bucket, key = home
    found = bucket.done(bucket.store.read(key), key)
    if found.state == "missing":
        written = bucket.done(bucket.store.write(key, data, if_equal=found.stamp.generation), key)
        if written.generation:
            return True
        # Perhaps the object was created and only the answer was lost.
        found = bucket.done(bucket.store.read(key), key)
    return bool(found.value == data)


def _home(path: Path) -> tuple[_Bucket, str] | None:
    """Returns the bucket and key of a path that mirrors a location in a store."""
    for bucket in _buckets.values():
        if path.is_relative_to(bucket.folder):
            key = path.relative_to(bucket.folder).as_posix()
            return bucket, "" if key == "." else key
    return None


@functools.cache
def _scratch() -> Path:
    """Returns a private folder of this process, and removes the folders of killed processes."""
    import shutil
    import tempfile

    import filelock

    for left in Path(tempfile.gettempdir()).glob("jaxgen.*"):
        with contextlib.suppress(OSError, filelock.Timeout):
            if time.time() - left.stat().st_mtime > 60:
                with filelock.FileLock(left / "lock", timeout=0):
                    shutil.rmtree(left)
    folder = Path(tempfile.mkdtemp(prefix="jaxgen."))
    lock = filelock.FileLock(folder / "lock")
    lock.acquire()
    _scratch_locks.append(lock)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
