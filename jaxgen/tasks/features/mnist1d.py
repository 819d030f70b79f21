"""MNIST-1D: digits drawn as lines in time, deformed and noisy (Greydanus and Kobak, arXiv 2011.14439).

The published recipe is run with other random numbers, so the distribution is the published one, but the examples are
not. Shape letters: N examples, K template points, T points of a padded line, F points of an example.
"""

from __future__ import annotations

import dataclasses
from typing import Annotated

import numpy as np

from jaxgen.config import Fraction, HostSeed, PerMember, Range
from jaxgen.errors import UserError
from jaxgen.tasks.base import Split, Task, TaskShape, random_normals, random_order, random_uniforms
from jaxgen.tasks.labels import labelled

CLASSES, _TEMPLATE, _PADDED, _POINTS = 10, 12, 72, 40
_PADDING, _TRANSLATIONS = (36, 60), 48
_SCALE, _SHEAR, _SMOOTH_NOISE, _NOISE, _SMOOTHING = 0.4, 0.75, 0.25, 0.02, 2.0

# Streams of random words.
_ORDER, _DEFORMATIONS, _SMOOTH, _WHITE, _LABELS = range(5)

# The height of the pen at 12 times, for the digits 0 to 9.
_DRAWN = (
    (5, 6, 6.5, 6.75, 7, 7, 7, 7, 6.75, 6.5, 6, 5),
    (5, 3, 3, 3.4, 3.8, 4.2, 4.6, 5, 5.4, 5.8, 5, 5),
    (5, 6, 6.5, 6.5, 6, 5.25, 4.75, 4, 3.5, 3.5, 4, 5),
    (5, 6, 6.5, 6.5, 6, 5, 5, 6, 6.5, 6.5, 6, 5),
    (5, 4.4, 3.8, 3.2, 2.6, 2.6, 5, 5, 5, 5, 5, 5),
    (5, 3, 3, 3, 3, 5, 6, 6.5, 6.5, 6, 4.5, 5),
    (5, 4, 3.5, 3.25, 3, 3, 3, 3, 3.25, 3.5, 4, 5),
    (5, 7, 7, 6.6, 6.2, 5.8, 5.4, 5, 4.6, 4.2, 5, 5),
    (5, 4, 3.5, 3.5, 4, 5, 5, 4, 3.5, 3.5, 4, 5),
    (5, 4, 3.5, 3.5, 4, 5, 5, 5, 5, 4.7, 4.3, 5),
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class MNIST1DTask(Task):
    """Ten classes of 40 real features, with equally many examples each, of which `train` are drawn for training.

    A digit's line is followed by 36 to 60 zeros, stretched to 72 points, scaled by up to 20 % and cyclically shifted by
    0 to 47 points. Smooth noise is added where it is zero, white noise everywhere. It is then sheared, and sampled at
    40 points. All examples together are normalised to mean 0 and variance 1. The published set has 4,000 and 1,000 of
    them.

    Of the training labels floor(corruption * train) are drawn uniformly from all classes.
    """

    train: Annotated[int, Range(at_least=1)] = 4000
    test: Annotated[int, Range(at_least=1)] = 1000
    corruption: Annotated[Fraction, PerMember] = 0.0
    data_seed: HostSeed | None = None  # None: each run's own seed draws the data

    def validate(self) -> None:
        if (self.train + self.test) % CLASSES:
            raise UserError(
                f"task.test: got {self.train} + {self.test} = {self.train + self.test} examples, expected a multiple "
                f"of {CLASSES}: there are as many of each class"
            )

    def shape(self) -> TaskShape:
        return TaskShape(
            vocabulary=CLASSES,
            length=_POINTS,
            readout=(0,),
            sizes=(("train", self.train), ("test", self.test)),
            features=True,
        )

    def corrupts(self) -> bool:
        return self.corruption > 0

    def table(self, seed: int) -> dict[str, Split]:
        seed = seed if self.data_seed is None else self.data_seed
        count = self.train + self.test
        digit_N = np.arange(count) * CLASSES // count
        order_N = random_order(count, seed=seed, stream=_ORDER)
        lines_NF, digit_N = _lines(digit_N, seed)[order_N], digit_N[order_N].astype(np.int32)
        x_NF = ((lines_NF - lines_NF.mean()) / lines_NF.std()).astype(np.float32)
        return labelled(x_NF, digit_N, self.train, self.corruption, CLASSES, seed=seed, stream=_LABELS)


def templates() -> np.ndarray:
    """Returns the lines (10, K) float64; each has variance 1/36, and starts and ends at 0."""
    drawn = np.array(_DRAWN)
    return (drawn - drawn[:, :1]) / drawn.std(axis=1, keepdims=True) / 6.0


def _lines(digit_N: np.ndarray, seed: int) -> np.ndarray:
    """Returns the deformed lines (N, F) float64, before normalisation."""
    count = len(digit_N)
    padding_N, scale_N, move_N, shear_N = random_uniforms((4, count), seed=seed, stream=_DEFORMATIONS)
    # A tiny number distinguishes a zero of the line from the zeros after it.
    line_NT = np.zeros((count, _TEMPLATE + _PADDING[1]))
    line_NT[:, :_TEMPLATE] = templates()[digit_N] + 1e-8
    padding_N = np.floor(_PADDING[0] + padding_N * (_PADDING[1] - _PADDING[0] + 1))
    x_NT = _read(line_NT, np.linspace(0, 1, _PADDED) * (_TEMPLATE + padding_N[:, None] - 1))
    x_NT *= 1 + _SCALE * (scale_N[:, None] - 0.5)
    from_NT = np.arange(_PADDED) - np.floor(_TRANSLATIONS * move_N)[:, None].astype(np.int64)
    x_NT = np.take_along_axis(x_NT, from_NT % _PADDED, axis=1)
    smooth_NT = _SMOOTH_NOISE * random_normals((count, _PADDED), seed=seed, stream=_SMOOTH) @ _smoothing().T
    x_NT = np.where(x_NT != 0, x_NT, smooth_NT)
    x_NT += _NOISE * random_normals((count, _PADDED), seed=seed, stream=_WHITE)
    x_NT -= _SHEAR * (shear_N[:, None] - 0.5) * np.linspace(-0.5, 0.5, _PADDED)
    return _read(x_NT, np.broadcast_to(np.linspace(0, 1, _POINTS) * (_PADDED - 1), (count, _POINTS)))


def _read(x_NT: np.ndarray, place_NF: np.ndarray) -> np.ndarray:
    """Returns x (N, F) at real positions (N, F), by linear interpolation."""
    low_NF = np.minimum(place_NF.astype(np.int64), x_NT.shape[1] - 2)
    part_NF = place_NF - low_NF
    below_NF, above_NF = (np.take_along_axis(x_NT, low_NF + i, axis=1) for i in (0, 1))
    return (1 - part_NF) * below_NF + part_NF * above_NF


def _smoothing() -> np.ndarray:
    """Returns the matrix (T, T) of a Gaussian filter, cut off at 4 standard deviations, with reflection at the ends."""
    reach = np.arange(-int(4 * _SMOOTHING), int(4 * _SMOOTHING) + 1)
    weight = np.exp(-0.5 * (reach / _SMOOTHING) ** 2)
    matrix_TT = np.zeros((_PADDED, _PADDED))
    for step, each in zip(reach, weight / weight.sum(), strict=True):
        place = (np.arange(_PADDED) + step) % (2 * _PADDED)
        matrix_TT[np.arange(_PADDED), np.minimum(place, 2 * _PADDED - 1 - place)] += each
    return matrix_TT
