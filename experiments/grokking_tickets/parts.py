"""The network on embeddings, masks of networks before training, starts of a ticket's norm, and a spectrum's entropy."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from jaxgen.config import Positive, PositiveInt
from jaxgen.errors import UserError
from jaxgen.measures.config import Measure
from jaxgen.models.config import Activation, OneAnswerConfig
from jaxgen.starts import Mask, Transform

if TYPE_CHECKING:
    import jax
    from flax import linen as nn
    from jax.typing import DTypeLike

    from jaxgen.measures.evaluation import Evaluation
    from jaxgen.models.sharding import Rules
    from jaxgen.starts.transforms import Examples, Start
    from jaxgen.tasks.base import TaskShape

Tree = Any


@dataclasses.dataclass(frozen=True, kw_only=True)
class EmbeddingMLPConfig(OneAnswerConfig):
    """One embedding for all S tokens, their sum through one hidden layer, and back (Grokking Tickets).

    logits = U W2 activation(W1 sum_s E x_s), with E and U (the unembedding) between `embedding` and the
    vocabulary. No biases; every weight is drawn N(0, 1/fan_in), the fan-in of E being the vocabulary.
    Dropout acts before the activation, as in `MLPConfig`.
    """

    saved_as: ClassVar[str] = "EmbeddingMLPConfig"
    smoke_sizes: ClassVar[Mapping[str, int]] = {"embedding": 8, "hidden": 8}

    embedding: PositiveInt
    hidden: PositiveInt
    activation: Activation = "relu"

    def check_shape(self, shape: TaskShape) -> None:
        super().check_shape(shape)
        if shape.features:
            raise UserError("model: an EmbeddingMLP reads tokens, the task gives real features; use an MLPConfig")

    def module(self, shape: TaskShape, compute_dtype: DTypeLike, *, remat: bool, attention_device: Any) -> nn.Module:
        from .network import EmbeddingMLP

        return EmbeddingMLP(self, shape, compute_dtype)

    def sharding_rules(self) -> Rules:
        from .network import SHARDING_RULES

        return SHARDING_RULES


@dataclasses.dataclass(frozen=True, kw_only=True)
class SNIPMask(Mask):
    """Keeps the entries whose removal changes the training loss most, to first order: the score is
    |w dL/dw| (Lee, Ajanthan, Torr 2019, arXiv 1810.02340), on the whole training split."""

    saved_as: ClassVar[str] = "SNIPMask"

    def scores(self, params: Tree, mask: Tree | None, examples: Examples, key: jax.Array) -> Tree:
        from .scores import snip_scores

        return snip_scores(params, examples)


@dataclasses.dataclass(frozen=True, kw_only=True)
class GraSPMask(Mask):
    """Keeps the entries whose removal would lower the norm of the gradient most: the score is
    w (H g), H the Hessian and g the gradient of the training loss (Wang, Zhang, Grosse 2020, arXiv
    2002.07376), on the whole training split."""

    saved_as: ClassVar[str] = "GraSPMask"

    temperature: Positive = 200.0  # the logits are divided by it; 200 is that of the authors' code

    def scores(self, params: Tree, mask: Tree | None, examples: Examples, key: jax.Array) -> Tree:
        from .scores import grasp_scores

        return grasp_scores(params, mask, examples, self.temperature)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SynFlowMask(Mask):
    """Keeps the entries that most of the summed logits flows through when every weight is replaced
    by its magnitude: the score is |w dR/d|w|| (Tanaka, Kunin, Yamins, Ganguli 2020, arXiv
    2006.05467). No label is used. Of n iterations, number i keeps the fraction keep^(i / n)."""

    saved_as: ClassVar[str] = "SynFlowMask"

    iterations: PositiveInt = 100

    def apply(self, start: Start, given: Start, examples: Callable[[Tree], Examples], key: jax.Array) -> Start:
        from .scores import synflow_mask

        of = examples(start.model_state)
        return start._replace(mask=synflow_mask(start.params, start.mask, of, self.keep, self.iterations))


@dataclasses.dataclass(frozen=True, kw_only=True)
class MatchNorm(Transform):
    """Every parameter times the one factor that gives them the norm that the parent's parameters have after the
    transforms `of`. The norm is of all parameters together."""

    saved_as: ClassVar[str] = "MatchNorm"

    norm: Literal["l1", "l2"]
    of: tuple[Transform, ...]

    def rewinds(self) -> bool:
        return any(each.rewinds() for each in self.of)

    def apply(self, start: Start, given: Start, examples: Callable[[Tree], Examples], key: jax.Array) -> Start:
        from jaxgen.starts.transforms import apply_transforms, scaled

        from .scores import norm

        other = apply_transforms(given, self.of, examples, key)
        factor = norm(other.params, self.norm) / norm(start.params, self.norm)
        return start._replace(params=scaled(start.params, factor))


@dataclasses.dataclass(frozen=True, kw_only=True)
class FourierEntropy(Measure):
    """How few frequencies the neurons of an `EmbeddingMLPConfig` read their numbers with: `fourier_entropy`.

    The weights from the V numbers to a neuron, through the embedding, have the amplitudes |F(k)|, k from 1 to V // 2;
    p is these over their sum. The entropy -sum p log p, in nats, is averaged over the neurons that are not cut off: 0
    where each has one frequency (arXiv 2310.19470v3, Sec. 5.2). `fourier_entropy_softmax` is what the authors' code
    computes in its place: -sum p log softmax(p), over all frequencies but the last.
    """

    def values(self, evaluation: Evaluation) -> dict[str, jax.Array]:
        from .measures import fourier_entropy

        return fourier_entropy(evaluation)

    def keys(self, condition: Any) -> frozenset[str]:
        return frozenset({"fourier_entropy", "fourier_entropy_softmax"})

    def check(self, condition: Any) -> None:
        if not isinstance(condition.model, EmbeddingMLPConfig):
            raise UserError(f"FourierEntropy: got {type(condition.model).__name__}, expected an EmbeddingMLPConfig")
