"""`reproduce`, `resume` and `report`."""

from __future__ import annotations

import dataclasses
import functools
import os
import re
import shlex
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import jax

from jaxgen.cli import columns
from jaxgen.cli.console import Console
from jaxgen.cli.left import TimeLeft, Work, work
from jaxgen.cli.look import MARKS
from jaxgen.cli.progress import ProgressDisplay
from jaxgen.cli.signals import Preemption
from jaxgen.config import coerce
from jaxgen.distributed import environment, processes
from jaxgen.distributed.mesh import MeshSizes
from jaxgen.errors import UserError
from jaxgen.experiment import Experiment
from jaxgen.experiment.sweep import split_seeds
from jaxgen.ledger import sources
from jaxgen.ledger.ask import check_experiment, choose_scale, reproduce_kept
from jaxgen.ledger.discovery import FoundPaper, find
from jaxgen.ledger.recorded import Recorded, recorded_rows
from jaxgen.ledger.reproduce import NOTHING, Reproduction, check, collect, train_all, unfinished
from jaxgen.ledger.results import read_results
from jaxgen.ledger.runs import Request, Run, asked_before, load_run, run_directory
from jaxgen.ledger.settling import more_seeds, planned_looks
from jaxgen.ledger.swept import best_first, size_text
from jaxgen.report.mathematics import plain
from jaxgen.run.arguments import Interrupted, RunArguments, SilentObserver
from jaxgen.run.directory import PopulationDirectory
from jaxgen.run.goodput import goodput
from jaxgen.run.mirrors import Mirror, WeightsAndBiases, check_wandb, tensorboard
from jaxgen.run.profile import Profile
from jaxgen.run.rows import read_rows
from jaxgen.storage import objects
from jaxgen.storage.files import make_directory, write_text
from jaxgen.train.savings import Remat

Resume = Literal["must", "may", "never"]
# Rows of a sweep's table.
SWEPT_SHOWN = 20


@dataclasses.dataclass(frozen=True)
class HowToRun:
    """The options that every training command has."""

    save_every: float
    mesh: str | None
    remat: Remat | None
    microbatches: int | None
    workers: int
    allow_drift: bool
    accept_changed_code: bool
    wandb: str | None
    profile: str | None
    coordinator: str | None
    processes: int | None
    process: int | None
    connect_within: int
    require_backend: str | None
    keep_diff: bool

    def connect(self, preemption: Preemption) -> None:
        """Finds the other processes and the devices; before anything else is asked of jax.

        Raises:
          UserError: they are not what was asked for.
        """
        place = processes.resolve(self.coordinator, self.processes, self.process, os.environ)
        processes.initialize(place, self.connect_within)
        preemption.leaving = processes.leave
        environment.check_devices()
        if self.require_backend and jax.default_backend() != self.require_backend:
            raise UserError(
                f"--require-backend {self.require_backend}: jax finds {jax.default_backend()} alone; "
                f"see `jaxgen doctor` for what is missing"
            )

    def arguments(self, resume: Literal["must", "may"]) -> RunArguments:
        """Returns how to train.

        Raises:
          UserError: an option is wrong by itself, or wants what is not installed.
        """
        return dataclasses.replace(run_arguments(vars(self)), mirrors=self._mirrors, resume=resume)

    def _mirrors(self, directory: PopulationDirectory, members: Sequence[str]) -> dict[str, Callable[[], Mirror]]:
        made = tensorboard(directory, members)
        if self.wandb:
            made["WeightsAndBiases"] = functools.partial(
                WeightsAndBiases, self.wandb, directory.wandb_id(), directory.path, members,
                read_rows(directory.metrics_file),
            )  # fmt: skip
        return made


def run_arguments(options: Mapping[str, Any]) -> RunArguments:
    """Returns how to train, by the options of a training command.

    Raises:
      UserError: an option is wrong by itself, or wants what is not installed.
    """
    if options["wandb"] is not None:
        check_wandb(options["wandb"])
    return RunArguments(
        mesh=MeshSizes.parse(options["mesh"]) if options["mesh"] is not None else None,
        remat=options["remat"],
        microbatches=options["microbatches"],
        workers=options["workers"],
        recovery_seconds=coerce(options["save_every"], float, "--save-every"),
        allow_drift=options["allow_drift"],
        keep_diff=options["keep_diff"],
        profile=Profile.parse(options["profile"]) if options["profile"] is not None else None,
    )


