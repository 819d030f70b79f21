"""`--sweep KEY=VALUES`: conditions derived from an experiment's own, one for each point of a grid (or of a `--zip`).

An axis without a condition's name is of every condition. `CONDITION:KEY=VALUES` is of that condition, and of those that
start from it: each of these starts from the condition at the same point. What no axis is of is left out, unless a swept
condition starts from it.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from jaxgen.condition import NAME, Condition
from jaxgen.config import Config, digest, from_json, override
from jaxgen.errors import UserError, shown
from jaxgen.experiment.scale import require_name, scope_of, value_text

# All conditions are resolved before the first one trains, and each has a row in every table.
MOST_CONDITIONS = 5_000
_NAME_LENGTH = 200

VALUES = (
    "a list (1e-4,1e-3,1e-2), START:END:COUNT in equal steps (0.1:0.9:5), or START..END:COUNT in equal ratios "
    "(1e-4..1e-1:4)"
)
_NUMBER = r"[+-]?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?"
_RANGE = re.compile(rf"({_NUMBER})(:|\.\.)({_NUMBER}):(\d{{1,12}})")
_SEEDS = re.compile(r"(\d{1,12}):(\d{1,12})")


@dataclasses.dataclass(frozen=True)
class Axis:
    """The values of one setting."""

    scope: str | None  # the condition that it is of, with those that start from it; None: all
    key: str
    values: tuple[Any, ...]


@dataclasses.dataclass(frozen=True)
class Point:
    """Where a condition of a sweep lies."""

    base: str  # the condition of the experiment that it is derived from
    # By the axes' short names: a number, or what else the setting is as text. Empty: not swept, or only as a parent.
    values: Mapping[str, float | str]


def split_seeds(sweeps: Sequence[str], seeds: int | None, first: int) -> tuple[tuple[str, ...], int | None, int]:
    """Returns sweeps without `seeds=FIRST:END`, the number of seeds, and the first one.

    Args:
      sweeps: as on the command line.
      seeds: the number of seeds, where another option gives it.
      first: the first of those `seeds`.

    Raises:
      UserError: the range is wrong, or the seeds are given twice.
    """
    own = [each for each in sweeps if each.partition("=")[0].strip() == "seeds"]
    if not own:
        return tuple(sweeps), seeds, first
    if len(own) > 1 or seeds is not None or first:
        raise UserError("--sweep: the seeds are given twice; keep one of --sweep seeds=FIRST:END and --seeds")
    text = own[0].partition("=")[2].strip()
    match = _SEEDS.fullmatch(text)
    if match is None or int(match[1]) >= int(match[2]):
        raise UserError(
            f"--sweep: got seeds={shown(text)}, expected FIRST:END, such as 0:20 for the seeds 0 to 19; single ones "
            "are given by --set 'seeds=[0,5,7]'"
        )
    rest = tuple(each for each in sweeps if each not in own)
    return rest, int(match[2]) - int(match[1]), int(match[1])


def swept_key(sweep: str) -> str:
    """Returns `KEY` or `CONDITION:KEY` of a sweep on the command line; a condition's name may hold `=` itself."""
    match = re.match(rf"(?:{NAME.pattern}:)?[^=:]*(?==)", sweep)
    return match[0].strip() if match else sweep


def swept(
    conditions: Sequence[Condition], sweeps: Sequence[str], zipped: bool, changed: Iterable[str] = ()
) -> list[tuple[Condition, Point]]:
    """Returns the conditions of a sweep, each with its point.

    Args:
      conditions: of the experiment.
      sweeps: `KEY=VALUES` or `CONDITION:KEY=VALUES`, at least one.
      zipped: whether the first values of all axes go together, then the second ones, and so on.
      changed: the keys that `--set` gives; none of them can be an axis too.

    Raises:
      UserError: an axis is wrong by itself, or a value is not allowed in a condition.
    """
    axes = [_axis(each, conditions) for each in sweeps]
    _refuse_twice(axes, set(changed))
    by_name = {each.name: each for each in conditions}
    for each in conditions:
        if (parent := each.start.parent()) is not None:
            require_name(parent, conditions)
    of = {
        each.name: tuple(
            i for i, axis in enumerate(axes) if axis.scope is None or axis.scope in _lineage(each, by_name)
        )
        for each in conditions
    }
    points = _points(axes, of, zipped)
    labels = _labels(axes)
    texts = [_texts(axis.values) for axis in axes]

    def label(name: str, i: int) -> str:
        return labels[i] if axes[i].scope in (None, name) else f"{axes[i].scope}.{labels[i]}"

    said = {
        (name, point): {label(name, i): texts[i][value] for i, value in zip(of[name], point, strict=True)}
        for name, found in points.items()
        for point in found
    }
    names = _names(said)
    made: list[tuple[Condition, Point]] = []
    for (name, point), values in said.items():
        there = dict(zip(of[name], point, strict=True))
        own = {axes[i].key: value for i, value in there.items() if axes[i].scope in (None, name)}
        try:
            condition = override(by_name[name], own | {"name": names[name, point]})
            if (parent := condition.start.parent()) in points:
                _refuse_unlike(axes, of, name, parent)
                condition = override(condition, {"start.condition": names[parent, tuple(there[i] for i in of[parent])]})
        except UserError as error:
            raise UserError(f"--sweep: '{names[name, point]}': {error}") from None
        made.append((condition, Point(name, values)))
    parents = [each.start.parent() for each, _ in made]
    kept = {name for each in parents if each in by_name for name in _lineage(by_name[each], by_name)}
    order = {each.name: place for place, each in enumerate(conditions)}
    made += [(by_name[name], Point(name, {})) for name in kept]
    return sorted(made, key=lambda each: order[each[1].base])


