"""`jaxgen.reproduce`, `jaxgen.reproduce_paper` and `jaxgen.fit`: what the command does, from Python."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import re
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax

from jaxgen.api.cells import code_of
from jaxgen.api.stopping import Stopping
from jaxgen.cli.console import Console
from jaxgen.cli.progress import ProgressDisplay
from jaxgen.cli.signals import Preemption
from jaxgen.condition import Condition
from jaxgen.config import NOTEBOOK, coerce, parse_value, to_json
from jaxgen.distributed import environment, processes
from jaxgen.distributed.mesh import MeshSizes
from jaxgen.errors import UserError, shown
from jaxgen.experiment import Experiment, Paper
from jaxgen.figures import Curves
from jaxgen.ledger import sources
from jaxgen.ledger.ask import check_experiment, choose_scale, reproduce_kept
from jaxgen.ledger.discovery import FoundPaper, find, folders
from jaxgen.ledger.reproduce import Reproduction, check
from jaxgen.ledger.runs import Request, Run, asked_before, run_directory
from jaxgen.run.arguments import RECOVERY_SECONDS, Interrupted, Observer, RunArguments, SilentObserver
from jaxgen.run.mirrors import tensorboard
from jaxgen.storage import objects

# `{"model.width": 64}`, or as the command line has them: `["model.width=64"]`.
Settings = Mapping[str, Any] | Sequence[str]


@dataclasses.dataclass(frozen=True)
class _How:
    runs: str | Path | None
    fresh: bool
    save_every: float
    mesh: str | None
    allow_drift: bool
    accept_changed_code: bool
    progress: bool

    def root(self) -> Path:
        return objects.locate(str(self.runs or os.environ.get("JAXGEN_RUNS") or "runs"))

    def arguments(self) -> RunArguments:
        return RunArguments(
            mesh=MeshSizes.parse(self.mesh) if self.mesh is not None else None,
            recovery_seconds=coerce(self.save_every, float, "save_every"),
            allow_drift=self.allow_drift,
            mirrors=tensorboard,
            resume="must",
        )


def reproduce(
    what: str | Experiment | Paper,
    *,
    scale: str | None = None,
    set: Settings = (),
    seeds: int | None = None,
    first_seed: int = 0,
    extend: int | None = None,
    fresh: bool = False,
    runs: str | Path | None = None,
    save_every: float = RECOVERY_SECONDS,
    mesh: str | None = None,
    allow_drift: bool = False,
    accept_changed_code: bool = False,
    progress: bool = True,
) -> Run:
    """Trains, measures and judges an experiment, as `jaxgen reproduce` does, in the same directory.

    What is unfinished goes on, and what is finished is read at once. An option named by a message, `--fresh` say, is
    the argument `fresh=True`.

    Args:
      what: `paper/experiment`, a paper with one experiment, `arxiv:NUMBER`; or an `Experiment` or `Paper`, defined here
        or imported.
      scale: `smoke`, `mini` or `paper`; None: the paper's own, or `mini` where that wants an accelerator that is not
        there.
      set: settings to change: `{"model.width": 64}`, `{"decay:steps": 4000}` for one condition.
      seeds: the number of seeds; None: the experiment's own.
      first_seed: the first of these; 1000 for tuning.
      extend: the step to train on to.
      fresh: start beside the run that there is.
      runs: the folder of runs, or gs://..., s3://...; None: $JAXGEN_RUNS, or `runs`.
      save_every: seconds between recovery checkpoints.
      mesh: devices along the axes, `member=4,data=2`; None: one device.
      allow_drift: go on although versions, devices or flags changed; bits may change.
      accept_changed_code: go on although the code of the paper, or of this notebook, changed.
      progress: whether to show the progress.

    Returns:
      The run: `.table`, `.verdicts`, `.member(condition=..., seed=...)`, `.figure(name)`.

    Raises:
      UserError: the request is wrong, or another process trains this run. Nothing was trained.
      Interrupted: Ctrl-C; the state is saved, and the same call goes on. A second Ctrl-C ends at once, as a
        `KeyboardInterrupt`; the call then goes on from the last checkpoint.
    """
    how = _How(runs, fresh, save_every, mesh, allow_drift, accept_changed_code, progress)
    with _found(what) as (found, experiments):
        if len(experiments) > 1:
            ids = ", ".join(f"{found.paper.slug}/{each.name}" for each in experiments)
            raise UserError(f"{shown(what) if isinstance(what, str) else found.paper.slug} has several experiments: "
                            f"{ids}; name one, or use jaxgen.reproduce_paper for all of them")  # fmt: skip
        asked = (scale, _settings(set), seeds, extend, first_seed)
        return next(iter(_reproduce_all(found, experiments, asked, how).values()))


def reproduce_paper(
    what: str | Paper,
    *,
    scale: str | None = None,
    set: Settings = (),
    seeds: int | None = None,
    first_seed: int = 0,
    extend: int | None = None,
    fresh: bool = False,
    runs: str | Path | None = None,
    save_every: float = RECOVERY_SECONDS,
    mesh: str | None = None,
    allow_drift: bool = False,
    accept_changed_code: bool = False,
    progress: bool = True,
) -> dict[str, Run]:
    """Reproduces every experiment of a paper, one after the other; arguments and errors as of `reproduce`.

    Returns:
      The runs by the experiments' names. Those whose size wants an accelerator that is not there are left out.
    """
    how = _How(runs, fresh, save_every, mesh, allow_drift, accept_changed_code, progress)
    with _found(what) as (found, experiments):
        return _reproduce_all(found, experiments, (scale, _settings(set), seeds, extend, first_seed), how)


def fit(
    *conditions: Condition,
    name: str | None = None,
    steps: int | None = None,
    seeds: int | None = None,
    fresh: bool = False,
    runs: str | Path | None = None,
    save_every: float = RECOVERY_SECONDS,
    mesh: str | None = None,
    allow_drift: bool = False,
    accept_changed_code: bool = False,
    progress: bool = True,
) -> Run:
    """Trains conditions of your own, without a paper; the same call goes on, or reads what is finished.

    Conditions of equal shapes train together; one may start from another (`start=From(condition=...)`).

    Args:
      conditions: what to train, each with another name.
      name: of the run's folder, `<runs>/notebook/<name>/paper`; None: that of the first condition.
      steps: how far each trains; None: its own.
      seeds: the number of seeds of each; None: its own.
      fresh, runs, save_every, mesh, allow_drift, accept_changed_code, progress: as of `reproduce`.

    Returns:
      The run. Its figures are `accuracy` and `loss`, as far as these are measured.

    Raises:
      UserError, Interrupted: as of `reproduce`.
    """
    if not conditions or not all(isinstance(each, Condition) for each in conditions):
        got = ", ".join(type(each).__name__ for each in conditions) or "nothing"
        raise UserError(f"fit: got {got}, expected conditions: jaxgen.fit(Condition(...))")
    if steps is not None:
        conditions = tuple(dataclasses.replace(each, steps=steps) for each in conditions)
    experiment = Experiment(
        name=re.sub(r"[^A-Za-z0-9._-]+", "-", conditions[0].name).strip("-.")[:100] if name is None else name,
        title=", ".join(each.name for each in conditions[:3]) + (" and more" if len(conditions) > 3 else ""),
        conditions=conditions,
        figures=_usual_figures(conditions),
    )
    return reproduce(
        experiment, scale="paper", seeds=seeds, fresh=fresh, runs=runs, save_every=save_every, mesh=mesh,
        allow_drift=allow_drift, accept_changed_code=accept_changed_code, progress=progress,
    )  # fmt: skip


def _usual_figures(conditions: Sequence[Condition]) -> tuple[Curves, ...]:
    found = []
    for measure in ("accuracy", "loss"):
        keys = [each.keys(condition) or () for condition in conditions for each in condition.measures]
        own = sorted({key for some in keys for key in some if key.startswith(f"{measure}/")}, reverse=True)
        if own:  # the training split comes first
            found.append(Curves(name=measure, caption=f"{measure.capitalize()}.", keys=tuple(own)))
    return tuple(found)


@contextlib.contextmanager
def _found(what: str | Experiment | Paper) -> Iterator[tuple[FoundPaper, tuple[Experiment, ...]]]:
    """Gives a paper with its folder, and the experiments that are meant. What is defined in Python gets a folder, with
    its code, for the time of the call."""
    if isinstance(what, str):
        yield find(what)
        return
    if not isinstance(what, (Experiment, Paper)):
        hint = "; jaxgen.fit trains a condition" if isinstance(what, Condition) else ""
        raise UserError(f"reproduce: got {shown(what)}, expected an ID, an Experiment or a Paper{hint}")
    if (known := _id_of(what)) is not None:
        yield find(known)
        return
    if isinstance(what, Experiment):
        paper = Paper(slug=NOTEBOOK, title=what.title, authors="", year=0, arxiv="", experiments=(what,))
    else:
        paper = what
    there, _ = folders()
    if paper.slug in there:
        raise UserError(
            f"the paper '{paper.slug}' is in {there[paper.slug]}, and this is another one; give it another slug, or "
            f"ask for '{paper.slug}' by its name"
        )
    with tempfile.TemporaryDirectory(prefix="jaxgen-") as folder:
        conditions = [each for experiment in paper.experiments for each in experiment.at_scale("paper")]
        for name, text in code_of(conditions).items():
            (Path(folder) / f"{name}.py").write_text(text, encoding="utf-8")
        yield FoundPaper(paper, Path(folder), "", ""), paper.experiments


def _id_of(what: Experiment | Paper) -> str | None:
    """Returns the ID of what was imported from a paper's folder; None where it was made elsewhere."""
    for name, module in list(sys.modules.items()):
        paper = (
            getattr(module, "PAPER", None) if name.startswith(("jaxgen.experiments.", "jaxgen_experiments_")) else None
        )
        if isinstance(paper, Paper) and what is paper:
            return paper.slug
        if (
            isinstance(paper, Paper)
            and isinstance(what, Experiment)
            and any(what is each for each in paper.experiments)
        ):
            return f"{paper.slug}/{what.name}"
    return None