def reproduce_command(
    experiment_id: str, *, scale: str | None, settings: Sequence[str], sweeps: Sequence[str], zipped: bool,
    seeds: int | None, first_seed: int, extend: int | None, fresh: bool, resume: Resume | None, record: bool,
    until_settled: bool, at_most: int, runs: Path, how: HowToRun, preemption: Preemption,
) -> None:  # fmt: skip
    """Reproduces every experiment that an ID means, and writes one report over them."""
    how.connect(preemption)
    found, experiments = find(experiment_id)
    sweeps, seeds, first_seed = split_seeds(sweeps, seeds, first_seed)
    if sweeps and until_settled:
        raise UserError("--until-settled: got it with --sweep, whose claims are not judged; leave one of them out")
    console = _console()
    todo = []
    skipped = []
    for experiment in experiments:
        chosen = choose_scale(experiment, scale, alone=len(experiments) == 1)
        if chosen is None:
            skipped.append(experiment.name)
            continue
        request = Request(
            found.paper.slug, experiment.name, chosen, tuple(settings), seeds, extend, first_seed,
            recorded=record and not fresh, sweeps=sweeps, zipped=zipped,
        )  # fmt: skip
        check_experiment(found, experiment)
        conditions = request.conditions(experiment)
        if until_settled:
            request = dataclasses.replace(request, looks=planned_looks(conditions, at_most))
        if record:
            from jaxgen.ledger.record import refuse_to_record

            refuse_to_record(found, experiment, request)
        path = objects.locate(processes.told(functools.partial(_run_path, runs, request, resume, fresh=fresh)))
        if until_settled:
            request = request.with_seeds(processes.told(functools.partial(_grown_before, path, request)))
        elif seeds is None:
            request = request.with_seeds_of(processes.told(functools.partial(asked_before, path)), experiment)
        todo.append((experiment, request, path))
    if skipped:
        _say(console, f"skipped, as their paper scale wants an accelerator: {', '.join(skipped)} "
                      f"(each trains here by its own ID with --scale paper)")  # fmt: skip
    # A begun run is never started over but by an explicit `--resume may`.
    arguments = how.arguments("may" if resume == "may" else "must")
    _run_all(
        found, todo, arguments, record=record, at_most=at_most if until_settled else 0,
        accept_changed_code=how.accept_changed_code, console=console, preemption=preemption,
    )  # fmt: skip


def resume_command(run_path: Path, *, how: HowToRun, preemption: Preemption) -> None:
    """Goes on with the run at a path."""
    if run_path.is_file():
        raise UserError(f"{run_path} is an export, which has no states to go on from; resume the run it was made of")
    how.connect(preemption)
    run = load_run(run_path)
    found, experiments = find(f"{run.request.paper}/{run.request.experiment}")
    todo = [(experiments[0], run.request, run.path)]
    _run_all(
        found, todo, how.arguments("must"), record=False, at_most=0, accept_changed_code=how.accept_changed_code,
        console=_console(), preemption=preemption,
    )  # fmt: skip


def _run_path(runs: Path, request: Request, resume: Resume | None, *, fresh: bool) -> str:
    path = run_directory(runs, request, fresh=fresh)
    begun = objects.exists(path / "run.json")
    if resume == "never" and begun:
        raise UserError(f"--resume never: there is a run at {path}; start beside it with --fresh, or leave it out")
    if resume == "must" and (fresh or not begun):
        raise UserError(f"--resume must: there is no run at {path}; leave it out to start one")
    return objects.url(path)


def _grown_before(path: Path, request: Request) -> dict[str, int]:
    """Returns the seeds that an earlier call with `--until-settled` has come to.

    Raises:
      UserError: that call planned another number of looks at the claims.
    """
    if not objects.exists(path / "run.json"):
        return {}
    before = Run(path).request
    if before.looks not in (1, request.looks):
        raise UserError(
            f"--at-most: the run at {path} was begun with {before.looks} looks at its claims, this asks for "
            f"{request.looks}; give the same number as before, or start beside it with --fresh"
        )
    return dict(before.grown)


