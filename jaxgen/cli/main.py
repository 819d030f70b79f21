"""`jaxgen`: the commands. Those that only look import no jax."""

from __future__ import annotations

import errno
import os
import sys
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

_ANOTHER_PLACE = "name a folder that you may write with --runs, or ask for the right to this one"
# What the system says of files and folders that a user names, and what to do. Any other error is one of ours.
REFUSALS = {
    errno.ENOSPC: "make room and give the same command again",
    errno.EDQUOT: "make room and give the same command again",
    errno.EFBIG: "raise the limit of a file's size (ulimit -f)",
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
    errno.EROFS: "name a folder that can be written with --runs",
    errno.EACCES: _ANOTHER_PLACE,
    errno.EPERM: _ANOTHER_PLACE,
    errno.ELOOP: "a run's own files are never links; put a file in its place",
    errno.ENAMETOOLONG: "name a shorter one",
    errno.ENOTDIR: "a file stands where a folder is expected",
    errno.EISDIR: "a folder stands where a file is expected",
    errno.EEXIST: "a file stands where a folder is expected",
    errno.ENOENT: "make it, or name another one",
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
            self._end(str(error), 2)
        except objects.StoreError as error:
            self._end(str(error), 2 if error.refused else processes.LOST)
        except OSError as error:
            if error.errno not in REFUSALS or not isinstance(error.filename, (str, bytes)):
                self._fail(error)
            self._end(f"{error.strerror}: {_cut(os.fsdecode(error.filename))}; {REFUSALS[error.errno]}", 2)
        except MemoryError as error:
            self._end(f"this machine has not enough memory: {error}", 2)
        except Exception as error:
            if "RESOURCE_EXHAUSTED" in str(error):  # jax's word for it
                self._end(f"the device has not enough memory: {error}".partition("\n")[0], 2)
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


def _cut(path: str) -> str:
    return path if len(path) <= 1000 else f"{path[:100]}... ({len(path):,} characters)"


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="jaxgen")
def main() -> None:
    """Reproduce papers on generalisation by experiment ID."""
    os.environ["MPLBACKEND"] = "agg"  # figures go into files, whatever window is wished for elsewhere


class Location(click.ParamType):
    """A folder, or gs://BUCKET/FOLDER, or s3://BUCKET/FOLDER."""

    name = "location"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        return objects.locate(str(value))


class LocalPath(click.ParamType):
    """A file or folder of this machine."""

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
    help="Change a setting, of every condition or (CONDITION:KEY=VALUE) of one. Repeatable.",
)  # fmt: skip
remat_option = click.option(
    "--remat", type=click.Choice(["none", "block"]),
    help="block: gradients compute each block of a transformer again, for less memory.",
)  # fmt: skip
microbatches_option = click.option(
    "--microbatches", type=click.IntRange(min=1), metavar="N",
    help="Cut each batch into N equal parts, one after the other, for less memory.",
)  # fmt: skip


def _with(options: Sequence[Any]) -> Any:
    def add(command: Any) -> Any:
        for option in reversed(options):  # or the help would begin with the last
            command = option(command)
        return command

    return add


# How to train, wherever that is.
training_options = _with((
    click.option("--profile", metavar="START:STOP", help="Write a trace of these steps into profile/."),
    click.option("--wandb", metavar="PROJECT", help="Also show the metrics in this W&B project."),
    click.option("--allow-drift", is_flag=True,
                 help="Resume with other versions, devices or flags: bits may change."),
    click.option("--accept-changed-code", is_flag=True,
                 help="Go on with a run though the code of its paper changed since it was trained."),
    click.option("--keep-diff", is_flag=True,
                 help="Keep in run.json how jaxgen's checkout differs from its commit; else a digest of it."),
    click.option("--mesh", metavar="AXIS=N,...",
                 help="Devices along member, data, fsdp and tensor; by default one device in all."),
    microbatches_option,
    remat_option,
    click.option("--workers", type=click.IntRange(0, 1000), default=0, show_default=True, metavar="N",
                 help="Processes that make the batches of a host task; 0: a thread."),
    click.option("--save-every", type=click.FloatRange(min=0.1), default=60.0, show_default=True, metavar="SECONDS",
                 help="How often the whole state is saved."),
))  # fmt: skip
# Which of several processes this one is.
place_options = _with((
    click.option("--coordinator", metavar="HOST:PORT", help="Of several processes, where the first one is. By "
                 "default what the environment says (JAX_*, SLURM, Kubernetes, TPU pods, SkyPilot)."),
    click.option("--processes", type=click.IntRange(1, 100_000), metavar="N", help="How many processes there are."),
    click.option("--process", type=click.IntRange(0, 100_000), metavar="I", help="Which of them this is, from 0."),
    click.option("--connect-within", type=click.IntRange(1, 1_000_000), default=300, show_default=True,
                 metavar="SECONDS", help="How long a process waits at the start until all others are there."),
    click.option("--require-backend", type=click.Choice(["cpu", "gpu", "tpu"]),
                 help="Refuse to run on another one."),
))  # fmt: skip

