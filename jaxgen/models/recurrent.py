"""Recurrent networks: a GRU or an Elman network that reads position by position.

Their equations and starts are those of torch.nn.GRU and torch.nn.RNN, so runs of the two can be compared.

Shape letters: B batch, S positions, T steps of the recurrence, F inputs of a step, C channels, H hidden units,
K read-out positions, V vocabulary.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax.typing import DTypeLike

from jaxgen.models.config import RecurrentConfig
from jaxgen.models.mlp import layer_norm, torch_dense
from jaxgen.models.sharding import Rules
from jaxgen.models.taps import Tap
from jaxgen.tasks.base import TaskShape

# The gates are the outputs of both products. Hidden units are not sharded along the recurrence, which needs all.
SHARDING_RULES: Rules = ((r"(inputs|states)\.kernel$", (None, ("fsdp", "tensor"))),)


class Recurrent(nn.Module):
    """The network of a `RecurrentConfig`; see `ModelConfig.module` for the contract."""

    config: RecurrentConfig
    shape: TaskShape
    compute_dtype: DTypeLike

    @nn.compact
    def __call__(self, inputs_BS: jax.Array, train: bool = False, dropout_rate: float | jax.Array = 0.0) -> jax.Array:
        config, shape = self.config, self.shape
        x_BSF = inputs_BS
        if shape.channels is None:
            x_BSF = nn.Embed(shape.vocabulary, config.embedding, embedding_init=nn.initializers.normal(1.0),
                             name="embed")(inputs_BS)  # fmt: skip
        x_BTF = with_the_rest(x_BSF, config.whole)
        for i in range(config.layers):
            x_BTF = Layer(config, self.compute_dtype, name=f"layer_{i}")(x_BTF)
        if config.norm:
            x_BTF = layer_norm("norm")(x_BTF)
        readout = (-1,) if config.whole else shape.readout_at(inputs_BS.shape[1])
        output = torch_dense(shape.vocabulary, config.hidden, self.compute_dtype, "output")
        return output(x_BTF[:, np.array(readout)]).astype(jnp.float32)


class Layer(nn.Module):
    """One recurrent layer: the states (B, T, H) float32 at every step, from a state of zeros."""

    config: RecurrentConfig
    dtype: DTypeLike

    @nn.compact
    def __call__(self, x_BTF: jax.Array) -> jax.Array:
        config, hidden = self.config, self.config.hidden
        gates = 3 if config.cell == "gru" else 1
        # The inputs' part of all steps is one product; only the states' part is within the recurrence.
        given_BTG = torch_dense(gates * hidden, hidden, self.dtype, "inputs")(x_BTF).astype(jnp.float32)
        states = torch_dense(gates * hidden, hidden, self.dtype, "states")

        def step(layer: nn.Module, state_BH: jax.Array, given_BG: jax.Array) -> tuple[jax.Array, jax.Array]:
            from_state_BG = states(state_BH).astype(jnp.float32)
            new_BH = (
                gru(given_BG, from_state_BG, state_BH)
                if config.cell == "gru"
                else {"tanh": jnp.tanh, "relu": jax.nn.relu}[config.cell](given_BG + from_state_BG)
            )
            return new_BH, new_BH

        start_BH = jnp.zeros((x_BTF.shape[0], hidden), jnp.float32)
        scan = nn.scan(step, variable_broadcast="params", split_rngs={"params": False}, in_axes=1, out_axes=1)
        _, states_BTH = scan(self, start_BH, given_BTG)
        return Tap(name="hidden")(states_BTH)


def gru(given_B3H: jax.Array, from_state_B3H: jax.Array, state_BH: jax.Array) -> jax.Array:
    """Returns the next state (B, H) of a GRU, from what inputs and state give to the reset and the update gate and to
    the candidate, in this order (Cho et al., arXiv 1406.1078, in the form of torch and cuDNN: the reset gate acts
    after the product with the state)."""
    reset_BH, update_BH, new_BH = jnp.split(given_B3H, 3, axis=-1)
    reset_of_BH, update_of_BH, new_of_BH = jnp.split(from_state_B3H, 3, axis=-1)
    reset_BH = jax.nn.sigmoid(reset_BH + reset_of_BH)
    update_BH = jax.nn.sigmoid(update_BH + update_of_BH)
    candidate_BH = jnp.tanh(new_BH + reset_BH * new_of_BH)
    return (1 - update_BH) * candidate_BH + update_BH * state_BH


def with_the_rest(x_BSF: jax.Array, whole: int) -> jax.Array:
    """Returns the first S - `whole` positions, each with all of the last `whole` ones appended to its features."""
    if whole == 0:
        return x_BSF
    steps_BTF, rest_BWF = x_BSF[:, :-whole], x_BSF[:, -whole:]
    rest_B1X = rest_BWF.reshape(x_BSF.shape[0], 1, -1)
    rest_BTX = jnp.broadcast_to(rest_B1X, (*steps_BTF.shape[:2], rest_B1X.shape[2]))
    return jnp.concatenate([steps_BTF, rest_BTX], axis=2)
