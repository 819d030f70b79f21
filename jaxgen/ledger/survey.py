"""The runs in a folder or a bucket: a summary of each, also of one that is damaged. Imports no jax, numpy or pandas.

A summary believes the small files of a run, digests included; it does not read rows and checkpoints. `load_run` does.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import os
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from jaxgen.errors import UserError
from jaxgen.run import lease
from jaxgen.run.directory import CONSTANT, REQUEST, PopulationDirectory
from jaxgen.storage import links, objects
from jaxgen.storage.files import read_sealed, reading

# What makes a folder a run, whole or damaged.
_SIGNS = ("run.json", "populations", "results.json")
_SIGN_OF_JOB = "job/job.json"
# <paper>/<experiment>/<scale> below the folder of runs.
_DEPTH = 3
# Of a run in a store, only these are fetched.
_FETCHED = ("run.json", "results.json", "status.json", "job.json", "starts")


@dataclasses.dataclass
class Summary:
    """A run in short. `Summary.json` is what `jaxgen runs --json` prints (docs/runs.md)."""

    path: Path
    paper: str
    experiment: str
    scale: str
    settings: tuple[str, ...] = ()
    seeds: int | None = None
    extend: int | None = None
    state: str = "damaged"
    step: int = 0  # of the population that is trained next, or was last
    horizon: int = 0
    members: int = 0
    trained: int = 0  # members that have come to their end
    failed: int = 0  # members that ended with numbers that are not finite
    claims: dict[str, int] | None = None  # the outcomes of the paper's claims; None: not judged yet
    bytes: int | None = None  # None: in a store, which does not say
    changed: float | None = None  # when a file was last written; seconds since the epoch
    problem: str | None = None

    @property
    def id(self) -> str:
        return f"{self.paper}/{self.experiment}"

    def json(self) -> dict[str, Any]:
        changed = self.changed and datetime.datetime.fromtimestamp(self.changed, datetime.UTC)
        return {
            **dataclasses.asdict(self),
            "path": objects.url(self.path),
            "changed": changed and changed.isoformat(timespec="seconds"),
        }

    def age(self) -> float | None:
        """Returns the seconds since a file of the run was written."""
        return None if self.changed is None else max(0.0, time.time() - self.changed)


def survey(root: Path) -> Iterator[Summary]:
    """Yields a summary of every run below a folder of runs, those that changed last first.

    Raises:
      UserError: the folder is not there.
    """
    if objects.is_remote(root):
        found = [summary(path) for path in _in_store(root)]
    else:
        if not root.is_dir():
            raise UserError(
                f"no folder of runs at {root}; `jaxgen reproduce` makes it, --runs or $JAXGEN_RUNS names another one"
            )
        found = [summary(path) for path in _below(root, _DEPTH)]
    yield from sorted(found, key=lambda each: (-(each.changed or 0), str(each.path)))


def _below(folder: Path, depth: int) -> Iterator[Path]:
    """Yields the runs at a folder or below it."""
    with contextlib.suppress(OSError):
        entries = sorted(os.listdir(folder))
        if any(each in entries for each in _SIGNS) or (folder / _SIGN_OF_JOB).exists():
            yield folder
        elif depth:
            for each in entries:
                if (folder / each).is_dir():
                    yield from _below(folder / each, depth - 1)


def _in_store(root: Path) -> list[Path]:
    wanted = [name for name in objects.names(root) if name.rpartition("/")[2] in _FETCHED]
    objects.fetch(root, wanted)
    parts = [name.split("/") for name in wanted]
    runs = {"/".join(part[:at]) for part in parts for at in [_depth_of_run(part)] if at is not None}
    return [root / each for each in sorted(runs)]


def _depth_of_run(parts: list[str]) -> int | None:
    """Returns how many parts of a file's name lead to its run."""
    for at, part in enumerate(parts[: _DEPTH + 1]):
        if part in _SIGNS or "/".join(parts[at:]) == _SIGN_OF_JOB:
            return at
    return None


