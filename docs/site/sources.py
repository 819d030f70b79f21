"""Files of the repository that a page links to, each as a page."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from docs.site.text import fenced
from jaxgen.errors import UserError

_LANGUAGES = {".py": "python", ".sh": "bash", ".toml": "toml", ".json": "json", ".md": "markdown"}


def page_of(path: str) -> str:
    """Returns the page of a file, both from their roots."""
    return f"sources/{path}.md"


def write(root: Path, paths: Iterable[str], target: Path) -> None:
    """Writes the page of each file.

    Raises:
      UserError: a file is not there.
    """
    for path in sorted(paths):
        file = root / path
        if not file.is_file():
            raise UserError(f"a page links to {path}, which is no file of the repository")
        page = target / page_of(path)
        page.parent.mkdir(parents=True, exist_ok=True)
        code = fenced(file.read_text(encoding="utf-8").rstrip(), _LANGUAGES.get(file.suffix, "text"))
        page.write_text(f"---\norphan: true\n---\n# {path}\n\n{code}", encoding="utf-8")
