"""What every task gives: the shape of its examples, and the examples themselves.

A *table* task is finite: it is enumerated once with numpy, and lives on the device whole. A *stream*
task draws fresh training examples at every step; its splits are fixed samples, to measure on. A *host*
task gets them from the host: made by numpy, as no compiled program could, or read from disk.

Sequences of different lengths are padded at the end with a token of their own, whose targets are IGNORED. A causal
model never sees it where it is asked something, and an encoder does not attend to it.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np

from jaxgen.config import Config
from jaxgen.errors import UserError

Array = Any  # numpy's on the host, jax's on the device

# The target of a read-out position that asks an example nothing: it counts neither in a loss nor in an accuracy.
IGNORED = -1

# Keys the words of the training examples that the host draws, which must be others than those of the tables.
TRAINING_STREAM = 2**32


class Split(NamedTuple):
    """The examples of one split; N examples, S input positions or features, K read-out positions.

    A NamedTuple of arrays, so it is a pytree for jax.
    """

    inputs: Array  # (N, S) int32 tokens, or float32 features, or (N, S, C) float32 channels
    # (N, K) int32: the labels given, corrupted where `corrupted`, or IGNORED; or real: (N, K, V) float32
    targets: Array
    true_targets: Array  # like targets: the labels that the rule gives
    corrupted: Array  # (N,) bool: the label was drawn at random


@dataclasses.dataclass(frozen=True)
class TaskShape:
    """The static sizes that a model and a compiled program depend on."""

    # V, number of tokens, of inputs and of outputs; of features, the number of classes or real outputs
    vocabulary: int
    length: int  # S, input positions or features
    readout: tuple[int, ...]  # the K positions whose logits are trained and judged
    sizes: tuple[tuple[str, int], ...]  # (split, number of examples)
    features: bool = False  # whether inputs are real numbers, not tokens
    real_targets: bool = False  # whether targets are V real numbers, not one of V tokens
    channels: int | None = None  # C, real numbers at each of the S positions; None: inputs are tokens, or features
    # Splits of another length than S: (split, its length). All positions of every split are then read out.
    lengths: tuple[tuple[str, int], ...] = ()
    # The token that pads sequences at their end; None: none are padded; unmarked: by what an example may hold, too.
    padding: int | Literal["unmarked"] | None = None

    def blank(self) -> Array:
        """Returns inputs of one example: zeros (1, S) or (1, S, C), of the right dtype."""
        channels = () if self.channels is None else (self.channels,)
        real = self.features or self.channels is not None
        return np.zeros((1, self.length, *channels), np.float32 if real else np.int32)

    def longest(self) -> int:
        """Returns the length of the longest examples of any split."""
        return max(self.length, *(length for _, length in self.lengths), 0)

    def length_of(self, split: str) -> int:
        """Returns the length of a split's examples."""
        return dict(self.lengths).get(split, self.length)

    def table_bytes(self) -> int:
        """Returns the bytes of the examples of all splits; nothing is made for that."""
        total = 0
        for name, size in self.sizes:
            length = self.length_of(name)
            targets = len(self.readout_at(length)) * (self.vocabulary if self.real_targets else 1)
            total += size * (4 * length * (self.channels or 1) + 2 * 4 * targets + 1)
        return total

    def readout_at(self, length: int) -> tuple[int, ...]:
        """Returns the positions that are read out of examples of a length."""
        return self.readout if length == self.length else tuple(range(length))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Task(Config, family=True):
    """A distribution of examples with named splits, among them `train`."""

    takes_scalars: ClassVar[bool] = True
    # Raised when the examples that a configuration gives change; part of a run's identity.
    version: ClassVar[int] = 1
    # Whether the host makes the batches of training examples.
    on_host: ClassVar[bool] = False

    def shape(self) -> TaskShape:
        """Returns the static sizes."""
        raise NotImplementedError

    def token_names(self) -> tuple[str, ...]:
        """Returns what the V tokens are called where people read them."""
        return tuple(str(token) for token in range(self.shape().vocabulary))

    def disjoint_by(self) -> str | None:
        """Returns what a table's splits share, or what keeps a stream out of the other splits; None: no example is in
        two splits."""
        return None

    def corrupts(self) -> bool:
        """Returns whether some training labels are drawn at random."""
        return False

    def measured(self) -> tuple[str, ...]:
        """Returns the splits that measures look at: all of them, unless one is too large to go through whole."""
        return tuple(name for name, _ in self.shape().sizes)

    def table(self, seed: int) -> dict[str, Split]:
        """Enumerates every split, as a pure function of this config and `seed`."""
        raise NotImplementedError

    def kind(self) -> Literal["table", "stream", "host"]:
        """Returns where training examples come from: the table, the compiled program, or the host."""
        if self.on_host:
            return "host"
        return "table" if self.stream_words() is None else "stream"

    def stream_words(self) -> int | None:
        """Returns W, the random words that a fresh training example is made of; None: it trains on the table."""
        return None

    def parts(self) -> tuple[Task, ...]:
        """Returns the tasks that a batch may be of, whose lengths may differ; one batch is wholly of one."""
        return (self,)

    def part_at(self, step: Array, xp: Any) -> Array:
        """Returns the place in `parts`, if there are several, of the task that the batch of a step is of: an int32
        like `step`."""
        raise NotImplementedError

    def check_batch_size(self, size: int) -> None:
        """Raises `UserError` where there can be no batch of so many examples."""

    def batch(self, words_BW: Array, rows_B: np.ndarray, xp: Any) -> Split:
        """Makes the rows `rows_B` of a batch, each of its own words; where in the batch a row is may matter to it."""
        return self.examples(words_BW, xp)

    def host_batch(self, seed: int, step: int, batch_size: int, rows: range) -> Split:
        """Makes the rows `rows` of the batch of a step with numpy, as a pure function of this config, seed and step."""
        words = self.stream_words()
        assert words is not None
        first = step * batch_size + rows.start
        drawn = words_at(first, len(rows), words, seed=seed, stream=TRAINING_STREAM)
        return self.batch(drawn, np.array(rows), np)

    def examples(self, words_NW: Array, xp: Any) -> Split:
        """Makes N examples of uniform uint32 words (N, W), each of its own row alone.

        Args:
          words_NW: numpy's, or jax's where a compiled program draws them.
          xp: the module of their functions, numpy or jax.numpy.
        """
        raise NotImplementedError


