"""What went wrong in a paper's own files, in one line: file, line, condition and the nearest name."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

from jaxgen.condition import Condition
from jaxgen.config import of_paper
from jaxgen.errors import UserError, nearest, suggestion

TRACEBACK_VARIABLE = "JAXGEN_TRACEBACK"
HOW_TO_SEE = f"{TRACEBACK_VARIABLE}=1 shows the traceback"

_UNKNOWN_KEYWORD = re.compile(r"(\w+)(?:\.__init__)?\(\) got an unexpected keyword argument '(\w+)'")
_MISSING = re.compile(r"(\w+)\.__init__\(\) missing \d+ required keyword-only arguments?: (.*)")
_BY_POSITION = re.compile(r"(\w+)\.__init__\(\) takes 1 positional argument but \d+")
_NO_IMPORT = re.compile(r"cannot import name '(\w+)' from '([\w.]+)'")


def told(error: BaseException, folder: Path) -> str:
    """Returns what went wrong in a paper's folder, and in which line of it."""
    if isinstance(error, SyntaxError):
        return f"{Path(error.filename or '').name}, line {error.lineno}: SyntaxError: {error.msg}"
    frames = list(_frames(error))
    folder = folder.resolve()
    files = [(Path(frame.f_code.co_filename).resolve(), line) for frame, line in frames]
    own = [(file.relative_to(folder), line) for file, line in files if file.is_relative_to(folder)]
    place = f"{own[-1][0]}, line {own[-1][1]}: " if own else ""
    if isinstance(error, UserError):
        return (place or _place_of_name(str(error), folder)) + _condition(frames) + str(error)
    text = _of_arguments(error, frames[-1][0]) if isinstance(error, TypeError) and frames else None
    if isinstance(error, ImportError) and (found := _NO_IMPORT.match(str(error))):
        text = f"ImportError: {found[0]}{suggestion(found[1], dir(sys.modules.get(found[2])))}"
    return f"{place}{text or f'{type(error).__name__}: {error} ({HOW_TO_SEE})'}"


def of_papers_code(error: BaseException) -> str | None:
    """Returns the place in a paper's own files where an error was raised, or on the way to it; None: in none."""
    own = [(frame, line) for frame, line in _frames(error) if of_paper(frame.f_globals.get("__name__", ""))]
    if not own:
        return None
    path = Path(own[-1][0].f_code.co_filename)
    return f"{path.parent.name}/{path.name}, line {own[-1][1]}"


def _frames(error: BaseException) -> Iterator[tuple[FrameType, int]]:
    """Yields the frames of an error and of its cause, from the outermost on, with their lines."""
    yield from traceback.walk_tb(error.__traceback__)
    if error.__cause__ is not None:
        yield from _frames(error.__cause__)


def _condition(frames: list[tuple[FrameType, int]]) -> str:
    """Returns the name of the condition that was being made."""
    for frame, _ in frames:
        made = frame.f_locals.get("self")
        if frame.f_code.co_name == "__post_init__" and isinstance(made, Condition):
            return f"condition {made.name!r}: "
    return ""


def _of_arguments(error: TypeError, frame: FrameType) -> str | None:
    """Returns in the paper's terms what Python says of wrong arguments; None where it is something else."""
    message = str(error)
    if found := _UNKNOWN_KEYWORD.search(message):
        called = _called(found[1], frame)
        return f"{found[1]} has no '{found[2]}'{nearest(found[2], _names(called)) if called else ''}"
    if found := _MISSING.search(message):
        return f"{found[1]} lacks {found[2]}"
    if found := _BY_POSITION.search(message):
        fields = _names(_called(found[1], frame))
        return f"{found[1]} takes its fields by name: {found[1]}({fields[0] if fields else 'name'}=...)"
    return None


def _called(name: str, frame: FrameType) -> Any:
    known = {**vars(sys.modules.get("jaxgen.experiment", sys)), **frame.f_globals, **frame.f_locals}
    return known.get(name) or next((cls for cls in Condition.kinds.values() if cls.__name__ == name), None)


def _names(called: Any) -> list[str]:
    """Returns the names of the arguments of a class or function."""
    if dataclasses.is_dataclass(called):
        return [field.name for field in dataclasses.fields(called)]
    try:
        return [each.name for each in inspect.signature(called).parameters.values() if each.kind != each.VAR_KEYWORD]
    except (TypeError, ValueError):
        return []


def _place_of_name(message: str, folder: Path) -> str:
    """Returns the line of a paper's notebook that has the name in a message as a text."""
    named = re.search(r"no (?:condition|setting|key|measure) '([^']+)'", message)
    if named is None:
        return ""
    file = folder / "__init__.py"
    texts = (each for each in ast.walk(ast.parse(file.read_text(encoding="utf-8"))) if isinstance(each, ast.Constant))
    for each in texts:
        if isinstance(each.value, str) and named[1] in (each.value, *each.value.split(":")):
            return f"{file.name}, line {each.lineno}: "
    return f"{file.name}: "
