"""The contract of every task: the shape of its examples, and the examples themselves.

A *table* task is finite: numpy enumerates it once, and the device holds all of it. A *stream* task draws fresh training
examples at every step inside the compiled program; its splits are fixed samples for measuring. For a *host* task the
host makes the training batches with numpy, or reads them from disk.

Sequences of different lengths are padded at the end with a padding token, whose targets are IGNORED. A causal model
never sees padding at a position that has a target, and an encoder does not attend to it.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np

from jaxgen.config import Config
from jaxgen.errors import UserError

Array = Any  # a numpy array on the host, a jax array on the device

# The target at a read-out position where an example has no target: neither loss nor accuracy counts it.
IGNORED = -1

# Keys the random words of training examples that the host draws, so that they differ from those of the tables.
TRAINING_STREAM = 2**32


class Split(NamedTuple):
    """The examples of one split; N examples, S input positions or features, K read-out positions.

    A NamedTuple of arrays, so it is a pytree for jax.
    """

    inputs: Array  # (N, S) int32 tokens, or float32 features, or (N, S, C) float32 channels
    # (N, K) int32: the training labels, random where `corrupted`, or IGNORED; or real: (N, K, V) float32
    targets: Array
    true_targets: Array  # like targets: the labels by the task's rule
    corrupted: Array  # (N,) bool: whether the label was drawn at random


class Source(NamedTuple):
    """Where a sequence's source ends: an encoder reads what is before, a decoder writes what follows."""

    separator: int  # the token that ends the source, and occurs nowhere before its end
    longest: int  # at most so many tokens are before it


@dataclasses.dataclass(frozen=True)
class TaskShape:
    """The static sizes that a model and a compiled program depend on."""

    # V, the number of tokens of inputs and outputs; with features, the number of classes or real outputs
    vocabulary: int
    length: int  # S, input positions or features
    readout: tuple[int, ...]  # the K positions whose logits are trained and measured
    sizes: tuple[tuple[str, int], ...]  # (split, number of examples)
    features: bool = False  # whether inputs are real numbers, not tokens
    real_targets: bool = False  # whether targets are V real numbers, not one of V tokens
    channels: int | None = None  # C, real numbers at each of the S positions; None: inputs are tokens, or features
    # Splits whose length is not S, as (split, its length). If there are any, all positions of every split are read out.
    lengths: tuple[tuple[str, int], ...] = ()
    # The token that pads sequences at their end; None: no padding; unmarked: the token may also occur in examples.
    padding: int | Literal["unmarked"] | None = None
    # How examples are divided into a source and a target; None: they are not.
    source: Source | None = None

    def blank(self) -> Array:
        """Returns the inputs of one blank example: zeros (1, S) or (1, S, C), with the right dtype."""
        channels = () if self.channels is None else (self.channels,)
        real = self.features or self.channels is not None
        return np.zeros((1, self.length, *channels), np.float32 if real else np.int32)

    def longest(self) -> int:
        """Returns the length of the longest examples in any split."""
        return max(self.length, *(length for _, length in self.lengths), 0)

    def length_of(self, split: str) -> int:
        """Returns the length of a split's examples."""
        return dict(self.lengths).get(split, self.length)

    def table_bytes(self) -> int:
        """Returns the bytes of the examples of all splits, without making them."""
        total = 0
        for name, size in self.sizes:
            length = self.length_of(name)
            targets = len(self.readout_at(length)) * (self.vocabulary if self.real_targets else 1)
            total += size * (4 * length * (self.channels or 1) + 2 * 4 * targets + 1)
        return total

    def readout_at(self, length: int) -> tuple[int, ...]:
        """Returns the read-out positions of examples with this length."""
        return self.readout if length == self.length else tuple(range(length))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Task(Config, family=True):
    """A distribution of examples with named splits, among them `train`."""

    takes_scalars: ClassVar[bool] = True
    # Increase it when the examples of a configuration change. It is part of a run's identity.
    version: ClassVar[int] = 1
    # Whether the host makes the training batches.
    on_host: ClassVar[bool] = False

    def shape(self) -> TaskShape:
        """Returns the static sizes."""
        raise NotImplementedError

    def token_names(self) -> tuple[str, ...]:
        """Returns the names of the V tokens, for people."""
        return tuple(str(token) for token in range(self.shape().vocabulary))

    def disjoint_by(self) -> str | None:
        """Says which examples a table's splits share, or why a stream does not show those of the other splits. None: no
        example is in two splits."""
        return None

    def corrupts(self) -> bool:
        """Returns whether some training labels are drawn at random."""
        return False

    def measured(self) -> tuple[str, ...]:
        """Returns the splits that measures use: all, except those that are too large."""
        return tuple(name for name, _ in self.shape().sizes)

    def table(self, seed: int) -> dict[str, Split]:
        """Enumerates every split, as a pure function of this config and `seed`."""
        raise NotImplementedError

    def kind(self) -> Literal["table", "stream", "host"]:
        """Returns the source of training examples: the table, the compiled program (stream), or the host."""
        if self.on_host:
            return "host"
        return "table" if self.stream_words() is None else "stream"

    def stream_words(self) -> int | None:
        """Returns W, the number of random words for a fresh training example; None: training uses the table."""
        return None

    def parts(self) -> tuple[Task, ...]:
        """Returns the sub-tasks of a mixture. Each batch comes from exactly one, and their lengths may differ."""
        return (self,)

    def part_at(self, step: Array, xp: Any) -> Array:
        """Returns the index in `parts` of the sub-task from which the batch of a step comes: an int32 like `step`.
        Called only if there are several."""
        raise NotImplementedError

    def check_batch_size(self, size: int) -> None:
        """Raises `UserError` if a batch of this size is impossible."""

    def batch(self, words_BW: Array, rows_B: np.ndarray, xp: Any) -> Split:
        """Makes the rows `rows_B` of a batch, each from its own random words. A row may depend on its index in the
        batch."""
        return self.examples(words_BW, xp)

    def host_batch(self, seed: int, step: int, batch_size: int, rows: range) -> Split:
        """Makes the rows `rows` of a step's batch with numpy, as a pure function of this config, seed and step."""
        words = self.stream_words()
        assert words is not None
        first = step * batch_size + rows.start
        drawn = words_at(first, len(rows), words, seed=seed, stream=TRAINING_STREAM)
        return self.batch(drawn, np.array(rows), np)

    def examples(self, words_NW: Array, xp: Any) -> Split:
        """Makes N examples from uniform uint32 words (N, W). Each example depends only on its own row.

        Args:
          words_NW: a numpy array, or a jax array in a compiled program.
          xp: the matching module, numpy or jax.numpy.
        """
        raise NotImplementedError