def _settings(given: Settings) -> tuple[str, ...]:
    """Returns settings as the command line has them, so that the same ones find the same run."""
    if isinstance(given, str):
        raise UserError(f"set: got {shown(given)}, expected {{KEY: VALUE}}, such as {{'model.width': 64}}")
    if not isinstance(given, Mapping):
        return tuple(given)
    return tuple(f"{key}={_value(value)}" for key, value in given.items())


def _value(value: Any) -> str:
    plain = to_json(value)
    return plain if isinstance(plain, str) and parse_value(plain) == plain else json.dumps(plain)


def _reproduce_all(
    found: FoundPaper, experiments: Sequence[Experiment], asked: tuple[Any, ...], how: _How
) -> dict[str, Run]:
    """Does what the command does, but for what it prints."""
    scale, settings, seeds, extend, first_seed = asked
    defined = not found.sources  # in Python, not in a paper's folder
    if processes.count() > 1:
        raise UserError("these calls are for one process; `jaxgen reproduce` trains with several")
    environment.check_devices()
    if jax.dtypes.canonicalize_dtype(float) != "float32" and not os.environ.get("JAX_ENABLE_X64"):
        raise UserError("jax_enable_x64 is on here, which changes a run's numbers: turn it off before this call")
    todo = []
    for experiment in experiments:
        chosen = choose_scale(experiment, scale, alone=len(experiments) == 1)
        if chosen is None:
            continue
        if defined:
            experiment.check()
        else:
            check_experiment(found, experiment)
        request = Request(found.paper.slug, experiment.name, chosen, settings, seeds, extend, first_seed)
        path = run_directory(how.root(), request, fresh=how.fresh)
        if seeds is None:
            request = request.with_seeds_of(asked_before(path), experiment)
        todo.append((experiment, request, path))
    arguments = how.arguments()
    config: Any = jax.config  # jax 0.10 does not declare the attribute
    if not config.jax_compilation_cache_dir:
        environment.enable_compile_cache()
    for experiment, request, path in todo:
        sources.check_unchanged(path, found.folder, accept=how.accept_changed_code, of_both=defined)
        check(request.conditions(experiment), path, arguments)
    done = [_reproduce(found, *each, arguments, how) for each in todo]
    if len(done) > 1:
        _write_page(done[0].path.parents[1] / f"{done[0].path.name}.html", found, done)
    return {each.experiment.name: Run(each.path, each.experiment if defined else None) for each in done}


