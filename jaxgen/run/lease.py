"""The lease of a population in an object store: it says which process trains the population.

    <population>/claims/<number>.json    the holder; the highest number counts, unless it is released

A process creates a claim only if no claim has its number; then only this holder writes it, every `BEAT_SECONDS`. No two
clocks are compared: the next process watches for `SILENCE_SECONDS` whether the claim still changes. A holder that was
silent for longer but is alive checks for a later claim before it saves, and ends if there is one. If it still uploads
something, nothing is lost: a checkpoint consists of the files that its manifest names, and a checkpoint whose rows do
not match is skipped for the one before.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import fcntl
import json
import os
import platform
import subprocess
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from jaxgen.errors import UserError
from jaxgen.storage import objects
from jaxgen.storage.files import read_json

FOLDER = "claims"
BEAT_SECONDS = 15.0
SILENCE_SECONDS = 60.0


@contextlib.contextmanager
def held(population: Path, tell: Callable[[str], None]) -> Iterator[Claim]:
    """Holds the lease of a population's directory in a store.

    Args:
      population: the directory.
      tell: receives a message while this waits.

    Raises:
      UserError: another process trains there; the message names it.
    """
    claim = _take(population / FOLDER, tell)
    stop = threading.Event()
    beats = threading.Thread(target=_beat, args=(claim, stop), name="claim", daemon=True)
    beats.start()
    try:
        yield claim
    finally:
        stop.set()
        beats.join()
        with contextlib.suppress(objects.StoreError):
            claim.write(released=True)


@dataclasses.dataclass(frozen=True)
class Claim:
    """The lease that one process holds on a population."""

    path: Path
    facts: dict[str, Any]

    def data(self, **facts: Any) -> bytes:
        return json.dumps({**self.facts, **facts}).encode()

    def write(self, **facts: Any) -> None:
        objects.put(self.path, self.data(**facts))

    def check(self) -> None:
        """Raises `UserError` if another process has taken over the lease."""
        if (last := _last(self.path.parent)) is not None and last.name > self.path.name:
            next_one = _read(last)
            raise UserError(
                f"{self.path.parents[1]} is trained by {name(next_one) if next_one else 'another process'}, "
                "because this process was silent for too long; this process ends"
            )


def _take(folder: Path, tell: Callable[[str], None]) -> Claim:
    facts = {**this_process(), "id": uuid.uuid4().hex, "where": _where(), "beat": 0, "released": False}
    while True:
        last = _last(folder)
        if last is not None:
            _wait_for(last, tell)
        number = int(last.stem) + 1 if last else 1
        claim = Claim(folder / f"{number:06}.json", facts)
        if objects.create(claim.path, claim.data()):
            break
    for file in objects.names(folder):
        if file < claim.path.name:
            objects.remove(folder / file)
    return claim


def _last(folder: Path) -> Path | None:
    found = [file for file in objects.names(folder) if file.removesuffix(".json").isdecimal()]
    return folder / found[-1] if found else None


def _wait_for(path: Path, tell: Callable[[str], None]) -> None:
    """Waits until a claim is released or its holder is gone.

    Raises:
      UserError: the holder is alive.
    """
    first = _read(path)
    if first is None or first["released"] or _gone(first):
        return
    tell(f"waits at most {SILENCE_SECONDS:.0f} s for a sign of {name(first)}, which trained {path.parents[1]}")
    until = time.monotonic() + SILENCE_SECONDS
    while time.monotonic() < until:
        time.sleep(BEAT_SECONDS / 10)
        now = _read(path)
        if now is None or now["released"]:
            return
        if now != first:
            raise UserError(f"{path.parents[1]} is being trained by {name(now)}; wait for it or stop it")


def _read(path: Path) -> dict[str, Any] | None:
    """Returns a claim, or None if the next holder has removed it."""
    objects.fetch(path.parent, [path.name])
    if not path.exists():
        return None
    kinds = {"host": str, "pid": int, "since": str, "id": str, "where": str, "beat": int, "released": bool}
    data: dict[str, Any] = read_json(path, kinds)
    return data


def holder(folder: Path) -> dict[str, Any] | None:
    """Returns the facts of the process that holds the lock or the lease of a folder now; None if no process does.

    The facts are empty if the holder has not said who it is. In a store a holder that was killed elsewhere counts until
    the next process has waited for it in vain.

    Args:
      folder: the directory of a population or a run.
    """
    if objects.is_remote(folder):
        last = _last(folder / FOLDER)
        claim = last and _read(last)
        return claim if claim and not claim["released"] and not _gone(claim) else None
    try:
        lock = os.open(folder / "lock", os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        with contextlib.suppress(UserError):
            facts: dict[str, Any] = read_json(folder / "owner.json", {"host": str, "pid": int, "since": str})
            return facts
        return {}
    finally:
        os.close(lock)
    return None


def process_here(folder: Path, facts: Mapping[str, Any]) -> int | None:
    """Returns the number of the process that holds a folder, if it is shown to be a process of this machine.

    Args:
      folder: the folder.
      facts: what `holder` returned.
    """
    process = facts.get("pid", 0)
    if process < 2 or process == os.getpid() or facts.get("host") != platform.node():
        return None
    if objects.is_remote(folder):
        command = Path(f"/proc/{process}/cmdline")
        same = facts["where"] == _where() != "" and command.exists() and b"jaxgen" in command.read_bytes()
        return process if same else None
    with contextlib.suppress(OSError):
        lock = (folder / "lock").stat()
        if Path("/proc/self/fd").is_dir():
            held = any(os.path.samestat(each.stat(), lock) for each in _open_files(process))
            return process if held else None
        asked = subprocess.run(["ps", "-o", "command=", "-p", str(process)], capture_output=True, text=True)
        return process if "jaxgen" in asked.stdout else None
    return None


def _open_files(process: int) -> Iterator[Path]:
    """Yields what leads to the open files of a process, as far as they may be looked at."""
    for each in Path(f"/proc/{process}/fd").iterdir():
        with contextlib.suppress(OSError):
            each.stat()
            yield each


def this_process() -> dict[str, Any]:
    """Returns the facts of this process that `name` shows."""
    since = datetime.datetime.now().astimezone().isoformat(" ", "seconds")
    return {"pid": os.getpid(), "host": platform.node(), "since": since}


def name(facts: Mapping[str, Any]) -> str:
    """Describes, for a message, the process that holds or held a population."""
    return f"process {facts['pid']} on {facts['host']} since {facts['since']}"


def _where() -> str:
    """Boot ID and PID namespace: if equal, another process's PID can be checked here. Empty if unknown."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def _gone(claim: dict[str, Any]) -> bool:
    """Returns whether the holder was a process on this machine and has ended."""
    if not _where() or claim["where"] != _where():
        return False
    try:
        os.kill(claim["pid"], 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return bool(claim["pid"] == os.getpid())


def _beat(claim: Claim, stop: threading.Event) -> None:
    beat = 0
    while not stop.wait(BEAT_SECONDS):
        beat += 1
        # If the store cannot be reached, the next beat tries again; the next save checks whether the lease was lost.
        with contextlib.suppress(objects.StoreError):
            claim.write(beat=beat)
