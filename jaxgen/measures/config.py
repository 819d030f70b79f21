"""Measures and analyses. `Measure` and `Analysis` are the contracts for your own. Imports no jax until one runs.

A *measure* runs on the device, inside the program, at every measuring step. An *analysis* runs
afterwards on snapshots, also on a finished run.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from jaxgen.config import Config, PositiveInt
from jaxgen.errors import UserError

if TYPE_CHECKING:
    import jax

    from jaxgen.measures.evaluation import Evaluation, MemberSnapshots


def keys_by_split(condition: Any, *names: str) -> frozenset[str]:
    """Returns the keys `name/split` of the splits of `Accuracy`."""
    splits = list(condition.task.measured())
    if condition.task.corrupts() and "train" in splits:
        splits += ["corrupted", "corrupted_true", "uncorrupted"]
    return frozenset(f"{name}/{split}" for name in names for split in splits)


def _check_tokens(part: Config, condition: Any) -> None:
    if condition.task.shape().real_targets:
        raise UserError(
            f"measures: {type(part).__name__} needs tokens as targets, the task's targets are real numbers; use Loss"
        )


def _check_decodes(part: Config, condition: Any) -> None:
    if not condition.model.decodes(condition.task.shape()):
        raise UserError(
            f"measures: {type(part).__name__} lets the model generate its answers, expected a causal transformer or "
            f"a recurrent network that reads tokens; got {type(condition.model).__name__}"
        )


def check_two_classes(part: Config, condition: Any) -> None:
    """Raises `UserError` unless the task has two classes at one read-out position."""
    shape = condition.task.shape()
    if shape.vocabulary != 2 or len(shape.readout) != 1:
        raise UserError(
            f"{type(part).__name__}: got {shape.vocabulary} classes at {len(shape.readout)} positions, expected two "
            "classes at one"
        )


Row = tuple[int, str, float]  # step, key (`measure/split` or `measure`), value


@dataclasses.dataclass(frozen=True, kw_only=True)
class Measure(Config, family=True):
    """A pure function of parameters and task, to numbers named `measure/split` or `measure`."""

    def values(self, evaluation: Evaluation) -> dict[str, jax.Array]:
        """Returns the values by key, each () float32. Pure: it runs under `jit` and `vmap`."""
        raise NotImplementedError

    def keys(self, condition: Any) -> frozenset[str] | None:
        """Returns the keys of `values`; None: the caller must trace `values` to know them."""
        return None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Accuracy(Measure):
    """Fraction of examples whose K read-out tokens are all correct: `accuracy/<split>`.

    A position without a target (IGNORED) never counts as wrong. Splits: the task's `measured` splits, usually `train`
    (given labels) and `test` (true labels). If the task corrupts labels, also `corrupted` (the corrupted training
    examples, given labels), `corrupted_true` (the same examples, true labels) and `uncorrupted` (the other training
    examples).
    """

    def values(self, evaluation: Evaluation) -> dict[str, jax.Array]:
        from jaxgen.measures.accuracy import accuracy

        return accuracy(evaluation)

    def check(self, condition: Any) -> None:
        _check_tokens(self, condition)

    def keys(self, condition: Any) -> frozenset[str]:
        return keys_by_split(condition, "accuracy")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Loss(Measure):
    """Mean training loss over a split, in nats for cross-entropy: `loss/<split>`; splits of `Accuracy`."""

    def values(self, evaluation: Evaluation) -> dict[str, jax.Array]:
        from jaxgen.measures.accuracy import loss

        return loss(evaluation)

    def keys(self, condition: Any) -> frozenset[str]:
        return keys_by_split(condition, "loss")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ByPosition(Measure):
    """Accuracy and mean training loss at each of the K read-out positions separately: `accuracy.<k>/<split>` and
    `loss.<k>/<split>`, k from 0, over the examples with a target there (0 if there are none); splits of `Accuracy`."""

    def values(self, evaluation: Evaluation) -> dict[str, jax.Array]:
        from jaxgen.measures.accuracy import by_position

        return by_position(evaluation)

    def check(self, condition: Any) -> None:
        _check_tokens(self, condition)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TokenAccuracy(Measure):
    """Fraction of correct target tokens, given all earlier true tokens: `token_accuracy/<split>`; splits of
    `Accuracy`."""

    def values(self, evaluation: Evaluation) -> dict[str, jax.Array]:
        from jaxgen.measures.answers import token_accuracy

        return token_accuracy(evaluation)

    def check(self, condition: Any) -> None:
        _check_tokens(self, condition)


@dataclasses.dataclass(frozen=True, kw_only=True)
class MeanTokenAccuracy(Measure):
    """Mean over the examples of the fraction of their own target tokens that are right, given all earlier true tokens:
    `mean_token_accuracy/<split>`, of the task's `measured` splits. An example counts as much as another, however long
    it is.

    With `edges`, also `mean_token_accuracy.<edge>/<split>`, over the examples whose length is at most the edge and
    above the edge before; NaN if there are none. An example's length is the number of tokens of its source
    (`TaskShape.source`), or of those before its first target.
    """

    edges: tuple[PositiveInt, ...] = ()

    def validate(self) -> None:
        if list(self.edges) != sorted(set(self.edges)):
            raise UserError(f"edges: got {list(self.edges)}, expected each length above the one before")

    def values(self, evaluation: Evaluation) -> dict[str, jax.Array]:
        from jaxgen.measures.answers import mean_token_accuracy

        return mean_token_accuracy(self, evaluation)

    def check(self, condition: Any) -> None:
        _check_tokens(self, condition)

    def keys(self, condition: Any) -> frozenset[str]:
        names = ("mean_token_accuracy", *(f"mean_token_accuracy.{edge}" for edge in self.edges))
        return frozenset(f"{name}/{split}" for name in names for split in condition.task.measured())


@dataclasses.dataclass(frozen=True, kw_only=True)
class GreedyAccuracy(Measure):
    """Fraction of examples whose whole answer is correct under greedy decoding: `greedy_accuracy/<split>`. It needs a
    causal transformer; splits of `Accuracy`."""

    def values(self, evaluation: Evaluation) -> dict[str, jax.Array]:
        from jaxgen.measures.answers import greedy_accuracy

        return greedy_accuracy(evaluation)

    def check(self, condition: Any) -> None:
        _check_tokens(self, condition)
        _check_decodes(self, condition)


@dataclasses.dataclass(frozen=True, kw_only=True)
class AccuracyByLength(Measure):
    """Accuracy by prompt length: `accuracy.to_<edge>/<split>`.

    Examples are binned by prompt length into the first of the `edges` that is not below it. With `greedy` answers are
    judged as in `GreedyAccuracy`, else as in `Accuracy`. `share.to_<edge>/<split>` is the fraction of examples in a
    bin; if it is 0, so is the accuracy. Splits of `Accuracy`.
    """

    edges: tuple[PositiveInt, ...]
    greedy: bool = False

    def validate(self) -> None:
        if not self.edges or list(self.edges) != sorted(set(self.edges)):
            raise UserError(f"edges: got {list(self.edges)}, expected one or more lengths, each above the one before")

    def values(self, evaluation: Evaluation) -> dict[str, jax.Array]:
        from jaxgen.measures.answers import accuracy_by_length

        return accuracy_by_length(self, evaluation)

    def check(self, condition: Any) -> None:
        _check_tokens(self, condition)
        if self.greedy:
            _check_decodes(self, condition)


@dataclasses.dataclass(frozen=True, kw_only=True)
class WeightNorm(Measure):
    """Root of the sum of the squares of all parameters: `weight_norm`."""

    def values(self, evaluation: Evaluation) -> dict[str, jax.Array]:
        from jaxgen.measures.accuracy import weight_norm

        return weight_norm(evaluation)

    def keys(self, condition: Any) -> frozenset[str]:
        return frozenset({"weight_norm"})


@dataclasses.dataclass(frozen=True, kw_only=True)
class AUC(Measure):
    """Area under the ROC curve of two classes: `auc/<split>`.

    The probability that an example of class 1 has a larger score (logit of class 1 minus logit of class 0) than one of
    class 0; equal scores count half. `train` uses the given labels, other splits the true ones.
    """

    def values(self, evaluation: Evaluation) -> dict[str, jax.Array]:
        from jaxgen.measures.scores import auc

        return auc(evaluation)

    def check(self, condition: Any) -> None:
        check_two_classes(self, condition)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Analysis(Config, family=True):
    """A pure function of a member's snapshots, to rows of the table."""

    def rows(self, snapshots: MemberSnapshots) -> list[Row]:
        """Returns the rows of one member; each row's step is its snapshot's."""
        raise NotImplementedError
