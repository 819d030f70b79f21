"""One experiment from its request to its verdicts: what trains, in which order, and what is judged."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import jax

from jaxgen.condition import Condition, Trajectory, populations, trajectories
from jaxgen.config import digest, to_json
from jaxgen.distributed import processes
from jaxgen.errors import UserError, nearest
from jaxgen.experiment import Experiment
from jaxgen.figures import Figure
from jaxgen.ledger.recorded import Recorded, to_train
from jaxgen.ledger.runs import Member, Request, Rows, Run, begin_run
from jaxgen.ledger.stated import changed_since
from jaxgen.ledger.swept import Points, figures_of
from jaxgen.ledger.verdict import Verdict, judge_all, verdict_json
from jaxgen.measures.evaluation import MemberSnapshots
from jaxgen.run.arguments import Interrupted, Observer, RunArguments
from jaxgen.run.begin import how_to_train
from jaxgen.run.checkpoint import CheckpointStore
from jaxgen.run.directory import PopulationDirectory, judging
from jaxgen.run.goodput import ACTIVITIES
from jaxgen.run.loop import train
from jaxgen.run.manifest import published_steps
from jaxgen.run.throughput import Timing
from jaxgen.starts.base import NotStarted
from jaxgen.starts.transforms import Start
from jaxgen.storage import objects
from jaxgen.storage.files import reading, write_text
from jaxgen.table import NOT_STARTED, Table

if TYPE_CHECKING:
    from jaxgen.ledger.runs import Load

NOTHING: Recorded = MappingProxyType({})


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
    complete: bool  # whether all that was asked for is trained, or never can be
    points: Points = dataclasses.field(default_factory=dict)  # of a sweep
    failures: tuple[Exception, ...] = ()  # of trainings that ended in an error of the program; the others went on

    @property
    def seconds(self) -> dict[str, float]:
        """The seconds that its trainings took, by activity."""
        return {activity: sum(each.seconds.get(activity, 0.0) for each in self.timings) for activity in ACTIVITIES}


def reproduce(
    experiment: Experiment,
    request: Request,
    path: Path,
    *,
    observer: Observer,
    arguments: RunArguments,
    recorded: Recorded = NOTHING,
) -> Reproduction:
    """Trains what is unfinished of an experiment, measures and judges it, and writes results.json.

    Args:
      experiment: what to reproduce.
      request: at which scale, with which changes.
      path: the run's directory, begun or not.
      observer: is told of the progress.
      arguments: how to run.
      recorded: what is not trained again: its rows count as this run's.

    Raises:
      UserError: the request does not fit the experiment.
      Interrupted: the observer asked to stop; the same call goes on from there.
    """
    conditions = request.conditions(experiment)
    failures = train_all(conditions, request, path, observer=observer, arguments=arguments, recorded=recorded)
    with judging(path):
        return dataclasses.replace(collect(path, experiment, conditions, observer, recorded), failures=failures)


def check(conditions: Sequence[Condition], path: Path, arguments: RunArguments, recorded: Recorded = NOTHING) -> None:
    """Raises `UserError` where what is unfinished cannot be trained so; makes nothing.

    Args:
      conditions: of the request.
      path: the run's directory, begun or not.
      arguments: how to run.
      recorded: what is not trained.
    """
    wanted = to_train(trajectories(conditions), recorded)
    for name, members in _groups(path, wanted):
        directory = PopulationDirectory(path / "populations" / name)
        horizon = _horizon(members, wanted)
        if not _finished(directory, horizon):
            if arguments.resume == "must":
                _check_extendable(directory, horizon)
            how_to_train(directory, members, arguments)


def _check_extendable(directory: PopulationDirectory, horizon: int) -> None:
    """Raises `UserError` where a population has ended, and what is needed to train it on was removed."""
    status = directory.status()
    if status["finished"] and not published_steps(directory.path / "recovery"):
        conditions = ", ".join(dict.fromkeys(each["condition"] for each in directory.run()["members"]))
        raise UserError(
            f"'{conditions}' has ended at step {status['horizon']} and cannot be trained on to step {horizon}: its "
            f"recovery states were removed, as `jaxgen prune` does; train it anew with --fresh"
        )


def unfinished(
    conditions: Sequence[Condition], path: Path, recorded: Recorded = NOTHING
) -> list[tuple[list[Trajectory], int]]:
    """Returns the populations that are still to be trained, in their order, each with the steps that are left.

    Args:
      conditions: of the request.
      path: the run's directory, begun or not.
      recorded: what is not trained.
    """
    wanted = to_train(trajectories(conditions), recorded)
    found = []
    for name, members in _groups(path, wanted):
        directory, horizon = PopulationDirectory(path / "populations" / name), _horizon(members, wanted)
        if not _finished(directory, horizon):
            found.append((members, horizon - (directory.status()["step"] or 0)))
    return found


def train_all(
    conditions: Sequence[Condition],
    request: Request,
    path: Path,
    *,
    observer: Observer,
    arguments: RunArguments,
    recorded: Recorded = NOTHING,
) -> tuple[Exception, ...]:
    """Trains what is unfinished; of several processes, each calls this, and the first one alone goes on from there.

    Returns the errors of trainings that failed, for which no user is to blame; the other trainings go on.
    """
    wanted = to_train(trajectories(conditions), recorded)
    groups = processes.told(lambda: _begin(path, request, wanted))
    if not objects.exists(path / "run.json"):
        raise UserError(f"{path} is not there for process {processes.index()}: put --runs where all processes see it")
    run = Run(path)
    begun = run.begun()
    by_identity = {each.identity: each for each in wanted}
    failures: list[Exception] = []
    for name, identities in groups:
        members = [_begun(identity, begun, by_identity) for identity in identities]
        try:
            _train_one(path / "populations" / name, members, wanted, run, observer, arguments)
        except (UserError, objects.StoreError, OSError, Interrupted):
            raise  # what stands in the way of this one stands in the way of all
        except Exception as error:
            if processes.count() > 1:
                raise  # the other processes are in the middle of it
            failures.append(error)
            names = ", ".join(dict.fromkeys(member.condition.name for member in members))
            observer.note(f"{names}: training failed, the others go on: {type(error).__name__}: {error}")
    return tuple(failures)


def _begin(path: Path, request: Request, wanted: Sequence[Trajectory]) -> list[tuple[str, list[str]]]:
    """Returns the populations to train in their order, each as its directory's name and its members' identities."""
    groups = _groups(path, wanted)
    begin_run(path, request, [each.identity for each in wanted])
    return [(name, [each.identity for each in members]) for name, members in groups]


def _groups(path: Path, wanted: Sequence[Trajectory]) -> list[tuple[str, list[Trajectory]]]:
    """Returns the populations of a run, begun or not, in the order of training: each as its directory's name, and its
    members."""
    run = Run(path)
    begun = run.begun()
    missing = [each for each in wanted if each.identity not in begun]
    by_identity = {each.identity: each for each in wanted}
    groups: list[tuple[str, list[Trajectory]]] = []
    for directory in dict.fromkeys(begun[each.identity].directory for each in wanted if each.identity in begun):
        members = [_begun(identity, begun, by_identity) for identity in directory.identities()]
        groups.append((directory.path.name, members))
    for members in populations(missing):
        groups.append((population_name(members), members))
    return sorted(groups, key=lambda group: group[1][0].depth())


def population_name(members: Iterable[Trajectory]) -> str:
    """Returns the name of a population's directory."""
    return digest(sorted(each.identity for each in members))


