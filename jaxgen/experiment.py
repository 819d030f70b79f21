"""The vocabulary that `experiments/` is written in; imports no jax.

A `Paper` has `Experiment`s; an experiment has `Condition`s at the paper's own size, `Scale`s that
shrink them, `Claim`s judged on one tidy table, and `Figure`s. See docs/add-a-paper.md.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from jaxgen.condition import NAME, Condition
from jaxgen.config import Config, PositiveInt, coerce, digest, override, parse_setting
from jaxgen.errors import UserError, nearest, shown
from jaxgen.figures.base import Figure
from jaxgen.machine import check_memory

if TYPE_CHECKING:
    from jaxgen.table import SeedTable

SCALES = ("smoke", "mini", "paper")
# Of experiments: part of an ID, of a directory's name and of a file's.
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
# What a member takes at least, before anything of it is trained.
_MEMBER_BYTES = 4096


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sweep:
    """Conditions that are `base` with every combination of the values of `axes` (dotted keys)."""

    base: Condition
    axes: Mapping[str, Sequence[Any]]

    def conditions(self) -> list[Condition]:
        points = [dict(zip(self.axes, values, strict=True)) for values in itertools.product(*self.axes.values())]
        names = [
            " ".join(f"{key.rpartition('.')[2]}={_named(value)}" for key, value in point.items()) for point in points
        ]
        return [
            override(self.base, point | {"name": _unlike(name, names, point)})
            for point, name in zip(points, names, strict=True)
        ]


def _named(value: Any) -> str:
    """Returns a value of a sweep as a condition's name says it."""
    if isinstance(value, Config):
        if value.word is not None:
            return value.word
        shown = [_named(getattr(value, field.name)) for field in dataclasses.fields(value)]
        return ",".join([type(value).__name__, *shown])
    if isinstance(value, (tuple, list)):
        inner = ("+" if any(isinstance(each, (tuple, list)) for each in value) else ",").join(map(_named, value))
        return inner or "none"
    return re.sub(r"[^A-Za-z0-9=.,_ +-]", "_", str(value))


def _unlike(name: str, names: Sequence[str], point: Mapping[str, Any]) -> str:
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


@dataclasses.dataclass(frozen=True, kw_only=True)
class Expect:
    """What a claim expects of its value. All bounds that are given must hold."""

    at_least: float = -math.inf
    at_most: float = math.inf

    def holds(self, value: float) -> bool:
        return self.at_least <= value <= self.at_most

    def __str__(self) -> str:
        if self == YES:
            return "yes"
        if math.isinf(self.at_most):
            return f"≥ {number(self.at_least)}"
        if math.isinf(self.at_least):
            return f"≤ {number(self.at_most)}"
        return f"{number(self.at_least)} to {number(self.at_most)}"


YES = Expect(at_least=1, at_most=1)  # of a value that is true or false


def number(value: float) -> str:
    """Returns a number as people write it: four digits, large ones whole with their thousands set off."""
    return f"{value:,.0f}" if abs(value) >= 1e4 else f"{value:.4g}"


def within(target: float, tolerance: float) -> Expect:
    """Returns the expectation `target` +- `tolerance`."""
    return Expect(at_least=round(target - tolerance, 12), at_most=round(target + tolerance, 12))


def at_least(bound: float) -> Expect:
    """Returns the expectation of a value of `bound` or more."""
    return Expect(at_least=bound)


