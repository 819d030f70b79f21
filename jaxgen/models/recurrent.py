"""Recurrent networks: a GRU, an LSTM or an Elman network that reads position by position.

Their equations and starts are those of torch.nn.GRU, torch.nn.LSTM and torch.nn.RNN, so runs of the two can be
compared.

Shape letters: B batch, S positions, T steps of the recurrence, F inputs of a step, C channels, H hidden units,
G outputs of all gates, K read-out positions, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax.typing import DTypeLike

from jaxgen.models.config import Cell, RecurrentConfig
from jaxgen.models.mlp import layer_norm, torch_dense
from jaxgen.models.sharding import Rules
from jaxgen.models.taps import Tap
from jaxgen.models.transformer import Decoding
from jaxgen.tasks.base import TaskShape

# The gates are the outputs of all products. Hidden units are not sharded along the recurrence, which needs all.
SHARDING_RULES: Rules = ((r"(inputs|states|read)\.kernel$", (None, ("fsdp", "tensor"))),)

# The arrays (B, H) that a cell keeps from step to step, all zero at first. The first is what others read of it.
State = tuple[jax.Array, ...]


class Recurrent(nn.Module):
    """The network of a `RecurrentConfig`; see `ModelConfig.module` for the contract.

    With `decoding`, the inputs are the tokens (B, 1) at one position, and the result is its logits (B, 1, V). The
    states are kept in the collection `cache`, so positions must come in order.
    """

    config: RecurrentConfig
    shape: TaskShape
    compute_dtype: DTypeLike

    @nn.compact
    def __call__(
        self,
        inputs_BS: jax.Array,
        train: bool = False,
        dropout_rate: float | jax.Array = 0.0,
        decoding: Decoding | None = None,
    ) -> jax.Array:
        config = self.config
        x_BTF = with_the_rest(read_in(self.shape, config.embedding, inputs_BS), config.whole)
        for i in range(config.layers):
            x_BTF = Layer(config, self.compute_dtype, name=f"layer_{i}")(x_BTF, decoding)
        if config.norm:
            x_BTF = layer_norm("norm")(x_BTF)
        if config.whole:
            x_BTF = x_BTF[:, -1:]
        elif decoding is None:
            x_BTF = at_readout(self.shape, x_BTF)
        return read_out(self.shape, x_BTF, self.compute_dtype)


class Layer(nn.Module):
    """One recurrent layer: the states (B, T, H) float32 at every step, from a state of zeros."""

    config: RecurrentConfig
    dtype: DTypeLike

    @nn.compact
    def __call__(self, x_BTF: jax.Array, decoding: Decoding | None = None) -> jax.Array:
        hidden, cell = self.config.hidden, CELLS[self.config.cell]
        # The inputs' part of all steps is one product; only the states' part is within the recurrence.
        given_BTG = torch_dense(cell.gates * hidden, hidden, self.dtype, "inputs")(x_BTF).astype(jnp.float32)
        states = torch_dense(cell.gates * hidden, hidden, self.dtype, "states")

        def step(layer: nn.Module, state: State, given_BG: jax.Array) -> tuple[State, jax.Array]:
            state = cell.next(given_BG, states(state[0]).astype(jnp.float32), state)
            return state, state[0]

        states_BTH: jax.Array = through(self, step, cell.start(x_BTF.shape[0], hidden), given_BTG, decoding)
        return Tap(name="hidden")(states_BTH)


def read_in(shape: TaskShape, width: int, inputs_BS: jax.Array) -> jax.Array:
    """Returns what is read at each position: real channels as they are, or tokens embedded (B, S, width). For modules
    that are `compact`."""
    if shape.channels is not None:
        return inputs_BS
    embed = nn.Embed(shape.vocabulary, width, embedding_init=nn.initializers.normal(1.0), name="embed")
    return embed(inputs_BS)


def at_readout(shape: TaskShape, x_BSH: jax.Array) -> jax.Array:
    """Returns the states (B, K, H) at the read-out positions."""
    return x_BSH[:, np.array(shape.readout_at(x_BSH.shape[1]))]


def read_out(shape: TaskShape, x_BKH: jax.Array, dtype: DTypeLike) -> jax.Array:
    """Returns the logits (B, K, V) float32 of states. For modules that are `compact`."""
    return torch_dense(shape.vocabulary, x_BKH.shape[-1], dtype, "output")(x_BKH).astype(jnp.float32)


def through(
    layer: nn.Module,
    step: Callable[[nn.Module, Any, jax.Array], tuple[Any, Any]],
    start: Any,
    given_BTG: jax.Array,
    decoding: Decoding | None,
) -> Any:
    """Goes through the steps of a recurrence. Returns what each has found, with the steps as axis 1.

    With `decoding` there is one step. It goes on from what the collection `cache` has kept, which is 0 at first, as
    `start` is.

    Args:
      layer: the module that the step belongs to.
      step: from the module, what is carried and what is given (B, G), to what is carried and what is found.
      start: what is carried to the first step; zeros.
      given_BTG: what is given to each step.
      decoding: None: all steps are given.
    """
    if decoding is None:
        scan = nn.scan(step, variable_broadcast="params", split_rngs={"params": False}, in_axes=1, out_axes=1)
        return scan(layer, start, given_BTG)[1]
    kept = layer.variable("cache", "carried", lambda: start)
    kept.value, found = step(layer, kept.value, given_BTG[:, 0])
    return jax.tree.map(lambda x: x[:, None], found)


class CellRule(NamedTuple):
    """How a cell goes on."""

    gates: int  # the outputs of both products, in multiples of H
    arrays: int  # of its state
    # From what inputs and state give to the gates, both (B, G), and the state, to the next state.
    next: Callable[[jax.Array, jax.Array, State], State]

    def start(self, batch: int, hidden: int) -> State:
        """Returns the state of zeros."""
        return (jnp.zeros((batch, hidden), jnp.float32),) * self.arrays


def gru(given_B3H: jax.Array, from_state_B3H: jax.Array, state: State) -> State:
    """Returns the next state of a GRU. The gates are reset, update and candidate, in this order (Cho et al., arXiv
    1406.1078, in the form of torch and cuDNN: the reset gate acts after the product with the state)."""
    (state_BH,) = state
    reset_BH, update_BH, new_BH = jnp.split(given_B3H, 3, axis=-1)
    reset_of_BH, update_of_BH, new_of_BH = jnp.split(from_state_B3H, 3, axis=-1)
    reset_BH = jax.nn.sigmoid(reset_BH + reset_of_BH)
    update_BH = jax.nn.sigmoid(update_BH + update_of_BH)
    candidate_BH = jnp.tanh(new_BH + reset_BH * new_of_BH)
    return ((1 - update_BH) * candidate_BH + update_BH * state_BH,)


def lstm(given_B4H: jax.Array, from_state_B4H: jax.Array, state: State) -> State:
    """Returns the next state of an LSTM: what others read, and the memory. The gates are input, forget, candidate and
    output, in this order (Hochreiter and Schmidhuber 1997, with the forget gate of Gers et al. 2000, as in torch)."""
    _, memory_BH = state
    into_BH, forget_BH, new_BH, out_BH = jnp.split(given_B4H + from_state_B4H, 4, axis=-1)
    memory_BH = jax.nn.sigmoid(forget_BH) * memory_BH + jax.nn.sigmoid(into_BH) * jnp.tanh(new_BH)
    return jax.nn.sigmoid(out_BH) * jnp.tanh(memory_BH), memory_BH


CELLS: dict[Cell, CellRule] = {
    "gru": CellRule(3, 1, gru),
    "lstm": CellRule(4, 2, lstm),
    "tanh": CellRule(1, 1, lambda given_BH, from_state_BH, _: (jnp.tanh(given_BH + from_state_BH),)),
    "relu": CellRule(1, 1, lambda given_BH, from_state_BH, _: (jax.nn.relu(given_BH + from_state_BH),)),
}


def with_the_rest(x_BSF: jax.Array, whole: int) -> jax.Array:
    """Returns the first S - `whole` positions, each with all of the last `whole` ones appended to its features."""
    if whole == 0:
        return x_BSF
    steps_BTF, rest_BWF = x_BSF[:, :-whole], x_BSF[:, -whole:]
    rest_B1X = rest_BWF.reshape(x_BSF.shape[0], 1, -1)
    rest_BTX = jnp.broadcast_to(rest_B1X, (*steps_BTF.shape[:2], rest_B1X.shape[2]))
    return jnp.concatenate([steps_BTF, rest_BTX], axis=2)
