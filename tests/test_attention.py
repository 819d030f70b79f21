"""Attention kernels, interpreted: values and gradients against the definition in float64, and how they compose."""

from __future__ import annotations

import dataclasses
import functools
import importlib.util
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from jax.experimental import pallas as pl

from jaxgen.condition import Condition, Trajectory
from jaxgen.distributed.mesh import MeshSizes
from jaxgen.kernels.attention import Interpreter, Problem, Unsupported, attention, choose
from jaxgen.kernels.attention.blocks import Blocks
from jaxgen.kernels.attention.capability import KERNELS
from jaxgen.kernels.attention.gpu_products import HAS_INTERPRETER
from jaxgen.kernels.attention.packing import pack
from jaxgen.kernels.attention.ranges import key_blocks, query_blocks
from jaxgen.models.config import TransformerConfig
from jaxgen.optimizers import SGD
from jaxgen.plan.compile import plan
from jaxgen.plan.topology import read_topology
from jaxgen.tasks.algebra.modular import ModularTask

TPU, GPU = Interpreter("tpu"), Interpreter("gpu")
# How far from float64 a result of a type may be, of numbers about 1.
CLOSE = {"float32": 2e-5, "bfloat16": 5e-2, "float16": 6e-3}


def draw(seed: int, batch: int, queries: int, length: int, heads: int, kv_heads: int, width: int) -> list[np.ndarray]:
    """Returns q, k, v and the gradient of the output."""
    random = np.random.default_rng(seed)
    of_keys = (batch, length, kv_heads, width)
    return [
        random.normal(size=s)
        for s in ((batch, queries, heads, width), of_keys, of_keys, (batch, queries, heads, width))
    ]


