"""A recurrent layer with tapes, whose heads are trained to write and to move (arXiv 2207.02098, arXiv 1911.03329).

Not the heads move but the tapes below them: the cell that a head reads and writes is always the first. A tape is a
ring.

Shape letters: B batch, S positions, F inputs of a step, H hidden units, G outputs of all gates, K tapes, N cells of a
tape, W width of a cell, A moves, V vocabulary.
"""

from __future__ import annotations

import functools
import itertools

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike

from jaxgen.models.config import TapeConfig
from jaxgen.models.mlp import torch_dense
from jaxgen.models.recurrent import CELLS, State, at_readout, read_in, read_out, through
from jaxgen.models.taps import Tap
from jaxgen.tasks.base import TaskShape

MOVES = ("stay", "left", "right", "jump left", "jump right")


class TapeNetwork(nn.Module):
    """The network of a `TapeConfig`; see `ModelConfig.module` for the contract."""

    config: TapeConfig
    shape: TaskShape
    compute_dtype: DTypeLike

    @nn.compact
    def __call__(self, tokens_BS: jax.Array, train: bool = False, dropout_rate: float | jax.Array = 0.0) -> jax.Array:
        source = self.shape.source
        assert source is not None
        jump_B = jnp.argmax(tokens_BS == source.separator, axis=1).astype(jnp.int32)
        x_BSF = read_in(self.shape, self.config.embedding, tokens_BS)
        x_BSH = TapeLayer(self.config, self.compute_dtype, name="layer_0")(x_BSF, jump_B)
        return read_out(self.shape, at_readout(self.shape, x_BSH), self.compute_dtype)


class TapeLayer(nn.Module):
    """A recurrent layer and its tapes: the states (B, S, H) float32 at every position.

    The tap `moves` holds the weights (B, S, K, A) of `MOVES`, `cells` what each step found below the heads
    (B, S, K, W), and `hidden` the states.
    """

    config: TapeConfig
    dtype: DTypeLike

    @nn.compact
    def __call__(self, x_BSF: jax.Array, jump_B: jax.Array) -> jax.Array:
        config, hidden, cell = self.config, self.config.hidden, CELLS[self.config.cell]
        batch = x_BSF.shape[0]
        given_BSG = torch_dense(cell.gates * hidden, hidden, self.dtype, "inputs")(x_BSF).astype(jnp.float32)
        states = torch_dense(cell.gates * hidden, hidden, self.dtype, "states")
        read = torch_dense(cell.gates * hidden, hidden, self.dtype, "read", use_bias=False)
        choose = torch_dense(config.tapes * len(MOVES), hidden, self.dtype, "choose")
        widths = (hidden, *config.writer, config.tapes * config.cell_width)
        write = [
            torch_dense(width, fan_in, self.dtype, f"writer_{i}")
            for i, (fan_in, width) in enumerate(itertools.pairwise(widths))
        ]

        def step(
            layer: nn.Module, carried: tuple[State, jax.Array], given_BG: jax.Array
        ) -> tuple[tuple[State, jax.Array], tuple[jax.Array, ...]]:
            state, tapes_BKNW = carried
            found_BKW = tapes_BKNW[:, :, 0]
            given_BG += read(found_BKW.reshape(batch, -1)).astype(jnp.float32)
            state = cell.next(given_BG, states(state[0]).astype(jnp.float32), state)
            moves_BKA = jax.nn.softmax(choose(state[0]).astype(jnp.float32).reshape(batch, config.tapes, -1))
            written = write[0](state[0])
            for dense in write[1:]:
                written = dense(jax.nn.relu(written))
            written_BKW = written.astype(jnp.float32).reshape(found_BKW.shape)
            # The gradient computes the outcomes of the moves anew. To keep them takes over twice as long on a CPU, and
            # three times the memory; in a scan no other computation could be merged with it.
            tapes_BKNW = jax.checkpoint(moved, prevent_cse=False)(tapes_BKNW, moves_BKA, written_BKW, jump_B)
            return (state, tapes_BKNW), (state[0], moves_BKA, found_BKW)

        cells = max(config.cells, x_BSF.shape[1])
        blank_BKNW = jnp.zeros((batch, config.tapes, cells, config.cell_width), jnp.float32)
        found = through(self, step, (cell.start(batch, hidden), blank_BKNW), given_BSG, None)
        names = ("hidden", "moves", "cells")
        states_BSH, *_ = (Tap(name=name)(x) for name, x in zip(names, found, strict=True))
        return states_BSH


def moved(tapes_BKNW: jax.Array, moves_BKA: jax.Array, written_BKW: jax.Array, jump_B: jax.Array) -> jax.Array:
    """Returns the tapes after the heads have written, and made `MOVES` by degrees. The first cell is the head's.

    A move to the left brings the cell behind the head's to the head, as its new first cell; one to the right the cell
    before it, which is the last of the ring.

    Args:
      tapes_BKNW: the tapes.
      moves_BKA: the weights of the moves, which sum to 1.
      written_BKW: what takes the place of the heads' cells.
      jump_B: int32, by how many cells a jump moves.
    """
    tapes_BKNW = jnp.concatenate([written_BKW[:, :, None], tapes_BKNW[:, :, 1:]], axis=2)
    moves = (
        tapes_BKNW,
        jnp.roll(tapes_BKNW, -1, axis=2),
        jnp.roll(tapes_BKNW, 1, axis=2),
        turned(tapes_BKNW, jump_B),
        turned(tapes_BKNW, -jump_B),
    )
    weighed = [moves_BKA[:, :, i, None, None] * move for i, move in enumerate(moves)]
    return functools.reduce(jnp.add, weighed)


def turned(tapes_BKNW: jax.Array, by_B: jax.Array) -> jax.Array:
    """Returns rings that begin at cell `by_B` of the given ones."""
    cells = tapes_BKNW.shape[2]
    from_BN = (jnp.arange(cells, dtype=jnp.int32)[None] + by_B[:, None]) % cells
    return jnp.take_along_axis(tapes_BKNW, from_BN[:, None, :, None], axis=2)
