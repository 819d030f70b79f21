"""Reads the settings of conditions, by which figures place their marks."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from jaxgen.condition import Condition
from jaxgen.config import Config
from jaxgen.errors import UserError, nearest

if TYPE_CHECKING:
    from jaxgen.figures.base import Figure


def setting(condition: Condition, key: str) -> Any:
    """Returns the value of a dotted setting, or None if the condition has no such setting."""
    value: Any = condition
    for name in key.split("."):
        if isinstance(value, tuple):
            value = value[int(name)] if int(name) < len(value) else None
        else:
            value = getattr(value, name, None)
    return value


def setting_text(key: str) -> str:
    """Returns the last name of a dotted setting as words."""
    return key.split(".")[-1].replace("_", " ")


def check_setting(figure: Figure, key: str, conditions: Sequence[Condition]) -> None:
    """Raises `UserError` if no condition has the dotted setting `key` of a figure."""
    if conditions and all(setting(each, key) is None for each in conditions):
        there = {path for each in conditions for path in _paths(each, "")}
        if key not in there:
            raise UserError(f"figure '{figure.name}': no condition has the setting '{key}'{nearest(key, there)}")


def _paths(value: Any, path: str) -> Iterator[str]:
    """Yields every dotted setting."""
    parts: dict[str, Any] = {}
    if isinstance(value, Config):
        parts = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    elif isinstance(value, tuple):
        parts = {str(i): each for i, each in enumerate(value)}
    for name, each in parts.items():
        yield f"{path}{name}"
        yield from _paths(each, f"{path}{name}.")
