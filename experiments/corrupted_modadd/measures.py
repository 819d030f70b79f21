"""How periodic the hidden neurons of a one-hidden-layer MLP are, how they are scaled, and what pruning leaves.

Shape letters: N neurons, V vocabulary, S the two inputs a and b, K frequencies, F fractions.
"""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen.measures.accuracy import accuracy
from jaxgen.measures.evaluation import Evaluation, MemberSnapshots

from .parts import NeuronIPR, NormByIPR, PruneNeurons


def inverse_participation_ratio(rows_XV: jax.Array) -> jax.Array:
    """Returns sum |F|^4 / (sum |F|^2)^2 (X,), F the one-sided rFFT of each row.

    It is 1 for a cosine and 1 / K for a white spectrum. A row of zeros has no spectrum and counts as 0.
    """
    magnitude_XK = jnp.abs(jnp.fft.rfft(rows_XV, axis=-1))
    largest_X1 = jnp.max(magnitude_XK, axis=-1, keepdims=True)
    # Strong decay makes weights so small that their fourth powers are zero in float32.
    power_XK = jnp.square(magnitude_XK / jnp.where(largest_X1 > 0, largest_X1, 1.0))
    total_X = jnp.sum(power_XK, axis=-1)
    return jnp.sum(jnp.square(power_XK), axis=-1) / jnp.maximum(jnp.square(total_X), 1.0)


def neuron_ipr(config: NeuronIPR, evaluation: Evaluation) -> dict[str, jax.Array]:
    """Returns `ipr` and `low_ipr_fraction`; see `NeuronIPR`."""
    ipr_N = _ipr(evaluation)
    return {"ipr": jnp.mean(ipr_N), "low_ipr_fraction": jnp.mean((ipr_N < config.threshold).astype(jnp.float32))}


def prune_neurons(config: PruneNeurons, snapshots: MemberSnapshots) -> list[tuple[int, str, float]]:
    """Returns the accuracies of the last snapshot without a fraction of its neurons; see `PruneNeurons`.

    The number of neurons that a fraction removes is the nearest integer.
    """
    step = snapshots.last()
    evaluation = snapshots.evaluation(step)
    width = evaluation.variables["params"]["output"]["kernel"].shape[0]
    removed_F = np.rint(np.array(config.fractions) * width).astype(np.int32)
    values = jax.device_get(_pruned_accuracy(evaluation, jnp.asarray(removed_F), lowest=config.order == "lowest"))
    return [
        (step, f"accuracy.pruned_{config.order}_ipr.{fraction:g}/{key.removeprefix('accuracy/')}", float(values_F[i]))
        for i, fraction in enumerate(config.fractions)
        for key, values_F in values.items()
    ]


def norm_by_ipr(config: NormByIPR, snapshots: MemberSnapshots) -> list[tuple[int, str, float]]:
    """Returns how BatchNorm scales periodic and aperiodic neurons at every snapshot; see `NormByIPR`."""
    rows = []
    for step in sorted(snapshots.variables_by_step):
        evaluation = snapshots.evaluation(step)
        ipr_N = np.asarray(_ipr(evaluation), np.float64)
        scale_N = np.abs(np.asarray(evaluation.variables["params"]["norm_0"]["scale"], np.float64))
        varied = min(np.ptp(ipr_N), np.ptp(scale_N)) > 0
        rows.append((step, "norm_ipr_correlation", float(np.corrcoef(ipr_N, scale_N)[0, 1]) if varied else 0.0))
        for name, of_N in (("periodic", ipr_N > config.high), ("aperiodic", ipr_N < config.low)):
            if of_N.any():
                rows.append((step, f"norm_scale.{name}", float(scale_N[of_N].mean())))
    return rows


@functools.partial(jax.jit, static_argnames="lowest")
def _pruned_accuracy(evaluation: Evaluation, removed_F: jax.Array, *, lowest: bool) -> dict[str, jax.Array]:
    ipr_N = _ipr(evaluation)
    rank_N = jnp.argsort(jnp.argsort(ipr_N if lowest else -ipr_N))
    params = evaluation.variables["params"]

    def without(removed: jax.Array) -> dict[str, jax.Array]:
        keep_N = (rank_N >= removed).astype(jnp.float32)
        pruned = dict(params)
        pruned["layer_0"] = dict(params["layer_0"], kernel=params["layer_0"]["kernel"] * keep_N[None, None, :])
        pruned["output"] = dict(params["output"], kernel=params["output"]["kernel"] * keep_N[:, None])
        return accuracy(dataclasses.replace(evaluation, variables={**evaluation.variables, "params": pruned}))

    # One fraction after another: side by side, their activations would not fit into a cache.
    return jax.lax.map(without, removed_F)


def _ipr(evaluation: Evaluation) -> jax.Array:
    params = evaluation.variables["params"]
    into_SVN, out_NV = params["layer_0"]["kernel"], params["output"]["kernel"]
    rows_3NV = jnp.stack([into_SVN[0].T, into_SVN[1].T, out_NV])
    return jnp.mean(inverse_participation_ratio(rows_3NV), axis=0)
