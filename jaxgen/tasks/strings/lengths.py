"""Questions of many lengths, for training on short ones and testing on longer ones.

Shape letters: N examples, W random words, P places of a prompt, A of an answer, T tokens of a sequence, S input
positions, C positions of a packed context, Q sequences that are enough to fill it.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from jaxgen.config import PositiveInt, Size, added
from jaxgen.errors import UserError
from jaxgen.tasks.base import Array, Split, Task, TaskShape, example_words, next_tokens

# Tokens after the symbols of a task, in this order.
SPECIAL = ("<start>", ">", "<end>", "<pad>")

# Streams of random words: questions of one length L have the stream L.
_TRAIN_STREAM, _LONGER_STREAM = 0, 2**32


class Question(NamedTuple):
    """N prompts and their answers; symbols after the length of either are ignored."""

    prompt_NP: Array  # (N, P) int32 symbols
    prompt_N: Array  # (N,) int32: their number
    answer_NA: Array  # (N, A) int32 symbols
    answer_N: Array  # (N,) int32


@dataclasses.dataclass(frozen=True, kw_only=True)
class LengthTask(Task, family=True):
    """A stream of questions whose length is uniform from `min_length` to `max_length`.

    A sequence is `<start> prompt > answer <end>`, padded with `<pad>` at the end. Every token of the answer and the
    `<end>` are targets at the token before them. All positions are read out, and the others have no target.

    Splits, all of fixed samples of `test_examples`: `train` is drawn as the stream is, `length_L` of every L of
    `test_lengths` has that length alone, and `longer` has lengths uniform from max_length + 1 to `test_up_to`. With
    `every_length` it has one of these lengths after the other, over and over: a mean over its examples is one over
    all lengths. However many lengths there are, all lie in one array, padded, and one program measures them.

    With `context=C` training shows a window of C tokens from an endless tape of sequences. It starts anywhere in one of
    them (whose answer is a target only if the window has all of it) and may end anywhere. So all C learned positions
    are trained (What Algorithms can Transformers Learn, arXiv 2310.16028; how the paper draws the shift is not known to
    us). The other splits always show one sequence, from position 0: a `length_L` that is trained tells the accuracy of
    one answer, `train` that of all in a window.
    """

    max_length: Size
    min_length: PositiveInt = 1
    test_lengths: tuple[Size, ...] = ()
    test_up_to: Size | None = None
    test_examples: PositiveInt = 512
    context: Size | None = None
    every_length: bool = added(False)

    def validate(self) -> None:
        if self.min_length > self.max_length:
            raise UserError(f"task.min_length: got {self.min_length}, expected at most max_length={self.max_length}")
        if len(set(self.test_lengths)) < len(self.test_lengths):
            raise UserError(f"task.test_lengths: got {list(self.test_lengths)}, expected every length once")
        if self.test_up_to is not None and self.test_up_to <= self.max_length:
            raise UserError(f"task.test_up_to: got {self.test_up_to}, expected above max_length={self.max_length}")
        if self.every_length and self.test_up_to is None:
            raise UserError("task.every_length: is of the split 'longer', expected a test_up_to")
        longer = (self.test_up_to or 0) - self.max_length
        if self.every_length and longer > self.test_examples:
            raise UserError(
                f"task.every_length: got {self.test_examples} test_examples, expected at least {longer}, so many "
                "lengths are longer"
            )
        if self.context is not None and self.context < self._inputs(self.longest()):
            raise UserError(
                f"task.context: got {self.context} positions, expected at least {self._inputs(self.longest())}: "
                f"so many has an example of length {self.longest()}"
            )

    def symbols(self) -> tuple[str, ...]:
        """Returns the names of the tokens that prompts and answers are made of; they come before `SPECIAL`."""
        raise NotImplementedError

    def places(self, longest: int) -> tuple[int, int]:
        """Returns P and A, the largest sizes of questions up to length `longest`.

        The two have at least as many symbols together as the length says.
        """
        raise NotImplementedError

    def question_words(self, longest: int) -> int:
        """Returns the number of random words for a question up to length `longest`."""
        raise NotImplementedError

    def question(self, words_NW: Array, length_N: Array, longest: int, xp: Any) -> Question:
        """Makes N questions of lengths (N,) int32, none above `longest`. Each depends only on its own row of words."""
        raise NotImplementedError

    def training_question(self, words_NW: Array, length_N: Array, longest: int, xp: Any) -> Question:
        """Makes training questions, if they differ from the tested ones."""
        return self.question(words_NW, length_N, longest, xp)

    def variety(self, length: int) -> float:
        """Returns about log10 of the number of distinct questions of a length."""
        raise NotImplementedError

    def shown_length(self, length: int) -> int:
        """Returns the actual length of questions requested at `length`, for tasks that round it."""
        return length

    def longest(self) -> int:
        """Returns the largest length of any split."""
        return max(self.max_length, *self.test_lengths, self.test_up_to or 0)

    def token_names(self) -> tuple[str, ...]:
        return self.symbols() + SPECIAL

    def shape(self) -> TaskShape:
        length = self.context or self._inputs(self.max_length)
        inputs = [(name, self._inputs(high)) for name, (_, high) in self._test_lengths().items()]
        return TaskShape(
            vocabulary=len(self.token_names()),
            length=length,
            readout=tuple(range(length)),
            sizes=tuple((name, self.test_examples) for name in ("train", *self._test_lengths())),
            lengths=tuple((name, count) for name, count in inputs if count != length),
            padding=self.token_names().index("<pad>"),
        )

    def disjoint_by(self) -> str:
        longest = self.shown_length(self.max_length)
        apart = [
            name
            for name, (low, high) in self._test_lengths().items()
            if self.shown_length(low) > longest or high < self.min_length
        ]
        shared = [name for name in ("train", *self._test_lengths()) if name not in apart]
        chance = [
            f"1e{round(-self.variety(length) - math.log10(self.max_length - self.min_length + 1))} (length {length})"
            for length in (self.min_length, self.max_length)
        ]
        return (
            f"the stream's lengths are {self.min_length} to {longest}"
            + f", those of {', '.join(apart)} are others" * bool(apart)
            + f"; an example of {', '.join(shared)} may be met in it by chance, at any draw with a probability of "
            + f"about {' to '.join(dict.fromkeys(chance))}"
        )

    def table(self, seed: int) -> dict[str, Split]:
        words_NW = example_words(self.test_examples, self.stream_words(), seed=seed, stream=_TRAIN_STREAM)
        splits = {"train": self.examples(words_NW, np)}
        for name, (low, high) in self._test_lengths().items():
            stream = _LONGER_STREAM if name == "longer" else high
            words_NW = example_words(self.test_examples, 1 + self.question_words(high), seed=seed, stream=stream)
            length_N = _length(words_NW, low, high)
            if name == "longer" and self.every_length:
                length_N = low + np.arange(len(length_N), dtype=np.int32) % np.int32(high - low + 1)
            question = self.question(words_NW[:, 1:], length_N, high, np)
            splits[name] = self.laid_out(question, high, np)
        return splits

    def stream_words(self) -> int:
        one = 1 + self.question_words(self.max_length)
        return one if self.context is None else 1 + self._packed_sequences() * one

    def examples(self, words_NW: Array, xp: Any) -> Split:
        if self.context is not None:
            return self._packed(words_NW, xp)
        return self.laid_out(self._trained(words_NW, xp), self.max_length, xp)

    def laid_out(self, question: Question, longest: int, xp: Any) -> Split:
        """Returns examples of one sequence each."""
        return next_tokens(*self._sequences(question, longest, xp), xp)

    def _test_lengths(self) -> dict[str, tuple[int, int]]:
        """Returns the shortest and the longest length of every split but `train`."""
        tests = {f"length_{length}": (length, length) for length in self.test_lengths}
        return tests if self.test_up_to is None else tests | {"longer": (self.max_length + 1, self.test_up_to)}

    def _inputs(self, longest: int) -> int:
        return sum(self.places(longest)) + 2

    def _trained(self, words_NW: Array, xp: Any) -> Question:
        length_N = _length(words_NW, self.min_length, self.max_length)
        return self.training_question(words_NW[:, 1:], length_N, self.max_length, xp)

    def _sequences(self, question: Question, longest: int, xp: Any) -> tuple[Array, Array]:
        """Returns the tokens (N, T) int32, and whether each is a target."""
        start, answer, end, pad = (xp.int32(len(self.symbols()) + i) for i in range(len(SPECIAL)))
        place_1T = xp.arange(self._inputs(longest) + 1, dtype=xp.int32)[None]
        answer_N1 = question.prompt_N[:, None] + 1
        end_N1 = answer_N1 + 1 + question.answer_N[:, None]
        tokens_NT = xp.where(place_1T < end_N1, taken(question.answer_NA, place_1T - answer_N1 - 1, xp), pad)
        prompt_NT = taken(question.prompt_NP, place_1T - 1 + xp.zeros_like(answer_N1), xp)
        tokens_NT = xp.where(place_1T < answer_N1, prompt_NT, tokens_NT)
        tokens_NT = xp.where(place_1T == 0, start, xp.where(place_1T == answer_N1, answer, tokens_NT))
        tokens_NT = xp.where(place_1T == end_N1, end, tokens_NT)
        return tokens_NT, (place_1T > answer_N1) & (place_1T <= end_N1)

    def _packed_sequences(self) -> int:
        """Returns Q: this many sequences fill C + 1 tokens even if all are shortest and only one token of the first
        remains."""
        assert self.context is not None
        return 1 + math.ceil(self.context / (self.min_length + 3))

    def _packed(self, words_NW: Array, xp: Any) -> Split:
        assert self.context is not None
        rows, count = words_NW.shape[0], self._packed_sequences()
        question = self._trained(words_NW[:, 1:].reshape(rows * count, -1), xp)
        tokens, asked = (each.reshape(rows, -1) for each in self._sequences(question, self.max_length, xp))
        length_NQ = (question.prompt_N + question.answer_N + 3).reshape(rows, count)
        end_NQ = xp.cumsum(length_NQ, axis=1, dtype=xp.int32)
        shift_N1 = (words_NW[:, :1] % length_NQ[:, :1].astype(xp.uint32)).astype(xp.int32)
        place_NC = shift_N1 + xp.arange(self.context + 1, dtype=xp.int32)[None]
        which_NC = xp.sum(end_NQ[:, None] <= place_NC[:, :, None], axis=2, dtype=xp.int32)
        within_NC = place_NC - taken(end_NQ - length_NQ, which_NC, xp)
        index_NC = which_NC * (tokens.shape[1] // count) + within_NC
        asked_NC = taken(asked, index_NC, xp) & ((which_NC > 0) | (shift_N1 == 0))
        return next_tokens(taken(tokens, index_NC, xp), asked_NC, xp)


def taken(x_NP: Array, index_NT: Array, xp: Any) -> Array:
    """Returns x (N, T) at the indices (N, T) of every row; indices outside are clipped."""
    return xp.take_along_axis(x_NP, xp.clip(index_NT, 0, x_NP.shape[1] - 1), axis=1)


def joined(first_NA: Array, first_N: Array, second_NA: Array, xp: Any) -> Array:
    """Returns each row's first sequence up to its own length (N,), and directly after it the second one."""
    place_NA = xp.arange(first_NA.shape[1] + second_NA.shape[1], dtype=xp.int32)[None] + xp.zeros_like(first_N)[:, None]
    second_NA = taken(second_NA, place_NA - first_N[:, None], xp)
    return xp.where(place_NA < first_N[:, None], taken(first_NA, place_NA, xp), second_NA)


def while_loop(unfinished: Callable[[Any], Any], body: Callable[[Any], Any], state: Any, xp: Any) -> Any:
    """Runs `body` while `unfinished` and returns the state: a Python loop for numpy arrays, a compiled one for jax
    arrays."""
    if xp.__name__ != "numpy":
        # Imported here, because a configuration is made without jax.
        from jax import lax

        return lax.while_loop(unfinished, body, state)
    while unfinished(state):
        state = body(state)
    return state


def _length(words_NW: Array, low: int, high: int) -> Array:
    return (words_NW[:, 0] % (high - low + 1)).astype(np.int32) + np.int32(low)
