"""The contracts of optimisers and their wrappers. Imports no jax until one is built."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from jaxgen.config import Config, NonNegative, NonNegativeInt, PerMember, added, values_of

if TYPE_CHECKING:
    import jax
    import optax

    from jaxgen.optimizers.links import Scalar

Tree = Any


@dataclasses.dataclass(frozen=True, kw_only=True)
class Updates(Config, family=True):
    """Maps gradients to the updates that are added to the parameters: an optimiser, or one inside wrappers.

    Your own kind has fields and `build`. Fields marked `PerMember` may differ between the members of a population, so
    `build` receives them as `scalars`, and must not read them from `self`.
    """

    takes_scalars: ClassVar[bool] = True
    # Whether runs with a mask changed their identity when masked parameters were isolated from the update.
    moved_masked: ClassVar[bool] = False

    def build(self, scalars: Mapping[str, Scalar], horizon: int) -> optax.GradientTransformationExtraArgs:
        """Returns the optax transformation. Its `update` also receives `key`, for random draws at this step, and the
        `mask` of the parameters, or None. The gradients and parameters that it receives are already masked.

        Args:
          scalars: the fields marked `PerMember` by dotted path (`learning_rate`, `base.weight_decay`, ...), traced or
            not.
          horizon: the last step of the run, for a schedule that uses it.
        """
        raise NotImplementedError

    def gradient_point(self, params: Tree, scalars: Mapping[str, Scalar], draw: Callable[[], jax.Array]) -> Tree:
        """Returns the parameters at which the gradient of a step is computed; `draw` makes a key if they are noisy."""
        return params

    def uses_horizon(self) -> bool:
        """Returns whether updates depend on the last step of the run."""
        return False

    def couples_parameters(self) -> bool:
        """Returns whether the update of a parameter depends on other parameters, as with a global norm."""
        return False

    def decay_a_step(self) -> float:
        """Returns the fraction that decoupled weight decay takes off a weight at each step, at the full learning rate;
        0 without it."""
        return 0.0

    def corrections(self) -> list[str]:
        """Returns the names of corrected faults in earlier versions of the engine that affected this optimiser."""
        return []


@dataclasses.dataclass(frozen=True, kw_only=True)
class Schedule(Config, family=True):
    """Changes the learning rate over the steps. Your own kind has fields and `factor`."""

    # Whether `factor` depends on the horizon. If so, the horizon is in the identity, and a run cannot be extended.
    uses_horizon: ClassVar[bool] = False

    def factor(self, count: jax.Array, horizon: int) -> Scalar:
        """Returns the factor of the learning rate at an update.

        Args:
          count: () int32, the number of updates so far.
          horizon: the steps of the whole run.
        """
        raise NotImplementedError


@dataclasses.dataclass(frozen=True, kw_only=True)
class OptimizerConfig(Updates, family=True):
    """The fields of every optimiser. The learning rate rises linearly over `warmup` steps, then stays constant: step s
    (from 0) uses min(1, (s + 1) / warmup) of it."""

    learning_rate: Annotated[NonNegative, PerMember]
    warmup: NonNegativeInt = 0
    schedule: Schedule | None = added(None)  # multiplies the learning rate, beside the warm-up; None: constant

    def rate(self, scalars: Mapping[str, Scalar], horizon: int) -> Any:
        """Returns the learning rate in optax's form: a function of the number of updates so far, () int32."""
        import jax.numpy as jnp

        def rate(count: jax.Array) -> Scalar:
            rate = scalars["learning_rate"]
            if self.warmup > 0:
                rate = rate * jnp.minimum(1.0, (count + 1).astype(jnp.float32) / self.warmup)
            return rate if self.schedule is None else rate * self.schedule.factor(count, horizon)

        return rate

    def uses_horizon(self) -> bool:
        return self.schedule is not None and self.schedule.uses_horizon


@dataclasses.dataclass(frozen=True, kw_only=True)
class OptimizerWrapper(Updates, family=True):
    """Changes the gradients or the updates of the optimiser `base`, which may be wrapped itself.

    Your own kind has `before`, the links that gradients pass before `base`, or `after`, the links that its updates
    pass.
    """

    moved_masked = True

    base: Updates

    def before(self, scalars: Mapping[str, Scalar]) -> list[optax.GradientTransformation]:
        """Returns the links of the chain before `base`."""
        return []

    def after(self, scalars: Mapping[str, Scalar]) -> list[optax.GradientTransformation]:
        """Returns the links of the chain after `base`."""
        return []

    def build(self, scalars: Mapping[str, Scalar], horizon: int) -> optax.GradientTransformationExtraArgs:
        from jaxgen.optimizers.links import chain

        return chain(*self.before(scalars), self.base.build(values_of("base", scalars), horizon), *self.after(scalars))

    def gradient_point(self, params: Tree, scalars: Mapping[str, Scalar], draw: Callable[[], jax.Array]) -> Tree:
        return self.base.gradient_point(params, values_of("base", scalars), draw)

    def uses_horizon(self) -> bool:
        return self.base.uses_horizon()

    def couples_parameters(self) -> bool:
        return self.base.couples_parameters()

    def decay_a_step(self) -> float:
        return self.base.decay_a_step()

    def corrections(self) -> list[str]:
        return self.base.corrections()
