"""Makes the Flax Linen module that a model's configuration describes."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike

from jaxgen.errors import UserError
from jaxgen.models import embedding_mlp, mlp, transformer
from jaxgen.models.config import (
    EmbeddingMLPConfig,
    EnsembleConfig,
    MLPConfig,
    ModelConfig,
    TransformerConfig,
    TwoLayerConfig,
)
from jaxgen.models.embedding_mlp import EmbeddingMLP
from jaxgen.models.mlp import MLP, Ensemble, TwoLayer
from jaxgen.models.sharding import Rules
from jaxgen.models.transformer import Transformer
from jaxgen.tasks.base import TaskShape


def build_model(
    config: ModelConfig,
    shape: TaskShape,
    compute_dtype: DTypeLike = jnp.float32,
    *,
    remat: bool = False,
    attention_device: Any = None,
) -> nn.Module:
    """Returns the module of `config` for examples of `shape`.

    The contract of every module:

    - `module.init(key, inputs_BS)` gives the variables: float32 `params`, and `batch_stats` where there is BatchNorm;
    - `module.apply(variables, inputs_BS, train=False, dropout_rate=0.0)` gives the logits (B, K, V), float32, at the
      read-out positions. While training, `rngs={"dropout": key}` is needed if `config.dropout > 0`, and
      `mutable=["batch_stats"]` if there is BatchNorm;
    - `dropout_rate` may be traced: it can differ between the members of a population. Whether dropout is in the
      program is static: `config.dropout > 0` and `train`.

    Args:
      config: the network.
      shape: the sizes of the task's examples.
      compute_dtype: the type of the matrix products; norms, softmax and residual sums are float32.
      remat: whether gradients compute the inside of each block of a transformer again, and keep it not.
      attention_device: one to choose attention's kernel for, by `config.attention`; None: there is no kernel, and what
        a transformer computes can be tapped and has gradients of any order.

    Raises:
      UserError: the network cannot read or answer such examples.
    """
    if not isinstance(config, TransformerConfig) and len(shape.readout) != 1:
        raise UserError(
            f"model: an MLP gives one answer for the whole input, the task reads out {len(shape.readout)} "
            f"positions {list(shape.readout)}; use a transformer, or a task format with one"
        )
    if not isinstance(config, TransformerConfig) and (shape.channels is not None or shape.lengths):
        raise UserError("model: an MLP reads examples of one length; the task gives real channels or several lengths")
    if isinstance(config, MLPConfig):
        return MLP(config, shape, compute_dtype)
    if isinstance(config, EmbeddingMLPConfig):
        if shape.features:
            raise UserError("model: an EmbeddingMLP reads tokens, the task gives real features; use an MLPConfig")
        return EmbeddingMLP(config, shape, compute_dtype)
    if isinstance(config, EnsembleConfig):
        return Ensemble(config, shape, compute_dtype)
    if isinstance(config, TwoLayerConfig):
        if not shape.features or shape.vocabulary != 2:
            raise UserError("model: a TwoLayerConfig tells two classes of features apart; the task has others")
        return TwoLayer(config, shape, compute_dtype)
    if isinstance(config, TransformerConfig):
        if shape.features:
            raise UserError("model: a transformer reads tokens, the task gives real features; use an MLP")
        if shape.channels is not None and config.tied:
            raise UserError("model.tied: got true, expected false: the task gives real channels, and embeds no token")
        if shape.padding == "unmarked" and not config.causal:
            raise UserError(
                "model.causal: got false, expected true: the task pads shorter examples and has no token '<pad>', so "
                "an encoder could not tell padding from what it reads"
            )
        return Transformer(config, shape, compute_dtype, remat, attention_device)
    raise UserError(
        f"model: got {type(config).__name__}, expected EmbeddingMLPConfig, EnsembleConfig, MLPConfig, "
        f"TransformerConfig or TwoLayerConfig"
    )


def sharding_rules(config: ModelConfig) -> Rules:
    """Returns how the parameters of the module of `config` are spread over a mesh of devices."""
    if isinstance(config, TransformerConfig):
        return transformer.SHARDING_RULES
    if isinstance(config, EmbeddingMLPConfig):
        return embedding_mlp.SHARDING_RULES
    return mlp.SHARDING_RULES