def _begun(identity: str, begun: Mapping[str, Member], wanted: Mapping[str, Trajectory]) -> Trajectory:
    """Returns a member as wanted now; one that is no longer wanted goes on as it was begun."""
    if identity in wanted:
        return wanted[identity]
    member = begun[identity]
    parent = _begun(member.parent, begun, wanted) if member.parent else None
    return Trajectory(member.condition, member.seed, identity, parent)


def _train_one(
    path: Path,
    members: Sequence[Trajectory],
    wanted: Sequence[Trajectory],
    run: Run,
    observer: Observer,
    arguments: RunArguments,
) -> None:
    same = _same(members, wanted)
    horizon = _horizon(members, wanted)
    if any(processes.gathered(observer.stop_requested())):
        raise Interrupted("stopped between two trainings; nothing is lost")
    if processes.told(lambda: _finished(PopulationDirectory(path), horizon)):
        return
    identities = {member.identity for member in members}
    ends = {each.condition.steps for each in same}
    snapshots = ends | {step for each in same for step in each.condition.snapshots}
    for child in wanted:
        if child.parent is not None and child.parent.identity in identities:
            snapshots |= _snapshots_for(child, horizon)
    has_parents = any(member.parent is not None for member in members)
    # As the parents have left them.
    trained = {each.identity: each for each in Run(run.path).trained()} if has_parents else {}
    loaded: dict[tuple[Path, int], Mapping[str, Any]] = {}  # not once for each member

    def load(store: CheckpointStore, step: int) -> Mapping[str, Any]:
        if (store.directory, step) not in loaded:
            if len(loaded) == 2:  # a step, and step 0, where masks rewind
                loaded.pop(next(iter(loaded)))
            loaded[store.directory, step] = store.load(step)
        return loaded[store.directory, step]

    started: list[tuple[Trajectory, Start | None]] = []
    for member in members:
        try:
            started.append((member, _start(member, trained, load)))
        except NotStarted as reason:
            observer.note(f"{member.condition.name}, seed {member.seed}: not trained: {reason}")
    if not started:
        return
    train(
        path if len(started) == len(members) else path.with_name(population_name(member for member, _ in started)),
        [member for member, _ in started],
        horizon=horizon,
        snapshot_steps=snapshots,
        starts=[start for _, start in started],
        observer=observer,
        arguments=arguments,
        ends=ends,
    )


