"""Tasks that give real features: the teacher's regression and the digits."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxgen.condition import Condition
from jaxgen.errors import UserError
from jaxgen.experiments.omnigrok.parts import WithinError
from jaxgen.measures.config import Loss
from jaxgen.models.config import MLPConfig
from jaxgen.optimizers import SGD
from jaxgen.tasks import DigitsTask, Split, Task, TeacherTask
from jaxgen.tasks.base import random_normals, random_uniforms

TEACHER = TeacherTask(inputs=3, outputs=2, hidden=(4, 6), train=5, test=7)


def equal(one: dict[str, Split], other: dict[str, Split]) -> bool:
    return all(np.array_equal(x, y) for name in one for x, y in zip(one[name], other[name], strict=True))


@pytest.mark.parametrize("task", [TEACHER, DigitsTask(train=100)])
def test_a_table_has_the_shape_it_says_and_depends_on_the_seed_alone(task: Task) -> None:
    shape, table = task.shape(), task.table(seed=3)
    assert {name: len(split.inputs) for name, split in table.items()} == dict(shape.sizes)
    for split in table.values():
        assert split.inputs.dtype == np.float32
        assert split.inputs.shape[1] == shape.length
        assert split.targets.dtype == (np.float32 if shape.real_targets else np.int32)
        assert split.targets.shape[1:] == ((1, shape.vocabulary) if shape.real_targets else (1,))
        assert np.array_equal(split.targets, split.true_targets)
        assert not split.corrupted.any()
    assert equal(task.table(seed=3), table)
    assert not equal(task.table(seed=4), table)


def test_each_digit_is_in_one_split_with_its_own_label() -> None:
    from sklearn.datasets import load_digits

    pixels, digits = load_digits(return_X_y=True)
    rows = sorted((*row, digit) for row, digit in zip((pixels / 16).tolist(), digits.tolist(), strict=True))
    table = DigitsTask(train=300).table(seed=1)
    found = [
        (*row, digit)
        for split in table.values()
        for row, (digit,) in zip(split.inputs.tolist(), split.targets.tolist(), strict=True)
    ]
    assert sorted(found) == rows
    assert {len(split.inputs) for split in table.values()} == {300, 1497}


def test_the_digits_are_those_of_every_release() -> None:
    table = DigitsTask(train=1796).table(seed=0)
    pixels = np.concatenate([split.inputs for split in table.values()])
    labels = np.concatenate([split.targets for split in table.values()])
    assert pixels.min() == 0.0
    assert pixels.max() == 1.0
    assert int(pixels.sum(dtype=np.float64) * 16) == 561718
    assert np.bincount(labels[:, 0]).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]


def test_the_teacher_is_a_network_of_its_depth_and_activation() -> None:
    # One hidden unit of one input: v * tanh(w * x + b) + c, whose four numbers few examples determine.
    task = TeacherTask(inputs=1, outputs=1, hidden=(1,), train=6, test=50)
    w, b, v, c = (2 * random_uniforms((4,), seed=5, stream=1) - 1).tolist()
    for split in task.table(seed=5).values():
        for (x,), ((y,),) in zip(split.inputs.tolist(), split.targets.tolist(), strict=True):
            assert y == pytest.approx(v * math.tanh(w * x + b) + c, abs=1e-6)


def test_a_linear_region_of_a_relu_teacher_is_homogeneous_up_to_its_biases() -> None:
    tanh, relu = (TeacherTask(activation=name, train=50).table(seed=0)["train"] for name in ("tanh", "relu"))
    np.testing.assert_array_equal(tanh.inputs, relu.inputs)
    assert not np.array_equal(tanh.targets, relu.targets)


def test_both_splits_have_one_teacher() -> None:
    # The same function at the same input: a task with other sizes gives the same first examples.
    small, large = TeacherTask(train=10, test=90).table(seed=2), TeacherTask(train=60, test=40).table(seed=2)
    np.testing.assert_array_equal(
        np.concatenate([split.targets for split in small.values()]),
        np.concatenate([split.targets for split in large.values()]),
    )


@given(seed=st.integers(0, 2**31 - 1), stream=st.integers(0, 100))
def test_normal_numbers_are_standard_and_independent(seed: int, stream: int) -> None:
    drawn = random_normals((4001,), seed=seed, stream=stream)
    assert drawn.shape == (4001,)
    assert abs(drawn.mean()) < 6 / math.sqrt(4001)
    assert drawn.var() == pytest.approx(1, abs=6 * math.sqrt(2 / 4001))
    assert abs(np.corrcoef(drawn[:2000], drawn[2000:4000])[0, 1]) < 6 / math.sqrt(2000)
    assert np.mean(np.abs(drawn) < 0.6745) == pytest.approx(0.5, abs=0.05)


def test_a_loss_must_fit_the_targets() -> None:
    settings = {
        "name": "a",
        "model": MLPConfig(hidden=(3,)),
        "optimizer": SGD(learning_rate=0.1),
        "steps": 1,
        "measures": (Loss(), WithinError(below=0.1)),
    }
    Condition(task=TEACHER, loss="squared_error", **settings)
    with pytest.raises(UserError, match="loss: got 'mse', expected 'squared_error': the targets of the task are real"):
        Condition(task=TEACHER, loss="mse", **settings)
    with pytest.raises(UserError, match="expected 'cross_entropy' or 'mse': the targets of the task are tokens"):
        Condition(task=DigitsTask(train=9), loss="squared_error", **settings)
