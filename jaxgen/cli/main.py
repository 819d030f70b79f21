"""`jaxgen`: the commands. Commands that only read import no jax."""

from __future__ import annotations

import errno
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NoReturn

import click

from jaxgen import __version__
from jaxgen.cli.backend import import_jax
from jaxgen.cli.text import echo, forgive_terminals
from jaxgen.config import INT32
from jaxgen.distributed import processes
from jaxgen.errors import UserError, nearest
from jaxgen.storage import objects

_ANOTHER_PLACE = "use --runs to name a folder that you may write to, or get write access to this one"
# Errors of the operating system about files that a user names, and what to do. Any other error is a bug of jaxgen.
REFUSALS = {
    errno.ENOSPC: "free some space and give the same command again",
    errno.EDQUOT: "free some space and give the same command again",
    errno.EFBIG: "raise the limit of a file's size (ulimit -f)",
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
    errno.EROFS: "use --runs to name a folder that can be written",
    errno.EACCES: _ANOTHER_PLACE,
    errno.EPERM: _ANOTHER_PLACE,
    errno.ELOOP: "a run's own files are never links; put a file in its place",
    errno.ENAMETOOLONG: "name a shorter one",
    errno.ENOTDIR: "a file stands where a folder is expected",
    errno.EISDIR: "a folder stands where a file is expected",
    errno.EEXIST: "a file stands where a folder is expected",
    errno.ENOENT: "create it, or name another one",
    errno.EINVAL: "name another one",
}


class Group(click.Group):
    """A click group that names the nearest command, and turns a `UserError` into one line and exit 2."""

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        if args and self.get_command(ctx, args[0]) is None and not args[0].startswith("-"):
            raise click.UsageError(f"no command '{args[0]}'{nearest(args[0], self.commands)}", ctx)
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except UserError as error:
            if error.__cause__ is not None:
                _show_traceback(error)
            self._end(str(error), 2)
        except objects.StoreError as error:
            self._end(str(error), 2 if error.refused else processes.LOST)
        except OSError as error:
            if error.errno not in REFUSALS or not isinstance(error.filename, (str, bytes)):
                self._fail(error)
            self._end(f"{error.strerror}: {_cut(os.fsdecode(error.filename))}; {REFUSALS[error.errno]}", 2)
        except MemoryError as error:
            self._end(f"this machine has too little memory: {error}", 2)
        except Exception as error:
            if "RESOURCE_EXHAUSTED" in str(error):  # jax's message
                self._end(f"the device has too little memory: {error}".partition("\n")[0], 2)
            from jaxgen.ledger.told import HOW_TO_SEE, of_papers_code  # needed only in messages

            if place := of_papers_code(error):
                _show_traceback(error)
                text = str(error).strip().partition("\n")[0]
                self._end(f"the paper's own code failed at {place}: {type(error).__name__}: {text} ({HOW_TO_SEE})", 2)
            self._fail(error)

    def main(self, *args: Any, **kwargs: Any) -> Any:
        forgive_terminals()
        return super().main(*args, **kwargs)

    def _fail(self, error: Exception) -> NoReturn:
        if processes.count() > 1:
            processes.fail(error)
        raise error

    def _end(self, text: str, code: int) -> NoReturn:
        text = objects.with_urls(text)
        echo(f"jaxgen: {text}", err=True)
        processes.end(text, code)


def _show_traceback(error: BaseException) -> None:
    from jaxgen.ledger.told import TRACEBACK_VARIABLE

    if os.environ.get(TRACEBACK_VARIABLE):
        echo("".join(traceback.format_exception(error)), err=True)


def _cut(path: str) -> str:
    return path if len(path) <= 1000 else f"{path[:100]}... ({len(path):,} characters)"


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="jaxgen")
def main() -> None:
    """Reproduce papers on generalisation by experiment ID."""
    os.environ["MPLBACKEND"] = "agg"  # figures go to files, whatever backend the user has set


class Location(click.ParamType):
    """A folder, or gs://BUCKET/FOLDER, or s3://BUCKET/FOLDER."""

    name = "location"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        return objects.locate(str(value))


class LocalPath(click.ParamType):
    """A file or folder on this machine."""

    name = "path"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        return objects.local_path(str(value))


