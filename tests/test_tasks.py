import hashlib
import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxgen.errors import UserError
from jaxgen.tasks.algebra.modular import ModularTask, PermutationTask
from jaxgen.tasks.base import Split

# c is right for a o b mod p, in integers and without a division.
RIGHT: dict[str, Callable[[int, int, int, int], bool]] = {
    "x+y": lambda a, b, c, p: (a + b - c) % p == 0,
    "x-y": lambda a, b, c, p: (b + c - a) % p == 0,
    "x*y": lambda a, b, c, p: a * b % p == c,
    "x/y": lambda a, b, c, p: c * b % p == a,
    "x/y if y odd else x-y": lambda a, b, c, p: (c * b % p == a) if b & 1 else (c + b) % p == a,
    "x^2+y^2": lambda a, b, c, p: (a * a + b * b - c) % p == 0,
    "x^2+xy+y^2": lambda a, b, c, p: ((a + b) * (a + b) - a * b - c) % p == 0,
    "x^2+xy+y^2+x": lambda a, b, c, p: ((a + b) * (a + b) - a * b + a - c) % p == 0,
    "x^3+xy": lambda a, b, c, p: (a * (a * a + b) - c) % p == 0,
    "x^3+xy^2+y": lambda a, b, c, p: (a * (a * a + b * b) + b - c) % p == 0,
    "x^2+y": lambda a, b, c, p: (c - b - a * a) % p == 0,
    "x^3+y": lambda a, b, c, p: (c - b - a * a * a) % p == 0,
    "x+y if x even else x*y": lambda a, b, c, p: a * b % p == c if a & 1 else (a + b - c) % p == 0,
    "x+y if x even else x-y": lambda a, b, c, p: (c + b - a) % p == 0 if a & 1 else (a + b - c) % p == 0,
}
COMMUTATIVE = {"x+y", "x*y", "x^2+y^2", "x^2+xy+y^2"}


def rows(table: dict[str, Split]) -> list[tuple[list[int], list[int], list[int], bool]]:
    """Returns (inputs, targets, true targets, corrupted) of every example of every split."""
    return [
        (inputs.tolist(), targets.tolist(), true.tolist(), bool(corrupted))
        for split in table.values()
        for inputs, targets, true, corrupted in zip(*split, strict=True)
    ]


def equal(one: dict[str, Split], other: dict[str, Split]) -> bool:
    return all(np.array_equal(x, y) for name in one for x, y in zip(one[name], other[name], strict=True))


@pytest.mark.parametrize("p", [2, 7, 13])
@pytest.mark.parametrize("operation", RIGHT)
def test_every_modular_equation_is_right(operation: str, p: int) -> None:
    table = ModularTask(p=p, operation=operation, train_fraction=0.5, format="a b").table(seed=3)
    for (a, b), (target,), (true,), _ in rows(table):
        assert target == true
        assert 0 <= true < p
        assert RIGHT[operation](a, b, true, p), (a, b, true)


@pytest.mark.parametrize("operation", [each for each in RIGHT if "/" not in each])
def test_without_division_the_modulus_need_not_be_prime(operation: str) -> None:
    table = ModularTask(p=12, operation=operation, train_fraction=0.5, format="a b").table(seed=0)
    assert all(RIGHT[operation](a, b, true, 12) for (a, b), _, (true,), _ in rows(table))


@pytest.mark.parametrize("degree", [2, 3, 4])
@pytest.mark.parametrize("operation", ["xy", "xyx^-1", "xyx", "xyx^-1y^-1"])
def test_every_permutation_equation_is_right(operation: str, degree: int) -> None:
    members = sorted(itertools.permutations(range(degree)))
    table = PermutationTask(degree=degree, operation=operation, train_fraction=0.5, format="a b").table(seed=0)
    examples = rows(table)
    assert {tuple(inputs) for inputs, *_ in examples} == set(itertools.product(range(len(members)), repeat=2))
    for (a, b), _, (true,), _ in examples:
        x, y, product = members[a], members[b], members[true]
        for point in range(degree):
            image = y[x[point]]
            if operation == "xyx":
                assert product[point] == x[image]
            elif operation == "xyx^-1":
                assert x[product[point]] == image
            elif operation == "xyx^-1y^-1":
                assert x[y[product[point]]] == image
            else:
                assert product[point] == image


