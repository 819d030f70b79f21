"""Classes of real vectors.

Shape letters: N examples, D coordinates.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from jaxgen.config import PositiveInt
from jaxgen.tasks.base import Split, Task, TaskShape


@dataclasses.dataclass(frozen=True, kw_only=True)
class FeatureTask(Task, family=True):
    """Two classes of float32 vectors (N, D); the class is read out at one position."""

    smoke_sizes: ClassVar[Mapping[str, int]] = {"train": 32, "test": 32, "dimensions": 4}

    train: PositiveInt  # examples of the split `train`
    test: PositiveInt  # examples of `test`, drawn from the same distribution
    dimensions: PositiveInt  # D

    def splits(self) -> tuple[str, ...]:
        """Returns the names of the splits; all but `train` have `test` examples."""
        return ("train", "test")

    def sizes(self) -> tuple[tuple[str, int], ...]:
        return tuple((name, self.train if name == "train" else self.test) for name in self.splits())

    def shape(self) -> TaskShape:
        return TaskShape(vocabulary=2, length=self.dimensions, readout=(0,), sizes=self.sizes(), features=True)


def feature_split(x_ND: np.ndarray, given_N: np.ndarray, true_N: np.ndarray, corrupted_N: np.ndarray) -> Split:
    """Returns examples of vectors (N, D) and their classes (N,): those given, and the true ones."""
    return Split(x_ND.astype(np.float32), given_N[:, None], true_N[:, None], corrupted_N)
