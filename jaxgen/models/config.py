"""The models. `ModelConfig` is the contract for your own. Imports no jax until a model is built."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from jaxgen.config import Config, NonNegativeInt, PerMember, Positive, PositiveInt, Range, Rate, added
from jaxgen.errors import UserError
from jaxgen.models.positions import Learned, Positions
from jaxgen.tasks.base import TaskShape

if TYPE_CHECKING:
    import jax
    from flax import linen as nn
    from jax.typing import DTypeLike

    from jaxgen.models.sharding import Rules

# gelu_tanh: the approximation of GPT-2
Activation = Literal["relu", "gelu", "gelu_tanh", "tanh", "square", "identity"]
# How a recurrent network goes on. tanh, relu: h = f(U x + W h + b)
Cell = Literal["gru", "lstm", "tanh", "relu"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelConfig(Config, family=True):
    """A network from inputs (B, S), int32 tokens or float32 features, to logits (B, K, V) at the read-out positions.

    Your own kind has fields, `module`, and overrides of the defaults below.
    """

    takes_scalars: ClassVar[bool] = True

    # The dropout rate during training; a rate of 0 leaves dropout out of the program.
    dropout: Annotated[Rate, PerMember] = 0.0

    def module(self, shape: TaskShape, compute_dtype: DTypeLike, *, remat: bool, attention_device: Any) -> nn.Module:
        """Returns the Flax Linen module for examples of `shape`, which `check_shape` has accepted.

        - `module.init(key, inputs_BS)` gives the variables: float32 `params`, and any other collections that training
          changes;
        - `module.apply(variables, inputs_BS, train=False, dropout_rate=0.0)` gives the logits (B, K, V), float32, at
          the read-out positions. While training, `rngs={"dropout": key}` is given, and the collections beside `params`
          are mutable;
        - `dropout_rate` may be traced: it can differ between the members of a population. Whether the program contains
          dropout is static: `dropout > 0` and `train`.

        Args:
          shape: the sizes of the task's examples.
          compute_dtype: the type of the matrix products; norms, softmax and residual sums are float32.
          remat: whether gradients recompute the activations inside each block; a model without blocks ignores it.
          attention_device: the device to choose an attention kernel for; None: no kernel, so every activation can be
            tapped and gradients of any order exist.
        """
        raise NotImplementedError

    def check_shape(self, shape: TaskShape) -> None:
        """Raises `UserError` if the network cannot read such examples, or cannot answer at their read-out positions."""

    def check(self, condition: Any) -> None:
        self.check_shape(condition.task.shape())

    def build(
        self,
        shape: TaskShape,
        compute_dtype: DTypeLike = "float32",
        *,
        remat: bool = False,
        attention_device: Any = None,
    ) -> nn.Module:
        """Checks the examples' shape, and returns `module`.

        Raises:
          UserError: the network cannot read such examples.
        """
        self.check_shape(shape)
        return self.module(shape, compute_dtype, remat=remat, attention_device=attention_device)

    def numbers(self, scalars: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
        """Returns the training arguments of the module, from the fields marked `PerMember`.

        Args:
          scalars: these fields by dotted path, traced. They act only in training.
        """
        own = {name: value for name, value in scalars.items() if "." not in name}
        return {"dropout_rate": own.pop("dropout"), **own}

    def sharding_rules(self) -> Rules:
        """Returns the sharding rules of the parameters; by default they are replicated."""
        return ()

    def keeps_state(self) -> bool:
        """Returns whether training changes more than parameters, such as BatchNorm's running statistics."""
        return False

    def has_blocks(self) -> bool:
        """Returns whether `remat` changes what the module does."""
        return False

    def draws(self) -> tuple[str, ...]:
        """Returns the random streams that the module draws from while training, beside `dropout`: names of
        jaxgen.streams in small letters. A key of each is in `rngs` then, the same for all parts of a batch."""
        return ()

    def attends_to_padding(self) -> bool:
        """Returns whether a position can attend to the padding after it, unless the task's shape marks the padding."""
        return False

    def decodes(self, shape: TaskShape) -> bool:
        """Returns whether the module accepts `decoding`, one position after another (jaxgen.models.decoding)."""
        return False

    def kernels(self, shape: TaskShape, dtype: DTypeLike, device: Any) -> dict[str, Any]:
        """Returns the kernels of the layers on a device in training, for run.json; empty if there is no choice.

        Raises:
          UserError: the requested implementation is not possible; the message says why.
        """
        return {}


