"""Processes on this machine: started together in the background, and again after they were stopped or lost.

A supervisor (`jaxgen supervise RUN`) starts them, as a scheduler would, and holds a lock while it lives. The processes
find each other by JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and JAX_PROCESS_ID, which it sets.
"""

from __future__ import annotations

import ctypes
import datetime
import os
import platform
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType

import filelock

from jaxgen.errors import UserError, shown
from jaxgen.launch.job import CANCELLED, MEANINGS, STARTED_AGAIN, BackEnd, Job, State, read_job
from jaxgen.launch.spec import JobSpec, refuse
from jaxgen.storage import links

# How long a supervisor may take to start.
STARTS_WITHIN = 20.0


class Local(BackEnd):
    """This machine."""

    name = "local"
    file_name = "submit.sh"

    def render(self, spec: JobSpec) -> str:
        only = "the processes run on this machine, in its environment"
        refuse(spec, self.name, image=only, volumes=only, cpus=only, memory=only, minutes=only, queue=only,
               account=only, namespace=only, selectors=only, options=only)  # fmt: skip
        if spec.devices.accelerator() == "tpu" or (spec.devices.accelerator() == "gpu" and spec.devices.nodes > 1):
            raise UserError("--to local: --devices must be on this one machine: cpu:2 for two processes, or gpu:4")
        lines = [
            f"# {spec.title}: jaxgen starts these {spec.processes()} together, and again at most {spec.restarts} times"
        ]
        lines += [f"cd {shlex.quote(spec.directory)}"]
        for secret in spec.secrets:
            lines.append(f'export {secret.name}="$(cat -- {shlex.quote(secret.source)})"')
        for index in range(spec.processes()):
            variables = [
                f"{name}={shlex.quote(value)}" for name, value in process_variables(spec, index, "PORT").items()
            ]
            lines.append(" ".join([*variables, shlex.join(spec.command), "&"]))
        return "\n".join([*lines, "wait", ""])

    def submit(self, artefact: Path, spec: JobSpec) -> str:
        run = artefact.parent.parent
        command = [sys.executable, "-P", "-m", "jaxgen", "supervise", str(run)]
        with os.fdopen(links.open_in_place(artefact.parent / "log", os.O_WRONLY | os.O_APPEND), "ab") as log:
            started = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, cwd=artefact.parent
            )
        started.returncode = 0  # detached: this process does not wait for it
        return str(started.pid)

    def state(self, job: Job) -> State:
        if job.host != platform.node():
            raise UserError(
                f"its job was started on {job.host}, and this is {platform.node()}; give the command there, or resume "
                f"it here with: jaxgen resume {shlex.quote(str(job.directory.parent))}"
            )
        lock = filelock.FileLock(job.directory / "lock", timeout=0)
        try:
            lock.acquire()
        except filelock.Timeout:
            return State("running", f"process {job.number}")
        lock.release()
        last = job.last_start()
        young = time.time() - datetime.datetime.fromisoformat(job.submitted).timestamp() < STARTS_WITHIN
        return State("queued", "starting") if last.word == "gone" and young else last

    def cancel(self, job: Job) -> None:
        if self.state(job).word != "running":
            return
        process = int(job.number) if re.fullmatch(r"[1-9]\d{0,9}", job.number) else 0
        if process < 2 or not _supervises(process, job.directory.parent):
            raise UserError(
                f"{job.directory / 'job.json'} is damaged: process {shown(job.number)} does not run this job, so it is "
                "left alone; find the right process with: ps -ef"
            )
        os.kill(process, signal.SIGTERM)


def _supervises(process: int, run: Path) -> bool:
    """Returns whether a process is the supervisor of the run at a path."""
    if Path("/proc/self/cmdline").exists():
        try:
            words = Path(f"/proc/{process}/cmdline").read_bytes().decode(errors="replace").split("\0")
        except OSError:
            return False  # it has ended
        return "supervise" in words[:-1] and Path(words[words.index("supervise") + 1]).resolve() == run.resolve()
    asked = subprocess.run(["ps", "-o", "command=", "-p", str(process)], capture_output=True, text=True)
    return asked.stdout.strip().endswith(f" supervise {run.resolve()}")


