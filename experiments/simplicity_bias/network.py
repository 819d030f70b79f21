"""Several networks that are trained each for itself.

Shape letters: B batch, M members, V classes.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike

from jaxgen.models.mlp import MLP
from jaxgen.tasks.base import TaskShape

from .parts import EnsembleConfig


class Ensemble(nn.Module):
    """The networks of an `EnsembleConfig`, `member_0` and on.

    While training it gives the members' logits (B, members, V) as if they were read-out positions, so that the loss
    is the mean over the members; else their mean (B, 1, V).
    """

    config: EnsembleConfig
    shape: TaskShape
    compute_dtype: DTypeLike

    @nn.compact
    def __call__(self, inputs_BS: jax.Array, train: bool = False, dropout_rate: float | jax.Array = 0.0) -> jax.Array:
        count, member = self.config.members, self.config.member
        each = [MLP(member, self.shape, self.compute_dtype, name=f"member_{i}")(inputs_BS) for i in range(count)]
        logits_BMV = jnp.concatenate(each, axis=1)
        if train:
            # The mean of the losses has a gradient of 1 / count for each member; alone it would have 1.
            return logits_BMV + (count - 1) * (logits_BMV - jax.lax.stop_gradient(logits_BMV))
        return jnp.mean(logits_BMV, axis=1, keepdims=True)
