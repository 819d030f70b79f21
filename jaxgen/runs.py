"""Run directories of experiments, and reading them in Python: `jaxgen.load_run`.

    <runs>/<paper>/<experiment>/<scale>/     a run; `scale+1a2b3c4d` with --set, `scale.2` after --fresh
        run.json         the request (ID, scale, settings, seeds, extension), and the members it means
        notebook.py      the experiment file as it was
        populations/     one directory a population (jaxgen/train/directory.py)
        table.csv        the tidy table, one column a key
        results.json     verdicts
        report.html
        job/             where it was submitted to (jaxgen/launch/job.py)

Reading a run executes none of its code.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jaxgen import objects
from jaxgen.config import digest, from_json
from jaxgen.errors import UserError
from jaxgen.experiment import Condition
from jaxgen.files import make_directory, read_json, reading, write_json
from jaxgen.table import Table
from jaxgen.train.directory import NOT_FETCHED, PopulationDirectory
from jaxgen.train.metrics import Row, read_rows

if TYPE_CHECKING:
    import numpy as np

    from jaxgen.train.checkpoint import CheckpointStore

    Load = Callable[[Path, int], Mapping[str, np.ndarray]]

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

    def directory_name(self) -> str:
        return self.scale + (f"+{digest(sorted(self.settings))[:8]}" if self.settings else "")


@dataclasses.dataclass(frozen=True, repr=False)
class Member:
    """One trained trajectory: its settings, its curves, its parameters."""

    condition: Condition
    seed: int
    identity: str
    index: int  # in its population
    directory: PopulationDirectory
    parent: str | None = None  # its identity

    def __repr__(self) -> str:
        return f"Member({self.condition.name!r}, seed {self.seed}, kept steps {self.steps()})"

    def steps(self) -> list[int]:
        """Returns the steps whose parameters were kept."""
        return self._snapshots().steps()

    def variables(self, step: int | None = None, load: Load | None = None) -> dict[str, Any]:
        """Returns the Flax collections at a kept step (the last one by default), as numpy arrays.

        Args:
          step: the step.
          load: reads the snapshots of a folder at a step; for who asks many members of a population.
        """
        from jaxgen.train.checkpoint import nest

        store = self._snapshots()
        if step is None:
            if not (steps := store.steps()):
                raise UserError(f"{self.directory.path} keeps no parameters yet")
            step = steps[-1]
        population = load(store.directory, step) if load else store.load(step)
        leaves = {path: leaf[self.index] for path, leaf in population.items()}
        return {collection: nest(leaves, collection) for collection in {path.split(".")[0] for path in leaves}}

    def params(self, step: int | None = None) -> dict[str, Any]:
        """Returns the parameters at a kept step (the last one by default), as numpy arrays."""
        params: dict[str, Any] = self.variables(step)["params"]
        return params

    def _snapshots(self) -> CheckpointStore:
        # Here, for jax is not needed to look at the rest of a run.
        from jaxgen.train.checkpoint import CheckpointStore

        return CheckpointStore(self.directory.path / "snapshots")

    def rows(self, name: str | None = None, at: Collection[int] | None = None) -> Rows:
        """Returns (condition, seed, step, key, value) of measures and analyses.

        Args:
          name: the condition's name to give them; None: its own.
          at: the steps of the measures, the last of which ends the analyses; None: all there are.
        """
        name = name or self.condition.name
        steps, last = (None, math.inf) if at is None else (set(at), max(at))
        found: Rows = []
        metrics, analyses = self.directory.metrics_file, self.directory.analyses_file
        for row in _rows_by_member(metrics, _version(metrics)).get(self.index, ()):
            if steps is None or row["step"] in steps:
                values = row["values"].items()
                found += [(name, self.seed, row["step"], k, float("nan") if v is None else v) for k, v in values]
        if analyses.exists():
            with reading(analyses):
                for kept in _analyses(analyses, _version(analyses)).values():
                    for step, key, value in kept.get(str(self.index), []):
                        if step <= last:
                            found.append((name, self.seed, step, key, float("nan") if value is None else value))
        return found


def _version(path: Path) -> tuple[int, int, int] | None:
    """Returns what changes whenever a file does."""
    stat = path.stat() if path.is_file() else None
    return stat and (stat.st_ino, stat.st_size, stat.st_mtime_ns)


# Files that hold what all members of a population gave are read once, not once a member.
@functools.lru_cache(maxsize=4)
def _rows_by_member(path: Path, _: tuple[int, int, int] | None) -> dict[Any, list[Row]]:
    found: dict[Any, list[Row]] = {}
    for row in read_rows(path):
        found.setdefault(row["member"] if isinstance(row["member"], int) else None, []).append(row)
    return found


@functools.lru_cache(maxsize=4)
def _analyses(path: Path, _: tuple[int, int, int] | None) -> Any:
    return read_json(path)


@dataclasses.dataclass(frozen=True)
class Run:
    """A run on disk."""

    path: Path

    def __post_init__(self) -> None:
        objects.fetch(self.path, leave=NOT_FETCHED)

    @functools.cached_property
    def request(self) -> Request:
        data = read_json(self.path / "run.json", {"paper": str, "experiment": str, "scale": str, "settings": list})
        return Request(
            data["paper"], data["experiment"], data["scale"], tuple(data["settings"]), data["seeds"], data["extend"]
        )

    def populations(self) -> list[PopulationDirectory]:
        paths = sorted((self.path / "populations").glob("*/run.json"))
        return [PopulationDirectory(path.parent) for path in paths]

    @functools.cached_property
    def members(self) -> list[Member]:
        """The members that were last asked for and have begun, in the order of conditions and seeds."""
        trained = {each.identity: each for each in self.trained()}
        wanted = read_json(self.path / "run.json", {"members": list})["members"]
        return [trained[identity] for identity in dict.fromkeys(wanted) if identity in trained]

    def trained(self) -> Iterator[Member]:
        """Gives every member on disk, those of earlier settings of the experiment too."""
        for directory in self.populations():
            members = directory.run()["members"]
            made: dict[int, Condition] = {}  # members of one condition share their settings
            for index, facts in enumerate(members):
                settings = facts["settings"]
                if id(settings) not in made:
                    made[id(settings)] = from_json(settings)
                yield Member(
                    made[id(settings)], facts["seed"], facts["identity"], index, directory, facts.get("parent")
                )

    def member(self, index: int) -> Member:
        """Returns a member by its number in `members`."""
        if not 0 <= index < len(self.members):
            raise UserError(f"member: got {index}, expected 0 to {len(self.members) - 1}")
        return self.members[index]

    @functools.cached_property
    def table(self) -> Table:
        """The tidy table of everything trained in this run, as far as it has come."""
        return Table.of([row for member in self.members for row in member.rows()])

    @property
    def verdicts(self) -> list[dict[str, Any]]:
        """The verdicts last written to results.json."""
        results = self.path / "results.json"
        if not results.exists():
            raise UserError(f"{self.path} has no verdicts yet; `jaxgen resume {self.path}` finishes it")
        verdicts: list[dict[str, Any]] = read_json(results, {"claims": list})["claims"]
        with reading(results):
            return [
                each | {"values": {int(seed): value for seed, value in each["values"].items()}} for each in verdicts
            ]


def load_run(path: str | Path) -> Run:
    """Opens a run: `load_run(path).table.rows`, `.verdicts`, `.member(3).params(step)`.

    Args:
      path: the run's directory, or that of one of its populations; also gs://... and s3://...

    Raises:
      UserError: there is no run.
    """
    start = objects.locate(str(path)).absolute()
    for candidate in (start, *start.parents[:2]):
        if objects.exists(candidate / "populations") and objects.exists(candidate / "run.json"):
            return Run(candidate)
    raise UserError(
        f"no run at {path}: expected a directory with run.json and populations/, as `jaxgen reproduce` makes"
    )


def begin_run(path: Path, request: Request, identities: Sequence[str]) -> None:
    """Makes a run's directory, or writes down anew what is wanted of one that has begun."""
    make_directory(path / "populations")
    write_json(path / "run.json", dataclasses.asdict(request) | {"members": list(identities)})


def run_directory(root: Path, request: Request, *, fresh: bool) -> Path:
    """Returns where a request's run is or will be; with `fresh`, a place where there is none yet."""
    base = root / request.paper / request.experiment
    first = base / request.directory_name()
    later = (first.with_name(f"{first.name}.{number}") for number in itertools.count(2))
    existing = list(itertools.takewhile(objects.exists, itertools.chain([first], later)))
    if not existing:
        return first
    return first.with_name(f"{first.name}.{len(existing) + 1}") if fresh else existing[-1]
