"""How periodic hidden neurons are, and pruning by it."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from jaxgen.config import Config, Fraction, Positive
from jaxgen.errors import UserError
from jaxgen.measures.config import Analysis, Measure, Row
from jaxgen.models.config import MLPConfig

if TYPE_CHECKING:
    import jax

    from jaxgen.measures.evaluation import Evaluation, MemberSnapshots


def _check_neurons(part: Config, condition: Any) -> None:
    model, length = condition.model, condition.task.shape().length
    if not isinstance(model, MLPConfig) or len(model.hidden) != 1 or length != 2:
        raise UserError(
            f"{type(part).__name__}: got {type(model).__name__} on {length} tokens, expected an MLPConfig with one "
            "hidden layer and a task of format 'a b'"
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class NeuronIPR(Measure):
    """Inverse participation ratio of the hidden neurons of a one-hidden-layer MLP on `a b` tasks.

    A neuron's IPR is the mean over its input row for a, its input row for b and its output column
    of sum |F|^4 / (sum |F|^2)^2, with F the one-sided rFFT (a cosine has 1; a full FFT would give
    0.5). Writes `ipr`, the mean over neurons, and `low_ipr_fraction`, the fraction of neurons with
    IPR below `threshold` (To grok or not to grok, Eq. 4 and Fig. 3).
    """

    saved_as: ClassVar[str] = "NeuronIPR"

    threshold: Positive = 0.2

    def values(self, evaluation: Evaluation) -> dict[str, jax.Array]:
        from .measures import neuron_ipr

        return neuron_ipr(self, evaluation)

    def check(self, condition: Any) -> None:
        _check_neurons(self, condition)


@dataclasses.dataclass(frozen=True, kw_only=True)
class PruneNeurons(Analysis):
    """Accuracy of the last snapshot after removing hidden neurons in the order of their IPR.

    No retraining: the neurons' input rows and output column become zero (To grok or not to grok,
    Fig. 6). Writes `accuracy.pruned_<order>_ipr.<fraction>` for the splits of `Accuracy`.
    """

    saved_as: ClassVar[str] = "PruneNeurons"

    order: Literal["lowest", "highest"]
    fractions: tuple[Fraction, ...]

    def rows(self, snapshots: MemberSnapshots) -> list[Row]:
        from .measures import prune_neurons

        return prune_neurons(self, snapshots)

    def check(self, condition: Any) -> None:
        _check_neurons(self, condition)


@dataclasses.dataclass(frozen=True, kw_only=True)
class NormByIPR(Analysis):
    """How the BatchNorm after the hidden neurons scales them, by their IPR (To grok or not to grok, Fig. 5).

    For every snapshot `norm_ipr_correlation`, Pearson's between a neuron's IPR and the size of its scale (0 where one
    of them is constant); and the mean size of the scale of neurons with IPR above `high`, `norm_scale.periodic`, and
    below `low`, `norm_scale.aperiodic`, where there are such neurons.
    """

    low: Positive = 0.2
    high: Positive = 0.8

    def rows(self, snapshots: MemberSnapshots) -> list[Row]:
        from .measures import norm_by_ipr

        return norm_by_ipr(self, snapshots)

    def check(self, condition: Any) -> None:
        _check_neurons(self, condition)
        if not condition.model.batch_norm:
            raise UserError("NormByIPR: got a model without BatchNorm, expected model.batch_norm=true")
