"""The two-layer network whose second layer is fixed."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike

from jaxgen.models.taps import Tap
from jaxgen.tasks.base import TaskShape

from .parts import TwoLayerConfig


class TwoLayer(nn.Module):
    """The network of a `TwoLayerConfig`, on features; see `ModelConfig.module` for the contract."""

    config: TwoLayerConfig
    shape: TaskShape
    compute_dtype: DTypeLike

    @nn.compact
    def __call__(self, inputs_BS: jax.Array, train: bool = False, dropout_rate: float | jax.Array = 0.0) -> jax.Array:
        width = self.config.width
        init = nn.initializers.normal(self.config.init_std)
        hidden_BW = nn.Dense(width, use_bias=False, kernel_init=init, dtype=self.compute_dtype, name="layer_0")(
            inputs_BS
        )
        hidden_BW = Tap(name="hidden_0")(jax.nn.relu(hidden_BW)).astype(jnp.float32)
        positive_B, negative_B = (jnp.sum(half_BH, axis=-1) for half_BH in jnp.split(hidden_BW, 2, axis=-1))
        half_f_B = (positive_B - negative_B) * (0.5 * width**-0.5)
        return jnp.stack([-half_f_B, half_f_B], axis=-1)[:, None]
