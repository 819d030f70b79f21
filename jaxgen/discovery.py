"""Finding papers: those in the wheel, and those in folders named by $JAXGEN_EXPERIMENTS."""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
import os
import sys
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


def discover() -> Discovery:
    """Imports every paper's folder. One that fails is reported, and hides no other."""
    papers: dict[str, FoundPaper] = {}
    broken: dict[Path, str] = {}
    own = Path(jaxgen.experiments.__path__[0]).resolve()
    named = [Path(part) for part in os.environ.get(FOLDERS_VARIABLE, "").split(os.pathsep) if part]
    for place in [own, *named]:
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
            try:
                module = _import(folder, own=root == own)
                paper = module.PAPER
                if paper.slug.replace("-", "_") != folder.name:
                    raise UserError(f"the folder of '{paper.slug}' must be named {paper.slug.replace('-', '_')}")
                if paper.slug in papers:
                    raise UserError(f"'{paper.slug}' is also in {papers[paper.slug].folder}")
                papers[paper.slug] = FoundPaper(paper, folder, module.__doc__ or "")
            except (Exception, SystemExit) as error:
                broken[folder] = f"{type(error).__name__}: {error}"
    return Discovery(papers, broken)


def _import(folder: Path, *, own: bool) -> ModuleType:
    if own:
        return importlib.import_module(f"jaxgen.experiments.{folder.name}")
    name = f"jaxgen_experiments_{folder.name}"
    spec = importlib.util.spec_from_file_location(
        name, folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def find(experiment_id: str) -> tuple[FoundPaper, tuple[Experiment, ...]]:
    """Returns the experiments an ID means: `paper/experiment`, `paper`, or `arxiv:NUMBER`.

    Raises:
      UserError: there is none; the nearest ID is named.
    """
    found = discover()
    slug, _, name = experiment_id.partition("/")
    if slug.startswith("arxiv:"):
        numbers = {each.paper.arxiv: key for key, each in found.papers.items()}
        number = slug.removeprefix("arxiv:").split("v")[0]
        if number not in numbers:
            raise UserError(f"no paper '{slug}'{nearest(slug, (f'arxiv:{each}' for each in numbers))}")
        slug = numbers[number]
    if slug not in found.papers:
        for folder, reason in found.broken.items():
            if folder.name == slug.replace("-", "_"):
                raise UserError(f"'{slug}' cannot be read from {folder}: {reason}")
        raise UserError(f"no paper '{slug}'{nearest(slug, found.papers)} (folders of more papers: {FOLDERS_VARIABLE})")
    paper = found.papers[slug].paper
    by_name = {each.name: each for each in paper.experiments}
    if not name:
        return found.papers[slug], paper.experiments
    if name not in by_name:
        raise UserError(
            f"no experiment '{slug}/{name}'{nearest(f'{slug}/{name}', (f'{slug}/{each}' for each in by_name))}"
        )
    return found.papers[slug], (by_name[name],)
