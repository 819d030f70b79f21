"""A recurrent layer with stacks, which is trained to push and pop (Joulin and Mikolov, arXiv 1503.01007).

Shape letters: B batch, S positions, F inputs of a step, H hidden units, G outputs of all gates, K stacks, N cells of a
stack, W width of a cell, A actions, V vocabulary.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike

from jaxgen.models.config import StackConfig
from jaxgen.models.mlp import torch_dense
from jaxgen.models.recurrent import CELLS, State, at_readout, read_in, read_out, through
from jaxgen.models.taps import Tap
from jaxgen.models.transformer import Decoding
from jaxgen.tasks.base import TaskShape

ACTIONS = ("push", "pop", "no-op")


class StackNetwork(nn.Module):
    """The network of a `StackConfig`; see `ModelConfig.module` for the contract, and `Recurrent` for `decoding`."""

    config: StackConfig
    shape: TaskShape
    compute_dtype: DTypeLike

    @nn.compact
    def __call__(
        self,
        tokens_BS: jax.Array,
        train: bool = False,
        dropout_rate: float | jax.Array = 0.0,
        decoding: Decoding | None = None,
    ) -> jax.Array:
        x_BSF = read_in(self.shape, self.config.embedding, tokens_BS)
        x_BSH = StackLayer(self.config, self.compute_dtype, name="layer_0")(x_BSF, decoding)
        return read_out(self.shape, x_BSH if decoding else at_readout(self.shape, x_BSH), self.compute_dtype)


class StackLayer(nn.Module):
    """A recurrent layer and its stacks: the states (B, S, H) float32 at every position.

    The tap `actions` holds the weights (B, S, K, A) of `ACTIONS`, `tops` what each step found on the stacks
    (B, S, K, W), and `hidden` the states.
    """

    config: StackConfig
    dtype: DTypeLike

    @nn.compact
    def __call__(self, x_BSF: jax.Array, decoding: Decoding | None = None) -> jax.Array:
        config, hidden, cell = self.config, self.config.hidden, CELLS[self.config.cell]
        batch, stacks = x_BSF.shape[0], (self.config.stacks, self.config.cell_width)
        given_BSG = torch_dense(cell.gates * hidden, hidden, self.dtype, "inputs")(x_BSF).astype(jnp.float32)
        states = torch_dense(cell.gates * hidden, hidden, self.dtype, "states")
        read = torch_dense(cell.gates * hidden, hidden, self.dtype, "read", use_bias=False)
        choose = torch_dense(config.stacks * len(ACTIONS), hidden, self.dtype, "choose")
        push = torch_dense(config.stacks * config.cell_width, hidden, self.dtype, "push")

        def step(
            layer: nn.Module, carried: tuple[State, jax.Array], given_BG: jax.Array
        ) -> tuple[tuple[State, jax.Array], tuple[jax.Array, ...]]:
            state, stacks_BKNW = carried
            tops_BKW = stacks_BKNW[:, :, 0]
            given_BG += read(tops_BKW.reshape(batch, -1)).astype(jnp.float32)
            state = cell.next(given_BG, states(state[0]).astype(jnp.float32), state)
            actions_BKA = jax.nn.softmax(choose(state[0]).astype(jnp.float32).reshape(batch, config.stacks, -1))
            pushed_BKW = push(state[0]).astype(jnp.float32).reshape(batch, *stacks)
            # The gradient computes the outcomes of the actions anew. To keep them takes half as long again on a CPU,
            # and twice the memory; in a scan no other computation could be merged with it.
            stacks_BKNW = jax.checkpoint(acted, prevent_cse=False)(stacks_BKNW, actions_BKA, pushed_BKW)
            return (state, stacks_BKNW), (state[0], actions_BKA, tops_BKW)

        # What is pushed at the last positions is not read, but one cell a position keeps every stack from overflowing.
        cells = decoding.length if decoding else x_BSF.shape[1]
        empty_BKNW = jnp.zeros((batch, config.stacks, cells, config.cell_width), jnp.float32)
        found = through(self, step, (cell.start(batch, hidden), empty_BKNW), given_BSG, decoding)
        names = ("hidden", "actions", "tops")
        states_BSH, *_ = (Tap(name=name)(x) for name, x in zip(names, found, strict=True))
        return states_BSH


def acted(stacks_BKNW: jax.Array, actions_BKA: jax.Array, pushed_BKW: jax.Array) -> jax.Array:
    """Returns the stacks after `ACTIONS` by degrees. The first cell is the top.

    Push moves all cells down by one, below the pushed vector; pop moves them up, and a cell of zeros comes in at the
    bottom; no-op leaves them.

    Args:
      stacks_BKNW: the stacks.
      actions_BKA: the weights of the actions, which sum to 1.
      pushed_BKW: what is pushed.
    """
    pushed_BKNW = jnp.concatenate([pushed_BKW[:, :, None], stacks_BKNW[:, :, :-1]], axis=2)
    popped_BKNW = jnp.concatenate([stacks_BKNW[:, :, 1:], jnp.zeros_like(stacks_BKNW[:, :, :1])], axis=2)
    pushing, popping, staying = (actions_BKA[:, :, i, None, None] for i in range(len(ACTIONS)))
    return pushing * pushed_BKNW + popping * popped_BKNW + staying * stacks_BKNW
