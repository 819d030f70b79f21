"""One run in several processes: they find each other, agree on decisions, and end together when one is lost.

All processes run the same program. Before a decision that depends on clocks, files or signals, they agree on it. Only
the first process (index 0) writes. The others read, so the runs must lie on a file system that all processes share.
With one process nothing here communicates.

Every wait has a limit. Each process sends a heartbeat once a second. If a process is silent for `SILENCE_SECONDS`, or
announces that it leaves, all others end with a line that names it.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import sys
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, NoReturn, TypeVar

from jaxgen.errors import UserError, shown

Json = Any
T = TypeVar("T")

# The exit code of a process that was asked to stop (EX_TEMPFAIL): the same command resumes the run.
STOPPED = 75
# The exit code of a process that ends because another one is lost (EX_UNAVAILABLE).
LOST = 69
# A killed process is noticed at once if another one waits for its message, otherwise by its silence. On an # overloaded
# machine a process that compiled for minutes was silent for 20 s although it was alive.
SILENCE_SECONDS = 60.0
# How long a process waits for the work of another: rows and checkpoints on a slow file system, or analyses.
PATIENCE_SECONDS = 3600.0
# How long a leaving process waits until the others have read its reason.
GOODBYE_SECONDS = 5.0


@dataclasses.dataclass(frozen=True)
class Place:
    """The position of a process among all processes of the run."""

    coordinator: str | None = None  # HOST:PORT; None: jax finds it
    count: int | None = None  # None: jax finds it
    index: int | None = None
    devices: list[int] | None = None  # local device indices; None: jax's default
    # The environment variable from which jax detects the rest.
    said_by: str = dataclasses.field(default="", compare=False)


def resolve(
    coordinator: str | None, count: int | None, index: int | None, variables: Mapping[str, str]
) -> Place | None:
    """Returns the place of this process, or None if it is the only one.

    Arguments take precedence, then $JAX_COORDINATOR_ADDRESS, $JAX_NUM_PROCESSES and $JAX_PROCESS_ID (Kubeflow sets
    them), then the variables of SkyPilot, SLURM (inside `srun`), Kubernetes (an indexed Job) and TPU pods.

    Args:
      coordinator: HOST:PORT of the first process.
      count: the number of processes.
      index: the index of this process, from 0.
      variables: the environment variables.

    Raises:
      UserError: a part is missing, or contradicts the others.
    """
    given = {"--coordinator": coordinator, "--processes": count, "--process": index}
    if any(value is not None for value in given.values()):
        return _complete(given)
    names = ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID")
    if any(variables.get(name) for name in names):
        address, *numbers = (variables.get(name) or None for name in names)
        return _complete(dict(zip(names, (address, *map(_number, names[1:], numbers)), strict=True)))
    if nodes := variables.get("SKYPILOT_NODE_IPS", "").split():
        rank = _number("SKYPILOT_NODE_RANK", variables.get("SKYPILOT_NODE_RANK"))
        return _complete({"address": f"{nodes[0]}:55527", "count": len(nodes), "SKYPILOT_NODE_RANK": rank})
    if "SLURM_STEP_NODELIST" in variables:
        tasks = _number("SLURM_NTASKS", variables.get("SLURM_STEP_NUM_TASKS") or variables.get("SLURM_NTASKS"))
        # Under SLURM jax gives each process one GPU, even if there is only one process on the node.
        alone = variables.get("SLURM_STEP_TASKS_PER_NODE", "").partition("(")[0] == "1"
        visible = [each for each in variables.get("CUDA_VISIBLE_DEVICES", "").split(",") if each]
        devices = list(range(len(visible))) if alone and visible and "JAX_LOCAL_DEVICE_IDS" not in variables else None
        return Place(devices=devices, said_by="SLURM_STEP_NODELIST") if tasks and tasks > 1 else None
    if "KUBERNETES_SERVICE_HOST" in variables and "JOB_COMPLETION_INDEX" in variables:
        return Place(said_by="JOB_COMPLETION_INDEX")
    for name in ("TPU_WORKER_HOSTNAMES", "TPU_PROCESS_ADDRESSES"):
        if "," in variables.get(name, ""):
            return Place(said_by=name)
    slices = _number("MEGASCALE_NUM_SLICES", variables.get("MEGASCALE_NUM_SLICES") or None)
    return Place(said_by="MEGASCALE_NUM_SLICES") if (slices or 1) > 1 else None


def _number(name: str, text: str | None) -> int | None:
    if text is None or re.fullmatch(r"\d{1,6}", text):
        return None if text is None else int(text)
    raise UserError(f"{name}: got {shown(text)}, expected a number of at most six digits")


def _complete(parts: Mapping[str, Any]) -> Place | None:
    missing = [name for name, value in parts.items() if value is None]
    if missing:
        raise UserError(f"processes: {', '.join(missing)} missing; {', '.join(parts)} belong together")
    (address_name, address), (count_name, count), (index_name, index) = parts.items()
    match = re.fullmatch(r"[!-~]+:(\d{1,5})", address)
    if match is None or int(match[1]) > 65535:
        raise UserError(f"{address_name}: got {shown(address)}, expected HOST:PORT of the first process")
    if not 0 <= index < count:
        raise UserError(f"{index_name}: got {index} of {count_name} {count}, expected 0 to {count - 1}")
    return Place(address, count, index) if count > 1 else None


class _Alone:
    """The only process."""

    count = 1
    index = 0

    def told(self, make: Callable[[], T]) -> T:
        return make()

    def gathered(self, value: Json) -> list[Json]:
        return [value]

    def leave(self, text: str, code: int) -> None: ...

    def close(self) -> None: ...


class _Group:
    """This process among several, connected through jax's coordination service."""

    def __init__(self, client: Any, count: int, index: int):
        self.count, self.index = count, index
        self._client = client
        self._round = 0
        self._closed = threading.Event()
        self._leaving = threading.Lock()
        self._watcher = threading.Thread(target=self._watch, name="processes", daemon=True)
        self._watcher.start()

    def told(self, make: Callable[[], T]) -> T:
        key = f"jaxgen/told/{self._next()}"
        if self.index == 0:
            value = make()
            self._client.key_value_set(key, json.dumps(value))
            return value
        told: T = json.loads(self._client.blocking_key_value_get(key, int(1000 * PATIENCE_SECONDS)))
        return told

    def gathered(self, value: Json) -> list[Json]:
        number = self._next()
        place = f"jaxgen/gathered/{number}"
        self._client.key_value_set(f"{place}/{self.index}", json.dumps(value))
        self._client.wait_at_barrier(f"{place}/all", int(1000 * PATIENCE_SECONDS))
        found = {int(key.rpartition("/")[2]): json.loads(text) for key, text in self._client.key_value_dir_get(place)}
        if self.index == 0:
            # All processes have read a round once all have reached the next one.
            self._client.key_value_delete(f"jaxgen/gathered/{number - 2}")
        return [found[index] for index in range(self.count)]

    def _next(self) -> int:
        self._round += 1
        return self._round

    def leave(self, text: str, code: int) -> None:
        """Announces why this process ends. The first process hosts the coordination service, so it waits for the
        others."""
        if not self._leaving.acquire(blocking=False):
            time.sleep(GOODBYE_SECONDS)  # another thread is already ending the process
            return
        self._closed.set()
        try:
            self._client.key_value_set(f"jaxgen/left/{self.index}", json.dumps([text, code]))
            until = time.monotonic() + GOODBYE_SECONDS
            while self.index == 0 and time.monotonic() < until and len(self._left()) < self.count:
                time.sleep(0.05)
        except RuntimeError:
            pass  # the first process is gone, so no process can receive the message

    def _left(self) -> dict[int, tuple[str, int]]:
        entries = self._client.key_value_dir_get("jaxgen/left/")
        return {int(key.rpartition("/")[2]): tuple(json.loads(text)) for key, text in entries}

    def _watch(self) -> None:
        beats: dict[str, str] = {}
        heard = {index: time.monotonic() for index in range(self.count)}
        beat = 0
        while not self._closed.wait(1.0):
            beat += 1
            try:
                self._client.key_value_set(f"jaxgen/beat/{self.index}", str(beat), allow_overwrite=True)
                found = dict(self._client.key_value_dir_get("jaxgen/beat/"))
                left = self._left()
            except RuntimeError:
                self._end("process 0, the coordinator, is gone", LOST)
            for key, number in found.items():
                if beats.get(key) != number:
                    heard[int(key.rpartition("/")[2])] = time.monotonic()
            beats = found
            for index, (text, code) in left.items():
                self._end(f"process {index} of {self.count} ended: {text}", code)
            silent = [str(i) for i, at in heard.items() if time.monotonic() - at > SILENCE_SECONDS]
            if silent:
                self._end(f"process {', '.join(silent)} sent no heartbeat for {SILENCE_SECONDS:.0f} s", LOST)

    def _end(self, text: str, code: int) -> NoReturn:
        if not self._closed.is_set():
            _say(f"process {self.index} ends: {text}; the checkpoints are kept, start all processes again")
            self.leave(text, code)
        os._exit(code)

    def close(self) -> None:
        self._client.wait_at_barrier("jaxgen/end", int(1000 * PATIENCE_SECONDS))
        self._closed.set()
        self._watcher.join()


