"""Perturbations of features that raise the loss: of each example, or one for all.

Shape letters: B examples, D features, K directions.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen.errors import UserError, nearest
from jaxgen.measures.config import Perturb
from jaxgen.measures.evaluation import Evaluation, MemberSnapshots
from jaxgen.tasks.base import Split


def strongest(
    loss: Callable[[jax.Array], jax.Array],
    zero_BD: jax.Array,
    *,
    norm: Literal["l2", "linf"],
    radius: float | jax.Array,
    step_size: float | jax.Array,
    steps: int,
) -> jax.Array:
    """Returns the perturbations (B, D) that an `Attack` of these fields finds, each row in its ball.

    Args:
      loss: of perturbations (B, D): the sum of what each row is to raise.
      zero_BD: where it starts from.
      norm: of the ball.
      radius: of the ball, traced or not.
      step_size: of the ascent, traced or not.
      steps: of the ascent.
    """

    def step(_: int, delta_BD: jax.Array) -> jax.Array:
        gradient_BD = jax.grad(loss)(delta_BD)
        if norm == "linf":
            return jnp.clip(delta_BD + step_size * jnp.sign(gradient_BD), -radius, radius)
        delta_BD = delta_BD + step_size * _unit(gradient_BD)
        norm_B1 = jnp.linalg.norm(delta_BD, axis=1, keepdims=True)
        return delta_BD * jnp.minimum(1.0, radius / jnp.maximum(norm_B1, jnp.finfo(jnp.float32).tiny))

    return jax.lax.fori_loop(0, steps, step, zero_BD)


def perturb(config: Perturb, snapshots: MemberSnapshots) -> list[tuple[int, str, float]]:
    """Returns the accuracies under attack of the last snapshot; see `Perturb`."""
    if not snapshots.shape.features:
        raise UserError("Perturb: got a task of tokens, expected one of features")
    for name in (config.split, config.along):
        if name is not None and name not in snapshots.splits:
            raise UserError(f"Perturb: no split '{name}'{nearest(name, snapshots.splits)}")
    step = snapshots.last()
    evaluation, split = snapshots.evaluation(step), snapshots.splits[config.split]
    rows = []
    for attack in config.attacks:
        name = f"{attack.norm}{'_universal' if config.universal else ''}.{attack.radius:g}"
        accuracy, delta_BD = _attacked(evaluation, split, config.universal, **dataclasses.asdict(attack))
        rows.append((step, f"accuracy.{name}/{config.split}", float(accuracy)))
        if config.along is not None:
            change_BD = np.asarray(snapshots.splits[config.along].inputs) - np.asarray(split.inputs)
            part = part_along(np.asarray(delta_BD), change_BD)
            rows.append((step, f"along.{name}/{config.along}", part))
    return rows


def part_along(delta_BD: np.ndarray, change_BD: np.ndarray) -> float:
    """Returns the part of the squared norm of the rows of `delta`, averaged over those that are not 0, that lies in
    the span of the rows of `change`."""
    _, size_K, direction_KD = np.linalg.svd(change_BD.astype(np.float64), full_matrices=False)
    # Rows of float32 are in a common span up to their rounding alone.
    direction_KD = direction_KD[size_K > 1e-5 * size_K[0]]
    energy_B = np.sum(np.square(delta_BD, dtype=np.float64), axis=1)
    inside_B = np.sum(np.square(delta_BD @ direction_KD.T), axis=1)
    return float(np.mean(inside_B[energy_B > 0] / energy_B[energy_B > 0]))


# Attacks that differ in their sizes are one program.
@functools.partial(jax.jit, static_argnames=("universal", "norm", "steps"))
def _attacked(evaluation: Evaluation, split: Split, universal: bool, **attack: Any) -> tuple[jax.Array, jax.Array]:
    inputs_BD, target_BK = jnp.asarray(split.inputs), jnp.asarray(split.true_targets)

    def loss(delta_BD: jax.Array) -> jax.Array:
        return jnp.sum(evaluation.loss(evaluation.logits(inputs_BD + delta_BD), target_BK))

    delta_BD = strongest(loss, jnp.zeros_like(inputs_BD[:1] if universal else inputs_BD), **attack)
    logits_BKV = evaluation.logits(inputs_BD + delta_BD)
    right_BK = jnp.argmax(logits_BKV, axis=-1) == target_BK
    return jnp.mean(right_BK.astype(jnp.float32)), delta_BD


def _unit(gradient_BD: jax.Array) -> jax.Array:
    """Returns each row divided by its l2 norm; rows of zeros stay. Fitted examples have gradients so small that
    their squares are 0 in float32."""
    largest_B1 = jnp.max(jnp.abs(gradient_BD), axis=1, keepdims=True)
    scaled_BD = gradient_BD / jnp.where(largest_B1 > 0, largest_B1, 1.0)
    return scaled_BD / jnp.maximum(jnp.linalg.norm(scaled_BD, axis=1, keepdims=True), 1.0)