# Where a job runs, and what it gets there.
submit_options = _with((
    click.option("--to", required=True, type=click.Choice(["local", "slurm", "kubernetes", "kubeflow", "skypilot"]),
                 help="Where it trains."),
    click.option("--dry-run", is_flag=True, help="Print what would be submitted, and submit nothing."),
    click.option("--devices", default="cpu:1", show_default=True, metavar="KIND:SHAPE",
                 help="cpu:2 for two nodes (local: two processes); GPUs as nodes x GPUs of each, h100:2x8, or gpu:8 of "
                 "any kind; a TPU slice in chips, v5e:4x4."),
    click.option("--process-per", type=click.Choice(["node", "gpu"]), default="node", show_default=True,
                 help="A process for all GPUs of a node, or for each."),
    click.option("--cpus", type=int, metavar="N", help="Of each process."),
    click.option("--memory", type=int, metavar="GIB", help="Of each node."),
    click.option("--minutes", type=int, metavar="N", help="At most, of one start (SLURM's --time)."),
    click.option("--grace", type=int, default=60, show_default=True, metavar="SECONDS",
                 help="From SIGTERM to SIGKILL, in which it saves."),
    click.option("--restarts", type=int, default=10, show_default=True, metavar="N",
                 help="How often it is started again at most (Kubernetes: preemptions and stops not counted)."),
    click.option("--queue", metavar="NAME", help="SLURM's partition, Kueue's queue."),
    click.option("--account", metavar="NAME", help="Who is charged (SLURM)."),
    click.option("--sbatch", "options", multiple=True, metavar="KEY=VALUE", help="More options of sbatch."),
    click.option("--image", metavar="NAME", help="The image that has jaxgen in it (Kubernetes)."),
    click.option("--volume", "volumes", multiple=True, metavar="SOURCE",
                 help="A PersistentVolumeClaim, mounted at /runs; it keeps the run where --runs names no bucket."),
    click.option("--namespace", metavar="NAME", help="Kubernetes'; by default that of the current context."),
    click.option("--selector", "selectors", multiple=True, metavar="LABEL=VALUE",
                 help="A label that nodes must have (Kubernetes), in place of those that --devices means. Repeatable."),
    click.option("--env", "variables", multiple=True, metavar="NAME=VALUE",
                 help="A variable of the processes' environment, no secret. Repeatable."),
    click.option("--secret", "secrets", multiple=True, metavar="NAME=WHERE",
                 help="A variable whose value is in a file (local, SLURM) or in SECRET/KEY (Kubernetes). Repeatable."),
))  # fmt: skip


@main.command("list")
def list_command() -> None:
    """The papers and experiments there are."""
    from jaxgen.cli import look

    look.list_papers()


@main.command()
@click.argument("experiment_id", metavar="ID")
@click.option("--scale", default="paper", show_default=True, help="smoke, mini or paper.")
def show(experiment_id: str, scale: str) -> None:
    """What an experiment is: its conditions, claims and recorded verdicts."""
    from jaxgen.cli import look

    look.show(experiment_id, scale)


def task_options(command: Any) -> Any:
    """Adds what makes a task of an example: settings and a seed."""
    for option in (
        click.option("--seed", type=click.IntRange(0, INT32), default=0, show_default=True, help="The run's seed."),
        click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Change a setting. Repeatable."),
    ):
        command = option(command)
    return command


