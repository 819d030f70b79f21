"""metrics.jsonl, the truth about a population's run, and its mirrors in TensorBoard and W&B."""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

from jaxgen.errors import UserError

Row = dict[str, Any]  # {"step": int, "member": int, "time": seconds since the epoch, "values": {key: float | None}}


def metric_row(step: int, member: int, time: float, values: dict[str, float]) -> Row:
    """Makes a row; a value that is not finite becomes None, as JSON has no word for it."""
    finite = {key: value if math.isfinite(value) else None for key, value in values.items()}
    return {"step": step, "member": member, "time": round(time, 3), "values": finite}


class MetricsFile:
    """A file of one JSON row a line, in the order of steps."""

    def __init__(self, path: Path):
        self.path = path

    def rows(self) -> Iterator[Row]:
        if self.path.exists():
            with self.path.open(encoding="utf-8") as lines:
                for line in lines:
                    yield json.loads(line)

    def append(self, rows: Sequence[Row]) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.writelines(json.dumps(row, allow_nan=False) + "\n" for row in rows)

    def truncate(self, step: int) -> None:
        """Drops what lies after `step`, a half-written last line too: the run goes on from there."""
        if not self.path.exists():
            return
        kept = []
        with self.path.open(encoding="utf-8") as lines:
            for line in lines:
                if not line.endswith("\n") or json.loads(line)["step"] > step:
                    break
                kept.append(line)
        temporary = self.path.with_suffix(".tmp")
        with temporary.open("w", encoding="utf-8") as file:
            file.writelines(kept)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, self.path)


class Mirror(Protocol):
    """Shows rows elsewhere. It gets a row once a checkpoint covers it, so never a row twice."""

    def write(self, rows: Iterable[Row]) -> None: ...

    def close(self) -> None: ...


class TensorBoard:
    """One event file a member, made anew from metrics.jsonl when a run goes on."""

    def __init__(self, directory: Path, members: Sequence[str], rows: Iterable[Row]):
        from tensorboardX import SummaryWriter

        shutil.rmtree(directory, ignore_errors=True)
        self._writers = [SummaryWriter(str(directory / name), write_to_disk=True) for name in members]
        self.write(rows)

    def write(self, rows: Iterable[Row]) -> None:
        for row in rows:
            writer = self._writers[row["member"]]
            for key, value in row["values"].items():
                if value is not None:
                    writer.add_scalar(key, value, row["step"], walltime=row["time"])
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
        self.write(row for row in rows if row["step"] >= self._run.step)

    def write(self, rows: Iterable[Row]) -> None:
        by_step: dict[int, dict[str, float]] = {}
        for row in rows:
            values = by_step.setdefault(row["step"], {})
            values |= {f"{self._members[row['member']]}/{k}": v for k, v in row["values"].items() if v is not None}
        for step, values in sorted(by_step.items()):
            self._run.log(values, step=step)

    def close(self) -> None:
        self._run.finish()
