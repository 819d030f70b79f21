"""Labels, a part of which is drawn at random. Shape letters: N examples, F features."""

from __future__ import annotations

import math

import numpy as np

from jaxgen.tasks.base import Split, divided, random_words


def given_labels(
    true_N: np.ndarray, train: int, corruption: float, classes: int, *, seed: int, stream: int
) -> tuple[np.ndarray, np.ndarray]:
    """Returns labels (N,), whose first floor(corruption * train) are uniform, and a mask of these."""
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
