"""Kinds of positions against a forward pass in numpy that scores every pair of positions by itself, and what they
promise: distances alone, the papers' slopes and buckets, draws."""

import dataclasses
import math
from pathlib import Path
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxgen.condition import Condition, Trajectory
from jaxgen.config import digest, from_json, to_json
from jaxgen.distributed.mesh import MeshSizes
from jaxgen.errors import UserError
from jaxgen.measures.config import Loss
from jaxgen.models import distances
from jaxgen.models.attention import attention_choices
from jaxgen.models.config import TransformerConfig, TwoStreamConfig
from jaxgen.models.decoding import greedy
from jaxgen.models.positions import (
    ALiBi,
    Learned,
    NoPositions,
    Positions,
    Randomised,
    Rotary,
    Shifted,
    Sinusoidal,
    T5Buckets,
    TransformerXL,
)
from jaxgen.optimizers import SGD
from jaxgen.run.arguments import Interrupted, RunArguments, SilentObserver
from jaxgen.run.checkpoint import CheckpointStore
from jaxgen.run.loop import train
from jaxgen.tasks import CountTask
from jaxgen.tasks.base import TaskShape
from jaxgen.train.constants import stack_constants
from jaxgen.train.program import Program
from jaxgen.train.savings import Savings
from tests.test_decoding import TASK, by_hand
from tests.test_models import _quick_compilation  # noqa: F401

VOCABULARY, LENGTH = 11, 6
SHAPE = TaskShape(VOCABULARY, LENGTH, (2, 4, 5), ())
BASE = TransformerConfig(layers=2, width=12, heads=3, mlp_width=0, attention_bias=True)
UNEVEN = (0, 2, 3, 7, 8, 13)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fixed(Positions):
    """Places that a test chooses."""

    saved_as: ClassVar[str] = "tests/Fixed"

    of: Positions
    at: tuple[int, ...]

    def code(self) -> Positions:
        return self.of

    def rows(self, longest: int) -> int:
        return max(self.at) + 1

    def places(self, length: int, examples: int, key: Any = None) -> np.ndarray:
        return np.array(self.at[:length], np.int32)


KINDS: dict[str, Positions] = {
    "learned": Learned(),
    "sinusoidal": Sinusoidal(),
    "rotary": Rotary(base=50.0),
    "alibi": ALiBi(),
    "transformer-xl": TransformerXL(),
    "t5": T5Buckets(buckets=8, furthest=9),
}


def kind(positions: Positions) -> str:
    return type(positions).__name__


def drawn(config: TransformerConfig, shape: TaskShape = SHAPE):
    """The module, and variables drawn with numpy so that none hides behind its initial value."""
    rng, module = np.random.default_rng(3), config.build(shape)
    abstract = jax.eval_shape(module.init, jax.random.key(0), shape.blank())
    return module, jax.tree.map(lambda leaf: jnp.array(rng.normal(0.1, 0.4, leaf.shape), jnp.float32), abstract)


def tokens(batch: int, length: int = LENGTH) -> np.ndarray:
    return np.random.default_rng(7).integers(0, VOCABULARY, (batch, length)).astype(np.int32)


def wave(place: float, width: int) -> np.ndarray:
    return np.array([(math.cos if i % 2 else math.sin)(place / 10000 ** ((i - i % 2) / width)) for i in range(width)])


def bucket(apart: int, count: int, furthest: int, causal: bool) -> int:
    """Raffel et al.: half of a side's buckets are exact, the others logarithmic."""
    first = 0
    if not causal:
        count //= 2
        first = count if apart < 0 else 0
        apart = abs(apart)
    apart, exact = max(apart, 0), count // 2
    if apart < exact:
        return first + apart
    share = math.log(apart / exact) / math.log(furthest / exact)
    return first + min(count - 1, exact + int(share * (count - exact)))


def turn(x: np.ndarray, place: int, base: float) -> np.ndarray:
    """Each pair of entries is a complex number, times e^(i angle)."""
    angles = place / base ** (np.arange(0, len(x), 2) / len(x))
    turned = (x[::2] + 1j * x[1::2]) * np.exp(1j * angles)
    return np.stack([turned.real, turned.imag], -1).reshape(-1)


