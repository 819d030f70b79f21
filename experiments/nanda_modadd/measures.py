"""Progress measures and ablations for modular addition (Nanda et al., arXiv 2301.05217, Sec. 5 and 4.4), by FFTs.

The projections on cos(w(a + b)) and sin(w(a + b)) keep of a function of (a, b) its mean over the
pairs of each sum s = a + b mod p, and of that the frequency w. So p x p inputs become p sums, and
all projections are one FFT of length p.

Shape letters: A and B the numbers a and b, s their sum or difference (all of them 0..p-1), K the
frequencies 0..p//2, V the p number outputs, N neurons, D whatever else an embedding has.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen.measures.evaluation import Evaluation, MemberSnapshots
from jaxgen.models.taps import capture
from jaxgen.tasks.base import TaskShape

from .parts import AblateFrequencies, ProgressMeasures


class SumSpectrum(NamedTuple):
    """Logits over all inputs, and the part of them that depends on a + b alone, by frequency."""

    logits_ABV: jax.Array
    spectrum_KV: jax.Array  # rFFT over s of the logits' mean over the pairs of sum s

    def part(self, kept_K: jax.Array) -> jax.Array:
        """Returns (s, V): the sum of the projections on the frequencies kept, at inputs of sum s."""
        kept_KV = jnp.where(kept_K[:, None], self.spectrum_KV, 0.0)
        return jnp.fft.irfft(kept_KV, n=self.logits_ABV.shape[0], axis=0)


def progress_measures(config: ProgressMeasures, snapshots: MemberSnapshots) -> list[tuple[int, str, float]]:
    """Returns the progress measures of every snapshot; see `ProgressMeasures`."""
    key_K = _key_frequencies(config.neurons, snapshots)
    rows = []
    for step in sorted(snapshots.variables_by_step):
        values = jax.device_get(_progress(snapshots.evaluation(step), key_K))
        rows += [(step, key, float(value)) for key, value in values.items()]
    return rows


def ablated_losses(config: AblateFrequencies, snapshots: MemberSnapshots) -> list[tuple[int, str, float]]:
    """Returns the test losses of the last snapshot without some frequencies; see `AblateFrequencies`."""
    step, p = snapshots.last(), _numbers(snapshots.shape)
    key_K = _key_frequencies(config.neurons, snapshots)
    other_K = _paired(p) & ~key_K
    chosen_XK = jnp.asarray(np.stack([np.zeros_like(key_K), key_K, *np.eye(len(key_K), dtype=bool)]))
    without_X, alone_X = jax.device_get(_losses_by_frequency(snapshots.evaluation(step), chosen_XK))
    (whole, keys, *each), others = without_X.tolist(), alone_X.tolist()[1]
    losses = {
        "nothing/test": whole,
        "keys/test": keys,
        "others/test": others,
        "one_key/test": min(np.array(each)[key_K].tolist(), default=whole),
        "one_other/test": max(np.array(each)[other_K].tolist(), default=whole),
        "chance": float(np.log(p)),
    }
    return [(step, f"ablated_loss.{what}", loss) for what, loss in losses.items()]


def components(logits_ABV: jax.Array, chosen_K: jax.Array) -> jax.Array:
    """Returns (A, B, V): the part of the logits in the eight Fourier components of each frequency k chosen.

    They are cos ka, sin ka, cos kb, sin kb, and the four products of one of a and one of b.
    """
    p = logits_ABV.shape[0]
    folded = np.minimum(np.arange(p), p - np.arange(p))
    a_A1, b_1B = folded[:, None], folded[None]
    of_one_AB = (a_A1 == b_1B) | (a_A1 == 0) | (b_1B == 0)
    chosen_AB = of_one_AB & chosen_K[np.maximum(a_A1, b_1B)]
    spectrum_ABV = jnp.fft.fft2(logits_ABV, axes=(0, 1))
    return jnp.fft.ifft2(jnp.where(chosen_AB[..., None], spectrum_ABV, 0.0), axes=(0, 1)).real


def sum_spectrum(logits_ABV: jax.Array) -> SumSpectrum:
    """Returns the logits with the spectrum of their part that depends on a + b alone."""
    return SumSpectrum(logits_ABV, jnp.fft.rfft(_mean_by_sum(logits_ABV, sign=1), axis=0))


def key_variance(sums: SumSpectrum, key_K: jax.Array) -> jax.Array:
    """Returns the part of the variance of the logits that the key frequencies explain, 0 if they have none."""
    centred_ABV = sums.logits_ABV - jnp.mean(sums.logits_ABV, axis=(0, 1), keepdims=True)
    p = sums.logits_ABV.shape[0]
    return _ratio(p * jnp.sum(jnp.square(sums.part(key_K))), jnp.sum(jnp.square(centred_ABV)))


def explained_variance(hidden_ABN: jax.Array) -> jax.Array:
    """Returns (K, N): how much of each neuron's variance each frequency explains.

    That is the energy in the eight orthonormal functions cos ka, sin ka, cos kb, sin kb and the four
    products of one of a and one of b, over the energy about the mean; 0 for a constant neuron and
    for the frequencies 0 and p/2, which are no pair of a cosine and a sine.
    """
    p = hidden_ABN.shape[0]
    hidden_ABN = hidden_ABN - jnp.mean(hidden_ABN, axis=(0, 1), keepdims=True)
    # The four products span what the waves of a + b and of a - b span.
    along = [
        jnp.mean(hidden_ABN, axis=1),
        jnp.mean(hidden_ABN, axis=0),
        _mean_by_sum(hidden_ABN, sign=1),
        _mean_by_sum(hidden_ABN, sign=-1),
    ]
    # A wave of frequency k over p^2 inputs has the energy 2 |rFFT of the mean over p|^2.
    spectrum_4KN = jnp.fft.rfft(jnp.stack(along), axis=1)
    energy_KN = jnp.sum(2.0 * jnp.square(jnp.abs(spectrum_4KN)), axis=0)
    energy_KN = jnp.where(_paired(p)[:, None], energy_KN, 0.0)
    return _ratio(energy_KN, jnp.sum(jnp.square(hidden_ABN), axis=(0, 1))[None])


def gini(value_X: jax.Array) -> jax.Array:
    """Returns the Gini coefficient: 0 where all values are equal, 1 - 1/X where all but one are 0."""
    count = value_X.shape[0]
    rank_X = 2.0 * jnp.arange(1, count + 1, dtype=jnp.float32) - (count + 1.0)
    return _ratio(jnp.sum(rank_X * jnp.sort(value_X)), count * jnp.sum(value_X))


def fourier_norms(embedding_VD: jax.Array) -> jax.Array:
    """Returns the norm of each of the p Fourier components of an embedding: constant, cosines, sines."""
    p = embedding_VD.shape[0]
    waves_KD = jnp.fft.rfft(embedding_VD, axis=0) * jnp.where(_paired(p), 2.0, 1.0)[:, None] ** 0.5
    cosines_K, sines_K = (jnp.linalg.norm(part_KD, axis=1) for part_KD in (waves_KD.real, waves_KD.imag))
    return jnp.concatenate([cosines_K, sines_K[_paired(p)]]) / p**0.5


def _key_frequencies(neurons: float, snapshots: MemberSnapshots) -> np.ndarray:
    """Returns (K,) bool: the frequencies that at least the fraction `neurons` of the last snapshot's neurons follow."""
    followed_KN = jax.device_get(_followed(snapshots.evaluation(snapshots.last())))
    # The slack is for fractions such as 0.06 of 50 neurons, which is not 3 in floats.
    key_K: np.ndarray = _paired(_numbers(snapshots.shape)) & (followed_KN.mean(axis=1) >= neurons - 1e-9)
    return key_K