_processes: _Alone | _Group = _Alone()


def initialize(place: Place | None, connect_within: int) -> None:
    """Connects this process with the others. Call it before jax initialises its devices.

    If not all processes connect within `connect_within` seconds, jax ends this one (exit code 134).

    Raises:
      UserError: the number of processes is not the expected one.
    """
    global _processes
    if place is None:
        return
    import jax
    from jax._src import distributed  # jax has no public API for its key-value store

    # jaxgen.cli.signals handles SIGTERM; jax's preemption service would take it over.
    jax.config.update("jax_enable_preemption_service", False)
    # On CPUs two programs that run at the same time would mix up their messages.
    jax.config.update("jax_cpu_enable_async_dispatch", False)
    if place.count is not None:
        _say(f"process {place.index} of {place.count} connects to {place.coordinator}, for at most {connect_within} s")
    try:
        jax.distributed.initialize(
            place.coordinator, place.count, place.index, local_device_ids=place.devices,
            initialization_timeout=connect_within, heartbeat_timeout_seconds=int(2 * SILENCE_SECONDS),
        )  # fmt: skip
    except ValueError as error:
        raise UserError(
            f"processes: {place.said_by or 'the command line'} asks for several processes, but jax cannot connect: "
            f"{str(error).splitlines()[0]}; give --coordinator, --processes and --process, or unset it"
        ) from None
    _processes = _Group(distributed.global_state.client, jax.process_count(), jax.process_index())
    if place.count not in (None, jax.process_count()):
        raise UserError(f"processes: {place.count} were expected, but jax finds {jax.process_count()}")


