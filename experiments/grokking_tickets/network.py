"""A fully connected network on the sum of token embeddings.

Nothing non-linear lies between the embedding and the hidden layer, nor between the hidden layer and the logits, so
the two matrices of either side are multiplied first: exact up to the order of rounding, and at the size of Grokking
Tickets (vocabulary 67, embedding 500, hidden 48, batch 911) a tenth of the work.

Shape letters: B batch, S tokens, V vocabulary, E width of the embedding, H hidden.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike

from jaxgen.models.mlp import ACTIVATIONS, dropout
from jaxgen.models.sharding import Rules
from jaxgen.models.taps import Tap
from jaxgen.tasks.base import TaskShape

from .parts import EmbeddingMLPConfig

# The hidden layer is spread, as in jaxgen.models.mlp.
_BOTH = ("fsdp", "tensor")
SHARDING_RULES: Rules = ((r"(^|\.)in$", (_BOTH,)), (r"(^|\.)out$", (_BOTH, None)))


class EmbeddingMLP(nn.Module):
    """The network of an `EmbeddingMLPConfig`; see `ModelConfig.module` for the contract."""

    config: EmbeddingMLPConfig
    shape: TaskShape
    compute_dtype: DTypeLike

    @nn.compact
    def __call__(self, tokens_BS: jax.Array, train: bool = False, dropout_rate: float | jax.Array = 0.0) -> jax.Array:
        config, vocabulary = self.config, self.shape.vocabulary
        embedding_VE = self._matrix("embedding", vocabulary, config.embedding)
        in_EH = self._matrix("in", config.embedding, config.hidden)
        out_HE = self._matrix("out", config.hidden, config.embedding)
        unembedding_EV = self._matrix("unembedding", config.embedding, vocabulary)

        x_BH = (embedding_VE @ in_EH)[tokens_BS].sum(axis=1)
        if train and config.dropout > 0:
            x_BH = dropout(x_BH, dropout_rate, self.make_rng("dropout"))
        x_BH = Tap(name="hidden_0")(ACTIVATIONS[config.activation](x_BH))
        return (x_BH @ (out_HE @ unembedding_EV))[:, None].astype(jnp.float32)

    def _matrix(self, name: str, fan_in: int, width: int) -> Any:
        matrix = self.param(name, nn.initializers.normal(fan_in**-0.5), (fan_in, width), jnp.float32)
        return matrix.astype(self.compute_dtype)
