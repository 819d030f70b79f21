"""One experiment from its request to its verdicts: what trains, in which order, and what is judged."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax

from jaxgen import objects
from jaxgen.config import digest, from_json, to_json
from jaxgen.errors import UserError, nearest
from jaxgen.experiment import Condition, Curves, Experiment, Figure, Trajectory, populations, trajectories
from jaxgen.measures.build import analyse
from jaxgen.measures.evaluation import MemberSnapshots
from jaxgen.models.build import build_model
from jaxgen.runs import Member, Request, Rows, Run, begin_run
from jaxgen.table import Table, keys_of
from jaxgen.train import processes
from jaxgen.train.config import First, From, rewinds
from jaxgen.train.directory import PopulationDirectory
from jaxgen.train.goodput import ACTIVITIES
from jaxgen.train.loop import Interrupted, Observer, RunArguments, train
from jaxgen.train.losses import build_loss
from jaxgen.train.start import Start, start_from
from jaxgen.train.throughput import Timing
from jaxgen.verdict import Verdict, judge_all


@dataclasses.dataclass(frozen=True)
class Reproduction:
    """An experiment's run: its conditions, table and verdicts, and what a reader should be told."""

    path: Path
    request: Request
    experiment: Experiment
    conditions: tuple[Condition, ...]
    table: Table
    verdicts: tuple[Verdict, ...]
    notes: tuple[str, ...]
    timings: tuple[Timing, ...]  # of its populations

    @property
    def seconds(self) -> dict[str, float]:
        """The seconds that its trainings took, by activity."""
        return {activity: sum(each.seconds.get(activity, 0.0) for each in self.timings) for activity in ACTIVITIES}


def resolve(experiment: Experiment, request: Request) -> tuple[Condition, ...]:
    """Returns the conditions that a request means."""
    return experiment.at_scale(request.scale, request.settings, request.seeds, request.extend)


def reproduce(
    experiment: Experiment,
    request: Request,
    path: Path,
    *,
    observer: Observer,
    arguments: RunArguments,
) -> Reproduction:
    """Trains what is unfinished of an experiment, measures and judges it, and writes results.json.

    Args:
      experiment: what to reproduce.
      request: at which scale, with which changes.
      path: the run's directory, begun or not.
      observer: is told of the progress.
      arguments: how to run.

    Raises:
      UserError: the request does not fit the experiment.
      Interrupted: the observer asked to stop; the same call goes on from there.
    """
    conditions = resolve(experiment, request)
    train_all(conditions, request, path, observer=observer, arguments=arguments)
    return collect(path, experiment, conditions, observer)


def train_all(
    conditions: Sequence[Condition], request: Request, path: Path, *, observer: Observer, arguments: RunArguments
) -> None:
    """Trains what is unfinished; of several processes, each calls this, and the first one alone goes on from there."""
    wanted = trajectories(conditions)
    groups = processes.told(lambda: _begin(path, request, wanted))
    if not objects.exists(path / "run.json"):
        raise UserError(f"{path} is not there for process {processes.index()}: put --runs where all processes see it")
    run = Run(path)
    begun = run.begun()
    by_identity = {each.identity: each for each in wanted}
    for name, identities in groups:
        members = [_begun(identity, begun, by_identity) for identity in identities]
        _train_one(path / "populations" / name, members, wanted, run, observer, arguments)


def _begin(path: Path, request: Request, wanted: Sequence[Trajectory]) -> list[tuple[str, list[str]]]:
    """Returns the populations to train in their order, each as its directory's name and its members' identities."""
    begin_run(path, request, [each.identity for each in wanted])
    run = Run(path)
    begun = run.begun()
    missing = [each for each in wanted if each.identity not in begun]
    by_identity = {each.identity: each for each in wanted}
    groups: list[tuple[str, list[Trajectory]]] = []
    for directory in dict.fromkeys(begun[each.identity] for each in wanted if each.identity in begun):
        members = [_begun(identity, begun, by_identity) for identity in directory.identities()]
        groups.append((directory.path.name, members))
    for members in populations(missing):
        groups.append((digest(sorted(each.identity for each in members)), members))
    groups.sort(key=lambda group: group[1][0].depth())
    return [(name, [each.identity for each in members]) for name, members in groups]