def report_command(run_path: Path, to: Path | None) -> None:
    """Judges the run at a path as far as it has come, and writes its report, also to `to`."""
    environment.check_devices()
    run = load_run(run_path)
    if run_path.is_file() and to is None:
        to = run_path.with_suffix(".html")
    if to is not None:
        make_directory(to.parent)
        if to.is_dir() or not os.access(to.parent, os.W_OK):
            raise UserError(f"--to: {to} cannot be written, expected a file in a folder that can be")
    console = Console()
    kept = run.path / "report.html"
    try:
        found, experiments = find(f"{run.request.paper}/{run.request.experiment}")
    except UserError as error:
        if to is None or not run_path.is_file() or not kept.is_file():
            raise
        write_text(to, kept.read_text(encoding="utf-8"))
        _say(console, f"report: {_shown(to)}, as it was when the run was exported: {error}")
        return
    conditions = run.request.conditions(experiments[0])
    recorded = _recorded(found, experiments[0], run.request)
    done = collect(run.path, experiments[0], conditions, SilentObserver(), recorded)
    if changed := sources.changed_files(run.path, found.folder):
        _say(console, f"  note: it was trained by other code: {', '.join(changed)} in {found.folder} changed since")
    _conclude(found, done, console, copy=to)
    if to is not None:
        _say(console, f"report: {_shown(to)}")


def _recorded(found: FoundPaper, experiment: Experiment, request: Request) -> Recorded:
    return recorded_rows(found.folder, request.scale, experiment.name) if request.recorded else NOTHING


def _run_all(
    found: FoundPaper, todo: Sequence[tuple[Experiment, Request, Path]], arguments: RunArguments, *, record: bool,
    at_most: int, accept_changed_code: bool, console: Console, preemption: Preemption,
) -> None:  # fmt: skip
    """Reproduces one experiment after the other; each is judged, reported and recorded as it ends."""
    _, why = environment.enable_compile_cache()
    if why:
        _say(console, why)
    known = [_recorded(found, experiment, request) for experiment, request, _ in todo]
    for (experiment, request, path), recorded in zip(todo, known, strict=True):
        processes.told(functools.partial(sources.check_unchanged, path, found.folder, accept=accept_changed_code))
        processes.told(functools.partial(check, request.conditions(experiment), path, arguments, recorded))
    left = TimeLeft(_works(found, todo, known) if processes.is_first() else [], time.monotonic)
    done: list[Reproduction] = []
    broken: list[str] = []
    for (experiment, request, path), recorded in zip(todo, known, strict=True):
        console.print(f"[bold]{found.paper.slug}/{experiment.name}[/] at scale {request.scale}", end="")
        _say(console, f", in {_shown(path)}")
        if request.sweeps:
            results = read_results(found.folder, request.scale).get(experiment.name, {"conditions": {}})
            asked, points = request.conditions(experiment), request.points(experiment)
            _say(console, f"  sweep: {size_text(asked, points, results['conditions'])}")
        preemption.way_back = f"jaxgen resume {_shown(path)}"
        last: Reproduction | None = None
        try:
            with ProgressDisplay(console, preemption, left) as display:
                following: Request | None = request
                while following is not None:
                    if not processes.is_first():
                        train_all(
                            following.conditions(experiment), following, path, observer=display, arguments=arguments,
                            recorded=recorded,
                        )  # fmt: skip
                    else:
                        last = reproduce_kept(
                            found, experiment, following, path, observer=display, arguments=arguments,
                            recorded=recorded,
                        )  # fmt: skip
                    grown = processes.told(functools.partial(_more_seeds, last, at_most))
                    following = None if grown is None else following.with_seeds(grown)
        except Interrupted as interruption:
            _say(console, f"{interruption}; go on with: {preemption.way_back}")
            processes.end(str(interruption), processes.STOPPED)
        if last is None:
            continue
        done.append(last)
        broken += _conclude(found, last, console)
        if record and not broken:
            from jaxgen.ledger.record import record_results

            _say(console, f"recorded in {record_results(found, last)}")
    if len(done) > 1:
        path = done[0].path.parents[1] / f"{done[0].path.name}.html"
        _write_report(path, found, done)
        _say(console, f"report on all of them: {_shown(path)}")
    processes.close()
    for failure in (each for one in done for each in one.failures):
        raise failure
    if broken:
        nothing = "; nothing of it was recorded" if record else ""
        raise UserError(
            f"{'; '.join(broken)}; mend it in {found.folder}, and `jaxgen report RUN` judges again what is "
            f"trained{nothing}"
        )


