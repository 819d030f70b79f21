"""The contracts of starts and transforms. Imports no jax until a start is made."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from jaxgen.config import Config, NonNegativeInt, PerMember, Positive, to_json, without
from jaxgen.errors import UserError

if TYPE_CHECKING:
    import jax

    from jaxgen.optimizers.links import Scalar
    from jaxgen.starts.transforms import Examples, Start

Tree = Any


class NotStarted(Exception):
    """A trajectory cannot be trained: its parent never reached the step that it starts from."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class StartConfig(Config, family=True):
    """Determines the parameters at step 0. Your own kind has fields, and overrides of the defaults below."""

    takes_scalars: ClassVar[bool] = True

    def initial(self, params: Tree, scalars: Mapping[str, Scalar]) -> Tree:
        """Returns the parameters at step 0, given those of the model's initialisation.

        Args:
          params: the initialisation, drawn from the seed.
          scalars: the start's fields marked `PerMember`, by name, traced or not.
        """
        return params

    def parent(self) -> str | None:
        """Returns the name of the condition whose parameters it starts from; None if there is none."""
        return None

    def check_parent(self, condition: Any, parent: Any) -> None:
        """Raises `UserError` if `condition` cannot start from the condition `parent`."""

    def masks(self) -> bool:
        """Returns whether some parameters are held at zero."""
        return False

    def snapshots_of_parent(self, measured: set[int]) -> set[int]:
        """Returns the steps at which the parent must keep snapshots for this start. The parent measures at
        `measured`."""
        return set()

    def step_of_parent(self, name: str, end: int, values: Callable[[str], Any]) -> int:
        """Returns the parent's step from which it starts.

        Args:
          name: the parent's name.
          end: the parent's last step.
          values: maps a key to its measured values, a pandas Series by step.

        Raises:
          NotStarted: there is no such step.
        """
        return end

    def rewinds(self) -> bool:
        """Returns whether it needs the parameters of the parent's own start."""
        return False

    def begin(self, parent: Start, condition: Any, seed: int) -> Start:
        """Returns the start of a member of `condition`, made from its parent's parameters."""
        return parent

    def in_program(self) -> Any:
        """Returns the JSON on which a compiled program depends. Fields marked `PerMember` are not part of it."""
        return without(self, complete=True)

    def in_identity(self, parent: tuple[str, int] | None) -> Any:
        """Returns the JSON on which the identity of a trajectory depends.

        Args:
          parent: the identity and the last step of the trajectory that it starts from.
        """
        return to_json(self)

    def corrections(self, condition: Any) -> list[str]:
        """Returns the names of corrected faults in earlier versions of the engine that affected this start of
        `condition`."""
        return []


@dataclasses.dataclass(frozen=True, kw_only=True)
class Init(StartConfig):
    """Starts from the model's initialisation, drawn from the seed."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ScaledInit(StartConfig):
    """Starts from the model's initialisation, with every parameter times `factor`."""

    factor: Annotated[Positive, PerMember]

    def initial(self, params: Tree, scalars: Mapping[str, Scalar]) -> Tree:
        import jax

        factor = scalars["factor"]
        return jax.tree.map(lambda w: w * factor, params)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Transform(Config, family=True):
    """A pure function of one member's start. Your own kind has fields and `apply`."""

    def apply(self, start: Start, given: Start, examples: Callable[[Tree], Examples], key: jax.Array) -> Start:
        """Returns the start after the transform.

        Args:
          start: the result of the earlier transforms.
          given: the parent's start, before the first transform.
          examples: maps a model's state to the training examples, as functions of the parameters.
          key: the PRNG key of all random draws.
        """
        raise NotImplementedError

    def masks(self) -> bool:
        """Returns whether the transform makes a mask."""
        return False

    def rewinds(self) -> bool:
        """Returns whether it needs the parameters of the parent's own start."""
        return False


