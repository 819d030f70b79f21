"""How periodic the weights of neurons are.

Shape letters: V vocabulary, H neurons, K frequencies.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxgen.measures.evaluation import Evaluation


def fourier_entropy(evaluation: Evaluation) -> dict[str, jax.Array]:
    """Returns `fourier_entropy` and `fourier_entropy_softmax`; see `FourierEntropy`."""
    params = evaluation.variables["params"]
    weight_VH = params["embedding"] @ params["in"]
    numbers = weight_VH.shape[0]
    amplitude_KH = jnp.abs(jnp.fft.rfft(weight_VH, axis=0))[1:]
    # The authors' slice [1 : 67 // 2] leaves out the last of the 33 frequencies.
    coded_KH = amplitude_KH[: numbers // 2 - 1]
    return {
        "fourier_entropy": _mean_of_neurons(amplitude_KH, lambda p_KH: jnp.log(jnp.where(p_KH > 0, p_KH, 1.0))),
        "fourier_entropy_softmax": _mean_of_neurons(coded_KH, lambda p_KH: jax.nn.log_softmax(p_KH, axis=0)),
    }


def _mean_of_neurons(amplitude_KH: jax.Array, log_q: Callable[[jax.Array], jax.Array]) -> jax.Array:
    """Returns the mean of -sum over K of p log q over the neurons that are not zero everywhere."""
    total_1H = jnp.sum(amplitude_KH, axis=0, keepdims=True)
    p_KH = amplitude_KH / jnp.where(total_1H > 0, total_1H, 1.0)
    there_1H = (total_1H > 0).astype(jnp.float32)
    entropy_1H = -jnp.sum(p_KH * log_q(p_KH), axis=0, keepdims=True)
    return jnp.sum(there_1H * entropy_1H) / jnp.maximum(jnp.sum(there_1H), 1.0)
