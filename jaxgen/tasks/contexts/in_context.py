"""Sequences whose rule must be found in the sequence itself: the three settings of In-Context Learning Strategies
Emerge Rationally (Wurgaft et al., arXiv 2506.17859), after their code.

Choices are exact integer functions of the random words. Real numbers are float32, and may differ in the last bits
between numpy and a compiled program.

Shape letters: N examples, W random words, D rules, M colours of balls, L balls, pairs or items, F dimensions, S input
positions, C channels.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import Annotated, Any

import numpy as np

from jaxgen.config import MOST, HostSeed, NonNegative, PositiveInt, Range, Size
from jaxgen.tasks.base import Array, Split, Task, TaskShape, clean_split, example_words, random_uniforms

# Streams of random words: the rules of `train` and `ood`; from the third stream on, the examples of the splits.
_RULES, _OOD_RULES, _EXAMPLES = range(3)


@dataclasses.dataclass(frozen=True, kw_only=True)
class InContextTask(Task, family=True):
    """A stream of examples; each follows a rule drawn uniformly from `rules` rules.

    The rules are drawn once, from `rule_seed`; fewer rules are a prefix of more rules. Splits, with `test_examples`
    each: `train`, with the rules of the stream, and `ood`, with `ood_rules` other rules from the same distribution.
    """

    rules: PositiveInt
    length: Size
    ood_rules: PositiveInt = 500
    rule_seed: HostSeed = 1
    test_examples: PositiveInt = 500

    def drawn_rules(self, *, ood: bool = False) -> np.ndarray:
        """Returns the rules of `train` (D, ...) or of `ood`."""
        raise NotImplementedError

    def words(self) -> int:
        """Returns W, the number of random words of an example."""
        raise NotImplementedError

    def make(self, split: str, words_NW: Array, xp: Any) -> Split:
        """Makes examples of `split`, each of its own row of words; otherwise as `examples`."""
        raise NotImplementedError

    def splits(self) -> tuple[str, ...]:
        """Returns the names of the splits."""
        return ("train", "ood")

    def stream_words(self) -> int:
        return self.words()

    def examples(self, words_NW: Array, xp: Any) -> Split:
        return self.make("train", words_NW, xp)

    def disjoint_by(self) -> str:
        return (
            "ood is of rules of its own, which are real numbers; "
            "train is of the stream's, as the paper's ID evaluation, and no example of real numbers comes twice"
        )

    def table(self, seed: int) -> dict[str, Split]:
        splits = {}
        for i, name in enumerate(self.splits()):
            words_NW = example_words(self.test_examples, self.words(), seed=seed, stream=_EXAMPLES + i)
            splits[name] = self.make(name, words_NW, np)
        return splits

    def sizes(self) -> tuple[tuple[str, int], ...]:
        return tuple((name, self.test_examples) for name in self.splits())

    def _rule_words(self, ood: bool, each: int) -> np.ndarray:
        """Returns words (D, each) uint32."""
        count, stream = (self.ood_rules, _OOD_RULES) if ood else (self.rules, _RULES)
        return example_words(count, each, seed=self.rule_seed, stream=stream)


@dataclasses.dataclass(frozen=True, kw_only=True)
class BallsAndUrnsTask(InContextTask):
    """`s 2 0 2 ...`: `length` balls drawn with replacement from one of `rules` urns; each is the target at the one
    before.

    An urn is a probability vector over `colours` colours, drawn uniformly (a flat Dirichlet). Tokens are the colours,
    then the start `s`. Probabilities are rounded to multiples of 2^-32.
    """

    colours: Annotated[int, Range(at_least=2)]

    def shape(self) -> TaskShape:
        return TaskShape(
            vocabulary=self.colours + 1, length=self.length, readout=tuple(range(self.length)), sizes=self.sizes()
        )

    def token_names(self) -> tuple[str, ...]:
        return (*(str(colour) for colour in range(self.colours)), "s")

    def disjoint_by(self) -> str:
        chance = round(-math.log10(self.rules) - self.length * math.log10((self.colours + 1) / 2))
        return (
            "ood is of urns of its own; train is of the stream's, as the paper's ID evaluation, and an example of it "
            f"is met in the stream at any draw with a probability of about 1e{chance}, more often of an uneven urn"
        )

    def drawn_rules(self, *, ood: bool = False) -> np.ndarray:
        """Returns the urns (D, M) float64 of `train`, or of `ood`: the rows are probabilities."""
        count, stream = (self.ood_rules, _OOD_RULES) if ood else (self.rules, _RULES)
        waits_DM = -np.log1p(-random_uniforms((count, self.colours), seed=self.rule_seed, stream=stream))
        return waits_DM / np.sum(waits_DM, axis=1, keepdims=True)

    def words(self) -> int:
        return 1 + self.length

    def make(self, split: str, words_NW: Array, xp: Any) -> Split:
        bound_DB = xp.asarray(_bounds(self, split == "ood"))
        bound_NB = bound_DB[(words_NW[:, 0] % bound_DB.shape[0]).astype(xp.int32)]
        balls_NL = xp.sum(words_NW[:, 1:, None] >= bound_NB[:, None], axis=2, dtype=xp.int32)
        start_N1 = xp.full_like(balls_NL[:, :1], self.colours)
        return clean_split(xp.concatenate([start_N1, balls_NL[:, :-1]], axis=1), balls_NL, xp)


@dataclasses.dataclass(frozen=True, kw_only=True)
class InContextRegressionTask(InContextTask):
    """x1 y1 x2 y2 ...: `length` pairs with y = w.x + noise, where each y is the target at its x.

    The w of each rule and all x are N(0, I) in `dimensions` dimensions. The noise has variance `noise_variance`; None
    means the paper's dimensions / 256. A position holds x, or y in the first channel and zeros in the others.
    """

    dimensions: PositiveInt
    noise_variance: NonNegative | None = None

    def shape(self) -> TaskShape:
        return TaskShape(
            vocabulary=1,
            length=2 * self.length,
            readout=tuple(range(0, 2 * self.length, 2)),
            sizes=self.sizes(),
            real_targets=True,
            channels=self.dimensions,
        )

    def drawn_rules(self, *, ood: bool = False) -> np.ndarray:
        """Returns the weights w (D, F) float32."""
        return normals(self._rule_words(ood, normal_words(self.dimensions)), np)[:, : self.dimensions]

    def words(self) -> int:
        return 1 + normal_words(self.length * (self.dimensions + 1))

    def make(self, split: str, words_NW: Array, xp: Any) -> Split:
        rule_DF = xp.asarray(self.drawn_rules(ood=split == "ood"))
        w_NF = rule_DF[(words_NW[:, 0] % rule_DF.shape[0]).astype(xp.int32)]
        rows, places = words_NW.shape[0], self.length * self.dimensions
        drawn_NX = normals(words_NW[:, 1:], xp)
        x_NLF = drawn_NX[:, :places].reshape(rows, self.length, self.dimensions)
        variance = self.dimensions / 256 if self.noise_variance is None else self.noise_variance
        noise_NL = drawn_NX[:, places : places + self.length] * xp.float32(math.sqrt(variance))
        y_NL1 = (xp.sum(x_NLF * w_NF[:, None], axis=2) + noise_NL)[:, :, None]
        wide_NLF = xp.concatenate([y_NL1, xp.zeros_like(x_NLF[:, :, 1:])], axis=2)
        inputs_NSF = xp.stack([x_NLF, wide_NLF], axis=2).reshape(rows, 2 * self.length, self.dimensions)
        return clean_split(inputs_NSF, y_NL1, xp)


@dataclasses.dataclass(frozen=True, kw_only=True)
class InContextClassificationTask(InContextTask):
    """`length` - 1 items with their labels, then one of these items again, whose label is the target.

    A rule is an item, N(0, I / dimensions), with a uniform label from `labels`. Items in the context are drawn with
    replacement. All are shown with noise: (item + sqrt(v) noise) / sqrt(1 + v), with v = `within_variance` and noise
    distributed like items. A position holds the item and, in the last channel, its label, or -1 for the query. A third
    split, `in_weights`, has the stream's items, but its query does not occur in the context.
    """

    rules: Annotated[int, Range(at_least=2)]
    length: Annotated[int, Range(at_least=2, at_most=MOST)]
    dimensions: PositiveInt
    labels: Annotated[int, Range(at_least=2)] = 2
    within_variance: NonNegative = 0.5

    def splits(self) -> tuple[str, ...]:
        return ("train", "ood", "in_weights")

    def disjoint_by(self) -> str:
        return f"{super().disjoint_by()}; in_weights never shows the item asked for in the context, as the stream does"

    def shape(self) -> TaskShape:
        return TaskShape(
            vocabulary=self.labels,
            length=self.length,
            readout=(self.length - 1,),
            sizes=self.sizes(),
            channels=self.dimensions + 1,
        )

    def drawn_rules(self, *, ood: bool = False) -> np.ndarray:
        """Returns the items, and the label of each in the last column (D, F + 1) float32."""
        words = self._rule_words(ood, 1 + normal_words(self.dimensions))
        items_DF = normals(words[:, 1:], np)[:, : self.dimensions] * np.float32(self.dimensions**-0.5)
        return np.concatenate([items_DF, (words[:, :1] % self.labels).astype(np.float32)], axis=1)

    def words(self) -> int:
        return self.length + normal_words(self.length * self.dimensions)

    def make(self, split: str, words_NW: Array, xp: Any) -> Split:
        rule_DC = xp.asarray(self.drawn_rules(ood=split == "ood"))
        count, others = rule_DC.shape[0], self.length - 1
        if split == "in_weights":
            asked_N1 = (words_NW[:, :1] % count).astype(xp.int32)
            # Any other rule: a uniform number of steps further, modulo the number of rules.
            context_NL = (asked_N1 + 1 + (words_NW[:, 1 : others + 1] % (count - 1)).astype(xp.int32)) % count
        else:
            context_NL = (words_NW[:, 1 : others + 1] % count).astype(xp.int32)
            place_N1 = (words_NW[:, :1] % others).astype(xp.int32)
            asked_N1 = xp.take_along_axis(context_NL, place_N1, axis=1)
        shown_NLC = rule_DC[xp.concatenate([context_NL, asked_N1], axis=1)]
        noise_NX = normals(words_NW[:, self.length :], xp)[:, : self.length * self.dimensions]
        noise_NLF = noise_NX.reshape(-1, self.length, self.dimensions) * xp.float32(
            math.sqrt(self.within_variance / self.dimensions)
        )
        items_NLF = (shown_NLC[:, :, :-1] + noise_NLF) * xp.float32((1 + self.within_variance) ** -0.5)
        label_NL1 = xp.concatenate([shown_NLC[:, :-1, -1:], xp.full_like(shown_NLC[:, -1:, -1:], -1.0)], axis=1)
        inputs_NLC = xp.concatenate([items_NLF, label_NL1], axis=2)
        return clean_split(inputs_NLC, shown_NLC[:, -1, -1:].astype(xp.int32), xp)


def normal_words(count: int) -> int:
    """Returns the number of words from which `normals` makes `count` numbers, or one more."""
    return count + count % 2


def normals(words_NW: Array, xp: Any) -> Array:
    """Returns standard normal numbers (N, W) float32, two from each two uniform words (Box and Muller).

    The uniform numbers are the centres of 2^23 equal parts of (0, 1), so no normal number exceeds 5.8 in size.
    """
    half = words_NW.shape[1] // 2
    uniform_NW = ((words_NW >> 9).astype(xp.float32) + xp.float32(0.5)) * xp.float32(2.0**-23)
    radius_NH = xp.sqrt(xp.float32(-2.0) * xp.log(uniform_NW[:, :half]))
    angle_NH = xp.float32(2.0 * math.pi) * uniform_NW[:, half:]
    return xp.concatenate([radius_NH * xp.cos(angle_NH), radius_NH * xp.sin(angle_NH)], axis=1)


@functools.lru_cache(maxsize=8)
def _bounds(task: BallsAndUrnsTask, ood: bool) -> np.ndarray:
    """Returns (D, M - 1) uint32: the colour of a ball is the number of bounds that are at most its word."""
    bound = np.cumsum(task.drawn_rules(ood=ood), axis=1)[:, :-1]
    return np.minimum(np.round(bound * 2.0**32), 2.0**32 - 1).astype(np.uint32)
