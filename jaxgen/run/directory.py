"""A population's directory: what lies where, and who may write.

run.json        members, resolved settings by condition, layout, versions, commit, devices, flags; written once
metrics.jsonl   one row a member and measuring step: the truth
status.json     how far the run is on disk, and where its time went
events.jsonl    what happened when: starts, compilations, failures, damage
recovery/       whole states, the newest two: disposable once the run is over
snapshots/      parameters at declared steps: kept
analyses.json   what analyses of the snapshots gave
tensorboard/    a mirror of metrics.jsonl

What is read is checked by whoever reads it: small files hold their own digest, checkpoints the one of run.json, and
status.json and the newest checkpoint both say how far the rows go, which bytes they are and what snapshots there are.

lock            held by the process that trains; owner.json says which (in an object store: claims/, see lease.py)
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
from jaxgen.run.manifest import Damaged, Manifest, all_steps, read_manifest
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

# Folders that are sent to an object store in their own way or not at all, and those that are not fetched with a run.
_NOT_SENT = ("recovery", "snapshots", lease.FOLDER, "wandb")
NOT_FETCHED = (*_NOT_SENT, "tensorboard", "profile")

# What never changes in the run.json of a run, and which kind each is.
CONSTANT = {"id": str, "paper": str, "experiment": str, "scale": str, "settings": list}


class PopulationDirectory:
    """Paths and small files of one population."""

    def __init__(self, path: Path):
        self.path = path
        self.run_file = path / "run.json"
        self.metrics_file = path / "metrics.jsonl"
        self.status_file = path / "status.json"
        self.analyses_file = path / "analyses.json"
        self._claim: lease.Claim | None = None  # of a directory that is locked and in a store

        self._status: tuple[Any, dict[str, Any]] | None = None  # the last one read, and of which files
        self._rows: tuple[str, dict[int, list[Row]]] | None = None  # the last ones read, and their digest

    def exists(self) -> bool:
        return self.run_file.exists()

    def run(self) -> dict[str, Any]:
        """Returns run.json; members of one condition share their `settings`.

        Raises:
          UserError: it is not the one that was there when the run was saved.
        """
        data: dict[str, Any] = read_json(self.run_file, {"layout": str, "members": list, "settings": dict})
        for member in data["members"]:
            check_fields(self.run_file, member, {"condition": str, "seed": int, "identity": str})
            member["settings"] = data["settings"].get(member["condition"])
            check_fields(self.run_file, member, {"settings": dict})
        if self.status()["run"] not in (None, self._run_digest()):
            raise UserError(f"{self.run_file} has other contents than when the run was saved; restore it from a copy")
        return data

    def wandb_id(self) -> str:
        """Returns the id of its W&B run: drawn when it began, so that a run made afresh, or elsewhere, has its own."""
        return str(self.run()["wandb_id"])

    def begin(self, about: dict[str, Any]) -> None:
        """Writes run.json, which tells to which run the population belongs; the run's own then tells of it."""
        file = self.path.parents[1] / "run.json"
        above = read_sealed(file, {**CONSTANT, "begun": list}) if file.exists() else None  # else it is in no run
        write_json(self.run_file, {"of": above and {name: above[name] for name in CONSTANT}, **about})
        if above:
            write_sealed(file, above | {"begun": sorted({*above["begun"], self.path.name})})

    @functools.cached_property
    def owner(self) -> dict[str, Any]:
        """What every checkpoint here says of whose it is."""
        return {"identities": self.identities(), "run": self._run_digest()}

    def _run_digest(self) -> str:
        return hashlib.sha256(self.run_file.read_bytes()).hexdigest()

    def status(self) -> dict[str, Any]:
        """Returns how far it is saved; that of a run of which nothing is saved where nothing is.

        Where the newest checkpoint and status.json differ, the checkpoint is right: it is written first.

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
                break  # whoever reads that checkpoint tells what is wrong with it
        return status

    def write_status(self, status: dict[str, Any]) -> None:
        write_sealed(self.status_file, status)

    def remove_status(self) -> None:
        """Has nothing be known as saved."""
        objects.remove(self.status_file)
        remove_path(self.status_file)

    def rows(self) -> dict[int, list[Row]]:
        """Returns the rows that are saved, by member.

        Raises:
          UserError: they are not those that were.
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
        """Returns what analyses of the snapshots gave, by the analysis' digest, then by member.

        Raises:
          UserError: it is damaged, or of another run.
        """
        if not self.analyses_file.exists():
            return {}
        data: dict[str, Any] = read_sealed(self.analyses_file, {"run": str})
        if data.pop("run") != self.owner["run"]:
            raise UserError(f"{self.analyses_file} is of another run; restore it from a copy, or remove it")
        return data

    def write_analyses(self, analyses: dict[str, Any]) -> None:
        write_sealed(self.analyses_file, {"run": self.owner["run"], **analyses})

    def identities(self) -> list[str]:
        return [member["identity"] for member in self.run()["members"]]

    def event(self, kind: str, **facts: Any) -> None:
        """Notes what happened, if it can: a full disk must not end the run that tells of it."""
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
        """Holds the directory; on a disk, the system lets go when the holder dies, however it does.

        Args:
          tell: is told of waiting.

        Raises:
          UserError: another process trains here; it is named.
        """
        if not processes.is_first():
            yield
        elif objects.is_remote(self.path):
            with lease.held(self.path, tell) as self._claim:
                # Who was waited for may have saved meanwhile.
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
        """Raises `UserError` where another process trains here by now, which a lock on a disk rules out."""
        if self._claim:
            self._claim.check()

    def send_rest(self) -> None:
        """Sends what else has changed, if it can: events, and what mirrors and profiles are made of."""
        with contextlib.suppress(objects.StoreError):
            objects.send_changed(self.path, leave=("metrics.jsonl", *_NOT_SENT))

    @contextlib.contextmanager
    def _lock_file(self) -> Iterator[None]:
        make_directory(self.path)
        # Before anything is written; the metrics are looked at where they are opened.
        for name in ("lock", "events.jsonl"):
            os.close(links.open_in_place(self.path / name, os.O_WRONLY))
        lock = filelock.FileLock(self.path / "lock", timeout=0)
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
            # Removed while the lock is held; a process that is killed leaves it behind.
            with contextlib.suppress(OSError):
                owner_file.unlink()
            lock.release()


def saved(path: Path, found: Manifest) -> dict[str, Any]:
    """Returns what the status says of a recovery checkpoint.

    Args:
      path: the directory of the step.
      found: its manifest.
    """
    with reading(path):
        status: dict[str, Any] = {**found.facts["status"]}
        return status | {name: found.facts[name] for name in ("metrics", "snapshots", "run")}


def _stamp(path: Path) -> tuple[int, int] | None:
    """Returns what changes where a file is replaced, or the names in a folder are."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_ino, stat.st_mtime_ns


def _name(owner_file: Path) -> str:
    """Returns who holds, or held, a directory."""
    try:
        return lease.name(read_json(owner_file))
    except (UserError, KeyError, TypeError):
        return "another process"