def plain(config: TransformerConfig, code: Positions, places: tuple[int, ...], params, row: np.ndarray) -> np.ndarray:
    """The logits (S, V) of one example, in float64."""
    p = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)
    x, length = p["embed"]["embedding"][row], len(row)
    size, slopes = config.width // config.heads, [2**-4, 2**-8, 2**-2]  # of ALiBi with 3 heads
    if isinstance(code, Learned):
        x = x + p["positions"]["embedding"][list(places)]
    if isinstance(code, Sinusoidal):
        x = x + np.array([wave(place, config.width) for place in places])

    def apart(i: int, j: int) -> int:
        """The distance of query i and key j, as relative kinds see it."""
        return int(math.copysign(places[abs(i - j)], i - j))

    for layer in range(config.layers):
        a = p[f"block_{layer}"]["attention"]
        q, k, v = (x @ a[name]["kernel"] + a[name]["bias"] for name in ("query", "key", "value"))
        z = np.zeros_like(x)
        for h in range(config.heads):
            part = slice(h * size, (h + 1) * size)
            for i in range(length):
                seen = [j for j in range(length) if j <= i or not config.causal]
                scores = []
                for j in seen:
                    one, other = q[i, part], k[j, part]
                    if isinstance(code, Rotary):
                        one, other = turn(one, places[i], code.base), turn(other, places[j], code.base)
                    if isinstance(code, TransformerXL):
                        r = (wave(apart(i, j), config.width) @ a["distances"]["kernel"])[part]
                        u, w = a["distances"]["content"][part], a["distances"]["distance"][part]
                        score = ((one + u) @ other + (one + w) @ r) / math.sqrt(size)
                    else:
                        score = one @ other / math.sqrt(size)
                    if isinstance(code, ALiBi):
                        score -= slopes[h] * (abs(apart(i, j)) - (0.5 if i > j and not config.causal else 0))
                    if isinstance(code, T5Buckets):
                        kind = bucket(apart(i, j), code.buckets, code.furthest, config.causal)
                        score += a["distances"]["embedding"][kind, h]
                    scores.append(score)
                weights = np.exp(np.array(scores) - max(scores))
                z[i, part] = weights / weights.sum() @ v[seen, part]
        x = x + z @ a["output"]["kernel"] + a["output"]["bias"]
    return x @ p["unembed"]["kernel"]


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("places", [tuple(range(LENGTH)), UNEVEN], ids=["even", "uneven"])
@pytest.mark.parametrize("name", KINDS)
def test_each_kind_is_the_plain_forward(name: str, places: tuple[int, ...], causal: bool) -> None:
    code = KINDS[name]
    config = dataclasses.replace(BASE, causal=causal, positions=code if places != UNEVEN else Fixed(of=code, at=places))
    module, variables = drawn(config)
    # A batch larger than the vocabulary is computed by vocabulary.
    for batch in (3, VOCABULARY + 1):
        rows = tokens(batch)
        logits = np.asarray(jax.jit(module.apply)(variables, rows))
        for got, row in zip(logits, rows[:3], strict=False):
            expected = plain(config, code, places, variables["params"], row)[list(SHAPE.readout)]
            np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "changes", [{"scan_layers": True, "layers": 3}, {"loops": 2}, {}], ids=["scanned", "looped", "recomputed"]
)
@pytest.mark.parametrize(
    "name", [pytest.param(each, marks=pytest.mark.long) if each != "rotary" else each for each in KINDS]
)
def test_scanned_looped_and_recomputed_layers_know_places(name: str, changes: dict) -> None:
    """Each is compared with the layers one after another, of the same parameters."""
    config = dataclasses.replace(BASE, positions=Fixed(of=KINDS[name], at=UNEVEN), **changes)
    _, variables = drawn(config)
    flat = dataclasses.replace(config, scan_layers=False, loops=1, layers=config.layers * config.loops)
    params = dict(variables["params"])
    if config.scan_layers:
        stacked = params.pop("blocks")
        params |= {f"block_{i}": jax.tree.map(lambda leaf, i=i: leaf[i], stacked) for i in range(2)}
    if config.loops > 1:
        params |= {"block_2": params["block_0"], "block_3": params["block_1"]}

    def gradient(module, params):
        return jax.value_and_grad(lambda p: jnp.sum(jnp.sin(module.apply({"params": p}, tokens(4)))))(params)

    got, grads = gradient(config.build(SHAPE, remat=True), variables["params"])
    wanted, expected = gradient(flat.build(SHAPE), params)
    np.testing.assert_allclose(got, wanted, rtol=1e-4)
    for each in ("query", "key"):
        one = grads["blocks" if config.scan_layers else "block_0"]["attention"][each]["kernel"]
        other = expected["block_0"]["attention"][each]["kernel"]
        other = other + expected["block_2"]["attention"][each]["kernel"] if config.loops > 1 else other
        np.testing.assert_allclose(one[0] if config.scan_layers else one, other, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    "positions",
    [
        Rotary(),
        pytest.param(ALiBi(), marks=pytest.mark.long),
        pytest.param(TransformerXL(), marks=pytest.mark.long),
        T5Buckets(buckets=4, furthest=6),
        Randomised(of=Rotary(), up_to=64),
        pytest.param(Randomised(of=TransformerXL(), up_to=64), marks=pytest.mark.long),
        pytest.param(Shifted(up_to=64), marks=pytest.mark.long),
    ],
    ids=lambda each: type(each).__name__ + type(each.code()).__name__,
)
def test_decoding_gives_what_the_whole_sequence_does(positions: Positions) -> None:
    config = dataclasses.replace(BASE, width=16, heads=2, mlp_width=32, init="fan_in", norm="pre", positions=positions)
    module = config.build(TASK.shape())
    variables = module.init(jax.random.key(0), TASK.shape().blank())
    split = TASK.table(0)["train"]
    ours = jax.jit(lambda v, i, t: greedy(module, v, TASK.shape(), i, t))(variables, split.inputs, split.targets)
    np.testing.assert_array_equal(np.asarray(ours), by_hand(module, variables, split.inputs, split.targets))


