"""Classes of real vectors, each around its own centre, with a part of the labels drawn at random.

Shape letters: N examples, D coordinates, V classes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Annotated, ClassVar

import numpy as np

from jaxgen.config import Fraction, NonNegative, NonNegativeInt, PerMember, Range
from jaxgen.errors import UserError
from jaxgen.tasks.base import Split, TaskShape, random_normals, random_words
from jaxgen.tasks.features.base import FeatureTask
from jaxgen.tasks.labels import labelled

# Streams of random words.
_CENTRES, _CLASS, _NOISE, _LABELS = range(4)


@dataclasses.dataclass(frozen=True, kw_only=True)
class GaussianMixtureTask(FeatureTask):
    """x = centre of its class + N(0, I_D), with a part of the training labels drawn at random.

    Classes are uniform. Centres have length `signal`, a uniform direction, and 0 in the last `noise_dimensions` of the
    D coordinates. Of the training labels floor(corruption * train) are uniform over all classes, so about one in V of
    them is correct by chance; test labels are clean. With `corruption=1` no label carries information.
    """

    smoke_sizes: ClassVar[Mapping[str, int]] = {**FeatureTask.smoke_sizes, "noise_dimensions": 3}

    classes: Annotated[int, Range(at_least=2)] = 2
    signal: NonNegative
    noise_dimensions: NonNegativeInt = 0
    corruption: Annotated[Fraction, PerMember] = 0.0

    def validate(self) -> None:
        if self.noise_dimensions >= self.dimensions:
            raise UserError(
                f"task.noise_dimensions: got {self.noise_dimensions}, expected less than dimensions={self.dimensions}"
            )

    def shape(self) -> TaskShape:
        return dataclasses.replace(super().shape(), vocabulary=self.classes)

    def corrupts(self) -> bool:
        return self.corruption > 0

    def table(self, seed: int) -> dict[str, Split]:
        count = self.train + self.test
        centre_VD = random_normals((self.classes, self.dimensions), seed=seed, stream=_CENTRES)
        centre_VD[:, self.dimensions - self.noise_dimensions :] = 0.0
        centre_VD *= self.signal / np.linalg.norm(centre_VD, axis=1, keepdims=True)
        class_N = (random_words(count, seed=seed, stream=_CLASS) % np.uint64(self.classes)).astype(np.int32)
        x_ND = centre_VD[class_N] + random_normals((count, self.dimensions), seed=seed, stream=_NOISE)
        return labelled(
            x_ND.astype(np.float32), class_N, self.train, self.corruption, self.classes, seed=seed, stream=_LABELS
        )
