"""Regression on the outputs of a random network: the teacher-student setup of Omnigrok (arXiv 2210.01117)."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping
from typing import ClassVar, Literal

import numpy as np

from jaxgen.config import PositiveInt
from jaxgen.tasks.base import Split, Task, TaskShape, clean_split, divided, random_normals, random_uniforms

_INPUT_STREAM, _TEACHER_STREAM = 0, 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class TeacherTask(Task):
    """Standard normal inputs, and the outputs of a random fully connected network, the teacher.

    All its weights and biases are uniform(+-1/sqrt(fan_in)), as in torch. Targets are real numbers.
    """

    smoke_sizes: ClassVar[Mapping[str, int]] = {"train": 20, "test": 20, "hidden": 8}

    inputs: PositiveInt = 5
    outputs: PositiveInt = 5
    hidden: tuple[PositiveInt, ...] = (100, 100)
    activation: Literal["tanh", "relu"] = "tanh"
    train: PositiveInt = 100
    test: PositiveInt = 100

    def shape(self) -> TaskShape:
        return TaskShape(
            vocabulary=self.outputs,
            length=self.inputs,
            readout=(0,),
            sizes=(("train", self.train), ("test", self.test)),
            features=True,
            real_targets=True,
        )

    def table(self, seed: int) -> dict[str, Split]:
        count = self.train + self.test
        inputs_NF = random_normals((count, self.inputs), seed=seed, stream=_INPUT_STREAM)
        targets_NKV = self._teach(inputs_NF, seed)[:, None].astype(np.float32)
        return divided(clean_split(inputs_NF.astype(np.float32), targets_NKV, np), self.shape().sizes)

    def _teach(self, x_NF: np.ndarray, seed: int) -> np.ndarray:
        """Returns the teacher's outputs (N, V) float64."""
        widths = (self.inputs, *self.hidden, self.outputs)
        sizes = [(fan_in + 1) * fan_out for fan_in, fan_out in itertools.pairwise(widths)]
        drawn = 2.0 * random_uniforms((sum(sizes),), seed=seed, stream=_TEACHER_STREAM) - 1.0
        layers = np.split(drawn, np.cumsum(sizes)[:-1])
        for i, (layer, fan_in) in enumerate(zip(layers, widths, strict=False)):
            kernel_and_bias = layer.reshape(fan_in + 1, -1) * fan_in**-0.5
            x_NF = x_NF @ kernel_and_bias[:-1] + kernel_and_bias[-1]
            if i < len(self.hidden):
                x_NF = np.tanh(x_NF) if self.activation == "tanh" else np.maximum(x_NF, 0.0)
        return x_NF
