"""A population's directory: what lies where, and who may write.

run.json        members, resolved settings, layout, versions, commit, devices, flags; written once
metrics.jsonl   one row a member and measuring step: the truth
status.json     how far the run is
events.jsonl    what happened when: starts, compilations, failures
recovery/       whole states, the newest two: disposable once the run is over
snapshots/      parameters at declared steps: kept
analyses.json   what analyses of the snapshots gave
tensorboard/    a mirror of metrics.jsonl
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import filelock

from jaxgen.errors import UserError


def write_json(path: Path, data: Any) -> None:
    """Writes JSON whole or not at all."""
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("w", encoding="utf-8") as file:
        json.dump(data, file, indent=1, allow_nan=False)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def read_json(path: Path) -> Any:
    """Reads a JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))


class PopulationDirectory:
    """Paths and small files of one population."""

    def __init__(self, path: Path):
        self.path = path
        self.run_file = path / "run.json"
        self.metrics_file = path / "metrics.jsonl"
        self.status_file = path / "status.json"
        self.analyses_file = path / "analyses.json"

    def exists(self) -> bool:
        return self.run_file.exists()

    def run(self) -> dict[str, Any]:
        data: dict[str, Any] = read_json(self.run_file)
        return data

    def status(self) -> dict[str, Any]:
        """Returns the last status; that of a run which has not begun where there is none."""
        if not self.status_file.exists():
            return {"step": 0, "finished": False, "seconds": 0.0, "members": []}
        data: dict[str, Any] = read_json(self.status_file)
        return data

    def identities(self) -> list[str]:
        return [member["identity"] for member in self.run()["members"]]

    def event(self, kind: str, **facts: Any) -> None:
        with (self.path / "events.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps({"time": round(time.time(), 3), "event": kind, **facts}) + "\n")

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Holds the directory; the system lets go when the holder dies.

        Raises:
          UserError: another process trains here.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(self.path / "lock", timeout=0)
        try:
            lock.acquire()
        except filelock.Timeout:
            raise UserError(f"{self.path} is being trained by another process; wait for it or stop it") from None
        try:
            yield
        finally:
            lock.release()
