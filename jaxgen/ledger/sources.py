"""A paper's code as a run has it: `<run>/paper/` holds the folder that trained it.

What a run computes depends on the classes of the paper, and on whatever else its files hold; the notebook
(`__init__.py`) beside its classes says what is asked, judged and drawn, which the settings tell or nothing of what was
trained depends on.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from jaxgen.config import digest
from jaxgen.errors import UserError
from jaxgen.storage import links
from jaxgen.storage.files import make_directory, write_text

FOLDER = "paper"
NOTEBOOK = "__init__.py"
# A paper's source is no larger; what is may be data.
_MOST_BYTES = 2**20


def check_unchanged(run: Path, folder: Path, *, accept: bool, of_both: bool = False) -> None:
    """Raises `UserError` where a paper's code is another than what trained a run, unless that is accepted.

    Args:
      run: the run's directory.
      folder: the paper's.
      accept: whether that is accepted.
      of_both: whether only files that both have count: the code of a notebook is that of the conditions asked for.
    """
    if accept or not (run / FOLDER).is_dir():
        return
    changed = changed_files(run, folder)
    if of_both:
        changed = [name for name in changed if all((each / name).exists() for each in (run / FOLDER, folder))]
    if changed:
        raise UserError(
            f"{run} was trained by other code: {', '.join(changed)} in {folder} changed since; start beside it with "
            "--fresh, go on all the same with --accept-changed-code, or put back what was"
        )


def changed_files(run: Path, folder: Path) -> list[str]:
    """Returns which files of a paper changed since they were kept with a run, in what training may depend on."""
    then, now = _computing(run / FOLDER), _computing(folder)
    return sorted(name for name in then.keys() | now.keys() if then.get(name) != now.get(name))


def keep(run: Path, folder: Path) -> None:
    """Keeps the source of a paper with a run; what it no longer has is removed there."""
    sources = dict(_sources(folder))
    for name, text in sources.items():
        make_directory((run / FOLDER / name).parent)
        write_text(run / FOLDER / name, text)
    for name, _ in list(_sources(run / FOLDER)):
        if name not in sources:
            links.check(run / FOLDER / name)
            (run / FOLDER / name).unlink()


def _sources(folder: Path) -> Iterator[tuple[str, str]]:
    """Gives the name within a folder, and the text, of every Python file."""
    for path in sorted(folder.rglob("*.py")):
        name = path.relative_to(folder)
        if "__pycache__" not in name.parts and path.is_file() and path.stat().st_size <= _MOST_BYTES:
            yield name.as_posix(), path.read_text(encoding="utf-8", errors="replace")


def _computing(folder: Path) -> dict[str, str]:
    """Returns by file what training may depend on, without comments and layout."""
    found = {}
    for name, text in _sources(folder):
        try:
            body = ast.parse(text).body
        except (SyntaxError, ValueError):
            found[name] = text
            continue
        if name == NOTEBOOK:
            body = [each for each in body if isinstance(each, ast.ClassDef)]
        if body:
            found[name] = "\n".join(ast.dump(each) for each in body)
    return found


def code_digest(folder: Path) -> str:
    """Returns the digest of what training may depend on of a paper's code; nothing where there is no code."""
    computing = _computing(folder)
    return digest(computing) if computing or (folder / NOTEBOOK).exists() else ""
