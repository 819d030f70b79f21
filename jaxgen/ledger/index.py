"""What `jaxgen list` shows of a paper, without importing it: `results/index.json`.

`--record` and `jaxgen gallery` write it. It holds while the paper's Python files, its recorded verdicts, its folder's
name and jaxgen's version are those that it was written for; else the paper is imported. What a notebook takes from
elsewhere is no part of that, as it is no part of the code that a run keeps (`sources`).
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import jaxgen
from jaxgen.errors import UserError
from jaxgen.ledger.results import RECORDED_SCALES, read_results, results_file
from jaxgen.storage.files import digest_of_json, read_sealed, write_sealed

if TYPE_CHECKING:
    from jaxgen.ledger.discovery import FoundPaper


@dataclasses.dataclass(frozen=True)
class ListedExperiment:
    """An experiment as `jaxgen list` shows it."""

    name: str
    title: str
    claims: int
    recorded: Mapping[str, Mapping[str, int]]  # scale -> outcome -> number of the paper's claims


@dataclasses.dataclass(frozen=True)
class ListedPaper:
    """A paper as `jaxgen list` shows it."""

    slug: str
    title: str
    arxiv: str
    experiments: tuple[ListedExperiment, ...]


def index_file(folder: Path) -> Path:
    """Returns where a paper's index is."""
    return folder / "results" / "index.json"


def sources_digest(folder: Path) -> str:
    """Returns a digest of the Python files of a paper's folder."""
    paths = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*.py")}
    return digest_of_json({name: _digest(path) for name, path in paths.items()})


def listed(found: FoundPaper) -> ListedPaper:
    """Returns what a paper and its recorded verdicts say.

    Raises:
      UserError: the recorded verdicts cannot be read.
    """
    results = {scale: read_results(found.folder, scale) for scale in RECORDED_SCALES}
    experiments = []
    for each in found.paper.experiments:
        recorded = {
            scale: dict(Counter(it["outcome"] for it in of[each.name]["claims"] if it["role"] == "paper").most_common())
            for scale, of in results.items()
            if each.name in of
        }
        experiments.append(ListedExperiment(each.name, each.title, len(each.claims), recorded))
    paper = found.paper
    return ListedPaper(paper.slug, paper.title, paper.arxiv, tuple(experiments))


def write_index(found: FoundPaper) -> None:
    """Writes a paper's index, where it is another one than there is."""
    # Of the files as they were imported: where one was edited since, the index must not hold.
    origin = _origin(found.folder, found.sources)
    paper = listed(found)
    if read_index(found.folder) != paper:
        write_sealed(index_file(found.folder), {"origin": origin, **dataclasses.asdict(paper)})


def read_index(folder: Path) -> ListedPaper | None:
    """Returns what a paper's index says; None where there is none that holds."""
    try:
        data = read_sealed(index_file(folder), {"origin": str})
        if data.pop("origin") != _origin(folder, sources_digest(folder)):
            return None
        experiments = tuple(ListedExperiment(**each) for each in data.pop("experiments"))
        return ListedPaper(**data, experiments=experiments)
    except (OSError, UserError, TypeError, KeyError):
        return None


def _origin(folder: Path, sources: str) -> str:
    """Returns a digest of all that an index depends on."""
    results = [_digest(results_file(folder, scale)) for scale in RECORDED_SCALES]
    return digest_of_json([jaxgen.__version__, folder.name, sources, results])


def _digest(path: Path) -> str | None:
    """Returns the digest of a file; None where there is none that can be read."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return None