@dataclasses.dataclass(frozen=True, kw_only=True)
class OneAnswerConfig(ModelConfig, family=True):
    """A network that reads the whole input at once and gives one answer."""

    def check_shape(self, shape: TaskShape) -> None:
        if len(shape.readout) != 1:
            raise UserError(
                f"model: an MLP gives one answer for the whole input, the task reads out {len(shape.readout)} "
                f"positions {list(shape.readout)}; use a transformer, or a task format with one"
            )
        if shape.channels is not None or shape.lengths:
            raise UserError(
                "model: an MLP reads examples of one length, but the task gives real channels or several lengths"
            )

    def sharding_rules(self) -> Rules:
        from jaxgen.models.mlp import SHARDING_RULES

        return SHARDING_RULES


@dataclasses.dataclass(frozen=True, kw_only=True)
class MLPConfig(OneAnswerConfig):
    """Fully connected layers on the concatenated one-hot encodings of the S tokens, or on S features.

    A hidden layer is: linear, dropout, activation, BatchNorm. The order follows To grok or not to grok (App. A):
    dropout before and BatchNorm after the activation.
    """

    smoke_sizes: ClassVar[Mapping[str, int]] = {"hidden": 8}

    hidden: tuple[PositiveInt, ...]
    activation: Activation = "relu"
    bias: bool = True
    batch_norm: bool = False
    # Standard deviation of every weight at initialisation; None: uniform(+-1/sqrt(fan_in)), as in torch.
    init_std: Positive | None = None

    def validate(self) -> None:
        if not self.hidden:
            raise UserError("model.hidden: got no layer, expected at least one width")

    def keeps_state(self) -> bool:
        return self.batch_norm

    def module(self, shape: TaskShape, compute_dtype: DTypeLike, *, remat: bool, attention_device: Any) -> nn.Module:
        from jaxgen.models.mlp import MLP

        return MLP(self, shape, compute_dtype)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TransformerConfig(ModelConfig):
    """A transformer: `causal` makes it a decoder, else it is an encoder."""

    smoke_sizes: ClassVar[Mapping[str, int]] = {"layers": 1, "width": 16, "heads": 2, "mlp_width": 32}

    layers: Annotated[int, Range(at_least=1, at_most=1000)]
    width: PositiveInt
    heads: PositiveInt
    mlp_width: NonNegativeInt  # 0: attention only
    causal: bool = True
    norm: Literal["pre", "post", "none"] = "none"
    positions: Positions = Learned()  # jaxgen.models.positions; learned, sinusoidal and none may be written as words
    activation: Activation = "relu"
    attention_bias: bool = False
    mlp_bias: bool = True
    output_bias: bool = False
    tied: bool = False  # the output layer is the transposed embedding
    # nanda: N(0, 1/width), output N(0, 1/vocabulary), biases 0.
    # torch: uniform(+-1/sqrt(fan_in)), embeddings N(0, 1).
    # gpt2: N(0, 0.02^2), residual outputs divided by sqrt(2 layers), biases 0.
    # fan_in: N(0, 1/fan_in), embeddings N(0, 1), biases 0.
    # one_hot: N(0, 1/fan_in), with the fan-in of one-hot tokens (or positions) for embeddings, biases 0.
    init: Literal["nanda", "torch", "gpt2", "fan_in", "one_hot"] = "nanda"
    # mup: attention scores are divided by the head width, not its square root, and logits by the width.
    mup: bool = False
    # All layers but the last run as one scan over their stacked parameters, so a deep network compiles as fast as a #
    # shallow one. Its initialisation uses other draws from the same distribution.
    scan_layers: bool = added(False)
    # The whole stack of layers runs so many times, with the same parameters (Universal Transformer, arXiv 1807.03819).
    loops: Annotated[int, Range(at_least=1, at_most=1000)] = added(1)
    # Queries are multiplied by 1 + t log(n) where n positions are seen, with a learned t of each head, 0 at first: a
    # temperature of attention by the length (after arXiv 2310.00726).
    tempered: bool = added(False)
    # How training computes attention: xla, compiled by XLA; pallas, the kernels of jaxgen.kernels.attention; # cudnn;
    # auto, a kernel if it was measured to be faster on the device, else xla. A name that is impossible is an error.
    attention: Literal["auto", "xla", "pallas", "cudnn"] = added("xla")

    def validate(self) -> None:
        if self.width % self.heads:
            raise UserError(f"model.width: got {self.width}, expected a multiple of heads={self.heads}")
        self.positions.check_model(self)
        if self.loops > 1 and self.scan_layers:
            raise UserError(
                f"model.scan_layers: got true with loops={self.loops}, expected false: a loop is one scan over the "
                "whole stack already"
            )
        if self.tempered and not self.causal:
            raise UserError(
                "model.tempered: got true, expected false: all positions of an encoder see the same number of others"
            )
        if self.attention not in ("auto", "xla") and self.positions.code().biases:
            raise UserError(
                f"model.attention: got {self.attention}, expected xla or auto: {type(self.positions.code()).__name__} "
                "adds to the scores of attention, which no kernel does here"
            )

    def check_shape(self, shape: TaskShape) -> None:
        if shape.features:
            raise UserError("model: a transformer reads tokens, the task gives real features; use an MLP")
        if shape.channels is not None and self.tied:
            raise UserError("model.tied: got true, expected false: the task gives real channels, and embeds no token")
        if shape.padding == "unmarked" and not self.causal:
            raise UserError(
                "model.causal: got false, expected true: the task pads shorter examples and has no token '<pad>', so "
                "an encoder could not tell padding from what it reads"
            )
        self.positions.check_length(shape.longest())

    def module(self, shape: TaskShape, compute_dtype: DTypeLike, *, remat: bool, attention_device: Any) -> nn.Module:
        from jaxgen.models.transformer import Transformer

        return Transformer(self, shape, compute_dtype, remat, attention_device)

    def sharding_rules(self) -> Rules:
        from jaxgen.models.transformer import SHARDING_RULES

        return SHARDING_RULES

    def has_blocks(self) -> bool:
        return True

    def draws(self) -> tuple[str, ...]:
        return ("positions",) if self.positions.draws() else ()

    def attends_to_padding(self) -> bool:
        return not self.causal

    def decodes(self, shape: TaskShape) -> bool:
        return self.causal and shape.channels is None

    def kernels(self, shape: TaskShape, dtype: DTypeLike, device: Any) -> dict[str, Any]:
        from jaxgen.models.attention import attention_choices

        return attention_choices(self, shape, dtype, device)


