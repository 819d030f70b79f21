"""Run directories of experiments, and reading them in Python: `jaxgen.load_run`.

    <runs>/<paper>/<experiment>/<scale>/     a run; `scale+1a2b3c4d` with --set or --sweep, `scale.2` after --fresh
        run.json         the request (ID, scale, settings, seeds, extension), and the members it means
        paper/           the paper's code as it was (jaxgen/ledger/sources.py)
        populations/     one directory a population (jaxgen/run/directory.py)
        table.csv        the tidy table, one column a key
        results.json     verdicts
        report.html
        job/             where it was submitted to (jaxgen/launch/job.py)

Reading a run executes none of its code, and whoever reads it checks it: what it says it is, and that it is what was
saved. What does not fit is refused by name.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
import sys
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jaxgen.condition import Condition, identity_of, trajectories
from jaxgen.config import NOTEBOOK, UnknownKind, digest, from_json
from jaxgen.errors import UserError, nearest
from jaxgen.experiment.sweep import Point, swept_key
from jaxgen.ledger.archive import unpacked
from jaxgen.ledger.discovery import find, import_parts
from jaxgen.run.directory import CONSTANT, NOT_FETCHED, REQUEST, PopulationDirectory
from jaxgen.storage import links, objects
from jaxgen.storage.files import make_directory, read_sealed, reading, write_sealed
from jaxgen.table import Table

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.figure import Figure as Drawing

    from jaxgen.experiment import Experiment
    from jaxgen.ledger.network import TrainedNetwork
    from jaxgen.run.checkpoint import CheckpointStore

    Load = Callable[[CheckpointStore, int], Mapping[str, np.ndarray]]

Rows = list[tuple[str, int, int, str, float]]


@dataclasses.dataclass(frozen=True)
class Request:
    """What was asked for; the same request finds the same run."""

    paper: str
    experiment: str
    scale: str
    settings: tuple[str, ...] = ()
    seeds: int | None = None
    extend: int | None = None
    first_seed: int = 0  # of the `seeds`
    recorded: bool = False  # what the paper's folder has recorded is not trained again
    # How often at most the claims are judged while seeds are added, and of which conditions there are how many by now.
    looks: int = 1
    grown: tuple[tuple[str, int], ...] = ()
    sweeps: tuple[str, ...] = ()
    zipped: bool = False  # the values of the sweeps go together; else they are a grid

    def conditions(self, experiment: Experiment) -> tuple[Condition, ...]:
        """Returns the conditions of its experiment that it means, resolved."""
        conditions = experiment.at_scale(
            self.scale, self.settings, self.seeds, self.extend, self.first_seed, self.sweeps, self.zipped
        )
        seeds = dict(self.grown)
        return tuple(
            dataclasses.replace(each, seeds=tuple(range(seeds[each.name]))) if each.name in seeds else each
            for each in conditions
        )

    def points(self, experiment: Experiment) -> dict[str, Point]:
        """Returns where the conditions lie in its sweeps, by their names."""
        found = experiment.points(self.scale, self.settings, self.sweeps, self.zipped)
        return {condition.name: point for condition, point in found}

    def with_seeds(self, grown: Mapping[str, int]) -> Request:
        """Returns the request with so many seeds of some conditions."""
        return dataclasses.replace(self, grown=tuple(sorted(grown.items())))

    def with_seeds_of(self, before: Mapping[str, Any] | None, experiment: Experiment) -> Request:
        """Returns the request, which names no number of seeds, with those of its run: all of them where it trains on,
        else where they are no fewer than its own.

        Args:
          before: what `asked_before` returned.
          experiment: what it requests.
        """
        if before is None or before["first_seed"] != self.first_seed:
            return self
        grown = tuple((name, count) for name, count in before["grown"])
        kept = dataclasses.replace(self, seeds=before["seeds"], looks=before["looks"], grown=grown)
        own = {each.name: set(each.seeds) for each in self.conditions(experiment)}
        more = all(set(each.seeds) >= own[each.name] for each in kept.conditions(experiment))
        return kept if more or self.extend is not None else self

    def arguments(self) -> list[str]:
        """Returns the arguments of `jaxgen reproduce` that mean it."""
        found = [f"{self.paper}/{self.experiment}", "--scale", self.scale]
        return found + self.options()

    def options(self) -> list[str]:
        """Returns the options that change what a scale says."""
        numbers = {"seeds": self.seeds, "first-seed": self.first_seed, "extend": self.extend}
        given = [f"--{name}={value}" for name, value in numbers.items() if value]
        swept = [*(f"--sweep={each}" for each in self.sweeps), *(["--zip"] if self.zipped else [])]
        return [*(f"--set={each}" for each in self.settings), *swept, *given]

    def directory_name(self) -> str:
        # Without the values of sweeps: further values of the same settings train beside those that are there.
        changed = sorted([*self.settings, *map(swept_key, self.sweeps)])
        return self.scale + (f"+{digest(changed)[:8]}" if changed else "")


@dataclasses.dataclass(frozen=True, repr=False)
class Member:
    """One trained trajectory: its settings, its curves, its parameters."""

    name: str  # of its condition
    settings: Mapping[str, Any]  # of its condition, as JSON
    known: Condition | None  # its condition; None: a paper that is not there brings parts of it
    seed: int
    identity: str
    index: int  # in its population
    directory: PopulationDirectory
    parent: str | None  # its identity
    task_version: int  # with which it was trained; 0: unknown

    def __repr__(self) -> str:
        return f"Member({self.name!r}, seed {self.seed}, kept steps {self.steps()})"

    @property
    def condition(self) -> Condition:
        """Its settings.

        Raises:
          UserError: a paper that is not there brings parts of them; `settings` has them as JSON.
        """
        if self.known is None:
            from_json(self.settings)
        assert self.known is not None
        return self.known

    def steps(self) -> list[int]:
        """Returns the steps whose parameters are saved."""
        return sorted(map(int, self.directory.status()["snapshots"]))

    def variables(self, step: int | None = None, load: Load | None = None) -> dict[str, Any]:
        """Returns the Flax collections at a kept step (the last one by default), as numpy arrays.

        Args:
          step: the step.
          load: reads the population's snapshot of a step; for who asks many members.
        """
        from jaxgen.run.checkpoint import nest

        store = self._snapshots()
        if step is None:
            if not (steps := self.steps()):
                raise UserError(f"{self.directory.path} keeps no parameters yet")
            step = steps[-1]
        population = load(store, step) if load else store.load(step)
        leaves = {path: leaf[self.index] for path, leaf in population.items()}
        return {collection: nest(leaves, collection) for collection in {path.split(".")[0] for path in leaves}}

    def params(self, step: int | None = None) -> dict[str, Any]:
        """Returns the parameters at a kept step (the last one by default), as numpy arrays."""
        params: dict[str, Any] = self.variables(step)["params"]
        return params

    def network(self, step: int | None = None) -> TrainedNetwork:
        """Returns its network at a kept step (the last one by default): logits, activations by name, patching.

        Raises:
          UserError: the step was not kept; or a paper that is not there brings parts of the condition.
        """
        from jaxgen.ledger.network import TrainedNetwork

        steps = self.steps()
        chosen = max(steps, default=None) if step is None else step
        if chosen not in steps:
            kept = ", ".join(map(str, steps)) or "none yet"
            raise UserError(f"step: got {step}, expected one whose parameters are kept: {kept}")
        return TrainedNetwork(self.condition, self.seed, chosen, self.variables(chosen))

    def _snapshots(self) -> CheckpointStore:
        # Here, for jax is not needed to look at the rest of a run.
        from jaxgen.run.checkpoint import CheckpointStore

        known = {int(step): kept for step, kept in self.directory.status()["snapshots"].items()}
        return CheckpointStore(self.directory.path / "snapshots", owner=self.directory.owner, digests=known)

    def rows(self, name: str | None = None, at: Collection[int] | None = None) -> Rows:
        """Returns (condition, seed, step, key, value) of measures and analyses.

        Args:
          name: the condition's name to give them; None: its own.
          at: the steps of the measures, the last of which ends the analyses; None: all there are.
        """
        name = name or self.name
        steps, last = (None, math.inf) if at is None else (set(at), max(at))
        found: Rows = []
        for row in self.directory.rows().get(self.index, []):
            if steps is None or row["step"] in steps:
                values = row["values"].items()
                found += [(name, self.seed, row["step"], k, float("nan") if v is None else v) for k, v in values]
        with reading(self.directory.analyses_file):
            for kept in self.directory.analyses().values():
                for step, key, value in kept.get(str(self.index), []):
                    if step <= last:
                        found.append((name, self.seed, step, key, float("nan") if value is None else value))
        return found


@dataclasses.dataclass(frozen=True, repr=False)
class Run:
    """A run on disk."""

    path: Path
    # Where it was defined in Python; else the experiment is found by its ID when it is needed.
    defined: Experiment | None = dataclasses.field(default=None, compare=False)

    def __post_init__(self) -> None:
        objects.fetch(self.path, leave=NOT_FETCHED)
        links.confine(self.path)

    def __repr__(self) -> str:
        return f"Run({objects.url(self.path)!r})"

    @functools.cached_property
    def _about(self) -> dict[str, Any]:
        data: dict[str, Any] = read_sealed(self.path / "run.json", REQUEST)
        return data

    @functools.cached_property
    def request(self) -> Request:
        about, file = self._about, self.path / "run.json"
        with reading(file):
            seeds, extend, first = about["seeds"], about["extend"], about.get("first_seed", 0)
            sweeps, zipped = about.get("sweeps", []), about.get("zipped", False)
            if not all(isinstance(each, str) for each in (*about["settings"], *sweeps)):
                raise TypeError("settings and sweeps are text")
            if not isinstance(sweeps, list) or not isinstance(zipped, bool):
                raise TypeError("sweeps are a list, and zipped is true or false")
            if not all(each is None or (type(each) is int and each > 0) for each in (seeds, extend)):
                raise TypeError("seeds and extend are numbers, or null")
            looks, grown = about.get("looks", 1), tuple((str(name), int(of)) for name, of in about.get("grown", ()))
            if not all(type(each) is int and each >= 0 for each in (first, looks)):
                raise TypeError("first_seed and looks are numbers")
        return Request(
            about["paper"], about["experiment"], about["scale"], tuple(about["settings"]), seeds, extend, first,
            bool(about.get("recorded")), looks, grown, tuple(sweeps), zipped,
        )  # fmt: skip

    def missing(self) -> list[str]:
        """Returns what cannot be found here of its members' settings; their table, verdicts and parameters can be read
        all the same."""
        reasons = []
        for settings in {each.name: each.settings for each in self.trained() if each.known is None}.values():
            try:
                from_json(settings)
            except UserError as error:
                reasons.append(str(error))
        return list(dict.fromkeys(reasons))

    def populations(self) -> list[PopulationDirectory]:
        """Returns the populations that have begun.

        Raises:
          UserError: one has, and lacks its run.json.
        """
        found = [PopulationDirectory(path) for path in sorted((self.path / "populations").glob("*")) if path.is_dir()]
        for each in found:
            if not each.exists() and (each.status_file.exists() or each.metrics_file.exists()):
                raise UserError(f"{each.run_file} is missing; restore it from a copy, or start beside it with --fresh")
        return [each for each in found if each.exists()]

    @functools.cached_property
    def members(self) -> list[Member]:
        """The members that were last asked for and have begun, in the order of conditions and seeds."""
        self.check_whole()
        trained = {each.identity: each for each in self.trained()}
        return [trained[identity] for identity in dict.fromkeys(self._about["members"]) if identity in trained]

    def trained(self) -> list[Member]:
        """Returns every member on disk, those of earlier settings of the experiment too.

        Raises:
          UserError: one is not what its settings, seed and parent make it, or belongs to another run.
        """
        return self._trained

    @functools.cached_property
    def _trained(self) -> list[Member]:
        found: list[Member] = []
        for directory in self.populations():
            facts = directory.run()
            identities = [each["identity"] for each in facts["members"]]
            here = {name: self._about[name] for name in CONSTANT}
            if facts.get("of") != here or directory.path.name != digest(sorted(identities)):
                raise UserError(
                    f"{directory.path} belongs to another run, or to another folder; put it back to where it was"
                )
            with reading(directory.run_file):
                found += _members(directory, facts["members"], facts["of"]["paper"])
        return found

    def begun(self) -> dict[str, Member]:
        """Returns every member on disk by its identity; checked as by `trained`."""
        return {each.identity: each for each in self.trained()}

    def check_whole(self) -> None:
        """Raises `UserError` where run.json or results.json tell of what is no longer there, or no longer the same.

        Analyses may have gone on since results.json was written. Where it is damaged itself it is written anew.
        """
        with reading(self.path / "results.json"):
            then = self._results_or_none()
            then = then["populations"] if then else {}
            now = self.witness()
            for name in [*self._about["begun"], *then]:
                if name not in now:
                    place = self.path / "populations" / name
                    raise UserError(f"{place} is missing; `jaxgen resume {self.path}` trains it again")
            for name, analyses in then.items():
                file = self.path / "populations" / name / "analyses.json"
                if len(now[name]) < len(analyses):
                    raise UserError(
                        f"{file} lacks values that were judged; restore it from a copy, or remove results.json and "
                        f"compute them again: jaxgen resume {self.path}"
                    )
                if any(now[name].get(key, value) != value for key, value in analyses.items()):
                    raise UserError(f"{file} has other values than were judged; restore it from a copy")

    def witness(self) -> dict[str, dict[str, str]]:
        """Returns the populations, each with the digests of its analyses by their keys and members."""
        return {
            directory.path.name: {
                f"{key}/{member}": digest(values)
                for key, kept in directory.analyses().items()
                for member, values in kept.items()
                if member != "analysis"
            }
            for directory in self.populations()
        }

    def write_results(self, claims: list[dict[str, Any]], notes: Sequence[str], *, complete: bool) -> None:
        """Writes results.json; `complete` if nothing of the request is left to be trained."""
        facts = {"id": self._about["id"], "populations": self.witness(), "claims": claims, "notes": list(notes)}
        write_sealed(self.path / "results.json", {**dataclasses.asdict(self.request), **facts, "complete": complete})

    def _results(self) -> dict[str, Any]:
        """Returns results.json; raises `UserError` where it is damaged, or of another run."""
        file = self.path / "results.json"
        data: dict[str, Any] = read_sealed(file, {**CONSTANT, "populations": dict, "claims": list})
        if any(data[name] != self._about[name] for name in CONSTANT):
            raise UserError(f"{file} is of another run than run.json; restore it from a copy, or remove it")
        return data

    def _results_or_none(self) -> dict[str, Any] | None:
        try:
            return self._results()
        except UserError:
            return None

    def member(self, index: int | None = None, *, condition: str | None = None, seed: int | None = None) -> Member:
        """Returns one member.

        Args:
          index: its number in `members`; or, instead:
          condition: the name of its condition; None: there is only one.
          seed: its seed; None: the condition has only one.

        Raises:
          UserError: there is none such, or there are several.
        """
        if index is not None:
            if condition is not None or seed is not None:
                raise UserError("member: got a number beside condition or seed, expected one of the two ways")
            if not 0 <= index < len(self.members):
                raise UserError(f"member: got {index}, expected 0 to {len(self.members) - 1}")
            return self.members[index]
        names = {each.name for each in self.members}
        if condition is not None and condition not in names:
            raise UserError(f"no condition '{condition}'{nearest(condition, names)}")
        found = [each for each in self.members if condition in (None, each.name) and seed in (None, each.seed)]
        if len(found) != 1:
            there = found or [each for each in self.members if condition in (None, each.name)]
            some = ", ".join(f"'{each.name}' seed {each.seed}" for each in there[:8]) or "none, as none has begun"
            more = f" and {len(there) - 8} more" if len(there) > 8 else ""
            what = "several fit, name condition and seed" if found else f"got seed {seed}"
            raise UserError(f"member: {what}; there is: {some}{more}")
        return found[0]

    @functools.cached_property
    def table(self) -> Table:
        """The tidy table of everything trained in this run, as far as it has come."""
        return Table.of([row for member in self.members for row in member.rows()])

    @functools.cached_property
    def experiment(self) -> Experiment:
        """The experiment that it is of, from its paper's folder.

        Raises:
          UserError: the paper is not there, or was defined in another Python process.
        """
        if self.defined is not None:
            return self.defined
        if self.request.paper == NOTEBOOK:
            raise UserError(
                f"{self.path} was asked for from Python, and its experiment is there alone: give the same call again, "
                "and read what it returns"
            )
        return find(f"{self.request.paper}/{self.request.experiment}")[1][0]

    def figures(self) -> list[str]:
        """Returns the names of the experiment's figures."""
        return [each.name for each in self.experiment.figures]

    def figure(self, name: str, width: float = 10.0) -> Drawing:
        """Draws a figure of the experiment, as the report has it, from the steps trained so far.

        Args:
          name: one of `figures()`.
          width: of the drawing, in inches; the height follows.

        Returns:
          A matplotlib figure: `.savefig("accuracy.png")`, `.axes`; a notebook shows it.

        Raises:
          UserError: there is no such figure, or nothing has been measured for it yet.
        """
        from jaxgen.figures.draw import draw

        by_name = {each.name: each for each in self.experiment.figures}
        if name not in by_name:
            raise UserError(f"no figure '{name}'{nearest(name, by_name)}")
        conditions = self.request.conditions(self.experiment)
        begun, rows = self.begun(), []
        for each in trajectories(conditions):
            if (member := begun.get(each.identity)) is not None:
                at = each.condition.measure_at.steps(each.condition.steps)
                rows += member.rows(each.condition.name, at=at)
        drawing = draw(by_name[name], Table.of(rows), conditions, width=width)
        if drawing is None:
            raise UserError(f"figure '{name}': {self.path} has no values for it yet")
        if "ipykernel" in sys.modules:
            import matplotlib
            from matplotlib.backends import backend_registry

            # A notebook shows a returned figure once its backend has been loaded, which pyplot puts off.
            backend_registry.load_backend_module(matplotlib.get_backend())
        return drawing

    @property
    def notes(self) -> list[str]:
        """What a reader should know beside the verdicts last written: seeds that failed or were not trained."""
        return [str(each) for each in self._results().get("notes", [])]

    @property
    def verdicts(self) -> list[dict[str, Any]]:
        """The verdicts last written to results.json; `pandas.DataFrame(run.verdicts)` has one row a claim.

        Of each claim: `claim` (its name), `outcome`, `reason`, `values` by seed, the estimate `point` with its interval
        `low` to `high`, and what else results.json has.
        """
        results = self.path / "results.json"
        if not results.exists():
            raise UserError(f"{self.path} has no verdicts yet; `jaxgen resume {self.path}` finishes it")
        verdicts: list[dict[str, Any]] = self._results()["claims"]
        with reading(results):
            return [
                each | {"values": {int(seed): value for seed, value in each["values"].items()}} for each in verdicts
            ]


