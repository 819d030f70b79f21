"""What every optimiser and every wrapper of one gives; imports no jax until one is built."""

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
    """From gradients to what is added to the parameters: an optimiser, or one inside wrappers.

    A kind of your own has fields and `build`. Fields marked `PerMember` may differ between the members of a population:
    `build` is given them as `scalars`, and must not read them from `self`.
    """

    takes_scalars: ClassVar[bool] = True
    # Whether runs of before masks were isolated are others where what is masked moved with the rest.
    moved_masked: ClassVar[bool] = False

    def build(self, scalars: Mapping[str, Scalar], horizon: int) -> optax.GradientTransformationExtraArgs:
        """Returns the optax transformation; `update` also takes `key`, for what is drawn at this step, and the `mask`
        of the parameters, None where there is none. It is given gradients and parameters that are masked.

        Args:
          scalars: the numbers marked `PerMember` by dotted path (`learning_rate`, `base.weight_decay`, ...), traced
            or not.
          horizon: the steps of the whole run, for a schedule that uses it.
        """
        raise NotImplementedError

    def gradient_point(self, params: Tree, scalars: Mapping[str, Scalar], draw: Callable[[], jax.Array]) -> Tree:
        """Returns the parameters at which the gradient of a step is taken, noisy or not; `draw` makes the key."""
        return params

    def uses_horizon(self) -> bool:
        """Returns whether updates depend on the steps of the whole run."""
        return False

    def couples_parameters(self) -> bool:
        """Returns whether what a parameter does depends on other parameters, as by a norm of all together."""
        return False

    def decay_a_step(self) -> float:
        """Returns the fraction that decoupled weight decay takes off a weight at each step, at the full learning rate;
        0 without it."""
        return 0.0

    def corrections(self) -> list[str]:
        """Returns which faults of earlier versions of the engine changed what this optimiser did."""
        return []


@dataclasses.dataclass(frozen=True, kw_only=True)
class Schedule(Config, family=True):
    """How the learning rate changes over the steps. A kind of your own has fields and `factor`."""

    # Whether `factor` depends on the horizon: then the horizon is in the identity, and a run cannot be extended.
    uses_horizon: ClassVar[bool] = False

    def factor(self, count: jax.Array, horizon: int) -> Scalar:
        """Returns what the learning rate is multiplied by at an update.

        Args:
          count: () int32, the updates so far.
          horizon: the steps of the whole run.
        """
        raise NotImplementedError


@dataclasses.dataclass(frozen=True, kw_only=True)
class OptimizerConfig(Updates, family=True):
    """What every optimiser has. The learning rate rises linearly over `warmup` steps, then stays:
    step s (from 0) uses min(1, (s + 1) / warmup) of it."""

    learning_rate: Annotated[NonNegative, PerMember]
    warmup: NonNegativeInt = 0
    schedule: Schedule | None = added(None)  # of the learning rate, besides the warm-up; None: constant

    def rate(self, scalars: Mapping[str, Scalar], horizon: int) -> Any:
        """Returns the learning rate as optax takes it: a function of the number of updates so far, () int32."""
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

    A kind of your own has `before`, the links that gradients pass before `base`, or `after`, those that its updates
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