@dataclasses.dataclass(frozen=True, kw_only=True)
class EncoderDecoderConfig(ModelConfig):
    """An encoder reads the source, and a decoder that attends to it writes the target (Vaswani et al., arXiv
    1706.03762).

    With `relative` r, self-attention also knows the distance of two positions, clipped at r on either side: a learned
    vector is added to the key, and the same one to the value (Shaw et al., arXiv 1803.02155); each layer has one table
    for all heads. Dropout acts on embeddings, attention weights, the hidden layer of the MLPs, and what each sublayer
    adds. These are the choices of OpenNMT-py 2.0. Source and target have embeddings of their own. Both count their
    positions from their own first token; that of the target is the separator.
    """

    smoke_sizes: ClassVar[Mapping[str, int]] = {
        "encoder_layers": 1, "decoder_layers": 1, "width": 16, "heads": 2, "mlp_width": 32,
    }  # fmt: skip

    encoder_layers: Annotated[int, Range(at_least=1, at_most=1000)]
    decoder_layers: Annotated[int, Range(at_least=1, at_most=1000)]
    width: PositiveInt
    heads: PositiveInt
    mlp_width: PositiveInt
    norm: Literal["pre", "post"] = "pre"
    positions: Literal["sinusoidal", "none"] = "sinusoidal"
    relative: NonNegativeInt = 0  # 0: no relative positions
    scaled_embedding: bool = True  # embeddings are multiplied by the root of the width
    activation: Activation = "relu"

    def validate(self) -> None:
        if self.width % self.heads:
            raise UserError(f"model.width: got {self.width}, expected a multiple of heads={self.heads}")
        if self.positions == "sinusoidal" and self.width % 2:
            raise UserError(f"model.width: got {self.width}, expected an even number: sines and cosines pair up")

    def check_shape(self, shape: TaskShape) -> None:
        if shape.source is None or shape.features or shape.channels is not None:
            raise UserError(
                "model: an encoder-decoder reads a source and writes a target, but the task does not tell where its "
                "source ends (TaskShape.source); use a transformer"
            )
        if shape.readout != tuple(range(shape.readout[0], shape.length)):
            raise UserError("model: an encoder-decoder answers at all positions from the first target to the last")

    def module(self, shape: TaskShape, compute_dtype: DTypeLike, *, remat: bool, attention_device: Any) -> nn.Module:
        from jaxgen.models.encoder_decoder import EncoderDecoder

        return EncoderDecoder(self, shape, compute_dtype, remat)

    def sharding_rules(self) -> Rules:
        from jaxgen.models.transformer import SHARDING_RULES

        return SHARDING_RULES

    def has_blocks(self) -> bool:
        return True