@given(shift=st.integers(0, 200), base=st.floats(2.0, 1e5), seed=st.integers(0, 99))
def test_rotary_scores_depend_on_the_distance_alone(shift: int, base: float, seed: int) -> None:
    rng, place = np.random.default_rng(seed), np.arange(5, dtype=np.int32)
    q, k = (jnp.asarray(rng.normal(size=(1, 5, 1, 6)), jnp.float32) for _ in range(2))

    def scores(place):
        q_BSHC, k_BSHC = (distances.turned(x, place, 300, base) for x in (q, k))
        return np.asarray(jnp.einsum("bqhc,bshc->bqs", q_BSHC, k_BSHC))

    np.testing.assert_allclose(scores(place), scores(place + np.int32(shift)), rtol=1e-4, atol=1e-4)
    # A turn keeps the length.
    before, after = (
        np.linalg.norm(x, axis=-1) for x in (np.asarray(q), np.asarray(distances.turned(q, place, 9, base)))
    )
    np.testing.assert_allclose(before, after, rtol=1e-5)


@pytest.mark.parametrize("kind", [ALiBi(), TransformerXL(), T5Buckets(buckets=8, furthest=9)], ids=kind)
def test_the_bias_of_relative_kinds_depends_on_the_distance_alone(kind: Positions) -> None:
    """With the same token everywhere, scores are equal along every diagonal."""
    config = dataclasses.replace(BASE, layers=1, causal=False, positions=kind)
    module, variables = drawn(config, dataclasses.replace(SHAPE, readout=tuple(range(LENGTH))))
    from jaxgen.models.taps import capture

    found = capture(module, variables, jnp.full((1, LENGTH), 3, jnp.int32), ["block_0/attention/pattern"])
    scores = np.log(np.asarray(found["block_0/attention/pattern"]))[0]
    for h in range(3):
        # Rows are normalised each by itself, so differences of neighbours are compared.
        steps = np.diff(scores[h], axis=1)
        for offset in range(1 - LENGTH, LENGTH - 1):
            diagonal = np.diagonal(steps, offset)
            np.testing.assert_allclose(diagonal, diagonal[0], atol=1e-4)


