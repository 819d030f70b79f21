"""Configurations of the models; imports no jax. `jaxgen.models.build` makes the Flax module."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Literal

from jaxgen.config import Config, NonNegativeInt, PerMember, Positive, PositiveInt, Range, Rate, added
from jaxgen.errors import UserError

# gelu_tanh: the approximation of GPT-2
Activation = Literal["relu", "gelu", "gelu_tanh", "tanh", "square", "identity"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelConfig(Config, family=True):
    """A network from inputs (B, S), int32 tokens or float32 features, to logits (B, K, V) at the read-out positions."""

    # The dropout rate during training; a rate of 0 leaves dropout out of the program.
    dropout: Annotated[Rate, PerMember] = 0.0

    def keeps_state(self) -> bool:
        """Returns whether training changes more than parameters, such as BatchNorm's running statistics."""
        return False


@dataclasses.dataclass(frozen=True, kw_only=True)
class MLPConfig(ModelConfig):
    """Fully connected layers on the concatenated one-hot encodings of the S tokens, or on S features.

    A hidden layer is: linear, dropout, activation, BatchNorm. The order is that of To grok or not
    to grok (App. A): dropout acts before, BatchNorm after the activation.
    """

    hidden: tuple[PositiveInt, ...]
    activation: Activation = "relu"
    bias: bool = True
    batch_norm: bool = False
    # Standard deviation of every weight at the start; None: uniform(+-1/sqrt(fan_in)), torch's.
    init_std: Positive | None = None

    def validate(self) -> None:
        if not self.hidden:
            raise UserError("model.hidden: got no layer, expected at least one width")

    def keeps_state(self) -> bool:
        return self.batch_norm


@dataclasses.dataclass(frozen=True, kw_only=True)
class EmbeddingMLPConfig(ModelConfig):
    """One embedding for all S tokens, their sum through one hidden layer, and back (Grokking Tickets).

    logits = U W2 activation(W1 sum_s E x_s), with E and U (the unembedding) between `embedding` and the
    vocabulary. No biases; every weight is drawn N(0, 1/fan_in), the fan-in of E being the vocabulary.
    Dropout acts before the activation, as in `MLPConfig`.
    """

    embedding: PositiveInt
    hidden: PositiveInt
    activation: Activation = "relu"


@dataclasses.dataclass(frozen=True, kw_only=True)
class TwoLayerConfig(ModelConfig):
    """f(x) = sum over j of a_j ReLU(<w_j, x>) for two classes: no biases, and only the w_j are trained.

    Half of the `width` a_j are +1/sqrt(width), half -1/sqrt(width), for good; w_j starts as
    N(0, init_std^2 I). The logits are -f/2 and f/2, so cross-entropy is the logistic loss
    log(1 + exp(-y f)) of y = +-1 (Xu et al., arXiv 2310.02541, Sec. 2).
    """

    width: PositiveInt
    init_std: Positive

    def validate(self) -> None:
        if self.width % 2:
            raise UserError(f"model.width: got {self.width}, expected an even number: half of the signs are +")
        if self.dropout:
            raise UserError(f"model.dropout: got {self.dropout}, a TwoLayerConfig has none; use an MLPConfig")


@dataclasses.dataclass(frozen=True, kw_only=True)
class EnsembleConfig(ModelConfig):
    """`members` networks of one configuration, trained each for itself on the same batches from starts of
    its own; evaluated by the mean of their logits. The training loss is the mean of the members' own,
    with the gradient of their sum. Norms and steps of an optimiser must act on each parameter alone."""

    members: Annotated[int, Range(at_least=1, at_most=1000)]
    member: MLPConfig

    def validate(self) -> None:
        if self.dropout:
            raise UserError("model.dropout: an ensemble has that of its members, model.member.dropout")
        if self.member.dropout or self.member.batch_norm:
            raise UserError("model.member: an ensemble's members have neither dropout nor BatchNorm yet")


@dataclasses.dataclass(frozen=True, kw_only=True)
class TransformerConfig(ModelConfig):
    """A transformer: `causal` makes it a decoder, else it is an encoder."""

    layers: Annotated[int, Range(at_least=1, at_most=1000)]
    width: PositiveInt
    heads: PositiveInt
    mlp_width: NonNegativeInt  # 0: attention alone
    causal: bool = True
    norm: Literal["pre", "post", "none"] = "none"
    positions: Literal["learned", "sinusoidal", "none"] = "learned"
    activation: Activation = "relu"
    attention_bias: bool = False
    mlp_bias: bool = True
    output_bias: bool = False
    tied: bool = False  # the output layer is the transposed embedding
    # nanda: N(0, 1/width), output N(0, 1/vocabulary), biases 0.
    # torch: uniform(+-1/sqrt(fan_in)), embeddings N(0, 1).
    # gpt2: N(0, 0.02^2), residual outputs divided by sqrt(2 layers), biases 0.
    # fan_in: N(0, 1/fan_in), embeddings N(0, 1), biases 0.
    # one_hot: N(0, 1/fan_in), where an embedding has the fan-in of one-hot tokens (or positions), biases 0.
    init: Literal["nanda", "torch", "gpt2", "fan_in", "one_hot"] = "nanda"
    # mup: attention scores are divided by the head width, not its root, and logits by the width.
    mup: bool = False
    # All layers but the last run as one scan over their stacked parameters: a deep network compiles as fast as a
    # shallow one. It starts from other draws of the same distribution.
    scan_layers: bool = added(False)
    # How training computes attention: xla, what XLA makes of it; pallas, the kernels of jaxgen.kernels.attention;
    # cudnn; auto, a kernel where one was measured to be faster on the device, else xla. By name it is that or an error.
    attention: Literal["auto", "xla", "pallas", "cudnn"] = added("xla")

    def validate(self) -> None:
        if self.width % self.heads:
            raise UserError(f"model.width: got {self.width}, expected a multiple of heads={self.heads}")
        if self.positions == "sinusoidal" and self.width % 2:
            raise UserError(f"model.width: got {self.width}, expected an even number: sines and cosines pair up")
