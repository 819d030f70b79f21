"""Attention where peers' test grids and public reports look: each case is right, or refused by its name.

The right values are loops over examples, heads and queries in float64. Peers' grids: the attention tests of tokamax,
those of `jax.nn.dot_product_attention`, and those of JAX's own Pallas attention.
"""

from __future__ import annotations

import functools
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.kernels.attention import Interpreter, Unsupported, attention, cudnn
from jaxgen.kernels.attention.gpu_products import HAS_INTERPRETER

TOKAMAX = "https://github.com/openxla/tokamax/blob/main/tokamax/_src/ops/attention/test_base.py"
JAX_NN = "https://github.com/jax-ml/jax/blob/main/tests/nn_test.py"
JAX_PALLAS = "https://github.com/jax-ml/jax/blob/main/tests/pallas/tpu_ops_test.py"

Case = dict[str, Any]
# How far from float64 a result of a type may be, of numbers about 1.
CLOSE = {"float32": 2e-5, "bfloat16": 5e-2, "float16": 6e-3}
NAMES = ("o", "lse", "dq", "dk", "dv", "dbias")
TPU, GPU = Interpreter("tpu"), Interpreter("gpu")


def seen_by(case: Case) -> np.ndarray:
    """Returns (B, Q, S) bool: which keys a query sees, biases aside."""
    batch, queries, length = case["batch"], case["queries"], case["length"]
    at = np.array(case.get("q_positions", range(queries)))[:, None]
    away = at - np.arange(length)
    seen = np.broadcast_to((away >= 0) | (not case["causal"]), (batch, queries, length)).copy()
    seen &= np.abs(away) < case.get("window", length + queries)
    if "segment_ids" in case:
        ids = case["segment_ids"]
        q_ids, k_ids = ids if isinstance(ids, tuple) else (ids[:, at[:, 0]], ids)
        seen &= q_ids[:, :, None] == k_ids[:, None]
    for name, axis in (("q_lengths", 1), ("kv_lengths", 2)):
        if name in case:
            index = np.expand_dims(np.arange(seen.shape[axis]), (0, 3 - axis))
            seen &= index < case[name][:, None, None]
    return seen


def arrays_of(case: Case) -> list[np.ndarray]:
    """Returns q, k, v, the gradients of output and logarithm, and the bias if there is one, as the type has them."""
    random = np.random.default_rng(0)
    batch, queries, length, heads, kv_heads, width = (
        case[n] for n in ("batch", "queries", "length", "heads", "kv_heads", "width")
    )
    of_queries, of_keys = (batch, queries, heads, width), (batch, length, kv_heads, width)
    shapes = [of_queries, of_keys, of_keys, of_queries, (batch, heads, queries)]
    shapes += [case["bias"]] if "bias" in case else []
    arrays = [np.asarray(jnp.asarray(random.normal(size=shape), case["dtype"]), np.float64) for shape in shapes]
    if "bias" in case:
        # Hidden by the bias: some keys from all, and all keys from one query.
        arrays[-1][..., :2] = -np.inf
        arrays[-1][:, :, -1] = -np.inf
    return arrays


