"""A small transformer that computes nothing twice, and nothing that is not used.

Two savings, both exact up to the order of rounding:

- the last layer computes keys and values at all S positions, but everything else only at the K read-out positions;
- everything before the first layer's attention depends only on (token, position). If the vocabulary is smaller than the
  batch, it is computed once for a batch in which row v holds token v at every position, and gathered.

On two CPU cores they make the model of Nanda et al. (p = 113, full batch) 3 times faster.

Shape letters: B batch, R rows (the batch or the vocabulary), S positions, Q query positions of a layer, K read-out
positions, D width, H heads, C width of a head, M width of the MLP, V vocabulary.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax.typing import DTypeLike

from jaxgen.models.attention import attend, attention_choice, attention_scale
from jaxgen.models.config import TransformerConfig
from jaxgen.models.distances import Scoring
from jaxgen.models.mlp import ACTIVATIONS, Initializer, dropped, layer_norm, torch_uniform
from jaxgen.models.sharding import Rules, spread_examples, whole
from jaxgen.models.stacked import SCANNED
from jaxgen.models.taps import TAPPED, Tap
from jaxgen.tasks.base import TaskShape

Indices = tuple[int, ...]


# Mesh axes for the last dimensions of each parameter. Projections into heads or the hidden layer are sharded by their #
# outputs, projections back by their inputs, so a block has two all-reduces over `tensor`. The vocabulary and the #
# positions are not sharded, because their sizes have few divisors.
SHARDING_RULES: Rules = (
    (r"(query|key|value|distances|mlp\.in)\.kernel$", ("fsdp", "tensor")),
    (r"(query|key|value|mlp\.in)\.bias$", ("tensor",)),
    (r"(attention\.output|mlp\.out)\.kernel$", ("tensor", "fsdp")),
    (r"(embed|positions)\.embedding$", (None, "fsdp")),
    (r"read_in\.kernel$", (None, "fsdp")),
    (r"unembed\.kernel$", ("fsdp", None)),
)


class Decoding(NamedTuple):
    """One position of sequences that are read token by token; the collection `cache` holds the earlier keys and
    values."""

    at: jax.Array  # () int32: the position
    length: int  # of the whole sequences


class Transformer(nn.Module):
    """The network of a `TransformerConfig`; see `ModelConfig.module` for the contract.

    With `decoding`, the inputs are the tokens (B, 1) at one position, and the result is its logits (B, 1, V). Keys and
    values are kept in the collection `cache`, so positions must come in order.
    """

    config: TransformerConfig
    shape: TaskShape
    compute_dtype: DTypeLike
    remat: bool = False
    attention_device: Any = None

    @nn.compact
    def __call__(
        self,
        tokens_BS: jax.Array,
        train: bool = False,
        dropout_rate: float | jax.Array = 0.0,
        decoding: Decoding | None = None,
    ) -> jax.Array:
        config, shape, length = self.config, self.shape, tokens_BS.shape[1]
        readout = (0,) if decoding else shape.readout_at(length)
        # The read-out positions of a causal model come before the padding.
        real_BS: jax.Array | None = None
        if isinstance(shape.padding, int) and not config.causal:
            real_BS = jnp.not_equal(tokens_BS, shape.padding)
            # An example that is all padding must attend to something.
            real_BS |= ~jnp.any(real_BS, axis=1, keepdims=True)
        rate = dropout_rate if train and config.dropout > 0 else None
        # All scanned layers share one program, and so do all loops: the first cannot be computed by vocabulary.
        few = shape.channels is None and shape.vocabulary < tokens_BS.shape[0]
        scanned = config.scan_layers or config.loops > 1
        key = self.make_rng("positions") if train and config.positions.draws() else None
        place_S = config.positions.places(decoding.length if decoding else length, tokens_BS.shape[0], key)
        # A place that each example has of its own is not one of the vocabulary's.
        by_vocabulary = rate is None and few and not scanned and decoding is None and place_S.ndim == 1
        rows_RS = tokens_BS
        if by_vocabulary:
            rows_RS = jnp.broadcast_to(jnp.arange(shape.vocabulary)[:, None], (shape.vocabulary, length))

        if shape.channels is None:
            embedding_init = _embedding_init(config, shape.vocabulary)
            embed = nn.Embed(shape.vocabulary, config.width, embedding_init=embedding_init, name="embed")
            x_RSD = embed(rows_RS)
        else:
            kernel_init, bias_init = _inner_inits(config, shape.channels)
            x_RSD = _dense(config.width, True, kernel_init, bias_init, self.compute_dtype, "read_in")(tokens_BS)
            x_RSD = x_RSD.astype(jnp.float32)
        code, rows = config.positions.code(), config.positions.rows(shape.longest())
        if code.embeds:
            at_S = jnp.asarray(place_S)[decoding.at[None]] if decoding else place_S
            added = code.embedding(at_S, rows, config.width, _embedding_init(config, rows))
            x_RSD += added[None] if added.ndim == 2 else added
        attended_S = place_S if code.attends() else None
        x_RSD = dropped(self, x_RSD, rate)

        x_BQD = x_RSD if by_vocabulary else spread_examples(x_RSD)
        last = config.layers - 1
        if config.scan_layers and last > 0:
            x_BQD = self._scanned(x_BQD, rate, last, real_BS, decoding, attended_S)
        if config.loops > 1:
            x_BQD = _at(self._looped(x_BQD, rate, real_BS, decoding, attended_S), readout)
        else:
            for i in range(last if config.scan_layers else 0, config.layers):
                block = self._block(f"block_{i}", readout if i == last else tuple(range(length)))
                tokens = tokens_BS if by_vocabulary and i == 0 else None
                x_BQD = spread_examples(block(x_BQD, rate, tokens, real_BS, decoding, attended_S))
        if config.norm == "pre":
            x_BQD = layer_norm("norm_final")(x_BQD)

        if config.mup:
            x_BQD /= config.width
        kernel_init, bias_init = _output_inits(config, shape.vocabulary)
        if not config.tied:
            unembed = _dense(
                shape.vocabulary, config.output_bias, kernel_init, bias_init, self.compute_dtype, "unembed"
            )
            return unembed(x_BQD).astype(jnp.float32)
        kernel_VD = embed.embedding.astype(self.compute_dtype)
        logits_BKV = (x_BQD.astype(self.compute_dtype) @ kernel_VD.T).astype(jnp.float32)
        if config.output_bias:
            logits_BKV += self.param("unembed_bias", bias_init, (shape.vocabulary,), jnp.float32)[None, None]
        return logits_BKV

    def _block(self, name: str, answers: Indices, *, in_scan: bool = False) -> Block:
        # Inside scan XLA cannot merge the recomputation with the forward pass, so `prevent_cse` is not needed.
        kind = nn.remat(Block, prevent_cse=not in_scan) if self.remat else Block
        rows = self.config.positions.rows(self.shape.longest())
        block: Block = kind(self.config, answers, self.compute_dtype, self.attention_device, rows, name=name)
        return block

    def _looped(
        self,
        x_BSD: jax.Array,
        rate: float | jax.Array | None,
        real_BS: jax.Array | None,
        decoding: Decoding | None,
        place_S: Any,
    ) -> jax.Array:
        """Returns the residual stream (B, S, D) after the stack has run `loops` times with the same parameters."""
        everywhere = tuple(range(x_BSD.shape[1]))

        def once(module: Transformer, x_BSD: jax.Array, _: None) -> tuple[jax.Array, None]:
            for i in range(module.config.layers):
                block = module._block(f"block_{i}", everywhere, in_scan=True)
                x_BSD = spread_examples(block(x_BSD, rate, None, real_BS, decoding, place_S))
            return x_BSD, None

        axes: dict[Any, Any] = {TAPPED: 0, "cache": 0}
        rngs: dict[Any, bool] = {"params": False, "dropout": True}
        scan = nn.scan(once, length=self.config.loops, variable_broadcast="params", variable_axes=axes, split_rngs=rngs)
        x_BSD, _ = scan(self, x_BSD, None)
        return x_BSD

    def _scanned(
        self,
        x_BSD: jax.Array,
        rate: float | jax.Array | None,
        layers: int,
        real_BS: jax.Array | None,
        decoding: Decoding | None,
        place_S: Any,
    ) -> jax.Array:
        """Returns the residual stream after the first `layers` blocks, whose parameters are stacked in `SCANNED`."""

        def one(block: Block, x_BSD: jax.Array, _: None) -> tuple[jax.Array, None]:
            return spread_examples(block(x_BSD, rate, None, real_BS, decoding, place_S)), None

        axes: dict[Any, Any] = {"params": 0, TAPPED: 0, "cache": 0}
        scan = nn.scan(one, length=layers, variable_axes=axes, split_rngs={"params": True, "dropout": True})
        block = self._block(SCANNED, tuple(range(x_BSD.shape[1])), in_scan=True)
        x_BSD, _ = scan(block, x_BSD, None)
        return x_BSD


class Block(nn.Module):
    """Attention, then an MLP (if it has a width), each added to the residual stream."""

    config: TransformerConfig
    answers: Indices
    dtype: DTypeLike
    attention_device: Any
    rows: int = 0  # places are below it; needed where attention knows them

    @nn.compact
    def __call__(
        self,
        x_RSD: jax.Array,
        rate: float | jax.Array | None,
        tokens_BS: jax.Array | None,
        real_BS: jax.Array | None = None,
        decoding: Decoding | None = None,
        place_S: Any = None,
    ) -> jax.Array:
        """Returns the residual stream (B, Q, D) at the positions `answers`.

        Args:
          x_RSD: the residual stream of the batch, or of the vocabulary if `tokens_BS` is given.
          rate: the dropout rate; None leaves dropout out.
          tokens_BS: the tokens of the batch, which select rows of the vocabulary's stream.
          real_BS: bool, which positions are not padding; None: all.
          decoding: the position of the stream, if it has only one.
          place_S: the places of all positions, (S,) or (B, S); None: attention knows none.
        """
        config = self.config
        pre, post = config.norm == "pre", config.norm == "post"
        x_BQD = _rows(_at(x_RSD, self.answers), _at(tokens_BS, self.answers) if tokens_BS is not None else None)

        h_RSD = layer_norm("norm_attention")(x_RSD) if pre else x_RSD
        attention = Attention(config, self.answers, self.dtype, self.attention_device, self.rows, name="attention")
        h_BQD = attention(h_RSD, tokens_BS, real_BS, decoding, place_S)
        x_BQD = spread_examples(x_BQD + dropped(self, h_BQD, rate))
        x_BQD = layer_norm("norm_attention")(x_BQD) if post else x_BQD

        if config.mlp_width > 0:
            h_BQD = layer_norm("norm_mlp")(x_BQD) if pre else x_BQD
            x_BQD += dropped(self, FeedForward(config, self.dtype, name="mlp")(h_BQD), rate)
            x_BQD = layer_norm("norm_mlp")(x_BQD) if post else x_BQD
        return Tap(name="residual")(x_BQD)


class Attention(nn.Module):
    """Multi-head attention of the positions `answers` to all positions.

    `device` is the device to choose a kernel for. None: no kernel, so every attention pattern can be tapped and
    gradients of any order exist.
    """

    config: TransformerConfig
    answers: Indices
    dtype: DTypeLike
    device: Any
    rows: int

    @nn.compact
    def __call__(
        self,
        x_RSD: jax.Array,
        tokens_BS: jax.Array | None,
        real_BS: jax.Array | None = None,
        decoding: Decoding | None = None,
        place_S: Any = None,
    ) -> jax.Array:
        config, code = self.config, self.config.positions.code()
        kernel_init, bias_init = _inner_inits(config, config.width)

        taken = "xla"
        if self.device is not None and decoding is None and config.attention != "xla" and not code.biases:
            length, padded = x_RSD.shape[1], real_BS is not None
            taken = attention_choice(config, self.answers, length, self.dtype, self.device, padded=padded).taken

        def project(name: str, x: jax.Array, tokens: jax.Array | None, place: Any = None) -> jax.Array:
            dense = _dense(config.width, config.attention_bias, kernel_init, bias_init, self.dtype, name)
            y = _rows(dense(x), tokens)
            y_BSHC = y.reshape(*y.shape[:2], config.heads, -1)
            if code.turns and place is not None:
                y_BSHC = code.turned(y_BSHC, place, self.rows)
            return y_BSHC.swapaxes(1, 2) if taken == "xla" else y_BSHC

        answer_tokens_BQ = _at(tokens_BS, self.answers) if tokens_BS is not None else None
        at_Q: Any = np.array(self.answers, np.int32) if decoding is None else decoding.at[None]
        if decoding is not None and place_S is not None:
            place_S = jnp.asarray(place_S)  # a traced index picks from no array of numpy
        asked_Q = None if place_S is None else place_S[..., at_Q]
        q = project("query", _at(x_RSD, self.answers), answer_tokens_BQ, asked_Q)
        if config.tempered:
            temperature_H = self.param("temperature", nn.initializers.zeros, (config.heads,), jnp.float32)
            factor_HQ = 1 + temperature_H[:, None] * jnp.log(jnp.asarray(at_Q + 1, jnp.float32))[None]
            factor_BHQC = factor_HQ[None, :, :, None]
            q = (q * (factor_BHQC if taken == "xla" else factor_BHQC.swapaxes(1, 2))).astype(self.dtype)
        k = project("key", x_RSD, tokens_BS, place_S if decoding is None else asked_Q)
        v = project("value", x_RSD, tokens_BS)
        if taken == "xla":
            seen_QS: Any = np.arange(k.shape[2])[None] <= np.array(self.answers)[:, None]
            if decoding is not None:
                seen_QS = (jnp.arange(decoding.length) <= decoding.at)[None]
                # Later positions may hold anything, and a weight of 0 does not keep a NaN out of a sum.
                k, v = (
                    jnp.where(seen_QS[None, ..., None], self._cached(name, x, decoding), 0)
                    for name, x in (("keys", k), ("values", v))
                )
            seen_11QS = seen_QS[None, None] if config.causal else None
            bias_BHQS = None
            if code.biases and place_S is not None:
                steps_QS = at_Q[:, None] - np.arange(k.shape[2], dtype=np.int32)[None]
                given = Scoring(config.causal, attention_scale(config), kernel_init, self.dtype)
                bias_BHQS = code.bias(q, k, steps_QS, place_S, self.rows, given)
            z_BQHC = self._written_out(q, k, v, bias_BHQS, seen_11QS if real_BS is None else real_BS[:, None, None])
        else:
            lengths_B = None if real_BS is None else jnp.sum(real_BS, axis=1, dtype=jnp.int32)
            z_BQHC = attend(config, self.answers, taken, self.device, q, k, v, lengths_B)

        kernel_init, bias_init = _residual_inits(config, config.width)
        output = _dense(config.width, config.attention_bias, kernel_init, bias_init, self.dtype, "output")
        return output(z_BQHC.reshape(*z_BQHC.shape[:2], -1)).astype(jnp.float32)

    def _cached(self, name: str, new_BH1C: jax.Array, decoding: Decoding) -> jax.Array:
        """Caches the keys or values of this position, and returns those of all positions so far (B, H, S, C)."""
        batch, heads, _, width = new_BH1C.shape
        kept = self.variable("cache", name, jnp.zeros, (batch, heads, decoding.length, width), new_BH1C.dtype)
        kept.value = jax.lax.dynamic_update_slice_in_dim(kept.value, new_BH1C, decoding.at, axis=2)
        return kept.value

    def _written_out(
        self,
        q_BHQC: jax.Array,
        k_BHSC: jax.Array,
        v_BHSC: jax.Array,
        bias_BHQS: jax.Array | None,
        seen_BHQS: Any,
    ) -> jax.Array:
        # On a CPU these batched products are over twice as fast as a broadcast multiply and sum, even at 3 positions;
        # heads before positions and three separate projections are at least as fast as the other orders.
        scores_BHQS = jnp.einsum("bhqc,bhsc->bhqs", q_BHQC, k_BHSC, preferred_element_type=jnp.float32)
        scores_BHQS *= attention_scale(self.config)
        if bias_BHQS is not None:
            scores_BHQS += bias_BHQS
        if seen_BHQS is not None:
            scores_BHQS = jnp.where(seen_BHQS, scores_BHQS, -jnp.inf)
        pattern_BHQS = Tap(name="pattern")(jax.nn.softmax(scores_BHQS, axis=-1))
        return jnp.einsum("bhqs,bhsc->bqhc", pattern_BHQS.astype(self.dtype), v_BHSC)


class FeedForward(nn.Module):
    """The MLP of a block."""

    config: TransformerConfig
    dtype: DTypeLike

    @nn.compact
    def __call__(self, x_BQD: jax.Array) -> jax.Array:
        config = self.config
        kernel_init, bias_init = _inner_inits(config, config.width)
        into = _dense(config.mlp_width, config.mlp_bias, kernel_init, bias_init, self.dtype, "in")
        hidden_BQM = Tap(name="hidden")(ACTIVATIONS[config.activation](into(x_BQD)))
        kernel_init, bias_init = _residual_inits(config, config.mlp_width)
        out = _dense(config.width, config.mlp_bias, kernel_init, bias_init, self.dtype, "out")
        return out(hidden_BQM).astype(jnp.float32)


def _at(x_RS: jax.Array, positions: Indices) -> jax.Array:
    first, last = positions[0], positions[-1]
    # A slice, because its gradient is a cheap pad; the gradient of an index array is a scatter.
    if positions == tuple(range(first, last + 1)):
        return x_RS[:, first : last + 1]
    return x_RS[:, np.array(positions)]


def _rows(x_RS: jax.Array, tokens_BS: jax.Array | None) -> jax.Array:
    return x_RS if tokens_BS is None else whole(x_RS)[tokens_BS, np.arange(tokens_BS.shape[1])]


def _dense(
    width: int, bias: bool, kernel_init: Initializer, bias_init: Initializer, dtype: DTypeLike, name: str
) -> nn.Dense:
    return nn.Dense(width, use_bias=bias, kernel_init=kernel_init, bias_init=bias_init, dtype=dtype, name=name)


def _embedding_init(config: TransformerConfig, rows: int) -> Initializer:
    std = {"nanda": config.width**-0.5, "torch": 1.0, "gpt2": 0.02, "fan_in": 1.0, "one_hot": rows**-0.5}
    return nn.initializers.normal(std[config.init])


def _inner_inits(config: TransformerConfig, fan_in: int) -> tuple[Initializer, Initializer]:
    if config.init == "torch":
        return torch_uniform(fan_in), torch_uniform(fan_in)
    std = {"nanda": config.width**-0.5, "gpt2": 0.02, "fan_in": fan_in**-0.5, "one_hot": fan_in**-0.5}[config.init]
    return nn.initializers.normal(std), nn.initializers.zeros


def _residual_inits(config: TransformerConfig, fan_in: int) -> tuple[Initializer, Initializer]:
    if config.init == "gpt2":
        return nn.initializers.normal(0.02 / math.sqrt(2 * config.layers)), nn.initializers.zeros
    return _inner_inits(config, fan_in)


def _output_inits(config: TransformerConfig, vocabulary: int) -> tuple[Initializer, Initializer]:
    if config.init == "nanda":
        return nn.initializers.normal(vocabulary**-0.5), nn.initializers.zeros
    return _inner_inits(config, config.width)