def check_examples(split: Split, shape: TaskShape, where: str, first: int = 0) -> None:
    """Refuses examples that no model could be asked: jax reads beyond the end of a table without a word.

    Args:
      split: numpy's, N examples.
      shape: of their task.
      where: what they are called.
      first: the number of the first row.

    Raises:
      UserError: a token or target is not one of the V, or a real number is not finite.
    """
    most = shape.vocabulary - 1
    counted = f"0 to {most}, as there are {shape.vocabulary}, counted from 0"
    answers = "finite numbers" if shape.real_targets else f"{counted}, or {IGNORED} where nothing is asked"
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
    """Returns the examples of every split, all of which were looked at (`check_examples`)."""
    table, shape = task.table(seed), task.shape()
    for name, split in table.items():
        check_examples(split, shape, f"task {type(task).__name__}: split '{name}'")
    return table


def cut(split: Split, length: int, answers: int) -> Split:
    """Returns examples less the positions beyond `length` and the read-out positions beyond `answers`."""
    targets, true_targets = split.targets[:, :answers], split.true_targets[:, :answers]
    return Split(split.inputs[:, :length], targets, true_targets, split.corrupted)


def clean_split(inputs: Array, targets: Array, xp: Any) -> Split:
    """Returns examples whose labels are all those that the rule gives."""
    return Split(inputs, targets, targets, xp.zeros(inputs.shape[:1], dtype=bool))


