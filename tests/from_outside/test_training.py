"""What one member, weight, example or environment does, and what it must not do to another."""

import contextlib
import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.condition import Condition, Every, Stop, Trajectory
from jaxgen.errors import UserError
from jaxgen.experiment import Experiment, Scale, Typical, at_least
from jaxgen.experiments.grokfast.parts import EMAFilter, MAFilter
from jaxgen.experiments.omnigrok.parts import ConstantNorm
from jaxgen.experiments.power_grok.parts import AdamWToInit, NoisyAdamW
from jaxgen.ledger.reproduce import Reproduction, reproduce
from jaxgen.ledger.runs import Request, load_run
from jaxgen.measures.config import Accuracy, Loss
from jaxgen.models.config import MLPConfig, TransformerConfig
from jaxgen.optimizers import SGD, AdamW, ClipNorm
from jaxgen.run.arguments import RunArguments, SilentObserver
from jaxgen.starts import First, From, ScaledInit
from jaxgen.streams import Stream, stream_key
from jaxgen.tasks import ModularTask
from jaxgen.tasks.base import TaskShape
from jaxgen.tasks.mixtures.mixture import Mixture, Part
from jaxgen.tasks.strings.sequence import InductionTask
from jaxgen.train.constants import stack_constants
from jaxgen.train.program import Program
from jaxgen.train.state import State

BASE = Condition(
    name="base",
    task=ModularTask(p=13, operation="x+y", format="a b", train_fraction=0.9),
    model=MLPConfig(hidden=(32,)),
    optimizer=AdamW(learning_rate=0.02),
    steps=20,
    measures=(Accuracy(), Loss()),
    measure_at=Every(interval=10),
    seeds=(0,),
)


def reproduced(path: Path, *conditions: Condition, claims=(), extend: int | None = None) -> Reproduction:
    experiment = Experiment(
        name="main", title="", conditions=conditions, scales={"paper": Scale()}, claims=tuple(claims)
    )
    request = Request("paper", "main", "paper", extend=extend)
    return reproduce(experiment, request, path, observer=SilentObserver(), arguments=RunArguments())


def judged_by_loss(condition: str) -> Typical:
    value = lambda table: table.final(condition, "loss/test")  # noqa: E731
    return Typical(name=condition, says="", place="", paper="", expect=at_least(0), value=value)


def advanced(condition: Condition, steps: int, given=None, mask=None) -> tuple[State, State]:
    """Returns the first and the last state of one member."""
    program = Program(condition, "sequential")
    constants = stack_constants([Trajectory(condition, 0, "")], [None])
    stacked = jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], (given, mask))
    constants = constants._replace(mask=stacked[1])
    state = program.init(constants, stacked[0] and {"params": stacked[0]})
    before = jax.tree.map(np.asarray, state)
    after, _ = program.advance(state, constants, np.int32(steps))
    return jax.tree.map(lambda leaf: leaf[0], before), jax.tree.map(lambda leaf: np.asarray(leaf)[0], after)


@pytest.mark.report("hiwonjoon/tf-frrn#2", "HomericIntelligence/Odyssey#5543")
def test_a_child_has_the_running_statistics_of_its_parent(tmp_path: Path) -> None:
    parent = dataclasses.replace(BASE, name="parent", model=MLPConfig(hidden=(32,), batch_norm=True))
    child = dataclasses.replace(parent, name="child", start=From(condition="parent"))
    table = reproduced(tmp_path / "run", parent, child).table.seed(0)
    for key in ("accuracy/train", "loss/train", "loss/test"):
        assert table.at("child", key, 0) == table.at("parent", key, 20)