def by_hand(q, k, v, do, *, causal, window=None, segment_ids=None, q_positions=None, scale=None):
    """Returns output and gradients in float64 by loops over examples and heads: another formulation than jax's."""
    batch, _, heads, width = q.shape
    length, group = k.shape[1], heads // k.shape[2]
    scale = width**-0.5 if scale is None else scale
    positions = range(length) if q_positions is None else q_positions
    o, dq, dk, dv = (np.zeros_like(x) for x in (q, q, k, v))
    for b in range(batch):
        for h in range(heads):
            for i, at in enumerate(positions):
                see = [
                    s
                    for s in range(length)
                    if (s <= at or not causal)
                    and (window is None or abs(s - at) < window)
                    and (segment_ids is None or segment_ids[b, s] == segment_ids[b, at])
                ]
                keys, values = k[b, see, h // group], v[b, see, h // group]
                p = np.exp(scale * keys @ q[b, i, h])
                p /= p.sum()
                o[b, i, h] = p @ values
                ds = p * (values @ do[b, i, h] - o[b, i, h] @ do[b, i, h]) * scale
                dq[b, i, h] = ds @ keys
                dk[b, see, h // group] += ds[:, None] * q[b, i, h]
                dv[b, see, h // group] += p[:, None] * do[b, i, h]
    return o, dq, dk, dv


def outcome(q, k, v, do, dtype: str, **how: Any) -> list[np.ndarray]:
    """Returns output and gradients of `attention`, as float64."""

    @jax.jit
    def run(q: Any, k: Any, v: Any, do: Any) -> Any:
        o, gradients = jax.vjp(functools.partial(attention, **how), q, k, v)
        return o, *gradients(do)

    return [np.asarray(x, np.float64) for x in run(*(jnp.asarray(x, dtype) for x in (q, k, v, do)))]


@st.composite
def problems(draw_: Any, longest: int, widths: tuple[int, ...] = (16, 24, 64)) -> dict[str, Any]:
    length = draw_(st.integers(1, longest))
    kv_heads = draw_(st.sampled_from((1, 2)))
    positions = draw_(st.sampled_from((None, "last", "some")))
    return {
        "seed": draw_(st.integers(0, 99)),
        "batch": draw_(st.integers(1, 5)),
        "length": length,
        "heads": kv_heads * draw_(st.sampled_from((1, 2))),
        "kv_heads": kv_heads,
        "width": draw_(st.sampled_from(widths)),
        "dtype": draw_(st.sampled_from(("float32", "bfloat16", "float16"))),
        "causal": draw_(st.booleans()),
        "window": draw_(st.none() | st.integers(1, length)),
        "segments": draw_(st.booleans()),
        "q_positions": {
            None: None,
            "last": (length - 1,),
            "some": tuple(range(draw_(st.integers(0, length - 1)), length, draw_(st.integers(1, 3)))),
        }[positions],
    }


def check(problem: dict[str, Any], **how: Any) -> None:
    seed, batch, length = problem["seed"], problem["batch"], problem["length"]
    positions = problem["q_positions"]
    sizes = (batch, length if positions is None else len(positions), length, problem["heads"], problem["kv_heads"])
    dtype = problem["dtype"]
    # Both begin with the numbers as the type has them.
    arrays = [np.asarray(jnp.asarray(x, dtype), np.float64) for x in draw(seed, *sizes, problem["width"])]
    mask = {"causal": problem["causal"], "window": problem["window"], "q_positions": positions}
    if problem["segments"]:
        mask["segment_ids"] = np.random.default_rng(seed).integers(-1, 2, (batch, length)).astype(np.int32)
    wanted = by_hand(*arrays, **mask)
    if problem["segments"]:
        mask["segment_ids"] = jnp.asarray(mask["segment_ids"])
    for name, got, want in zip(["o", "dq", "dk", "dv"], outcome(*arrays, dtype, **mask, **how), wanted, strict=True):
        assert np.isfinite(got).all(), f"{name} has places that were never written"
        far = np.abs(got - want).max() / max(1, np.abs(want).max())
        assert far < CLOSE[dtype], f"{name} is off by {far}"


HARD = {
    "seed": 0, "batch": 4, "length": 7, "heads": 4, "kv_heads": 2, "width": 24, "dtype": "float32", "causal": True,
    "window": 3, "segments": True, "q_positions": None,
}  # fmt: skip


@settings(max_examples=3)
@given(problem=problems(64))
@example(problem=HARD)
def test_xla_is_the_definition(problem: dict[str, Any]) -> None:
    check(problem, implementation="xla")
    if problem["dtype"] == "float32":
        check(problem, implementation="reference")


@settings(max_examples=4)
@given(problem=problems(64))
@example(problem=HARD)
@example(problem=HARD | {"length": 33, "batch": 5, "q_positions": (32,), "window": None})
@example(problem=HARD | {"length": 64, "batch": 3, "dtype": "bfloat16"})
def test_the_short_kernel_of_tpus(problem: dict[str, Any]) -> None:
    check(problem, implementation="pallas", device=TPU)


@settings(max_examples=3)
@given(problem=problems(300).filter(lambda problem: problem["length"] > 64))
@example(problem=HARD | {"length": 300, "batch": 1})
def test_the_flash_kernel_of_tpus(problem: dict[str, Any]) -> None:
    check(problem, implementation="pallas", device=TPU)


SMALL = HARD | {"length": 5, "heads": 2, "width": 16, "batch": 3, "dtype": "bfloat16"}
needs_interpreter = pytest.mark.skipif(not HAS_INTERPRETER, reason="this jax has no interpreter of Mosaic GPU")


@needs_interpreter
@pytest.mark.parametrize(
    "how",
    [
        {},
        {"segments": False, "q_positions": (1, 4), "dtype": "float16"},
        {"length": 33},
        {"length": 64, "dtype": "float32"},
    ],
)
def test_the_short_kernel_of_gpus(how: dict[str, Any]) -> None:
    """With a plain product in the place of wgmma; accesses that nothing orders are errors."""
    check(SMALL | how, implementation="pallas", device=GPU)


@needs_interpreter
@pytest.mark.parametrize("how", [{}, {"segments": False, "window": None, "kv_heads": 2, "dtype": "float32"}])
def test_the_flash_kernel_of_gpus(how: dict[str, Any]) -> None:
    check(SMALL | {"length": 140, "window": 40, "batch": 1} | how, implementation="pallas", device=GPU)


@pytest.mark.skipif(HAS_INTERPRETER, reason="this jax has an interpreter of Mosaic GPU")
def test_without_an_interpreter_of_gpus_that_is_said() -> None:
    with pytest.raises(Unsupported, match="has no interpreter of Mosaic GPU"):
        check(SMALL, implementation="pallas", device=GPU)


def test_an_unwritten_place_would_show() -> None:
    """What an interpreted kernel does not write is nan, so the finite numbers above were all written."""

    def half(o_ref: Any) -> None:
        o_ref[:4] = jnp.zeros((4, 128))

    found = pl.pallas_call(half, out_shape=jax.ShapeDtypeStruct((8, 128), jnp.float32), interpret=True)()
    assert np.isnan(found[4:]).all()
    assert not np.isnan(found[:4]).any()


def test_gradients_agree_with_finite_differences() -> None:
    *inputs, do = (jnp.asarray(x, jnp.float32) for x in draw(1, 2, 6, 6, 2, 1, 16))
    run = jax.jit(functools.partial(attention, causal=True, implementation="pallas", device=TPU))
    gradients = jax.grad(lambda inputs: jnp.sum(run(*inputs) * do))(inputs)
    random = np.random.default_rng(2)
    for i, x in enumerate(inputs):
        direction = jnp.asarray(random.normal(size=x.shape), jnp.float32)
        there, back = (run(*inputs[:i], x + jnp.float32(step) * direction, *inputs[i + 1 :]) for step in (0.01, -0.01))
        difference = np.sum(np.asarray(there - back, np.float64) * np.asarray(do)) / 0.02
        assert difference == pytest.approx(float(jnp.sum(gradients[i] * direction)), rel=2e-3, abs=2e-3)


@pytest.mark.long
def test_it_composes() -> None:
    """A population under vmap, within scan, remat, jit and shard_map, gives what members alone give."""
    members, batch = 2, 4
    arrays = [
        jnp.asarray(np.stack([draw(m, batch, 5, 5, 2, 1, 16)[i] for m in range(members)]), jnp.float32)
        for i in range(3)
    ]
    ids = jnp.asarray(np.random.default_rng(0).integers(0, 2, (batch, 5)), jnp.int32)

    def loss(q: Any, k: Any, v: Any, ids: Any, **how: Any) -> Any:
        def layer(x: Any, _: None) -> Any:
            return x + attention(x, k, v, causal=True, segment_ids=ids, **how), None

        return jnp.sum(jax.lax.scan(jax.checkpoint(layer), q, length=2)[0] ** 2)

    def gradients(*arrays: Any, **how: Any) -> Any:
        one = jax.grad(functools.partial(loss, **how), argnums=(0, 1, 2))
        return jax.vmap(one, in_axes=(0, 0, 0, None))(*arrays)

    kernel = {"implementation": "pallas", "device": TPU}
    mesh = jax.make_mesh((2, 2), ("member", "data"), axis_types=(jax.sharding.AxisType.Auto,) * 2)
    parts = jax.sharding.PartitionSpec("member", "data")
    spread = jax.shard_map(
        functools.partial(gradients, **kernel),
        mesh=mesh,
        in_specs=(parts, parts, parts, jax.sharding.PartitionSpec("data")),
        out_specs=parts,
        check_vma=False,
    )
    wanted = jax.jit(functools.partial(gradients, implementation="xla"))(*arrays, ids)
    for got in (jax.jit(functools.partial(gradients, **kernel))(*arrays, ids), jax.jit(spread)(*arrays, ids)):
        for g, w in zip(got, wanted, strict=True):
            np.testing.assert_allclose(g, w, rtol=2e-4, atol=2e-4)


def problem(**changes: Any) -> Problem:
    plain = {
        "positions": tuple(range(8)), "length": 8, "heads": 4, "kv_heads": 2, "width": 64, "dtype": "bfloat16",
        "causal": True, "window": None, "segments": False, "bias": False, "scale": 1.0,
    }  # fmt: skip
    return Problem(**plain | changes)


CPU = jax.devices("cpu")[0]
H200 = Interpreter("gpu", "NVIDIA H200", "9.0")


@pytest.mark.parametrize(
    ("of", "asked", "device", "said"),
    [
        ({}, "pallas", CPU, "tpu_short: it runs on a tpu, the device is a cpu"),
        ({"bias": True}, "pallas", TPU, "it has no bias: its gradient"),
        ({"width": 512}, "pallas", TPU, "heads are 512 wide, expected 8 to 256 and a multiple of 8"),
        ({"dtype": "float32"}, "cudnn", H200, "it has no float32, only bfloat16, float16"),
        ({"dtype": "float32", "width": 256}, "pallas", H200, "gpu_flash: 2 heads of float32, 256 wide, that share"),
        ({}, "pallas", Interpreter("gpu", "NVIDIA B200", "10.0"), "compute capability 9.x, NVIDIA B200 has 10.x"),
        ({"segments": True}, "cudnn", H200, "cudnn: it has no segment_ids"),
        ({"positions": (7,)}, "cudnn", H200, "cudnn: it has no q_positions"),
    ],
)
def test_what_cannot_be_done_by_name_says_why(of: dict[str, Any], asked: str, device: Any, said: str) -> None:
    with pytest.raises(Unsupported, match=re.escape(said)):
        choose(problem(**of), asked, device)
    taken = choose(problem(**of), "auto", device)
    assert taken.taken == "xla"
    assert taken.why


def test_lengths_go_to_the_kernel_made_for_them() -> None:
    for device, platform in ((TPU, "tpu"), (H200, "gpu")):
        assert choose(problem(), "pallas", device).kernel == f"{platform}_short"
        long = problem(length=65, positions=tuple(range(65)))
        assert choose(long, "pallas", device).kernel == f"{platform}_flash"
    # Three heads of 256 that share keys do not fit into the shared memory of the short kernel.
    assert choose(problem(width=256, heads=6), "pallas", H200).kernel == "gpu_flash"


def test_auto_takes_only_what_was_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = choose(problem(), "auto", H200)
    assert taken.taken == "xla"
    assert "gpu_short: it was never measured on a NVIDIA H200; ask for pallas by name" in taken.why
    measured = [dataclasses.replace(kernel, run_on=("NVIDIA H200",)) for kernel in KERNELS]
    monkeypatch.setattr("jaxgen.kernels.attention.capability.KERNELS", tuple(measured))
    assert choose(problem(), "auto", H200).kernel == "gpu_short"


@pytest.mark.parametrize(
    ("shapes", "how", "said"),
    [
        (((2, 4, 3, 16), (2, 4, 2, 16)), {}, "heads of q a multiple of those of k"),
        (((2, 1, 2, 16), (2, 4, 2, 16)), {}, "1 queries of 4 positions need q_positions"),
        (((2, 2, 2, 16), (2, 4, 2, 16)), {"q_positions": (3, 1)}, "expected 2 rising numbers from 0 to 3"),
        (((2, 4, 2, 16), (2, 4, 2, 16)), {"window": 0}, "a position sees itself"),
        (((2, 4, 2, 16), (2, 4, 2, 16)), {"segment_ids": jnp.zeros((2, 3), jnp.int32)}, r"expected (2, 4)"),
        (((2, 4, 2, 16), (2, 4, 2, 16)), {"bias": jnp.zeros((3, 4))}, "expected (2, 2, 4, 4), or 1 in"),
        (((2, 4, 2, 16), (2, 4, 0, 16)), {}, "heads of q a multiple of those of k"),
        (
            ((2, 2, 2, 16), (2, 4, 2, 16)),
            {"q_positions": (0.5, 3.7)},
            "got q_positions (0.5, 3.7), expected whole numbers",
        ),
        (((2, 4, 2, 16), (2, 4, 2, 16)), {"window": 1.5}, "got window 1.5, expected a whole number, or None"),
        (((2, 4, 2, 16), (2, 4, 2, 16)), {"segment_ids": jnp.zeros((2, 4))}, "segment_ids of float32, expected whole"),
        (
            ((2, 4, 2, 16), (2, 4, 2, 16)),
            {"segment_ids": (jnp.zeros((2, 4), jnp.int32),)},
            "expected a pair, of queries",
        ),
        (((2, 4, 2, 16), (2, 4, 2, 16)), {"kv_lengths": jnp.zeros(3, jnp.int32)}, "got kv_lengths (3,) of int32"),
        (((2, 4, 2, 16), (2, 4, 2, 16)), {"q_lengths": jnp.zeros(2)}, "of float32, expected (2,) whole numbers"),
        (((2, 4, 2, 16), (2, 4, 2, 16)), {"softcap": 0.0}, "got softcap 0.0, expected a number above 0"),
        (
            ((2, 4, 2, 16), (2, 4, 2, 16)),
            {"bias": jnp.zeros((1, 1, 4, 4), bool)},
            "a bias of bool, expected a floating",
        ),
        (
            ((2, 4, 2, 16), (2, 4, 2, 16)),
            {"implementation": "palas"},
            "got implementation 'palas', expected one of auto, xla",
        ),
        (((2, 4, 2, 16), (2, 4, 2, 16)), {"implementation": "palas"}, "did you mean 'pallas'?"),
        (
            ((2, 4, 2, 16), (2, 4, 2, 16)),
            {"implementation": "a b c"},
            "expected one of auto, xla, pallas, cudnn, reference",
        ),
    ],
)
def test_arguments_that_do_not_fit(shapes: Any, how: dict[str, Any], said: str) -> None:
    q, k = (jnp.zeros(shape, jnp.float32) for shape in shapes)
    with pytest.raises(ValueError, match=re.escape(said)):
        attention(q, k, k, causal=True, **how)


@pytest.mark.parametrize("window", [4, 2**31, 2**70, np.int64(9)])
def test_a_window_that_holds_all_keys_is_none(window: Any) -> None:
    q = jnp.zeros((2, 4, 2, 16), jnp.float32)
    made = jax.make_jaxpr(functools.partial(attention, causal=True, window=window, implementation="pallas", device=TPU))
    without = jax.make_jaxpr(functools.partial(attention, causal=True, implementation="pallas", device=TPU))
    assert str(made(q, q, q)) == str(without(q, q, q))


def test_positions_may_be_whole_numbers_of_any_kind() -> None:
    q, k = jnp.zeros((1, 2, 1, 16), jnp.float32), jnp.zeros((1, 4, 1, 16), jnp.float32)
    for positions in (np.array([1, 3]), jnp.array([1, 3]), range(1, 4, 2)):
        assert attention(q, k, k, causal=True, q_positions=positions).shape == q.shape


def test_gradients_of_gradients_are_right_or_refused_by_name() -> None:
    q, k, v, _ = (jnp.asarray(x, jnp.float32) for x in draw(0, 1, 4, 4, 2, 1, 16))

    def twice(k: jax.Array, **how: Any) -> jax.Array:
        def once(k: jax.Array) -> jax.Array:
            return jnp.sum(jax.grad(lambda k: jnp.sum(attention(q, k, v, causal=True, **how) ** 2))(k) ** 2)

        return jax.grad(once)(k)

    wanted, got = (jax.jit(functools.partial(twice, implementation=name))(k) for name in ("reference", "xla"))
    np.testing.assert_allclose(got, wanted, rtol=1e-3, atol=1e-3 * np.abs(wanted).max())
    with pytest.raises(Unsupported, match=r"tpu_short has only first-order gradients, .* ask for xla, which has"):
        jax.eval_shape(functools.partial(twice, implementation="pallas", device=TPU), k)


def test_a_bias_is_added() -> None:
    q, k, v, _ = (jnp.asarray(x, jnp.float32) for x in draw(0, 2, 4, 4, 2, 2, 16))
    hidden = jnp.where(jnp.tri(4) == 0, -jnp.inf, 0.0)[None, None]
    np.testing.assert_allclose(
        attention(q, k, v, causal=False, bias=hidden), attention(q, k, v, causal=True), rtol=1e-6, atol=1e-6
    )


@given(queries=st.integers(1, 64), length=st.integers(1, 64), sublanes=st.sampled_from((8, 16)))
def test_packed_sequences_fill_whole_rows_and_see_no_other(queries: int, length: int, sublanes: int) -> None:
    queries = min(queries, length)
    packing = pack(queries, length, sublanes=sublanes, rows=128)
    assert packing.q_rows % sublanes == packing.k_rows % sublanes == 0
    assert max(packing.q_rows, packing.k_rows) <= 256
    assert packing.queries - queries < 8
    assert packing.length - length < 8
    of = problem(positions=tuple(range(length))[-queries:], length=length)
    seen = packing.seen(of)
    assert seen.sum() == packing.sequences * of.seen().sum()
    for row, column in np.argwhere(seen):
        assert row // packing.queries == column // packing.length


@given(
    length=st.integers(1, 2000),
    window=st.none() | st.integers(1, 500),
    causal=st.booleans(),
    step=st.integers(1, 5),
    queries=st.sampled_from((128, 256)),
    keys=st.sampled_from((128, 384)),
)
def test_blocks_that_are_left_out_hold_nothing(
    length: int, window: int | None, causal: bool, step: int, queries: int, keys: int
) -> None:
    of = problem(positions=tuple(range(0, length, step)), length=length, window=window, causal=causal)
    blocks = Blocks(queries, keys)
    query_count, key_count = -(-len(of.positions) // queries), -(-length // keys)
    seen = np.zeros((query_count * queries, key_count * keys), bool)
    seen[: len(of.positions), :length] = of.seen()
    some = seen.reshape(query_count, queries, key_count, keys).any(axis=(1, 3))
    first, last = key_blocks(of, blocks, query_count, key_count)
    of_keys_first, of_keys_last = query_blocks(of, blocks, query_count, key_count)
    for i, j in np.argwhere(some):
        assert first[i] <= j <= last[i]
        assert of_keys_first[j] <= i <= of_keys_last[j]
    for i in range(query_count):
        assert some[i, [first[i], last[i]]].any()


def compiled(device: Any, options: Any, of: tuple[int, ...], dtype: str, more: bool) -> Any:
    """Returns forward and gradient of `of`, (B, Q, S, H, G, C), compiled for a device that is not here.

    With `more`, there is what a kernel of these sizes has beside causality.
    """
    batch, queries, length, heads, kv_heads, width = of
    place = jax.sharding.SingleDeviceSharding(device)
    q, k = (
        jax.ShapeDtypeStruct(shape, dtype, sharding=place)
        for shape in ((batch, queries, heads, width), (batch, length, kv_heads, width))
    )
    how: dict[str, Any] = {"causal": True, "q_positions": range(length - queries, length), "device": device}
    extra = {}
    if more:
        how |= {"softcap": 20.0, "with_lse": length > 64}
        ids = [jax.ShapeDtypeStruct((batch, each), jnp.int32, sharding=place) for each in (queries, length)]
        extra = {"segment_ids": tuple(ids), "kv_lengths": jax.ShapeDtypeStruct((batch,), jnp.int32, sharding=place)}
        if length <= 64 and device.platform == "tpu":
            extra["bias"] = jax.ShapeDtypeStruct((1, heads, queries, length), jnp.float32, sharding=place)

    def run(q: Any, k: Any, v: Any, extra: Any) -> Any:
        bias = {"bias": extra["bias"]} if "bias" in extra else {}
        others = {name: x for name, x in extra.items() if name != "bias"}

        def function(q: Any, k: Any, v: Any, bias: Any) -> Any:
            return attention(q, k, v, implementation="pallas", **bias, **others, **how)

        found, gradients = jax.vjp(function, q, k, v, bias)
        return found, gradients(jax.tree.map(jnp.ones_like, found))

    return jax.jit(run).lower(q, k, k, extra).compile(compiler_options=dict(options))


TRANSFORMER = TransformerConfig(layers=2, width=32, heads=4, mlp_width=16)


def population(model: TransformerConfig, count: int) -> list[Trajectory]:
    condition = Condition(
        name="transformer",
        task=ModularTask(p=7, format="a b =", train_fraction=0.5),
        model=model,
        optimizer=SGD(learning_rate=0.1),
        steps=10,
        batch_size=8,
    )
    return [Trajectory(condition, seed, str(seed)) for seed in range(count)]


needs_libtpu = pytest.mark.skipif(
    importlib.util.find_spec("libtpu") is None, reason="libtpu is not installed: make compile-tpu"
)


@needs_libtpu
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("topology", ["v5e:2x2", "v5p:2x2x1", "v6e:2x2", "tpu7x:2x2x1"])
@pytest.mark.parametrize(
    ("of", "more"),
    [
        ((512, 5, 5, 4, 4, 32), False),
        ((300, 1, 64, 4, 2, 64), True),
        ((2, 1000, 1000, 4, 2, 128), True),
        ((1, 2048, 2048, 2, 2, 256), False),
    ],
)
def test_kernels_compile_for_tpus(topology: str, of: tuple[int, ...], more: bool, dtype: str) -> None:
    assert topology.partition(":")[0] in KERNELS[0].compiled_for
    made = compiled(read_topology(topology).devices[0], {}, of, dtype, more)
    assert made.as_text().count("tpu_custom_call") >= 2


@needs_libtpu
def test_a_step_of_a_model_with_kernels_compiles_for_tpus() -> None:
    topology = read_topology("v5e:2x4")
    model = dataclasses.replace(TRANSFORMER, attention="pallas")
    found = plan(population(model, 4), topology, MeshSizes(member=2, data=2, tensor=2))
    assert found.fits


needs_cuda = pytest.mark.skipif(
    importlib.util.find_spec("jax_cuda13_plugin") is None, reason="no CUDA plugin: make compile-cuda"
)


@needs_cuda
@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
@pytest.mark.parametrize(
    ("of", "more"),
    [
        ((512, 5, 5, 4, 4, 32), False),
        ((300, 1, 64, 4, 2, 64), True),
        ((2, 1000, 1000, 4, 2, 64), True),
        ((1, 2048, 2048, 2, 2, 80), False),
    ],
)
def test_kernels_compile_for_a_gpu(of: tuple[int, ...], more: bool, dtype: str) -> None:
    topology = read_topology("h200:1")
    made = compiled(topology.devices[0], topology.compiler_options, of, dtype, more)
    assert made.as_text().count("mosaic_gpu") >= 2


@needs_cuda
@pytest.mark.parametrize("width", [128, 256])
def test_wide_heads_compile_for_a_gpu(width: int) -> None:
    topology = read_topology("h200:1")
    of = (1, 300, 300, 4, 2, width)
    assert "mosaic_gpu" in compiled(topology.devices[0], topology.compiler_options, of, "bfloat16", True).as_text()


@needs_cuda
def test_cudnn_compiles_for_a_population() -> None:
    topology = read_topology("h200:1")
    device = topology.devices[0]
    place = jax.sharding.SingleDeviceSharding(device)
    x = jax.ShapeDtypeStruct((3, 2, 128, 4, 64), jnp.bfloat16, sharding=place)

    def loss(q: Any, k: Any, v: Any) -> Any:
        return jnp.sum(attention(q, k, v, causal=True, implementation="cudnn", device=device).astype(jnp.float32))

    gradients = jax.jit(jax.vmap(jax.grad(loss, argnums=(0, 1, 2))))
    made = gradients.lower(x, x, x).compile(compiler_options=dict(topology.compiler_options))
    assert "cudnn" in made.as_text()


@needs_cuda
def test_a_step_of_a_model_with_kernels_compiles_for_a_gpu() -> None:
    topology = read_topology("h200:4")
    model = dataclasses.replace(TRANSFORMER, attention="pallas", width=64)
    found = plan(population(model, 4), topology, MeshSizes(member=2, data=2))
    assert found.fits
