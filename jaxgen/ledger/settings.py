"""Settings of conditions as text, and which of them differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from jaxgen.condition import Condition
from jaxgen.config import to_json

NOTHING = "–"  # where a condition has no such setting
_APART = ("kind", "name", "seeds", "snapshots", "analyses")


def differing_settings(conditions: Sequence[Condition]) -> dict[str, list[str]]:
    """Returns the settings that differ between the conditions: one text a condition, by dotted key.

    What only looks at a run (snapshots, analyses) is left out.
    """
    flat = [settings_of(to_json(each, complete=True)) for each in conditions]
    keys = dict.fromkeys(key for fields in flat for key in fields if key != "steps")
    found = {key: [fields.get(key, NOTHING) for fields in flat] for key in keys}
    return {key: values for key, values in found.items() if len(set(values)) > 1}


def settings_of(condition: Mapping[str, Any]) -> dict[str, str]:
    """Returns the settings of a condition's JSON as text, by dotted key."""
    return {key: text for key, text in _flatten(condition).items() if key not in _APART}


def _flatten(value: Any, path: str = "") -> dict[str, str]:
    if isinstance(value, dict):
        prefix = f"{path}." if path else ""
        return {inner: text for key, each in value.items() for inner, text in _flatten(each, prefix + key).items()}
    return {path.removesuffix(".kind"): _text(value)}


def _text(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(_text, value)) or "none"
    if isinstance(value, dict):
        inner = ", ".join(f"{key} {_text(each)}" for key, each in value.items() if key != "kind")
        return f"{value['kind']}({inner})" if "kind" in value else inner
    if isinstance(value, float):
        return f"{value:g}"
    return "none" if value is None else str(value)
