"""An encoder-decoder transformer on sequences `source <sep> target`, with relative positions.

The encoder sees the positions before the separator, the decoder those from it on; each example has its own separator.
The decoder computes only the read-out positions. Those before the separator attend to themselves, so that they are
finite, and are asked nothing.

Shape letters: B batch, S positions, L positions of the encoder, K read-out positions, which are those of the decoder,
Q positions of the queries, T positions of keys and values, D width, H heads, C width of a head, V vocabulary.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax.typing import DTypeLike

from jaxgen.models.config import EncoderDecoderConfig
from jaxgen.models.distances import sinusoids
from jaxgen.models.mlp import ACTIVATIONS, dropped, layer_norm, torch_dense
from jaxgen.models.sharding import spread_examples
from jaxgen.models.taps import Tap
from jaxgen.tasks.base import TaskShape

Rate = float | jax.Array | None  # of dropout; None leaves it out
EPSILON = 1e-6  # of the LayerNorms, as in OpenNMT-py


class EncoderDecoder(nn.Module):
    """The network of an `EncoderDecoderConfig`; see `ModelConfig.module` for the contract."""

    config: EncoderDecoderConfig
    shape: TaskShape
    compute_dtype: DTypeLike
    remat: bool = False

    @nn.compact
    def __call__(self, tokens_BS: jax.Array, train: bool = False, dropout_rate: float | jax.Array = 0.0) -> jax.Array:
        config, source, length = self.config, self.shape.source, tokens_BS.shape[1]
        assert source is not None
        readout_K = np.array(self.shape.readout_at(length))
        rate = dropout_rate if train and config.dropout > 0 else None
        start_B1 = jnp.argmax(tokens_BS == source.separator, axis=1, keepdims=True)

        at_L = np.arange(max(1, min(source.longest, length)))
        real_BL = at_L[None] < start_B1
        real_BL |= ~jnp.any(real_BL, axis=1, keepdims=True)  # attention needs at least one position
        real_B11L = jnp.asarray(real_BL)[:, None, None]
        x_BLD = self._embedded("encoder_embed", tokens_BS[:, : len(at_L)], at_L[None], rate)
        for i in range(config.encoder_layers):
            x_BLD = self._layer(f"encoder_{i}")(x_BLD, real_B11L, None, rate)
        memory = Memory(self._last_norm("encoder_norm", x_BLD), real_B11L)

        place_BK = readout_K[None] - start_B1
        causal_KK = readout_K[None] <= readout_K[:, None]
        seen_BKK = causal_KK[None] & ((place_BK >= 0)[:, None] | np.eye(len(readout_K), dtype=bool)[None])
        x_BKD = self._embedded("decoder_embed", tokens_BS[:, readout_K[0] :], jnp.maximum(place_BK, 0), rate)
        for i in range(config.decoder_layers):
            x_BKD = self._layer(f"decoder_{i}")(x_BKD, seen_BKK[:, None], memory, rate)
        x_BKD = self._last_norm("decoder_norm", x_BKD)
        return torch_dense(self.shape.vocabulary, config.width, self.compute_dtype, "unembed")(x_BKD).astype(
            jnp.float32
        )

    def _embedded(self, name: str, tokens_BQ: jax.Array, place_BQ: Any, rate: Rate) -> jax.Array:
        config, length = self.config, self.shape.longest()
        embed = nn.Embed(self.shape.vocabulary, config.width, embedding_init=nn.initializers.normal(1.0), name=name)
        x_BQD = embed(tokens_BQ) * (config.width**0.5 if config.scaled_embedding else 1.0)
        if config.positions == "sinusoidal":
            x_BQD += jnp.asarray(sinusoids(np.arange(length), config.width))[place_BQ]
        return spread_examples(dropped(self, x_BQD, rate))

    def _layer(self, name: str) -> Any:
        kind = nn.remat(Layer) if self.remat else Layer
        return kind(self.config, self.compute_dtype, name=name)

    def _last_norm(self, name: str, x_BQD: jax.Array) -> jax.Array:
        return layer_norm(name, EPSILON)(x_BQD) if self.config.norm == "pre" else x_BQD


class Memory(NamedTuple):
    """What the encoder made of the sources."""

    x_BLD: jax.Array
    real_B11L: jax.Array  # bool, which positions are a source's


class Layer(nn.Module):
    """Self-attention, attention to the memory if there is one, and an MLP, each added to the residual stream."""

    config: EncoderDecoderConfig
    dtype: DTypeLike

    @nn.compact
    def __call__(
        self,
        x_BQD: jax.Array,
        seen_B1QQ: jax.Array,
        memory: Memory | None,
        rate: Rate,
    ) -> jax.Array:
        """Returns the residual stream (B, Q, D).

        Args:
          x_BQD: the residual stream.
          seen_B1QQ: bool, which positions each position sees; broadcast.
          memory: what a decoder attends to; None in the encoder.
          rate: the dropout rate.
        """
        config = self.config

        def attend(h_BQD: jax.Array) -> jax.Array:
            return RelativeAttention(config, config.relative, self.dtype, name="attention")(
                h_BQD, h_BQD, seen_B1QQ, rate
            )

        def read(h_BQD: jax.Array, memory: Memory) -> jax.Array:
            return RelativeAttention(config, 0, self.dtype, name="cross_attention")(
                h_BQD, memory.x_BLD, memory.real_B11L, rate
            )

        def think(h_BQD: jax.Array) -> jax.Array:
            return FeedForward(config, self.dtype, name="mlp")(h_BQD, rate)

        sublayers = {"attention": attend}
        if memory is not None:
            sublayers["cross_attention"] = functools.partial(read, memory=memory)
        sublayers["mlp"] = think
        for name, sublayer in sublayers.items():
            norm = layer_norm(f"norm_{name}", EPSILON)
            if config.norm == "pre":
                x_BQD = x_BQD + dropped(self, sublayer(norm(x_BQD)), rate)
            else:
                x_BQD = norm(x_BQD + dropped(self, sublayer(x_BQD), rate))
            x_BQD = spread_examples(x_BQD)
        return Tap(name="residual")(x_BQD)


class RelativeAttention(nn.Module):
    """Multi-head attention that knows distances up to `relative` on either side; 0: none."""

    config: EncoderDecoderConfig
    relative: int
    dtype: DTypeLike

    @nn.compact
    def __call__(self, x_BQD: jax.Array, from_BTD: jax.Array, seen_B1QT: jax.Array, rate: Rate) -> jax.Array:
        width, heads = self.config.width, self.config.heads

        def project(name: str, x: jax.Array) -> jax.Array:
            y = torch_dense(width, width, self.dtype, name)(x)
            return y.reshape(*y.shape[:2], heads, -1).swapaxes(1, 2)

        q_BHQC = project("query", x_BQD) * (width // heads) ** -0.5
        k_BHTC, v_BHTC = project("key", from_BTD), project("value", from_BTD)
        scores_BHQT = jnp.einsum("bhqc,bhtc->bhqt", q_BHQC, k_BHTC, preferred_element_type=jnp.float32)
        distance_QTC = None
        if self.relative:
            places = np.arange(x_BQD.shape[1])
            apart_QT = np.clip(places[None] - places[:, None], -self.relative, self.relative) + self.relative
            rows, init = 2 * self.relative + 1, nn.initializers.normal(1.0)
            table = nn.Embed(rows, width // heads, embedding_init=init, name="distances")
            distance_QTC = table(apart_QT).astype(self.dtype)
            scores_BHQT += jnp.einsum("bhqc,qtc->bhqt", q_BHQC, distance_QTC, preferred_element_type=jnp.float32)
        scores_BHQT = jnp.where(seen_B1QT, scores_BHQT, -jnp.inf)
        pattern_BHQT = Tap(name="pattern")(jax.nn.softmax(scores_BHQT, axis=-1))
        pattern_BHQT = dropped(self, pattern_BHQT, rate).astype(self.dtype)
        z_BQHC = jnp.einsum("bhqt,bhtc->bqhc", pattern_BHQT, v_BHTC)
        if distance_QTC is not None:
            z_BQHC += jnp.einsum("bhqt,qtc->bqhc", pattern_BHQT, distance_QTC)
        output = torch_dense(width, width, self.dtype, "output")
        return output(z_BQHC.reshape(*z_BQHC.shape[:2], -1)).astype(jnp.float32)


class FeedForward(nn.Module):
    """The MLP of a layer."""

    config: EncoderDecoderConfig
    dtype: DTypeLike

    @nn.compact
    def __call__(self, x_BQD: jax.Array, rate: Rate) -> jax.Array:
        config = self.config
        into = torch_dense(config.mlp_width, config.width, self.dtype, "in")
        hidden_BQM = Tap(name="hidden")(ACTIVATIONS[config.activation](into(x_BQD)))
        out = torch_dense(config.width, config.mlp_width, self.dtype, "out")
        return out(dropped(self, hidden_BQM, rate)).astype(jnp.float32)
