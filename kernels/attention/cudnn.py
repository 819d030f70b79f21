"""Attention by cuDNN, through jax.nn: the interface of a kernel.

The gradient runs the forward pass once more: what cuDNN keeps of it is jax's own affair, and folding a population
into the batch (dispatch.py) needs all that is kept to lie by example. Shape letters: see problem.py.
"""

from __future__ import annotations

import jax

from jaxgen.kernels.attention.problem import Problem


def forward(
    problem: Problem,
    q_BQHC: jax.Array,
    k_BSGC: jax.Array,
    v_BSGC: jax.Array,
    segment_ids_BS: None,
    *,
    interpret: bool = False,
) -> tuple[jax.Array, None]:
    """Returns the output (B, Q, H, C), and nothing that the gradient needs beside the inputs."""
    window = None if problem.window is None else (problem.window - 1, 0 if problem.causal else problem.window - 1)
    o_BQHC = jax.nn.dot_product_attention(
        q_BQHC,
        k_BSGC,
        v_BSGC,
        scale=problem.scale,
        is_causal=problem.causal,
        local_window_size=window,
        implementation="cudnn",
    )
    return o_BQHC, None


def backward(
    problem: Problem,
    q_BQHC: jax.Array,
    k_BSGC: jax.Array,
    v_BSGC: jax.Array,
    segment_ids_BS: None,
    o_BQHC: jax.Array,
    residual: None,
    do_BQHC: jax.Array,
    *,
    interpret: bool = False,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Returns the gradients of queries, keys and values."""
    _, gradients = jax.vjp(lambda q, k, v: forward(problem, q, k, v, None)[0], q_BQHC, k_BSGC, v_BSGC)
    dq, dk, dv = gradients(do_BQHC)
    return dq, dk, dv
