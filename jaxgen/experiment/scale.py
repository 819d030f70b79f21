"""Conditions of a sweep, and what a scale changes of them."""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Mapping, Sequence
from typing import Any

from jaxgen.condition import NAME, Condition
from jaxgen.config import Config, digest, override, parse_setting
from jaxgen.errors import UserError, nearest

SCALES = ("smoke", "mini", "paper")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sweep:
    """Conditions that are `base` with every combination of the values of `axes` (dotted keys)."""

    base: Condition
    axes: Mapping[str, Sequence[Any]]

    def conditions(self) -> list[Condition]:
        points = [dict(zip(self.axes, values, strict=True)) for values in itertools.product(*self.axes.values())]
        names = [
            " ".join(f"{key.rpartition('.')[2]}={value_text(value)}" for key, value in point.items())
            for point in points
        ]
        return [
            override(self.base, point | {"name": unlike(name, names, point)})
            for point, name in zip(points, names, strict=True)
        ]


def value_text(value: Any) -> str:
    """Returns a value of a sweep as a condition's name says it."""
    if isinstance(value, Config):
        if value.word is not None:
            return value.word
        shown = [value_text(getattr(value, field.name)) for field in dataclasses.fields(value)]
        return ",".join([type(value).__name__, *shown])
    if isinstance(value, (tuple, list)):
        inner = ("+" if any(isinstance(each, (tuple, list)) for each in value) else ",").join(map(value_text, value))
        return inner or "none"
    return re.sub(r"[^A-Za-z0-9=.,_ +-]", "_", str(value))


def unlike(name: str, names: Sequence[str], point: Mapping[str, Any]) -> str:
    """Returns a name that no other point of a sweep has, and that is not too long."""
    return name if names.count(name) == 1 and len(name) <= 200 else f"{name[:200]} {digest(dict(point))[:8]}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scale:
    """What a scale changes of the paper's conditions: settings, and which conditions are left.

    A key of `set` is dotted (`model.width`); `CONDITION:model.width` is for one condition alone.
    """

    set: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    only: tuple[str, ...] | None = None
    judged: bool = True
    small: bool = False  # every part at its own smallest size (`Condition.smoke`), before `set`

    @classmethod
    def smoke(cls, settings: Mapping[str, Any] | None = None, only: tuple[str, ...] | None = None) -> Scale:
        """Returns the scale that takes seconds and judges nothing, with settings and conditions of its own."""
        return cls(set=settings or {}, only=only, judged=False, small=True)


def require_name(name: str, conditions: Sequence[Condition]) -> None:
    """Raises `UserError` where no condition has the name; the nearest is named."""
    names = [each.name for each in conditions]
    if name not in names:
        raise UserError(f"no condition '{name}'{nearest(name, names)}")


def scoped_setting(setting: str, conditions: Sequence[Condition]) -> tuple[str, Any]:
    """Splits `KEY=VALUE` or `CONDITION:KEY=VALUE`; a condition's name may hold `=` itself."""
    form = "KEY=VALUE or CONDITION:KEY=VALUE, such as model.width=64"
    return parse_setting(setting, form, scope_of(setting, conditions))


def scope_of(setting: str, conditions: Sequence[Condition]) -> str:
    """Returns the `CONDITION:` that a command line's setting begins with, or nothing."""
    scope, colon, rest = setting.partition(":")
    named = any(scope == each.name for each in conditions)
    return f"{scope}:" if colon and (named or (NAME.fullmatch(scope) and "=" in rest)) else ""


def applied(conditions: Sequence[Condition], settings: Mapping[str, Any]) -> list[Condition]:
    """Returns the conditions with settings `KEY` or `CONDITION:KEY` changed."""
    changes: dict[str, dict[str, Any]] = {each.name: {} for each in conditions}
    for key, value in settings.items():
        scope, colon, bare = key.rpartition(":")
        if colon:
            require_name(scope, conditions)
        for name in [scope] if colon else changes:
            changes[name][bare] = value
    return [override(each, changes[each.name]) if changes[each.name] else each for each in conditions]
