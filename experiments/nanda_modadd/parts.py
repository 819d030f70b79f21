"""Progress measures of modular addition, and ablations."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, ClassVar

from jaxgen.config import Fraction
from jaxgen.errors import UserError
from jaxgen.measures.config import Analysis, Row
from jaxgen.models.config import MLPConfig, TransformerConfig
from jaxgen.tasks import ModularTask

if TYPE_CHECKING:
    from jaxgen.measures.evaluation import MemberSnapshots


@dataclasses.dataclass(frozen=True, kw_only=True)
class ProgressMeasures(Analysis):
    """Key frequencies, restricted and excluded loss (Nanda et al., arXiv 2301.05217, Sec. 5).

    A frequency is *key* if at least `neurons` of the MLP neurons of the last snapshot follow it:
    of all frequencies k, the eight products and single terms of cos and sin of 2 pi k a / p and
    2 pi k b / p explain most of the neuron's variance over the p x p inputs. For every snapshot:

    - `restricted_loss/all`: of logits whose variation over the inputs keeps only the directions
      cos(w(a+b)) and sin(w(a+b)) of the key frequencies;
    - `excluded_loss/train`: of logits with these directions removed;
    - `key_frequencies`: how many; `key_variance`: the part of the logits' variance they explain;
    - `gini`: of the norms of the embedding's Fourier components.
    """

    saved_as: ClassVar[str] = "ProgressMeasures"

    neurons: Fraction = 0.02

    def rows(self, snapshots: MemberSnapshots) -> list[Row]:
        from .measures import progress_measures

        return progress_measures(self, snapshots)

    def check(self, condition: Any) -> None:
        _check_addition(self, condition)


@dataclasses.dataclass(frozen=True, kw_only=True)
class AblateFrequencies(Analysis):
    """Test loss of the last snapshot without some frequencies of its logits (Nanda et al., arXiv 2301.05217, Sec. 4.4).

    A frequency k has eight Fourier components over the p x p inputs: cos and sin of 2 pi k a / p and 2 pi k b / p, and
    the products of one of a and one of b. Key frequencies are those of `ProgressMeasures`.

    - `ablated_loss.nothing/test`: of the whole network, over its p number outputs;
    - `ablated_loss.keys/test`: without the components of all key frequencies;
    - `ablated_loss.others/test`: of these and the mean over the inputs alone;
    - `ablated_loss.one_key/test`: without the one key frequency that matters least;
    - `ablated_loss.one_other/test`: without the one other frequency that matters most;
    - `ablated_loss.chance`: ln p.

    Where there is no such frequency, nothing is left out.
    """

    neurons: Fraction = 0.02

    def rows(self, snapshots: MemberSnapshots) -> list[Row]:
        from .measures import ablated_losses

        return ablated_losses(self, snapshots)

    def check(self, condition: Any) -> None:
        _check_addition(self, condition)


def _check_addition(part: Analysis, condition: Any) -> None:
    name = type(part).__name__
    model, task = condition.model, condition.task
    one_layer = (isinstance(model, TransformerConfig) and model.layers == 1) or (
        isinstance(model, MLPConfig) and len(model.hidden) == 1
    )
    if not one_layer:
        raise UserError(
            f"{name}: got {model}, expected a TransformerConfig of one layer or an MLPConfig of one hidden layer"
        )
    if not isinstance(task, ModularTask) or task.operation != "x+y" or task.format not in ("a b", "a b ="):
        raise UserError(f"{name}: expected a ModularTask of operation 'x+y' and format 'a b' or 'a b ='")
