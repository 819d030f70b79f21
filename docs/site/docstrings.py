"""Docstrings as Sphinx reads them: Markdown's marks, and the comments beside the fields of a dataclass."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import io
import re
import textwrap
import tokenize
from typing import Any

# Of reStructuredText: what Markdown writes as text.
_SPECIAL = re.compile(r"(\*|\||(?<=\w)_(?!\w))")


def connect(app: Any) -> None:
    """Has Sphinx ask this module about every docstring; before napoleon, which reads its sections."""
    app.connect("autodoc-process-docstring", _process, priority=400)


def _process(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    is_dataclass = isinstance(obj, type) and dataclasses.is_dataclass(obj)
    if is_dataclass and lines and lines[0].startswith(f"{obj.__name__}("):
        lines[:] = []  # the docstring that `dataclass` makes of a signature
    lines[:] = restructured(lines)
    if is_dataclass:
        comments = field_comments(obj)
        if comments:
            lines += ["", "Attributes:", *(f"  {field}: {_plain(text)}" for field, text in comments.items()), ""]


def restructured(lines: list[str]) -> list[str]:
    """Returns the lines of a docstring with what is special in reStructuredText alone escaped, and a blank line before
    a list."""
    found: list[str] = []
    inside: int | None = None  # the indentation of the list that the last line belongs to
    for line in lines:
        indent, starts = len(line) - len(line.lstrip()), line.lstrip().startswith("- ")
        ends = inside is not None and bool(line.strip()) and not starts and indent <= inside
        if found and found[-1].strip() and (ends or (starts and inside is None)):
            found.append("")
        inside = indent if starts else None if ends else inside
        found.append(_plain(line))
    return found


def _plain(text: str) -> str:
    parts = re.split(r"(`[^`]*`)", text)
    return "".join(part if i % 2 else _SPECIAL.sub(r"\\\1", part) for i, part in enumerate(parts))


def field_comments(cls: type) -> dict[str, str]:
    """Returns what the comments say of a dataclass' own fields: those above a field, and at the end of its line."""
    try:
        source = textwrap.dedent(inspect.getsource(cls))
    except (OSError, TypeError):
        return {}
    comments = {
        token.start[0]: token.string.lstrip("# ").rstrip(" #")
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT and not token.string.startswith("# type:")
    }
    body = ast.parse(source).body[0]
    assert isinstance(body, ast.ClassDef)
    lines = source.splitlines()
    found = {}
    for node in body.body:
        if not isinstance(node, ast.AnnAssign) or not isinstance(node.target, ast.Name):
            continue
        above = node.lineno - 1
        while above in comments and lines[above - 1].lstrip().startswith("#"):
            above -= 1
        told = [comments[line] for line in range(above + 1, node.lineno)]
        told += [
            comments[line] for line in range(node.lineno, (node.end_lineno or node.lineno) + 1) if line in comments
        ]
        if told:
            found[node.target.id] = " ".join(told)
    return found