def test_slopes_are_those_of_the_paper() -> None:
    np.testing.assert_allclose(distances.slopes(8), [1 / 2**i for i in range(1, 9)])
    np.testing.assert_allclose(distances.slopes(16), [2 ** (-i / 2) for i in range(1, 17)], rtol=1e-6)
    # 12 heads: those of 8, and every other one of 16.
    np.testing.assert_allclose(
        distances.slopes(12), [2.0**-i for i in range(1, 9)] + [2 ** (-i / 2) for i in (1, 3, 5, 7)], rtol=1e-6
    )


@given(half=st.integers(1, 8), more=st.integers(1, 200), causal=st.booleans())
def test_buckets_are_those_of_t5(half: int, more: int, causal: bool) -> None:
    count = 4 * half
    furthest, every = count // 2 + more, np.arange(-300, 301)
    got = distances.buckets(every, count, furthest, causal)
    assert got.tolist() == [bucket(int(apart), count, furthest, causal) for apart in every]
    assert got.min() == 0
    assert got.max() == count - 1


@given(length=st.integers(1, 30), more=st.integers(0, 40), seed=st.integers(0, 1000), relative=st.booleans())
def test_a_draw_is_sorted_without_replacement_and_the_same_for_the_batch(
    length: int, more: int, seed: int, relative: bool
) -> None:
    kind = Randomised(of=ALiBi() if relative else Rotary(), up_to=length + more)
    for key in (None, jax.random.key(seed)):
        place_S = np.asarray(kind.places(length, 7, key))
        assert place_S.shape == (length,)
        assert place_S.dtype == np.int32
        assert (np.diff(place_S) > 0).all()
        assert place_S[0] >= 0
        assert place_S[-1] < length + more
        if relative:
            assert place_S[0] == 0
    assert isinstance(kind.places(length, 7), np.ndarray)  # measured: known when the network is built


def test_every_place_is_drawn_as_often() -> None:
    kind = Randomised(of=Learned(), up_to=12)
    drawn_NS = np.asarray(jax.vmap(lambda key: kind.places(4, 1, key))(jax.random.split(jax.random.key(0), 3000)))
    counts = np.bincount(drawn_NS.ravel(), minlength=12)
    assert abs(counts - 1000).max() < 5 * math.sqrt(1000 * 2 / 3)


def test_a_shift_is_each_examples_own_and_reaches_every_place() -> None:
    kind = Shifted(up_to=9)
    place_BS = np.asarray(kind.places(4, 600, jax.random.key(1)))
    assert (np.diff(place_BS, axis=1) == 1).all()
    assert abs(np.bincount(place_BS[:, 0], minlength=6) - 100).max() < 50
    assert set(place_BS.ravel()) == set(range(9))
    np.testing.assert_array_equal(kind.places(4, 600), np.arange(4))


@pytest.mark.parametrize("positions", [Randomised(of=TransformerXL(), up_to=40), Shifted(up_to=40)], ids=kind)
def test_training_draws_places_from_their_own_key(positions: Positions) -> None:
    config = dataclasses.replace(BASE, positions=positions)
    module, variables = drawn(config)
    rows = np.tile(tokens(2), (8, 1))

    def logits(key: int, rows: np.ndarray) -> np.ndarray:
        rngs = {"dropout": jax.random.key(0), "positions": jax.random.key(key)}
        return np.asarray(module.apply(variables, rows, train=True, rngs=rngs))

    first = logits(0, rows)
    np.testing.assert_array_equal(first, logits(0, rows))
    assert not np.allclose(first, logits(1, rows))
    together = np.allclose(first[:2], first[2:4], atol=1e-5) and np.allclose(first[:2], first[14:], atol=1e-5)
    assert together == isinstance(positions, Randomised)
    measured = np.asarray(module.apply(variables, rows))
    np.testing.assert_array_equal(measured, np.asarray(module.apply(variables, rows)))
    np.testing.assert_allclose(measured[:2], measured[2:4], atol=1e-5)


