"""Conditions: each is one setting of everything that training depends on. Also their trajectories and populations.

Imports no jax. A new condition calls `check` of every part.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import operator
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, Self

from jaxgen.config import (
    Config,
    NonNegativeInt,
    PositiveInt,
    added,
    digest,
    nested,
    per_member_values,
    to_json,
    without,
)
from jaxgen.errors import UserError, nearest, shown
from jaxgen.measures.config import Accuracy, Analysis, Loss, Measure
from jaxgen.models.config import ModelConfig
from jaxgen.objectives import CrossEntropy, Objective
from jaxgen.optimizers import Updates
from jaxgen.starts import Init, StartConfig
from jaxgen.tasks import Task
from jaxgen.tasks.growing import Growing

NAME = re.compile(r"[A-Za-z0-9=.,_ +-]{1,300}")
# The largest number of measuring steps of a condition: all its rows are in memory when it is judged.
MOST_ROWS = 10_000_000
# The number of steps at smoke size, which only shows that a condition runs.
SMOKE_STEPS, SMOKE_BATCH = 4, 16


@dataclasses.dataclass(frozen=True, kw_only=True)
class Numerics(Config):
    """The arithmetic. Parameters, optimiser state and losses are always float32."""

    compute_dtype: Literal["float32", "bfloat16"] = "float32"
    matmul_precision: Literal["default", "high", "highest"] = "highest"
    # The topology-invariant mode: a batch is cut into this many shards, whose gradients are computed one by one and #
    # summed in a fixed order. With the sequential layout a member then has the same bits on any number of devices and #
    # processes along `member` and `data`, if the number along `data` divides the shards. None: any order of the sum.
    logical_shards: PositiveInt | None = added(None)


@dataclasses.dataclass(frozen=True, kw_only=True)
class LogSpaced(Config):
    """Steps 0, 1, 2, ... thinned to `per_decade` steps in each factor of ten, and the last step.

    The grid does not depend on the horizon, so an extended run measures at the same steps.
    """

    per_decade: PositiveInt = 20

    def most(self, horizon: int) -> int:
        """Returns how many steps there are at most."""
        return math.ceil(self.per_decade * math.log10(max(horizon, 1))) + 3

    def grid(self, horizon: int) -> set[int]:
        """Returns the steps up to `horizon`, which is one only where a longer run measures there too."""
        count = math.ceil(self.per_decade * math.log10(max(horizon, 1))) + 1
        return {0} | {step for i in range(count + 1) if (step := round(10 ** (i / self.per_decade))) <= horizon}

    def steps(self, horizon: int) -> list[int]:
        """Returns the steps of a run of `horizon` steps, in order."""
        return sorted({*self.grid(horizon), horizon})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Every(Config):
    """Every `interval` steps, from step 0, and the last step."""

    interval: PositiveInt

    def most(self, horizon: int) -> int:
        """Returns how many steps there are at most."""
        return horizon // self.interval + 2

    def grid(self, horizon: int) -> set[int]:
        """Returns the steps up to `horizon`, which is one only where a longer run measures there too."""
        return set(range(0, horizon + 1, self.interval))

    def steps(self, horizon: int) -> list[int]:
        """Returns the steps of a run of `horizon` steps, in order."""
        return sorted({*self.grid(horizon), horizon})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stop(Config):
    """A member stops once `measure` was at least `at_least` at `patience` consecutive measuring steps.

    The last step of a run counts only if a longer run measures there too.
    """

    measure: str = "accuracy"
    split: str = "test"
    at_least: float = 0.99
    patience: PositiveInt = 1

    @property
    def key(self) -> str:
        """The key that the rule reads."""
        return f"{self.measure}/{self.split}" if self.split else self.measure


@dataclasses.dataclass(frozen=True, kw_only=True)
class Condition(Config):
    """A named setting of an experiment, with its seeds and its start."""

    name: str
    task: Task
    model: ModelConfig
    optimizer: Updates
    steps: PositiveInt
    loss: Objective = CrossEntropy()
    batch_size: PositiveInt | None = None  # None: the whole training split; else shuffled epochs, or `curriculum`
    start: StartConfig = Init()
    seeds: tuple[NonNegativeInt, ...] = (0, 1, 2)
    numerics: Numerics = Numerics()
    measures: tuple[Measure, ...] = (Accuracy(), Loss())
    measure_at: LogSpaced | Every = LogSpaced()
    stop: Stop | None = None
    snapshots: tuple[NonNegativeInt, ...] = ()  # steps whose parameters are kept, beside the last step
    analyses: tuple[Analysis, ...] = ()
    # Which examples of the training split a step may draw; None: all, in shuffled epochs.
    curriculum: Growing | None = added(None)
    # How many examples the measures compute together, to bound the memory of many or long ones; None: all of a split.
    measured_at_once: PositiveInt | None = added(None)

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
        train = dict(shape.sizes)["train"]
        if self.task.kind() != "table":
            if self.batch_size is None:
                raise UserError("batch_size: got null, expected a number: this task makes new examples at every step")
            self.task.check_batch_size(self.batch_size)
        elif self.batch_size is not None and self.batch_size > train:
            raise UserError(f"batch_size: got {self.batch_size}, expected at most the {train} training examples")
        if shape.padding is None and self.model.attends_to_padding() and "<pad>" in self.task.token_names():
            raise UserError(
                "model.causal: got false, expected true: the task has a token '<pad>', which its shape does not "
                "tell as `padding`, so an encoder would attend to it"
            )
        for part in nested(self):
            part.check(self)
        if self.stop is not None:
            known = [each.keys(self) for each in self.measures]
            keys = {key for each in known if each is not None for key in each}
            if None not in known and self.stop.key not in keys:
                raise UserError(f"stop: '{self.name}' measures no '{self.stop.key}'{nearest(self.stop.key, keys)}")

    def smoke(self) -> Self:
        """Returns the condition with every part at its smoke size, one seed and a few steps, to show that it runs."""
        changes = self._smoke_changes()
        train = dict(changes["task"].shape().sizes)["train"]
        return dataclasses.replace(
            self,
            **changes
            | {
                "batch_size": None if self.batch_size is None else min(self.batch_size, SMOKE_BATCH, train),
                "steps": SMOKE_STEPS,
                "seeds": self.seeds[:1],
                "measure_at": LogSpaced(per_decade=5),
                "snapshots": tuple(step for step in self.snapshots if step < SMOKE_STEPS),
            },
        )

    def identity_fields(self) -> dict[str, Any]:
        """Returns the fields that, with a seed and the parent's identity, determine a trajectory.

        They leave out the name, the other seeds, everything that only observes the run (snapshots, analyses), and the
        horizon if no schedule uses it, so that a run can be extended.
        """
        steps = () if self.optimizer.uses_horizon() else ("steps",)
        fields = without(self, "name", "seeds", "snapshots", "analyses", *steps)
        fields["task_version"] = type(self.task).version
        versions = {each.saved_as: type(each).version for each in nested(self.task) if isinstance(each, Task)}
        if newer := {kind: version for kind, version in versions.items() if version > 1}:
            fields["part_versions"] = newer
        if corrections := self._corrections():
            fields["corrections"] = corrections
        return fields

    def _corrections(self) -> list[str]:
        """Returns the names of corrected faults in earlier engine versions that affected this condition, so its
        identity changed."""
        found = [*self.optimizer.corrections(), *self.start.corrections(self)]
        if self.task.shape().padding is not None and self.model.attends_to_padding():
            found.append("an encoder does not see padding")
        return found

    def static_signature(self) -> str:
        """Returns a digest that is equal for conditions which one compiled program can train."""
        fields = without(self, "name", "seeds", "analyses", "task", complete=True)
        for path, value in per_member_values(self).items():
            *parts, name = path.split(".")
            if parts[0] != "task":
                # If it is zero, the program leaves out what it controls (dropout, for example).
                functools.reduce(operator.getitem, parts, fields)[name] = value > 0
        if self.start.parent() is not None:
            fields["start"] = self.start.in_program()
        # A program depends only on the shapes of a task's tables, and on how its stream is drawn.
        fields["task"] = dataclasses.asdict(self.task.shape()) | {"corrupts": self.task.corrupts()}
        if self.task.kind() != "table":
            fields["task"]["stream"] = to_json(self.task)
        return digest(fields)


@dataclasses.dataclass(frozen=True)
class Trajectory:
    """One seed of one condition; its identity decides whether it has been trained already."""

    condition: Condition
    seed: int
    identity: str
    parent: Trajectory | None = None

    def depth(self) -> int:
        """Returns the number of its ancestors."""
        return 0 if self.parent is None else 1 + self.parent.depth()


def with_parents(conditions: Sequence[Condition], names: Iterable[str]) -> set[str]:
    """Returns the names, and those of the conditions that these start from, at any depth."""
    by_name = {each.name: each for each in conditions}
    found = set()
    for name in names:
        needed: str | None = name
        while needed is not None:
            found.add(needed)
            needed = by_name[needed].start.parent()
    return found


def identity_of(
    condition: Condition, seed: int, parent: tuple[str, int] | None, own_fields: Mapping[str, Any] | None = None
) -> str:
    """Returns the identity of a trajectory.

    Args:
      condition: the settings of the trajectory.
      seed: the seed of the trajectory.
      parent: the identity and the last step of the trajectory that it starts from.
      own_fields: the condition's `identity_fields`, if the caller has them already or needs those of an earlier
      version.
    """
    fields = {**(own_fields or condition.identity_fields()), "seed": seed, "parent": parent and parent[0]}
    return digest(fields | {"start": condition.start.in_identity(parent)})


def trajectories(conditions: Sequence[Condition]) -> list[Trajectory]:
    """Returns every trajectory of the conditions, parents before children.

    Raises:
      UserError: starts form a cycle, or a parent lacks a seed of its child.
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
            if (name := condition.start.parent()) is not None:
                source = by_name[name]
                if seed not in source.seeds:
                    raise UserError(f"start: '{condition.name}' has seed {seed}, which '{source.name}' lacks")
                condition.start.check_parent(condition, source)
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

    Trajectories with equal identities (conditions that differ only in name or horizon) are trained once, to the longest
    horizon.
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