def _same(members: Sequence[Trajectory], wanted: Sequence[Trajectory]) -> list[Trajectory]:
    """Returns a population's members, and what is wanted of equal identity."""
    identities = {member.identity for member in members}
    return [*members, *(each for each in wanted if each.identity in identities)]


def _horizon(members: Sequence[Trajectory], wanted: Sequence[Trajectory]) -> int:
    return max(each.condition.steps for each in _same(members, wanted))


def _finished(directory: PopulationDirectory, horizon: int) -> bool:
    status = directory.status()
    return bool(status["finished"] and status["horizon"] >= horizon)


def _snapshots_for(child: Trajectory, horizon: int) -> set[int]:
    """Returns the steps at which a parent must keep its parameters for this child."""
    assert child.parent is not None
    return child.condition.start.snapshots_of_parent(child.parent.condition.measure_at.grid(horizon))


def _start(member: Trajectory, trained: Mapping[str, Member], load: Load) -> Start | None:
    start = member.condition.start
    if member.parent is None:
        return None
    parent, step = _parent_at(member, trained)
    as_jax = lambda tree: jax.tree.map(jax.numpy.asarray, tree)  # noqa: E731
    variables = as_jax(parent.variables(step, load))
    parent_init = as_jax(parent.variables(0, load)) if start.rewinds() else variables
    model_state = dict(variables)
    made = Start(model_state.pop("params"), model_state, mask=None, parent_init=parent_init)
    return start.begin(made, member.condition, member.seed)