def _axis(sweep: str, conditions: Sequence[Condition]) -> Axis:
    scope = scope_of(sweep, conditions)
    key, equals, text = (part.strip() for part in sweep.removeprefix(scope).partition("="))
    if not equals or not key:
        raise UserError(f"--sweep: got {shown(sweep)}, expected KEY=VALUES or CONDITION:KEY=VALUES, with {VALUES}")
    if key in ("name", "seeds"):
        instead = "FIRST:END for all conditions, such as --sweep seeds=0:20" if key == "seeds" else "another setting"
        raise UserError(f"--sweep: got {shown(sweep)}, expected {instead}")
    if scope:
        require_name(scope[:-1], conditions)
    is_range = not re.search(r'[\[{"]', text) and (":" in text or ".." in text)
    values = _ranged(key, text) if is_range else _listed(text)
    if len(values) < 2 or "" in values:
        raise UserError(
            f"--sweep: got {shown(sweep)}, expected at least two values, such as {key}=1e-3,1e-2; one alone is given "
            "by --set KEY=VALUE"
        )
    try:
        made = tuple(from_json(value) for value in values)
        hash(made)
    except UserError as error:
        raise UserError(f"--sweep: {key}: {error}") from None
    except TypeError:  # from_json leaves an object without a kind as it is
        raise UserError(f'--sweep: {key}: got {shown(text)}, expected parts as {{"kind": ...}}') from None
    return Axis(scope[:-1] if scope else None, key, made)


def _ranged(key: str, text: str) -> list[Any]:
    """Returns the numbers of a range. Those between its ends have six digits, as names do."""
    match = _RANGE.fullmatch(text)
    if match is None:
        raise UserError(
            f"--sweep: {key}: got {shown(text)}, expected {VALUES}; a text with : or .. is quoted: '\"a:b\"'"
        )
    start, end, count = float(match[1]), float(match[3]), int(match[4])
    even = match[2] == ":"
    if count < 2 or start == end or not (math.isfinite(start) and math.isfinite(end)):
        raise UserError(
            f"--sweep: {key}: got {shown(text)}, expected two finite ends that differ, and a COUNT from 2 on"
        )
    if not even and (start <= 0 or end <= 0):
        raise UserError(f"--sweep: {key}: got {shown(text)}, expected ends above 0, as START..END has equal ratios")
    _refuse_many(count)
    whole = not re.search("[.eE]", match[1] + match[3])
    values = [start]
    for i in range(1, count - 1):
        exact = start + (end - start) * i / (count - 1) if even else start * (end / start) ** (i / (count - 1))
        values.append(exact if even and whole and exact.is_integer() else float(f"{exact:.6g}"))
    return [int(value) if whole and value.is_integer() else value for value in [*values, end]]


def _listed(text: str) -> list[Any]:
    """Returns values with commas between them: each as JSON if it is JSON, else the text itself."""
    decoder = json.JSONDecoder()
    values: list[Any] = []
    while True:
        text = text.lstrip()
        try:
            value, length = decoder.raw_decode(text)
        except (ValueError, RecursionError):
            length = -1
        if length < 0 or not re.match(r"\s*(,|$)", text[length:]):
            value = text.partition(",")[0]
            length = len(value)
            value = value.strip()
        values.append(value)
        _, comma, text = text[length:].partition(",")
        if not comma:
            return values