def test_permutations_are_called_by_their_images() -> None:
    names = PermutationTask(degree=3, train_fraction=0.5).token_names()
    assert names == ("012", "021", "102", "120", "201", "210", "=")


@pytest.mark.parametrize("operation", RIGHT)
def test_ordered_pairs_are_every_pair_that_has_an_answer(operation: str) -> None:
    p = 7
    table = ModularTask(p=p, operation=operation, train_fraction=0.3, format="a b").table(seed=0)
    pairs = [tuple(inputs) for inputs, *_ in rows(table)]
    divisors = range(1, p) if operation == "x/y" else range(p)
    assert sorted(pairs) == sorted(itertools.product(range(p), divisors))


@pytest.mark.parametrize("operation", sorted(COMMUTATIVE))
def test_unordered_pairs_keep_one_of_each_two_orders(operation: str) -> None:
    p = 7
    table = ModularTask(p=p, operation=operation, train_fraction=0.3, pairs="unordered", format="a b").table(seed=0)
    pairs = [tuple(inputs) for inputs, *_ in rows(table)]
    assert sorted(pairs) == sorted(itertools.combinations_with_replacement(range(p), 2))


@settings(deadline=None, max_examples=60)
@given(
    p=st.integers(4, 23),
    train_fraction=st.floats(0.15, 0.95),
    corruption=st.floats(0, 1, width=32, allow_subnormal=False),
    seed=st.integers(0, 2**32),
    pairs=st.sampled_from(["ordered", "unordered"]),
    form=st.sampled_from(["a b", "a b =", "<eos> a op b = c <eos>"]),
)
def test_splits_are_a_partition_and_only_the_first_training_rows_are_corrupted(
    p: int, train_fraction: float, corruption: float, seed: int, pairs: str, form: str
) -> None:
    task = ModularTask(p=p, train_fraction=train_fraction, corruption=corruption, pairs=pairs, format=form)
    table, shape = task.table(seed), task.shape()
    a_at, b_at = (1, 3) if "eos" in form else (0, 1)
    pairs_seen = [(inputs[a_at], inputs[b_at]) for inputs, *_ in rows(table)]
    total = p * p if pairs == "ordered" else p * (p + 1) // 2
    assert len(pairs_seen) == len(set(pairs_seen)) == total
    assert {name: len(split.inputs) for name, split in table.items()} == dict(shape.sizes)
    train, test = table["train"], table["test"]
    assert len(train.inputs) == math.floor(train_fraction * total)
    first = math.floor(corruption * len(train.inputs))
    assert train.corrupted.tolist() == [row < first for row in range(len(train.inputs))]
    assert not test.corrupted.any()
    assert np.array_equal(test.targets, test.true_targets)
    assert np.array_equal(train.targets[first:], train.true_targets[first:])
    for inputs, targets, (true, *_), _ in rows(table):
        assert true == (inputs[a_at] + inputs[b_at]) % p
        assert 0 <= targets[0] < p
    for split in table.values():
        assert split.inputs.dtype == split.targets.dtype == split.true_targets.dtype == np.int32
        assert split.inputs.shape[1] == shape.length
        assert split.targets.shape[1] == split.true_targets.shape[1] == len(shape.readout)
        assert split.inputs.max() < shape.vocabulary
        assert split.targets.max() < shape.vocabulary


def test_corrupted_labels_are_uniform_over_the_elements() -> None:
    p = 53
    train = ModularTask(p=p, train_fraction=0.99, corruption=1.0, format="a b").table(seed=0)["train"]
    counts = np.bincount(train.targets[:, 0], minlength=p)
    expected = len(train.targets) / p
    # The chi-squared statistic of p - 1 degrees of freedom has mean p - 1 and deviation sqrt(2 (p - 1)).
    statistic = ((counts - expected) ** 2 / expected).sum()
    assert abs(statistic - (p - 1)) < 4 * math.sqrt(2 * (p - 1))
    right = (train.targets == train.true_targets).mean()
    assert abs(right - 1 / p) < 4 * math.sqrt(1 / p / len(train.targets))