def _parent_at(child: Trajectory, trained: Mapping[str, Member]) -> tuple[Member, int]:
    """Returns the parent of a trajectory, and at which of its kept steps the trajectory starts.

    Raises:
      NotStarted: the parent never came there.
      UserError: the parameters of the step were not kept.
    """
    start, wanted = child.condition.start, child.parent
    assert wanted is not None
    name, parent = wanted.condition.name, trained.get(wanted.identity)
    status = parent.directory.status() if parent else {}
    if parent is None or not (status["finished"] and status["horizon"] >= wanted.condition.steps):
        raise NotStarted(f"'{name}', which it starts from, was not trained")
    end, of = wanted.condition.steps, parent

    def values(key: str) -> Any:
        table = Table.of(of.rows(at=wanted.condition.measure_at.grid(end))).seed(of.seed)
        return table.values(of.condition.name, key)

    step = start.step_of_parent(name, end, values)
    ended = status["members"][parent.index]
    if ended["state"] == "failed" and ended["step"] < step:
        raise NotStarted(f"'{name}' failed at step {ended['step']}")
    kept = parent.steps()
    if ended["state"] == "stopped" and ended["step"] < step:
        step = min((each for each in kept if each >= ended["step"]), default=step)  # its parameters have stayed
    if step not in kept:
        raise UserError(f"start: step {step} of '{name}' was not kept ({kept} were); train it anew with --fresh")
    return parent, step


def _never(wanted: Trajectory, trained: Mapping[str, Member]) -> str | None:
    """Returns why a trajectory that has not begun will not; None where its parent may still come to where it starts."""
    if wanted.parent is None:
        return None
    parent = trained.get(wanted.parent.identity)
    if parent is None:
        return _never(wanted.parent, trained)
    status = parent.directory.status()
    if not (status["finished"] and status["horizon"] >= wanted.parent.condition.steps):
        return None
    try:
        _parent_at(wanted, trained)
    except NotStarted as reason:
        return str(reason)
    return None


def collect(
    path: Path,
    experiment: Experiment,
    conditions: tuple[Condition, ...],
    observer: Observer,
    recorded: Recorded = NOTHING,
) -> Reproduction:
    """Runs the analyses that are due, judges the claims, and writes table.csv and results.json."""
    found = look(path, experiment, conditions, recorded, observer)
    write_text(path / "table.csv", found.table.csv())
    Run(path).write_results([verdict_json(verdict) for verdict in found.verdicts], found.notes, complete=found.complete)
    return found


