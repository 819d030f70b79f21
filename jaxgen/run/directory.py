"""A population's directory: its files, and which process may write them.

run.json        members, resolved settings by condition, layout, versions, commit, devices, flags; written once
metrics.jsonl   one row a member and measuring step: the truth
status.json     how far the run is on disk, and where its time went
events.jsonl    what happened when: starts, compilations, failures, damage
recovery/       whole states, the newest two: disposable once the run has finished
snapshots/      parameters at declared steps: kept
analyses.json   the results of analyses of the snapshots
tensorboard/    a mirror of metrics.jsonl
lock            held by the process that trains, which owner.json names (in an object store: claims/, see lease.py);
                the run's directory has a lock of its own, held while the run is analysed and judged

Every reader checks what it reads. Small files hold their own digest, and checkpoints hold the digest of run.json.
status.json and the newest checkpoint both record how far the rows go, their digest, and which snapshots exist.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import filelock

from jaxgen.distributed import processes
from jaxgen.errors import UserError
from jaxgen.run import lease
from jaxgen.run.manifest import Damaged, Manifest, all_steps, published_steps, read_manifest
from jaxgen.run.rows import Row, check_rows, read_rows
from jaxgen.storage import links, objects
from jaxgen.storage.files import (
    check_fields,
    make_directory,
    read_json,
    read_sealed,
    reading,
    remove_path,
    write_json,
    write_sealed,
)

# Folders that the general upload leaves out, and folders that are not fetched with a run.
_NOT_SENT = ("recovery", "snapshots", lease.FOLDER, "wandb")
NOT_FETCHED = (*_NOT_SENT, "tensorboard", "profile")

# The fields of a run's run.json that never change, with their types.
CONSTANT = {"id": str, "paper": str, "experiment": str, "scale": str, "settings": list}
# All fields that it must have.
REQUEST = {**CONSTANT, "members": list, "begun": list}


class PopulationDirectory:
    """Paths and small files of one population."""

    def __init__(self, path: Path):
        self.path = path
        self.run_file = path / "run.json"
        self.metrics_file = path / "metrics.jsonl"
        self.status_file = path / "status.json"
        self.analyses_file = path / "analyses.json"
        self._claim: lease.Claim | None = None  # held while the directory is locked, if it is in an object store

        self._status: tuple[Any, dict[str, Any]] | None = None  # the status last read, and the stamps of its files
        self._rows: tuple[str, dict[int, list[Row]]] | None = None  # the rows last read, and their digest

    def exists(self) -> bool:
        return self.run_file.exists()

    def run(self) -> dict[str, Any]:
        """Returns run.json; members of one condition share their `settings`.

        Raises:
          UserError: run.json has changed since the run was saved.
        """
        data: dict[str, Any] = read_json(self.run_file, {"layout": str, "members": list, "settings": dict})
        for member in data["members"]:
            check_fields(self.run_file, member, {"condition": str, "seed": int, "identity": str})
            member["settings"] = data["settings"].get(member["condition"])
            check_fields(self.run_file, member, {"settings": dict})
        if self.status()["run"] not in (None, self._run_digest()):
            raise UserError(f"{self.run_file} has changed since the run was saved; restore it from a copy")
        return data

    def wandb_id(self) -> str:
        """Returns the id of the population's W&B run. It is drawn at the beginning, so every new run has its own."""
        return str(self.run()["wandb_id"])

    def begin(self, about: dict[str, Any]) -> None:
        """Writes the population's run.json, which names its run, and lists the population in the run's own run.json."""
        file = self.path.parents[1] / "run.json"
        above = read_sealed(file, {**CONSTANT, "begun": list}) if file.exists() else None  # else: in no run
        write_json(self.run_file, {"of": above and {name: above[name] for name in CONSTANT}, **about})
        if above:
            write_sealed(file, above | {"begun": sorted({*above["begun"], self.path.name})})

    @functools.cached_property
    def owner(self) -> dict[str, Any]:
        """The facts by which every checkpoint here names its population."""
        return {"identities": self.identities(), "run": self._run_digest()}

    def _run_digest(self) -> str:
        return hashlib.sha256(self.run_file.read_bytes()).hexdigest()

    def status(self) -> dict[str, Any]:
        """Returns the saved status, or the status of a new run if nothing is saved.

        If the newest checkpoint and status.json differ, the checkpoint is right: it is written first.

        Raises:
          UserError: status.json is damaged.
        """
        stamp = [_stamp(self.status_file), _stamp(self.path / "recovery")]
        if self._status is None or self._status[0] != stamp:
            self._status = (stamp, self._read_status())
        return self._status[1]

    def _read_status(self) -> dict[str, Any]:
        kept: dict[str, Any] | None = None
        if self.status_file.exists():
            fields = {"step": int, "horizon": int, "finished": bool, "seconds": dict, "members": list, "drift": list,
                      "throughput": dict, "metrics": dict, "snapshots": dict, "recovery": dict, "run": str}  # fmt: skip
            kept = read_sealed(self.status_file, fields)
            for member in kept["members"]:
                check_fields(self.status_file, member, {"step": int, "state": str})
            for activity in kept["seconds"]:
                check_fields(self.status_file, kept["seconds"], {activity: (int, float)})
        status: dict[str, Any] = {
            "step": None, "horizon": 0, "finished": False, "members": [], "drift": [], "metrics": None, "snapshots": {},
            "recovery": {}, "run": None, "seconds": {}, "throughput": {}, **(kept or {}),
        }  # fmt: skip
        for step in reversed([] if objects.is_remote(self.path) else all_steps(self.path / "recovery")):
            path = self.path / "recovery" / str(step)
            with contextlib.suppress(Damaged):
                found = saved(path, read_manifest(path))
                if status["run"] in (None, found["run"]):
                    return status | found
            if step == status["step"]:
                break  # reading that checkpoint will report what is wrong with it
        return status

    def check_without_recovery(self) -> None:
        """Raises `UserError` if rows and snapshots could not be read without the recovery states."""
        status = self.status()
        alone = read_sealed(self.status_file) if self.status_file.exists() else {}
        if status["step"] is not None and any(
            alone.get(name) != status[name]
            for name in ("step", "horizon", "finished", "members", "metrics", "snapshots", "run")
        ):
            raise UserError(
                f"{self.status_file} is behind the states in {self.path / 'recovery'}; resume the run first"
            )
        there = published_steps(self.path / "snapshots")
        if lost := [step for step in status["snapshots"] if int(step) not in there]:
            raise UserError(f"{self.path / 'snapshots' / lost[0]} is missing; restore it from a copy")

    def write_status(self, status: dict[str, Any]) -> None:
        write_sealed(self.status_file, status)

    def remove_status(self) -> None:
        """Removes status.json, so that nothing counts as saved."""
        objects.remove(self.status_file)
        remove_path(self.status_file)

    def rows(self) -> dict[int, list[Row]]:
        """Returns the saved rows, by member.

        Raises:
          UserError: the rows are not those that were saved.
        """
        synced = self.status()["metrics"]
        if synced is None:
            return {}
        if self._rows is None or self._rows[0] != synced["sha256"]:
            check_rows(self.metrics_file, synced)
            found: dict[int, list[Row]] = {}
            for row in read_rows(self.metrics_file, synced["bytes"]):
                found.setdefault(row["member"], []).append(row)
            self._rows = (synced["sha256"], found)
        return self._rows[1]

    def analyses(self) -> dict[str, Any]:
        """Returns the results of analyses of the snapshots, by the analysis' digest, then by member.

        Raises:
          UserError: analyses.json is damaged, or belongs to another run.
        """
        if not self.analyses_file.exists():
            return {}
        data: dict[str, Any] = read_sealed(self.analyses_file, {"run": str})
        if data.pop("run") != self.owner["run"]:
            raise UserError(f"{self.analyses_file} belongs to another run; restore it from a copy, or remove it")
        return data

    def write_analyses(self, analyses: dict[str, Any]) -> None:
        write_sealed(self.analyses_file, {"run": self.owner["run"], **analyses})

    def identities(self) -> list[str]:
        return [member["identity"] for member in self.run()["members"]]

    def event(self, kind: str, **facts: Any) -> None:
        """Appends an event to events.jsonl. It ignores a failed write: a full disk must not end the run."""
        if not processes.is_first():
            return
        line = json.dumps({"time": round(time.time(), 3), "event": kind, **facts}) + "\n"
        with contextlib.suppress(OSError, UserError):
            file = links.open_in_place(self.path / "events.jsonl", os.O_WRONLY | os.O_APPEND)
            try:
                os.write(file, line.encode())
            finally:
                os.close(file)

    @contextlib.contextmanager
    def lock(self, tell: Callable[[str], None]) -> Iterator[None]:
        """Holds the directory's lock. On a disk, the operating system releases it however the holder dies.

        Args:
          tell: receives a message while this waits.

        Raises:
          UserError: another process trains here; the message names it.
        """
        if not processes.is_first():
            yield
        elif objects.is_remote(self.path):
            with lease.held(self.path, tell) as self._claim:
                # The earlier holder may have saved while this process waited.
                objects.fetch(self.path, leave=NOT_FETCHED)
                with objects.owned(self.path):
                    try:
                        yield
                    finally:
                        self.send_rest()
        else:
            with self._lock_file():
                yield

    def check_lock(self) -> None:
        """Raises `UserError` if another process has taken over. With a lock on a disk this cannot happen."""
        if self._claim:
            self._claim.check()

    def send_rest(self) -> None:
        """Uploads the remaining changed files (events, mirrors, profiles) to the store, and ignores a failure."""
        with contextlib.suppress(objects.StoreError):
            objects.send_changed(self.path, leave=("metrics.jsonl", *_NOT_SENT))

    @contextlib.contextmanager
    def _lock_file(self) -> Iterator[None]:
        make_directory(self.path)
        # Checked before anything is written; the metrics file is checked when it is opened.
        for name in ("lock", "events.jsonl"):
            os.close(links.open_in_place(self.path / name, os.O_WRONLY))
        # Who only looks whether it is held (`lease.holder`) has it for an instant.
        lock = filelock.FileLock(self.path / "lock", timeout=0.2)
        owner_file = self.path / "owner.json"
        try:
            lock.acquire()
        except filelock.Timeout:
            raise UserError(f"{self.path} is being trained by {_name(owner_file)}; wait for it or stop it") from None
        try:
            for unfinished in self.path.glob(".*.tmp"):
                remove_path(unfinished)
            if owner_file.exists():
                self.event("stale lock", of=_name(owner_file))
            write_json(owner_file, lease.this_process())
            yield
        finally:
            # Removed while the lock is held; a killed process leaves it behind.
            with contextlib.suppress(OSError):
                owner_file.unlink()
            lock.release()


