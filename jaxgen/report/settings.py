"""Settings of conditions, by which figures place what they draw."""

from __future__ import annotations

from typing import Any

from jaxgen.experiment import Condition


def setting(condition: Condition, key: str) -> Any:
    """Returns the value of a dotted setting, or None where the condition has no such setting."""
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