def test_a_split_is_the_seed_s_own() -> None:
    task = ModularTask(p=11, train_fraction=0.5, corruption=0.3)
    assert equal(task.table(4), task.table(4))
    assert not equal(task.table(4), task.table(5))


def test_a_split_seed_fixes_split_and_labels_over_the_seeds() -> None:
    task = ModularTask(p=11, train_fraction=0.5, corruption=0.3, split_seed=7)
    assert equal(task.table(4), task.table(5))
    assert equal(task.table(4), ModularTask(p=11, train_fraction=0.5, corruption=0.3).table(7))


def test_more_corruption_keeps_the_split_and_the_labels_drawn() -> None:
    less, more = (ModularTask(p=11, train_fraction=0.5, corruption=xi).table(0)["train"] for xi in (0.2, 0.6))
    first = math.floor(0.2 * len(less.inputs))
    assert np.array_equal(less.inputs, more.inputs)
    assert np.array_equal(less.targets[:first], more.targets[:first])


@pytest.mark.parametrize(
    ("form", "vocabulary", "readout"),
    [("a b", 5, (1,)), ("a b =", 6, (2,)), ("<eos> a op b = c <eos>", 8, (4, 5))],
)
def test_the_layout_of_the_tokens(form: str, vocabulary: int, readout: tuple[int, ...]) -> None:
    task = ModularTask(p=5, train_fraction=0.5, corruption=0.5, format=form)
    shape = task.shape()
    assert (shape.vocabulary, shape.readout) == (vocabulary, readout)
    operator, equals, eos = 5, 6, 7
    signs = {"a b": [], "a b =": ["="]}.get(form, ["op", "=", "<eos>"])
    assert list(task.token_names()) == ["0", "1", "2", "3", "4", *signs]
    for inputs, targets, true, _ in rows(task.table(0)):
        if form == "a b":
            a, b = inputs
            assert len(targets) == 1
        elif form == "a b =":
            a, b, sign = inputs
            assert sign == 5
            assert len(targets) == 1
        else:
            a, b = inputs[1], inputs[3]
            assert inputs == [eos, a, operator, b, equals, targets[0]]
            assert targets[1] == true[1] == eos
        assert true[0] == (a + b) % 5


def test_the_bytes_of_a_table() -> None:
    # Where this fails on purpose, raise `version` of the task: the runs of old identities saw other examples.
    table = ModularTask(p=13, operation="x/y", train_fraction=0.4, corruption=0.25).table(seed=5)
    content = b"".join(
        np.ascontiguousarray(part.astype("<i4")).tobytes() for name in ("train", "test") for part in table[name]
    )
    assert ModularTask.version == 1
    assert hashlib.sha256(content).hexdigest() == "0ee1c80ff7d4b9c201ab5cd40726791c2dc07b3b8d6c36f4d8e5355cf1ec7f30"


@pytest.mark.parametrize("operation", ["x/y", "x/y if y odd else x-y"])
def test_division_needs_a_prime(operation: str) -> None:
    with pytest.raises(UserError, match="p: got 9, expected a prime"):
        ModularTask(p=9, operation=operation, train_fraction=0.5)


@pytest.mark.parametrize("operation", sorted(set(RIGHT) - COMMUTATIVE))
def test_unordered_pairs_need_a_commutative_operation(operation: str) -> None:
    with pytest.raises(UserError, match="pairs: 'unordered' needs"):
        ModularTask(p=7, operation=operation, train_fraction=0.5, pairs="unordered")


def test_unordered_pairs_of_permutations_are_refused() -> None:
    with pytest.raises(UserError, match="pairs: 'unordered' needs"):
        PermutationTask(degree=3, train_fraction=0.5, pairs="unordered")


def test_a_fraction_that_leaves_no_training_example_is_refused() -> None:
    with pytest.raises(UserError, match=r"train_fraction: 0.01 of 49 equations is 0 for training, expected 1 to 48"):
        ModularTask(p=7, train_fraction=0.01)


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1, 1.5])
def test_a_fraction_outside_of_its_range_is_refused(fraction: float) -> None:
    with pytest.raises(UserError, match="train_fraction"):
        ModularTask(p=7, train_fraction=fraction)