def _begun(identity: str, begun: dict[str, PopulationDirectory], wanted: dict[str, Trajectory]) -> Trajectory:
    """Returns a member as wanted now; one that is no longer wanted goes on as it was begun."""
    if identity in wanted:
        return wanted[identity]
    (facts,) = (each for each in begun[identity].run()["members"] if each["identity"] == identity)
    parent = _begun(facts["parent"], begun, wanted) if facts["parent"] else None
    return Trajectory(from_json(facts["settings"]), facts["seed"], identity, parent)


def _train_one(
    path: Path,
    members: Sequence[Trajectory],
    wanted: Sequence[Trajectory],
    run: Run,
    observer: Observer,
    arguments: RunArguments,
) -> None:
    identities = {member.identity for member in members}
    same = [*members, *(each for each in wanted if each.identity in identities)]
    horizon = max(each.condition.steps for each in same)
    if any(processes.gathered(observer.stop_requested())):
        raise Interrupted("stopped between two trainings; nothing is lost")
    status = processes.told(PopulationDirectory(path).status)
    if status["finished"] and status["horizon"] >= horizon:
        return
    snapshots = {step for each in same for step in (*each.condition.snapshots, each.condition.steps)}
    for child in wanted:
        if child.parent is not None and child.parent.identity in identities:
            snapshots |= _snapshots_for(child, horizon)
    run = Run(run.path)  # as the parents have left it
    starts = [_start(member, run) for member in members]
    train(
        path,
        members,
        horizon=horizon,
        snapshot_steps=snapshots,
        starts=starts,
        observer=observer,
        arguments=arguments,
    )


def _snapshots_for(child: Trajectory, horizon: int) -> set[int]:
    """Returns the steps at which a parent must keep its parameters for this child."""
    start = child.condition.start
    assert isinstance(start, From)
    assert child.parent is not None
    steps = {0} if rewinds(start.transforms) else set()
    if isinstance(start.at, First):
        return steps | set(child.parent.condition.measure_at.steps(horizon))
    return steps | ({start.at} if isinstance(start.at, int) else set())


def _start(member: Trajectory, run: Run) -> Start | None:
    start = member.condition.start
    if not isinstance(start, From):
        return None
    assert member.parent is not None
    parent = next(each for each in run.trained() if each.identity == member.parent.identity)
    step = _start_step(start, parent)
    as_jax = lambda tree: jax.tree.map(jax.numpy.asarray, tree)  # noqa: E731
    model_state = as_jax(parent.variables(step))
    params = model_state.pop("params")
    parent_init = as_jax(parent.params(0)) if rewinds(start.transforms) else params
    made = Start(params, mask=None, parent_init=parent_init)
    return start_from(made, start.transforms, member.condition, member.seed, model_state)


def _start_step(start: From, parent: Member) -> int:
    if start.at == "end":
        return parent.steps()[-1]
    if isinstance(start.at, int):
        if start.at not in parent.steps():
            raise UserError(
                f"start: step {start.at} of '{parent.condition.name}' was not kept ({parent.steps()} were); "
                f"train it anew with --fresh"
            )
        return start.at
    assert isinstance(start.at, First)
    table = Table.of(parent.rows()).seed(parent.seed)
    values = table.values(parent.condition.name, f"{start.at.measure}/{start.at.split}")
    reached = values[values >= start.at.at_least]
    if not len(reached):
        raise UserError(
            f"start: {start.at.measure}/{start.at.split} of '{parent.condition.name}' seed {parent.seed} was never "
            f"at least {start.at.at_least:g} (its best was {values.max():.4g}); give it more steps"
        )
    return int(reached.index[0])


