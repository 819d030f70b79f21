"""A digest of what a claim says, to see whether it changed after its results were known."""

from __future__ import annotations

import ast
import functools
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jaxgen.config import Config, digest, to_json
from jaxgen.experiment.claim import Claim

# What a claim is told by, and what does not change its verdict.
_WORDS = {"name", "says", "place", "paper", "paper_value", "note", "role"}


def claim_digest(claim: Claim) -> str:
    """Returns 16 hexadecimal digits of a claim's kind, bounds and code.

    Its code is that of `value` and of what this calls or reads in the paper's own files, as a parser reads it:
    comments, line breaks and Python's version do not matter. Of the engine's functions names and arguments count.
    """
    fields = {name: _plain(value, ()) for name, value in vars(claim).items() if name not in _WORDS}
    return digest({"kind": claim.kind, **fields})


def _plain(value: Any, within: tuple[Any, ...]) -> Any:
    """Returns a value as JSON, a function by its code."""
    if isinstance(value, Config):
        return to_json(value)
    if isinstance(value, functools.partial):
        return [_plain(each, within) for each in (value.func, value.args, value.keywords)]
    if isinstance(value, types.FunctionType):
        return _function(value, within)
    if isinstance(value, dict):
        return {str(key): _plain(each, within) for key, each in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(each, within) for each in value]
    return value if isinstance(value, (bool, int, str, type(None))) else repr(value)


def _function(function: types.FunctionType, within: tuple[Any, ...]) -> Any:
    if function in within:
        return "itself"
    within = (*within, function)
    code = function.__code__
    closed = [cell.cell_contents for cell in function.__closure__ or ()]
    told = {
        "closure": _plain(dict(zip(code.co_freevars, closed, strict=True)), within),
        "defaults": _plain([function.__defaults__, function.__kwdefaults__], within),
    }
    if function.__module__.startswith("jaxgen.") and not function.__module__.startswith("jaxgen.experiments."):
        return told | {"engine": f"{function.__module__}.{function.__qualname__}"}
    names = sorted({name for each in _codes(code) for name in each.co_names if name in function.__globals__})
    found = {name: function.__globals__[name] for name in names}
    # Modules and classes are code of other files, which a run keeps by itself.
    read = {name: each for name, each in found.items() if not isinstance(each, types.ModuleType | type)}
    return told | {"source": _source(code), "reads": _plain(read, within)}


def _codes(code: types.CodeType) -> Iterator[types.CodeType]:
    yield code
    for each in code.co_consts:
        if isinstance(each, types.CodeType):
            yield from _codes(each)


def _source(code: types.CodeType) -> Any:
    """Returns the syntax of the functions that begin in the line in which `code` does."""
    nodes = _functions(code.co_filename).get(code.co_firstlineno)
    return [_syntax(node) for node in nodes] if nodes else code.co_code.hex()


@functools.cache
def _functions(file: str) -> dict[int, list[ast.AST]]:
    found: dict[int, list[ast.AST]] = {}
    try:
        tree = ast.parse(Path(file).read_text(encoding="utf-8"))
    except (OSError, SyntaxError):
        return found
    for node in ast.walk(tree):
        if isinstance(node, ast.Lambda | ast.FunctionDef):
            found.setdefault(node.lineno, []).append(node)
    return found


def _syntax(node: Any) -> Any:
    """Returns a syntax tree as JSON, without places and docstrings, alike in every version of Python."""
    if isinstance(node, list):
        return [_syntax(each) for each in node]
    if not isinstance(node, ast.AST):
        return repr(node)
    fields = {name: getattr(node, name, None) for name in node._fields if name not in ("kind", "type_comment")}
    body = fields.get("body")
    if isinstance(node, ast.FunctionDef) and ast.get_docstring(node) is not None and isinstance(body, list):
        fields["body"] = body[1:]
    return [type(node).__name__, {name: _syntax(each) for name, each in fields.items() if each not in (None, [])}]
