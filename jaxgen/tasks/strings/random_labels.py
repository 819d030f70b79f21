"""Strings with labels drawn at random, which can only be memorised.

Shape letters: N examples, W random words, L symbols.
"""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any

from jaxgen.config import PositiveInt, Range, Size
from jaxgen.tasks.base import Array, Split, TaskShape, clean_split
from jaxgen.tasks.strings.sequence import SequenceTask


@dataclasses.dataclass(frozen=True, kw_only=True)
class RandomLabelsTask(SequenceTask):
    """Different strings of `length` uniform symbols, each with a uniform label, read out at the last symbol.

    Tokens are the symbols and the labels, both numbered from 0. Labels are independent of the strings, so the accuracy
    on `test` stays at chance.
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
