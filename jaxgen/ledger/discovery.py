"""Finding papers: those in the wheel, and those in folders named by $JAXGEN_EXPERIMENTS. One that is asked for is
imported alone; to list all, only those whose index does not hold are."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import jaxgen.experiments
from jaxgen.config import NOTEBOOK
from jaxgen.errors import UserError, nearest
from jaxgen.ledger.index import ListedPaper, listed, read_index, sources_digest

if TYPE_CHECKING:
    from jaxgen.experiment import Experiment, Paper

FOLDERS_VARIABLE = "JAXGEN_EXPERIMENTS"


@dataclasses.dataclass(frozen=True)
class FoundPaper:
    """A paper and the folder it lives in; `notebook` is its module's docstring, `sources` the digest of the Python
    files that were imported."""

    paper: Paper
    folder: Path
    notebook: str
    sources: str


@dataclasses.dataclass(frozen=True)
class Discovery:
    """The papers that were found, and the folders that could not be read, with the reason."""

    papers: dict[str, FoundPaper]
    broken: dict[Path, str]


@dataclasses.dataclass(frozen=True)
class Listing:
    """What `jaxgen list` shows of every paper; those that had to be imported for it; and the folders that could not be
    read, with the reason."""

    papers: dict[str, ListedPaper]
    imported: dict[str, FoundPaper]
    broken: dict[Path, str]


class _Unreadable(Exception):
    """A paper's folder cannot be read."""


def discover() -> Discovery:
    """Imports every paper's folder. One that fails is reported, and hides no other."""
    found, broken = folders()
    papers: dict[str, FoundPaper] = {}
    for slug, folder in found.items():
        try:
            papers[slug] = _read(slug, folder)
        except _Unreadable as error:
            broken[folder] = str(error)
    return Discovery(papers, broken)


def listing() -> Listing:
    """Returns what `jaxgen list` shows; imports the papers whose index does not hold, and writes nothing."""
    found, broken = folders()
    papers: dict[str, ListedPaper] = {}
    imported: dict[str, FoundPaper] = {}
    for slug, folder in found.items():
        known = read_index(folder)
        if known is None:
            try:
                imported[slug] = _read(slug, folder)
                known = listed(imported[slug])
            except (_Unreadable, UserError) as error:
                broken[folder] = str(error)
                continue
        papers[slug] = known
    return Listing(papers, imported, broken)


def find(experiment_id: str) -> tuple[FoundPaper, tuple[Experiment, ...]]:
    """Returns the experiments an ID means: `paper/experiment`, `paper`, or `arxiv:NUMBER`.

    Raises:
      UserError: there is none; the nearest ID is named.
    """
    slug, _, name = experiment_id.partition("/")
    found = _by_number(slug) if slug.startswith("arxiv:") else _by_slug(slug)
    slug = found.paper.slug
    by_name = {each.name: each for each in found.paper.experiments}
    if not name:
        return found, found.paper.experiments
    if name not in by_name:
        raise UserError(
            f"no experiment '{slug}/{name}'{nearest(f'{slug}/{name}', (f'{slug}/{each}' for each in by_name))}"
        )
    return found, (by_name[name],)


def _by_number(wanted: str) -> FoundPaper:
    known = listing()
    slugs = {each.arxiv: slug for slug, each in known.papers.items()}
    number = wanted.removeprefix("arxiv:").split("v")[0]
    if number not in slugs:
        close = nearest(wanted, (f"arxiv:{each}" for each in slugs))
        raise UserError(f"no paper '{wanted}'{close}{_left_out(known.broken)}")
    slug = slugs[number]
    return known.imported.get(slug) or _by_slug(slug)


def _by_slug(slug: str) -> FoundPaper:
    found, broken = folders()
    if slug == NOTEBOOK and slug not in found:
        raise UserError(f"'{slug}' is no paper: Python asked for that run, and the same call there goes on with it")
    if slug not in found:
        where = f"(folders of more papers: {FOLDERS_VARIABLE}, several joined by '{os.pathsep}')"
        raise UserError(f"no paper '{slug}'{_left_out(broken)}{nearest(slug, found)} {where}")
    try:
        return _read(slug, found[slug])
    except _Unreadable as error:
        raise UserError(f"'{slug}' cannot be read from {found[slug]}: {error}") from error


