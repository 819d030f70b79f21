"""Labels drawn at random, alone and among others, and MNIST-1D against its recipe, step by step."""

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from jaxgen.errors import UserError
from jaxgen.tasks import DigitsTask, GaussianMixtureTask, MNIST1DTask, RandomLabelsTask, Task
from jaxgen.tasks.base import random_normals, random_order, random_uniforms
from jaxgen.tasks.features.mnist1d import templates

MIXTURE = GaussianMixtureTask(train=300, test=200, dimensions=6, classes=4, signal=5.0, noise_dimensions=2)


@given(
    task=st.sampled_from([MIXTURE, DigitsTask(train=300), MNIST1DTask(train=300, test=200)]),
    corruption=st.floats(0, 1, width=32, allow_subnormal=False),
    seed=st.integers(0, 2**32),
)
def test_the_first_training_labels_are_drawn_and_no_others(task: Task, corruption: float, seed: int) -> None:
    tainted = dataclasses.replace(task, corruption=corruption)
    shape, table, clean = tainted.shape(), tainted.table(seed), task.table(seed)
    assert tainted.corrupts() == (corruption > 0)
    assert {name: len(split.inputs) for name, split in table.items()} == dict(shape.sizes)
    first = math.floor(corruption * 300)
    assert table["train"].corrupted.tolist() == [row < first for row in range(300)]
    assert not table["test"].corrupted.any()
    for name, split in table.items():
        assert split.inputs.dtype == np.float32
        assert split.inputs.shape[1] == shape.length
        assert split.targets.dtype == np.int32
        assert 0 <= split.targets.min() <= split.targets.max() < shape.vocabulary
        np.testing.assert_array_equal(split.inputs, clean[name].inputs)
        np.testing.assert_array_equal(split.true_targets, clean[name].targets)
    np.testing.assert_array_equal(table["train"].targets[first:], clean["train"].targets[first:])
    np.testing.assert_array_equal(table["test"].targets, clean["test"].targets)


def test_drawn_labels_are_uniform() -> None:
    train = GaussianMixtureTask(train=8000, test=1, dimensions=2, classes=4, signal=5.0, corruption=1.0).table(0)[
        "train"
    ]
    np.testing.assert_allclose(np.bincount(train.targets[:, 0]) / 8000, 1 / 4, atol=0.02)
    assert np.mean(train.targets == train.true_targets) == pytest.approx(1 / 4, abs=0.02)


def test_a_mixture_has_its_centres_and_noise() -> None:
    task = GaussianMixtureTask(train=9000, test=3000, dimensions=6, classes=3, signal=5.0, noise_dimensions=2)
    table = task.table(1)
    labels = table["train"].targets[:, 0]
    np.testing.assert_allclose(np.bincount(labels) / 9000, 1 / 3, atol=0.02)
    centres = np.stack([table["train"].inputs[labels == each].mean(axis=0) for each in range(3)])
    np.testing.assert_allclose(np.linalg.norm(centres, axis=1), 5.0, atol=0.15)
    np.testing.assert_allclose(centres[:, 4:], 0, atol=0.1)
    np.testing.assert_allclose(np.cov((table["train"].inputs - centres[labels]).T), np.eye(6), atol=0.06)
    test = table["test"]
    nearest = np.argmin(((test.inputs[:, None] - centres) ** 2).sum(axis=2), axis=1)
    assert np.mean(nearest == test.targets[:, 0]) > 0.9


def test_random_strings_are_all_different_and_their_labels_independent() -> None:
    task = RandomLabelsTask(train_examples=4000, test_examples=2000, symbols=6, length=6, labels=3)
    table = task.table(2)
    rows = [tuple(row) for split in table.values() for row in split.inputs.tolist()]
    assert len(set(rows)) == 6000
    train = table["train"]
    for place in range(6):
        for symbol in range(6):
            labels = train.targets[train.inputs[:, place] == symbol, 0]
            np.testing.assert_allclose(np.bincount(labels, minlength=3) / len(labels), 1 / 3, atol=0.1)
    assert task.shape().vocabulary == 6
    with pytest.raises(UserError, match="too few different ones"):
        RandomLabelsTask(train_examples=30, test_examples=10, symbols=2, length=5).table(0)


def by_hand(digit: int, u: np.ndarray, smooth: np.ndarray, white: np.ndarray) -> np.ndarray:
    """One line of the recipe, with numbers drawn beforehand."""
    padding, scale, move, shear = u
    line = np.concatenate([templates()[digit] + 1e-8, np.zeros(36 + int(25 * padding))])
    line = np.interp(np.linspace(0, 1, 72), np.linspace(0, 1, len(line)), line)
    line = np.roll(line * (1 + 0.4 * (scale - 0.5)), int(48 * move))
    line = np.where(line != 0, line, gaussian_filter(0.25 * smooth, 2)) + 0.02 * white
    line = line - 0.75 * (shear - 0.5) * np.linspace(-0.5, 0.5, 72)
    return np.interp(np.linspace(0, 1, 40), np.linspace(0, 1, 72), line)


def test_mnist1d_follows_the_published_recipe() -> None:
    task = MNIST1DTask(train=80, test=20)
    u = random_uniforms((4, 100), seed=3, stream=1)
    smooth, white = (random_normals((100, 72), seed=3, stream=stream) for stream in (2, 3))
    lines = np.stack([by_hand(row // 10, u[:, row], smooth[row], white[row]) for row in range(100)])
    lines = ((lines - lines.mean()) / lines.std())[random_order(100, seed=3, stream=0)]
    table = task.table(3)
    np.testing.assert_allclose(np.concatenate([table[name].inputs for name in ("train", "test")]), lines, atol=1e-5)
    labels = np.concatenate([table[name].targets[:, 0] for name in ("train", "test")])
    np.testing.assert_array_equal(labels, random_order(100, seed=3, stream=0) // 10)


def test_the_templates_start_and_end_at_0_with_one_variance() -> None:
    assert templates().shape == (10, 12)
    np.testing.assert_allclose(templates()[:, [0, -1]], 0, atol=1e-12)
    np.testing.assert_allclose(templates().std(axis=1), 1 / 6)


def test_a_linear_model_is_as_good_on_mnist1d_as_published() -> None:
    table = MNIST1DTask().table(0)
    assert np.bincount(np.concatenate([split.targets[:, 0] for split in table.values()])).tolist() == [500] * 10
    train, test = table["train"], table["test"]
    # More threads than cores that are free make this hundreds of times slower.
    with threadpool_limits(1):
        found = LogisticRegression(max_iter=300).fit(train.inputs, train.targets[:, 0])
    # 32 %, as its authors' README tells of logistic regression.
    assert found.score(test.inputs, test.targets[:, 0]) == pytest.approx(0.32, abs=0.04)


def test_a_data_seed_fixes_mnist1d() -> None:
    task = MNIST1DTask(train=60, test=40, data_seed=5)
    np.testing.assert_array_equal(task.table(0)["train"].inputs, task.table(1)["train"].inputs)
    free = MNIST1DTask(train=60, test=40)
    np.testing.assert_array_equal(task.table(0)["train"].inputs, free.table(5)["train"].inputs)


def test_mistakes_are_told() -> None:
    with pytest.raises(UserError, match=r"test: got 10 \+ 5 = 15 examples, expected a multiple of 10"):
        MNIST1DTask(train=10, test=5)
    with pytest.raises(UserError, match="noise_dimensions: got 6, expected less than dimensions=6"):
        GaussianMixtureTask(train=9, test=9, dimensions=6, signal=1.0, noise_dimensions=6)
