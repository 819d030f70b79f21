"""`jaxgen new`: creates the folder of a new paper, ready to be filled in."""

from __future__ import annotations

import importlib.resources
import os
import re
import shlex
from pathlib import Path

import click
import jinja2

import jaxgen.experiments
from jaxgen.errors import UserError
from jaxgen.ledger.discovery import FOLDERS_VARIABLE, folders, named_folders
from jaxgen.storage.files import make_directory


def new_paper(slug: str, into: Path | None) -> None:
    """Writes `<into>/<slug with underscores>/__init__.py` from the template. Overwrites nothing.

    Args:
      slug: the paper's name.
      into: the folder of papers; None: the first that $JAXGEN_EXPERIMENTS names, else `experiments`.

    Raises:
      UserError: the slug is not valid, or the folder exists.
    """
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", slug):
        raise UserError(f"got '{slug}', expected lower-case words joined by hyphens, such as corrupted-modadd")
    if slug in (there := folders()[0]):
        raise UserError(f"the paper '{slug}' exists already, in {there[slug]}")
    named = named_folders()
    into = into or (named[0].expanduser() if named else Path("experiments"))
    folder = into / slug.replace("-", "_")
    if folder.exists():
        raise UserError(f"{folder} exists already; choose another slug or remove it")
    template = (importlib.resources.files("jaxgen") / "templates" / "paper.py.jinja").read_text(encoding="utf-8")
    make_directory(folder)
    text = jinja2.Template(template, keep_trailing_newline=True).render(slug=slug)
    (folder / "__init__.py").write_text(text, encoding="utf-8")
    click.echo(f"wrote {folder / '__init__.py'}")
    known = [each.expanduser().resolve() for each in (Path(jaxgen.experiments.__path__[0]), *named)]
    if into.resolve() not in known:
        folders_then = os.pathsep.join([*map(str, known[1:]), str(into.resolve())])
        click.echo(f"to let jaxgen find it: export {FOLDERS_VARIABLE}={shlex.quote(folders_then)}")
        click.echo(f"({FOLDERS_VARIABLE} takes several folders, joined by '{os.pathsep}')")
    click.echo(f"then: jaxgen show {slug}; jaxgen reproduce {slug} --scale smoke")
    click.echo("tasks: jaxgen tasks; a model, measure or task of your own: docs/parts.md")