run_argument = click.argument("run", type=Location())
runs_option = click.option(
    "--runs", type=Location(), default="runs", envvar="JAXGEN_RUNS", show_default=True, metavar="LOCATION",
    help="The folder of runs ($JAXGEN_RUNS); also gs://BUCKET/FOLDER and s3://BUCKET/FOLDER.",
)  # fmt: skip


settings_option = click.option(
    "--set", "settings", multiple=True, metavar="KEY=VALUE",
    help="Change a setting in every condition, or in one with CONDITION:KEY=VALUE. Repeatable.",
)  # fmt: skip


remat_option = click.option(
    "--remat", type=click.Choice(["none", "block"]),
    help="block: recompute each transformer block in the backward pass, to save memory.",
)  # fmt: skip
microbatches_option = click.option(
    "--microbatches", type=click.IntRange(min=1), metavar="N",
    help="Cut each batch into N equal parts, computed one after another, to save memory.",
)  # fmt: skip


def _with(options: Sequence[Any]) -> Any:
    def add(command: Any) -> Any:
        for option in reversed(options):  # otherwise the help lists them backwards
            command = option(command)
        return command

    return add


# Many values of a setting, as conditions of one run.
sweep_options = _with((
    click.option("--sweep", "sweeps", multiple=True, metavar="KEY=VALUES",
                 help="Train with each value: a list (1e-3,1e-2), or COUNT numbers in equal steps (START:END:COUNT) "
                 "or equal ratios (START..END:COUNT). Also CONDITION:KEY=VALUES, and seeds=0:20. Repeatable: a grid."),
    click.option("--zip", "zipped", is_flag=True,
                 help="No grid: the first values of all --sweep go together, then the second ones, and so on."),
))  # fmt: skip
# Options that change the seeds and the steps of a scale.
request_options = _with((
    click.option("--seeds", type=click.IntRange(min=1), help="Number of seeds, instead of the experiment's own."),
    click.option("--first-seed", type=click.IntRange(min=0), default=0, show_default=True, metavar="SEED",
                 help="The first of these --seeds, beyond the recorded seeds; 1000 for tuning."),
    click.option("--extend", type=click.IntRange(min=1), metavar="STEPS", help="Continue training to this step."),
))  # fmt: skip
# Options of training, here or on other machines.
training_options = _with((
    click.option("--profile", metavar="START:STOP", help="Write a profiler trace of these steps to profile/."),
    click.option("--wandb", metavar="PROJECT", help="Also show the metrics in this W&B project."),
    click.option("--allow-drift", is_flag=True,
                 help="Resume although versions, devices or flags have changed; bits may change."),
    click.option("--accept-changed-code", is_flag=True,
                 help="Resume a run although the code of its paper has changed since."),
    click.option("--keep-diff", is_flag=True,
                 help="Save the diff between jaxgen's checkout and its commit in run.json, not only its digest."),
    click.option("--mesh", metavar="AXIS=N,...",
                 help="Devices along the axes member, data, fsdp and tensor. By default one device."),
    microbatches_option,
    remat_option,
    click.option("--workers", type=click.IntRange(0, 1000), default=0, show_default=True, metavar="N",
                 help="Number of processes that make the batches of a host task; 0: one thread."),
    click.option("--save-every", type=click.FloatRange(min=0.1), default=60.0, show_default=True, metavar="SECONDS",
                 help="Time between recovery checkpoints."),
))  # fmt: skip
# The place of this process among several.
place_options = _with((
    click.option("--coordinator", metavar="HOST:PORT", help="Address of the first of several processes. By "
                 "default taken from the environment (JAX_*, SLURM, Kubernetes, TPU pods, SkyPilot)."),
    click.option("--processes", type=click.IntRange(1, 100_000), metavar="N", help="Number of processes in the run."),
    click.option("--process", type=click.IntRange(0, 100_000), metavar="I", help="Index of this process, from 0."),
    click.option("--connect-within", type=click.IntRange(1, 1_000_000), default=300, show_default=True,
                 metavar="SECONDS", help="How long a process waits at the start for all others to connect."),
    click.option("--require-backend", type=click.Choice(["cpu", "gpu", "tpu"]),
                 help="Refuse to run on any other kind of device."),
))  # fmt: skip