def load_run(path: str | Path) -> Run:
    """Opens a run: `load_run(path).table.rows`, `.verdicts`, `.member(condition="decay", seed=0).params(step)`.

    Args:
      path: the run's directory, or that of one of its populations; also gs://... and s3://..., and a file that
        `jaxgen export` wrote.

    Raises:
      UserError: there is no run.
    """
    start = objects.locate(str(path)).absolute()
    if start.is_file():
        return Run(unpacked(start))
    for candidate in (start, *start.parents[:2]):
        if objects.exists(candidate / "populations") and objects.exists(candidate / "run.json"):
            return Run(candidate)
    raise UserError(
        f"no run at {path}: expected a directory with run.json and populations/, as `jaxgen reproduce` makes"
    )


def _condition(settings: Mapping[str, Any], paper: str) -> Condition | None:
    """Returns the condition of saved settings; None where the paper that brings parts of it is not there."""
    asked: set[str] = set()
    while True:
        try:
            condition: Condition = from_json(settings)
        except UnknownKind as unknown:
            # A part may be of another paper than the run; an old name says no paper.
            slug = next((each for each in (unknown.slug, paper) if each and each not in asked), None)
            if slug is None:
                return None
            asked.add(slug)
            import_parts(slug)
        else:
            return condition


def _members(directory: PopulationDirectory, members: Sequence[Mapping[str, Any]], paper: str) -> Iterator[Member]:
    """Gives the members of a population as run.json has them.

    Raises:
      UserError: one is not the one that its identity says.
    """
    # Members of one condition share their settings.
    made: dict[int, tuple[Condition | None, dict[str, Any]]] = {}
    for index, facts in enumerate(members):
        settings = facts["settings"]
        if id(settings) not in made:
            condition = _condition(settings, paper)
            made[id(settings)] = (condition, condition.identity_fields() if condition else {})
        condition, fields = made[id(settings)]
        what = (settings["name"], settings, condition, facts["seed"], facts["identity"], index, directory)
        if condition is None:
            yield Member(*what, facts["parent"], 0)
            continue
        parent = (facts["parent"], facts["parent_steps"]) if facts["parent"] else None
        version = _task_version(condition, facts, parent, fields)
        if version is None:
            raise UserError(
                f"{directory.run_file}: '{condition.name}', seed {facts['seed']}, is not the run that its identity "
                f"says: its settings, seed or parent were edited, or a version of jaxgen trained it that took other "
                f"settings into account; restore the file from a copy, or start beside it with --fresh"
            )
        yield Member(*what, facts["parent"], version)