def _left_out(broken: dict[Path, str]) -> str:
    return "".join(f"; {reason}: {place}" for place, reason in broken.items())


def import_parts(slug: str) -> None:
    """Imports a paper so that its parts are known; what is not there, or cannot be read, stays unknown."""
    found, _ = folders()
    if slug in found:
        with contextlib.suppress(_Unreadable):
            _read(slug, found[slug])


def named_folders() -> list[Path]:
    """Returns the folders of papers that $JAXGEN_EXPERIMENTS names, there or not."""
    return [Path(part) for part in os.environ.get(FOLDERS_VARIABLE, "").split(os.pathsep) if part]


def folders() -> tuple[dict[str, Path], dict[Path, str]]:
    """Returns every paper's folder by its slug, and the places that are left out, with the reason."""
    found: dict[str, Path] = {}
    broken: dict[Path, str] = {}
    for place in [Path(jaxgen.experiments.__path__[0]), *named_folders()]:
        try:
            root = place.expanduser().resolve()
            papers = sorted(each.parent for each in root.glob("*/__init__.py"))
            there = root.is_dir()
        except (OSError, RuntimeError) as error:  # it may not be looked at, or its user does not exist
            broken[place] = f"{FOLDERS_VARIABLE} names a folder that cannot be read: {error}"
            continue
        if not there:
            broken[root] = f"{FOLDERS_VARIABLE} names a folder that does not exist"
        for folder in papers:
            slug = folder.name.replace("_", "-")
            if slug in found:
                broken[folder] = f"'{slug}' is also in {found[slug]}"
            else:
                found[slug] = folder
    return found, broken


# Of the papers that this process has imported, the digest of their Python files then.
_imported: dict[Path, str] = {}


def _read(slug: str, folder: Path) -> FoundPaper:
    try:
        sources = sources_digest(folder)  # before the import: an edit in between must not count as imported
        if _imported.get(folder, sources) != sources:
            _forget(_module_name(folder))  # in a notebook, which outlives an edit
        module = _import(folder)
        _imported[folder] = sources
        paper = _paper_of(module)
        if paper.slug != slug:
            expected = paper.slug.replace("-", "_")
            raise UserError(
                f"the folder is called {folder.name}, and its paper has slug={paper.slug!r}; write slug={slug!r}, or "
                f"call the folder {expected}"
            )
    except (Exception, SystemExit) as error:
        from jaxgen.ledger.told import told  # needed only in messages

        raise _Unreadable(told(error, folder)) from error
    return FoundPaper(paper, folder, module.__doc__ or "", sources)


def _paper_of(module: ModuleType) -> Paper:
    from jaxgen.experiment import Paper

    paper = getattr(module, "PAPER", None)
    if isinstance(paper, Paper):
        return paper
    near = [name for name, value in vars(module).items() if isinstance(value, Paper)]
    written = f"; it has {near[0]} = Paper(...): call it PAPER" if near else ""
    raise UserError(f"__init__.py: no PAPER, expected PAPER = Paper(...){written}")


def _module_name(folder: Path) -> str:
    if folder.parent == Path(jaxgen.experiments.__path__[0]).resolve():
        return f"jaxgen.experiments.{folder.name}"
    return f"jaxgen_experiments_{folder.name}"


def _forget(module: str) -> None:
    """Makes the next import of a paper read its files anew."""
    for name in [each for each in sys.modules if each == module or each.startswith(f"{module}.")]:
        del sys.modules[name]


def _import(folder: Path) -> ModuleType:
    name = _module_name(folder)
    if name.startswith("jaxgen.experiments."):
        return importlib.import_module(name)
    there = sys.modules.get(name)
    if there is not None and there.__file__ != str(folder / "__init__.py"):
        _forget(name)
    spec = importlib.util.spec_from_file_location(
        name, folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