# Where a job runs, and its resources there.
submit_options = _with((
    click.option("--to", required=True, type=click.Choice(["local", "slurm", "kubernetes", "kubeflow", "skypilot"]),
                 help="The back end that runs the job."),
    click.option("--dry-run", is_flag=True, help="Print the job and submit nothing."),
    click.option("--devices", default="cpu:1", show_default=True, metavar="KIND:SHAPE",
                 help="cpu:2 for two nodes (local: two processes); GPUs as nodes x GPUs of each, h100:2x8, or gpu:8 of "
                 "any kind; a TPU slice in chips, v5e:4x4."),
    click.option("--process-per", type=click.Choice(["node", "gpu"]), default="node", show_default=True,
                 help="Start one process for all GPUs of a node, or one for each GPU."),
    click.option("--cpus", type=int, metavar="N", help="CPU cores per process."),
    click.option("--memory", type=int, metavar="GIB", help="Memory per node."),
    click.option("--minutes", type=int, metavar="N", help="Time limit of one start, in minutes (SLURM's --time)."),
    click.option("--grace", type=int, default=60, show_default=True, metavar="SECONDS",
                 help="Seconds between SIGTERM and SIGKILL; the run saves in them."),
    click.option("--restarts", type=int, default=10, show_default=True, metavar="N",
                 help="Maximum number of restarts (Kubernetes: without preemptions and stops)."),
    click.option("--queue", metavar="NAME", help="SLURM's partition, Kueue's queue."),
    click.option("--account", metavar="NAME", help="The account to charge (SLURM)."),
    click.option("--sbatch", "options", multiple=True, metavar="KEY=VALUE", help="More sbatch options. Repeatable."),
    click.option("--image", metavar="NAME", help="The container image, with jaxgen in it (Kubernetes)."),
    click.option("--volume", "volumes", multiple=True, metavar="SOURCE",
                 help="A PersistentVolumeClaim, mounted at /runs; keeps the run unless --runs names a bucket."),
    click.option("--namespace", metavar="NAME", help="The Kubernetes namespace; by default the current context's."),
    click.option("--selector", "selectors", multiple=True, metavar="LABEL=VALUE",
                 help="A label that nodes must have (Kubernetes), instead of the labels for --devices. Repeatable."),
    click.option("--env", "variables", multiple=True, metavar="NAME=VALUE",
                 help="An environment variable of the processes, not a secret. Repeatable."),
    click.option("--secret", "secrets", multiple=True, metavar="NAME=WHERE",
                 help="A variable with its value in a file (local, SLURM) or in SECRET/KEY (Kubernetes). Repeatable."),
))  # fmt: skip


@main.command("list")
def list_command() -> None:
    """List all papers and experiments."""
    from jaxgen.cli import look

    look.list_papers()


@main.command()
@click.argument("experiment_id", metavar="ID")
@click.option("--scale", default="paper", show_default=True, help="smoke, mini or paper.")
def show(experiment_id: str, scale: str) -> None:
    """Show an experiment: its conditions, claims and recorded verdicts."""
    from jaxgen.cli import look

    look.show(experiment_id, scale)


def task_options(command: Any) -> Any:
    """Adds the options that change an example task: settings and a seed."""
    for option in (
        click.option("--seed", type=click.IntRange(0, INT32), default=0, show_default=True, help="The run's seed."),
        click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Change a setting. Repeatable."),
    ):
        command = option(command)
    return command


@main.group("tasks", cls=Group, invoke_without_command=True)
@click.pass_context
def tasks_group(context: click.Context) -> None:
    """List the task library: an example of every task, by family."""
    if context.invoked_subcommand is None:
        from jaxgen.cli import tasks

        tasks.list_tasks()


@tasks_group.command("show")
@click.argument("name", metavar="NAME")
@click.option("--split", default="train", show_default=True, help="Show examples of this split.")
@click.option("--n", "count", type=click.IntRange(min=0), default=5, show_default=True, help="Number of examples.")
@task_options
def tasks_show(name: str, split: str, count: int, settings: tuple[str, ...], seed: int) -> None:
    """Show a task: its settings, tokens, splits, whether these are disjoint, and examples.

    NAME is a name that `jaxgen tasks` lists, or paper/experiment for the task of its first condition.
    """
    from jaxgen.cli import tasks

    tasks.show_task(name, split=split, count=count, settings=settings, seed=seed)


