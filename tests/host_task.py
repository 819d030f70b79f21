"""A task for tests, made by the host or on the device: in a module of its own, where worker processes find it."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from jaxgen.config import PositiveInt
from jaxgen.tasks.base import IGNORED, Array, Split, Task, TaskShape, random_words

END, PAD = 10, 11


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReversalTask(Task):
    """`least` to `longest` digits, an end, the same backwards, an end; padded. Read out at all positions."""

    least: PositiveInt
    longest: PositiveInt
    on_device: bool = False

    @property
    def on_host(self) -> bool:  # type: ignore[override]
        return not self.on_device

    def token_names(self) -> tuple[str, ...]:
        return (*"0123456789", "<end>", "<pad>")

    def shape(self) -> TaskShape:
        length = 2 * self.longest + 2
        sizes = (("train", 6), ("test", 5))
        return TaskShape(vocabulary=12, length=length, readout=tuple(range(length)), sizes=sizes, padding=PAD)

    def stream_words(self) -> int:
        return 8

    def table(self, seed: int) -> dict[str, Split]:
        words = (random_words(11 * 8, seed=seed, stream=0) >> np.uint64(32)).astype(np.uint32)
        drawn = self.examples(words.reshape(11, 8), np)
        return {"train": Split(*(c[:6] for c in drawn)), "test": Split(*(c[6:] for c in drawn))}

    def examples(self, words_NW: Array, xp: Any) -> Split:
        count_N1 = (words_NW[:, :1] % (self.longest - self.least + 1)).astype(xp.int32) + self.least
        digits_ND = (words_NW[:, 1 : self.longest + 1] % 10).astype(xp.int32)
        at_1S = xp.arange(2 * self.longest + 3, dtype=xp.int32)[None]
        forward_NS = xp.take_along_axis(digits_ND, xp.clip(at_1S + 0 * count_N1, 0, self.longest - 1), axis=1)
        back_NS = xp.take_along_axis(digits_ND, xp.clip(2 * count_N1 - at_1S, 0, self.longest - 1), axis=1)
        text_NS = xp.where(at_1S < count_N1, forward_NS, back_NS)
        text_NS = xp.where((at_1S == count_N1) | (at_1S == 2 * count_N1 + 1), END, text_NS)
        text_NS = xp.where(at_1S > 2 * count_N1 + 1, PAD, text_NS)
        asked_NS = (at_1S[:, 1:] > count_N1) & (at_1S[:, 1:] <= 2 * count_N1 + 1)
        targets_NS = xp.where(asked_NS, text_NS[:, 1:], IGNORED)
        return Split(text_NS[:, :-1], targets_NS, targets_NS, xp.zeros(text_NS.shape[:1], dtype=bool))
