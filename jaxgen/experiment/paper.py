"""Experiments, and the papers that they are of."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from jaxgen.bounds import number
from jaxgen.condition import Condition
from jaxgen.config import NOTEBOOK, PositiveInt, coerce
from jaxgen.errors import UserError, nearest, shown
from jaxgen.experiment.claim import Claim
from jaxgen.experiment.scale import SCALES, Scale, Sweep, applied, require_name, scoped_setting
from jaxgen.experiment.sweep import Point, swept
from jaxgen.figures.base import Figure
from jaxgen.machine import check_memory

# Of experiments: part of an ID, of a directory's name and of a file's.
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
# What a member takes at least, before anything of it is trained.
_MEMBER_BYTES = 4096


@dataclasses.dataclass(frozen=True, kw_only=True)
class Experiment:
    """`<paper>/<name>`: conditions at the paper's own size, what shrinks them, and what is judged."""

    name: str
    title: str
    conditions: tuple[Condition | Sweep, ...]
    # `smoke`, every part at its smallest size, and `paper`, with nothing changed, are there without being named.
    scales: Mapping[str, Scale] = dataclasses.field(default_factory=dict)
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
        given = {"smoke": Scale.smoke(), "paper": Scale()} | dict(self.scales)
        object.__setattr__(self, "scales", {scale: given[scale] for scale in SCALES if scale in given})

    def check(self) -> None:
        """Raises `UserError` where a scale, a figure or a claim names what is not there."""
        from jaxgen.experiment.probe import check_names  # imports pandas

        for scale in self.scales:
            try:
                self.at_scale(scale)
            except UserError as error:
                raise UserError(f"experiment '{self.name}', scale '{scale}': {error}") from error
        try:
            check_names(self.claims, self._all_conditions())
            for figure in self.figures:
                figure.check_asked(self._all_conditions())
        except UserError as error:
            raise UserError(f"experiment '{self.name}': {error}") from error

    def _all_conditions(self) -> list[Condition]:
        return [each for part in self.conditions for each in (part.conditions() if isinstance(part, Sweep) else [part])]

    def decays(self, conditions: Iterable[Condition]) -> list[str]:
        """Returns learning rate x weight decay x steps of conditions, and of the paper's own where that is another.

        What waits for weight decay to act, as grokking does, is as far as this number says. Nothing without decay.
        """
        paper = {each.name: each for each in self._all_conditions()}
        found = []
        for condition in conditions:
            own = paper.get(condition.name, condition)
            here, there = (each.optimizer.decay_a_step() * each.steps for each in (condition, own))
            same = not there or abs(here / there - 1) < 1e-9
            found.append("" if not here else number(here) if same else f"{number(here)} (paper {number(there)})")
        return found

    def points(
        self, scale: str, settings: Sequence[str], sweeps: Sequence[str], zipped: bool
    ) -> list[tuple[Condition, Point]]:
        """Returns the conditions of a scale, each with its place in the sweeps.

        Arguments and errors are those of `at_scale`.
        """
        if scale not in self.scales:
            raise UserError(f"{self.name} has no scale '{scale}'{nearest(scale, self.scales)}")
        conditions = self._all_conditions()
        for figure in self.figures:
            figure.check(conditions)
        chosen = self.scales[scale]
        if chosen.only is not None:
            for name in chosen.only:
                require_name(name, conditions)
            conditions = [each for each in conditions if each.name in chosen.only]
        if chosen.small:
            conditions = [each.smoke() for each in conditions]
        conditions = applied(conditions, chosen.set)
        changes: dict[str, Any] = {}
        for key, value in (scoped_setting(setting, conditions) for setting in settings):
            if key in changes:
                raise UserError(f"--set: '{key}' is set twice, to {changes[key]!r} and {value!r}")
            changes[key] = value
        conditions = applied(conditions, changes)
        if sweeps:
            return swept(conditions, sweeps, zipped, changes)
        if zipped:
            raise UserError("--zip: got no --sweep, expected at least two, whose values go together")
        return [(each, Point(each.name, {})) for each in conditions]

    def at_scale(
        self,
        scale: str,
        settings: Sequence[str] = (),
        seeds: int | None = None,
        extend: int | None = None,
        first_seed: int = 0,
        sweeps: Sequence[str] = (),
        zipped: bool = False,
    ) -> tuple[Condition, ...]:
        """Returns the resolved conditions of a scale.

        Args:
          scale: one of `scales`.
          settings: overrides `key=value` or `CONDITION:key=value`, applied after the scale's own.
          seeds: the number of seeds, in place of the conditions' own.
          extend: the step to train on to, at least the scale's own.
          first_seed: the first of those `seeds`.
          sweeps: `key=values` or `CONDITION:key=values`, of conditions as `settings` leave them.
          zipped: whether the values of the sweeps go together, one by one; else they are a grid.

        Raises:
          UserError: an unknown scale, condition or key, or a value that is not allowed.
        """
        points = self.points(scale, settings, sweeps, zipped)
        conditions = [each for each, _ in points]
        if seeds is not None:
            seeds = coerce(seeds, PositiveInt, "seeds")
            members = seeds * len(conditions)
            check_memory(members * _MEMBER_BYTES, f"seeds: {members:,} members ({seeds:,} seeds of {len(conditions)})")
            chosen_seeds = tuple(range(first_seed, first_seed + seeds))
            conditions = [dataclasses.replace(each, seeds=chosen_seeds) for each in conditions]
        if extend is not None:
            extend = coerce(extend, PositiveInt, "extend")
            longest = max(conditions, key=lambda each: each.steps)
            if extend < longest.steps:
                raise UserError(
                    f"extend: got {extend}, expected at least the {longest.steps} steps of '{longest.name}'"
                )
            if len({(point.base, each.steps) for each, point in points}) > len({point.base for _, point in points}):
                raise UserError("--extend: got it with --sweep steps=..., which says how long each condition trains")
            conditions = [dataclasses.replace(each, steps=extend) for each in conditions]
        names = [each.name for each in conditions]
        for each in conditions:
            if names.count(each.name) > 1:
                raise UserError(f"{self.name} has two conditions '{each.name}', expected one of each name")
            if (parent := each.start.parent()) is not None:
                require_name(parent, conditions)
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
        # What Python trains without a paper has neither authors nor a number.
        for name in ("slug", "title") if self.slug == NOTEBOOK else ("slug", "title", "authors", "arxiv"):
            if not (isinstance(value := getattr(self, name), str) and value.strip()):
                example = "; its number, such as 2310.02541" if name == "arxiv" else ""
                raise UserError(f"{self.slug}: got {name}={shown(value)}, expected a text{example}")
        coerce(self.year, int, f"{self.slug}: year")
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
