"""Networks that read two streams: encoders side by side, cross-attention between them, and a Perceiver.

Blocks are those of jaxgen.models.transformer. What joins them is initialised as torch.nn.Linear: uniform in
+-1/sqrt(fan_in), biases too.

Shape letters: B batch, S positions, Q queries, L latents, C channels, D width, H heads, E width of a head, M width of
an MLP, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike

from jaxgen.models.config import PerceiverConfig, TransformerConfig, TwoStreamConfig
from jaxgen.models.mlp import layer_norm, torch_dense
from jaxgen.models.sharding import spread_examples
from jaxgen.models.taps import Tap
from jaxgen.models.transformer import Block
from jaxgen.tasks.base import TaskShape


class TwoStreams(nn.Module):
    """The network of a `TwoStreamConfig`; see `ModelConfig.module` for the contract."""

    config: TwoStreamConfig
    shape: TaskShape
    compute_dtype: DTypeLike
    remat: bool = False

    @nn.compact
    def __call__(self, inputs_BS: jax.Array, train: bool = False, dropout_rate: float | jax.Array = 0.0) -> jax.Array:
        config, dtype, hidden = self.config, self.compute_dtype, self.config.hidden
        width, cross = config.encoder.width, config.fusion == "cross"
        first_BS, second_BS = inputs_BS[:, : -config.second], inputs_BS[:, -config.second :]
        # Only the last position of the first stream goes on, and of the second all where they are attended to.
        x_BD = self._encoder("first", last=True)(first_BS)[:, 0]
        y_BSD = self._encoder("second", last=not cross)(second_BS)
        if cross:
            seen_B1D = CrossAttention(width, config.encoder.heads, dtype, name="cross_attention")(x_BD[:, None], y_BSD)
            x_BD += layer_norm("norm_cross")(seen_B1D[:, 0])
            sizes: tuple[int, ...] = (hidden, hidden)
        else:
            x_BD = jax.nn.relu(_dense(hidden, width, dtype, "project_first")(x_BD))
            x_BD += jax.nn.relu(_dense(hidden, width, dtype, "project_second")(y_BSD[:, 0]))
            x_BD = layer_norm("norm_sum")(x_BD)
            sizes = (2 * hidden, 2 * hidden, hidden)
        for i, size in enumerate(sizes):
            x_BD = jax.nn.relu(_dense(size, x_BD.shape[1], dtype, f"hidden_{i}")(x_BD))
        x_BD = Tap(name="joined")(layer_norm("norm_final")(x_BD))
        return _dense(self.shape.vocabulary, hidden, dtype, "output")(x_BD)[:, None]

    def _encoder(self, name: str, *, last: bool) -> Encoder:
        vocabulary = self.shape.vocabulary if self.shape.channels is None else None
        return Encoder(self.config.encoder, vocabulary, last, self.compute_dtype, self.remat, name=name)


class Perceiver(nn.Module):
    """The network of a `PerceiverConfig`; see `ModelConfig.module` for the contract."""

    config: PerceiverConfig
    shape: TaskShape
    compute_dtype: DTypeLike
    remat: bool = False

    @nn.compact
    def __call__(self, inputs_BS: jax.Array, train: bool = False, dropout_rate: float | jax.Array = 0.0) -> jax.Array:
        config, dtype = self.config, self.compute_dtype
        width, heads = config.encoder.width, config.encoder.heads
        vocabulary = self.shape.vocabulary if self.shape.channels is None else None
        streams = {"second": inputs_BS[:, -config.second :]} if config.second else {"first": inputs_BS}
        if config.second:
            streams = {"first": inputs_BS[:, : -config.second], **streams}
        latents_LD = self.param("latents", nn.initializers.normal(0.02), (config.latents, width), jnp.float32)
        x_BLD = jnp.broadcast_to(latents_LD, (inputs_BS.shape[0], *latents_LD.shape))
        for name, stream_BS in streams.items():
            y_BSD = Encoder(config.encoder, vocabulary, False, dtype, self.remat, name=name)(stream_BS)
            for kind, seen_BSD in ((f"cross_attention_{name}", y_BSD), (f"self_attention_{name}", None)):
                attention = CrossAttention(width, heads, dtype, name=kind)
                x_BLD = layer_norm(f"norm_{kind}")(x_BLD + attention(x_BLD, x_BLD if seen_BSD is None else seen_BSD))
                h_BLM = jax.nn.relu(_dense(config.hidden, width, dtype, f"in_{kind}")(x_BLD))
                h_BLD = _dense(width, config.hidden, dtype, f"out_{kind}")(h_BLM)
                x_BLD = spread_examples(layer_norm(f"norm_mlp_{kind}")(x_BLD + h_BLD))
        x_BD = Tap(name="joined")(jnp.mean(x_BLD, axis=1))
        return _dense(self.shape.vocabulary, width, dtype, "output")(x_BD)[:, None]


class Encoder(nn.Module):
    """Embeds one stream, tokens (B, S) or channels (B, S, C), and runs the blocks of an encoder on it.

    Gives the residual stream (B, S, D) float32; (B, 1, D), at the last position, with `last`.
    """

    config: TransformerConfig
    vocabulary: int | None  # None: the stream has real channels
    last: bool
    dtype: DTypeLike
    remat: bool

    @nn.compact
    def __call__(self, inputs_BS: jax.Array) -> jax.Array:
        config, length = self.config, inputs_BS.shape[1]
        if self.vocabulary is None:
            x_BSD = _dense(config.width, inputs_BS.shape[2], self.dtype, "read_in")(inputs_BS)
        else:
            unit = nn.initializers.normal(1.0)
            x_BSD = nn.Embed(self.vocabulary, config.width, embedding_init=unit, name="embed")(inputs_BS)
        code, place_S = config.positions.code(), config.positions.places(length, inputs_BS.shape[0])
        if code.embeds:
            x_BSD += code.embedding(place_S, length, config.width, nn.initializers.normal(1.0))[None]
        kind = nn.remat(Block) if self.remat else Block
        everywhere = tuple(range(length))
        for i in range(config.layers):
            answers = everywhere[-1:] if self.last and i == config.layers - 1 else everywhere
            block = kind(config, answers, self.dtype, None, length, name=f"block_{i}")
            x_BSD = spread_examples(block(x_BSD, None, None, place_S=place_S if code.attends() else None))
        return layer_norm("norm_final")(x_BSD) if config.norm == "pre" else x_BSD


class CrossAttention(nn.Module):
    """Multi-head attention of one sequence to another: of Q queries to all S positions that are seen."""

    width: int
    heads: int
    dtype: DTypeLike

    @nn.compact
    def __call__(self, x_BQD: jax.Array, seen_BSD: jax.Array) -> jax.Array:
        """Returns (B, Q, width) float32; both sequences may have any width."""

        def project(name: str, x_BSD: jax.Array) -> jax.Array:
            y_BSD = _dense(self.width, x_BSD.shape[2], self.dtype, name)(x_BSD)
            return y_BSD.astype(self.dtype).reshape(*y_BSD.shape[:2], self.heads, -1)

        q_BQHE, k_BSHE, v_BSHE = project("query", x_BQD), project("key", seen_BSD), project("value", seen_BSD)
        scores_BHQS = jnp.einsum("bqhe,bshe->bhqs", q_BQHE, k_BSHE, preferred_element_type=jnp.float32)
        pattern_BHQS = jax.nn.softmax(scores_BHQS * (self.width // self.heads) ** -0.5, axis=-1)
        pattern_BHQS = Tap(name="pattern")(pattern_BHQS)
        z_BQHE = jnp.einsum("bhqs,bshe->bqhe", pattern_BHQS.astype(self.dtype), v_BSHE)
        return _dense(self.width, self.width, self.dtype, "output")(z_BQHE.reshape(*z_BQHE.shape[:2], -1))


def _dense(width: int, fan_in: int, dtype: DTypeLike, name: str) -> Callable[[jax.Array], jax.Array]:
    """Returns a linear layer whose outputs are float32, as residual sums are."""
    dense = torch_dense(width, fan_in, dtype, name)
    return lambda x: dense(x).astype(jnp.float32)
