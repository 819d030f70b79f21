"""The paper's two-layer network, how near it is to a linear function, and where its neurons point."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from jaxgen.config import Positive, PositiveInt
from jaxgen.errors import UserError
from jaxgen.measures.config import Measure, check_two_classes
from jaxgen.models.config import MLPConfig, OneAnswerConfig
from jaxgen.tasks import TaskShape, XORClusterTask

if TYPE_CHECKING:
    import jax
    from flax import linen as nn
    from jax.typing import DTypeLike

    from jaxgen.measures.evaluation import Evaluation


@dataclasses.dataclass(frozen=True, kw_only=True)
class TwoLayerConfig(OneAnswerConfig):
    """f(x) = sum over j of a_j ReLU(<w_j, x>) for two classes: no biases, and only the w_j are trained.

    Half of the `width` a_j are +1/sqrt(width), half -1/sqrt(width), for good; w_j starts as
    N(0, init_std^2 I). The logits are -f/2 and f/2, so cross-entropy is the logistic loss
    log(1 + exp(-y f)) of y = +-1 (Xu et al., arXiv 2310.02541, Sec. 2).
    """

    saved_as: ClassVar[str] = "TwoLayerConfig"
    smoke_sizes: ClassVar[Mapping[str, int]] = {"width": 4}

    width: PositiveInt
    init_std: Positive

    def validate(self) -> None:
        if self.width % 2:
            raise UserError(f"model.width: got {self.width}, expected an even number: half of the signs are +")
        if self.dropout:
            raise UserError(f"model.dropout: got {self.dropout}, a TwoLayerConfig has none; use an MLPConfig")

    def check_shape(self, shape: TaskShape) -> None:
        super().check_shape(shape)
        if not shape.features or shape.vocabulary != 2:
            raise UserError("model: a TwoLayerConfig tells two classes of features apart; the task has others")

    def module(self, shape: TaskShape, compute_dtype: DTypeLike, *, remat: bool, attention_device: Any) -> nn.Module:
        from .network import TwoLayer

        return TwoLayer(self, shape, compute_dtype)


def _odd_part_is_linear(condition: Any) -> bool:
    model = condition.model
    if isinstance(model, TwoLayerConfig):
        return True
    if not isinstance(model, MLPConfig) or not condition.task.shape().features:
        return False
    return (len(model.hidden), model.activation, model.bias, model.batch_norm) == (1, "relu", False, False)


@dataclasses.dataclass(frozen=True, kw_only=True)
class LinearFit(Measure):
    """How near a two-layer ReLU network without biases is to a linear function: `linear_r2/<split>`.

    As ReLU(u) = u/2 + |u|/2, its score f (logit of class 1 less that of class 0) is a linear function,
    (f(x) - f(-x))/2, and an even one. Where the inputs are distributed symmetrically about 0, the
    two are uncorrelated, and the linear one with a constant is the best linear fit to f. Written is
    its R^2 over a split. A fit to the split itself would be perfect with more dimensions than examples.
    """

    saved_as: ClassVar[str] = "LinearFit"

    def values(self, evaluation: Evaluation) -> dict[str, jax.Array]:
        from .measures import linear_fit

        return linear_fit(evaluation)

    def check(self, condition: Any) -> None:
        check_two_classes(self, condition)
        if not _odd_part_is_linear(condition):
            raise UserError(
                f"LinearFit: got {type(condition.model).__name__}, expected a TwoLayerConfig, or an MLPConfig of one "
                "ReLU layer with neither biases nor BatchNorm, on features"
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Alignment(Measure):
    """Where the neurons of a `TwoLayerConfig` point: `alignment.own` and `alignment.other`.

    The mean over the neurons of |cos| of the angle between w_j and a cluster mean: `own` is mu1 for neurons of
    a_j > 0 and mu2 for those of a_j < 0, the clusters that such a neuron should answer to; `other` the other one.
    """

    def values(self, evaluation: Evaluation) -> dict[str, jax.Array]:
        from .measures import alignment

        return alignment(evaluation)

    def keys(self, condition: Any) -> frozenset[str]:
        return frozenset({"alignment.own", "alignment.other"})

    def check(self, condition: Any) -> None:
        if not isinstance(condition.model, TwoLayerConfig) or not isinstance(condition.task, XORClusterTask):
            raise UserError(
                f"Alignment: got {type(condition.model).__name__} on {type(condition.task).__name__}, expected a "
                "TwoLayerConfig on an XORClusterTask"
            )