@jax.jit
def _followed(evaluation: Evaluation) -> jax.Array:
    """Returns (K, N) bool: whether the frequency is the one that explains most of the neuron's variance.

    A constant neuron is put down to frequency 0, which is never key.
    """
    shape, tap = evaluation.shape, _tap(evaluation)
    hidden = capture(evaluation.module, evaluation.variables, _all_inputs(shape), [tap])[tap]
    p = _numbers(shape)
    explained_KN = explained_variance(hidden.reshape(p, p, -1).astype(jnp.float32))
    return jax.nn.one_hot(jnp.argmax(explained_KN, axis=0), explained_KN.shape[0], axis=0, dtype=jnp.bool_)


@jax.jit
def _losses_by_frequency(evaluation: Evaluation, chosen_XK: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns the test losses (X,) without the frequencies chosen, and of these and the mean over the inputs alone."""
    p = _numbers(evaluation.shape)
    inputs_BS, _, targets_BK, _ = (jnp.asarray(column) for column in evaluation.splits["test"])
    a_B, b_B = inputs_BS[:, 0], inputs_BS[:, 1]
    logits_ABV = evaluation.logits(_all_inputs(evaluation.shape))[:, 0, :p].reshape(p, p, p)
    mean_1V = jnp.mean(logits_ABV, axis=(0, 1))[None]

    def losses(chosen_K: jax.Array) -> tuple[jax.Array, jax.Array]:
        part_BV = components(logits_ABV, chosen_K)[a_B, b_B]
        both = logits_ABV[a_B, b_B] - part_BV, mean_1V + part_BV
        without, alone = (jnp.mean(evaluation.loss(of_BV[:, None], targets_BK)) for of_BV in both)
        return without, alone

    # One after another: side by side, the spectra would not fit into memory.
    return jax.lax.map(losses, chosen_XK)


@jax.jit
def _progress(evaluation: Evaluation, key_K: jax.Array) -> dict[str, jax.Array]:
    shape, loss = evaluation.shape, evaluation.loss
    p = _numbers(shape)
    inputs_BS, targets_BK, *_ = (jnp.asarray(column) for column in evaluation.splits["train"])
    sums = sum_spectrum(evaluation.logits(_all_inputs(shape))[:, 0, :p].reshape(p, p, p))
    key_part_sV = sums.part(key_K)
    mean_1V = jnp.mean(sums.logits_ABV, axis=(0, 1))[None]
    # Restricted logits depend on the sum alone, and every sum has p inputs.
    restricted = loss((key_part_sV + mean_1V)[:, None], jnp.arange(p, dtype=jnp.int32)[:, None])
    a_B, b_B = inputs_BS[:, 0], inputs_BS[:, 1]
    excluded_BV = sums.logits_ABV[a_B, b_B] - key_part_sV[(a_B + b_B) % p]
    embedding_VD = _embedding(evaluation)[:p]
    return {
        "restricted_loss/all": jnp.mean(restricted),
        "excluded_loss/train": jnp.mean(loss(excluded_BV[:, None], targets_BK)),
        "key_frequencies": jnp.sum(key_K),
        "key_variance": key_variance(sums, key_K),
        "gini": gini(fourier_norms(embedding_VD)),
    }


def _mean_by_sum(x_ABX: jax.Array, sign: int) -> jax.Array:
    """Returns (s, X): the mean of `x` over the p inputs with a + sign * b = s mod p."""
    p = x_ABX.shape[0]
    b_B, s_s1 = np.arange(p), np.arange(p)[:, None]
    return jnp.mean(x_ABX[(s_s1 - sign * b_B[None]) % p, b_B[None]], axis=1)


def _paired(p: int) -> np.ndarray:
    """Returns (K,) bool: the frequencies 1..(p-1)//2, which have a cosine and a sine."""
    frequency_K = np.arange(p // 2 + 1)
    return (frequency_K > 0) & (2 * frequency_K < p)


def _ratio(part: jax.Array, total: jax.Array) -> jax.Array:
    return jnp.where(total > 0, part / jnp.where(total > 0, total, 1.0), 0.0)


def _numbers(shape: TaskShape) -> int:
    """Returns p, of the formats `a b` and `a b =`."""
    return shape.vocabulary - (shape.length - 2)


def _all_inputs(shape: TaskShape) -> jax.Array:
    """Returns the (p^2, S) inputs in the order of a * p + b."""
    p = _numbers(shape)
    a, b = (grid.ravel() for grid in np.meshgrid(np.arange(p), np.arange(p), indexing="ij"))
    return jnp.asarray(np.stack([a, b, np.full(p * p, p)], axis=1)[:, : shape.length], jnp.int32)


def _tap(evaluation: Evaluation) -> str:
    return "block_0/mlp/hidden" if "block_0" in evaluation.variables["params"] else "hidden_0"


def _embedding(evaluation: Evaluation) -> jax.Array:
    """Returns (vocabulary, D): what the model reads of each token, over all positions."""
    params = evaluation.variables["params"]
    if "embed" in params:
        embedding_VD: jax.Array = params["embed"]["embedding"]
        return embedding_VD
    kernel_SVW: jax.Array = params["layer_0"]["kernel"]
    return kernel_SVW.swapaxes(0, 1).reshape(kernel_SVW.shape[1], -1)
