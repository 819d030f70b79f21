"""Labels drawn at random, which can only be memorised: all of them, or a part.

Shape letters: N examples, W random words, L symbols, D coordinates, V classes.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Annotated, Any

import numpy as np

from jaxgen.config import Fraction, NonNegative, NonNegativeInt, PerMember, PositiveInt, Range, Size
from jaxgen.errors import UserError
from jaxgen.tasks.base import Array, Split, TaskShape, clean_split, divided, random_normals, random_words
from jaxgen.tasks.features import FeatureTask
from jaxgen.tasks.sequence import SequenceTask

# Streams of random words.
_CENTRES, _CLASS, _NOISE, _LABELS = range(4)


@dataclasses.dataclass(frozen=True, kw_only=True)
class RandomLabelsTask(SequenceTask):
    """Different strings of `length` uniform symbols, each with a uniform label, read out at the last symbol.

    Tokens are the symbols and the labels, both from 0 on. Nothing tells a label, nor those of `test`, so the accuracy
    there is chance whatever is learned.
    """

    train_examples: PositiveInt
    symbols: Annotated[int, Range(at_least=2)]
    length: Size
    labels: Annotated[int, Range(at_least=2)] = 2

    def words(self) -> int:
        return self.length + 1

    def shape(self) -> TaskShape:
        return TaskShape(
            vocabulary=max(self.symbols, self.labels),
            length=self.length,
            readout=(self.length - 1,),
            sizes=self.sizes(),
        )

    def examples(self, words_NW: Array, xp: Any) -> Split:
        symbols_NL = (words_NW[:, :-1] % self.symbols).astype(xp.int32)
        label_N1 = (words_NW[:, -1:] % self.labels).astype(xp.int32)
        return clean_split(symbols_NL, label_N1, xp)


@dataclasses.dataclass(frozen=True, kw_only=True)
class GaussianMixtureTask(FeatureTask):
    """x = centre of its class + N(0, I_D), with a part of the training labels drawn at random.

    Classes are uniform. Centres are `signal` long, of uniform direction, and 0 in the last `noise_dimensions` of the
    D coordinates. Of the training labels floor(corruption * train) are uniform over all classes, so about one in V of
    them is right by chance; test labels are clean. `corruption=1` has no label that tells anything.
    """

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


def given_labels(
    true_N: np.ndarray, train: int, corruption: float, classes: int, *, seed: int, stream: int
) -> tuple[np.ndarray, np.ndarray]:
    """Returns labels (N,), of which the first floor(corruption * train) are uniform, and which these are."""
    corrupted_N = np.arange(len(true_N)) < math.floor(corruption * train)
    drawn_N = random_words(len(true_N), seed=seed, stream=stream) % classes
    return np.where(corrupted_N, drawn_N.astype(true_N.dtype), true_N), corrupted_N


def labelled(
    x_NF: np.ndarray, true_N: np.ndarray, train: int, corruption: float, classes: int, *, seed: int, stream: int
) -> dict[str, Split]:
    """Returns `train`, the first examples, and `test`, with a part of the training labels drawn at random."""
    given_N, corrupted_N = given_labels(true_N, train, corruption, classes, seed=seed, stream=stream)
    whole = Split(x_NF, given_N[:, None], true_N[:, None], corrupted_N)
    return divided(whole, (("train", train), ("test", len(x_NF) - train)))
