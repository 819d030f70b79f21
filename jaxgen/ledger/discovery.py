"""Finding papers: those in the wheel, and those in folders named by $JAXGEN_EXPERIMENTS. One that is asked for is
imported alone."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import importlib.util
import os
import sys
import traceback
from pathlib import Path
from types import ModuleType

import jaxgen.experiments
from jaxgen.errors import UserError, nearest
from jaxgen.experiment import Experiment, Paper

FOLDERS_VARIABLE = "JAXGEN_EXPERIMENTS"


@dataclasses.dataclass(frozen=True)
class FoundPaper:
    """A paper and the folder it lives in; `notebook` is its module's docstring."""

    paper: Paper
    folder: Path
    notebook: str


@dataclasses.dataclass(frozen=True)
class Discovery:
    """The papers that were found, and the folders that could not be read, with the reason."""

    papers: dict[str, FoundPaper]
    broken: dict[Path, str]


class _Unreadable(Exception):
    """A paper's folder cannot be read."""


def discover() -> Discovery:
    """Imports every paper's folder. One that fails is reported, and hides no other."""
    folders, broken = _folders()
    papers: dict[str, FoundPaper] = {}
    for slug, places in folders.items():
        for folder in places[1:]:
            broken[folder] = f"'{slug}' is also in {places[0]}"
        try:
            papers[slug] = _read(slug, places[0])
        except _Unreadable as error:
            broken[places[0]] = str(error)
    return Discovery(papers, broken)


def find(experiment_id: str) -> tuple[FoundPaper, tuple[Experiment, ...]]:
    """Returns the experiments an ID means: `paper/experiment`, `paper`, or `arxiv:NUMBER`.

    Raises:
      UserError: there is none; the nearest ID is named.
    """
    slug, _, name = experiment_id.partition("/")
    if slug.startswith("arxiv:"):
        numbers = {each.paper.arxiv: key for key, each in discover().papers.items()}
        number = slug.removeprefix("arxiv:").split("v")[0]
        if number not in numbers:
            raise UserError(f"no paper '{slug}'{nearest(slug, (f'arxiv:{each}' for each in numbers))}")
        slug = numbers[number]
    folders, broken = _folders()
    if slug not in folders:
        missing = "".join(f"; {reason}: {place}" for place, reason in broken.items())
        raise UserError(
            f"no paper '{slug}'{nearest(slug, folders)} (folders of more papers: {FOLDERS_VARIABLE}){missing}"
        )
    try:
        found = _read(slug, folders[slug][0])
    except _Unreadable as error:
        raise UserError(f"'{slug}' cannot be read from {folders[slug][0]}: {error}") from None
    by_name = {each.name: each for each in found.paper.experiments}
    if not name:
        return found, found.paper.experiments
    if name not in by_name:
        raise UserError(
            f"no experiment '{slug}/{name}'{nearest(f'{slug}/{name}', (f'{slug}/{each}' for each in by_name))}"
        )
    return found, (by_name[name],)


def import_parts(slug: str) -> None:
    """Imports a paper so that its parts are known; what is not there, or cannot be read, stays unknown."""
    folders, _ = _folders()
    if slug in folders:
        with contextlib.suppress(_Unreadable):
            _read(slug, folders[slug][0])


def _folders() -> tuple[dict[str, list[Path]], dict[Path, str]]:
    """Returns every paper's folders by its slug, and the places that cannot be looked at, with the reason."""
    found: dict[str, list[Path]] = {}
    broken: dict[Path, str] = {}
    named = [Path(part) for part in os.environ.get(FOLDERS_VARIABLE, "").split(os.pathsep) if part]
    for place in [Path(jaxgen.experiments.__path__[0]), *named]:
        try:
            root = place.expanduser().resolve()
            folders = sorted(each.parent for each in root.glob("*/__init__.py"))
            there = root.is_dir()
        except (OSError, RuntimeError) as error:  # it may not be looked at, or its user does not exist
            broken[place] = f"{FOLDERS_VARIABLE} names a folder that cannot be read: {error}"
            continue
        if not there:
            broken[root] = f"{FOLDERS_VARIABLE} names a folder that does not exist"
        for folder in folders:
            found.setdefault(folder.name.replace("_", "-"), []).append(folder)
    return found, broken


def _read(slug: str, folder: Path) -> FoundPaper:
    try:
        module = _import(folder)
        paper = module.PAPER
        if paper.slug != slug:
            expected = paper.slug.replace("-", "_")
            raise UserError(f"the folder of '{paper.slug}' is named {folder.name}, expected {expected}")
    except (Exception, SystemExit) as error:
        raise _Unreadable(_told(error, folder)) from error
    return FoundPaper(paper, folder, module.__doc__ or "")


def _told(error: BaseException, folder: Path) -> str:
    """Returns what went wrong in a paper's folder, and in which line of it."""
    if isinstance(error, SyntaxError):
        return f"{Path(error.filename or '').name}, line {error.lineno}: SyntaxError: {error.msg}"
    own = [each for each in traceback.extract_tb(error.__traceback__) if Path(each.filename).is_relative_to(folder)]
    place = f"{Path(own[-1].filename).relative_to(folder)}, line {own[-1].lineno}: " if own else ""
    return place + (str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}")


def _import(folder: Path) -> ModuleType:
    if folder.parent == Path(jaxgen.experiments.__path__[0]).resolve():
        return importlib.import_module(f"jaxgen.experiments.{folder.name}")
    name = f"jaxgen_experiments_{folder.name}"
    there = sys.modules.get(name)
    if there is not None and there.__file__ != str(folder / "__init__.py"):
        for each in [each for each in sys.modules if each.split(".")[0] == name]:
            del sys.modules[each]
    spec = importlib.util.spec_from_file_location(
        name, folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
