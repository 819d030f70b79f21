"""Mirrors show a run's metrics elsewhere: in TensorBoard and W&B."""

from __future__ import annotations

import importlib.util
import socket
import struct
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from tensorboardX.proto.event_pb2 import Event
from tensorboardX.record_writer import masked_crc32c
from tensorboardX.summary import scalar

from jaxgen.errors import UserError
from jaxgen.run.directory import PopulationDirectory
from jaxgen.run.rows import Row, read_rows
from jaxgen.storage import links, objects
from jaxgen.storage.files import remove_path

# This much is buffered in memory before it is appended to the files.
PENDING_BYTES = 16 * 2**20


class Mirror(Protocol):
    """Shows rows elsewhere. It gets a row once a checkpoint covers it, so never a row twice."""

    def write(self, rows: Iterable[Row]) -> None: ...

    def close(self) -> None: ...


def tensorboard(directory: PopulationDirectory, members: Sequence[str]) -> dict[str, Callable[[], Mirror]]:
    """Returns the mirror that every run has, as `RunArguments.mirrors` gives them."""
    folder = directory.path / "tensorboard"
    return {"TensorBoard": lambda: TensorBoard(folder, members, read_rows(directory.metrics_file))}


class TensorBoard:
    """Writes one event file a member. A resumed run rebuilds it from metrics.jsonl. It is open only during an
    append."""

    def __init__(self, directory: Path, members: Sequence[str], rows: Iterable[Row]):
        if directory.is_symlink():
            raise OSError(f"{directory} is a link")
        objects.remove(directory)
        remove_path(directory)
        for name in members:
            (directory / name).mkdir(parents=True)
        # tensorboardX's own writers would hold a file open for each member, and SummaryWriter a thread as well.
        now = time.time()
        name = f"events.out.tfevents.{int(now)}.{socket.gethostname()}"
        self._files = [directory / member / name for member in members]
        head = _record(Event(wall_time=now, file_version="brain.Event:2"))
        self._append(dict.fromkeys(range(len(members)), head))
        self.write(rows)

    def write(self, rows: Iterable[Row]) -> None:
        pending: dict[int, bytearray] = {}
        size = 0
        for row in rows:
            for key, value in row["values"].items():
                if value is not None:
                    record = _record(Event(summary=scalar(key, value), step=row["step"], wall_time=row["time"]))
                    pending.setdefault(row["member"], bytearray()).extend(record)
                    size += len(record)
            if size > PENDING_BYTES:
                self._append(pending)
                pending, size = {}, 0
        self._append(pending)

    def _append(self, pending: Mapping[int, bytes | bytearray]) -> None:
        for member, records in pending.items():
            with self._files[member].open("ab") as file:
                file.write(records)

    def close(self) -> None:
        """Closes nothing: no file is open."""


def _record(event: Any) -> bytes:
    """Returns an event in the format of event files: its length and the event, each with a checksum."""
    data: bytes = event.SerializeToString()
    length = struct.pack("<Q", len(data))
    checks = (struct.pack("<I", masked_crc32c(part)) for part in (length, data))
    return length + next(checks) + data + next(checks)


def check_wandb(project: str) -> None:
    """Raises `UserError` if W&B cannot show a run."""
    if not project:
        raise UserError("--wandb: got an empty name, expected that of a project")
    if importlib.util.find_spec("wandb") is None:
        raise UserError('--wandb: wandb is not installed; pip install "jaxgen[wandb]"')


class WeightsAndBiases:
    """One W&B run a population, keys prefixed by the member's name.

    Args:
      project: the W&B project.
      id_: the id of the W&B run, which a resumed run continues.
      directory: the population's directory.
      members: the names of the members.
      rows: the rows so far.
    """

    def __init__(self, project: str, id_: str, directory: Path, members: Sequence[str], rows: Iterable[Row]):
        try:
            import wandb
        except ImportError:
            raise UserError('--wandb: wandb is not installed; pip install "jaxgen[wandb]"') from None
        links.check(directory / "wandb")
        self._members = members
        self._run = wandb.init(project=project, id=id_, name=directory.name, dir=str(directory), resume="allow")
        # W&B keeps the rows that it received before an interruption; its own step counter says how many.
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
