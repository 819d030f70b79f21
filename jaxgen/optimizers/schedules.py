"""Schedules of the learning rate that papers share."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, ClassVar

from jaxgen.config import Fraction, NonNegativeInt, PositiveInt
from jaxgen.optimizers.base import Schedule

if TYPE_CHECKING:
    import jax

    from jaxgen.optimizers.links import Scalar


@dataclasses.dataclass(frozen=True, kw_only=True)
class Noam(Schedule):
    """Rises linearly over `warmup` updates, then falls as one over the root of their number (Vaswani et al., arXiv
    1706.03762, Sec. 5.3).

    Update n, from 1, has width^-0.5 * min(n^-0.5, n * warmup^-1.5) of the learning rate: at most (width * warmup)^-0.5.
    """

    width: PositiveInt
    warmup: PositiveInt

    def factor(self, count: jax.Array, horizon: int) -> Scalar:
        import jax.numpy as jnp

        update = (count + 1).astype(jnp.float32)
        return self.width**-0.5 * jnp.minimum(1 / jnp.sqrt(update), update * self.warmup**-1.5)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Linear(Schedule):
    """Constant for `after` updates, then falls on a line to `least` at the end of the run."""

    uses_horizon: ClassVar[bool] = True

    least: Fraction = 0.0
    after: NonNegativeInt = 0

    def factor(self, count: jax.Array, horizon: int) -> Scalar:
        import jax.numpy as jnp

        gone = (count - self.after).astype(jnp.float32) / max(horizon - self.after, 1)
        return 1 - (1 - self.least) * jnp.clip(gone, 0.0, 1.0)