def collect(path: Path, experiment: Experiment, conditions: tuple[Condition, ...], observer: Observer) -> Reproduction:
    """Runs the analyses that are due, judges the claims, and writes table.csv and results.json."""
    run = Run(path)
    run.check_whole()
    request = run.request
    by_identity = {each.identity: each for each in run.trained()}
    rows: Rows = []
    finished: Rows = []  # claims are judged on these alone
    notes: list[str] = []
    timings: dict[Path, Timing] = {}
    for each in by_identity.values():
        if each.task_version < type(each.condition.task).version:
            notes.append(
                f"'{each.condition.name}', seed {each.seed}, is left out: version {each.task_version} of its task "
                f"trained it, and {type(each.condition.task).version} is asked for"
            )
    for wanted in trajectories(conditions):
        member = by_identity.get(wanted.identity)
        if member is None:
            continue
        status = member.directory.status()
        if member.directory.path not in timings:
            timings[member.directory.path] = _timing(member.directory, status)
            notes += [
                f"'{wanted.condition.name}' was resumed though bits may change, {each}" for each in status["drift"]
            ]
        if status["finished"]:
            _analyse(wanted, member, observer)
        name, seed, horizon = wanted.condition.name, wanted.seed, wanted.condition.steps
        found = [row for row in member.rows(name) if row[2] <= horizon]
        state: dict[str, Any] = status["members"][member.index] if status["members"] else {"state": "going"}
        if state["state"] == "failed":
            notes.append(f"{name}, seed {seed}: the loss was not finite at step {state['step']}")
            # A claim must not read the last good rows as if they were final.
            found += [(name, seed, state["step"] + 1, key, math.nan) for key in dict.fromkeys(row[3] for row in found)]
        rows += found
        if status["finished"] and status["horizon"] >= horizon:
            finished += found
    table = Table.of(rows)
    verdicts = judge_all(experiment.claims, Table.of(finished), withheld=withheld(experiment, request))
    if request.extend is not None:
        notes.append(f"every condition was trained on to step {request.extend}")
    if rows:
        notes += [note for figure in experiment.figures for note in _missing_keys(figure, table)]
    table.save(path / "table.csv")
    run.write_results([verdict_json(verdict) for verdict in verdicts], notes)
    return Reproduction(
        path, request, experiment, conditions, table, tuple(verdicts), tuple(notes), tuple(timings.values())
    )


def _timing(directory: PopulationDirectory, status: Mapping[str, Any]) -> Timing:
    members = directory.run()["members"]
    return Timing(
        conditions=tuple(dict.fromkeys(each["condition"] for each in members)),
        members=len(members),
        seconds=status["seconds"],
        throughput=status["throughput"],
    )


def _missing_keys(figure: Figure, table: Table) -> list[str]:
    """Returns a note for every key of a figure that no condition has."""
    keys = set(keys_of(table.rows))
    wanted = figure.keys if isinstance(figure, Curves) else ()
    return [f"figure '{figure.name}': no key '{key}'{nearest(key, keys)}" for key in wanted if key not in keys]


def verdict_json(verdict: Verdict) -> dict[str, object]:
    """Returns a verdict as JSON; a value that is not finite becomes null."""
    data = dataclasses.asdict(verdict)
    data["values"] = {str(seed): value if math.isfinite(value) else None for seed, value in verdict.values.items()}
    return data


def withheld(experiment: Experiment, request: Request) -> str:
    """Returns why the claims are not judged, or nothing."""
    if request.settings:
        return "settings were changed with --set"
    if not experiment.scales[request.scale].judged:
        return f"the scale '{request.scale}' only proves that it runs"
    return ""


def _analyse(wanted: Trajectory, member: Member, observer: Observer) -> None:
    """Runs the analyses that this member has no values of yet, for the snapshots it has."""
    kept = member.directory.analyses()
    condition = wanted.condition
    for config in condition.analyses:
        key = digest({"analysis": to_json(config), "steps": member.steps()})
        if str(member.index) in kept.get(key, {}):
            continue
        if observer.stop_requested():
            raise Interrupted("stopped before an analysis; nothing is lost")
        observer.note(f"analysing {condition.name}, seed {member.seed}: {type(config).__name__}")
        shape = condition.task.shape()
        snapshots = MemberSnapshots(
            module=build_model(condition.model, shape, condition.numerics.compute_dtype),
            variables_by_step={step: member.variables(step) for step in member.steps()},
            splits=condition.task.table(member.seed),
            shape=shape,
            loss=build_loss(condition.loss),
            corruption=condition.task.corrupts(),
        )
        with jax.default_matmul_precision(condition.numerics.matmul_precision):
            values = [(s, k, v if math.isfinite(v) else None) for s, k, v in analyse(config, snapshots)]
        # An analysis of fewer snapshots is superseded by this one.
        stale = [each for each, of in kept.items() if each != key and of.get("analysis") == to_json(config)]
        for each in stale:
            kept[each].pop(str(member.index), None)
        kept.setdefault(key, {"analysis": to_json(config)})[str(member.index)] = values
        member.directory.write_analyses(kept)