@dataclasses.dataclass(frozen=True, kw_only=True)
class ScaleParams(Transform):
    """Every parameter times `factor`."""

    factor: Positive

    def apply(self, start: Start, given: Start, examples: Callable[[Tree], Examples], key: jax.Array) -> Start:
        from jaxgen.starts.transforms import scaled

        return start._replace(params=scaled(start.params, self.factor))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rewind(Transform):
    """Resets the parameters to those of the parent's own start, and keeps the mask."""

    def rewinds(self) -> bool:
        return True

    def apply(self, start: Start, given: Start, examples: Callable[[Tree], Examples], key: jax.Array) -> Start:
        first = dict(start.parent_init)
        return start._replace(params=first.pop("params"), model_state=first)


@dataclasses.dataclass(frozen=True, kw_only=True)
class First(Config):
    """The first measuring step at which `measure` of `split` is at least `at_least`.

    The last step of the parent's run counts only if a longer run measures there too. A seed that never reaches it has
    no child, and claims about that child are censored.
    """

    measure: str = "accuracy"
    split: str = "test"
    at_least: float

    def step(self, name: str, values: Callable[[str], Any]) -> int:
        """Returns the step. Arguments and errors are those of `StartConfig.step_of_parent`."""
        key = f"{self.measure}/{self.split}"
        measured = values(key)
        reached = measured[measured >= self.at_least]
        if not len(reached):
            raise NotStarted(
                f"{key} of '{name}' was never at least {self.at_least:g} (its best was {measured.max():.4g})"
            )
        return int(reached.index[0])


@dataclasses.dataclass(frozen=True, kw_only=True)
class From(StartConfig):
    """Starts each member from the member with the same seed of another condition.

    The optimiser starts from its own initial state, at step 0. The transforms apply in order.
    """

    condition: str
    at: NonNegativeInt | First | Literal["end"] = "end"
    transforms: tuple[Transform, ...] = ()

    def parent(self) -> str | None:
        return self.condition

    def smoke(self) -> Self:
        small = super().smoke()
        # At smoke size the parent has few steps, so an event may never come.
        return small if self.at == "end" else dataclasses.replace(small, at=2 if self.at else 0)

    def check_parent(self, condition: Any, parent: Any) -> None:
        if isinstance(self.at, int) and self.at > parent.steps:
            raise UserError(
                f"start: '{condition.name}' starts at step {self.at} of '{parent.name}', "
                f"which ends at step {parent.steps}"
            )

    def masks(self) -> bool:
        return any(each.masks() for each in self.transforms)

    def rewinds(self) -> bool:
        return any(each.rewinds() for each in self.transforms)

    def snapshots_of_parent(self, measured: set[int]) -> set[int]:
        steps = {0} if self.rewinds() else set()
        if isinstance(self.at, First):
            return steps | measured
        return steps | ({self.at} if isinstance(self.at, int) else set())

    def step_of_parent(self, name: str, end: int, values: Callable[[str], Any]) -> int:
        if isinstance(self.at, First):
            return self.at.step(name, values)
        return self.at if isinstance(self.at, int) else end

    def begin(self, parent: Start, condition: Any, seed: int) -> Start:
        from jaxgen.starts.transforms import start_from

        return start_from(parent, self.transforms, condition, seed)

    def in_program(self) -> Any:
        # A program receives the parameters and the mask, so it does not depend on how they were made.
        return {"kind": "From", "masked": self.masks()}

    def in_identity(self, parent: tuple[str, int] | None) -> Any:
        if parent is None:
            return to_json(self)
        # The parent's identity replaces its name.
        fields = without(self, "condition")
        return fields | {"at": parent[1]} if self.at == "end" else fields

    def corrections(self, condition: Any) -> list[str]:
        found = []
        if condition.model.keeps_state():
            found.append("the model's state comes along from the parent")
        if self.masks() and condition.optimizer.moved_masked:
            found.append("what is masked is in no norm and gets no noise")
        if sum(each.masks() for each in self.transforms) > 1:
            found.append("scores do not see what is masked")
        return found
