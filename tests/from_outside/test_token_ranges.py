"""Tokens and targets that are none of the vocabulary, and real numbers that are not finite, are refused where they are
read: jax clips what is beyond the end of an embedding, and a loss of such a target is a number like any other.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from jaxgen.condition import Condition
from jaxgen.errors import UserError
from jaxgen.models.config import MLPConfig
from jaxgen.optimizers import AdamW
from jaxgen.tasks import ModularTask, StoredTask, stored
from jaxgen.tasks.base import Split, Task, TaskShape, checked_table, clean_split

pytestmark = [pytest.mark.report("sgl-project/sglang#27482"), pytest.mark.report("NVIDIA/Megatron-LM#2570")]

Kind = Literal["tokens", "features", "channels", "real targets"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class OwnTask(Task):
    """Six examples of a user's own, one of which has `value` where `column` says."""

    kind_of: Kind = "tokens"
    column: Literal["inputs", "targets", "true_targets"] = "inputs"
    value: str = "0"

    def shape(self) -> TaskShape:
        return TaskShape(
            vocabulary=5,
            length=3,
            readout=(2,),
            sizes=(("train", 6), ("test", 2)),
            features=self.kind_of in ("features", "real targets"),
            channels=2 if self.kind_of == "channels" else None,
            real_targets=self.kind_of == "real targets",
        )

    def table(self, seed: int) -> dict[str, Split]:
        inputs = np.zeros((6, *self.shape().blank().shape[1:]), self.shape().blank().dtype)
        targets = np.zeros((6, 1, 5), np.float32) if self.shape().real_targets else np.zeros((6, 1), np.int32)
        whole = clean_split(inputs, targets, np)._replace(true_targets=targets.copy())
        getattr(whole, self.column)[4].flat[0] = float(self.value)
        return {"train": whole, "test": Split(*(column[:2] for column in whole))}


WRONG = [
    ("tokens", "inputs", "5", r"row 4 has inputs\[0\]=5, expected tokens of 0 to 4, as there are 5, counted from 0"),
    ("tokens", "inputs", "-5", r"row 4 has inputs\[0\]=-5, expected tokens of 0 to 4"),
    ("tokens", "inputs", "-1", r"row 4 has inputs\[0\]=-1, expected tokens of 0 to 4"),
    ("tokens", "targets", "5", r"row 4 has targets\[0\]=5, expected 0 to 4, .* or -1 where there is no target"),
    ("tokens", "targets", "-100", r"row 4 has targets\[0\]=-100, expected 0 to 4"),
    ("tokens", "true_targets", "5", r"row 4 has true_targets\[0\]=5, expected 0 to 4"),
    ("features", "inputs", "nan", r"row 4 has inputs\[0\]=nan, expected finite numbers"),
    ("features", "targets", "5", r"row 4 has targets\[0\]=5, expected 0 to 4"),
    ("channels", "inputs", "inf", r"row 4 has inputs\[0, 0\]=inf, expected finite numbers"),
    ("real targets", "targets", "-inf", r"row 4 has targets\[0, 0\]=-inf, expected finite numbers"),
]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("JAXGEN_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


@pytest.mark.parametrize(("kind", "column", "value", "said"), WRONG)
def test_data_on_disk_are_refused_when_they_are_loaded(
    kind: Kind, column: str, value: str, said: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = OwnTask(kind_of=kind, column=column, value=value)  # type: ignore[arg-type]
    with monkeypatch.context() as made_elsewhere:
        made_elsewhere.setattr(stored, "checked_table", lambda task, seed: task.table(seed))
        read = StoredTask(data=stored.export(task, 0, None, folder), train_measured=1)
    # Also where the row is none of those that are measured.
    with pytest.raises(UserError, match=rf"{read.data}/train.array_record: {said}"):
        read.table(0)
    with pytest.raises(UserError, match=rf"{read.data}/train.array_record: {said}"):
        read.host_batch(0, 0, 2, range(2))


@pytest.mark.parametrize(("kind", "column", "value", "said"), WRONG)
def test_tasks_of_a_users_own_are_refused(kind: Kind, column: str, value: str, said: str, folder: Path) -> None:
    task = OwnTask(kind_of=kind, column=column, value=value)  # type: ignore[arg-type]
    with pytest.raises(UserError, match=rf"task OwnTask: split 'train': {said}"):
        checked_table(task, 0)
    with pytest.raises(UserError, match=rf"task OwnTask: split 'train': {said}"):
        stored.export(task, 0, None, folder)


def test_a_population_of_such_a_task_does_not_train() -> None:
    from jaxgen.condition import Trajectory
    from jaxgen.train.constants import stack_constants

    condition = Condition(
        name="own",
        task=OwnTask(column="targets", value="5"),
        model=MLPConfig(hidden=(4,)),
        optimizer=AdamW(learning_rate=0.01),
        steps=1,
    )
    with pytest.raises(UserError, match=r"row 4 has targets\[0\]=5"):
        stack_constants([Trajectory(condition, 0, "id")], [None])


@pytest.mark.parametrize("kind", ["tokens", "features", "channels", "real targets"])
def test_right_data_are_read(kind: Kind, folder: Path) -> None:
    read = StoredTask(data=stored.export(OwnTask(kind_of=kind), 0, None, folder))
    assert read.table(0)["test"].inputs.shape[0] == 2


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda m: m["shape"]["sizes"].reverse() or m["shape"]["sizes"][1].__setitem__(1, 99),
            "got 24 rows, expected 99",
        ),
        (
            lambda m: m["splits"]["train"]["columns"][0].__setitem__(1, "<i8"),
            r"got columns \[\[\[2\], '<i8'\].*expected \[\[\[2\], '<i4'\]",
        ),
        (lambda m: m["shape"].__setitem__("vocabulary", 6), "expected tokens of 0 to 5, as there are 6"),
    ],
)
def test_a_manifest_that_says_other_than_its_files_is_refused(change, said: str, folder: Path) -> None:
    digest = stored.export(ModularTask(p=7, train_fraction=0.5, format="a b"), 0, None, folder)
    manifest = json.loads((folder / digest / "manifest.json").read_text())
    change(manifest)
    other = stored._digest(manifest)
    (folder / digest).rename(folder / other)
    (folder / other / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(UserError, match=said):
        StoredTask(data=other).table(0)