def _works(
    found: FoundPaper, todo: Sequence[tuple[Experiment, Request, Path]], known: Sequence[Recorded]
) -> list[Work]:
    """Returns all populations that a command is to train, with what the paper's records say of their time."""
    works = []
    for (experiment, request, path), recorded in zip(todo, known, strict=True):
        entry = read_results(found.folder, request.scale).get(experiment.name, {"conditions": {}})
        for members, steps in unfinished(request.conditions(experiment), path, recorded):
            works.append(work(members, steps, entry["conditions"]))
    return works


def _more_seeds(done: Reproduction | None, at_most: int) -> dict[str, int] | None:
    """Returns how many seeds to train next until the claims are settled; called by the first process alone."""
    assert done is not None
    if not at_most or done.failures:
        return None
    return more_seeds(done.conditions, done.verdicts, dict(done.request.grown), at_most)


def _conclude(found: FoundPaper, done: Reproduction, console: Console, copy: Path | None = None) -> list[str]:
    """Prints a run's verdicts and writes its report, also to `copy`; returns which claims' and figures' code failed."""
    broken = [f"claim '{each.claim}': {each.reason}" for each in done.verdicts if each.code_failed]
    unjudged: dict[str, list[str]] = {}
    for claim, verdict in zip(done.experiment.claims, done.verdicts, strict=True):
        if verdict.outcome == "not judged":
            unjudged.setdefault(verdict.reason, []).append(claim.name)
            continue
        console.print(f"  [{MARKS[verdict.outcome]}]{verdict.outcome:>14}[/]  ", end="")
        _say(console, f"{claim.name}: paper {plain(claim.paper)}; ours {verdict.reason}")
    for reason, names in unjudged.items():
        claims = f"'{names[0]}'" if len(names) == 1 else f"{len(names)} claims"
        _say(console, f"  not judged: {claims}: {reason}")
    for note in done.notes:
        _say(console, f"  note: {note}")
    for line in _swept(best_first(done.points, done.table)):
        _say(console, f"  {line}")
    if not done.experiment.scales[done.request.scale].judged:
        reasons = [f"claim '{each.claim}': {each.reason}" for each in done.verdicts]
        broken += [each for each in (*reasons, *done.notes) if _misspelt(each)]
    if any(done.seconds.values()):
        _say(console, f"  time: {goodput(done.seconds)}")
        longest = max(done.timings, key=lambda each: sum(each.seconds.values()))
        if milliseconds := longest.milliseconds():
            shown, more = longest.conditions[:3], len(longest.conditions) - 3
            several = (
                f" of {', '.join(shown)}{f' and {more} more' if more > 0 else ''}" if len(done.timings) > 1 else ""
            )
            _say(console, f"  speed: a step{several} takes {milliseconds['50']} ms in the median, "
                          f"{milliseconds['99']} at 99 %; {longest.rate()} of matrix products")  # fmt: skip
    undrawn = _write_report(done.path / "report.html", found, [done], copy)
    for each in undrawn:
        _say(console, f"  note: {each}")
    _say(console, f"report: {_shown(done.path / 'report.html')}")
    return broken + undrawn


def _swept(rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    """Yields the first lines of a sweep's table."""
    for lines in columns.lay_out(rows[: 1 + SWEPT_SHOWN], [0], columns.width() - 2) if rows else ():
        yield from lines
    if len(rows) > 1 + SWEPT_SHOWN:
        yield f"and {len(rows) - 1 - SWEPT_SHOWN:,} more, in the report"


def _misspelt(said: str) -> bool:
    """Returns whether a message is of a key that nothing measured; numbers in keys may depend on the scale's sizes."""
    found = re.search(r"no (?:measure|key) '(.+?)'; did you mean '(.+?)'", said)
    return found is not None and re.sub(r"\d+", "", found[1]) != re.sub(r"\d+", "", found[2])


def _console() -> Console:
    """Returns where the first process speaks; the others are silent."""
    return Console(quiet=not processes.is_first())


def _say(console: Console, text: str) -> None:
    console.print(objects.with_urls(text), markup=False, highlight=False, soft_wrap=True)


def _shown(path: Path) -> str:
    return shlex.quote(objects.url(path))


def _write_report(path: Path, found: FoundPaper, done: Sequence[Reproduction], copy: Path | None = None) -> list[str]:
    # Here and not above, since a run that is restarted should train before it knows how to draw.
    from jaxgen.report.reproduced import write_page

    return write_page(path, found, done, copy)