CONDITION = Condition(
    name="drawn",
    task=CountTask(numbers=12, max_length=5, test_lengths=(7,), test_examples=16),
    model=TransformerConfig(
        layers=1, width=12, heads=2, mlp_width=0, norm="pre", dropout=0.1, positions=Randomised(of=Rotary(), up_to=50)
    ),
    optimizer=SGD(learning_rate=0.1),
    steps=12,
    batch_size=8,
    measures=(Loss(),),
)


class Stopper(SilentObserver):
    """Asks to stop once training has come to a step."""

    def __init__(self, step: int):
        self.step, self.reached = step, -1

    def advanced(self, step, rows):
        self.reached = step

    def stop_requested(self):
        return self.reached >= self.step


def ran(path: Path, observer: SilentObserver | None = None) -> dict[str, np.ndarray]:
    train(
        path, [Trajectory(CONDITION, seed, str(seed)) for seed in range(2)], horizon=12, snapshot_steps=set(),
        starts=[None] * 2, observer=observer or SilentObserver(), arguments=RunArguments(chunk_seconds=1e-9),
    )  # fmt: skip
    store = CheckpointStore(path / "recovery")
    return store.load(store.steps()[-1])


def test_a_run_that_was_cut_draws_the_same_places_after_it_resumes(tmp_path: Path) -> None:
    whole = ran(tmp_path / "whole")
    for step in (2, 7):
        with pytest.raises(Interrupted):
            ran(tmp_path / "cut", Stopper(step))
    for name, leaf in ran(tmp_path / "cut").items():
        np.testing.assert_array_equal(leaf, whole[name], err_msg=name)


def updated(condition: Condition, microbatches: int = 1, mesh: str = "member=1") -> Any:
    program = Program(condition, "vmap", MeshSizes.parse(mesh).build(), Savings(microbatches=microbatches))
    trajectories = [Trajectory(condition, seed, str(seed)) for seed in range(2)]
    constants = program.place(stack_constants(trajectories, [None] * 2))
    state, _ = program.advance(program.init(constants, None), constants, jnp.int32(3))
    return jax.tree.map(np.asarray, state.params)


@pytest.mark.long
@pytest.mark.parametrize("positions", [Randomised(of=TransformerXL(), up_to=50), Shifted(up_to=50)], ids=kind)
def test_a_mesh_trains_as_one_device_does(positions: Positions) -> None:
    condition = dataclasses.replace(
        CONDITION, model=dataclasses.replace(CONDITION.model, dropout=0.0, positions=positions)
    )
    spread, alone = updated(condition, mesh="member=2,data=2,tensor=2"), updated(condition)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), spread, alone)


@pytest.mark.long
def test_microbatches_have_the_places_of_their_batch() -> None:
    still = dataclasses.replace(CONDITION, model=dataclasses.replace(CONDITION.model, dropout=0.0))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), updated(still, 2), updated(still))


@pytest.mark.long
def test_rotary_trains_with_a_kernel() -> None:
    from jaxgen.kernels.attention import Interpreter

    config = dataclasses.replace(BASE, width=32, heads=4, attention="pallas", positions=Rotary())
    plain, model = config.build(SHAPE), config.build(SHAPE, attention_device=Interpreter("tpu"))
    variables = plain.init(jax.random.key(0), tokens(4))

    def loss(variables, module):
        return jnp.sum(module.apply(variables, tokens(4)) ** 2)

    wanted, got = (jax.jit(jax.value_and_grad(loss), static_argnums=1)(variables, each) for each in (plain, model))
    jax.tree.map(lambda g, w: np.testing.assert_allclose(g, w, rtol=2e-4, atol=2e-5), got, wanted)
    assert "pallas_call" in str(jax.make_jaxpr(lambda v: loss(v, model))(variables))