@dataclasses.dataclass(frozen=True, kw_only=True)
class _RecurrentConfig(ModelConfig, family=True):
    """Networks that read position by position, from a state of zeros, and answer from their states.

    Equations and starts are torch's: weights and biases uniform(+-1/sqrt(hidden)), two biases a gate, the reset gate of
    a GRU after the product with the state, an LSTM without peepholes. An output layer reads the states at the read-out
    positions.
    """

    smoke_sizes: ClassVar[Mapping[str, int]] = {"hidden": 8, "embedding": 8}

    cell: Cell
    hidden: PositiveInt
    embedding: PositiveInt = 64  # the width of tokens; real channels are read as they are

    def validate(self) -> None:
        if self.dropout:
            raise UserError(f"model.dropout: got {self.dropout}, expected 0: a {type(self).__name__} has none yet")

    def check_shape(self, shape: TaskShape) -> None:
        if shape.features:
            raise UserError(
                f"model: a {type(self).__name__} reads a sequence, the task gives real features; use an MLP"
            )

    def sharding_rules(self) -> Rules:
        from jaxgen.models.recurrent import SHARDING_RULES

        return SHARDING_RULES

    def decodes(self, shape: TaskShape) -> bool:
        return shape.channels is None


@dataclasses.dataclass(frozen=True, kw_only=True)
class RecurrentConfig(_RecurrentConfig):
    """A GRU, an LSTM or an Elman network."""

    layers: Annotated[int, Range(at_least=1, at_most=1000)] = 1
    # The last `whole` positions are no steps: all of them are read with every step, as an image beside an instruction.
    whole: NonNegativeInt = 0
    norm: bool = False  # whether the states pass a LayerNorm before the output layer

    def check_shape(self, shape: TaskShape) -> None:
        super().check_shape(shape)
        if self.whole and (self.whole >= shape.length or shape.lengths or shape.readout != (shape.length - 1,)):
            raise UserError(
                f"model.whole: got {self.whole}, expected a part of sequences that are all of {shape.length} positions "
                f"and read out at the last; the task's are of {1 + len(shape.lengths)} lengths and read out at "
                f"{len(shape.readout)} positions"
            )

    def module(self, shape: TaskShape, compute_dtype: DTypeLike, *, remat: bool, attention_device: Any) -> nn.Module:
        from jaxgen.models.recurrent import Recurrent

        return Recurrent(self, shape, compute_dtype)

    def decodes(self, shape: TaskShape) -> bool:
        return super().decodes(shape) and self.whole == 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class StackConfig(_RecurrentConfig):
    """A recurrent layer with stacks that it pushes to and pops from by degrees (Joulin and Mikolov, arXiv 1503.01007).

    Each step reads the tops of all stacks beside its token. From the new state come, for each stack, a softmax over
    push, pop and no-op, and the vector to push. The new stack is the mean of what the three make of the old one, so
    weighted. A stack starts with zeros and has a cell for every position, so it never overflows. These are the choices
    of Neural Networks and the Chomsky Hierarchy (arXiv 2207.02098, code); Joulin and Mikolov squash what they push.
    """

    stacks: PositiveInt = 1
    cell_width: PositiveInt = 8

    def module(self, shape: TaskShape, compute_dtype: DTypeLike, *, remat: bool, attention_device: Any) -> nn.Module:
        from jaxgen.models.stack import StackNetwork

        return StackNetwork(self, shape, compute_dtype)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TapeConfig(_RecurrentConfig):
    """A recurrent layer with tapes whose heads write and move by degrees, as in Neural Networks and the Chomsky
    Hierarchy (arXiv 2207.02098, code), after the Baby-NTM of Suzgun et al. (arXiv 1911.03329).

    Each step reads the cells below all heads beside its token. From the new state come, for each tape, the vector to
    write (by an MLP, ReLU) and a softmax over five moves: stay, one cell to the left, one to the right, and as many
    cells as the source has tokens to the left, or to the right. Every move writes first; in the paper's words, unlike
    its code, a jump does not. The new tape is the mean of what the five make of the old one, so weighted. A tape starts
    with zeros and is a ring of `cells`, or of as many cells as there are positions, if these are more.
    """

    smoke_sizes: ClassVar[Mapping[str, int]] = {"hidden": 8, "embedding": 8, "cells": 16, "writer": 8}

    tapes: PositiveInt = 1
    cell_width: PositiveInt = 8
    cells: PositiveInt = 256
    writer: tuple[PositiveInt, ...] = (64, 64)  # the hidden layers of the MLP

    def check_shape(self, shape: TaskShape) -> None:
        super().check_shape(shape)
        if shape.source is None or shape.channels is not None:
            raise UserError(
                "model: the tape of a TapeConfig jumps by the length of the source, but the task does not tell where "
                "its source ends (TaskShape.source); use a StackConfig or a RecurrentConfig"
            )

    def module(self, shape: TaskShape, compute_dtype: DTypeLike, *, remat: bool, attention_device: Any) -> nn.Module:
        from jaxgen.models.tape import TapeNetwork

        return TapeNetwork(self, shape, compute_dtype)

    def decodes(self, shape: TaskShape) -> bool:
        return False  # the first step would need the length of a source that is not yet read