@contextlib.contextmanager
def judging(run: Path) -> Iterator[None]:
    """Says in a run's directory that this process analyses and judges it; not where another one says so already."""
    lock = filelock.FileLock(run / "lock", timeout=0)
    if objects.is_remote(run) or not processes.is_first():
        yield
        return
    os.close(links.open_in_place(run / "lock", os.O_WRONLY))
    try:
        lock.acquire()
    except filelock.Timeout:
        yield
        return
    try:
        write_json(run / "owner.json", lease.this_process())
        yield
    finally:
        with contextlib.suppress(OSError):
            (run / "owner.json").unlink()
        lock.release()


def saved(path: Path, found: Manifest) -> dict[str, Any]:
    """Returns the status fields that a recovery checkpoint holds.

    Args:
      path: the directory of the step.
      found: its manifest.
    """
    with reading(path):
        status: dict[str, Any] = {**found.facts["status"]}
        return status | {name: found.facts[name] for name in ("metrics", "snapshots", "run")}


def _stamp(path: Path) -> tuple[int, int] | None:
    """Returns a stamp that changes when a file is replaced, or an entry of a folder is."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_ino, stat.st_mtime_ns


def _name(owner_file: Path) -> str:
    """Names the process that holds, or held, a directory."""
    try:
        return lease.name(read_json(owner_file))
    except (UserError, KeyError, TypeError):
        return "another process"
