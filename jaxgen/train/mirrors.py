"""What shows a run's metrics elsewhere: TensorBoard and W&B."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol

from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event
from tensorboardX.summary import scalar

from jaxgen import links, objects
from jaxgen.errors import UserError
from jaxgen.files import remove_path
from jaxgen.train.metrics import Row


class Mirror(Protocol):
    """Shows rows elsewhere. It gets a row once a checkpoint covers it, so never a row twice."""

    def write(self, rows: Iterable[Row]) -> None: ...

    def close(self) -> None: ...


class TensorBoard:
    """One event file a member, made anew from metrics.jsonl when a run goes on."""

    def __init__(self, directory: Path, members: Sequence[str], rows: Iterable[Row]):
        if directory.is_symlink():
            raise OSError(f"{directory} is a link")
        objects.remove(directory)
        remove_path(directory)
        for name in members:
            (directory / name).mkdir(parents=True)
        # Not SummaryWriter, which has a thread for each member, and waits for ever when a disk is full.
        self._writers = [EventsWriter(str(directory / name / "events")) for name in members]
        self.write(rows)

    def write(self, rows: Iterable[Row]) -> None:
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
        links.check(directory / "wandb")
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
