"""Ensembles of networks, convolutional and recurrent ones, and the accuracy on attacked examples."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from jaxgen.config import PositiveInt, Range, added
from jaxgen.errors import UserError, nearest
from jaxgen.measures.config import Analysis, Row
from jaxgen.models.config import MLPConfig, OneAnswerConfig
from jaxgen.objectives import Attack

if TYPE_CHECKING:
    from flax import linen as nn
    from jax.typing import DTypeLike

    from jaxgen.measures.evaluation import MemberSnapshots
    from jaxgen.tasks.base import TaskShape


@dataclasses.dataclass(frozen=True, kw_only=True)
class EnsembleConfig(OneAnswerConfig):
    """`members` networks of one configuration, trained each for itself on the same batches from starts of
    its own; evaluated by the mean of their logits. The training loss is the mean of the members' own,
    with the gradient of their sum. Norms and steps of an optimiser must act on each parameter alone."""

    saved_as: ClassVar[str] = "EnsembleConfig"

    members: Annotated[int, Range(at_least=1, at_most=1000)]
    member: MLPConfig

    def validate(self) -> None:
        if self.dropout:
            raise UserError("model.dropout: an ensemble has that of its members, model.member.dropout")
        if self.member.dropout or self.member.batch_norm:
            raise UserError("model.member: an ensemble's members have neither dropout nor BatchNorm yet")

    def check(self, condition: Any) -> None:
        super().check(condition)
        if condition.optimizer.couples_parameters():
            raise UserError(
                f"optimizer: got {type(condition.optimizer).__name__}, expected one that acts on each parameter alone: "
                "by a norm of all parameters together the networks of an ensemble would act on each other"
            )

    def module(self, shape: TaskShape, compute_dtype: DTypeLike, *, remat: bool, attention_device: Any) -> nn.Module:
        from .network import Ensemble

        return Ensemble(self, shape, compute_dtype)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _FeatureConfig(OneAnswerConfig):
    """A network that reads features alone, without dropout."""

    def validate(self) -> None:
        if self.dropout:
            raise UserError(f"model.dropout: got {self.dropout}, a {type(self).__name__} has none; use an MLPConfig")

    def check_shape(self, shape: TaskShape) -> None:
        super().check_shape(shape)
        if not shape.features:
            raise UserError(f"model: a {type(self).__name__} reads features, the task gives tokens; use an MLPConfig")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ConvolutionalConfig(_FeatureConfig):
    """The authors' `CNNClassifier`: S features as one channel of length S.

    One convolution of `kernel` taps to `channels`, padded to the same length, ReLU; then a linear layer back to width
    S, ReLU, and the output. Weights and biases are uniform(+-1/sqrt(fan_in)), as in torch.
    """

    smoke_sizes: ClassVar[Mapping[str, int]] = {"channels": 2}

    channels: PositiveInt
    kernel: PositiveInt

    def validate(self) -> None:
        super().validate()
        if self.kernel % 2 == 0:
            raise UserError(f"model.kernel: got {self.kernel}, expected an odd number: as much padding on either side")

    def module(self, shape: TaskShape, compute_dtype: DTypeLike, *, remat: bool, attention_device: Any) -> nn.Module:
        from .network import Convolutional

        return Convolutional(self, shape, compute_dtype)


@dataclasses.dataclass(frozen=True, kw_only=True)
class RecurrentConfig(_FeatureConfig):
    """The authors' `GRUClassifier`: S features as a sequence of S / `chunk` steps.

    One GRU of `hidden` units from a state of 0; the output reads its last state. All weights and biases of the GRU are
    uniform(+-1/sqrt(hidden)), as in torch.
    """

    smoke_sizes: ClassVar[Mapping[str, int]] = {"hidden": 8, "chunk": 1}

    hidden: PositiveInt
    chunk: PositiveInt = 1

    def check_shape(self, shape: TaskShape) -> None:
        super().check_shape(shape)
        if shape.length % self.chunk:
            raise UserError(f"model.chunk: got {self.chunk}, expected a divisor of the {shape.length} features")

    def module(self, shape: TaskShape, compute_dtype: DTypeLike, *, remat: bool, attention_device: Any) -> nn.Module:
        from .network import Recurrent

        return Recurrent(self, shape, compute_dtype)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Perturb(Analysis):
    """Accuracy of the last snapshot on attacked examples: `accuracy.<norm>.<radius>/<split>`.

    With `universal` one perturbation is shared by all examples and raises their mean loss; then it is
    `accuracy.<norm>_universal.<radius>/<split>`. If it is `signed`, too, it is added to the examples of class 1 and
    subtracted from those of class 0, as the authors' are: `accuracy.<norm>_signed.<radius>/<split>`. Given `along`, a
    split of the same examples with some of their coordinates changed, `along.<norm>.<radius>/<along>` is the part of
    the perturbations' squared l2 norms, averaged over the examples, that lies in the directions of the change.
    """

    saved_as: ClassVar[str] = "Perturb"

    attacks: tuple[Attack, ...]
    universal: bool = False
    split: str = "test"
    along: str | None = None
    signed: bool = added(False)

    def validate(self) -> None:
        if self.signed and not self.universal:
            raise UserError("Perturb: got signed=true, universal=false, expected both: each example has its own sign")

    def attack_name(self, attack: Attack) -> str:
        """Returns what keys call an attack."""
        kind = "_signed" if self.signed else "_universal" if self.universal else ""
        return f"{attack.norm}{kind}.{attack.radius:g}"

    def rows(self, snapshots: MemberSnapshots) -> list[Row]:
        from .measures import perturb

        return perturb(self, snapshots)

    def check(self, condition: Any) -> None:
        shape = condition.task.shape()
        if not shape.features:
            raise UserError("Perturb: got a task of tokens, expected one of features")
        if self.signed and shape.vocabulary != 2:
            raise UserError(f"Perturb: got signed=true with {shape.vocabulary} classes, expected 2")
        splits = dict(shape.sizes)
        for name in (self.split, self.along):
            if name is not None and name not in splits:
                raise UserError(f"Perturb: no split '{name}'{nearest(name, splits)}")