@tasks_group.command("export")
@click.argument("name", metavar="NAME")
@click.option(
    "--train",
    type=click.IntRange(min=1),
    metavar="N",
    help="Number of training examples, if the task draws fresh ones at every step.",
)
@task_options
@click.option(
    "--data",
    type=LocalPath(),
    default="data",
    envvar="JAXGEN_DATA",
    show_default=True,
    help="The folder of stored data ($JAXGEN_DATA).",
)
def tasks_export(name: str, train: int | None, settings: tuple[str, ...], seed: int, data: Path) -> None:
    """Write a task's examples to disk, and print the task that reads them. NAME is as in `show`."""
    from jaxgen.cli import tasks

    tasks.export_task(name, train=train, settings=settings, seed=seed, folder=data)


@main.command()
@click.argument("experiment_id", metavar="ID")
@click.option(
    "--scale", help="smoke, mini or paper. By default paper, or mini if that needs an accelerator and there is none."
)
@settings_option
@sweep_options
@request_options
@click.option("--fresh", is_flag=True, help="Start beside what there is, from nothing.")
@click.option(
    "--resume",
    type=click.Choice(["must", "may", "never"]),
    help="must: a run must exist; never: none may exist; may: start over if all is damaged. "
    "By default a run that has begun is resumed, or the command says why it cannot be.",
)
@click.option(
    "--record",
    is_flag=True,
    help="Write the results to the paper's folder. Results already recorded there are not trained again.",
)
@click.option("--until-settled", is_flag=True, help="Double the seeds of inconclusive claims until all are settled.")
@click.option(
    "--at-most",
    type=click.IntRange(min=1),
    default=40,
    show_default=True,
    metavar="SEEDS",
    help="Maximum number of seeds per condition, with --until-settled.",
)
@runs_option
@place_options
@training_options
def reproduce(experiment_id: str, scale: str | None, settings: tuple[str, ...], sweeps: tuple[str, ...], zipped: bool,
              seeds: int | None, first_seed: int, extend: int | None, fresh: bool,
              resume: Literal["must", "may", "never"] | None, record: bool, until_settled: bool, at_most: int,
              runs: Path, **how: Any) -> None:  # fmt: skip
    """Train, measure and judge. Resumes an unfinished run, and shows a finished one.

    ID is paper/experiment, a paper for all its experiments, or arxiv:NUMBER.
    """
    from jaxgen.cli.signals import Preemption

    with Preemption() as preemption:  # before jax is imported, which takes a while
        import_jax()
        from jaxgen.cli import train

        train.reproduce_command(
            experiment_id, scale=scale, settings=settings, sweeps=sweeps, zipped=zipped, seeds=seeds,
            first_seed=first_seed, extend=extend, fresh=fresh, resume=resume, record=record,
            until_settled=until_settled, at_most=at_most, runs=runs, how=train.HowToRun(**how), preemption=preemption,
        )  # fmt: skip


@main.command()
@run_argument
@click.option(
    "--as-submitted", is_flag=True, help="Do not train here; submit the run's job again with its old options."
)
@place_options
@training_options
def resume(run: Path, as_submitted: bool, **how: Any) -> None:
    """Resume the run in a directory, with its own request."""
    if as_submitted:
        from jaxgen.cli.submit import submit_again

        submit_again(run)
        return
    from jaxgen.cli.signals import Preemption

    with Preemption() as preemption:
        import_jax()
        from jaxgen.cli import train

        train.resume_command(run, how=train.HowToRun(**how), preemption=preemption)


@main.command()
@click.argument("experiment_id", metavar="ID")
@submit_options
@click.option("--scale", default="paper", show_default=True, help="smoke, mini or paper.")
@settings_option
@sweep_options
@request_options
@click.option("--fresh", is_flag=True, help="Start beside what there is, from nothing.")
@runs_option
@training_options
@click.pass_context
def submit(context: click.Context, experiment_id: str, to: str, **how: Any) -> None:
    """Train on other machines, or in the background here, with one job for each experiment.

    To resume after a job has ended, give the same command again: it continues from the last checkpoint.
    """
    from jaxgen.cli.submit import submit_command

    submit_command(context, experiment_id, to, how)


