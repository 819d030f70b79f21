"""Balls and urns, regression and classification in context: choices exactly, real numbers by least squares and law."""

import collections
import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxgen.errors import UserError
from jaxgen.tasks import BallsAndUrnsTask, InContextClassificationTask, InContextRegressionTask
from jaxgen.tasks.contexts.in_context import InContextTask, normals

URNS = BallsAndUrnsTask(rules=4, length=30, colours=5, ood_rules=7, test_examples=300)
REGRESSION = InContextRegressionTask(rules=4, length=20, dimensions=3, ood_rules=50, test_examples=300)
CLASSES = InContextClassificationTask(rules=6, length=9, dimensions=40, ood_rules=50, test_examples=300)
TASKS = (URNS, REGRESSION, CLASSES)


def drawn(task: InContextTask, rows: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(2**32, size=(rows, task.stream_words()), dtype=np.uint32)


@pytest.mark.parametrize("task", TASKS, ids=lambda task: type(task).__name__)
def test_numpy_and_jax_make_the_same_examples_alone_and_together(task: InContextTask) -> None:
    words = drawn(task, 50)
    here = task.examples(words, np)
    there = jax.jit(lambda drawn: task.examples(drawn, jnp))(words)
    alone = task.examples(words[7:8], np)
    shape = task.shape()
    expected = (50, shape.length) if shape.channels is None else (50, shape.length, shape.channels)
    assert here.inputs.shape == expected
    assert here.targets.shape == (50, len(shape.readout), *[1] * shape.real_targets)
    for one, other, row in zip(here, there, alone, strict=True):
        assert one.dtype == other.dtype
        assert one.dtype in (np.int32, np.float32, bool)
        # Choices are equal in every bit, real numbers but for rounding.
        np.testing.assert_allclose(one, other, rtol=0, atol=2e-5 if one.dtype == np.float32 else 0)
        np.testing.assert_array_equal(one[7:8], row)


@pytest.mark.parametrize("task", TASKS, ids=lambda task: type(task).__name__)
def test_tables_and_rules_are_of_their_seeds_alone(task: InContextTask) -> None:
    shape, table = task.shape(), task.table(3)
    assert {name: len(split.inputs) for name, split in table.items()} == dict(shape.sizes)
    for split in table.values():
        assert split.inputs.shape[1] == shape.length
        assert not split.corrupted.any()
    np.testing.assert_array_equal(task.table(3)["ood"].inputs, table["ood"].inputs)
    assert not np.array_equal(task.table(4)["train"].inputs, table["train"].inputs)
    more = dataclasses.replace(task, rules=2 * task.rules)
    np.testing.assert_array_equal(more.drawn_rules()[: task.rules], task.drawn_rules())
    other = dataclasses.replace(task, rule_seed=9)
    assert not np.array_equal(other.drawn_rules(), task.drawn_rules())
    ood = {tuple(rule) for rule in task.drawn_rules(ood=True).tolist()}
    assert len(ood) == task.ood_rules
    assert not ood & {tuple(rule) for rule in task.drawn_rules().tolist()}
    assert "rules of its own" in task.disjoint_by() or "urns of its own" in task.disjoint_by()


def test_balls_are_drawn_by_the_probabilities_of_one_urn() -> None:
    urns = URNS.drawn_rules()
    words = drawn(URNS, 4000)
    split = URNS.examples(words, np)
    assert split.inputs[:, 0].tolist() == [5] * 4000
    np.testing.assert_array_equal(split.inputs[:, 1:], split.targets[:, :-1])
    which = words[:, 0] % 4
    for urn in range(4):
        balls = split.targets[which == urn].ravel()
        np.testing.assert_allclose(np.bincount(balls, minlength=5) / len(balls), urns[urn], atol=0.015)
    assert abs(np.bincount(which) / 4000 - 0.25).max() < 0.03


@given(word=st.integers(0, 2**32 - 1), urn=st.integers(0, 3))
def test_a_ball_is_where_its_word_stands_among_the_sums(word: int, urn: int) -> None:
    words = np.full((1, URNS.stream_words()), word, np.uint32)
    words[0, 0] = urn
    sums = np.cumsum(URNS.drawn_rules()[urn])
    colour = int(URNS.examples(words, np).targets[0, 0])
    # Rounding moves a bound by at most half of 2^-32.
    assert word / 2**32 >= (sums[colour - 1] if colour else 0) - 2**-32
    assert word / 2**32 <= sums[colour] + 2**-32


def test_urns_are_uniform_over_all_probabilities() -> None:
    urns = BallsAndUrnsTask(rules=4000, length=1, colours=4).drawn_rules()
    np.testing.assert_allclose(urns.sum(axis=1), 1)
    # A part of a flat Dirichlet of 4 has mean 1/4, variance 3/80, and is above 1/2 with probability (1/2)^3.
    np.testing.assert_allclose(urns.mean(axis=0), 1 / 4, atol=0.015)
    np.testing.assert_allclose(urns.var(axis=0), 3 / 80, atol=0.004)
    np.testing.assert_allclose((urns > 0.5).mean(axis=0), 1 / 8, atol=0.025)


def test_regression_interleaves_pairs_of_one_rule() -> None:
    exact = dataclasses.replace(REGRESSION, noise_variance=0.0)
    for name, split in exact.table(0).items():
        rules = exact.drawn_rules(ood=name == "ood")
        for inputs, targets in zip(split.inputs, split.targets, strict=True):
            x, y = inputs[::2], inputs[1::2]
            np.testing.assert_array_equal(y[:, :1], targets)
            assert not y[:, 1:].any()
            found = np.linalg.lstsq(x, y[:, 0], rcond=None)[0]
            assert np.abs(rules - found).max(axis=1).min() < 1e-4
    assert exact.shape().readout == tuple(range(0, 40, 2))


def test_noise_and_inputs_have_the_published_variances() -> None:
    words = drawn(REGRESSION, 3000)
    split = REGRESSION.examples(words, np)
    w = REGRESSION.drawn_rules()[words[:, 0] % 4]
    x = split.inputs[:, ::2]
    noise = split.targets[:, :, 0] - np.einsum("nlf,nf->nl", x, w)
    assert noise.var() == pytest.approx(3 / 256, rel=0.03)
    assert x.var() == pytest.approx(1, rel=0.02)
    assert abs(np.corrcoef(noise.ravel(), x[:, :, 0].ravel())[0, 1]) < 0.02


def test_normal_numbers_are_normal_up_to_the_ends_of_their_words() -> None:
    words = np.random.default_rng(0).integers(2**32, size=(2000, 10), dtype=np.uint32)
    found = normals(words, np)
    assert found.dtype == np.float32
    assert found.mean() == pytest.approx(0, abs=0.03)
    assert np.mean(np.abs(found) < 0.6745) == pytest.approx(0.5, abs=0.015)
    assert np.mean(found**4) == pytest.approx(3, abs=0.25)
    np.testing.assert_allclose(np.corrcoef(found.T), np.eye(10), atol=0.1)
    ends = np.array([[0, 0], [0, 2**32 - 1], [2**32 - 1, 2**31], [2**32 - 1, 2**32 - 1]], np.uint32)
    assert np.abs(normals(ends, np)).max() == pytest.approx((2 * 24 * np.log(2)) ** 0.5, rel=1e-5)


def nearest(task: InContextClassificationTask, items: np.ndarray, *, ood: bool = False) -> np.ndarray:
    """Which rule each item is of: in many dimensions noise does not hide it."""
    rules = task.drawn_rules(ood=ood)[:, :-1]
    return np.argmin(((items[:, :, None] * 1.5**0.5 - rules) ** 2).sum(axis=3), axis=2)


def test_classification_asks_for_an_item_of_the_context() -> None:
    task = dataclasses.replace(CLASSES, dimensions=300)
    for name, split in task.table(0).items():
        labels = task.drawn_rules(ood=name == "ood")[:, -1]
        which = nearest(task, split.inputs[:, :, :-1], ood=name == "ood")
        np.testing.assert_array_equal(split.inputs[:, :-1, -1], labels[which[:, :-1]])
        assert set(split.inputs[:, -1, -1].tolist()) == {-1.0}
        np.testing.assert_array_equal(split.targets[:, 0], labels[which[:, -1]])
        shown = (which[:, :-1] == which[:, -1:]).any(axis=1)
        assert shown.all() if name != "in_weights" else not shown.any()
        if name != "ood":
            # Items are as likely as each other, in the context and asked for.
            for part in (which[:, :-1], which[:, -1:]):
                counts = np.bincount(part.ravel(), minlength=6) / part.size
                assert abs(counts - 1 / 6).max() < 0.08


def test_items_have_the_published_variance_with_their_noise() -> None:
    task = InContextClassificationTask(rules=2000, length=5, dimensions=8)
    assert task.drawn_rules()[:, :-1].var() == pytest.approx(1 / 8, rel=0.05)
    items = task.examples(drawn(task, 2000), np).inputs[:, :, :-1]
    assert items.var() == pytest.approx(1 / 8, rel=0.05)
    # One item shown twice keeps 1 / 1.5 of its variance in common.
    pair = dataclasses.replace(task, length=2)
    shown = pair.examples(drawn(pair, 4000), np).inputs[:, :, :-1]
    assert np.corrcoef(shown[:, 0].ravel(), shown[:, 1].ravel())[0, 1] == pytest.approx(1 / 1.5, abs=0.03)
    labels = collections.Counter(task.drawn_rules()[:, -1].tolist())
    assert abs(labels[0.0] - 1000) < 120
    assert set(labels) == {0.0, 1.0}


def test_mistakes_are_told() -> None:
    with pytest.raises(UserError, match="rules: got 1, expected a number at least 2"):
        InContextClassificationTask(rules=1, length=9, dimensions=4)
    with pytest.raises(UserError, match="colours: got 1"):
        BallsAndUrnsTask(rules=1, length=9, colours=1)
    assert "about 1e-15" in URNS.disjoint_by()
    assert "in_weights never shows the item asked for" in CLASSES.disjoint_by()
