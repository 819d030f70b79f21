"""The code that a notebook, or a file that is no paper's, brings to a run: the classes of its conditions, as text.

A run keeps this text as it keeps a paper's folder (`jaxgen/ledger/sources.py`), and the same call refuses to go on
where it changed.
"""

from __future__ import annotations

import ast
import inspect
import linecache
import sys
from collections.abc import Iterable, Iterator
from typing import Any

from jaxgen.condition import Condition
from jaxgen.config import nested

# Values of other names that the classes use, and whose text is all there is to them.
_PLAIN = (bool, int, float, str, tuple, type(None))


def code_of(conditions: Iterable[Condition]) -> dict[str, str]:
    """Returns by name the text of the classes in conditions that neither jaxgen nor a paper defines, and of what these
    use of their own notebook or file.

    A class whose text Python does not know (typed at a plain prompt) is left out.
    """
    found: dict[str, str] = {}
    for condition in conditions:
        for part in nested(condition):
            if not type(part).__module__.startswith(("jaxgen.", "jaxgen_experiments_")):
                _add(type(part), found)
    return found


def _add(thing: Any, found: dict[str, str]) -> None:
    name = thing.__qualname__
    if name in found or (text := _text(thing)) is None:
        return
    found[name] = text
    there = vars(sys.modules[thing.__module__])
    for used in sorted({node.id for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Name)}):
        value = there.get(used)
        if (inspect.isclass(value) or inspect.isfunction(value)) and value.__module__ == thing.__module__:
            _add(value, found)
        elif used in there and isinstance(value, _PLAIN):
            found[used] = f"{used} = {value!r}"


def _text(thing: Any) -> str | None:
    """Returns the source of a class or function, from its file or its cell."""
    for function in _functions(thing):
        file = function.__code__.co_filename
        try:
            body = ast.parse("".join(linecache.getlines(file))).body
        except SyntaxError:  # a cell with a command of its own (%timeit)
            continue
        for node in body:
            if isinstance(node, (ast.ClassDef, ast.FunctionDef)) and node.name == thing.__qualname__:
                return ast.unparse(node)
    return None


def _functions(thing: Any) -> Iterator[Any]:
    """Gives what knows the file or cell of a class: its functions. Python knows no cell of a class itself."""
    values = list(vars(thing).values()) if inspect.isclass(thing) else [thing]
    for value in values:
        function = inspect.unwrap(getattr(value, "__func__", value)) if callable(value) else None
        if inspect.isfunction(function):
            yield function
