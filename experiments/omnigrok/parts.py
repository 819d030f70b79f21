"""Training at a constant norm of the parameters, and what stands in for the accuracy of real numbers."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from jaxgen.config import Positive
from jaxgen.measures.config import Measure, keys_by_split
from jaxgen.optimizers import OptimizerWrapper

if TYPE_CHECKING:
    import jax
    import optax

    from jaxgen.measures.evaluation import Evaluation
    from jaxgen.optimizers.links import Scalar


@dataclasses.dataclass(frozen=True, kw_only=True)
class ConstantNorm(OptimizerWrapper):
    """After every step of `base`, scales all parameters together back to the norm that they started
    with (Omnigrok, arXiv 2210.01117)."""

    saved_as: ClassVar[str] = "ConstantNorm"

    def after(self, scalars: Mapping[str, Scalar]) -> list[optax.GradientTransformation]:
        from .links import keep_norm

        return [keep_norm()]

    def couples_parameters(self) -> bool:
        return True


@dataclasses.dataclass(frozen=True, kw_only=True)
class WithinError(Measure):
    """Fraction of examples whose loss is less than `below`: `within_error/<split>`; splits of `Accuracy`.

    It stands in for the accuracy where targets are real numbers.
    """

    saved_as: ClassVar[str] = "WithinError"

    below: Positive

    def values(self, evaluation: Evaluation) -> dict[str, jax.Array]:
        from .measures import within_error

        return within_error(self, evaluation)

    def keys(self, condition: Any) -> frozenset[str]:
        return keys_by_split(condition, "within_error")