def _refuse_twice(axes: Sequence[Axis], changed: Collection[str]) -> None:
    """Raises `UserError` where a setting is given twice."""
    for i, axis in enumerate(axes):
        if any(each.key == axis.key and (None in (each.scope, axis.scope) or each.scope == axis.scope)
               for each in axes[:i]):  # fmt: skip
            raise UserError(f"--sweep: '{axis.key}' is swept twice for the same conditions; give all values at once")
        for key in changed:
            scope, colon, bare = key.rpartition(":")
            if bare == axis.key and (not colon or axis.scope in (None, scope)):
                raise UserError(f"--sweep: '{axis.key}' is given by --set too; leave one of them out")


def _lineage(condition: Condition, by_name: Mapping[str, Condition]) -> list[str]:
    """Returns the name of a condition, and of all that it starts from."""
    found: list[str] = []
    name: str | None = condition.name
    while name is not None and name not in found:  # starts that form a cycle are refused with the trajectories
        found.append(name)
        name = by_name[name].start.parent()
    return found


def _points(axes: Sequence[Axis], of: Mapping[str, tuple[int, ...]], zipped: bool) -> dict[str, list[tuple[Any, ...]]]:
    """Returns the points of every condition that is swept: its values on the axes `of` it."""
    of = {name: mine for name, mine in of.items() if mine}
    counts = {f"{axis.key} has {len(axis.values)}": len(axis.values) for axis in axes}
    if not zipped:
        for axis in axes:
            if twice := [value for value, times in Counter(axis.values).items() if times > 1]:
                raise UserError(f"--sweep: got {axis.key}={value_text(twice[0])} twice, expected each value once")
        _refuse_many(sum(math.prod(len(axes[i].values) for i in mine) for mine in of.values()))
        return {name: list(itertools.product(*(axes[i].values for i in mine))) for name, mine in of.items()}
    if len(axes) < 2:
        raise UserError(f"--zip: got {len(axes)} --sweep, expected at least two, whose values go together")
    if len(set(counts.values())) > 1:
        raise UserError(f"--zip: got other numbers of values ({', '.join(counts)}), expected the same")
    together = list(zip(*(axis.values for axis in axes), strict=True))
    if twice := [point for point, times in Counter(together).items() if times > 1]:
        both = ", ".join(f"{axis.key}={value_text(value)}" for axis, value in zip(axes, twice[0], strict=True))
        raise UserError(f"--sweep: got {both} twice, expected each point once")
    _refuse_many(len(together) * len(of))
    return {name: list(dict.fromkeys(tuple(each[i] for i in mine) for each in together)) for name, mine in of.items()}


def _refuse_many(count: int) -> None:
    if count > MOST_CONDITIONS:
        raise UserError(f"--sweep: got {count:,} conditions, expected at most {MOST_CONDITIONS:,}; sweep fewer values")


def _labels(axes: Sequence[Axis]) -> list[str]:
    """Returns the last part of every key, or the whole key where another one ends alike."""
    tails = Counter(key.rpartition(".")[2] for key in {axis.key for axis in axes})
    return [axis.key if tails[tail := axis.key.rpartition(".")[2]] > 1 else tail for axis in axes]


def _texts(values: Iterable[Any]) -> dict[Any, float | str]:
    """Returns what names and figures say of the values of an axis: of kinds that all differ, the kind alone."""
    words = {None: "none", True: "true", False: "false"}
    kinds = Counter(type(value) for value in values)
    found: dict[Any, float | str] = {}
    for value in values:
        if isinstance(value, Config) and kinds[type(value)] == 1:
            found[value] = value.word or type(value).__name__
        elif type(value) in (int, float):
            found[value] = int(value) if abs(value) < 1e6 and value == int(value) else value
        else:
            found[value] = words[value] if value is None or isinstance(value, bool) else value_text(value)
    return found


def _names(said: Mapping[tuple[str, tuple[Any, ...]], Mapping[str, Any]]) -> dict[tuple[str, tuple[Any, ...]], str]:
    """Returns the names of the conditions: the base's, and its values. Those that are equal or long end in a digest."""
    found = {
        place: " ".join([place[0], *(f"{label}={value_text(value)}" for label, value in values.items())])
        for place, values in said.items()
    }
    times = Counter(found.values())
    return {
        place: name if times[name] == 1 and len(name) <= _NAME_LENGTH
        else f"{name[:_NAME_LENGTH]} {digest([place[0], dict(said[place])])[:8]}"
        for place, name in found.items()
    }  # fmt: skip


def _refuse_unlike(axes: Sequence[Axis], of: Mapping[str, tuple[int, ...]], name: str, parent: str) -> None:
    """Raises `UserError` where a sweep of `start` makes a condition start from one with axes that it lacks."""
    if lacking := [axes[i].key for i in of[parent] if i not in of[name]]:
        raise UserError(
            f"it starts from '{parent}', which is swept over {lacking[0]} where it is not; sweep one of them at a time"
        )
