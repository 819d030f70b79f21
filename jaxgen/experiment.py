"""The vocabulary that `experiments/` is written in; imports no jax.

A `Paper` has `Experiment`s; an experiment has `Condition`s at the paper's own size, `Scale`s that
shrink them, `Claim`s judged on one tidy table, and `Figure`s. See docs/add-a-paper.md.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from jaxgen.config import (
    Config,
    NonNegativeInt,
    PositiveInt,
    coerce,
    digest,
    nested,
    override,
    parse_setting,
    per_member_values,
    to_json,
    without,
)
from jaxgen.errors import UserError, nearest, shown
from jaxgen.machine import check_memory
from jaxgen.measures.config import Accuracy, Analysis, Loss, Measure
from jaxgen.models.config import ModelConfig
from jaxgen.tasks import Task
from jaxgen.train.config import (
    Adversarial,
    Every,
    From,
    Init,
    LogSpaced,
    LossName,
    Mask,
    NoisyAdamW,
    Numerics,
    OptimizerConfig,
    OptimizerWrapper,
    ScaledInit,
    Stop,
    masked,
)

if TYPE_CHECKING:
    from jaxgen.table import SeedTable

SCALES = ("smoke", "mini", "paper")
NAME = re.compile(r"[A-Za-z0-9=.,_ +-]{1,300}")
# Of experiments: part of an ID, of a directory's name and of a file's.
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
# So often a condition may be measured: its rows are in memory when it is judged.
MOST_ROWS = 10_000_000
# What a member takes at least, before anything of it is trained.
_MEMBER_BYTES = 4096


@dataclasses.dataclass(frozen=True, kw_only=True)
class Condition(Config):
    """A named setting of an experiment, with its seeds and its start."""

    name: str
    task: Task
    model: ModelConfig
    optimizer: OptimizerWrapper | OptimizerConfig
    steps: PositiveInt
    loss: Adversarial | LossName = "cross_entropy"
    batch_size: PositiveInt | None = None  # None: the whole training split; else shuffled epochs
    start: Init | ScaledInit | From = Init()
    seeds: tuple[NonNegativeInt, ...] = (0, 1, 2)
    numerics: Numerics = Numerics()
    measures: tuple[Measure, ...] = (Accuracy(), Loss())
    measure_at: LogSpaced | Every = LogSpaced()
    stop: Stop | None = None
    snapshots: tuple[NonNegativeInt, ...] = ()  # steps whose parameters are kept; the last one always is
    analyses: tuple[Analysis, ...] = ()

    def validate(self) -> None:
        if not NAME.fullmatch(self.name):
            rule = "letters, digits, spaces and any of = . , _ + -, 1 to 300 of them"
            raise UserError(f"name: got {shown(self.name)}, expected {rule}")
        if not self.seeds or len(set(self.seeds)) < len(self.seeds):
            raise UserError(f"seeds: got {list(self.seeds)}, expected at least one, each once")
        if (rows := self.measure_at.most(self.steps)) > MOST_ROWS:
            raise UserError(
                f"measure_at: {rows:,} measurements in {self.steps:,} steps, expected at most {MOST_ROWS:,}; "
                "measure more rarely"
            )
        shape = self.task.shape()
        if shape.real_targets != (self.loss == "squared_error"):
            kind, expected = (
                ("real numbers", "'squared_error'") if shape.real_targets else ("tokens", "'cross_entropy' or 'mse'")
            )
            raise UserError(f"loss: got '{self.loss}', expected {expected}: the targets of the task are {kind}")
        train = dict(shape.sizes)["train"]
        if self.task.kind() != "table":
            if self.batch_size is None:
                raise UserError(
                    "batch_size: got nothing, expected a number: the examples of every step are made for it"
                )
            self.task.check_batch_size(self.batch_size)
        elif self.batch_size is not None and self.batch_size > train:
            raise UserError(f"batch_size: got {self.batch_size}, expected at most the {train} training examples")
        if shape.padding is None and not getattr(self.model, "causal", True) and "<pad>" in self.task.token_names():
            raise UserError(
                "model.causal: got false, expected true: the task has a token '<pad>', which its shape does not "
                "tell as `padding`, so an encoder would attend to it"
            )
        if isinstance(self.loss, Adversarial) and not self.task.shape().features:
            raise UserError("loss: adversarial training moves features, and the task gives tokens")

    def identity_fields(self) -> dict[str, Any]:
        """Returns what, with a seed and the parent's identity, makes a trajectory what it is.

        Left out are the name, the other seeds, what only looks at the run (snapshots, analyses),
        and the horizon: no schedule depends on it, so a run can be extended.
        """
        fields = without(self, "name", "seeds", "snapshots", "analyses", "steps")
        fields["task_version"] = type(self.task).version
        versions = {type(each).__name__: type(each).version for each in nested(self.task) if isinstance(each, Task)}
        if newer := {kind: version for kind, version in versions.items() if version > 1}:
            fields["part_versions"] = newer
        if corrections := self._corrections():
            fields["corrections"] = corrections
        return fields

    def _corrections(self) -> list[str]:
        """Returns which faults of earlier versions of the engine this condition had: its runs of then are others."""
        optimizer, start, found = self.optimizer, self.start, []
        noisy = isinstance(optimizer, NoisyAdamW)
        if isinstance(optimizer, NoisyAdamW) and optimizer.weight_noise > 0:
            found.append("weight noise is drawn apart from masks")
        if isinstance(start, From):
            if self.model.keeps_state():
                found.append("the model's state comes along from the parent")
            if masked(start.transforms) and (noisy or isinstance(optimizer, OptimizerWrapper)):
                found.append("what is masked is in no norm and gets no noise")
            if sum(isinstance(each, Mask) for each in start.transforms) > 1:
                found.append("scores do not see what is masked")
        if self.task.shape().padding is not None and not getattr(self.model, "causal", True):
            found.append("an encoder does not see padding")
        return found

    def static_signature(self) -> str:
        """Returns a digest that is equal for conditions which one compiled program can train."""
        fields = without(self, "name", "seeds", "analyses", "task", complete=True)
        for path, value in per_member_values(self).items():
            *parts, name = path.split(".")
            if parts[0] != "task":
                # At zero what it controls (dropout, say) is left out of the program.
                functools.reduce(operator.getitem, parts, fields)[name] = value > 0
        if isinstance(self.start, From):
            # A program is given the parameters and the mask; how they were made is not in it.
            fields["start"] = {"kind": "From", "masked": masked(self.start.transforms)}
        # Of the task, a program sees the tables' shapes alone, and how a stream is drawn.
        fields["task"] = dataclasses.asdict(self.task.shape()) | {"corrupts": self.task.corrupts()}
        if self.task.kind() != "table":
            fields["task"]["stream"] = to_json(self.task)
        return digest(fields)


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


@dataclasses.dataclass(frozen=True, kw_only=True)
class Figure:
    """A view over trajectories."""

    name: str
    caption: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Curves(Figure):
    """Values against the step on a log axis: one panel a condition or, with `together`, one panel a
    key with a line for each condition. The band spans the seeds, the line is their median."""

    keys: tuple[str, ...]
    conditions: tuple[str, ...] | None = None  # None: all
    together: bool = False
    y_label: str = ""  # empty: the measures of `keys`
    log_y: bool = False
    paper: Mapping[str, Mapping[str, float]] = dataclasses.field(default_factory=dict)  # condition -> key -> value


@dataclasses.dataclass(frozen=True, kw_only=True)
class Profile(Figure):
    """The last values of measures named `<prefix>.<number>/<split>` against that number."""

    prefixes: tuple[str, ...]
    splits: tuple[str, ...]
    conditions: tuple[str, ...] | None = None
    x_label: str = ""
    y_label: str = "accuracy"


@dataclasses.dataclass(frozen=True, kw_only=True)
class BySetting(Figure):
    """Numbers of each condition against one of its settings: a line a number, a dot a seed.

    The line is the median over the seeds, the band their range, where the number came for all of them.
    """

    x: str  # a dotted setting: task.train_fraction, start.transforms.0.keep
    values: Mapping[str, Callable[[SeedTable, str], float]]  # name of the line -> number of a condition by its name
    conditions: tuple[str, ...] | None = None  # None: all that have the setting
    x_label: str = ""  # empty: the setting's name
    y_label: str
    log_x: bool = False
    log_y: bool = False
    paper: Mapping[str, Mapping[float, float]] = dataclasses.field(default_factory=dict)  # line -> setting -> value


@dataclasses.dataclass(frozen=True, kw_only=True)
class CellMap(Figure):
    """Conditions as cells over two of their settings, coloured by a label such as the phase."""

    x: str
    y: str
    label: Callable[[SeedTable, Condition], str]
    labels: tuple[str, ...]


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
        for name in (self.name, *(figure.name for figure in self.figures)):
            if not _ID.fullmatch(name):
                rule = "1 to 100 letters, digits and any of . _ -, a letter or digit first: files are named so"
                raise UserError(f"{shown(self.name)}: got the name {shown(name)}, expected {rule}")
        for scale in self.scales:
            if scale not in SCALES:
                raise UserError(f"{self.name} defines a scale '{scale}', expected some of {', '.join(SCALES)}")

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
        conditions = [
            each for part in self.conditions for each in (part.conditions() if isinstance(part, Sweep) else [part])
        ]
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
            if isinstance(each.start, From):
                _require_name(each.start.condition, conditions)
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


@dataclasses.dataclass(frozen=True)
class Trajectory:
    """One seed of one condition; its identity decides whether it has been trained already."""

    condition: Condition
    seed: int
    identity: str
    parent: Trajectory | None = None

    def depth(self) -> int:
        """Returns how many ancestors it starts from."""
        return 0 if self.parent is None else 1 + self.parent.depth()


def identity_of(
    condition: Condition, seed: int, parent: tuple[str, int] | None, own_fields: Mapping[str, Any] | None = None
) -> str:
    """Returns the identity of a trajectory.

    Args:
      condition: its settings.
      seed: its seed.
      parent: the identity and the last step of the trajectory that it starts from.
      own_fields: the condition's `identity_fields`, for who asks for many seeds, or for those of an earlier version.
    """
    fields = {**(own_fields or condition.identity_fields()), "seed": seed, "parent": parent and parent[0]}
    if parent is not None and isinstance(condition.start, From):
        # The parent's identity stands for its name.
        fields["start"] = without(condition.start, "condition")
        if condition.start.at == "end":
            fields["start"]["at"] = parent[1]
    return digest(fields)


def trajectories(conditions: Sequence[Condition]) -> list[Trajectory]:
    """Returns every trajectory of the conditions, parents before children.

    Raises:
      UserError: a start refers to itself, in a circle, or lacks a seed of its child.
    """
    by_name = {each.name: each for each in conditions}
    own_fields = {each.name: each.identity_fields() for each in conditions}
    made: dict[tuple[str, int], Trajectory] = {}

    def make(condition: Condition, seed: int, below: tuple[str, ...]) -> Trajectory:
        if condition.name in below:
            raise UserError(f"start: the conditions {' -> '.join((*below, condition.name))} start from each other")
        key = (condition.name, seed)
        if key not in made:
            parent = None
            if isinstance(condition.start, From):
                source = by_name[condition.start.condition]
                if seed not in source.seeds:
                    raise UserError(f"start: '{condition.name}' has seed {seed}, which '{source.name}' lacks")
                if isinstance(condition.start.at, int) and condition.start.at > source.steps:
                    raise UserError(
                        f"start: '{condition.name}' starts at step {condition.start.at} of '{source.name}', "
                        f"which ends at step {source.steps}"
                    )
                parent = make(source, seed, (*below, condition.name))
            above = (parent.identity, parent.condition.steps) if parent else None
            made[key] = Trajectory(
                condition, seed, identity_of(condition, seed, above, own_fields[condition.name]), parent
            )
        return made[key]

    for condition in conditions:
        for seed in condition.seeds:
            make(condition, seed, ())
    return list(made.values())


def populations(members: Sequence[Trajectory]) -> list[list[Trajectory]]:
    """Groups trajectories that one compiled program can train, parents' groups before children's.

    Trajectories of one identity (conditions that differ in name or horizon alone) are trained once, as
    far as the longest.
    """
    longest: dict[str, Trajectory] = {}
    for member in members:
        kept = longest.setdefault(member.identity, member)
        if member.condition.steps > kept.condition.steps:
            longest[member.identity] = member
    groups: dict[tuple[int, str], list[Trajectory]] = {}
    signatures: dict[str, str] = {}
    for member in longest.values():
        condition = member.condition
        if condition.name not in signatures:
            signatures[condition.name] = condition.static_signature()
        groups.setdefault((member.depth(), signatures[condition.name]), []).append(member)
    return [group for _, group in sorted(groups.items(), key=lambda item: item[0][0])]