def _task_version(
    condition: Condition, facts: Mapping[str, Any], parent: tuple[str, int] | None, fields: Mapping[str, Any]
) -> int | None:
    """Returns the version of its task with which a member has the identity that it says; None: with none."""
    for version in range(type(condition.task).version, 0, -1):
        if identity_of(condition, facts["seed"], parent, {**fields, "task_version": version}) == facts["identity"]:
            return version
    return None


def begin_run(path: Path, request: Request, identities: Sequence[str]) -> None:
    """Makes a run's directory, or writes down anew what is wanted of one that has begun."""
    links.confine(path)
    file = path / "run.json"
    objects.fetch(path, [file.name])
    kept = read_sealed(file, REQUEST) if file.exists() else {"id": uuid.uuid4().hex, "begun": []}
    make_directory(path / "populations")
    facts = dataclasses.asdict(request)
    # Its populations know the settings in the order of the first request.
    facts["settings"] = kept.get("settings", facts["settings"])
    write_sealed(file, {**kept, **facts, "members": list(identities)})


def asked_before(path: Path) -> dict[str, Any] | None:
    """Returns, as JSON, which seeds the run at a path was last asked for; None where there is no run."""
    if not objects.exists(path / "run.json"):
        return None
    before = Run(path).request
    return {"seeds": before.seeds, "first_seed": before.first_seed, "looks": before.looks, "grown": before.grown}


def run_directory(root: Path, request: Request, *, fresh: bool) -> Path:
    """Returns where a request's run is or will be; with `fresh`, a place where there is none yet."""
    base = root / request.paper / request.experiment
    first = base / request.directory_name()
    later = (first.with_name(f"{first.name}.{number}") for number in itertools.count(2))
    existing = list(itertools.takewhile(objects.exists, itertools.chain([first], later)))
    if not existing:
        return first
    return first.with_name(f"{first.name}.{len(existing) + 1}") if fresh else existing[-1]