@main.group("tasks", cls=Group, invoke_without_command=True)
@click.pass_context
def tasks_group(context: click.Context) -> None:
    """The task library: an example of every task, by family."""
    if context.invoked_subcommand is None:
        from jaxgen.cli import tasks

        tasks.list_tasks()


@tasks_group.command("show")
@click.argument("name", metavar="NAME")
@click.option("--split", default="train", show_default=True, help="Show examples of this one.")
@click.option("--n", "count", type=click.IntRange(min=0), default=5, show_default=True, help="How many examples.")
@task_options
def tasks_show(name: str, split: str, count: int, settings: tuple[str, ...], seed: int) -> None:
    """What a task is: its settings, tokens, splits, whether these are disjoint, and examples.

    NAME is one that `jaxgen tasks` lists, or paper/experiment for the task of its first condition.
    """
    from jaxgen.cli import tasks

    tasks.show_task(name, split=split, count=count, settings=settings, seed=seed)


@tasks_group.command("export")
@click.argument("name", metavar="NAME")
@click.option(
    "--train",
    type=click.IntRange(min=1),
    metavar="N",
    help="How many training examples, of a task that makes fresh ones.",
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
    """Writes a task's examples to disk, and prints the task that reads them; NAME is as in `show`."""
    from jaxgen.cli import tasks

    tasks.export_task(name, train=train, settings=settings, seed=seed, folder=data)


@main.command()
@click.argument("experiment_id", metavar="ID")
@click.option(
    "--scale", help="smoke, mini or paper. By default paper; mini where that wants an accelerator and there is none."
)
@settings_option
@click.option("--seeds", type=click.IntRange(min=1), help="How many seeds, in place of the experiment's own.")
@click.option("--extend", type=click.IntRange(min=1), metavar="STEPS", help="Train on to this step.")
@click.option("--fresh", is_flag=True, help="Start beside what there is, from nothing.")
@click.option(
    "--resume",
    type=click.Choice(["must", "may", "never"]),
    help="must: there is a run; never: there is none; may: one that is all damaged starts over. "
    "By default one that was begun goes on, or says why it cannot.",
)
@click.option("--record", is_flag=True, help="Write the results into the paper's folder.")
@runs_option
@place_options
@training_options
def reproduce(experiment_id: str, scale: str | None, settings: tuple[str, ...], seeds: int | None, extend: int | None,
              fresh: bool, resume: Literal["must", "may", "never"] | None, record: bool, runs: Path,
              **how: Any) -> None:  # fmt: skip
    """Train, measure and judge; go on with what is unfinished, show what is finished.

    ID is paper/experiment, a paper for all its experiments, or arxiv:NUMBER.
    """
    from jaxgen.cli.signals import Preemption

    with Preemption() as preemption:  # before jax is imported, which takes a while
        import_jax()
        from jaxgen.cli import train

        train.reproduce_command(
            experiment_id, scale=scale, settings=settings, seeds=seeds, extend=extend, fresh=fresh, resume=resume,
            record=record, runs=runs, how=train.HowToRun(**how), preemption=preemption,
        )  # fmt: skip


@main.command()
@run_argument
@click.option("--as-submitted", is_flag=True, help="Not here: submit it again as the job that it was.")
@place_options
@training_options
def resume(run: Path, as_submitted: bool, **how: Any) -> None:
    """Go on with a run's directory: the same request again."""
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
@click.option("--seeds", type=click.IntRange(min=1), help="How many seeds, in place of the experiment's own.")
@click.option("--extend", type=click.IntRange(min=1), metavar="STEPS", help="Train on to this step.")
@click.option("--fresh", is_flag=True, help="Start beside what there is, from nothing.")
@runs_option
@training_options
@click.pass_context
def submit(context: click.Context, experiment_id: str, to: str, **how: Any) -> None:
    """Train on other machines, or in the background here: one job for each experiment.

    The same command again is the way back: it goes on from what is saved, where the job is over.
    """
    from jaxgen.cli.submit import submit_command

    submit_command(context, experiment_id, to, how)


@main.command()
@run_argument
def status(run: Path) -> None:
    """Where the job of a run is, and how far it has trained."""
    from jaxgen.cli.submit import status_command

    status_command(run)


@main.command()
@run_argument
@click.option("--follow", is_flag=True, help="Go on until the job is over.")
def logs(run: Path, follow: bool) -> None:
    """What the processes of a run's job said."""
    from jaxgen.cli.submit import logs_command

    logs_command(run, follow=follow)


@main.command()
@run_argument
def cancel(run: Path) -> None:
    """Ask the job of a run to end, saved."""
    from jaxgen.cli.submit import cancel_command

    cancel_command(run)


@main.command(hidden=True)
@click.argument("run", type=LocalPath())
def supervise(run: Path) -> None:
    """Run a job of `submit --to local`; what that starts in the background."""
    from jaxgen.launch.local import supervise as run_supervisor

    sys.exit(run_supervisor(run))


@main.command()
@run_argument
def checkpoints(run: Path) -> None:
    """List a run's checkpoints, with their size and whether they are intact.

    Reads every file of them, and needs no accelerator. Exits with 1 where one is damaged.
    """
    from jaxgen.cli.checkpoints import list_checkpoints

    sys.exit(0 if list_checkpoints(run) else 1)


@main.command()
@run_argument
@click.option("--to", type=LocalPath(), metavar="FILE", help="Also write the page here.")
def report(run: Path, to: Path | None) -> None:
    """Judge a run as far as it has come, and write its report.html."""
    import_jax()
    from jaxgen.cli import train

    train.report_command(run, to)


@main.command()
@click.argument("slug")
@click.option("--into", type=LocalPath(), default="experiments", show_default=True,
              help="The folder of papers.")  # fmt: skip
def new(slug: str, into: Path) -> None:
    """Lay out the folder of a new paper."""
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
@click.option("--condition", metavar="NAME", help="Plan the population of this condition; by default the first.")
@click.option("--mesh", metavar="AXIS=N,...", help="By default members apart as far as they go, then examples.")
@remat_option
@microbatches_option
@click.option(
    "--search",
    type=click.IntRange(min=1),
    metavar="N",
    help="Try N meshes, with --remat block where one does not fit without, and rank them.",
)
def plan(experiment_id: str, topology: str, scale: str, settings: tuple[str, ...], condition: str | None,
         mesh: str | None, remat: Literal["none", "block"] | None, microbatches: int | None,
         search: int | None) -> None:  # fmt: skip
    """What an experiment's train step needs on TPUs or GPUs that are not here.

    Compiles the step for them, which needs libtpu or the CUDA plugin, and neither TPU nor GPU. Where it does not fit,
    looks for a mesh that does, and exits with 1.
    """
    os.environ["JAX_PLATFORMS"] = "cpu"  # or jax looks for the device
    import_jax()
    from jaxgen.cli.plan import plan_command

    fits = plan_command(
        experiment_id, topology=topology, scale=scale, settings=settings, condition=condition, mesh=mesh,
        remat=remat or "none", microbatches=microbatches or 1, search=search,
    )  # fmt: skip
    sys.exit(0 if fits else 1)


@main.command()
@click.argument("page", type=LocalPath())
@click.option("--redraw", is_flag=True, help="Draw the recorded figures of all papers from their tables.")
def gallery(page: Path, redraw: bool) -> None:
    """Write a Markdown page with one row for each recorded paper.

    Also renews the index that `list` reads, and draws the figures, of papers that changed since they were recorded.
    """
    import_jax()
    from jaxgen.ledger.discovery import discover
    from jaxgen.ledger.record import renew
    from jaxgen.report.gallery import gallery as gallery_of
    from jaxgen.storage.files import write_text

    papers = discover().papers.values()
    for each in papers:
        renew(each, redraw=redraw)
    write_text(page, gallery_of(papers, page))


@main.command()
def doctor() -> None:
    """Versions, devices and flags; what is missing, and how to install it."""
    import_jax()
    from jaxgen.cli.doctor import doctor as run_doctor

    sys.exit(0 if run_doctor() else 1)


@main.command()
@click.option("--seconds", type=click.FloatRange(min=1), default=20.0, show_default=True, help="About how long.")
def bench(seconds: float) -> None:
    """Steps per second of the nanda-modadd step at full size, alone and in populations."""
    import_jax()
    from jaxgen.cli.bench import bench as run_bench

    run_bench(seconds)
