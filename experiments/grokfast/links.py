"""Filters of gradients, as links of an optax chain. Their scalars may be traced, a value a member."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxgen.optimizers.links import Scalar

Tree = Any


class MovingAverage(NamedTuple):
    """The state of `add_moving_average`."""

    seen: jax.Array  # () int32: number of gradients so far
    mean: Tree  # like params


def add_moving_average(momentum: Scalar, gain: Scalar) -> optax.GradientTransformation:
    """Returns the filter of `EMAFilter`: g + gain * m, where m starts as the first gradient."""

    def init(params: Tree) -> MovingAverage:
        return MovingAverage(jnp.zeros((), jnp.int32), jax.tree.map(jnp.zeros_like, params))

    def update(grads: Tree, state: MovingAverage, params: Tree | None = None) -> tuple[Tree, MovingAverage]:
        kept = jnp.where(state.seen == 0, 0.0, momentum)
        mean = jax.tree.map(lambda m, g: kept * m + (1.0 - kept) * g, state.mean, grads)
        amplified = jax.tree.map(lambda g, m: g + gain * m, grads, mean)
        return amplified, MovingAverage(state.seen + 1, mean)

    return optax.GradientTransformation(init, update)


class Window(NamedTuple):
    """The state of `add_window_mean`: a ring of gradients, the oldest of which is overwritten next."""

    seen: jax.Array  # () int32: number of gradients so far
    last: Tree  # like params, with a leading axis of the window's length


def add_window_mean(window: int, gain: Scalar) -> optax.GradientTransformation:
    """Returns the filter of `MAFilter`: g + gain * mean of the last `window` gradients, once there are so many."""

    def init(params: Tree) -> Window:
        ring = jax.tree.map(lambda w: jnp.zeros((window, *w.shape), w.dtype), params)
        return Window(jnp.zeros((), jnp.int32), ring)

    def update(grads: Tree, state: Window, params: Tree | None = None) -> tuple[Tree, Window]:
        place = state.seen % window
        last = jax.tree.map(lambda ring, g: ring.at[place].set(g), state.last, grads)
        full = state.seen + 1 >= window
        # The mean is of the ring, not of a running sum: gradients shrink by orders of magnitude while
        # training, and the rounding errors of early ones would outweigh late ones.
        amplified = jax.tree.map(lambda g, ring: g + jnp.where(full, gain, 0.0) * jnp.mean(ring, axis=0), grads, last)
        return amplified, Window(state.seen + 1, last)

    return optax.GradientTransformation(init, update)