def look(
    path: Path,
    experiment: Experiment,
    conditions: tuple[Condition, ...],
    recorded: Recorded = NOTHING,
    observer: Observer | None = None,
) -> Reproduction:
    """Judges the claims as far as the run is, and writes nothing.

    Args:
      path: the run's directory.
      experiment: whose claims are judged.
      conditions: of the request.
      recorded: rows that count as this run's.
      observer: with one, the analyses that are due are run, and kept.
    """
    run = Run(path)
    run.check_whole()
    request = run.request
    by_identity = {each.identity: each for each in run.trained()}
    rows: Rows = []
    finished: Rows = []  # claims are judged on these alone
    complete = True
    notes: list[str] = []
    timings: dict[Path, Timing] = {}
    for each in by_identity.values():
        if each.task_version < type(each.condition.task).version:
            notes.append(
                f"'{each.condition.name}', seed {each.seed}, is left out: version {each.task_version} of its task "
                f"trained it, and {type(each.condition.task).version} is asked for"
            )
    statuses: dict[Path, dict[str, Any]] = {}
    for wanted in trajectories(conditions):
        name, seed, horizon = wanted.condition.name, wanted.seed, wanted.condition.steps
        member = by_identity.get(wanted.identity)
        if member is None and wanted.identity in recorded:
            rows += [(name, seed, *row) for row in recorded[wanted.identity]]
            finished += rows[-len(recorded[wanted.identity]) :]
            continue
        if member is None:
            reason = _never(wanted, by_identity)
            if reason:
                notes.append(f"{name}, seed {seed}: not trained: {reason}")
                rows.append((name, seed, 0, NOT_STARTED, 1.0))
                finished.append(rows[-1])
            complete = complete and bool(reason)
            continue
        if member.directory.path not in statuses:
            statuses[member.directory.path] = member.directory.status()
        status = statuses[member.directory.path]
        if member.directory.path not in timings:
            timings[member.directory.path] = _timing(member.directory, status)
            notes += [
                f"'{wanted.condition.name}' was resumed though bits may change, {each}" for each in status["drift"]
            ]
        if status["finished"] and observer is not None:
            _analyse(wanted, member, observer)
        found = member.rows(name, at=wanted.condition.measure_at.steps(horizon))
        state: dict[str, Any] = status["members"][member.index] if status["members"] else {"state": "going"}
        if state["state"] == "failed":
            notes.append(f"{name}, seed {seed}: training gave numbers that are not finite at step {state['step']}")
            # A claim must not read the last good rows as if they were final.
            found += [(name, seed, state["step"] + 1, key, math.nan) for key in dict.fromkeys(row[3] for row in found)]
        rows += found
        if status["finished"] and status["horizon"] >= horizon:
            if state["state"] == "going" and not any(row[2] == horizon for row in found):
                notes.append(
                    f"{name}, seed {seed}: trained to step {status['horizon']}, but not measured at step {horizon}, "
                    f"its end; train it anew with --fresh"
                )
                continue
            finished += found
        else:
            complete = False
    table = Table.of(rows)
    points = request.points(experiment) if request.sweeps else {}
    if points:
        # The claims and figures of the paper are about conditions that are not in this run.
        notes.append(f"no claim is judged: {withheld(experiment, request)}")
        experiment = dataclasses.replace(experiment, claims=(), figures=figures_of(points, table, request.zipped))
    verdicts = judge_all(
        experiment.claims,
        Table.of(finished),
        request.scale,
        seeds={each.name: each.seeds for each in conditions},
        looks=request.looks,
        withheld=withheld(experiment, request),
    )
    changed = changed_since(path, experiment)
    verdicts = [dataclasses.replace(each, changed=each.claim in changed) for each in verdicts]
    if request.extend is not None:
        notes.append(f"every condition was trained on to step {request.extend}")
    if rows:
        notes += [note for figure in experiment.figures for note in _missing_keys(figure, table)]
    return Reproduction(
        path, request, experiment, conditions, table, tuple(verdicts), tuple(notes), tuple(timings.values()), complete,
        points,
    )  # fmt: skip


def _timing(directory: PopulationDirectory, status: Mapping[str, Any]) -> Timing:
    members = directory.run()["members"]
    timing = Timing(
        conditions=tuple(dict.fromkeys(each["condition"] for each in members)),
        members=len(members),
        seconds=status["seconds"],
        throughput=status["throughput"],
    )
    with reading(directory.status_file):
        if timing.milliseconds():
            timing.rate()
    return timing


def _missing_keys(figure: Figure, table: Table) -> list[str]:
    """Returns a note for every key of a figure that no condition has."""
    keys = set(table.measured_keys())
    return [
        f"figure '{figure.name}': no key '{key}'{nearest(key, keys)}" for key in figure.keys_drawn() if key not in keys
    ]


def withheld(experiment: Experiment, request: Request) -> str:
    """Returns why the claims are not judged, or nothing."""
    if request.settings:
        return "settings were changed with --set"
    if request.sweeps:
        return "settings were swept with --sweep"
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
        snapshots = MemberSnapshots(
            task=condition.task,
            module=condition.model.build(condition.task.shape(), condition.numerics.compute_dtype),
            variables_by_step={step: member.variables(step) for step in member.steps()},
            splits=condition.task.table(member.seed),
            loss=condition.loss.example_loss(),
        )
        with jax.default_matmul_precision(condition.numerics.matmul_precision):
            values = [(s, k, v if math.isfinite(v) else None) for s, k, v in config.rows(snapshots)]
        # An analysis of fewer snapshots is superseded by this one.
        stale = [each for each, of in kept.items() if each != key and of.get("analysis") == to_json(config)]
        for each in stale:
            kept[each].pop(str(member.index), None)
        kept.setdefault(key, {"analysis": to_json(config)})[str(member.index)] = values
        member.directory.write_analyses(kept)