def _reproduce(
    found: FoundPaper, experiment: Experiment, request: Request, path: Path, arguments: RunArguments, how: _How
) -> Reproduction:
    if not found.sources:
        _carry_over(path, found.folder)
    with _display(how.progress) as display, Stopping(display) as observer:
        try:
            done = reproduce_kept(found, experiment, request, path, observer=observer, arguments=arguments)
        except Interrupted as interruption:
            again = "the same call without fresh=True" if how.fresh else "the same call"
            raise Interrupted(f"{interruption}; {again} goes on") from None
        for note in done.notes:
            observer.note(f"note: {note}")
        undrawn = _write_page(done.path / "report.html", found, [done])
    for failure in done.failures:
        raise failure
    broken = [f"claim '{each.claim}': {each.reason}" for each in done.verdicts if each.code_failed] + undrawn
    if broken:
        raise UserError(f"{'; '.join(broken)}; what is trained is kept: mend it, and give the same call again")
    return done


def _carry_over(run: Path, folder: Path) -> None:
    """Adds to a notebook's code what a run keeps of conditions that are not asked for now."""
    for kept in (run / sources.FOLDER).glob("*.py"):
        if not (folder / kept.name).exists():
            (folder / kept.name).write_bytes(kept.read_bytes())


@contextlib.contextmanager
def _display(progress: bool) -> Iterator[Observer]:
    if not progress:
        yield SilentObserver()
        return
    if "ipykernel" in sys.modules:  # a notebook, which shows plain lines
        console = Console(file=sys.stdout, force_jupyter=False, force_terminal=False)
    else:  # what a script prints itself is not mixed with them
        console = Console(stderr=True)
    with ProgressDisplay(console, Preemption()) as display:
        yield display


def _write_page(path: Path, found: FoundPaper, done: Sequence[Reproduction]) -> list[str]:
    from jaxgen.report.reproduced import write_page  # matplotlib: a run that goes on should train before it can draw

    return write_page(path, found, done)