@main.command()
@click.argument("ids", nargs=-1, metavar="[ID]...")
@click.option("--state", "states", multiple=True, metavar="STATE", help="Only runs in this state. Repeatable.")
@click.option("--json", "as_json", is_flag=True, help="Print a list for programs (docs/runs.md).")
@runs_option
def runs(ids: tuple[str, ...], states: tuple[str, ...], as_json: bool, runs: Path) -> None:
    """List the runs in a folder: state, step, verdicts, size and age.

    With IDs, only those of these papers or experiments.
    """
    from jaxgen.cli.runs import STATES, runs_command

    if unknown := [each for each in states if each not in STATES]:
        raise UserError(f"--state: got '{unknown[0]}'{nearest(unknown[0], STATES)}")
    runs_command(runs, ids, states, as_json=as_json)


@main.command()
@run_argument
def status(run: Path) -> None:
    """Show the state of a run, and of its job, and how far it has trained."""
    from jaxgen.cli.jobs import status_command

    status_command(run)


@main.command()
@run_argument
@click.option("--follow", is_flag=True, help="Keep printing until the run has ended.")
def logs(run: Path, follow: bool) -> None:
    """Print the output of a run's job; of a run without a job, what happened when."""
    from jaxgen.cli.jobs import logs_command

    logs_command(run, follow=follow)


@main.command()
@run_argument
def cancel(run: Path) -> None:
    """Ask the job or the process that trains a run to save and end."""
    from jaxgen.cli.jobs import cancel_command

    cancel_command(run)


@main.command(hidden=True)
@click.argument("run", type=LocalPath())
def supervise(run: Path) -> None:
    """Run a job of `submit --to local`, which starts this command in the background."""
    from jaxgen.launch.local import supervise as run_supervisor

    sys.exit(run_supervisor(run))


@main.command()
@run_argument
def checkpoints(run: Path) -> None:
    """List a run's checkpoints, with their sizes and whether they are intact.

    Reads every file of a checkpoint, and needs no accelerator. Exits with 1 if one is damaged.
    """
    from jaxgen.cli.checkpoints import list_checkpoints

    sys.exit(0 if list_checkpoints(run) else 1)


@main.command()
@run_argument
@click.option("--to", required=True, type=LocalPath(), metavar="FILE", help="The file to write, a zip.")
def export(run: Path, to: Path) -> None:
    """Write a run to one file, for somebody who has jaxgen alone.

    It has all but what training goes on from: table, verdicts, settings, kept parameters, report.
    """
    from jaxgen.cli.export import export_command

    export_command(run, to)


