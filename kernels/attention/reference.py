"""Attention in plain JAX: the definition against which every kernel is tested, and the version that XLA compiles.

A query's output depends only on the keys that it sees, and a key's gradients only on the queries that see it, even if
other numbers are not finite. A sum that contains 0 * nan is nan, so a weight of zero is not enough. If a query is not
finite, or sees a key or a value that is not, all of its output is nan.

Shape letters: see problem.py; N heads of queries that share a head of keys.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp

from jaxgen.kernels.attention.problem import Problem, Segments, spoiled, whole_rows, zeroed


def reference(
    problem: Problem,
    q_BQHC: jax.Array,
    k_BSGC: jax.Array,
    v_BSGC: jax.Array,
    segments: Segments | None = None,
    bias_BHQS: jax.Array | None = None,
) -> tuple[jax.Array, jax.Array]:
    """Returns softmax(softcap(scale q k + bias)) v (B, Q, H, C), and the logarithm of the sum (B, H, Q), in float32.

    The softmax is over the keys that a query sees: `Problem.seen`, in its own segment, with a score above -inf. A query
    that sees none gets zeros, and -inf. Each pair of a query and a key has its own copies of their numbers, with zeros
    if the query does not see the key. This takes Q S C numbers a head, and has derivatives of any kind and order.
    """
    exact = _wide(q_BQHC)
    seen_BHQS = _seen(problem, segments, bias_BHQS)
    q_BQHC, k_BSGC = spoiled(q_BQHC, k_BSGC, v_BSGC)

    def pairs(x: jax.Array, axis: int, repeats: int) -> jax.Array:
        x_BHRC = jnp.repeat(x.astype(exact), repeats, axis=2).swapaxes(1, 2)
        x_BHQSC = jnp.expand_dims(x_BHRC, axis)
        return x_BHQSC if seen_BHQS is None else jnp.where(seen_BHQS[..., None], x_BHQSC, 0)

    q, k, v = pairs(q_BQHC, 3, 1), pairs(k_BSGC, 2, problem.group), pairs(v_BSGC, 2, problem.group)
    p_BHQS, lse_BHQ = _softmax(problem, jnp.sum(q * k, axis=-1), seen_BHQS, bias_BHQS)
    o_BHQC = jnp.sum(p_BHQS[..., None] * v, axis=3)
    return o_BHQC.swapaxes(1, 2).astype(q_BQHC.dtype), lse_BHQ


def plain(
    problem: Problem,
    q_BQHC: jax.Array,
    k_BSGC: jax.Array,
    v_BSGC: jax.Array,
    segments: Segments | None = None,
    bias_BHQS: jax.Array | None = None,
) -> tuple[jax.Array, jax.Array]:
    """The same by matrix products in the inputs' dtype; scores and softmax are at least float32.

    It has reverse gradients of any order.
    """
    batch, queries = q_BQHC.shape[:2]
    by_head = (batch, problem.heads, queries, problem.length)
    by_group = (batch, problem.kv_heads, problem.group, queries, problem.length)
    q_BQHC, k_BSGC = spoiled(q_BQHC, k_BSGC, v_BSGC)
    q_BQGNC = q_BQHC.reshape(batch, queries, problem.kv_heads, problem.group, problem.width)
    seen_BHQS = _seen(problem, segments, bias_BHQS)
    seen_BGNQS = None if seen_BHQS is None else jnp.broadcast_to(seen_BHQS, by_head).reshape(by_group)
    products_BGNQS = _pair_products("bqgnc,bsgc->bgnqs", q_BQGNC, k_BSGC, seen_BGNQS)
    p_BHQS, lse_BHQ = _softmax(problem, products_BGNQS.reshape(by_head), seen_BHQS, bias_BHQS)
    p_BGNQS = p_BHQS.astype(v_BSGC.dtype).reshape(by_group)
    return _sums("bgnqs,bsgc->bqgnc", p_BGNQS, v_BSGC, seen_BGNQS).reshape(q_BQHC.shape), lse_BHQ


def _seen(problem: Problem, segments: Segments | None, bias_BHQS: jax.Array | None) -> jax.Array | None:
    """Returns which keys a query sees (B or 1, H or 1, Q, S); None: all."""
    static_QS = problem.seen()
    if static_QS.all() and segments is None and bias_BHQS is None:
        return None
    seen = jnp.asarray(static_QS)[None, None]
    if segments is not None:
        seen = seen & (segments[0][:, None, :, None] == segments[1][:, None, None])
    if bias_BHQS is not None:
        seen = seen & (bias_BHQS != -jnp.inf)
    return seen


def _softmax(
    problem: Problem, products_BHQS: jax.Array, seen_BHQS: jax.Array | None, bias_BHQS: jax.Array | None
) -> tuple[jax.Array, jax.Array]:
    """Returns the weights of keys (B, H, Q, S), and the logarithm of their sum of exponentials (B, H, Q)."""
    wide = products_BHQS.dtype
    lowest = float(jnp.finfo(wide).min)
    scores = products_BHQS * problem.scale
    if bias_BHQS is not None:
        scores += jnp.broadcast_to(bias_BHQS.astype(wide), scores.shape)
    if problem.softcap is not None:
        scores = problem.softcap * jnp.tanh(scores / problem.softcap)
    if seen_BHQS is not None:
        scores = jnp.where(seen_BHQS, scores, lowest)
    most = jax.lax.stop_gradient(jnp.max(scores, axis=-1, keepdims=True, initial=lowest))
    p = jnp.exp(scores - most)
    if seen_BHQS is not None:
        p = jnp.where(seen_BHQS, p, 0)
    total = jnp.sum(p, axis=-1, keepdims=True)
    some = jnp.where(total == 0, 1, total)
    lse = jnp.where(total == 0, -jnp.inf, most + jnp.log(some))
    return p / some, lse[..., 0]


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _pair_products(spec: str, x: jax.Array, y: jax.Array, seen: jax.Array | None) -> jax.Array:
    """Returns the products of queries and keys, at least in float32, with zeros for hidden pairs."""
    found = jnp.einsum(spec, x, y, preferred_element_type=_wide(x))
    return found if seen is None else jnp.where(seen, found, 0)


def _pair_products_forward(spec: str, x: jax.Array, y: jax.Array, seen: jax.Array | None) -> tuple[jax.Array, tuple]:
    return _pair_products(spec, x, y, seen), (x, y, seen)


def _pair_products_backward(spec: str, kept: tuple, d: jax.Array) -> tuple[jax.Array, jax.Array, None]:
    x, y, seen = kept
    (of_x, of_y), of_pairs = _letters(spec)
    d = d.astype(x.dtype)
    return _sums(f"{of_pairs},{of_y}->{of_x}", d, y, seen), _sums(f"{of_pairs},{of_x}->{of_y}", d, x, seen), None


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _sums(spec: str, p: jax.Array, x: jax.Array, seen: jax.Array | None) -> jax.Array:
    """Returns sums of x over visible pairs, weighted by p.

    A number that is not finite is replaced by zero in x, and the weights of all pairs that see it are set to nan.
    """
    if seen is not None:
        (of_pairs, of_x), _ = _letters(spec)
        order = sorted(of_x[:-1], key=of_pairs.index)
        there = whole_rows(x)[..., 0].transpose([of_x.index(letter) for letter in order])
        there = there.reshape([n if letter in order else 1 for n, letter in zip(p.shape, of_pairs, strict=True)])
        p, x = jnp.where(seen, jnp.where(there, p, jnp.nan), 0), zeroed(x)
    return jnp.einsum(spec, p, x)


def _sums_forward(spec: str, p: jax.Array, x: jax.Array, seen: jax.Array | None) -> tuple[jax.Array, tuple]:
    return _sums(spec, p, x, seen), (p, x, seen)


def _sums_backward(spec: str, kept: tuple, d: jax.Array) -> tuple[jax.Array, jax.Array, None]:
    p, x, seen = kept
    (of_pairs, of_x), of_sums = _letters(spec)
    dp = _pair_products(f"{of_sums},{of_x}->{of_pairs}", d, x, seen).astype(p.dtype)
    return dp, _sums(f"{of_pairs},{of_sums}->{of_x}", p, d, seen), None


_pair_products.defvjp(_pair_products_forward, _pair_products_backward)
_sums.defvjp(_sums_forward, _sums_backward)


def _letters(spec: str) -> tuple[list[str], str]:
    factors, _, found = spec.partition("->")
    return factors.split(","), found


def _wide(x: jax.Array) -> jnp.dtype:
    return x.dtype if x.dtype.itemsize >= 4 else jnp.dtype(jnp.float32)
