"""Attention in plain JAX: the definition that every kernel is tested against, and what XLA is given.

Shape letters: see problem.py.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen.kernels.attention.problem import Problem


def reference(
    problem: Problem,
    q_BQHC: jax.Array,
    k_BSGC: jax.Array,
    v_BSGC: jax.Array,
    segment_ids_BS: jax.Array | None = None,
    bias_BHQS: jax.Array | None = None,
) -> jax.Array:
    """Returns softmax(scale q k + bias) v (B, Q, H, C), all of it in float32 (float64 of float64) until the end.

    The softmax is over the keys that a query sees: `Problem.seen`, in its own segment. A bias of -inf hides keys, too,
    as long as it leaves one.
    """
    exact = _wide(q_BQHC)
    with jax.default_matmul_precision("highest"):
        q, k, v = (x.astype(exact) for x in (q_BQHC, k_BSGC, v_BSGC))
        o_BQHC = plain(problem, q, k, v, segment_ids_BS, bias_BHQS)
    return o_BQHC.astype(q_BQHC.dtype)


def plain(
    problem: Problem,
    q_BQHC: jax.Array,
    k_BSGC: jax.Array,
    v_BSGC: jax.Array,
    segment_ids_BS: jax.Array | None = None,
    bias_BHQS: jax.Array | None = None,
) -> jax.Array:
    """The same with products of the inputs' own type; scores and softmax are float32 at least."""
    batch, queries = q_BQHC.shape[:2]
    wide = _wide(q_BQHC)
    q_BQGNC = q_BQHC.reshape(batch, queries, problem.kv_heads, problem.group, problem.width)
    scores_BGNQS = problem.scale * jnp.einsum("bqgnc,bsgc->bgnqs", q_BQGNC, k_BSGC, preferred_element_type=wide)
    scores_BHQS = scores_BGNQS.reshape(batch, problem.heads, queries, problem.length)
    if bias_BHQS is not None:
        scores_BHQS += jnp.broadcast_to(bias_BHQS.astype(wide), scores_BHQS.shape)
    seen = jnp.asarray(problem.seen())[None, None]
    if segment_ids_BS is not None:
        q_ids_BQ = segment_ids_BS[:, np.array(problem.positions)]
        seen = seen & (q_ids_BQ[:, None, :, None] == segment_ids_BS[:, None, None])
    pattern_BHQS = jax.nn.softmax(jnp.where(seen, scores_BHQS, -jnp.inf), axis=-1).astype(v_BSGC.dtype)
    pattern_BGNQS = pattern_BHQS.reshape(scores_BGNQS.shape)
    return jnp.einsum("bgnqs,bsgc->bqgnc", pattern_BGNQS, v_BSGC).reshape(q_BQHC.shape)


def _wide(x: jax.Array) -> jnp.dtype:
    return x.dtype if x.dtype.itemsize >= 4 else jnp.dtype(jnp.float32)
