"""Attention by cuDNN through jax.nn, with the interface of a kernel.

The gradient runs the forward pass again. jax hides the residuals that cuDNN keeps, but folding a population into the
batch (dispatch.py) requires all residuals to have a leading axis of examples. Shape letters: see problem.py.

cuDNN does not document how it treats the values of hidden keys. So numbers that are not finite are replaced by zeros,
and the outputs that see one are set to nan afterwards. This costs a pass over each input, and sums along the positions.
"""

from __future__ import annotations

from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen.kernels.attention.problem import Problem, whole_rows, zeroed

LIBRARY: Literal["xla", "cudnn"] = "cudnn"


def forward(
    problem: Problem,
    q_BQHC: jax.Array,
    k_BSGC: jax.Array,
    v_BSGC: jax.Array,
    segments: None,
    bias: None,
    *,
    interpret: bool = False,
) -> tuple[jax.Array, None, None]:
    """Returns the output (B, Q, H, C), no logarithms, and no residuals beside the inputs."""
    o_BQHC = _attention(problem, *(zeroed(x) for x in (q_BQHC, k_BSGC, v_BSGC)))
    return jnp.where(_spoiled(problem, q_BQHC, k_BSGC, v_BSGC)[..., None], jnp.nan, o_BQHC), None, None


def backward(
    problem: Problem,
    q_BQHC: jax.Array,
    k_BSGC: jax.Array,
    v_BSGC: jax.Array,
    segments: None,
    bias: None,
    o_BQHC: jax.Array,
    residual: None,
    do_BQHC: jax.Array,
    dlse: None,
    *,
    interpret: bool = False,
) -> tuple[jax.Array, jax.Array, jax.Array, None]:
    """Returns the gradients of queries, keys and values."""
    _, gradients = jax.vjp(lambda *x: _attention(problem, *x), *(zeroed(x) for x in (q_BQHC, k_BSGC, v_BSGC)))
    dq, dk, dv = gradients(zeroed(do_BQHC))
    spoiled_BQH = _spoiled(problem, q_BQHC, k_BSGC, v_BSGC) | ~whole_rows(do_BQHC)[..., 0]
    of_group_BQG = spoiled_BQH.reshape(*spoiled_BQH.shape[:2], problem.kv_heads, problem.group).any(axis=3)
    spoiled_BSG = _any_seen(of_group_BQG, problem.seen().T)
    dk, dv = (jnp.where(spoiled_BSG[..., None], jnp.nan, x) for x in (dk, dv))
    return jnp.where(spoiled_BQH[..., None], jnp.nan, dq), dk, dv, None


def _attention(problem: Problem, q_BQHC: jax.Array, k_BSGC: jax.Array, v_BSGC: jax.Array) -> jax.Array:
    window = None if problem.window is None else (problem.window - 1, 0 if problem.causal else problem.window - 1)
    return jax.nn.dot_product_attention(
        q_BQHC,
        k_BSGC,
        v_BSGC,
        scale=problem.scale,
        is_causal=problem.causal,
        local_window_size=window,
        implementation=LIBRARY,
    )


def _spoiled(problem: Problem, q_BQHC: jax.Array, k_BSGC: jax.Array, v_BSGC: jax.Array) -> jax.Array:
    """Returns (B, Q, H) bool: which queries are not finite, or see a key or value that is not."""
    missing_BSG = ~(whole_rows(k_BSGC) & whole_rows(v_BSGC))[..., 0]
    of_keys_BQG = _any_seen(missing_BSG, problem.seen())
    return ~whole_rows(q_BQHC)[..., 0] | jnp.repeat(of_keys_BQG, problem.group, axis=2)


def _any_seen(x_BSG: jax.Array, seen_QS: np.ndarray) -> jax.Array:
    """Returns whether x is true at any position that a query sees; these positions are contiguous."""
    first, last = seen_QS.argmax(axis=1), seen_QS.shape[1] - 1 - seen_QS[:, ::-1].argmax(axis=1)
    sums = jnp.pad(jnp.cumsum(x_BSG.astype(jnp.int32), axis=1), ((0, 0), (1, 0), (0, 0)))
    return sums[:, last + 1] > sums[:, first]