def count() -> int:
    """Returns the number of processes."""
    return _processes.count


def index() -> int:
    """Returns the index of this process, from 0."""
    return _processes.index


def is_first() -> bool:
    """Returns whether this is the first process, which alone writes."""
    return _processes.index == 0


def told(make: Callable[[], T]) -> T:
    """Broadcasts the result of `make` from the first process; the others do not call it. The result must be JSON."""
    return _processes.told(make)


def gathered(value: Json) -> list[Json]:
    """Gathers the values of all processes, ordered by index. It is a collective: each process waits for all."""
    return _processes.gathered(value)


def leave(text: str, code: int) -> None:
    """Tells the other processes that this one is about to end, and why. They end with the same code."""
    _processes.leave(text, code)


def end(text: str, code: int) -> NoReturn:
    """Ends this process and all others with an exit code."""
    if count() == 1:
        sys.exit(code)
    sys.stdout.flush()
    leave(text, code)
    os._exit(code)  # a normal exit would wait in jax for the others


def fail(error: Exception) -> NoReturn:
    """Ends this process and all others because of an unexpected error."""
    import traceback

    import jax

    text = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
    if isinstance(error, jax.errors.JaxRuntimeError):
        # Most likely another process is lost. The watcher finds out which, and ends this one before this sleep is over.
        _say(f"process {index()}: {text}")
        time.sleep(SILENCE_SECONDS + GOODBYE_SECONDS)
    traceback.print_exception(error)
    end(text, LOST)


def close() -> None:
    """Waits until all processes have finished, and disconnects."""
    global _processes
    if _processes.count > 1:
        _processes.close()
        _processes = _Alone()
        import jax

        jax.distributed.shutdown()


def _say(text: str) -> None:
    print(f"jaxgen: {text}", file=sys.stderr, flush=True)
