"""Greedy decoding: a model generates its answers token by token, in one compiled program.

Shape letters: B examples, S positions, K read-out positions, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxgen.models.transformer import Decoding
from jaxgen.tasks.base import IGNORED, TaskShape


def likeliest(logits_BKV: jax.Array) -> jax.Array:
    """Returns the token (B, K) int32 of the largest logit; IGNORED, which equals no target, if a logit is NaN."""
    # argmax returns the first NaN, so a model of NaNs would be correct wherever the target is token 0.
    answers_BK = jnp.argmax(logits_BKV, axis=-1).astype(jnp.int32)
    return jnp.where(jnp.any(jnp.isnan(logits_BKV), axis=-1), IGNORED, answers_BK)


def greedy(
    module: nn.Module, variables: Mapping[str, Any], shape: TaskShape, inputs_BS: jax.Array, targets_BK: jax.Array
) -> jax.Array:
    """Returns the most likely tokens (B, K) int32 at the read-out positions, each given the model's own earlier tokens.

    If an input token is the target of the position before it, the model's own token replaces it. Prompts, and tokens
    between answers that are no targets, are given. Keys and values are cached, so a token costs one position. Pure: it
    runs under `jit` and `vmap`.

    Args:
      module: the module of a model that decodes (`ModelConfig.decodes`).
      variables: the variables of the module.
      shape: the shape of the task's examples.
      inputs_BS: int32, including the answers.
      targets_BK: int32; IGNORED where there is no target.
    """
    length = inputs_BS.shape[1]
    readout = np.array(shape.readout_at(length))
    asked_BS = jnp.full(inputs_BS.shape, IGNORED, jnp.int32).at[:, readout].set(targets_BK)
    next_BS = jnp.concatenate([inputs_BS[:, 1:], inputs_BS[:, :1]], axis=1)
    own_BS = (asked_BS != IGNORED) & (asked_BS == next_BS)

    def read(cache: Any, token_B: jax.Array, at: jax.Array) -> tuple[jax.Array, Any]:
        logits_B1V, kept = module.apply(
            {**variables, **cache}, token_B[:, None], decoding=Decoding(at, length), mutable=["cache"]
        )
        return likeliest(logits_B1V)[:, 0], dict(kept)

    def step(carry: tuple[Any, jax.Array], given: tuple[jax.Array, ...]) -> tuple[tuple[Any, jax.Array], jax.Array]:
        cache, token_B = carry
        at, own_B, next_B = given
        answer_B, cache = read(cache, token_B, at)
        return (cache, jnp.where(own_B, jnp.maximum(answer_B, 0), next_B)), answer_B

    _, like = jax.eval_shape(lambda token_B: read({}, token_B, jnp.int32(0)), inputs_BS[:, 0])
    empty = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), like)
    given = (jnp.arange(length), own_BS.T, next_BS.T)
    _, answers_SB = jax.lax.scan(step, (empty, inputs_BS[:, 0]), given)
    return answers_SB.T[:, readout]
