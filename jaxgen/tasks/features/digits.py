"""Handwritten digits, 8 x 8 pixels: the test set of UCI's optical recognition data, as scikit-learn holds it."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from typing import Annotated, ClassVar

import numpy as np

from jaxgen.config import Fraction, PerMember, Range, added
from jaxgen.tasks.base import Split, Task, TaskShape, random_order
from jaxgen.tasks.labels import labelled

IMAGES, PIXELS, CLASSES = 1797, 64, 10


@dataclasses.dataclass(frozen=True, kw_only=True)
class DigitsTask(Task):
    """1,797 images of ten digits as 64 features from 0 to 1. The seed draws `train` of them; the others are the test
    set.

    Of the training labels floor(corruption * train) are drawn uniformly from all classes.
    """

    smoke_sizes: ClassVar[Mapping[str, int]] = {"train": 50}

    train: Annotated[int, Range(at_least=1, below=IMAGES)]
    corruption: Annotated[Fraction, PerMember] = added(0.0)

    def corrupts(self) -> bool:
        return self.corruption > 0

    def shape(self) -> TaskShape:
        return TaskShape(
            vocabulary=CLASSES,
            length=PIXELS,
            readout=(0,),
            sizes=(("train", self.train), ("test", IMAGES - self.train)),
            features=True,
        )

    def table(self, seed: int) -> dict[str, Split]:
        pixels_NF, digits_N = _images()
        order = random_order(IMAGES, seed=seed, stream=0)
        return labelled(pixels_NF[order], digits_N[order], self.train, self.corruption, CLASSES, seed=seed, stream=1)


@functools.cache
def _images() -> tuple[np.ndarray, np.ndarray]:
    # Imported here, because commands that only read should not wait for it.
    from sklearn.datasets import load_digits

    pixels, digits = load_digits(return_X_y=True)
    return (pixels / 16.0).astype(np.float32), digits.astype(np.int32)
