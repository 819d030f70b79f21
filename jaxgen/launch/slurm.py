"""SLURM: a batch script that starts the processes with `srun`, and requeues itself if they were stopped.

Needs sbatch, squeue, scancel, and a run directory that all nodes see. With accounting, sacct says how a job ended;
otherwise the lines that the script wrote into `starts` do. Facts behind the script (slurm.schedmd.com: sbatch, srun,
scancel):

- Without --kill-on-bad-exit the step of a killed task continues, and the other tasks wait for it.
- --signal without `B:` reaches the processes but not the script, which then requests the next start. On scancel and on
  a requeue by SLURM the script gets SIGTERM too, and ends before it can request one.
- --gpus-per-task hides the node's other GPUs from a process, and then NCCL cannot use NVLink. So --gres is used.
- srun does not inherit --cpus-per-task from sbatch.
"""

from __future__ import annotations

import importlib.resources
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import jinja2

from jaxgen.errors import UserError
from jaxgen.launch.job import STARTED_AGAIN, BackEnd, Job, State
from jaxgen.launch.spec import JobSpec, pair, refuse

ANSWERS_WITHIN = 60.0
# SLURM's names for the states of a job that has not ended.
_QUEUED = ("PENDING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "SPECIAL_EXIT", "RESV_DEL_HOLD")
_RUNNING = ("RUNNING", "CONFIGURING", "COMPLETING", "STAGE_OUT", "SUSPENDED", "STOPPED", "SIGNALING", "RESIZING")


class Slurm(BackEnd):
    """A SLURM cluster of which this machine is a login node."""

    name = "slurm"
    file_name = "submit.sh"

    def render(self, spec: JobSpec) -> str:
        refuse(
            spec, self.name, image="a job runs in the environment that it is submitted from",
            volumes="put --runs on a file system that all nodes see", namespace="Kubernetes has it",
            selectors="name a partition with --queue, or use --sbatch constraint=...",
        )  # fmt: skip
        if spec.devices.accelerator() == "tpu":
            raise UserError("--to slurm: TPUs are not supported; use --to kubernetes")
        environment = jinja2.Environment(undefined=jinja2.StrictUndefined, keep_trailing_newline=True, trim_blocks=True)
        environment.filters |= {"quote": shlex.quote, "command": shlex.join}
        text = (importlib.resources.files("jaxgen") / "templates" / "slurm.sh.jinja").read_text(encoding="utf-8")
        return environment.from_string(text).render(spec=spec, directives=_directives(spec), again=STARTED_AGAIN)

    def check_here(self, spec: JobSpec) -> None:
        _require("sbatch")

    def submit(self, artefact: Path, spec: JobSpec) -> str:
        number = _ask("sbatch", "--parsable", str(artefact)).strip().partition(";")[0]
        if not number.isdecimal():
            raise UserError(f"sbatch answered '{number}', expected the job's number")
        return number

    def state(self, job: Job) -> State:
        try:
            found = _ask("squeue", "--noheader", "--states=all", f"--jobs={job.number}", "--format=%j|%T|%r|%N")
        except Refused as refusal:
            if "Invalid job id" not in str(refusal):
                raise
            found = ""  # SLURM has forgotten the job
        for line in found.splitlines():
            name, word, reason, nodes = line.strip().rsplit("|", 3)
            if name != job.spec.name:
                continue
            if word in _QUEUED:
                return State("queued", reason)
            if word in _RUNNING:
                return State("running", f"{word.lower()} on {nodes}" if word != "RUNNING" else f"on {nodes}")
            return _ended(word, job)
        try:
            lines = _ask("sacct", "-nXP", f"--jobs={job.number}", "--format=JobName,State").splitlines()
        except UserError:
            lines = []  # no accounting
        words = [line.rpartition("|")[2].split() for line in lines if line.rpartition("|")[0] == job.spec.name]
        return _ended(words[-1][0], job) if words and words[-1] else job.last_start()

    def cancel(self, job: Job) -> None:
        _ask("scancel", job.number)


class Refused(UserError):
    """A SLURM command ended with an error."""


def _ended(word: str, job: Job) -> State:
    if word == "COMPLETED":
        return State("finished")
    if word == "CANCELLED":
        return State("cancelled")
    last = job.last_start()
    return State("failed", f"{word.lower()}; {last.detail}")


def _directives(spec: JobSpec) -> list[str]:
    """Returns the sbatch options, quoted as sbatch reads them in a script."""
    devices = spec.devices
    options = {
        "job-name": spec.name,
        "chdir": spec.directory,
        "output": "log",
        "open-mode": "append",
        "requeue": None,
        "signal": f"TERM@{spec.grace}",
        "nodes": str(devices.nodes),
        "ntasks-per-node": str(spec.processes_of_each),
        "cpus-per-task": spec.cpus and str(spec.cpus),
        "gres": devices.of_each and f"gpu:{devices.device + ':' if devices.device != 'gpu' else ''}{devices.of_each}",
        "mem": spec.memory and f"{spec.memory}G",
        "time": spec.minutes and str(spec.minutes),
        "partition": spec.queue,
        "account": spec.account,
    }
    directives = [_option(name, value) for name, value in options.items() if value or name == "requeue"]
    for text in spec.options:
        name, value = pair(text, "--sbatch")
        if not re.fullmatch(r"[a-z][a-z0-9-]*", name) or name in options:
            raise UserError(f"--sbatch: '{name}' is no option of sbatch, or is set by jaxgen itself")
        directives.append(_option(name, value))
    return directives


def _option(name: str, value: str | int | None) -> str:
    """Quotes an option: sbatch splits these lines as a shell does, including quotes and backslashes."""
    return f"--{name}" if value is None else f"--{name}={shlex.quote(str(value))}"


def _require(command: str) -> None:
    if shutil.which(command) is None:
        raise UserError(f"--to slurm: no {command} here; give the command on a login node (--dry-run needs none)")


def _ask(*command: str) -> str:
    """Runs a SLURM command.

    Raises:
      UserError: the command is not installed, fails (`Refused`), or does not answer.
    """
    _require(command[0])
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=ANSWERS_WITHIN)
    except subprocess.TimeoutExpired:
        raise UserError(f"{command[0]} did not answer for {ANSWERS_WITHIN:.0f} s; is the cluster up?") from None
    if done.returncode:
        said = " ".join(done.stderr.split()) or f"exit code {done.returncode}"
        raise Refused(f"{command[0]}: {said}")
    return done.stdout