@pytest.mark.long
@pytest.mark.report("AI-Hypercomputer/maxtext#5285")
@pytest.mark.parametrize(
    "optimizer",
    [
        ClipNorm(max_norm=0.01, base=SGD(learning_rate=1.0)),
        ConstantNorm(base=AdamW(learning_rate=0.05, weight_decay=0.1)),
        EMAFilter(momentum=0.9, gain=2.0, base=AdamW(learning_rate=0.05)),
        ClipNorm(max_norm=0.5, base=MAFilter(window=2, gain=2.0, base=AdamW(learning_rate=0.05))),
        AdamWToInit(learning_rate=0.05, weight_decay=1.0),
    ],
)
def test_a_network_with_pruned_neurons_trains_as_the_one_without_them(optimizer) -> None:
    def network(width: int) -> Condition:
        model = MLPConfig(hidden=(width,), bias=False, init_std=0.3)
        return dataclasses.replace(BASE, model=model, optimizer=optimizer)

    small, trained_small = advanced(network(4), 6)
    padded = jax.tree.map(jnp.asarray, small.params)
    padded["layer_0"]["kernel"] = jnp.pad(padded["layer_0"]["kernel"], ((0, 0), (0, 0), (0, 5)))
    padded["output"]["kernel"] = jnp.pad(padded["output"]["kernel"], ((0, 5), (0, 0)))
    mask = jax.tree.map(jnp.ones_like, padded)
    mask["layer_0"]["kernel"] = mask["layer_0"]["kernel"].at[:, :, 4:].set(0.0)
    # The weights out of the pruned neurons alone: their gradient is not zero, as these neurons are active.
    mask["output"]["kernel"] = mask["output"]["kernel"].at[4:].set(0.0)
    _, trained = advanced(network(9), 6, padded, mask)
    kernel, output = trained.params["layer_0"]["kernel"], trained.params["output"]["kernel"]
    np.testing.assert_allclose(kernel[:, :, :4], trained_small.params["layer_0"]["kernel"], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(output[:4], trained_small.params["output"]["kernel"], rtol=1e-4, atol=1e-5)
    assert not np.any(kernel[:, :, 4:])
    assert not np.any(output[4:])


@pytest.mark.report("AI-Hypercomputer/maxtext#5285")
def test_pruned_weights_count_in_no_norm() -> None:
    # A pruned weight between live neurons has a gradient, however the network is cut.
    optimizer = ClipNorm(max_norm=0.01, base=SGD(learning_rate=1.0))
    condition = dataclasses.replace(BASE, optimizer=optimizer)
    params = jax.tree.map(lambda leaf: leaf[0], Program(condition, "sequential").init(constants_of(condition), None))
    rng = np.random.default_rng(0)
    mask = jax.tree.map(lambda w: jnp.asarray(rng.random(w.shape) < 0.5, jnp.float32), params.params)
    pruned = jax.tree.map(jnp.multiply, params.params, mask)
    _, trained = advanced(condition, 1, pruned, mask)
    moved = jax.tree.map(lambda after, before: after - np.asarray(before), trained.params, pruned)
    assert np.sqrt(sum(np.sum(leaf.astype(np.float64) ** 2) for leaf in jax.tree.leaves(moved))) == pytest.approx(
        0.01, rel=1e-3
    )


def constants_of(condition: Condition):
    return stack_constants([Trajectory(condition, 0, "")], [None])


@pytest.mark.long
@pytest.mark.report("AI-Hypercomputer/maxtext#5285")
def test_pruned_weights_get_no_noise() -> None:
    noisy = NoisyAdamW(learning_rate=0.1, weight_noise=10.0)
    model = MLPConfig(hidden=(8,), activation="square", bias=False)
    condition = dataclasses.replace(BASE, model=model, optimizer=noisy)
    drawn, _ = advanced(condition, 0)
    mask = jax.tree.map(jnp.ones_like, drawn.params)
    mask["layer_0"]["kernel"] = jnp.zeros_like(mask["layer_0"]["kernel"])
    pruned = jax.tree.map(jnp.multiply, drawn.params, mask)
    # Nothing comes through the first layer, so the second has no gradient: not at the noisy weights either.
    _, trained = advanced(condition, 3, pruned, mask)
    np.testing.assert_array_equal(trained.params["output"]["kernel"], pruned["output"]["kernel"])
    shaken = ConstantNorm(base=NoisyAdamW(learning_rate=0.1, update_noise=1.0))
    _, held = advanced(dataclasses.replace(condition, optimizer=shaken), 3, pruned, mask)
    assert np.linalg.norm(held.params["output"]["kernel"]) == pytest.approx(
        np.linalg.norm(pruned["output"]["kernel"]), rel=1e-5
    )


@pytest.mark.report("facebookresearch/habitat-lab#2226")
def test_a_last_update_to_where_the_loss_is_not_finite_has_failed(tmp_path: Path) -> None:
    wild = dataclasses.replace(BASE, name="wild", optimizer=SGD(learning_rate=1e30), steps=1, seeds=(0, 1))
    done = reproduced(tmp_path / "run", wild, claims=[judged_by_loss("wild")])
    assert [verdict.outcome for verdict in done.verdicts] == ["inconclusive"]
    assert any("numbers that are not finite at step 1" in note for note in done.notes)
    for member in load_run(tmp_path / "run").members:
        # The step to 1e28 is a number; the loss there is none.
        assert member.directory.status()["members"][member.index] == {"step": 1, "state": "failed"}


@pytest.mark.report("facebookresearch/habitat-lab#2226")
def test_an_update_to_infinity_is_not_taken() -> None:
    beyond = EMAFilter(momentum=0.0, gain=1e6, base=SGD(learning_rate=3e38))
    before, after = advanced(dataclasses.replace(BASE, optimizer=beyond), 3)
    assert (after.failed, after.active, after.step) == (True, False, 0)
    jax.tree.map(np.testing.assert_array_equal, after.params, before.params)


@pytest.mark.report("facebookresearch/habitat-lab#2226")
def test_an_optimizer_s_state_that_is_not_finite_is_not_kept() -> None:
    # The loss and Adam's step are finite; the square of the gradient is not.
    start = ScaledInit(factor=1e10)
    condition = dataclasses.replace(BASE, loss="mse", start=start, model=MLPConfig(hidden=(8,), bias=False))
    before, after = advanced(condition, 2)
    assert (after.failed, after.active, after.step) == (True, False, 0)
    jax.tree.map(np.testing.assert_array_equal, after.params, jax.tree.map(lambda leaf: leaf, before.params))
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(after.opt_state))


