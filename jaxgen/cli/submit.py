"""`submit`: jobs on other machines, or in the background here. Imports no jax."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from jaxgen.cli.backend import import_jax
from jaxgen.cli.jobs import find_job
from jaxgen.cli.text import echo, shown_path
from jaxgen.condition import Trajectory, populations, trajectories
from jaxgen.config import coerce
from jaxgen.distributed import variables
from jaxgen.errors import UserError
from jaxgen.experiment.sweep import split_seeds
from jaxgen.launch.back_ends import BACK_ENDS
from jaxgen.launch.job import BackEnd, Job, job_directory, read_job
from jaxgen.launch.spec import JobSpec, Secret, Selector, Variable, Volume, job_name, pair, read_devices
from jaxgen.ledger.discovery import FOLDERS_VARIABLE, find
from jaxgen.ledger.runs import Request, asked_before, begin_run, run_directory
from jaxgen.storage import objects

# Options that `submit` shares with `reproduce` and `resume`, and passes to the job's command.
TRAINING = (
    "save_every",
    "mesh",
    "remat",
    "microbatches",
    "workers",
    "allow_drift",
    "accept_changed_code",
    "keep_diff",
    "wandb",
    "profile",
)
# Variables that look as if they changed training; `submit` names those that the job does not inherit.
_OURS = re.compile(r"(XLA|JAX|LIBTPU|JAXGEN)_\w+")
# Variables that matter only to this process.
_NOT_TAKEN_OVER = {"JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID", "JAX_LOCAL_DEVICE_IDS",
                   "JAXGEN_RUNS"}  # fmt: skip
# The mount path of the first volume in a pod.
MOUNTED_AT = "/runs"


def submit_command(context: click.Context, experiment_id: str, to: str, options: Mapping[str, Any]) -> None:
    """Submits one job for each experiment of an ID. Checks all jobs before it submits the first."""
    back_end = BACK_ENDS[to]
    found, experiments = find(experiment_id)
    sweeps, seeds, first_seed = split_seeds(options["sweeps"], options["seeds"], options["first_seed"])
    todo = []
    for experiment in experiments:
        request = Request(found.paper.slug, experiment.name, options["scale"], tuple(options["settings"]),
                          seeds, options["extend"], first_seed, sweeps=sweeps,
                          zipped=options["zipped"])  # fmt: skip
        if seeds is None and not objects.is_remote(options["runs"]):
            request = request.with_seeds_of(asked_before(_run_path(options, request)), experiment)
        members = trajectories(request.conditions(experiment))
        if options["fresh"] and not back_end.shares_files:
            raise UserError(
                f"--fresh: with --to {to} the run is kept there, not here; name another --runs and --volume"
            )
        if back_end.shares_files and objects.is_remote(options["runs"]):
            raise UserError(f"--runs: with --to {to} the log lies beside the run: name a folder that all nodes see")
        _check_training(options, members, here=back_end.shares_files)
        path = _run_path(options, request)
        spec = _spec(back_end, request, path, options, _training(context))
        todo.append((request, path, spec, back_end.render(spec), [each.identity for each in members]))
    if options["dry_run"]:
        for *_, text, _ in todo:
            echo(text, newline=False)
        return
    for _, path, spec, *_ in todo:
        back_end.check_here(spec)
        _refuse_alive(path)
    for request, path, spec, _, identities in todo:
        if back_end.shares_files:
            begin_run(path, request, identities)
        _say_submitted(path, back_end.start(path, spec))


def _run_path(options: Mapping[str, Any], request: Request) -> Path:
    """Returns the path of the run, existing or new. A dry run does not ask a store whether the run exists."""
    runs: Path = options["runs"]
    if options["dry_run"] and objects.is_remote(runs):
        return runs / request.paper / request.experiment / request.directory_name()
    return run_directory(runs, request, fresh=options["fresh"]).absolute()


def _check_training(options: Mapping[str, Any], members: Sequence[Trajectory], *, here: bool) -> None:
    """Raises `UserError` if the job would refuse an option of training, as far as this machine can tell.

    Args:
      options: the options of `submit`.
      members: the trajectories to train.
      here: whether the job's processes use this machine's installation.
    """
    coerce(options["save_every"], float, "--save-every")
    if all(options[name] is None for name in ("mesh", "remat", "microbatches", "profile", "wandb")):
        return  # and jax need not be imported
    import_jax()
    from jaxgen.cli.train import run_arguments
    from jaxgen.distributed.mesh import MeshSizes
    from jaxgen.train.savings import Savings

    asked = run_arguments({name: options[name] for name in TRAINING} | ({} if here else {"wandb": None}))
    sizes, savings = (
        asked.mesh or MeshSizes(),
        Savings(remat=asked.remat or "none", microbatches=asked.microbatches or 1),
    )
    for population in populations(members):
        sizes.check(population[0].condition, len(population))
        savings.check(population[0].condition, sizes)


def submit_again(run: Path) -> None:
    """Submits the job of a run again, unchanged."""
    path, job = find_job(run)
    if job is None:
        raise UserError(f"no job at {run}: expected a run that `jaxgen submit` made; go on with: jaxgen resume {run}")
    _refuse_alive(path)
    _say_submitted(path, BACK_ENDS[job.back_end].start(path, job.spec))


def _refuse_alive(path: Path) -> None:
    job = read_job(path)
    if job is not None and (state := BACK_ENDS[job.back_end].state(job)).alive:
        how = f"`jaxgen cancel {shown_path(path)}` ends it"
        raise UserError(f"{job.back_end} job {job.number} trains {path}: {state}; {how}")


def _say_submitted(path: Path, job: Job) -> None:
    shown = shown_path(path)
    echo(f"{job.back_end} job {job.number}: {job.spec.title}")
    echo(f"  jaxgen status {shown}\n  jaxgen logs --follow {shown}\n  jaxgen cancel {shown}")


def _spec(
    back_end: BackEnd, request: Request, path: Path, options: Mapping[str, Any], training: Sequence[str]
) -> JobSpec:
    devices = read_devices(options["devices"])
    title = f"{request.paper}/{request.experiment} at scale {request.scale}"
    require = [f"--require-backend={devices.accelerator()}"] if devices.device != "cpu" else []
    if back_end.shares_files:
        # The absolute directory, independent of where its processes run and of newer runs beside it.
        command = [sys.executable, "-P", "-m", "jaxgen", "resume", str(path), *training, *require]
        environ = {**_taken_over(), **dict(pair(each, "--env") for each in options["variables"])}
    else:
        runs = objects.url(options["runs"]) if objects.is_remote(path) else MOUNTED_AT
        command = ["jaxgen", "reproduce", *request.arguments(), "--runs", runs, *training, *require]
        environ = dict(pair(each, "--env") for each in options["variables"])
    return JobSpec(
        name=job_name(f"{request.paper}-{request.experiment}-{request.scale}", objects.url(path)),
        title=title,
        command=tuple(command),
        devices=devices,
        processes_of_each=max(devices.of_each, 1) if options["process_per"] == "gpu" else 1,
        directory=objects.url(job_directory(path)),
        variables=tuple(Variable(name=name, value=value) for name, value in environ.items()),
        secrets=tuple(Secret(name=name, source=where) for name, where in _pairs(options, "secrets", "--secret")),
        volumes=tuple(
            Volume(source=source, path=MOUNTED_AT if not number else f"{MOUNTED_AT}-{number + 1}")
            for number, source in enumerate(options["volumes"])
        ),
        selectors=tuple(Selector(key=key, value=value) for key, value in _pairs(options, "selectors", "--selector")),
        **{name: options[name] for name in ("image", "cpus", "memory", "minutes", "grace", "restarts", "queue",
                                            "account", "namespace", "options")},
    )  # fmt: skip


def _pairs(options: Mapping[str, Any], name: str, option: str) -> list[tuple[str, str]]:
    return [pair(each, option) for each in options[name]]


def _training(context: click.Context) -> list[str]:
    """Returns the training options that the user gave, as arguments."""
    found = []
    for name in TRAINING:
        value = context.params[name]
        if context.get_parameter_source(name) is not click.core.ParameterSource.DEFAULT:
            option = f"--{name.replace('_', '-')}"
            found.append(option if value is True else f"{option}={value}")
    return found


def _taken_over() -> dict[str, str]:
    """Returns the variables of this machine that the job inherits, with folders of papers as absolute paths.

    Prints the names of others that look as if they mattered.
    """
    known = {*variables.RECORDED, *variables.PLACES}
    looks = {name for name in os.environ if name in known or _OURS.fullmatch(name)} - _NOT_TAKEN_OVER
    taken = sorted(name for name in looks & known if not variables.holds_login(os.environ[name]))
    found = {name: os.environ[name] for name in taken}
    left = sorted(looks - found.keys())
    if left:
        click.echo(f"the job does not inherit {', '.join(left)}; pass those that are not secret with --env", err=True)
    for name in (FOLDERS_VARIABLE, "PYTHONPATH"):
        if found.get(name):
            found[name] = os.pathsep.join(str(Path(each).absolute()) for each in found[name].split(os.pathsep) if each)
    return found