def next_tokens(tokens_NT: Array, asked_NT: Array, xp: Any, *, first: int = 0) -> Split:
    """Returns sequences of T tokens as examples of T - 1 positions: each token marked is asked for at the one before.

    They are read out from the position `first` on.
    """
    targets_NT = xp.where(asked_NT, tokens_NT, xp.int32(IGNORED))
    return clean_split(tokens_NT[:, :-1], targets_NT[:, first + 1 :], xp)


def sequence_shape(
    vocabulary: int, sizes: tuple[tuple[str, int], ...], spans: Mapping[str, tuple[int, int]], padding: int | None
) -> TaskShape:
    """Returns the shape of sequences padded to the longest of `train`, or of their own split where that is longer.

    They are read out from the first position that any asks to the last; where lengths differ, at all positions.

    Args:
      vocabulary: V.
      sizes: the number of examples of each split.
      spans: for each split the fewest tokens of a prompt, and the most tokens of a whole sequence.
      padding: the token that pads them; None: none does.
    """
    length = spans["train"][1] - 1
    lengths = tuple((name, most - 1) for name, (_, most) in spans.items() if most - 1 > length)
    first = 0 if lengths else min(fewest for fewest, _ in spans.values()) - 1
    return TaskShape(
        vocabulary=vocabulary, length=length, readout=tuple(range(first, length)), sizes=sizes, lengths=lengths,
        padding=padding,
    )  # fmt: skip


def divided(whole: Split, sizes: Iterable[tuple[str, int]]) -> dict[str, Split]:
    """Returns the splits of the sizes given, whose examples stand one behind the other."""
    splits, start = {}, 0
    for name, size in sizes:
        splits[name] = Split(*(column[start : start + size] for column in whole))
        start += size
    return splits


def random_order(count: int, *, seed: int, stream: int) -> np.ndarray:
    """Returns a permutation of `count` that depends on (seed, stream) alone.

    Raw Philox words are sorted, because numpy freezes only the raw words across versions.
    """
    return np.argsort(random_words(count, seed=seed, stream=stream), kind="stable")


def random_words(count: int, *, seed: int, stream: int) -> np.ndarray:
    """Returns `count` uint64 words of the Philox stream keyed by (seed, stream)."""
    key = np.array([seed, stream], dtype=np.uint64)
    return np.random.Philox(key=key).random_raw(count)


def words_at(first: int, count: int, words: int, *, seed: int, stream: int) -> np.ndarray:
    """Returns uint32 words (count, words) of the examples `first`, `first + 1` ..., each a pure function of
    (seed, stream, its number, words)."""
    blocks = -(-words // 8)  # Philox gives 8 at each value of its counter
    philox = np.random.Philox(key=np.array([seed, stream], dtype=np.uint64), counter=first * blocks)
    return philox.random_raw(count * blocks * 4).view(np.uint32).reshape(count, -1)[:, :words]


def example_words(rows: int, columns: int, *, seed: int, stream: int) -> np.ndarray:
    """Returns uint32 words (rows, columns), a row for an example: the upper half of each word of the stream."""
    words = random_words(rows * columns, seed=seed, stream=stream) >> np.uint64(32)
    return words.astype(np.uint32).reshape(rows, columns)


def random_uniforms(shape: tuple[int, ...], *, seed: int, stream: int) -> np.ndarray:
    """Returns float64 numbers of `shape`, uniform in [0, 1): the upper 53 bits of each word."""
    words = random_words(math.prod(shape), seed=seed, stream=stream)
    return (words >> np.uint64(11)).reshape(shape) * 2.0**-53


def random_normals(shape: tuple[int, ...], *, seed: int, stream: int) -> np.ndarray:
    """Returns float64 standard normal numbers of `shape`, two of each pair of uniform ones (Box and Muller).

    Another version's logarithm or cosine may differ in the last bit, which rounding to float32 all but always hides.
    """
    count = math.prod(shape)
    radius, angle = random_uniforms((2, (count + 1) // 2), seed=seed, stream=stream)
    radius, angle = np.sqrt(-2.0 * np.log1p(-radius)), 2.0 * np.pi * angle
    return np.concatenate([radius * np.cos(angle), radius * np.sin(angle)])[:count].reshape(shape)