@pytest.mark.report("facebookresearch/habitat-lab#2226")
def test_a_start_that_is_not_finite_has_failed() -> None:
    drawn, _ = advanced(BASE, 0)
    broken = jax.tree.map(lambda leaf: np.full_like(leaf, np.nan), drawn.params)
    first, last = advanced(BASE, 2, broken)
    assert (first.failed, first.active, last.step) == (True, False, 0)


@pytest.mark.long
@pytest.mark.report("vllm-project/speculators#898")
def test_an_extended_run_stops_where_the_longer_run_stops(tmp_path: Path) -> None:
    stopping = dataclasses.replace(BASE, steps=60, stop=Stop(split="train", at_least=0.0, patience=3))
    whole = reproduced(tmp_path / "whole", stopping)
    reproduced(tmp_path / "parts", dataclasses.replace(stopping, steps=15))
    extended = reproduced(tmp_path / "parts", dataclasses.replace(stopping, steps=15), extend=60)
    for path in (tmp_path / "whole", tmp_path / "parts"):
        (member,) = load_run(path).members
        assert member.directory.status()["members"] == [{"step": 20, "state": "stopped"}]
    assert extended.table.rows.equals(whole.table.rows)


@pytest.mark.long
@pytest.mark.report("jax-ml/jax#19085", "jax-ml/jax#34497")
def test_what_a_seed_draws_depends_on_no_setting_of_jax() -> None:
    condition = dataclasses.replace(BASE, model=MLPConfig(hidden=(8,), dropout=0.3), batch_size=16)
    usual = jax.tree.leaves(advanced(condition, 3)[1])
    with contextlib.ExitStack() as settings:
        settings.enter_context(jax.default_prng_impl("rbg"))
        settings.enter_context(jax.threefry_partitionable(False))
        settings.enter_context(jax._src.config.random_seed_offset(7))
        for one, other in zip(usual, jax.tree.leaves(advanced(condition, 3)[1]), strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.long
@pytest.mark.report("huggingface/transformers#44146", "PrimeIntellect-ai/prime-rl#864")
def test_every_condition_is_measured_at_its_own_end(tmp_path: Path) -> None:
    short, long = (dataclasses.replace(BASE, name=name, steps=steps) for name, steps in (("short", 25), ("long", 60)))
    child = dataclasses.replace(short, name="child", start=From(condition="short"))
    alone = reproduced(tmp_path / "alone", short, child).table.seed(0)
    both = reproduced(tmp_path / "both", short, long, child).table.seed(0)
    for condition in ("short", "child"):
        assert both.values(condition, "loss/test").to_dict() == alone.values(condition, "loss/test").to_dict()
    assert list(both.values("short", "loss/test").index) == [0, 10, 20, 25]
    assert list(both.values("long", "loss/test").index) == [0, 10, 20, 30, 40, 50, 60]


@pytest.mark.report("AakashKumarNain/TF_JAX_tutorials#4")
def test_no_two_draws_of_a_run_have_one_key() -> None:
    assert len(Stream.__members__) == len(set(Stream))
    keys = []
    for stream in Stream:
        once = stream_key(5, stream)
        keys += [once, *jax.random.split(once, 20), *(jax.random.fold_in(once, i) for i in range(20, 40))]
        for step in range(20):
            # A step and a leaf of a stream that is drawn from once are one fold of it each.
            if stream is not Stream.TRANSFORM:
                keys += [jax.random.fold_in(stream_key(5, stream, jnp.int32(step)), leaf) for leaf in range(5)]
    assert len({tuple(np.asarray(jax.random.key_data(key)).tolist()) for key in keys}) == len(keys)


PADDED = TaskShape(
    vocabulary=6, length=5, readout=tuple(range(5)), sizes=(("train", 4),), lengths=(("longer", 8),), padding=5
)


@pytest.mark.report("pytorch/pytorch#90534", "tensorflow/tensorflow#1228")
@pytest.mark.parametrize("settings", [{}, {"scan_layers": True}, {"positions": "sinusoidal", "norm": "pre"}])
@pytest.mark.parametrize("count", [2, pytest.param(20, marks=pytest.mark.long)])  # fewer and more examples than words
def test_an_encoder_does_not_see_padding(settings: dict, count: int) -> None:
    config = TransformerConfig(layers=3, width=8, heads=2, mlp_width=8, causal=False, **settings)
    module = config.build(PADDED)
    rng = np.random.default_rng(0)
    words_BS = rng.integers(0, 5, (count, 3), dtype=np.int32)
    given = [np.pad(words_BS, ((0, 0), (0, more)), constant_values=5) for more in (2, 5)]
    variables = module.init(jax.random.key(0), given[0][:1])
    some, many = (module.apply(variables, tokens_BS) for tokens_BS in given)
    np.testing.assert_allclose(some[:, :3], many[:, :3], rtol=1e-5, atol=1e-6)
    without = config.build(dataclasses.replace(PADDED, padding=None))
    assert np.max(np.abs(without.apply(variables, given[0])[:, :3] - some[:, :3])) > 1e-3


@pytest.mark.report("pytorch/pytorch#90534", "tensorflow/tensorflow#1228")
def test_an_encoder_is_refused_padding_that_it_could_not_tell() -> None:
    short = InductionTask(vocabulary=8, context=4, repeat=2, train_examples=None, test_examples=8)
    equal, different = (
        Mixture(of=[Part(name="a", task=short), Part(name="b", task=dataclasses.replace(short, context=n))])
        for n in (4, 6)
    )
    encoder = TransformerConfig(layers=1, width=8, heads=2, mlp_width=8, causal=False)
    assert equal.shape().padding is None
    with pytest.raises(UserError, match="the task pads shorter examples and has no token '<pad>'"):
        encoder.build(different.shape())


@pytest.mark.report("hydra-ecosystem/hydra#2551")
def test_a_seed_whose_parent_never_gets_there_is_censored_alone(tmp_path: Path) -> None:
    parent = dataclasses.replace(BASE, name="parent", seeds=(0, 1, 2))
    best = {
        seed: reproduced(tmp_path / "first", parent).table.seed(seed).max("parent", "accuracy/test", until=19)
        for seed in parent.seeds
    }
    bar = sorted(best.values())[1]
    start = From(condition="parent", at=First(at_least=bar))
    child = dataclasses.replace(parent, name="child", start=start)
    grandchild = dataclasses.replace(parent, name="grandchild", start=From(condition="child"))
    claims = [
        Typical(
            name=name, says="", place="", paper="", expect=at_least(0), value=lambda t, c=name: t.final(c, "loss/test")
        )
        for name in ("parent", "child", "grandchild")
    ]
    done = reproduced(tmp_path / "run", parent, child, grandchild, claims=claims)
    (never,) = [seed for seed, value in best.items() if value < bar] or [None]
    if never is None:
        pytest.skip("the seeds are equally good")
    assert [verdict.outcome for verdict in done.verdicts] == ["reproduced", "inconclusive", "inconclusive"]
    assert "what 'child' starts from never came" in done.verdicts[1].reason
    assert any(f"child, seed {never}: not trained: accuracy/test of 'parent' was never" in note for note in done.notes)
    trained = {(member.condition.name, member.seed) for member in load_run(tmp_path / "run").members}
    assert {(name, seed) for name in ("child", "grandchild") for seed in (0, 1, 2) if seed != never} <= trained
    assert not {("child", never), ("grandchild", never)} & trained
    again = reproduced(tmp_path / "run", parent, child, grandchild, claims=claims)
    assert again.table.rows.equals(done.table.rows)


@dataclasses.dataclass(frozen=True, kw_only=True)
class BrokenTask(ModularTask):
    """Its examples cannot be made."""

    def table(self, seed: int):
        raise RuntimeError("no examples")


@pytest.mark.report("hydra-ecosystem/hydra#2551")
def test_a_condition_that_breaks_ends_itself_alone(tmp_path: Path) -> None:
    task = BrokenTask(p=13, operation="x+y", format="a b", train_fraction=0.9)
    broken = dataclasses.replace(BASE, name="broken", task=task)
    child = dataclasses.replace(BASE, name="child", start=From(condition="broken"))
    other = dataclasses.replace(BASE, name="other", model=MLPConfig(hidden=(8,)))
    done = reproduced(tmp_path / "run", broken, child, other)
    assert [str(failure) for failure in done.failures] == ["no examples"]
    assert set(done.table.conditions()) == {"other"}
    assert done.table.seed(0).values("other", "loss/test").index[-1] == 20
