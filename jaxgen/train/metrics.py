"""metrics.jsonl, the truth about a population's run, and its mirrors in TensorBoard and W&B."""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from jaxgen.errors import UserError
from jaxgen.train.manifest import Damaged

Row = dict[str, Any]  # {"step": int, "member": int, "time": seconds since the epoch, "values": {key: float | None}}


def metric_row(step: int, member: int, time: float, values: dict[str, float]) -> Row:
    """Makes a row; a value that is not finite becomes None, as JSON has no word for it."""
    finite = {key: value if math.isfinite(value) else None for key, value in values.items()}
    return {"step": step, "member": member, "time": round(time, 3), "values": finite}


def read_rows(path: Path) -> Iterator[Row]:
    """Gives the rows of a metrics file, but for a last line that is not written to its end.

    Raises:
      UserError: a line is no row.
    """
    if not path.is_file():
        return
    with path.open(encoding="utf-8", errors="replace") as lines:
        for number, line in enumerate(lines, 1):
            if not line.endswith("\n"):
                return
            try:
                row = json.loads(line)
                row["step"], row["member"], row["values"].items()
            except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
                raise UserError(f"{path} is damaged in line {number}") from None
            yield row


def check_rows(path: Path, synced: Mapping[str, Any]) -> None:
    """Compares the beginning of a metrics file with what `MetricsFile.sync` said of it.

    Raises:
      Damaged: it is not the same.
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
    """Appends rows to a metrics file, and says what of it is on disk.

    Args:
      path: the file; what it holds beyond `size` is cut off.
      size: how many of its bytes to keep.
    """

    def __init__(self, path: Path, size: int):
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
        os.ftruncate(self._file, size)
        self._size = size
        self._digest = _digest_of_beginning(path, size)
        self._unwritten = b""

    def append(self, rows: Sequence[Row]) -> None:
        """Appends rows. Those that cannot be written are kept, and come with the next ones.

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
        """Returns once all rows are on disk, with what a checkpoint says of them: their bytes and SHA-256.

        Raises:
          OSError: they could not be written.
        """
        self.append([])
        os.fsync(self._file)
        return {"bytes": self._size, "sha256": self._digest.hexdigest()}

    def close(self) -> None:
        os.close(self._file)


class Mirror(Protocol):
    """Shows rows elsewhere. It gets a row once a checkpoint covers it, so never a row twice."""

    def write(self, rows: Iterable[Row]) -> None: ...

    def close(self) -> None: ...


class TensorBoard:
    """One event file a member, made anew from metrics.jsonl when a run goes on."""

    def __init__(self, directory: Path, members: Sequence[str], rows: Iterable[Row]):
        # Not its SummaryWriter, which has a thread for each member, and waits for ever when a disk is full.
        from tensorboardX.event_file_writer import EventsWriter

        if directory.exists():
            shutil.rmtree(directory)
        for name in members:
            (directory / name).mkdir(parents=True)
        self._writers = [EventsWriter(str(directory / name / "events")) for name in members]
        self.write(rows)

    def write(self, rows: Iterable[Row]) -> None:
        from tensorboardX.proto.event_pb2 import Event
        from tensorboardX.summary import scalar

        for row in rows:
            writer = self._writers[row["member"]]
            for key, value in row["values"].items():
                if value is not None:
                    event = Event(summary=scalar(key, value), step=row["step"], wall_time=row["time"])
                    writer.write_event(event)
        for writer in self._writers:
            writer.flush()

    def close(self) -> None:
        for writer in self._writers:
            writer.close()


class WeightsAndBiases:
    """One W&B run a population, keys prefixed by the member's name; resumed by the population's id."""

    def __init__(self, project: str, population: str, directory: Path, members: Sequence[str], rows: Iterable[Row]):
        try:
            import wandb
        except ImportError:
            raise UserError('--wandb: wandb is not installed; pip install "jaxgen[wandb]"') from None
        self._members = members
        self._run = wandb.init(project=project, id=population, dir=str(directory), resume="allow")
        # W&B keeps what it got before an interruption; its own step counter says how far that is.
        self._first = self._run.step
        self.write(rows)

    def write(self, rows: Iterable[Row]) -> None:
        by_step: dict[int, dict[str, float]] = {}
        for row in rows:
            if row["step"] < self._first:
                continue
            values = by_step.setdefault(row["step"], {})
            values |= {f"{self._members[row['member']]}/{k}": v for k, v in row["values"].items() if v is not None}
        for step, values in sorted(by_step.items()):
            self._run.log(values, step=step)

    def close(self) -> None:
        self._run.finish()
