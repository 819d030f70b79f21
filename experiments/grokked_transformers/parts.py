"""The circuit of two-hop questions: what can be read where, and what changes the answer."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from jaxgen.config import PositiveInt
from jaxgen.errors import UserError
from jaxgen.measures.config import Analysis, Row
from jaxgen.models.config import TransformerConfig
from jaxgen.tasks.facts.composition import CompositionTask

if TYPE_CHECKING:
    from jaxgen.measures.evaluation import MemberSnapshots


@dataclasses.dataclass(frozen=True, kw_only=True)
class Circuit(Analysis):
    """Logit lens and causal tracing of `questions` of the two-hop questions (h, r1, r2) that train (Wang et al., arXiv
    2405.15071, Sec. 3.3). S[l, x] is the residual stream after l layers at the token x. For every snapshot and l below
    the number of layers:

    - `mrr.bridge.<l>/train_inferred`: mean reciprocal rank, among all tokens, of the bridge entity in S[l, r1], read
      out by the final norm and the output layer;
    - `mrr.r2.<l>/train_inferred`: the same of the second relation in S[l, r2];
    - `effect.<x>.<l>/train_inferred`, x one of h, r1, r2: of the questions that are answered right, and that have
      another answer with another x, the fraction that is no longer answered right where S[l, x] is that of the question
      with such another x, drawn uniformly. 0 if there is no such question.

    A network of L layers costs 3 L + 2 forward passes of the questions a snapshot, and 2 (L - 1) of its output layer.
    """

    questions: PositiveInt = 300

    def rows(self, snapshots: MemberSnapshots) -> list[Row]:
        from .circuit import circuit

        return circuit(self, snapshots)

    def check(self, condition: Any) -> None:
        model, task = condition.model, condition.task
        if not isinstance(task, CompositionTask) or not isinstance(model, TransformerConfig):
            raise UserError(
                f"analyses: Circuit reads two-hop questions in a transformer, got {type(task).__name__} and "
                f"{type(model).__name__}"
            )
        if model.layers < 2 or model.loops > 1 or model.scan_layers:
            raise UserError(
                f"analyses: Circuit needs layers of their own names, two or more, got layers={model.layers}, "
                f"loops={model.loops}, scan_layers={model.scan_layers}"
            )
