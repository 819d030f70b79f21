"""Tasks that make each example from its own random words, and helpers for their token sequences.

Shape letters: N examples, W random words of an example, X slots for a token, T tokens of a padded sequence, K read-out
positions.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from jaxgen.config import PositiveInt
from jaxgen.tasks.base import Array, Split, Task, TaskShape, example_words, next_tokens, sequence_shape


@dataclasses.dataclass(frozen=True, kw_only=True)
class SampledTask(Task, family=True):
    """Examples from one distribution for each split, as many as wanted.

    Infinite data (`train_examples=None`): every step draws fresh training examples, and `train` is a
    fixed sample as large as the other splits. Finite data: training uses only the examples of `train`.
    """

    # Whether `make` accepts only numpy arrays.
    numpy_alone: ClassVar[bool] = False

    train_examples: PositiveInt | None = None  # None: infinite data
    test_examples: PositiveInt = 1000  # of each other split

    @property
    def on_host(self) -> bool:  # type: ignore[override]
        """Whether the host makes the training examples. It makes fresh ones; finite data are a table."""
        return self.numpy_alone and self.train_examples is None

    def splits(self) -> tuple[str, ...]:
        """Returns the names of the splits, `train` first."""
        raise NotImplementedError

    def words(self, split: str) -> int:
        """Returns W, the number of random words for an example of `split`."""
        raise NotImplementedError

    def make(self, split: str, words_NW: Array, xp: Any) -> Split:
        """Makes examples of `split`, each from its own row of words; otherwise as `examples`."""
        raise NotImplementedError

    def sizes(self) -> tuple[tuple[str, int], ...]:
        train = self.train_examples or self.test_examples
        return tuple((name, train if name == "train" else self.test_examples) for name in self.splits())

    def spans(self) -> Mapping[str, tuple[int, int]]:
        """Returns for each split the length of the shortest prompt, and of the longest whole sequence, in tokens."""
        raise NotImplementedError

    def shape(self) -> TaskShape:
        names = self.token_names()
        return sequence_shape(len(names), self.sizes(), self.spans(), len(names) - 1 if names[-1] == "<pad>" else None)

    def told(self, split: str, tokens_NX: Array, shown_NX: Array, answer: int, xp: Any) -> Split:
        """Makes examples from X slots with a token each; slots that are not shown are left out.

        The tokens shown in the last `answer` slots are targets. The last of the `token_names` is the padding.
        """
        tokens_NT, length_N = packed(tokens_NX, shown_NX, len(self.token_names()) - 1, xp)
        prompt_N = length_N - shown_NX[:, -answer:].sum(axis=1, dtype=xp.int32)
        place_1T = xp.arange(tokens_NX.shape[1], dtype=xp.int32)[None]
        return self.asked(split, tokens_NT, (place_1T >= prompt_N[:, None]) & (place_1T < length_N[:, None]), xp)

    def asked(self, split: str, tokens_NT: Array, asked_NT: Array, xp: Any) -> Split:
        """Makes examples from padded sequences: each token marked in `asked_NT` is the target at the token before
        it."""
        shape = self.shape()
        length = shape.length_of(split)
        if (missing := length + 1 - tokens_NT.shape[1]) > 0:
            tokens_NT = xp.pad(tokens_NT, ((0, 0), (0, missing)), constant_values=shape.vocabulary - 1)
            asked_NT = xp.pad(asked_NT, ((0, 0), (0, missing)))
        return next_tokens(tokens_NT[:, : length + 1], asked_NT[:, : length + 1], xp, first=shape.readout[0])

    def stream_words(self) -> int | None:
        return self.words("train") if self.train_examples is None else None

    def examples(self, words_NW: Array, xp: Any) -> Split:
        return self.make("train", words_NW, xp)

    def table(self, seed: int) -> dict[str, Split]:
        splits = {}
        for stream, (name, size) in enumerate(self.sizes()):
            words_NW = example_words(size, self.words(name), seed=seed, stream=stream)
            splits[name] = self.make(name, words_NW, np)
        return splits


def packed(tokens_NT: Array, present_NT: Array, pad: int, xp: Any) -> tuple[Array, Array]:
    """Returns (N, T) int32, the present tokens in order and then padding; and (N,) int32, the number of present
    tokens."""
    length_N = present_NT.sum(axis=1, dtype=xp.int32)
    within_NT = xp.arange(tokens_NT.shape[1], dtype=xp.int32)[None] < length_N[:, None]
    if xp is np:  # twenty times faster than sorting
        packed_NT = np.full(tokens_NT.shape, pad, dtype=np.int32)
        packed_NT[within_NT] = tokens_NT[present_NT]
        return packed_NT, length_N
    order_NT = xp.argsort((~present_NT).astype(xp.int8), axis=1, stable=True)
    return xp.where(within_NT, xp.take_along_axis(tokens_NT, order_NT, axis=1), pad).astype(xp.int32), length_N


def chosen(fits_NX: Array, word_N: Array, xp: Any) -> Array:
    """Returns (N,) int32: a uniform choice among the indices that fit."""
    rank_N = (word_N % fits_NX.sum(axis=1, dtype=xp.uint32)).astype(xp.int32)
    return xp.argmax(xp.cumsum(fits_NX, axis=1, dtype=xp.int32) > rank_N[:, None], axis=1).astype(xp.int32)


def some(words_NX: np.ndarray, count_N: np.ndarray, most: int) -> np.ndarray:
    """Returns (N, most) int32: ascending indices, the first `count_N` of which are a uniform choice from the X."""
    largest_N1 = np.take_along_axis(np.sort(words_NX, axis=1), count_N[:, None] - 1, axis=1)
    return np.argsort(words_NX > largest_N1, axis=1, stable=True)[:, :most].astype(np.int32)
