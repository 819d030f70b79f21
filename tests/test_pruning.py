"""Starts: masks by each score against closed forms, norms, and how transforms combine."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxgen.condition import Condition
from jaxgen.config import from_json, to_json
from jaxgen.errors import UserError
from jaxgen.experiments.grokking_tickets.parts import GraSPMask, MatchNorm, SNIPMask, SynFlowMask
from jaxgen.experiments.grokking_tickets.scores import (
    grasp_scores,
    norm,
    snip_scores,
    synflow_mask,
    synflow_scores,
)
from jaxgen.models.config import MLPConfig
from jaxgen.objectives.losses import mean_squared_error
from jaxgen.optimizers import AdamW
from jaxgen.starts import (
    From,
    MagnitudeMask,
    RandomMask,
    Rewind,
    ScaleParams,
    Transform,
)
from jaxgen.starts.scores import (
    Examples,
    magnitude_scores,
    random_scores,
    top_mask,
)
from jaxgen.starts.transforms import Start, apply_transforms, start_from, training_examples
from jaxgen.tasks import ModularTask

NOTHING = Examples(logits=lambda params: jnp.zeros((1, 1, 1)), loss=jnp.sum)
KEY = jax.random.key(4)


def drawn(seed: int, **shapes: tuple[int, ...]) -> dict[str, jax.Array]:
    rng = np.random.default_rng(seed)
    return {name: jnp.array(rng.normal(size=shape), jnp.float32) for name, shape in shapes.items()}


def flat(tree) -> np.ndarray:
    return np.concatenate([np.asarray(leaf).ravel() for leaf in jax.tree.leaves(tree) if leaf.ndim > 1])


def starting(params, parent_init) -> Start:
    return Start(params, {}, None, {"params": parent_init})


def transformed(start: Start, *transforms, objective=NOTHING, key=KEY) -> Start:
    return apply_transforms(start, transforms, lambda _: objective, key)


@given(keep=st.floats(0.01, 1.0), seed=st.integers(0, 100))
def test_a_magnitude_mask_keeps_the_largest(keep: float, seed: int) -> None:
    params = drawn(seed, a=(5, 4), b=(6, 2), bias=(3,))
    mask = top_mask(magnitude_scores(params), keep)
    size, kept = np.abs(flat(params)), flat(mask) == 1
    assert kept.sum() == round(keep * 32)
    assert kept.all() or not kept.any() or size[kept].min() >= size[~kept].max()
    np.testing.assert_array_equal(mask["bias"], 1)


def test_of_equal_scores_the_earlier_is_kept_and_what_is_gone_stays_gone() -> None:
    mask = top_mask({"a": jnp.ones((1, 2)), "b": jnp.ones((1, 2))}, keep=0.75)
    np.testing.assert_array_equal(flat(mask), [1, 1, 1, 0])
    gone = top_mask({"a": jnp.array([[-jnp.inf, 2.0]]), "b": jnp.array([[-jnp.inf, 1.0]])}, keep=1.0)
    np.testing.assert_array_equal(flat(gone), [0, 1, 0, 1])


# L = w Q w / 2 has the gradient Q w and the Hessian Q.
def quadratic(seed: int) -> tuple[dict[str, jax.Array], np.ndarray, np.ndarray, Examples]:
    params = drawn(seed, a=(3, 2), b=(2, 2))
    root = np.random.default_rng(seed + 1).normal(size=(10, 10))
    form = jnp.array(root @ root.T, jnp.float32)

    def loss(w: jax.Array) -> jax.Array:
        return 0.5 * jnp.sum(w * (form @ w))

    objective = Examples(lambda at: jnp.concatenate([at["a"].ravel(), at["b"].ravel()]), loss)
    return params, flat(params).astype(np.float64), np.asarray(form, np.float64), objective


@given(seed=st.integers(0, 30))
def test_snip_of_a_quadratic_loss(seed: int) -> None:
    params, w, form, objective = quadratic(seed)
    np.testing.assert_allclose(flat(snip_scores(params, objective)), np.abs(w * (form @ w)), rtol=1e-4, atol=1e-4)


@given(seed=st.integers(0, 30), temperature=st.sampled_from([1.0, 2.0, 8.0]))
def test_grasp_of_a_quadratic_loss(seed: int, temperature: float) -> None:
    params, w, form, objective = quadratic(seed)
    expected = w * (form @ form @ w) / temperature**4
    tolerance = 1e-4 * np.abs(expected).max()
    np.testing.assert_allclose(flat(grasp_scores(params, None, objective, temperature)), expected, atol=tolerance)


def test_grasp_keeps_what_the_gradient_flow_needs() -> None:
    params, w, form, objective = quadratic(3)
    shrunk = w[None] * (1 - 1e-4 * np.eye(10))  # row i: a little of weight i is removed
    lost = np.sum((form @ w) ** 2) - np.sum((shrunk @ form) ** 2, axis=1)
    kept = flat(top_mask(grasp_scores(params, None, objective, 1.0), keep=0.3)) == 1
    assert set(np.flatnonzero(kept)) == set(np.argsort(-lost)[:3])


def chain(params: dict[str, jax.Array]) -> Examples:
    """A deep linear network on an input of ones."""

    def logits(at: dict[str, jax.Array]) -> jax.Array:
        x = jnp.ones((1, params["a"].shape[0]))
        for name in sorted(at):
            x = x @ at[name]
        return x[:, None]

    return Examples(logits, jnp.sum)


def test_synflow_counts_what_flows_through_a_weight() -> None:
    params = drawn(5, a=(4, 3), b=(3, 5))
    a, b = (np.abs(np.asarray(params[name], np.float64)) for name in "ab")
    scores = synflow_scores(params, chain(params))
    np.testing.assert_allclose(scores["a"], a * b.sum(axis=1)[None], rtol=1e-5)
    np.testing.assert_allclose(scores["b"], a.sum(axis=0)[:, None] * b, rtol=1e-5)
    for layer in scores.values():
        # What flows is conserved from layer to layer.
        assert float(jnp.sum(layer)) == pytest.approx((a @ b).sum(), rel=1e-5)


@pytest.mark.long
def test_synflow_scores_anew_what_each_round_leaves() -> None:
    keep = 0.06
    params = drawn(6, a=(20, 20), b=(20, 1), c=(1, 20))
    objective = chain(params)
    expected = {name: jnp.ones_like(w) for name, w in params.items()}
    for i in (1, 2, 3):
        scores = synflow_scores({name: w * expected[name] for name, w in params.items()}, objective)
        left = {name: jnp.where(expected[name] > 0, score, -1.0) for name, score in scores.items()}
        expected = top_mask(left, keep ** (i / 3))
    found = synflow_mask(params, None, objective, keep, iterations=3)
    np.testing.assert_array_equal(flat(found), flat(expected))
    # Rounds are there so that no layer is emptied.
    many = synflow_mask(params, None, objective, keep, iterations=50)
    assert flat(many).sum() == round(keep * 440)
    assert all(float(jnp.sum(layer)) > 0 for layer in many.values())


def test_random_masks_of_one_seed_are_nested_and_those_of_others_differ() -> None:
    params = drawn(7, a=(60, 50), b=(50, 40))
    small, large = (top_mask(random_scores(params, KEY), keep) for keep in (0.2, 0.5))
    assert np.all(flat(small) <= flat(large))
    assert float(jnp.mean(large["a"])) == pytest.approx(0.5, abs=0.05)
    other = top_mask(random_scores(params, jax.random.key(5)), 0.5)
    assert np.mean(flat(large) == flat(other)) == pytest.approx(0.5, abs=0.05)


def test_transforms_apply_in_order() -> None:
    start = starting({"w": jnp.array([[1.0, 3.0]])}, {"w": jnp.array([[5.0, 7.0]])})
    masked_first = transformed(start, MagnitudeMask(keep=0.5), Rewind(), ScaleParams(factor=2.0))
    np.testing.assert_array_equal(masked_first.params["w"], [[0.0, 14.0]])
    rewound_first = transformed(start, Rewind(), MagnitudeMask(keep=0.5))
    np.testing.assert_array_equal(rewound_first.params["w"], [[0.0, 7.0]])


def test_a_later_mask_keeps_a_part_of_an_earlier_one() -> None:
    params, _, _, objective = quadratic(8)
    first = transformed(starting(params, params), RandomMask(keep=0.6))
    for later in (MagnitudeMask(keep=0.5), RandomMask(keep=0.5), SNIPMask(keep=0.5), GraSPMask(keep=0.5)):
        both = transformed(starting(params, params), RandomMask(keep=0.6), later, objective=objective)
        assert np.all(flat(both.mask) <= flat(first.mask)), later
        assert flat(both.mask).sum() == 5, later
        np.testing.assert_array_equal(flat(both.params), flat(both.mask) * flat(params))


@pytest.mark.parametrize("kind", ["l1", "l2"])
def test_a_dense_network_takes_on_the_norm_of_a_ticket(kind: str) -> None:
    start = starting(drawn(9, a=(6, 5), bias=(5,)), drawn(10, a=(6, 5), bias=(5,)))
    recipe = (MagnitudeMask(keep=0.4), Rewind())
    ticket = transformed(start, *recipe)
    dense = transformed(start, Rewind(), MatchNorm(norm=kind, of=recipe))
    order = {"l1": 1, "l2": 2}[kind]
    sizes = [
        np.linalg.norm(np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(each.params)]), order)
        for each in (ticket, dense)
    ]
    assert sizes[0] == pytest.approx(sizes[1], rel=1e-5)
    assert float(norm(ticket.params, kind)) == pytest.approx(sizes[0], rel=1e-5)
    assert dense.mask is None
    ratio = flat(dense.params) / flat(start.parent_init["params"])
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-5)


CONDITION = Condition(
    name="base",
    task=ModularTask(p=7, train_fraction=0.5, format="a b"),
    model=MLPConfig(hidden=(9,), activation="square", init_std=0.3, batch_norm=True),
    optimizer=AdamW(learning_rate=0.05),
    loss="mse",
    steps=10,
)


def test_an_objective_is_the_mean_loss_of_the_training_split() -> None:
    params = drawn(11, kernel=(2, 7, 9), bias=(9,), out=(9, 7), out_bias=(7,), scale=(9,), shift=(9,), mean=(9,))
    variance = jnp.linspace(0.5, 2.0, 9)
    tree = {
        "layer_0": {"kernel": params["kernel"], "bias": params["bias"]},
        "norm_0": {"scale": params["scale"], "bias": params["shift"]},
        "output": {"kernel": params["out"], "bias": params["out_bias"]},
    }
    statistics = {"batch_stats": {"norm_0": {"mean": params["mean"], "var": variance}}}
    train = CONDITION.task.table(3)["train"]
    module = CONDITION.model.build(CONDITION.task.shape())
    objective = training_examples(module, jax.tree.map(jnp.asarray, train), mean_squared_error, statistics)
    p = {name: np.asarray(leaf, np.float64) for name, leaf in params.items()}
    hidden = (p["kernel"][0][train.inputs[:, 0]] + p["kernel"][1][train.inputs[:, 1]] + p["bias"]) ** 2
    hidden = (hidden - p["mean"]) / np.sqrt(np.asarray(variance) + 1e-5) * p["scale"] + p["shift"]
    logits = hidden @ p["out"] + p["out_bias"]
    found = jax.jit(objective.logits)(tree)
    np.testing.assert_allclose(found[:, 0], logits, rtol=1e-4, atol=1e-4)
    expected = np.mean((logits - np.eye(7)[train.targets[:, 0]]) ** 2)
    assert float(objective.loss(found)) == pytest.approx(expected, rel=1e-4)


def test_a_start_depends_on_its_seed_and_nothing_else() -> None:
    condition = dataclasses.replace(CONDITION, model=MLPConfig(hidden=(9,), init_std=0.3))
    tree = {
        "layer_0": drawn(12, kernel=(2, 7, 9), bias=(9,)),
        "output": drawn(13, kernel=(9, 7), bias=(7,)),
    }
    start = starting(tree, tree)
    for mask in (RandomMask(keep=0.5), SNIPMask(keep=0.5)):
        one, again, other = (start_from(start, (mask,), condition, seed) for seed in (0, 0, 1))
        np.testing.assert_array_equal(flat(one.mask), flat(again.mask))
        assert np.any(flat(one.mask) != flat(other.mask)), mask
        assert flat(one.mask).sum() == round(0.5 * flat(tree).size)


def test_transforms_are_plain_data() -> None:
    ticket = (MagnitudeMask(keep=0.4), Rewind())
    start = From(condition="dense", transforms=(Rewind(), MatchNorm(norm="l2", of=ticket), SynFlowMask(keep=0.5)))
    assert from_json(to_json(start)) == start

    def rewinds(*transforms: Transform) -> bool:
        return From(condition="dense", transforms=transforms).rewinds()

    assert rewinds(*ticket)
    assert rewinds(MatchNorm(norm="l1", of=ticket))
    assert not rewinds(MatchNorm(norm="l1", of=(MagnitudeMask(keep=0.4),)), SNIPMask(keep=0.1))
    with pytest.raises(UserError, match=r"keep: got 0\.0, expected a number at most 1 and above 0"):
        SNIPMask(keep=0)
