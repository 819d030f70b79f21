"""Perturbations of features that raise the loss: of each example, or one for all.

Shape letters: B examples, D features, K directions or answers, V classes.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen.measures.evaluation import Evaluation, MemberSnapshots
from jaxgen.objectives.attack import strongest
from jaxgen.tasks.base import Split

from .parts import Perturb


def perturb(config: Perturb, snapshots: MemberSnapshots) -> list[tuple[int, str, float]]:
    """Returns the accuracies under attack of the last snapshot; see `Perturb`."""
    step = snapshots.last()
    evaluation, split = snapshots.evaluation(step), snapshots.splits[config.split]
    rows = []
    for attack in config.attacks:
        name = config.attack_name(attack)
        sizes = dataclasses.asdict(attack)
        accuracy, delta_BD = _attacked(evaluation, split, config.universal, config.signed, **sizes)
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
@functools.partial(jax.jit, static_argnames=("universal", "signed", "norm", "steps"))
def _attacked(
    evaluation: Evaluation, split: Split, universal: bool, signed: bool, **attack: Any
) -> tuple[jax.Array, jax.Array]:
    inputs_BD, target_BK = jnp.asarray(split.inputs), jnp.asarray(split.true_targets)
    sign_B1 = jnp.where(target_BK == 1, 1.0, -1.0) if signed else 1.0

    def logits(delta_BD: jax.Array) -> jax.Array:
        return evaluation.logits(inputs_BD + sign_B1 * delta_BD)

    def loss(delta_BD: jax.Array) -> jax.Array:
        return jnp.sum(evaluation.loss(logits(delta_BD), target_BK))

    delta_BD = strongest(loss, jnp.zeros_like(inputs_BD[:1] if universal else inputs_BD), **attack)
    right_BK = jnp.argmax(logits(delta_BD), axis=-1) == target_BK
    return jnp.mean(right_BK.astype(jnp.float32)), delta_BD
