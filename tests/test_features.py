"""Tasks of real features, their models, measures and attacks, against counts, closed forms and plain numpy."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxgen.condition import Condition, Trajectory
from jaxgen.errors import UserError
from jaxgen.experiments.simplicity_bias.measures import part_along
from jaxgen.experiments.simplicity_bias.parts import EnsembleConfig, Perturb
from jaxgen.experiments.xor_benign.parts import LinearFit, TwoLayerConfig
from jaxgen.measures.config import AUC, Accuracy
from jaxgen.measures.evaluation import Evaluation, MemberSnapshots
from jaxgen.measures.scores import area_under_roc
from jaxgen.models.config import MLPConfig
from jaxgen.objectives import Adversarial, Attack
from jaxgen.objectives.attack import strongest
from jaxgen.objectives.losses import cross_entropy
from jaxgen.optimizers import SGD
from jaxgen.tasks import ModularTask, SlabTask, Split, XORClusterTask
from jaxgen.tasks.base import random_normals, random_uniforms
from jaxgen.train.constants import stack_constants
from jaxgen.train.program import Program

XOR = XORClusterTask(train=2000, test=2000, dimensions=6, signal=4.0, label_noise=0.2)
SLABS = SlabTask(train=4000, test=2000, dimensions=4, simple="linear", complex="5-slab", rotate=False)


@pytest.fixture(autouse=True, scope="module")
def _quick_compilation():
    # The many tiny programs here compile twice as fast, and none is timed.
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", before)


# -- tasks


def test_random_numbers_have_their_moments() -> None:
    uniform = random_uniforms((300, 200), seed=1, stream=2)
    assert 0 <= uniform.min() < 1e-3
    assert 0.999 < uniform.max() < 1
    assert uniform.mean() == pytest.approx(0.5, abs=0.01)
    normal = random_normals((300, 201), seed=1, stream=2)
    assert [np.mean(normal**k) for k in (1, 2, 3, 4)] == pytest.approx([0, 1, 0, 3], abs=0.1)
    assert np.mean(normal > 1.0) == pytest.approx(0.1587, abs=0.01)
    assert random_normals((3,), seed=0, stream=0).shape == (3,)


def test_xor_clusters_are_on_the_corners_and_flipped_labels_in_the_training_set_alone() -> None:
    table = XOR.table(seed=3)
    assert {name: split.inputs.shape for name, split in table.items()} == {"train": (2000, 6), "test": (2000, 6)}
    for split in table.values():
        true, axis = split.true_targets[:, 0], 1 - split.true_targets[:, 0]
        means = split.inputs[np.arange(len(true)), axis]
        noise = split.inputs.copy()
        noise[np.arange(len(true)), axis] -= 4.0 * np.sign(means)
        assert noise.mean(axis=0) == pytest.approx(0, abs=0.1)
        assert noise.std(axis=0) == pytest.approx(1, abs=0.1)
        for label in (0, 1):
            assert np.mean((true == label) & (means > 0)) == pytest.approx(0.25, abs=0.04)
        assert np.array_equal(split.targets[:, 0] != true, split.corrupted)
    assert table["train"].corrupted.mean() == pytest.approx(0.2, abs=0.03)
    assert not table["test"].corrupted.any()
    assert table["train"].inputs.dtype == np.float32
    assert table["train"].targets.dtype == np.int32
    assert XOR.corrupts()
    assert not dataclasses.replace(XOR, label_noise=0.0).corrupts()


def number_of_slab(x: np.ndarray, slabs: int, margin: float) -> np.ndarray:
    """Returns the slab of each point counted from the left, from the edges alone; -1 in a gap."""
    width = (2 - 2 * margin * (slabs - 1)) / slabs
    found = np.full(x.shape, -1)
    for i in range(slabs):
        left = -1 + i * (width + 2 * margin)
        found[(x >= left - 1e-6) & (x <= left + width + 1e-6)] = i
    return found


@pytest.mark.parametrize(
    ("block", "weights"),
    [  # of each slab from the left, given its class
        ("3-slab", [1 / 2, 1, 1 / 2]),
        ("5-slab", [1 / 8, 1 / 2, 3 / 4, 1 / 2, 1 / 8]),
        ("7-slab", [1 / 16, 1 / 4, 7 / 16, 1 / 2, 7 / 16, 1 / 4, 1 / 16]),
    ],
)
@pytest.mark.parametrize("margin", [0.03, 0.1])
def test_slabs_alternate_between_the_classes_with_their_weights(block: str, weights: list, margin: float) -> None:
    task = dataclasses.replace(SLABS, simple=block, complex=block, margin=margin)
    split, slabs = task.table(seed=0)["train"], len(weights)
    found = number_of_slab(split.inputs, slabs, margin)
    assert found.min() == 0
    centre = slabs // 2
    assert np.array_equal(np.abs(found - centre) % 2, np.broadcast_to(split.targets, found.shape))
    for i, weight in enumerate(weights):
        of_class = split.targets[:, 0] == abs(i - centre) % 2
        assert np.mean(found[of_class] == i) == pytest.approx(weight, abs=0.02)


def test_a_linear_coordinate_keeps_its_margin_but_for_the_noise() -> None:
    clean = SLABS.table(seed=0)["train"]
    signed = clean.inputs[:, 0] * (2 * clean.targets[:, 0] - 1)
    assert signed.min() >= 0.1 - 1e-6
    assert signed.mean() == pytest.approx(0.55, abs=0.01)
    noisy = dataclasses.replace(SLABS, simple_noise=0.1).table(seed=0)
    inside = [np.abs(noisy[name].inputs[:, 0]) < 0.1 - 1e-6 for name in ("train", "test")]
    assert sum(each.sum() for each in inside) == 600
    tainted = noisy["train"].inputs[inside[0], 0]
    assert tainted.std() == pytest.approx(0.2 / 12**0.5, abs=0.005)
    assert np.mean(np.sign(tainted) > 0) == pytest.approx(0.5, abs=0.1)
    assert noisy["test"].inputs[inside[1], 0].size == pytest.approx(200, abs=40)


def test_coordinates_are_independent_given_the_class() -> None:
    split = SLABS.table(seed=0)["train"]
    for label in (0, 1):
        of_class = split.inputs[split.targets[:, 0] == label]
        for x in (of_class, np.abs(of_class)):
            assert np.abs(np.corrcoef(x.T) - np.eye(4)).max() < 0.1


@given(seed=st.integers(0, 2**31))
def test_randomised_splits_permute_their_coordinates(seed: int) -> None:
    task = dataclasses.replace(SLABS, train=20, test=30)
    table = task.table(seed)
    test, simple, complex_ = (table[name] for name in ("test", "simple_randomised", "complex_randomised"))
    assert np.array_equal(simple.inputs[:, 1:], test.inputs[:, 1:])
    assert np.array_equal(complex_.inputs[:, 0], test.inputs[:, 0])
    assert sorted(simple.inputs[:, 0]) == sorted(test.inputs[:, 0])
    assert sorted(map(tuple, complex_.inputs[:, 1:])) == sorted(map(tuple, test.inputs[:, 1:]))
    for split in (simple, complex_):
        assert np.array_equal(split.true_targets, test.true_targets)
        assert not np.array_equal(split.inputs, test.inputs)


def test_a_rotation_keeps_lengths_and_angles_and_is_one_for_all_splits() -> None:
    straight, turned = SLABS.table(seed=5), dataclasses.replace(SLABS, rotate=True).table(seed=5)
    matrix = np.linalg.lstsq(straight["train"].inputs, turned["train"].inputs, rcond=None)[0]
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(4), atol=1e-5)
    assert np.abs(matrix - np.eye(4)).max() > 0.1
    for name, split in straight.items():
        np.testing.assert_allclose(split.inputs @ matrix, turned[name].inputs, atol=1e-5)
        assert np.array_equal(split.targets, turned[name].targets)


def test_slab_tasks_that_make_no_sense_are_refused() -> None:
    with pytest.raises(UserError, match=r"task.complex: got 'linear'"):
        dataclasses.replace(SLABS, complex="linear")
    with pytest.raises(UserError, match=r"task.simple_noise: needs a 'linear'"):
        dataclasses.replace(SLABS, simple="5-slab", simple_noise=0.1)
    with pytest.raises(UserError, match="'5-slab' have no width"):
        dataclasses.replace(SLABS, margin=0.25)


# -- models


def test_a_two_layer_network_is_its_sum_and_cross_entropy_its_logistic_loss() -> None:
    shape = XOR.shape()
    model = TwoLayerConfig(width=8, init_std=0.5).build(shape)
    x_BD = jax.random.normal(jax.random.key(0), (9, 6))
    variables = model.init(jax.random.key(1), x_BD)
    assert jax.tree.map(jnp.shape, variables) == {"params": {"layer_0": {"kernel": (6, 8)}}}
    kernel = np.asarray(variables["params"]["layer_0"]["kernel"])
    signs = np.repeat([1, -1], 4)
    x_BD = np.asarray(x_BD)
    f = sum(sign / 8**0.5 * np.maximum(x_BD @ column, 0) for sign, column in zip(signs, kernel.T, strict=True))
    logits = jax.jit(model.apply)(variables, x_BD)
    np.testing.assert_allclose(logits[:, 0, 1] - logits[:, 0, 0], f, rtol=1e-5, atol=1e-6)
    y = np.array([1, -1, 1, -1, 1, -1, 1, -1, 1])
    loss = cross_entropy(logits, jnp.asarray((y > 0)[:, None], jnp.int32))
    np.testing.assert_allclose(loss, np.log1p(np.exp(-y * f)), rtol=1e-5)
    with pytest.raises(UserError, match="expected an even number"):
        TwoLayerConfig(width=7, init_std=0.5)
    with pytest.raises(UserError, match="two classes of features"):
        TwoLayerConfig(width=8, init_std=0.5).build(ModularTask(p=5, train_fraction=0.5, format="a b").shape())


CONDITION = Condition(
    name="base",
    task=dataclasses.replace(SLABS, train=64, test=32, rotate=True),
    model=MLPConfig(hidden=(6,)),
    optimizer=SGD(learning_rate=0.3, momentum=0.9, l2=0.01),
    batch_size=16,
    steps=10,
    measures=(Accuracy(), AUC()),
)


def advance(condition: Condition, steps: int, params=None, members: int = 1):
    """Trains `members` members of one seed, from params stacked over them or each from its own draw."""
    program = Program(condition, "sequential")
    constants = stack_constants([Trajectory(condition, 0, "a")] * members, [None] * members)
    state = program.init(constants, params and {"params": params})
    start = jax.tree.map(np.asarray, state.params)
    state, _ = program.advance(state, constants, np.int32(steps))
    return start, state, program, constants


@pytest.mark.long
def test_members_of_an_ensemble_train_as_each_would_alone_and_answer_by_their_mean() -> None:
    plain = dataclasses.replace(CONDITION, batch_size=None)
    ensemble = dataclasses.replace(plain, model=EnsembleConfig(members=2, member=MLPConfig(hidden=(6,))))
    start, state, program, constants = advance(ensemble, 10)
    own = ["member_0", "member_1"]
    assert not np.allclose(start["member_0"]["layer_0"]["kernel"], start["member_1"]["layer_0"]["kernel"])
    params = jax.tree.map(lambda *each: jnp.concatenate(each), *[start[name] for name in own])
    _, alone, single, _ = advance(plain, 10, params, members=2)
    trained = jax.tree.map(lambda *each: jnp.concatenate(each), *[state.params[name] for name in own])
    for one, other in zip(jax.tree.leaves(trained), jax.tree.leaves(alone.params), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)
    x_BD = constants.splits["test"].inputs[0]
    answers = jax.jit(jax.vmap(lambda params: single.module.apply({"params": params}, x_BD)))(alone.params)
    together = jax.jit(program.module.apply)({"params": jax.tree.map(lambda w: w[0], state.params)}, x_BD)
    np.testing.assert_allclose(together, answers.mean(axis=0), rtol=1e-4, atol=1e-4)


# -- measures


@given(
    scores=st.lists(st.integers(-3, 3), min_size=15, max_size=15),
    labels=st.integers(0, 2**15 - 1),
)
def test_auc_is_the_part_of_pairs_in_order(scores: list[int], labels: int) -> None:
    positive = np.array([labels >> i & 1 for i in range(len(scores))], bool)
    positive[:2] = True, False
    pairs = [(a > b) + 0.5 * (a == b) for a in np.array(scores)[positive] for b in np.array(scores)[~positive]]
    area = jax.jit(area_under_roc)(jnp.asarray(scores, jnp.float32), jnp.asarray(positive))
    assert float(area) == pytest.approx(np.mean(pairs), abs=1e-6)


def test_auc_of_two_gaussians_is_that_of_their_distance() -> None:
    drawn = random_normals((100_000,), seed=0, stream=0)
    positive = np.arange(100_000) % 2 == 0
    area = area_under_roc(jnp.asarray(drawn + positive, jnp.float32), jnp.asarray(positive))
    assert float(area) == pytest.approx(0.7602, abs=0.005)  # Phi(1 / sqrt 2)


def evaluation(task, config, seed=0, variables=None, **scale) -> Evaluation:
    table = {name: Split(*map(jnp.asarray, split)) for name, split in task.table(seed).items()}
    module = config.build(task.shape())
    variables = module.init(jax.random.key(seed), table["train"].inputs[:1]) if variables is None else variables
    return Evaluation(
        module=module,
        variables=variables,
        splits=table,
        shape=task.shape(),
        loss=cross_entropy,
        corruption=task.corrupts(),
    )


def test_auc_takes_the_labels_given_of_the_training_set_and_the_true_ones_of_others() -> None:
    kernel = np.zeros((6, 4))
    kernel[:, :] = np.array([[1, -1, 0, 0], [0, 0, 1, -1], *[[0] * 4] * 4])  # |x_1| - |x_2|
    made = evaluation(
        XOR, TwoLayerConfig(width=4, init_std=1.0), variables={"params": {"layer_0": {"kernel": jnp.float32(kernel)}}}
    )
    areas = AUC().values(made)
    assert float(areas["auc/test"]) > 0.99
    assert float(areas["auc/train"]) == pytest.approx(0.8, abs=0.05)
    modular = ModularTask(p=7, train_fraction=0.5, format="a b")
    with pytest.raises(UserError, match="AUC: got 7 classes at 1 positions"):
        dataclasses.replace(CONDITION, task=modular, model=MLPConfig(hidden=(4,)), measures=(AUC(),))


def test_a_linear_fit_is_least_squares_where_the_inputs_are_symmetric() -> None:
    task = XORClusterTask(train=20_000, test=10, dimensions=3, signal=1.0)
    made = evaluation(task, TwoLayerConfig(width=6, init_std=1.0), seed=2)
    x_BD = np.asarray(made.splits["train"].inputs, np.float64)
    logits = np.asarray(made.logits(made.splits["train"].inputs), np.float64)[:, 0]
    f = logits[:, 1] - logits[:, 0]
    design = np.concatenate([x_BD, np.ones((len(f), 1))], axis=1)
    residual = f - design @ np.linalg.lstsq(design, f, rcond=None)[0]
    r2 = float(LinearFit().values(made)["linear_r2/train"])
    assert r2 == pytest.approx(1 - residual.var() / f.var(), abs=0.01)
    assert 0.1 < r2 < 0.99


def test_a_linear_fit_is_perfect_of_a_linear_network_and_refused_of_others() -> None:
    # Of w and -w with opposite signs, ReLU(<w, x>) - ReLU(-<w, x>) is <w, x>.
    kernel = jnp.float32(np.random.default_rng(0).normal(size=(6, 1)) * [[1, -1]])
    made = evaluation(XOR, TwoLayerConfig(width=2, init_std=1.0), variables={"params": {"layer_0": {"kernel": kernel}}})
    assert float(LinearFit().values(made)["linear_r2/test"]) == pytest.approx(1, abs=1e-6)
    with pytest.raises(UserError, match="LinearFit: got MLPConfig"):
        dataclasses.replace(CONDITION, task=XOR, model=MLPConfig(hidden=(4,)), measures=(LinearFit(),))
    plain = evaluation(XOR, MLPConfig(hidden=(4,), bias=False))
    assert 0 < float(LinearFit().values(plain)["linear_r2/test"]) < 1


# -- attacks

BALLS = [("l2", lambda d: np.linalg.norm(d, axis=1)), ("linf", lambda d: np.abs(d).max(axis=1))]


@pytest.mark.parametrize(("norm", "size"), BALLS)
def test_an_attack_on_a_linear_loss_goes_to_the_edge_along_its_weights(norm: str, size) -> None:
    w_BD = np.random.default_rng(0).normal(size=(5, 7)).astype(np.float32) * [[1e-30], [1e-12], [1], [1e6], [0]]
    attack = {"norm": norm, "radius": 0.5, "step_size": 0.2, "steps": 4}
    delta = np.asarray(strongest(lambda d: jnp.sum(d * jnp.float32(w_BD)), jnp.zeros((5, 7)), **attack))
    np.testing.assert_allclose(size(delta), [0.5, 0.5, 0.5, 0.5, 0], rtol=1e-5)
    direction = w_BD / np.linalg.norm(w_BD.astype(np.float64), axis=1, keepdims=True).clip(1e-40)
    expected = direction if norm == "l2" else np.sign(w_BD)
    np.testing.assert_allclose(delta, 0.5 * expected, atol=1e-5)


@settings(max_examples=5)
@given(steps=st.integers(1, 4), step_size=st.floats(0.01, 2), radius=st.floats(0.01, 1))
def test_an_attack_stays_in_its_ball(steps: int, step_size: float, radius: float) -> None:
    x_BD = jnp.float32(np.random.default_rng(1).normal(size=(4, 3)))
    for norm, size in BALLS:
        attack = {"norm": norm, "radius": radius, "step_size": step_size, "steps": steps}
        delta = np.asarray(strongest(lambda d: jnp.sum(jnp.sin(3 * (x_BD + d)) ** 2), jnp.zeros((4, 3)), **attack))
        assert np.all(size(delta) <= min(radius, steps * step_size) * (1 + 1e-5))


def linear_on_the_simple_coordinate(task: SlabTask, seed: int) -> MemberSnapshots:
    """Returns the network whose score is 30 times the simple coordinate in the rotated basis."""
    table = task.table(seed)
    straight = dataclasses.replace(task, rotate=False).table(seed)["train"].inputs
    axis_D = np.linalg.lstsq(straight, table["train"].inputs, rcond=None)[0][0]
    kernel = jnp.float32(30 * axis_D[:, None] * [[1, -1]])
    return MemberSnapshots(
        task=task,
        module=TwoLayerConfig(width=2, init_std=1.0).build(task.shape()),
        variables_by_step={4: {"params": {"layer_0": {"kernel": kernel}}}},
        splits=table,
        loss=cross_entropy,
    )


def test_attacks_on_a_linear_coordinate_move_it_and_take_what_its_margin_allows() -> None:
    snapshots = linear_on_the_simple_coordinate(dataclasses.replace(SLABS, rotate=True), seed=0)
    radii = (0.05, 0.6)
    attacks = tuple(Attack(norm="l2", radius=radius, step_size=radius / 4, steps=8) for radius in radii)
    each = {key: value for _, key, value in Perturb(attacks=attacks, along="simple_randomised").rows(snapshots)}
    shared = {key: value for _, key, value in Perturb(attacks=attacks, universal=True).rows(snapshots)}
    signed = {key: value for _, key, value in Perturb(attacks=attacks, universal=True, signed=True).rows(snapshots)}
    for radius in radii:
        right = min(1.0, (1 - radius) / 0.9)  # the coordinate is uniform between the margin 0.1 and 1
        assert each[f"accuracy.l2.{radius:g}/test"] == pytest.approx(right, abs=0.03)
        assert each[f"along.l2.{radius:g}/simple_randomised"] == pytest.approx(1, abs=1e-3)
        # A shift for all examples fools one class alone.
        assert shared[f"accuracy.l2_universal.{radius:g}/test"] == pytest.approx((1 + right) / 2, abs=0.03)
        # With the sign of each example's class it is the attack of each example.
        assert signed[f"accuracy.l2_signed.{radius:g}/test"] == pytest.approx(each[f"accuracy.l2.{radius:g}/test"])


def test_the_part_along_a_change_is_a_projection() -> None:
    change = np.outer([1.0, -2.0, 0.5], [1, 1, 0])
    delta = np.array([[1.0, 1, 0], [1, -1, 0], [0, 0, 0], [1, 0, 1]])
    assert part_along(delta, change) == pytest.approx((1 + 0 + 0.25) / 3)


def test_an_analysis_of_attacks_names_what_it_cannot_do() -> None:
    attack = Attack(norm="l2", radius=1, step_size=1, steps=1)
    with pytest.raises(UserError, match="no split 'tset'; did you mean 'test'"):
        dataclasses.replace(CONDITION, analyses=(Perturb(attacks=(attack,), split="tset"),))
    with pytest.raises(UserError, match="got signed=true, universal=false"):
        Perturb(attacks=(attack,), signed=True)
    tokens = ModularTask(p=7, train_fraction=0.5, format="a b")
    with pytest.raises(UserError, match="expected one of features"):
        dataclasses.replace(CONDITION, task=tokens, measures=(), analyses=(Perturb(attacks=(attack,)),))


def test_adversarial_training_takes_the_gradient_at_the_attacked_examples() -> None:
    attack = Attack(norm="linf", radius=0.2, step_size=0.2, steps=1)
    condition = dataclasses.replace(
        CONDITION,
        model=TwoLayerConfig(width=4, init_std=1.0),
        optimizer=SGD(learning_rate=0.5),
        loss=Adversarial(attack=attack),
        batch_size=None,
    )
    start, state, _, _ = advance(condition, 1)
    train = condition.task.table(0)["train"]
    kernel, x, y = start["layer_0"]["kernel"][0], train.inputs, 2 * train.targets[:, 0] - 1
    signs = np.array([1, 1, -1, -1]) / 2

    def slopes(x):
        on = (x @ kernel > 0) * signs[None]
        pull = -y / (1 + np.exp(y * np.sum(np.maximum(x @ kernel, 0) * signs[None], axis=1)))
        return on, pull

    on, pull = slopes(x)
    attacked = x + 0.2 * np.sign(pull[:, None] * (on @ kernel.T))
    on, pull = slopes(attacked)
    expected = kernel - 0.5 * attacked.T @ (pull[:, None] * on) / len(x)
    np.testing.assert_allclose(state.params["layer_0"]["kernel"][0], expected, rtol=1e-4, atol=1e-5)


def test_adversarial_training_needs_features() -> None:
    attack = Attack(norm="l2", radius=1, step_size=1, steps=1)
    with pytest.raises(UserError, match="adversarial training perturbs real features"):
        dataclasses.replace(
            CONDITION, task=ModularTask(p=7, train_fraction=0.5, format="a b"), loss=Adversarial(attack=attack)
        )
    with pytest.raises(UserError, match="loss: got 'mes', expected one of"):
        dataclasses.replace(CONDITION, loss="mes")