def check_examples(split: Split, shape: TaskShape, where: str, first: int = 0) -> None:
    """Refuses examples that no model can read: jax would index beyond the end of a table without an error.

    Args:
      split: N examples as numpy arrays.
      shape: the shape of their task.
      where: the name of the examples, for the message.
      first: the number of the first row.

    Raises:
      UserError: a token or target is not one of the V, or a real number is not finite.
    """
    most = shape.vocabulary - 1
    counted = f"0 to {most}, as there are {shape.vocabulary}, counted from 0"
    answers = "finite numbers" if shape.real_targets else f"{counted}, or {IGNORED} where there is no target"
    inputs = "finite numbers" if shape.blank().dtype.kind == "f" else f"tokens of {counted}"
    for name, values, least, expected in (
        ("inputs", split.inputs, 0, inputs),
        ("targets", split.targets, IGNORED, answers),
        ("true_targets", split.true_targets, IGNORED, answers),
    ):
        values = np.asarray(values)
        wrong = ~np.isfinite(values) if values.dtype.kind == "f" else (values < least) | (values > most)
        if wrong.any():
            at = np.unravel_index(np.argmax(wrong), wrong.shape)
            column = f"{name}[{', '.join(map(str, at[1:]))}]"
            raise UserError(f"{where}: row {first + at[0]} has {column}={values[at]}, expected {expected}")


def checked_table(task: Task, seed: int) -> dict[str, Split]:
    """Returns the examples of every split after checking them all (`check_examples`)."""
    table, shape = task.table(seed), task.shape()
    for name, split in table.items():
        check_examples(split, shape, f"task {type(task).__name__}: split '{name}'")
    return table


def cut(split: Split, length: int, answers: int) -> Split:
    """Removes from examples the positions beyond `length` and the read-out positions beyond `answers`."""
    targets, true_targets = split.targets[:, :answers], split.true_targets[:, :answers]
    return Split(split.inputs[:, :length], targets, true_targets, split.corrupted)