@dataclasses.dataclass(frozen=True, kw_only=True)
class _EncodersConfig(ModelConfig, family=True):
    """Networks made of encoders that each read a part of the input, and give one answer."""

    encoder: TransformerConfig  # of each stream; the streams share no weights
    second: NonNegativeInt  # how many positions, the last ones, are the second stream; the others are the first
    hidden: PositiveInt

    def validate(self) -> None:
        if self.dropout or self.encoder.dropout:
            raise UserError(f"model.dropout: got a rate above 0, a {type(self).__name__} has no dropout yet")
        plain = {"causal": False, "tied": False, "mup": False, "scan_layers": False, "output_bias": False, "loops": 1}
        for name, expected in {**plain, "attention": "xla"}.items():
            if (got := getattr(self.encoder, name)) != expected:
                raise UserError(
                    f"model.encoder.{name}: got {got}, expected {expected}: a {type(self).__name__} uses the blocks "
                    "and positions of an encoder alone"
                )
        if self.encoder.positions.draws():
            raise UserError(
                f"model.encoder.positions: got {type(self.encoder.positions).__name__}, expected a kind that draws "
                f"nothing: a {type(self).__name__} gives its encoders no random numbers"
            )

    def check_shape(self, shape: TaskShape) -> None:
        if shape.features or shape.lengths or shape.padding is not None or shape.readout != (shape.length - 1,):
            raise UserError(
                f"model: a {type(self).__name__} reads sequences of one length without padding, and answers at the "
                "last position; the task has features, padding, several lengths or other read-out positions"
            )
        if self.second >= shape.length:
            raise UserError(f"model.second: got {self.second}, expected less than the {shape.length} positions of all")

    def sharding_rules(self) -> Rules:
        from jaxgen.models.transformer import SHARDING_RULES

        return SHARDING_RULES

    def has_blocks(self) -> bool:
        return True

    def attends_to_padding(self) -> bool:
        return True


@dataclasses.dataclass(frozen=True, kw_only=True)
class TwoStreamConfig(_EncodersConfig):
    """Two encoders, of which the last positions are joined to one answer, after Ito et al. (arXiv 2401.15030).

    - `sum`: both last positions are projected to `hidden` (ReLU) and added; then LayerNorm, ReLU layers of 2 `hidden`,
      2 `hidden` and `hidden`, LayerNorm, and the output layer. The streams meet nowhere else.
    - `cross`: the first stream's last position attends to all positions of the second, with the encoder's heads; what
      it sees passes a LayerNorm and is added; then two ReLU layers of `hidden`, LayerNorm, and the output layer.
    """

    smoke_sizes: ClassVar[Mapping[str, int]] = {"hidden": 8}

    fusion: Literal["sum", "cross"]

    def validate(self) -> None:
        super().validate()
        if not self.second:
            raise UserError("model.second: got 0, expected at least 1: there are two streams")

    def module(self, shape: TaskShape, compute_dtype: DTypeLike, *, remat: bool, attention_device: Any) -> nn.Module:
        from jaxgen.models.streams import TwoStreams

        return TwoStreams(self, shape, compute_dtype, remat)


@dataclasses.dataclass(frozen=True, kw_only=True)
class PerceiverConfig(_EncodersConfig):
    """Learned latents that attend to an encoded stream, or to two in turn (Jaegle et al., arXiv 2103.03206).

    After each stream they attend to each other. Each attention and the MLP of `hidden` units that follows it are added
    and normed (post-LayerNorm); the output layer reads the mean of the latents. `second=0`: one stream.
    """

    smoke_sizes: ClassVar[Mapping[str, int]] = {"hidden": 8, "latents": 2}

    latents: PositiveInt

    def module(self, shape: TaskShape, compute_dtype: DTypeLike, *, remat: bool, attention_device: Any) -> nn.Module:
        from jaxgen.models.streams import Perceiver

        return Perceiver(self, shape, compute_dtype, remat)