def process_variables(spec: JobSpec, index: int, port: int | str) -> dict[str, str]:
    """Returns the environment variables that give a process its index."""
    variables = {each.name: each.value for each in spec.variables}
    if spec.processes() > 1:
        variables |= {
            "JAX_COORDINATOR_ADDRESS": f"127.0.0.1:{port}",
            "JAX_NUM_PROCESSES": str(spec.processes()),
            "JAX_PROCESS_ID": str(index),
        }
        if spec.processes_of_each > 1:
            variables["CUDA_VISIBLE_DEVICES"] = str(index)
    return variables


class Supervisor:
    """Starts a job's processes, again if needed, until the job is done or asked to end."""

    def __init__(self, job: Job):
        self.job = job
        self.stopping = False

    def run(self) -> int:
        """Returns the exit code of the last start."""
        signal.signal(signal.SIGTERM, self._stop)
        signal.signal(signal.SIGINT, self._stop)
        spec = self.job.spec
        environment = os.environ | {each.name: _read_secret(each.source) for each in spec.secrets}
        with filelock.FileLock(self.job.directory / "lock", timeout=STARTS_WITHIN):
            for number in range(spec.restarts + 1):
                code = self._start(environment)
                now = datetime.datetime.now().astimezone().isoformat("T", "seconds")
                ended = links.open_in_place(self.job.directory / "starts", os.O_WRONLY | os.O_APPEND)
                cancelled = self.stopping and code in STARTED_AGAIN
                with os.fdopen(ended, "a", encoding="utf-8") as starts:
                    starts.write(f"{number} {code} {now}{CANCELLED if cancelled else ''}\n")
                again = code in STARTED_AGAIN and not cancelled
                _say(f"start {number} ended with {code}: {MEANINGS.get(code, 'failed')}")
                if not again:
                    return code
            _say(f"it was started again {spec.restarts} times, the limit; the same jaxgen submit resumes it")
            return code

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self.stopping = True

    def _start(self, environment: Mapping[str, str]) -> int:
        spec = self.job.spec
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        started = [
            subprocess.Popen(
                spec.command,
                env={**environment, **process_variables(spec, index, port)},
                stdin=subprocess.DEVNULL,
                preexec_fn=_stop_with_parent if sys.platform == "linux" else None,
            )
            for index in range(spec.processes())
        ]
        try:
            return self._wait(started)
        finally:
            for each in started:
                each.kill()
                each.wait()

    def _wait(self, started: Sequence[subprocess.Popen[bytes]]) -> int:
        """Returns 0 if all processes succeed. Otherwise ends them all, and returns the exit code of the first that
        failed."""
        ends_at = float("inf")
        first = 0
        while None in (codes := [each.poll() for each in started]) and time.monotonic() < ends_at:
            failed = next((code for code in codes if code), 0)
            if (failed or self.stopping) and ends_at == float("inf"):
                first, ends_at = failed, time.monotonic() + self.job.spec.grace
                for each in started:
                    each.terminate()
            time.sleep(0.1)
        killed = -signal.SIGKILL if None in codes else 0  # a process ignored SIGTERM and is killed
        code = first or next((code for code in codes if code), killed)
        # As in a shell: 128 plus the signal's number.
        return code if code >= 0 else 128 - code


_LIBC = ctypes.CDLL(None)
_PR_SET_PDEATHSIG = 1


def _stop_with_parent() -> None:
    """Makes Linux send this process a stop signal when its parent ends. A killed parent cannot do that itself."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def supervise(run: Path) -> int:
    """Runs the job of a run here, and returns its exit code.

    Raises:
      UserError: this process was not started by `submit`.
    """
    # The submitting process records the job after it has started this process.
    until = time.monotonic() + STARTS_WITHIN
    while (job := read_job(run)) is None or job.number != str(os.getpid()):
        if time.monotonic() > until:
            raise UserError(f"{run}: this process has no job there; start one with `jaxgen submit ID --to local`")
        time.sleep(0.05)
    return Supervisor(job).run()


def _read_secret(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except OSError as error:
        raise UserError(f"--secret: {error.strerror}: {path}") from None


def _say(text: str) -> None:
    print(f"jaxgen: {text}", flush=True)
