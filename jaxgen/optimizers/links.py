"""Chains of optax, and links that it does not have: filters of gradients, a held norm.

Their scalars may be traced, a value a member.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxgen.models.stacked import matrices

if TYPE_CHECKING:
    from jaxgen.optimizers.adam import AdamW

Scalar = jax.Array | float
Tree = Any


def chain(*parts: optax.GradientTransformation) -> optax.GradientTransformationExtraArgs:
    """Returns the links one after another, as an `Updates.build` gives them."""
    return optax.with_extra_args_support(optax.chain(*parts))


def adamw(
    config: AdamW,
    scalars: Mapping[str, Scalar],
    horizon: int,
    *,
    decay: Callable[..., optax.GradientTransformation] = optax.add_decayed_weights,
    then: Sequence[optax.GradientTransformation] = (),
) -> optax.GradientTransformationExtraArgs:
    """Returns Adam with decoupled decay.

    Args:
      config: betas, eps, and which parameters decay.
      scalars: `learning_rate` and `weight_decay`.
      horizon: the steps of the whole run.
      decay: from the strength and the mask of what decays to the link that adds the decay.
      then: links between the decay and the learning rate.
    """
    mask: Any = matrices if config.decay == "matrices" else None
    return chain(
        optax.scale_by_adam(b1=config.b1, b2=config.b2, eps=config.eps),
        decay(scalars["weight_decay"], mask),
        *then,
        optax.scale_by_learning_rate(config.rate(scalars, horizon)),
    )


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


def keep_norm() -> optax.GradientTransformation:
    """Returns the last link of `ConstantNorm`: the updated parameters have the norm of the first ones."""

    def init(params: Tree) -> jax.Array:
        norm: jax.Array = optax.tree.norm(params)
        return norm

    def update(updates: Tree, norm: jax.Array, params: Tree | None = None) -> tuple[Tree, jax.Array]:
        assert params is not None
        moved = optax.apply_updates(params, updates)
        scale = norm / optax.tree.norm(moved)
        return jax.tree.map(lambda after, before: scale * after - before, moved, params), norm

    return optax.GradientTransformation(init, update)
