"""Sequences drawn at random, from finite data or fresh at every step: the further tasks of Nanda et al.
(arXiv 2301.05217), which grok where data is finite.

Shape letters: N examples, W random words of an example, S input positions, K read-out positions.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import numpy as np

from jaxgen.config import MOST, HostSeed, PositiveInt, Range, Size
from jaxgen.errors import UserError
from jaxgen.tasks.base import Array, Split, Task, TaskShape, clean_split, divided, example_words, random_words

_EXAMPLE_STREAM, _RULE_STREAM = 0, 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class SequenceTask(Task, family=True):
    """Examples that are each made from W uniform random words.

    Finite data: the table's training examples are the data, and none of them is among the test
    examples. Infinite data (`train_examples=None`): every step draws fresh ones, and `train` is a
    fixed sample as large as `test`; the stream may show these too, as rarely as any other example.
    """

    smoke_sizes: ClassVar[Mapping[str, int]] = {"test_examples": 100}

    train_examples: PositiveInt | None  # None: infinite data
    test_examples: PositiveInt = 1000

    def words(self) -> int:
        """Returns W, the number of random words of an example."""
        raise NotImplementedError

    def sizes(self) -> tuple[tuple[str, int], ...]:
        return (("train", self.train_examples or self.test_examples), ("test", self.test_examples))

    def disjoint_by(self) -> str | None:
        if self.train_examples is not None:
            return None
        return "the stream draws from all examples, so it may show one of train or test as rarely as any other"

    def stream_words(self) -> int | None:
        return self.words() if self.train_examples is None else None

    def table(self, seed: int) -> dict[str, Split]:
        count = sum(size for _, size in self.sizes())
        # Twice as many as needed, because repeated examples are dropped.
        drawn = self.examples(example_words(2 * count, self.words(), seed=seed, stream=_EXAMPLE_STREAM), np)
        _, first = np.unique(drawn.inputs, axis=0, return_index=True)
        if len(first) < count:
            raise UserError(
                f"task: got {count} examples for training and test, expected at most about {len(first)}: "
                "there are too few different ones"
            )
        kept = np.sort(first)[:count]
        return divided(Split(*(column[kept] for column in drawn)), self.sizes())


@dataclasses.dataclass(frozen=True, kw_only=True)
class AdditionTask(SequenceTask):
    """The sum of two numbers of `digits` digits, written out: `1 2 + 9 9 = 1 1 1`, the highest digit first.

    Digits are uniform. Tokens are 0-9, `+` 10 and `=` 11. Every digit of the sum is read out at the
    token before it, so the digits above it are given. With 5 digits: Nanda et al., further tasks.
    """

    smoke_sizes: ClassVar[Mapping[str, int]] = {"digits": 2, "train_examples": 50, "test_examples": 50}

    digits: Size = 5

    def words(self) -> int:
        return 2 * self.digits

    def shape(self) -> TaskShape:
        asked = 2 * self.digits + 1  # the position of `=`
        return TaskShape(
            vocabulary=12,
            length=3 * self.digits + 2,
            readout=tuple(range(asked, asked + self.digits + 1)),
            sizes=self.sizes(),
        )

    def examples(self, words_NW: Array, xp: Any) -> Split:
        digits_NW = (words_NW % 10).astype(xp.int32)
        a_ND, b_ND = digits_NW[:, : self.digits], digits_NW[:, self.digits :]
        carry_N = xp.zeros_like(a_ND[:, 0])
        answer = []
        for i in reversed(range(self.digits)):
            sum_N = a_ND[:, i] + b_ND[:, i] + carry_N
            answer.append(sum_N % 10)
            carry_N = sum_N // 10
        sum_NK = xp.stack([carry_N, *reversed(answer)], axis=1)
        plus_N1 = xp.full_like(a_ND[:, :1], 10)
        inputs_NS = xp.concatenate([a_ND, plus_N1, b_ND, plus_N1 + 1, sum_NK[:, :-1]], axis=1)
        return clean_split(inputs_NS, sum_NK, xp)


@dataclasses.dataclass(frozen=True, kw_only=True)
class InductionTask(SequenceTask):
    """Earlier tokens are repeated, and the model must continue them: `5 2 7 9 4 | 2 7 9`.

    `context` tokens, all different and in random order, are followed by `repeat` of them that stand
    together. Every repeated token but the first is read out at the one before it: it is what followed
    that token before, which takes two layers of attention (an induction head).
    """

    vocabulary: PositiveInt
    context: Size
    repeat: Annotated[int, Range(at_least=2)]

    def validate(self) -> None:
        if not self.repeat <= self.context <= self.vocabulary:
            raise UserError(
                f"task: got repeat={self.repeat}, context={self.context}, vocabulary={self.vocabulary}, expected "
                "repeat <= context <= vocabulary: the context's tokens are all different"
            )

    def words(self) -> int:
        return self.vocabulary + 1

    def shape(self) -> TaskShape:
        return TaskShape(
            vocabulary=self.vocabulary,
            length=self.context + self.repeat - 1,
            readout=tuple(range(self.context, self.context + self.repeat - 1)),
            sizes=self.sizes(),
        )

    def examples(self, words_NW: Array, xp: Any) -> Split:
        context_NC = xp.argsort(words_NW[:, 1:], axis=1)[:, : self.context].astype(xp.int32)
        start_N1 = (words_NW[:, :1] % (self.context - self.repeat + 1)).astype(xp.int32)
        place_NR = start_N1 + xp.arange(self.repeat, dtype=xp.int32)[None]
        repeated_NR = xp.take_along_axis(context_NC, place_NR, axis=1)
        return clean_split(xp.concatenate([context_NC, repeated_NR[:, :-1]], axis=1), repeated_NR[:, 1:], xp)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SkipTrigramTask(SequenceTask):
    """A ... B gives C: which of `keys` tokens A stands somewhere among others, and which of `keys` tokens B
    is the last, together tell the answer C, by a rule drawn once from `rule_seed`.

    Tokens are A 0 to keys-1, B keys to 2 keys-1, then `fillers` others; C is any of them all. The last
    of `length` tokens is B, where C is read out; A is at a random place; fillers are elsewhere.
    """

    keys: PositiveInt
    fillers: PositiveInt
    length: Annotated[int, Range(at_least=2, at_most=MOST)]
    rule_seed: HostSeed = 0

    def words(self) -> int:
        return 3 + self.length - 1

    def shape(self) -> TaskShape:
        return TaskShape(
            vocabulary=2 * self.keys + self.fillers,
            length=self.length,
            readout=(self.length - 1,),
            sizes=self.sizes(),
        )

    def rule(self) -> np.ndarray:
        """Returns C (keys, keys) int32 for every A and B."""
        words = random_words(self.keys**2, seed=self.rule_seed, stream=_RULE_STREAM)
        return (words % np.uint64(self.shape().vocabulary)).astype(np.int32).reshape(self.keys, self.keys)

    def examples(self, words_NW: Array, xp: Any) -> Split:
        a_N1, b_N1 = ((words_NW[:, i : i + 1] % self.keys).astype(xp.int32) for i in (0, 1))
        place_N1 = (words_NW[:, 2:3] % (self.length - 1)).astype(xp.int32)
        fillers_NF = (words_NW[:, 3:] % self.fillers).astype(xp.int32) + 2 * self.keys
        before_NF = xp.where(xp.arange(self.length - 1, dtype=xp.int32)[None] == place_N1, a_N1, fillers_NF)
        answer_N1 = xp.asarray(self.rule())[a_N1, b_N1]
        return clean_split(xp.concatenate([before_NF, b_N1 + self.keys], axis=1), answer_N1, xp)
