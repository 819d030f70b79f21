"""A submitted job, as its run's directory records it, and the interface of every back end.

    <run>/job/
        job.json      the back end, the job's number or name there, when and where it was submitted, and its spec
        submit.sh     (or .yaml) what was submitted, to be read and submitted by hand
        log           the output of the processes, appended by every start (not on Kubernetes)
        starts        one line for each start that ended: its number, exit code and time, and `cancelled` if it ended
                  because it was asked to (not on Kubernetes)

The submitting machine keeps nothing else: these files are enough to find the job again.
"""

from __future__ import annotations

import abc
import dataclasses
import datetime
import platform
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from jaxgen.config import from_json, to_json
from jaxgen.distributed.processes import LOST, STOPPED
from jaxgen.errors import UserError
from jaxgen.launch.spec import JobSpec
from jaxgen.storage import links, objects
from jaxgen.storage.files import read_sealed, reading, remove_path, write_sealed, write_text

# Exit codes after which a job is started again: stopped and saved, another process lost, aborted (by jax, if not all #
# processes connected), killed, and SIGTERM before a handler was installed.
STARTED_AGAIN = (STOPPED, LOST, 134, 137, 143)
CANCELLED = " cancelled"  # ends the line of a start that was asked to end
MEANINGS = {
    0: "finished",
    2: "a mistake, see its log",
    LOST: "lost a process",
    STOPPED: "stopped and saved",
    134: "not all processes connected",
    137: "killed",
    143: "killed",
}


@dataclasses.dataclass(frozen=True)
class State:
    """The state of a job."""

    word: Literal["queued", "running", "finished", "failed", "cancelled", "gone"]
    detail: str = ""

    @property
    def alive(self) -> bool:
        return self.word in ("queued", "running")

    def __str__(self) -> str:
        return f"{self.word} ({self.detail})" if self.detail else self.word


@dataclasses.dataclass(frozen=True)
class Job:
    """A job that was submitted."""

    directory: Path
    back_end: str
    number: str  # or the name of the job in its back end
    host: str
    submitted: str
    spec: JobSpec

    @property
    def log_file(self) -> Path:
        return self.directory / "log"

    def last_start(self) -> State:
        """Returns how the last finished start ended; `gone` if no start is known to have ended."""
        starts = self.directory / "starts"
        text = starts.read_text(encoding="utf-8", errors="replace") if starts.exists() else ""
        if not text:
            return State("gone", "none of its starts has ended")
        if not text.endswith("\n"):
            raise UserError(f"{starts} is damaged: its last line is incomplete; remove the file")
        lines = text.splitlines()
        with reading(starts):
            number, code, when = lines[-1].removesuffix(CANCELLED).split(maxsplit=2)
            detail = f"start {int(number)} ended with {int(code)}: {MEANINGS.get(int(code), 'failed')}, {when}"
        if lines[-1].endswith(CANCELLED):
            return State("cancelled", detail)
        return State("finished" if code == "0" else "failed", detail)


def job_directory(run: Path) -> Path:
    """Returns the folder that records a run's job."""
    return run / "job"


def read_job(run: Path) -> Job | None:
    """Returns the job that trains the run at a path, or None if it was never submitted."""
    directory = job_directory(run)
    objects.fetch(directory)
    file = directory / "job.json"
    if not file.exists():
        return None
    links.confine(run)
    data = read_sealed(file, {"to": str, "number": str, "host": str, "submitted": str, "spec": dict})
    try:
        with reading(file):
            datetime.datetime.fromisoformat(data["submitted"])
            spec = from_json(data["spec"])
    except UserError as error:
        raise UserError(f"{file} is damaged: {error}") from None
    if not isinstance(spec, JobSpec):
        raise UserError(f"{file} is damaged: expected a JobSpec; restore it from a copy")
    return Job(directory, data["to"], data["number"], data["host"], data["submitted"], spec)


class BackEnd(abc.ABC):
    """A system that runs jobs. It renders a spec as text, and submits that text as a person would."""

    name: str
    file_name: str  # of the submitted file
    shares_files = True  # whether its processes see the run's directory at the same path as this machine

    @abc.abstractmethod
    def render(self, spec: JobSpec) -> str:
        """Returns the text to submit.

        Raises:
          UserError: the spec asks for something that this back end cannot do.
        """

    @abc.abstractmethod
    def submit(self, artefact: Path, spec: JobSpec) -> str:
        """Submits the rendered file, and returns the job's number or name."""

    def check_here(self, spec: JobSpec) -> None:  # noqa: B027
        """Raises `UserError` if this machine cannot submit. Called before anything is written."""

    @abc.abstractmethod
    def state(self, job: Job) -> State:
        """Asks the back end for the state of a job."""

    @abc.abstractmethod
    def cancel(self, job: Job) -> None:
        """Asks a job to save and end; it is not started again."""

    def log(self, job: Job, *, follow: bool) -> Iterator[str]:
        """Yields the output of the processes piece by piece; with `follow`, until the job has ended."""
        at = 0
        while True:
            alive = follow and self.state(job).alive  # asked before reading, so that no output is missed
            if job.log_file.exists():
                with job.log_file.open(encoding="utf-8", errors="replace") as file:
                    file.seek(at)
                    yield file.read()
                    at = file.tell()
            if not alive:
                return
            time.sleep(2)

    def start(self, run: Path, spec: JobSpec) -> Job:
        """Submits a job that trains the run at a path, and records it there."""
        directory = job_directory(run)
        text = self.render(spec)
        links.confine(run)
        remove_path(directory / "starts")
        write_text(directory / self.file_name, text)
        number = self.submit(directory / self.file_name, spec)
        now = datetime.datetime.now().astimezone().isoformat(" ", "seconds")
        data = {"to": self.name, "number": number, "host": platform.node(), "submitted": now, "spec": to_json(spec)}
        write_sealed(directory / "job.json", data)
        return Job(directory, self.name, number, platform.node(), now, spec)