def clean_split(inputs: Array, targets: Array, xp: Any) -> Split:
    """Returns examples whose labels all follow the rule."""
    return Split(inputs, targets, targets, xp.zeros(inputs.shape[:1], dtype=bool))


def next_tokens(tokens_NT: Array, asked_NT: Array, xp: Any, *, first: int = 0) -> Split:
    """Makes examples of T - 1 positions from sequences of T tokens. Each marked token is the target at the one before
    it.

    The read-out begins at position `first`.
    """
    targets_NT = xp.where(asked_NT, tokens_NT, xp.int32(IGNORED))
    return clean_split(tokens_NT[:, :-1], targets_NT[:, first + 1 :], xp)


def sequence_shape(
    vocabulary: int, sizes: tuple[tuple[str, int], ...], spans: Mapping[str, tuple[int, int]], padding: int | None
) -> TaskShape:
    """Returns the shape of sequences padded to the longest of `train`, or of their own split if it is longer.

    The read-out covers the positions from the first target of any example to the last. If lengths differ, it covers
    all.

    Args:
      vocabulary: V.
      sizes: the number of examples of each split.
      spans: for each split the length of the shortest prompt, and of the longest whole sequence, in tokens.
      padding: the padding token; None: no padding.
    """
    length = spans["train"][1] - 1
    lengths = tuple((name, most - 1) for name, (_, most) in spans.items() if most - 1 > length)
    first = 0 if lengths else min(fewest for fewest, _ in spans.values()) - 1
    return TaskShape(
        vocabulary=vocabulary, length=length, readout=tuple(range(first, length)), sizes=sizes, lengths=lengths,
        padding=padding,
    )  # fmt: skip


def divided(whole: Split, sizes: Iterable[tuple[str, int]]) -> dict[str, Split]:
    """Cuts examples into splits of the given sizes, in order."""
    splits, start = {}, 0
    for name, size in sizes:
        splits[name] = Split(*(column[start : start + size] for column in whole))
        start += size
    return splits


def random_order(count: int, *, seed: int, stream: int) -> np.ndarray:
    """Returns a permutation of `count` that depends only on (seed, stream).

    Raw Philox words are sorted, because numpy freezes only the raw words across versions.
    """
    return np.argsort(random_words(count, seed=seed, stream=stream), kind="stable")


def random_words(count: int, *, seed: int, stream: int) -> np.ndarray:
    """Returns `count` uint64 words of the Philox stream keyed by (seed, stream)."""
    key = np.array([seed, stream], dtype=np.uint64)
    return np.random.Philox(key=key).random_raw(count)


def words_at(first: int, count: int, words: int, *, seed: int, stream: int) -> np.ndarray:
    """Returns uint32 words (count, words) for the examples `first`, `first + 1` ... Each row is a pure function of
    (seed, stream, its number, words)."""
    blocks = -(-words // 8)  # Philox gives 8 words for each value of its counter
    philox = np.random.Philox(key=np.array([seed, stream], dtype=np.uint64), counter=first * blocks)
    return philox.random_raw(count * blocks * 4).view(np.uint32).reshape(count, -1)[:, :words]


def example_words(rows: int, columns: int, *, seed: int, stream: int) -> np.ndarray:
    """Returns uint32 words (rows, columns), one row an example: the upper half of each word of the stream."""
    words = random_words(rows * columns, seed=seed, stream=stream) >> np.uint64(32)
    return words.astype(np.uint32).reshape(rows, columns)


def random_uniforms(shape: tuple[int, ...], *, seed: int, stream: int) -> np.ndarray:
    """Returns float64 numbers of `shape`, uniform in [0, 1): the upper 53 bits of each word."""
    words = random_words(math.prod(shape), seed=seed, stream=stream)
    return (words >> np.uint64(11)).reshape(shape) * 2.0**-53


def random_normals(shape: tuple[int, ...], *, seed: int, stream: int) -> np.ndarray:
    """Returns float64 standard normal numbers of `shape`, two from each pair of uniform numbers (Box and Muller).

    Another version's logarithm or cosine may differ in the last bit; rounding to float32 almost always hides that.
    """
    count = math.prod(shape)
    radius, angle = random_uniforms((2, (count + 1) // 2), seed=seed, stream=stream)
    radius, angle = np.sqrt(-2.0 * np.log1p(-radius)), 2.0 * np.pi * angle
    return np.concatenate([radius * np.cos(angle), radius * np.sin(angle)])[:count].reshape(shape)
