"""Source and target sentences as one sequence for a decoder: `source <sep> target <end>`, padded at the end.

Shape letters: N examples, T tokens of all examples, S input positions, K read-out positions.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from jaxgen.config import HostSeed
from jaxgen.tasks.base import Source, Split, Task, TaskShape, next_tokens, random_words, sequence_shape

# The first tokens of every vocabulary, as `SPECIAL` names them.
PAD, SEP, END = range(3)
SPECIAL = ("<pad>", "<sep>", "<end>")
_BLOCK = 1 << 14


class Sentences(NamedTuple):
    """N pairs of a source and a target, of any lengths."""

    tokens_T: np.ndarray  # (T,) int32: a source, its target, the next source...
    source_N: np.ndarray  # (N,) int64: the length of each source
    target_N: np.ndarray  # (N,) int64: the length of each target

    @classmethod
    def of(cls, pairs: Sequence[tuple[Sequence[int], Sequence[int]]]) -> Sentences:
        """Returns the pairs (source tokens, target tokens)."""
        lengths = np.array([(len(source), len(target)) for source, target in pairs], dtype=np.int64).reshape(-1, 2)
        tokens = itertools.chain.from_iterable(itertools.chain.from_iterable(pairs))
        return cls(np.fromiter(tokens, dtype=np.int32), lengths[:, 0], lengths[:, 1])

    def span(self) -> Span:
        longest, longest_source = (int(each.max(initial=0)) for each in (self.source_N + self.target_N, self.source_N))
        return Span(len(self.source_N), int(self.source_N.min(initial=longest)), longest, longest_source)


class Span(NamedTuple):
    """The number of pairs, and their largest lengths."""

    size: int
    shortest_source: int
    longest: int  # source and target together
    longest_source: int | None = None  # None: unknown


@dataclasses.dataclass(frozen=True, kw_only=True)
class TextTask(Task, family=True):
    """Pairs of a source and a target sentence. Only `data_seed` draws them, so they are equal in every run.

    One example is `source <sep> target <end>`. Every token of the target and the end are targets, each at the token
    before it. All splits have the length of the longest training example, and are read out from the first position with
    a target in any example to the last. But if a split is longer than that, it has its own length, and every position
    of every split is read out.
    """

    data_seed: HostSeed = 0

    def symbols(self) -> tuple[str, ...]:
        """Returns the words of sources and targets, whose tokens follow `<pad>`, `<sep>` and `<end>`."""
        raise NotImplementedError

    def spans(self) -> Mapping[str, Span]:
        """Returns the size of every split, and bounds of its lengths."""
        raise NotImplementedError

    def sentences(self) -> Mapping[str, Sentences]:
        """Returns the pairs of every split."""
        raise NotImplementedError

    def shape(self) -> TaskShape:
        spans = self.spans()
        shape = sequence_shape(
            len(self.token_names()),
            tuple((name, span.size) for name, span in spans.items()),
            {name: (span.shortest_source + 1, span.longest + 2) for name, span in spans.items()},
            PAD,
        )
        longest = max(span.longest if span.longest_source is None else span.longest_source for span in spans.values())
        return dataclasses.replace(shape, source=Source(SEP, longest))

    def token_names(self) -> tuple[str, ...]:
        return SPECIAL + self.symbols()

    def table(self, seed: int) -> dict[str, Split]:
        shape, sentences = self.shape(), self.sentences()
        return {name: _encode(sentences[name], shape.readout[0], shape.length_of(name)) for name, _ in shape.sizes}


class Draws:
    """Random numbers one at a time, for recursive draws. They depend only on (seed, stream)."""

    def __init__(self, *, seed: int, stream: int) -> None:
        self._words = itertools.chain.from_iterable(
            # Each block is its own stream, with a number above those that tasks use.
            random_words(_BLOCK, seed=seed, stream=stream + (block << 32)).tolist()
            for block in itertools.count()
        )

    def below(self, count: int) -> int:
        """Returns an integer, uniform in [0, count)."""
        return next(self._words) % count

    def uniform(self) -> float:
        """Returns a number, uniform in [0, 1)."""
        return (next(self._words) >> 11) * 2.0**-53


def token_numbers(words: Iterable[str]) -> dict[str, int]:
    """Returns the token of every word of a vocabulary."""
    return {word: token for token, word in enumerate(words, start=len(SPECIAL))}


def _encode(sentences: Sentences, first: int, length: int) -> Split:
    tokens_T, source_N, target_N = sentences
    count = len(source_N)
    both_N = source_N + target_N
    row_T = np.repeat(np.arange(count), both_N)
    place_T = np.arange(len(tokens_T)) - np.repeat(np.cumsum(both_N) - both_N, both_N)
    sequence_NL = np.full((count, length + 1), PAD, dtype=np.int32)
    sequence_NL[row_T, place_T + (place_T >= source_N[row_T])] = tokens_T
    sequence_NL[np.arange(count), source_N] = SEP
    sequence_NL[np.arange(count), both_N + 1] = END
    place_1L = np.arange(length + 1)[None]
    asked_NL = (place_1L > source_N[:, None]) & (place_1L <= both_N[:, None] + 1)
    return next_tokens(sequence_NL, asked_NL, np, first=first)