def test_kinds_that_no_kernel_computes_are_told_by_name() -> None:
    with pytest.raises(UserError, match="attention: got pallas, expected xla or auto: ALiBi adds to the scores"):
        dataclasses.replace(BASE, attention="pallas", positions=Randomised(of=ALiBi()))
    told = attention_choices(dataclasses.replace(BASE, attention="auto", positions=ALiBi()), SHAPE, "float32", None)
    assert told["attention"]["last_layer"] == {"taken": "xla", "kernel": None, "why": "ALiBi adds to the scores"}


def test_runs_of_before_keep_settings_and_identity() -> None:
    for word, kind in (("learned", Learned()), ("sinusoidal", Sinusoidal()), ("none", NoPositions())):
        config = dataclasses.replace(BASE, positions=word)
        assert config.positions == kind
        assert to_json(config)["positions"] == word
        assert from_json(to_json(config)) == config
    # As reckoned when positions were words.
    assert digest(BASE) == "00eee4ebf1653f73"
    assert digest(dataclasses.replace(BASE, positions="sinusoidal")) == "3b55f97a182ed5c1"
    other = dataclasses.replace(BASE, positions=Randomised(of=Rotary(base=100.0), up_to=99))
    assert from_json(to_json(other)) == other


def test_mistakes_are_told_with_their_numbers() -> None:
    for positions, message in (
        ("rotray", r"positions: got 'rotray', expected one of .*Rotary.*; did you mean 'Rotary'"),
        ("Randomised", "positions: got 'Randomised', which needs of"),
        ({"kind": "Rotary", "base": 0.0}, "base: got 0.0, expected a number above 0"),
    ):
        with pytest.raises(UserError, match=message):
            dataclasses.replace(BASE, positions=from_json(positions))
    for make, message in (
        (
            lambda: dataclasses.replace(BASE, width=9, positions=Rotary()),
            "heads: got 3 heads that are 3 wide, expected an",
        ),
        (
            lambda: dataclasses.replace(BASE, width=9, positions=TransformerXL()),
            "width: got 9, expected an even number",
        ),
        (lambda: Shifted(of=ALiBi(), up_to=9), "of: got ALiBi, expected Learned or Sinusoidal"),
        (lambda: Shifted(of=Shifted(up_to=9), up_to=9), "of: got Shifted, expected Learned"),
        (lambda: Randomised(of=NoPositions()), "of: got NoPositions, expected a kind of positions that codes places"),
        (lambda: T5Buckets(buckets=6), "buckets: got 6, expected a multiple of 4"),
        (lambda: T5Buckets(buckets=8, furthest=4), "furthest: got 4, expected more than 4"),
        (
            lambda: dataclasses.replace(BASE, positions=Randomised(of=ALiBi(), up_to=5)).build(SHAPE),
            "up_to: got 5, expected at least 6: the longest examples have so many positions",
        ),
        (
            lambda: TwoStreamConfig(
                encoder=dataclasses.replace(BASE, causal=False, positions=Shifted(up_to=9)),
                second=2,
                hidden=4,
                fusion="sum",
            ),
            "encoder.positions: got Shifted, expected a kind that draws nothing",
        ),
    ):
        with pytest.raises(UserError, match=message):
            make()


@pytest.mark.long
def test_encoders_of_two_streams_have_any_plain_kind() -> None:
    config = TwoStreamConfig(
        encoder=dataclasses.replace(BASE, causal=False, positions=Rotary()), second=2, hidden=4, fusion="cross"
    )
    shape = dataclasses.replace(SHAPE, readout=(LENGTH - 1,))
    module = config.build(shape)
    row = tokens(1)
    variables = module.init(jax.random.key(0), row)
    swapped = row[:, [1, 0, 2, 3, 4, 5]]
    assert row[0, 0] != row[0, 1]
    assert not np.allclose(module.apply(variables, row), module.apply(variables, swapped))
