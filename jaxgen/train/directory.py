"""A population's directory: what lies where, and who may write.

run.json        members, resolved settings by condition, layout, versions, commit, devices, flags; written once
metrics.jsonl   one row a member and measuring step: the truth
status.json     how far the run is on disk, and where its time went
events.jsonl    what happened when: starts, compilations, failures, damage
recovery/       whole states, the newest two: disposable once the run is over
snapshots/      parameters at declared steps: kept
analyses.json   what analyses of the snapshots gave
tensorboard/    a mirror of metrics.jsonl
lock            held by the process that trains; owner.json says which (in an object store: claims/, see claim.py)
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import filelock

from jaxgen import objects
from jaxgen.errors import UserError
from jaxgen.files import check_fields, make_directory, read_json, write_json
from jaxgen.train import claim, processes

# Folders that are sent to an object store in their own way or not at all, and those that are not fetched with a run.
_NOT_SENT = ("recovery", "snapshots", claim.FOLDER, "wandb")
NOT_FETCHED = (*_NOT_SENT, "tensorboard", "profile")


class PopulationDirectory:
    """Paths and small files of one population."""

    def __init__(self, path: Path):
        self.path = path
        self.run_file = path / "run.json"
        self.metrics_file = path / "metrics.jsonl"
        self.status_file = path / "status.json"
        self.analyses_file = path / "analyses.json"
        self._claim: claim.Claim | None = None  # of a directory that is locked and in a store

    def exists(self) -> bool:
        return self.run_file.exists()

    def run(self) -> dict[str, Any]:
        """Returns what was written when the population began; members of one condition share their `settings`."""
        data: dict[str, Any] = read_json(self.run_file, {"layout": str, "members": list})
        settings = data.get("settings", {})  # older ones hold them in each member
        for member in data["members"]:
            check_fields(self.run_file, member, {"condition": str, "seed": int, "identity": str})
            if "settings" not in member and isinstance(settings, dict):
                member["settings"] = settings.get(member["condition"])
            check_fields(self.run_file, member, {"settings": dict})
        return data

    def wandb_id(self) -> str:
        """Returns the id of its W&B run: drawn when it began, so that a run made afresh, or elsewhere, has its own."""
        return str(self.run().get("wandb_id", self.path.name))  # older ones were named like the population

    def status(self) -> dict[str, Any]:
        """Returns the last status; that of a run of which nothing is saved where there is none."""
        if not self.status_file.exists():
            return {"step": None, "horizon": 0, "finished": False, "seconds": {}, "members": [], "drift": [],
                    "throughput": {}}  # fmt: skip
        fields = {"step": int, "horizon": int, "finished": bool, "seconds": dict, "members": list, "drift": list}
        data: dict[str, Any] = {"throughput": {}} | read_json(self.status_file, fields)  # older ones have none
        for member in data["members"]:
            check_fields(self.status_file, member, {"step": int, "state": str})
        return data

    def identities(self) -> list[str]:
        return [member["identity"] for member in self.run()["members"]]

    def event(self, kind: str, **facts: Any) -> None:
        """Notes what happened, if it can: a full disk must not end the run that tells of it."""
        if not processes.is_first():
            return
        line = json.dumps({"time": round(time.time(), 3), "event": kind, **facts}) + "\n"
        with contextlib.suppress(OSError):
            file = os.open(self.path / "events.jsonl", os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o644)
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
            with claim.held(self.path, tell) as self._claim:
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
        lock = filelock.FileLock(self.path / "lock", timeout=0)
        owner_file = self.path / "owner.json"
        try:
            lock.acquire()
        except filelock.Timeout:
            raise UserError(f"{self.path} is being trained by {_name(owner_file)}; wait for it or stop it") from None
        try:
            for unfinished in self.path.glob(".*.tmp"):
                unfinished.unlink()
            if owner_file.exists():
                self.event("stale lock", of=_name(owner_file))
            write_json(owner_file, claim.this_process())
            yield
        finally:
            # Removed while the lock is held; a process that is killed leaves it behind.
            with contextlib.suppress(OSError):
                owner_file.unlink()
            lock.release()


def _name(owner_file: Path) -> str:
    """Returns who holds, or held, a directory."""
    try:
        return claim.name(read_json(owner_file))
    except (UserError, KeyError, TypeError):
        return "another process"