def by_hand(case: Case, q, k, v, do, dlse, bias=None) -> tuple[np.ndarray, ...]:
    """Returns output, logarithms and gradients."""
    batch, queries, heads, width = q.shape
    group, scale = heads // k.shape[2], case.get("scale", width**-0.5)
    cap = case.get("softcap")
    o, dq, dk, dv = (np.zeros_like(x) for x in (q, q, k, v))
    lse = np.full((batch, heads, queries), -np.inf)
    whole = (
        np.zeros((batch, heads, queries, k.shape[1]))
        if bias is None
        else np.broadcast_to(bias, (batch, heads, queries, k.shape[1]))
    )
    dwhole = np.zeros(whole.shape)
    for b, h, i in np.ndindex(batch, heads, queries):
        see = seen_by(case)[b, i] & (whole[b, h, i] > -np.inf)
        if not see.any():
            continue
        keys, values = k[b, see, h // group], v[b, see, h // group]
        raw = scale * keys @ q[b, i, h] + whole[b, h, i, see]
        scores = raw if cap is None else cap * np.tanh(raw / cap)
        lse[b, h, i] = np.logaddexp.reduce(scores)
        p = np.exp(scores - lse[b, h, i])
        o[b, i, h] = p @ values
        ds = p * (values @ do[b, i, h] - o[b, i, h] @ do[b, i, h] + dlse[b, h, i])
        ds = ds if cap is None else ds * (1 - (scores / cap) ** 2)
        dwhole[b, h, i, see] = ds
        dq[b, i, h] = scale * ds @ keys
        dk[b, see, h // group] += scale * ds[:, None] * q[b, i, h]
        dv[b, see, h // group] += p[:, None] * do[b, i, h]
    if bias is None:
        return o, lse, dq, dk, dv
    alike = tuple(i for i in range(4) if bias.shape[i] == 1)
    return o, lse, dq, dk, dv, dwhole.sum(axis=alike, keepdims=True)


def runner(case: Case, **how: Any) -> Any:
    """Returns the compiled function of `arrays_of` that gives what `by_hand` does."""
    named = {name: case[name] for name in ("causal", "window", "scale", "softcap", "q_positions") if name in case}
    for name in ("segment_ids", "q_lengths", "kv_lengths"):
        if name in case:
            named[name] = jax.tree.map(jnp.asarray, case[name])
    with_lse = case.get("with_lse", True)

    @jax.jit
    def run(q: Any, k: Any, v: Any, do: Any, dlse: Any, *bias: Any) -> Any:
        def function(q: Any, k: Any, v: Any, *bias: Any) -> Any:
            extra = {"bias": bias[0]} if bias else {}
            return attention(q, k, v, with_lse=with_lse, **extra, **named, **how)

        found, gradients = jax.vjp(function, q, k, v, *bias)
        o, lse = found if with_lse else (found, None)
        return (o, lse, *gradients((do, jnp.where(lse == -jnp.inf, 0, dlse.astype(lse.dtype))) if with_lse else do))

    return lambda arrays: run(*(jnp.asarray(x, case["dtype"]) for x in arrays))


def check(case: Case, **how: Any) -> None:
    arrays = arrays_of(case)
    if not case.get("with_lse", True):
        arrays[4] = np.zeros_like(arrays[4])
    found = runner(case, **how)(arrays)
    for name, got, want in zip(NAMES, found, by_hand(case, *arrays), strict=False):
        if got is None:
            continue
        got = np.asarray(got, np.float64)
        assert got.shape == want.shape, name
        np.testing.assert_array_equal(np.isfinite(got), np.isfinite(want), err_msg=name)
        far = np.abs(np.where(np.isfinite(want), got, 0) - np.where(np.isfinite(want), want, 0)).max(initial=0)
        assert far <= CLOSE[case["dtype"]] * max(1, np.abs(want[np.isfinite(want)]).max(initial=0)), (
            f"{name} is off by {far}"
        )


PLAIN: Case = {
    "batch": 2,
    "queries": 6,
    "length": 6,
    "heads": 2,
    "kv_heads": 2,
    "width": 8,
    "dtype": "float32",
    "causal": False,
}
IDS = np.array([[0, 0, 1, 1, 1, -7], [3, 3, 3, 3, 3, 3]], np.int32)
LENGTHS = {"q_lengths": np.array([4, 6], np.int32), "kv_lengths": np.array([2, 5], np.int32)}

GRID = {
    "self attention": (TOKAMAX, {}),
    "bfloat16, causal": (TOKAMAX, {"dtype": "bfloat16", "causal": True}),
    "float16, a local window": (TOKAMAX, {"dtype": "float16", "causal": True, "window": 2}),
    "more keys than queries, a soft cap": (TOKAMAX, {"queries": 3, "softcap": 0.5, "scale": 2.0}),
    "more queries than keys, one head of keys": (TOKAMAX, {"queries": 9, "heads": 3, "kv_heads": 1}),
    "grouped heads of an odd width": (TOKAMAX, {"heads": 4, "width": 5, "causal": True}),
    "a bias of every example": (TOKAMAX, {"bias": (2, 1, 6, 6)}),
    "a bias that all share, a soft cap": (TOKAMAX, {"bias": (1, 2, 6, 6), "softcap": 1.5}),
    "queries at some positions": (TOKAMAX, {"queries": 2, "q_positions": (1, 4), "window": 3}),
    "lengths under causality": (JAX_NN, {"causal": True, **LENGTHS}),
    "lengths of keys alone": ("jax-ml/jax#23349", {"kv_lengths": LENGTHS["kv_lengths"]}),
    "an example without keys": ("pytorch/pytorch#41508", {"kv_lengths": np.array([0, 6], np.int32)}),
    "segments": (JAX_PALLAS, {"segment_ids": IDS, "causal": True}),
    "segments of queries and of keys": (JAX_PALLAS, {"queries": 3, "segment_ids": (IDS[:, 1:4], IDS)}),
    "no key of a query's segment": ("pytorch/pytorch#103749", {"segment_ids": (IDS + 1, IDS)}),
}


def reported(cases: dict[str, Any]) -> list[Any]:
    return [pytest.param(case, id=name, marks=pytest.mark.report(where)) for name, (where, case) in cases.items()]


@pytest.mark.parametrize("changes", reported(GRID))
def test_values_and_gradients_of_the_grid(changes: Case) -> None:
    check(PLAIN | changes, implementation="xla")


EVERYTHING = {
    "heads": 4, "causal": True, "window": 4, "softcap": 2.0, **LENGTHS,
    "segment_ids": (IDS % 2, np.roll(IDS, 1, axis=1) % 2),
}  # fmt: skip


@pytest.mark.report(TOKAMAX)
@pytest.mark.parametrize("implementation", ["xla", "reference"])
def test_all_at_once(implementation: str) -> None:
    check(PLAIN | EVERYTHING | {"bias": (2, 4, 6, 6)}, implementation=implementation)


@pytest.mark.report(TOKAMAX)
@pytest.mark.parametrize(
    "changes",
    [
        pytest.param(EVERYTHING | {"with_lse": False, "bias": (1, 4, 6, 6)}, id="short"),
        pytest.param(EVERYTHING, id="long"),
        pytest.param({"queries": 9, "with_lse": False, "dtype": "bfloat16"}, id="short, cross attention"),
    ],
)
def test_all_at_once_by_the_kernels_of_tpus(changes: Case) -> None:
    check(PLAIN | changes, implementation="pallas", device=TPU)


needs_interpreter = pytest.mark.skipif(not HAS_INTERPRETER, reason="this jax has no interpreter of Mosaic GPU")
OF_GPU = {"width": 16, "heads": 2, "kv_heads": 1, "dtype": "bfloat16"}


@needs_interpreter
@pytest.mark.report(TOKAMAX)
def test_all_at_once_by_the_short_kernel_of_gpus() -> None:
    check(PLAIN | EVERYTHING | OF_GPU | {"with_lse": False}, implementation="pallas", device=GPU)


# Axes of size zero.


@pytest.mark.report(TOKAMAX)
@pytest.mark.parametrize("axis", ["batch", "queries", "length", "heads", "width"])
@pytest.mark.parametrize("implementation", ["reference", "pallas"])
def test_an_empty_axis(axis: str, implementation: str) -> None:
    """No key: zeros, and -inf. No width: all keys count alike. Otherwise there is nothing to be wrong."""
    sizes = {name: PLAIN[name] for name in ("batch", "queries", "length", "heads", "width")} | {axis: 0}
    q = jnp.ones((sizes["batch"], sizes["queries"], sizes["heads"], sizes["width"]), jnp.float32)
    k = jnp.ones((sizes["batch"], sizes["length"], sizes["heads"], sizes["width"]), jnp.float32)

    @jax.jit
    def run(q: Any, k: Any) -> Any:
        how = {"causal": False, "with_lse": True, "implementation": implementation, "device": TPU}
        found, gradients = jax.vjp(lambda q, k: attention(q, k, k, **how), q, k)
        return *found, *gradients(jax.tree.map(jnp.ones_like, found))

    o, lse, dq, dk = run(q, k)
    np.testing.assert_array_equal(o, np.zeros(q.shape))
    wanted = {"length": -np.inf, "width": np.log(6)}.get(axis, 0.0)
    np.testing.assert_allclose(lse, np.full((q.shape[0], q.shape[2], q.shape[1]), wanted, np.float32), rtol=1e-6)
    assert (dq.shape, dk.shape) == (q.shape, k.shape)
    assert not dq.any()


# What is refused.


H200 = Interpreter("gpu", "NVIDIA H200", "9.0")
REFUSED = {
    "a bias of every example": (TOKAMAX, ({"bias": (2, 2, 6, 6)}, "pallas", TPU, "tpu_short: it has no bias of each")),
    "a bias on a GPU": (TOKAMAX, ({"bias": (1, 2, 6, 6)}, "pallas", H200, "gpu_flash: ")),
    "a bias and logarithms": (
        TOKAMAX,
        ({"bias": (1, 2, 6, 6), "with_lse": True}, "pallas", TPU, "tpu_flash: it has no"),
    ),
    "heads of 5": (TOKAMAX, ({"width": 5}, "pallas", TPU, "heads are 5 wide")),
    "lengths": (JAX_NN, (LENGTHS, "cudnn", H200, "cudnn: it has no lengths")),
    "a soft cap": (TOKAMAX, ({"softcap": 1.0}, "cudnn", H200, "cudnn: it has no softcap")),
    "logarithms": (JAX_NN, ({"with_lse": True}, "cudnn", H200, "cudnn: it has no lse")),
}


@pytest.mark.parametrize("refused", reported(REFUSED))
def test_what_a_kernel_has_not_is_refused_by_name_and_left_to_xla_by_auto(refused: Any) -> None:
    changes, implementation, device, said = refused
    case = PLAIN | {"with_lse": False, "dtype": "bfloat16"} | changes
    arrays = arrays_of(case)
    with pytest.raises(Unsupported, match=re.escape(said)):
        jax.eval_shape(runner(case, implementation=implementation, device=device), arrays)
    jax.eval_shape(runner(case, implementation="auto", device=device), arrays)


@pytest.mark.report(TOKAMAX)
def test_causality_without_positions_for_queries_of_another_number_is_refused() -> None:
    """Peers align the first query with the first key, or the last with the last: here the caller says which."""
    case = PLAIN | {"queries": 3, "causal": True}
    with pytest.raises(
        ValueError, match="need q_positions, their positions, because causality and windows depend on them"
    ):
        jax.eval_shape(runner(case, implementation="xla"), arrays_of(case))


# Numbers that are not finite.

BADLY: Case = PLAIN | {
    "batch": 4, "heads": 4, "width": 16, "causal": True, "window": 4,
    "segment_ids": (np.tile(IDS, (2, 1)) % 3 % 2, np.tile(IDS, (2, 1)) % 2),
    "q_lengths": np.array([6, 4, 6, 0], np.int32), "kv_lengths": np.array([6, 6, 3, 6], np.int32),
}  # fmt: skip
BAD = (np.nan, np.inf, -np.inf, float(np.finfo(np.float32).max))


def spoil(
    arrays: list[np.ndarray], random: np.random.Generator
) -> tuple[list[np.ndarray], list[np.ndarray], list[np.ndarray]]:
    """Returns q, k, v and do with numbers of `BAD`, and where (B, positions, heads) each has some, or no number."""
    spoiled, bad, infinite = [x.copy() for x in arrays], [], []
    for x in spoiled[:4]:
        here = random.random(x.shape[:3]) < 0.06
        x[here, random.integers(x.shape[3])] = random.choice(BAD, size=here.sum())
        bad.append(here)
        infinite.append(~np.isfinite(x.astype(np.float32)).all(axis=-1))
    return spoiled, bad, infinite


def reached(case: Case, where: list[np.ndarray]) -> list[np.ndarray]:
    """Returns which rows of the output, and of the gradients of q, k and v, those at `where` reach."""
    bad_q, bad_k, bad_v, bad_do = where
    group = case["heads"] // case["kv_heads"]
    seen = seen_by(case)
    from_keys = np.einsum("bqs,bsg->bqg", seen, bad_k | bad_v).astype(bool)
    o = (bad_q & seen.any(axis=2)[..., None]) | np.repeat(from_keys, group, axis=2)
    dq = o | (bad_do & seen.any(axis=2)[..., None])
    of_group = dq.reshape(*dq.shape[:2], case["kv_heads"], group).any(axis=3)
    return [o, dq, *[np.einsum("bqs,bqg->bsg", seen, of_group).astype(bool)] * 2]


def check_isolation(case: Case, run: Any) -> None:
    """What nothing bad reaches keeps its bits, and what something infinite or nan reaches is not finite."""
    arrays = arrays_of(case)
    clean = [np.asarray(x, np.float64) for x in run(arrays)]
    random = np.random.default_rng(3)
    for _ in range(6):
        spoiled, bad, infinite = spoil(arrays, random)
        dirty = [np.asarray(x, np.float64) for x in run(spoiled)]
        pairs = zip(reached(case, bad), reached(case, infinite), strict=True)
        for name, was, now, (may, must) in zip(("o", "dq", "dk", "dv"), clean, dirty, pairs, strict=True):
            assert must.any()
            assert not may.all()
            np.testing.assert_array_equal(now[~may], was[~may], err_msg=name)
            assert not np.isfinite(now[must]).any(), name


def outcome(case: Case, with_lse: bool = False, **how: Any) -> Any:
    """Returns the function of `arrays_of` that gives the output and the gradients of q, k and v."""
    run = runner(case | {"with_lse": with_lse}, **how)

    def chosen(arrays: list[np.ndarray]) -> list[Any]:
        o, _, *gradients = run([*arrays[:4], np.zeros_like(arrays[4])])
        return [o, *gradients]

    return chosen


@pytest.mark.report("pytorch/pytorch#101967")
def test_xla_keeps_what_is_hidden_from_what_is_seen() -> None:
    check_isolation(BADLY, outcome(BADLY, implementation="xla"))


@pytest.mark.report("pytorch/pytorch#101967")
def test_the_definition_keeps_what_is_hidden_from_what_is_seen() -> None:
    """In it a bad gradient of one column of the output stays in that column of the values' gradient."""
    run = outcome(BADLY, implementation="reference")

    def of_rows(arrays: list[np.ndarray]) -> list[Any]:
        *found, dv = (np.asarray(x, np.float64) for x in run(arrays))
        return [*found, np.where(np.isfinite(dv).all(axis=-1, keepdims=True), dv, np.nan)]

    check_isolation(BADLY, of_rows)


@pytest.mark.report("pytorch/pytorch#101967")
def test_the_short_kernel_of_tpus_keeps_what_is_hidden_from_what_is_seen() -> None:
    check_isolation(BADLY, outcome(BADLY, implementation="pallas", device=TPU))


@pytest.mark.report("pytorch/pytorch#101967")
def test_the_long_kernel_of_tpus_keeps_what_is_hidden_from_what_is_seen() -> None:
    check_isolation(BADLY, outcome(BADLY, with_lse=True, implementation="pallas", device=TPU))


@needs_interpreter
@pytest.mark.report("pytorch/pytorch#101967")
def test_the_short_kernel_of_gpus_keeps_what_is_hidden_from_what_is_seen() -> None:
    case = BADLY | {"heads": 2, "kv_heads": 1, "dtype": "bfloat16"}
    check_isolation(case, outcome(case, implementation="pallas", device=GPU))


@pytest.mark.report("pytorch/pytorch#101967")
@pytest.mark.parametrize("causal", [True, False])
def test_cudnn_is_kept_from_what_is_hidden(causal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """With jax.nn's own attention in its place, which multiplies hidden values by zero as cuDNN may do."""
    monkeypatch.setattr(cudnn, "LIBRARY", "xla")
    case = PLAIN | {"batch": 4, "heads": 4, "width": 16, "dtype": "bfloat16", "causal": causal, "window": 3}
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        check_isolation(case, outcome(case, implementation="cudnn", device=H200))


@pytest.mark.report("pytorch/pytorch#101967")
@pytest.mark.parametrize("implementation", ["xla", "pallas"])
def test_a_member_that_is_not_finite_stays_alone(implementation: str) -> None:
    """In a population under vmap, whose members share the tiles of a kernel."""
    case = PLAIN | {"causal": True, "width": 16}
    arrays = [jnp.asarray(np.stack([x, 2 * x, 3 * x]), jnp.float32) for x in arrays_of(case)[:4]]

    @jax.jit
    @jax.vmap
    def run(q: Any, k: Any, v: Any, do: Any) -> Any:
        o, gradients = jax.vjp(
            functools.partial(attention, causal=True, implementation=implementation, device=TPU), q, k, v
        )
        return o, *gradients(do)

    clean = run(*arrays)
    for i in range(4):
        dirty = run(*(x.at[1].set(jnp.nan) if i == j else x for j, x in enumerate(arrays)))
        for was, now in zip(clean, dirty, strict=True):
            np.testing.assert_array_equal(now[::2], was[::2])
            assert i == 3 or np.isnan(now[1]).all() or was is clean[3]