def summary(path: Path) -> Summary:
    """Returns a summary of the run at a path; of one that cannot be read, with the reason as its `problem`."""
    *_, paper, experiment, scale = ("", "", *path.absolute().parts)
    found = Summary(path, paper, experiment, scale.partition("+")[0].partition(".")[0])
    try:
        if not objects.is_remote(path):
            found.bytes, found.changed = _extent(path)
        with reading(path):
            _read(found)
    except UserError as error:
        found.state, found.problem = "damaged", str(error)
    except OSError as error:
        found.state, found.problem = "damaged", f"{error.strerror or error}: {error.filename or path}"
    return found


def _extent(path: Path) -> tuple[int, float]:
    """Returns how many bytes the files of a run have, and when one was last written; locks do not count.

    Raises:
      UserError: it holds a link.
    """
    size, newest, folders = 0, 0.0, [str(path)]
    while folders:  # of thousands of files: no paths are made
        with contextlib.suppress(FileNotFoundError), os.scandir(folders.pop()) as entries:
            for each in entries:
                if each.is_dir(follow_symlinks=False):
                    folders.append(each.path)
                    continue
                if each.is_symlink():
                    links.refuse(Path(each.path), path)
                about = each.stat(follow_symlinks=False)
                size += about.st_size
                if each.name not in ("lock", "owner.json"):
                    newest = max(newest, about.st_mtime)
    return size, newest or path.stat().st_mtime


def _read(found: Summary) -> None:
    if not (found.path / "run.json").exists() and (found.path / _SIGN_OF_JOB).exists():
        found.state = "gone"  # a job keeps it elsewhere
        return
    about = read_sealed(found.path / "run.json", REQUEST)
    for name in ("paper", "experiment", "scale", "seeds", "extend"):
        setattr(found, name, about[name])
    found.settings = tuple(map(str, about["settings"]))
    populations = [
        PopulationDirectory(each) for each in sorted((found.path / "populations").glob("*")) if each.is_dir()
    ]
    found.members = len(set(about["members"]))
    _count_trained(found, set(about["members"]), [each for each in populations if each.exists()])
    results = _results(found.path, about)
    if results is not None:
        found.claims = dict(Counter(each["outcome"] for each in results["claims"] if each["role"] == "paper"))
    judged = results is not None and all(results.get(name) == about.get(name) for name in ("seeds", "extend", "grown"))
    complete = results is not None and results.get("complete", found.trained == found.members)
    if any(lease.holder(each) is not None for each in (found.path, *(each.path for each in populations))):
        found.state = "running"
    else:
        found.state = "finished" if judged and complete else "stopped"


def _count_trained(found: Summary, wanted: set[str], populations: list[PopulationDirectory]) -> None:
    ended: list[tuple[int, int]] = []
    going: list[tuple[int, int]] = []
    for directory in populations:
        facts, status = directory.run(), directory.status()
        asked = [(at, each) for at, each in enumerate(facts["members"]) if each["identity"] in wanted]
        if not asked:
            continue
        horizon = max(max(each["settings"]["steps"], found.extend or 0) for _, each in asked)
        if status["finished"] and status["horizon"] >= horizon:
            found.trained += len(asked)
            ended.append((status["step"], horizon))
        else:
            going.append((status["step"] or 0, horizon))
        states = [status["members"][at]["state"] for at, _ in asked if status["members"]]
        found.failed += states.count("failed")
    if going or ended:
        found.step, found.horizon = (going or ended)[-1]


def _results(path: Path, about: Mapping[str, Any]) -> dict[str, Any] | None:
    """Returns results.json; None where there is none yet."""
    file = path / "results.json"
    if not file.exists():
        return None
    data: dict[str, Any] = read_sealed(file, {**CONSTANT, "claims": list})
    if data["id"] != about["id"]:
        raise UserError(f"{file} is of another run than run.json; restore it from a copy, or remove it")
    return data
