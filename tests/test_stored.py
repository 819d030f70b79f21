"""Data on disk: what is read is what was exported, in an order that seed and step give."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from jaxgen.errors import UserError
from jaxgen.tasks import ModularTask, StoredTask
from jaxgen.tasks.base import Task
from jaxgen.tasks.stored import export
from tests.host_task import ReversalTask

MODULAR = ModularTask(p=7, operation="x+y", train_fraction=0.5, corruption=0.3)
FRESH = ReversalTask(least=1, longest=4)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("JAXGEN_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


def assert_same(ours, theirs) -> None:
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(one, other)
        assert one.dtype == other.dtype


@pytest.mark.parametrize(("task", "train"), [(MODULAR, None), (FRESH, 30)])
def test_what_is_read_is_what_was_exported(task: Task, train: int | None, folder: Path) -> None:
    stored = StoredTask(data=export(task, 5, train, folder))
    table, read = task.table(5), stored.table(0)
    assert read.keys() == table.keys()
    assert_same(read["test"], table["test"])
    assert_same(read["train"], table["train"] if train is None else task.host_batch(5, 0, 30, range(30)))
    shape = dataclasses.replace(stored.shape(), sizes=())
    assert shape == dataclasses.replace(task.shape(), sizes=())
    assert (stored.token_names(), stored.disjoint_by()) == (task.token_names(), task.disjoint_by())
    assert export(task, 5, train, folder) == stored.data  # once more is the same data
    assert export(task, 6, train, folder) != stored.data
    assert not list(folder.glob(".export.*"))


def test_an_epoch_shows_every_example_once_in_another_order_each_time(folder: Path) -> None:
    task = ReversalTask(least=4, longest=4)
    stored = StoredTask(data=export(task, 0, 23, folder), train_measured=4)
    assert dict(stored.shape().sizes)["train"] == 4
    every = {row.tobytes(): i for i, row in enumerate(task.host_batch(0, 0, 23, range(23)).inputs)}
    assert len(every) == 23

    def epoch(seed: int, number: int) -> list[int]:
        steps = range(4 * number, 4 * number + 4)
        return [every[row.tobytes()] for step in steps for row in stored.host_batch(seed, step, 5, range(5)).inputs]

    first = epoch(1, 0)
    assert len(set(first)) == 20
    assert epoch(1, 0) == first
    assert epoch(1, 1) != first
    assert epoch(2, 0) != first
    whole = stored.host_batch(1, 6, 5, range(5))
    for rows in (range(2), range(2, 5)):
        assert_same(stored.host_batch(1, 6, 5, rows), [column[rows.start : rows.stop] for column in whole])


def test_changed_data_are_refused(folder: Path) -> None:
    digest = export(MODULAR, 0, None, folder)
    stored = StoredTask(data=digest)
    file = folder / digest / "test.array_record"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(UserError, match="missing or damaged"):
        stored.table(0)
    other = export(MODULAR, 1, None, folder)
    path = folder / other / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"token_names": ["x"]}))
    with pytest.raises(UserError, match="was changed"):
        StoredTask(data=other)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda folder: StoredTask(data="0" * 16), "there is no"),
        (lambda folder: StoredTask(data="../../etc"), "expected the 16 digits"),
        (lambda folder: export(MODULAR, 0, 10, folder), "are all in its table"),
        (
            lambda folder: StoredTask(data=export(FRESH, 0, 10, folder)).check_batch_size(11),
            "at most the 10 training examples",
        ),
    ],
)
def test_what_cannot_be_had_is_told(make, said: str, folder: Path) -> None:
    with pytest.raises(UserError, match=said):
        make(folder)