@main.command()
@click.argument("names", nargs=-1, metavar="[RUN]...", type=Location())
@click.option("--older-than", metavar="AGE", help="Only runs that nothing has changed for so long: 12h, 30d, 8w.")
@click.option("--all", "whole", is_flag=True, help="Remove the whole runs, finished or not, not only what they spare.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@runs_option
def prune(names: tuple[Path, ...], older_than: str | None, whole: bool, yes: bool, runs: Path) -> None:
    """Remove the recovery states of finished runs, or old runs with --all.

    Says what it would remove, and asks. Without RUN it looks at all runs in the folder. Runs that are being trained are
    left alone. Of a finished run all that reports, verdicts and Python read is kept.
    """
    from jaxgen.cli.prune import prune_command

    prune_command(runs, names, older_than, whole=whole, yes=yes)


@main.command()
@run_argument
@click.option("--to", type=LocalPath(), metavar="FILE", help="Also write the page to this file.")
def report(run: Path, to: Path | None) -> None:
    """Judge a run by the steps trained so far, and write its report.html.

    RUN may be a file of `jaxgen export`: then the page is written beside it.
    """
    import_jax()
    from jaxgen.cli import train

    train.report_command(run, to)


@main.command()
@click.argument("runs", nargs=-1, required=True, type=Location(), metavar="RUN RUN ...")
@click.option("--key", "keys", multiple=True, metavar="KEY", help="Show this key, such as accuracy/test. Repeatable.")
@click.option("--to", type=LocalPath(), metavar="FILE", help="Also write a page with the curves to this file.")
def compare(runs: tuple[Path, ...], keys: tuple[str, ...], to: Path | None) -> None:
    """Compare runs: what differs, their verdicts, values and curves."""
    from jaxgen.cli.compare import compare_command

    compare_command(runs, keys, to)


@main.command()
@run_argument
@click.option("--port", type=click.IntRange(0, 65535), default=0, metavar="PORT",
              help="The port on this machine; by default a free one.")  # fmt: skip
def watch(run: Path, port: int) -> None:
    """Serve the report of a run to a browser on this machine, renewed while it trains. Ctrl-C ends it.

    Reads the run and writes nothing; the training goes on without it.
    """
    os.environ["JAX_PLATFORMS"] = "cpu"  # the devices are left to the training
    import_jax()
    from jaxgen.cli.watch import watch_command

    watch_command(run, port)


@main.command()
@click.argument("slug")
@click.option("--into", type=LocalPath(), metavar="FOLDER",
              help="The folder of papers; by default the first of $JAXGEN_EXPERIMENTS, else experiments.")  # fmt: skip
def new(slug: str, into: Path | None) -> None:
    """Create the folder of a new paper."""
    from jaxgen.cli.new import new_paper

    new_paper(slug, into)


@main.command()
@click.argument("experiment_id", metavar="ID")
@click.option(
    "--topology",
    required=True,
    metavar="KIND:SHAPE",
    help="Chips of a TPU slice, such as v5e:2x4 or v5p:4x4x4; nodes x GPUs, such as h200:8 or h100:2x8.",
)
@click.option("--scale", default="paper", show_default=True, help="smoke, mini or paper.")
@settings_option
@sweep_options
@click.option("--condition", metavar="NAME", help="Plan the population of this condition; by default the first.")
@click.option("--mesh", metavar="AXIS=N,...", help="By default members are sharded first, then examples.")
@remat_option
@microbatches_option
@click.option(
    "--search",
    type=click.IntRange(min=1),
    metavar="N",
    help="Try N meshes and rank them; a mesh that does not fit is tried with --remat block too.",
)
def plan(experiment_id: str, topology: str, scale: str, settings: tuple[str, ...], sweeps: tuple[str, ...],
         zipped: bool, condition: str | None, mesh: str | None, remat: Literal["none", "block"] | None,
         microbatches: int | None, search: int | None) -> None:  # fmt: skip
    """Plan what an experiment's train step needs on TPUs or GPUs that are not here.

    Compiles the step for them. This needs libtpu or the CUDA plugin, but no TPU or GPU. If the step does not fit, the
    command looks for a mesh on which it does, and exits with 1.
    """
    os.environ["JAX_PLATFORMS"] = "cpu"  # otherwise jax looks for the device
    import_jax()
    from jaxgen.cli.plan import plan_command

    fits = plan_command(
        experiment_id, topology=topology, scale=scale, settings=settings, sweeps=sweeps, zipped=zipped,
        condition=condition, mesh=mesh, remat=remat or "none", microbatches=microbatches or 1, search=search,
    )  # fmt: skip
    sys.exit(0 if fits else 1)


@main.command()
@click.argument("page", type=LocalPath())
@click.option("--redraw", is_flag=True, help="Draw the recorded figures of all papers again from their tables.")
@click.option(
    "--ledger",
    "readme",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    metavar="PAGE",
    help="Also renew the table of this page that is marked as the ledger.",
)
def gallery(page: Path, redraw: bool, readme: Path | None) -> None:
    """Write a Markdown page with one row for each recorded paper.

    Also updates the index that `list` reads, and the figures, for papers that changed since they were recorded.
    """
    import_jax()
    from jaxgen.ledger.discovery import discover
    from jaxgen.ledger.record import renew
    from jaxgen.report.gallery import gallery as gallery_of
    from jaxgen.report.gallery import ledger
    from jaxgen.storage.files import write_text

    papers = discover().papers.values()
    for each in papers:
        renew(each, redraw=redraw)
    write_text(page, gallery_of(papers, page))
    if readme is not None:
        write_text(readme, ledger(papers, readme, readme.read_text(encoding="utf-8")))


@main.command()
def doctor() -> None:
    """Show versions, devices and flags, and what is missing with how to install it."""
    import_jax()
    from jaxgen.cli.doctor import doctor as run_doctor

    sys.exit(0 if run_doctor() else 1)


@main.command()
@click.option("--seconds", type=click.FloatRange(min=1), default=20.0, show_default=True, help="Approximate duration.")
def bench(seconds: float) -> None:
    """Measure steps per second of nanda-modadd at full size, alone and in populations."""
    import_jax()
    from jaxgen.cli.bench import bench as run_bench

    run_bench(seconds)
