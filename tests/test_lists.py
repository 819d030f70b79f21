import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxgen.errors import UserError
from jaxgen.tasks import ListTask


@given(
    operation=st.sampled_from(["copy", "reverse", "sort"]),
    numbers=st.integers(3, 7),
    size=st.integers(1, 3),
    fraction=st.floats(0.4, 0.6),
    seed=st.integers(0, 2**32),
)
def test_every_list_is_in_one_split_with_its_answer(
    operation: str, numbers: int, size: int, fraction: float, seed: int
) -> None:
    task = ListTask(operation=operation, numbers=numbers, size=size, train_fraction=fraction)
    shape, table, names = task.shape(), task.table(seed), task.token_names()
    assert shape.vocabulary == len(names)
    assert {name: len(split.inputs) for name, split in table.items()} == dict(shape.sizes)
    found = []
    for split in table.values():
        assert split.inputs.dtype == split.targets.dtype == np.int32
        assert split.inputs.shape[1] == shape.length
        for inputs, targets in zip(split.inputs.tolist(), split.targets.tolist(), strict=True):
            text = [names[token] for token in [*inputs, targets[-1]]]
            numbers_shown = [int(name) for name in text[2 : 2 + size]]
            found.append(tuple(numbers_shown))
            answer = {"copy": list, "reverse": lambda row: row[::-1], "sort": sorted}[operation](numbers_shown)
            shown, told = ([str(number) for number in row] for row in (numbers_shown, answer))
            assert text == ["<eos>", operation, *shown, "=", *told, "<eos>"]
            assert [names[token] for token in targets] == [*told, "<eos>"]
            assert [inputs[place + 1] for place in shape.readout[:-1]] == targets[:-1]
    assert sorted(found) == sorted(itertools.permutations(range(numbers), size))


def test_the_published_number_of_lists() -> None:
    for size, count in ((2, 9312), (3, 884640)):
        sizes = ListTask(operation="sort", size=size, train_fraction=0.5).shape().sizes
        assert sum(count for _, count in sizes) == count


def test_a_split_seed_fixes_the_split() -> None:
    task = ListTask(operation="sort", numbers=9, train_fraction=0.5, split_seed=4)
    np.testing.assert_array_equal(task.table(0)["train"].inputs, task.table(1)["train"].inputs)
    free = ListTask(operation="sort", numbers=9, train_fraction=0.5)
    np.testing.assert_array_equal(task.table(0)["train"].inputs, free.table(4)["train"].inputs)


def test_mistakes_are_told() -> None:
    with pytest.raises(UserError, match="size: got 4, expected at most numbers=3"):
        ListTask(operation="sort", numbers=3, size=4, train_fraction=0.5)
    with pytest.raises(UserError, match="got 4 of 97 numbers, which has 83156160 lists, expected at most 10000000"):
        ListTask(operation="sort", size=4, train_fraction=0.5)
    with pytest.raises(UserError, match=r"train_fraction: 0.1 of 6 lists is 0 for training, expected 1 to 5"):
        ListTask(operation="copy", numbers=3, train_fraction=0.1)
