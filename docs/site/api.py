"""The Python interface: what users and notebooks import, from its docstrings."""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path
from types import ModuleType

from docs.site.text import escaped, toctree

# Page -> its modules.
PAGES = {
    "jaxgen": ("jaxgen",),
    "jaxgen.experiment": ("jaxgen.experiment", "jaxgen.experiment.claims"),
    "jaxgen.condition": ("jaxgen.condition",),
    "jaxgen.tasks": ("jaxgen.tasks",),
    "jaxgen.models": ("jaxgen.models.config", "jaxgen.models.taps"),
    "jaxgen.objectives": ("jaxgen.objectives",),
    "jaxgen.optimizers": ("jaxgen.optimizers",),
    "jaxgen.measures": ("jaxgen.measures.config",),
    "jaxgen.starts": ("jaxgen.starts",),
    "jaxgen.figures": ("jaxgen.figures",),
    "jaxgen.table": ("jaxgen.table", "jaxgen.bounds"),
}


def write(target: Path) -> None:
    """Writes a page for each of `PAGES`, and the one that lists them."""
    folder = target / "api"
    folder.mkdir(parents=True)
    rows = []
    for page, names in PAGES.items():
        modules = [importlib.import_module(name) for name in names]
        parts = [_module(module, first=module is modules[0]) for module in modules]
        (folder / f"{page}.md").write_text(f"# {page}\n\n" + "\n".join(parts), encoding="utf-8")
        rows.append(f"- [`{page}`]({page}.md): {_first_sentence(modules[0])}")
    head = "# Python\n\nWhat notebooks and users import. Importing it loads no jax: what computes imports it then.\n\n"
    (folder / "index.md").write_text(head + "\n".join(rows) + "\n\n" + toctree(list(PAGES)), encoding="utf-8")


def public(module: ModuleType) -> list[str]:
    """Returns the names that a module offers: those of `__all__`, or what is defined in it, in order."""
    if hasattr(module, "__all__"):
        return [name for name in module.__all__ if not name.startswith("_")]
    own = [
        name
        for name, value in vars(module).items()
        if not name.startswith("_")
        and (inspect.isclass(value) or inspect.isfunction(value))
        and value.__module__ == module.__name__
    ]
    return own


def _module(module: ModuleType, *, first: bool) -> str:
    about = escaped(inspect.getdoc(module) or "")
    head = "" if first else f"## {module.__name__}\n\n"
    names = [name for name in public(module) if callable(getattr(module, name))]
    return head + about + "\n\n" + "\n".join(_directive(module, name) for name in names)


def _directive(module: ModuleType, name: str) -> str:
    value = getattr(module, name)
    kind, options = "autofunction", ""
    if inspect.isclass(value):
        kind, options = "autoclass", "   :members:\n"
        if value.__bases__ != (object,):
            options += "   :show-inheritance:\n"
    return f"```{{eval-rst}}\n.. {kind}:: {module.__name__}.{name}\n{options}```\n"


def _first_sentence(module: ModuleType) -> str:
    return escaped((inspect.getdoc(module) or "").split("\n\n")[0].replace("\n", " ").split(". ")[0].rstrip(".") + ".")
