"""Several networks that are trained each for itself, a convolutional and a recurrent one.

Shape letters: B batch, M members, S features, C channels, T steps, D features of a step, H hidden, V classes.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike

from jaxgen.models.mlp import MLP, torch_uniform
from jaxgen.tasks.base import TaskShape

from .parts import ConvolutionalConfig, EnsembleConfig, RecurrentConfig


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


def _dense(width: int, fan_in: int, dtype: DTypeLike, name: str) -> nn.Dense:
    uniform = torch_uniform(fan_in)
    return nn.Dense(width, kernel_init=uniform, bias_init=uniform, dtype=dtype, name=name)


class Convolutional(nn.Module):
    """The network of a `ConvolutionalConfig`; see `ModelConfig.module` for the contract."""

    config: ConvolutionalConfig
    shape: TaskShape
    compute_dtype: DTypeLike

    @nn.compact
    def __call__(self, inputs_BS: jax.Array, train: bool = False, dropout_rate: float | jax.Array = 0.0) -> jax.Array:
        channels, kernel, length = self.config.channels, self.config.kernel, self.shape.length
        uniform = torch_uniform(kernel)
        convolution = nn.Conv(
            channels, (kernel,), kernel_init=uniform, bias_init=uniform, dtype=self.compute_dtype, name="convolution"
        )
        x_BSC = jax.nn.relu(convolution(inputs_BS[:, :, None]))
        x_BS = jax.nn.relu(
            _dense(length, channels * length, self.compute_dtype, "hidden")(x_BSC.reshape(x_BSC.shape[0], -1))
        )
        logits_BV = _dense(self.shape.vocabulary, length, self.compute_dtype, "output")(x_BS)
        return logits_BV[:, None].astype(jnp.float32)


class Recurrent(nn.Module):
    """The network of a `RecurrentConfig`; see `ModelConfig.module` for the contract."""

    config: RecurrentConfig
    shape: TaskShape
    compute_dtype: DTypeLike

    @nn.compact
    def __call__(self, inputs_BS: jax.Array, train: bool = False, dropout_rate: float | jax.Array = 0.0) -> jax.Array:
        hidden, uniform = self.config.hidden, torch_uniform(self.config.hidden)
        cell = nn.GRUCell(
            hidden, kernel_init=uniform, recurrent_kernel_init=uniform, bias_init=uniform, dtype=self.compute_dtype,
            name="gru",
        )  # fmt: skip
        x_BTD = inputs_BS.reshape(inputs_BS.shape[0], -1, self.config.chunk)
        states_BTH = jnp.asarray(nn.RNN(cell)(x_BTD))
        logits_BV = _dense(self.shape.vocabulary, hidden, self.compute_dtype, "output")(states_BTH[:, -1])
        return logits_BV[:, None].astype(jnp.float32)
