"""Equations as openai/grok splits them (github.com/openai/grok, grok/data.py): the share that trains is rounded."""

import pytest

from jaxgen.config import to_json
from jaxgen.tasks import ListTask, ModularTask, PermutationTask

pytestmark = pytest.mark.report("https://github.com/openai/grok")


@pytest.mark.parametrize(
    ("percent", "train"),
    # round(9409 * percent / 100)
    [(30, 2823), (40, 3764), (50, 4704), (25, 2352), (95, 8939)],
)
def test_additions_modulo_97(percent: int, train: int) -> None:
    task = ModularTask(p=97, train_fraction=percent / 100, format="<eos> a op b = c <eos>", rounding="nearest")
    assert dict(task.shape().sizes) == {"train": train, "test": 9409 - train}
    assert {name: len(split.inputs) for name, split in task.table(0).items()} == dict(task.shape().sizes)


def test_permutations_and_lists() -> None:
    assert dict(PermutationTask(train_fraction=0.35, rounding="nearest").shape().sizes)["train"] == 5040
    assert dict(ListTask(operation="sort", train_fraction=0.3, rounding="nearest").shape().sizes)["train"] == 2794
    assert dict(ListTask(operation="sort", train_fraction=0.3).shape().sizes)["train"] == 2793


def test_other_splits_are_what_they_were() -> None:
    task = ModularTask(p=97, train_fraction=0.3)
    assert dict(task.shape().sizes)["train"] == 2822
    assert "rounding" not in to_json(task)