def at_most(bound: float) -> Expect:
    """Returns the expectation of a value of `bound` or less."""
    return Expect(at_most=bound)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Claim:
    """A sentence of the paper made checkable, seed by seed.

    All seeds hold: `reproduced`. All fail: `not reproduced`. Mixed, or a value that never came
    (censored): `inconclusive`; unless `seeds="median"`, where the median over the seeds decides.
    """

    name: str
    says: str  # the claim in words
    place: str  # where the paper (or its code) says so
    paper: str  # the paper's value, as text
    value: Callable[[SeedTable], float]  # of the rows of one seed; True or False with expect=YES
    expect: Expect
    seeds: Literal["each", "median"] = "each"
    note: str = ""  # why it came out as recorded; readings that are unverified

    def __post_init__(self) -> None:
        if not isinstance(self.expect, Expect):
            raise UserError(
                f"claim {shown(self.name)}: got expect={shown(self.expect)}, expected YES, at_least(...), "
                "at_most(...) or within(...)"
            )
        if not callable(self.value):
            raise UserError(
                f"claim {shown(self.name)}: got value={shown(self.value)}, expected a function of a SeedTable"
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Experiment:
    """`<paper>/<name>`: conditions at the paper's own size, what shrinks them, and what is judged."""

    name: str
    title: str
    conditions: tuple[Condition | Sweep, ...]
    scales: Mapping[str, Scale]
    claims: tuple[Claim, ...] = ()
    figures: tuple[Figure, ...] = ()
    # True where the paper scale needs an accelerator: it then runs on a CPU only by its own ID.
    accelerator: bool = False

    def __post_init__(self) -> None:
        _require_tuple(self.name, "conditions", self.conditions, (Condition, Sweep))
        _require_tuple(self.name, "claims", self.claims, (Claim,))
        _require_tuple(self.name, "figures", self.figures, (Figure,))
        for what, parts in (("claims", self.claims), ("figures", self.figures)):
            names = [each.name for each in parts]
            if twice := [name for name in names if names.count(name) > 1]:
                raise UserError(f"{self.name}: got two {what} named {shown(twice[0])}, expected one of each name")
        for name in (self.name, *(figure.name for figure in self.figures)):
            if not _ID.fullmatch(name):
                rule = "1 to 100 letters, digits and any of . _ -, a letter or digit first: files are named so"
                raise UserError(f"{shown(self.name)}: got the name {shown(name)}, expected {rule}")
        for scale in self.scales:
            if scale not in SCALES:
                raise UserError(f"{self.name} defines a scale '{scale}', expected some of {', '.join(SCALES)}")

    def _all_conditions(self) -> list[Condition]:
        return [each for part in self.conditions for each in (part.conditions() if isinstance(part, Sweep) else [part])]

    def at_scale(
        self, scale: str, settings: Sequence[str] = (), seeds: int | None = None, extend: int | None = None
    ) -> tuple[Condition, ...]:
        """Returns the resolved conditions of a scale.

        Args:
          scale: one of `scales`.
          settings: overrides `key=value` or `CONDITION:key=value`, applied last.
          seeds: the number of seeds, 0 to seeds-1, in place of the conditions' own.
          extend: the step to train on to, at least the scale's own.

        Raises:
          UserError: an unknown scale, condition or key, or a value that is not allowed.
        """
        if scale not in self.scales:
            raise UserError(f"{self.name} has no scale '{scale}'{nearest(scale, self.scales)}")
        conditions = self._all_conditions()
        for figure in self.figures:
            figure.check(conditions)
        chosen = self.scales[scale]
        if chosen.only is not None:
            for name in chosen.only:
                _require_name(name, conditions)
            conditions = [each for each in conditions if each.name in chosen.only]
        conditions = _apply(conditions, chosen.set)
        changes: dict[str, Any] = {}
        for key, value in (_parse_setting(setting, conditions) for setting in settings):
            if key in changes:
                raise UserError(f"--set: '{key}' is set twice, to {changes[key]!r} and {value!r}")
            changes[key] = value
        conditions = _apply(conditions, changes)
        if seeds is not None:
            seeds = coerce(seeds, PositiveInt, "seeds")
            members = seeds * len(conditions)
            check_memory(members * _MEMBER_BYTES, f"seeds: {members:,} members ({seeds:,} seeds of {len(conditions)})")
            conditions = [dataclasses.replace(each, seeds=tuple(range(seeds))) for each in conditions]
        if extend is not None:
            extend = coerce(extend, PositiveInt, "extend")
            longest = max(conditions, key=lambda each: each.steps)
            if extend < longest.steps:
                raise UserError(
                    f"extend: got {extend}, expected at least the {longest.steps} steps of '{longest.name}'"
                )
            conditions = [dataclasses.replace(each, steps=extend) for each in conditions]
        names = [each.name for each in conditions]
        for each in conditions:
            if names.count(each.name) > 1:
                raise UserError(f"{self.name} has two conditions '{each.name}', expected one of each name")
            if (parent := each.start.parent()) is not None:
                _require_name(parent, conditions)
        return tuple(conditions)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Paper:
    """A paper of the ledger: the folder `experiments/<slug with underscores>` holds it as `PAPER`."""

    slug: str
    title: str
    authors: str
    year: int
    arxiv: str
    experiments: tuple[Experiment, ...]

    def __post_init__(self) -> None:
        _require_tuple(self.slug, "experiments", self.experiments, (Experiment,))
        names = [each.name for each in self.experiments]
        if twice := [name for name in names if names.count(name) > 1]:
            raise UserError(f"{self.slug}: got two experiments named {shown(twice[0])}, expected one of each name")


def _require_tuple(owner: str, field: str, value: Any, kinds: tuple[type, ...]) -> None:
    """Raises `UserError` where a field is no tuple of such things: often a comma is missing."""
    names = " or ".join(kind.__name__ for kind in kinds)
    if not isinstance(value, tuple):
        comma = "; of one write (x,), with a comma" if isinstance(value, kinds) else ""
        raise UserError(f"{owner}: got {field}={type(value).__name__}, expected a tuple of {names}{comma}")
    for i, each in enumerate(value):
        if not isinstance(each, kinds):
            raise UserError(f"{owner}: got {field}[{i}]={shown(each)}, expected {names}")


def _require_name(name: str, conditions: Sequence[Condition]) -> None:
    names = [each.name for each in conditions]
    if name not in names:
        raise UserError(f"no condition '{name}'{nearest(name, names)}")


def _parse_setting(setting: str, conditions: Sequence[Condition]) -> tuple[str, Any]:
    """Splits `KEY=VALUE` or `CONDITION:KEY=VALUE`; a condition's name may hold `=` itself."""
    scope, colon, rest = setting.partition(":")
    named = any(scope == each.name for each in conditions)
    prefix = f"{scope}:" if colon and (named or (NAME.fullmatch(scope) and "=" in rest)) else ""
    return parse_setting(setting, "KEY=VALUE or CONDITION:KEY=VALUE, such as model.width=64", prefix)


def _apply(conditions: Sequence[Condition], settings: Mapping[str, Any]) -> list[Condition]:
    changes: dict[str, dict[str, Any]] = {each.name: {} for each in conditions}
    for key, value in settings.items():
        scope, colon, bare = key.rpartition(":")
        if colon:
            _require_name(scope, conditions)
        for name in [scope] if colon else changes:
            changes[name][bare] = value
    return [override(each, changes[each.name]) if changes[each.name] else each for each in conditions]
