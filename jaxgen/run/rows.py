"""metrics.jsonl, the truth about a population's run."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxgen.errors import UserError
from jaxgen.run.manifest import Damaged
from jaxgen.storage import links, objects

Row = dict[str, Any]  # {"step": int, "member": int, "time": seconds since the epoch, "values": {key: float | None}}


def metric_row(step: int, member: int, time: float, values: dict[str, float]) -> Row:
    """Makes a row. A value that is not finite becomes None, because JSON cannot express it."""
    finite = {key: value if math.isfinite(value) else None for key, value in values.items()}
    return {"step": step, "member": member, "time": round(time, 3), "values": finite}


def read_rows(path: Path, size: float = math.inf) -> Iterator[Row]:
    """Yields the rows of a metrics file, except an incomplete last line.

    Args:
      path: the file.
      size: the largest number of bytes to read.

    Raises:
      UserError: a line is no row.
    """
    if not path.is_file():
        return
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            size -= len(line)
            if size < 0 or not line.endswith(b"\n"):
                return
            try:
                row = json.loads(line)
                row["step"], row["member"], row["values"].items()
            except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
                raise UserError(f"{path} is damaged in line {number}") from None
            yield row


def check_rows(path: Path, synced: Mapping[str, Any]) -> None:
    """Compares the beginning of a metrics file with the size and digest that `MetricsFile.sync` returned.

    Raises:
      Damaged: they differ.
    """
    size = path.stat().st_size if path.is_file() else 0
    if size < synced["bytes"]:
        raise Damaged(f"{path} has {size} bytes, {synced['bytes']} were saved")
    if _digest_of_beginning(path, synced["bytes"]).hexdigest() != synced["sha256"]:
        raise Damaged(f"{path} has other contents than were saved")


def _digest_of_beginning(path: Path, size: int) -> hashlib._Hash:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while size and (block := file.read(min(size, 1 << 20))):
            digest.update(block)
            size -= len(block)
    return digest


class MetricsFile:
    """Appends rows to a metrics file, and reports how much of it is on disk.

    Args:
      path: the file; it is truncated to `size` bytes.
      size: how many bytes to keep.
    """

    def __init__(self, path: Path, size: int):
        self._file = links.open_in_place(path, os.O_RDWR)
        os.ftruncate(self._file, size)
        self._size = size
        self._digest = _digest_of_beginning(path, size)
        self._unwritten = b""
        self._path = path

    def append(self, rows: Sequence[Row]) -> None:
        """Appends rows. Rows that cannot be written are kept, and written with the next ones.

        Raises:
          OSError: they could not be written.
        """
        self._unwritten += b"".join(json.dumps(row, allow_nan=False).encode() + b"\n" for row in rows)
        while self._unwritten:
            count = os.pwrite(self._file, self._unwritten, self._size)
            self._digest.update(self._unwritten[:count])
            self._unwritten = self._unwritten[count:]
            self._size += count

    def sync(self) -> dict[str, Any]:
        """Waits until all rows are on disk, and returns what a checkpoint records: the file's size in bytes and its
        SHA-256.

        Raises:
          OSError: they could not be written.
        """
        self.append([])
        os.fsync(self._file)
        return {"bytes": self._size, "sha256": self._digest.hexdigest()}

    def send(self, size: int) -> None:
        """Uploads the first `size` bytes and waits until the store has them, if the run is kept in a store.

        Raises:
          StoreError: they could not be sent.
        """
        if objects.is_remote(self._path):
            objects.put(self._path, os.pread(self._file, size, 0))

    def close(self) -> None:
        os.close(self._file)
