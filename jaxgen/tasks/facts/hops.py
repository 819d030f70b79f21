"""Random functions applied to the results of others: the tasks of Chang et al. (The Coverage Principle,
arXiv 2505.20278; later Characterizing Pattern Matching and Its Limits on Compositional Task Structures).

Shape letters: C all combinations of inputs, X inputs, H hops, N examples.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from typing import Annotated, Literal, NamedTuple

import numpy as np

from jaxgen.config import PositiveInt, Range
from jaxgen.errors import UserError
from jaxgen.tasks.base import Split, Task, TaskShape, clean_split, random_order, random_words

Structure = Literal["2-hop", "parallel 2-hop", "3-hop", "non-tree"]

# X, and the arguments of each hop: inputs are numbered from 0, results of hops from X. The last hop gives the answer.
_HOPS: dict[str, tuple[int, tuple[tuple[int, ...], ...]]] = {
    "2-hop": (3, ((0, 1), (3, 2))),
    "parallel 2-hop": (4, ((0, 1), (2, 3), (4, 5))),
    "3-hop": (4, ((0, 1), (4, 2), (5, 3))),
    "non-tree": (3, ((0, 1), (3, 1, 2))),
}

# Streams of random words; the functions, and the choice of arguments that may train, use one stream a hop.
_TRAIN, _TEST, _FUNCTION, _SEEN = 0, 1, 10, 20


class Combinations(NamedTuple):
    """The results of the functions for every combination of inputs."""

    values: list[np.ndarray]  # each (C,) int16: X inputs, then the results of the H hops
    keys: list[np.ndarray]  # each (C,) int64: the number of a hop's arguments among all possible ones
    sizes: tuple[int, ...]  # the number of possible arguments of each hop
    may_train_C: np.ndarray  # (C,) bool


@dataclasses.dataclass(frozen=True, kw_only=True)
class HopTask(Task):
    """t = f2(f1(x1, x2), x3) and similar, with f1, f2, ... drawn uniformly from all functions of tokens.

    Structures, where b is a result passed to the next hop:

    - `2-hop`: b = f1(x1, x2), t = f2(b, x3);
    - `parallel 2-hop`: b1 = f1(x1, x2), b2 = f2(x3, x4), t = f3(b1, b2);
    - `3-hop`: b1 = f1(x1, x2), b2 = f2(b1, x3), t = f3(b2, x4);
    - `non-tree`: b = f1(x1, x2), t = f2(b, x2, x3): x2 acts on two paths.

    The fraction `seen` of each function's possible arguments may train, and `train_examples` are drawn from the
    combinations in which every hop's arguments may. A hop then counts as seen if a training example has its arguments.
    Test examples do not train: in `id` every hop is seen, in `ood_01` the first is not but the second is, and so on.
    `train_inferred` has the first training examples. Unlike the authors', the tests of all structures contain no
    training examples, and are uniform over each kind.

    A run's seed draws functions, training examples and tests. `table` raises a `UserError` if there are fewer examples
    of a kind than requested. All tokens**X combinations are enumerated, so keep them below 10**8.

    Tokens are the values, then the end, then `</b>` if `bridges` is `constant`. An example is its X inputs, the b
    (`shown`: the chain of thought; `constant`: `</b>` in place of each), t, and the end. All tokens after the inputs
    are targets.
    """

    structure: Structure = "2-hop"
    tokens: Annotated[int, Range(at_least=2, at_most=2**15 - 1)]
    train_examples: PositiveInt
    test_examples: PositiveInt = 2000  # for each kind
    seen: Annotated[float, Range(above=0, at_most=1)] = 0.7
    bridges: Literal["none", "shown", "constant"] = "none"

    def validate(self) -> None:
        inputs, hops = _HOPS[self.structure]
        pool = round(self.seen ** len(hops) * self.tokens**inputs)
        if self.train_examples > pool:
            raise UserError(
                f"task.train_examples: got {self.train_examples}, expected at most about {pool}: so many of the "
                f"{self.tokens**inputs} combinations have hops that may all train"
            )

    def test_splits(self) -> tuple[str, ...]:
        """Returns the names of the test splits, by which hops are seen: `id`, then `ood_00` and so on."""
        seen = ["".join(bits) for bits in itertools.product("01", repeat=len(_HOPS[self.structure][1]))]
        return ("id", *(f"ood_{bits}" for bits in seen[:-1]))

    def shape(self) -> TaskShape:
        inputs, hops = _HOPS[self.structure]
        bridges = 0 if self.bridges == "none" else len(hops) - 1
        measured = (("train_inferred", min(self.test_examples, self.train_examples)),)
        return TaskShape(
            vocabulary=self.tokens + (2 if self.bridges == "constant" else 1),
            length=inputs + bridges + 1,
            readout=tuple(range(inputs - 1, inputs + bridges + 1)),
            sizes=(
                ("train", self.train_examples),
                *measured,
                *((kind, self.test_examples) for kind in self.test_splits()),
            ),
        )

    def token_names(self) -> tuple[str, ...]:
        return (*map(str, range(self.tokens)), "</a>", "</b>")[: self.shape().vocabulary]

    def disjoint_by(self) -> str:
        return "train_inferred are training examples; those of the other splits never train, and each is of one kind"

    def measured(self) -> tuple[str, ...]:
        return ("train_inferred", *self.test_splits())

    def facts(self, split: Split) -> tuple[np.ndarray, np.ndarray]:
        """Returns the inputs (N, X) and the answers (N,) of a split's examples, for `coverage_cutoffs`."""
        return np.asarray(split.inputs[:, : _HOPS[self.structure][0]]), np.asarray(split.true_targets[:, -2])

    def table(self, seed: int) -> dict[str, Split]:
        every = self._combinations(seed)
        pool = np.flatnonzero(every.may_train_C)
        train = pool[random_order(len(pool), seed=seed, stream=_TRAIN)][: self.train_examples]
        if len(train) < self.train_examples:
            raise UserError(
                f"task.train_examples: got {self.train_examples}, expected at most {len(pool)}: so many combinations "
                f"have hops that may all train, with seed {seed}"
            )
        kind_C = self._kinds(every, train)
        order_C = random_order(len(kind_C), seed=seed, stream=_TEST)
        rows = {"train": train, "train_inferred": train[: self.test_examples]}
        for i, kind in enumerate(self.test_splits()):
            rows[kind] = order_C[kind_C[order_C] == i][: self.test_examples]
            if len(rows[kind]) < self.test_examples:
                raise UserError(
                    f"task.test_examples: got {self.test_examples}, expected at most {len(rows[kind])}: there are "
                    f"no more of {kind} with seed {seed}"
                )
        return {name: self._split([value[chosen] for value in every.values]) for name, chosen in rows.items()}

    def _combinations(self, seed: int) -> Combinations:
        inputs, hops = _HOPS[self.structure]
        values = list(np.indices((self.tokens,) * inputs, dtype=np.int16).reshape(inputs, -1))
        keys, sizes, may_train_C = [], [], np.ones(len(values[0]), dtype=bool)
        for i, taken in enumerate(hops):
            domain = (self.tokens,) * len(taken)
            size = math.prod(domain)
            drawn = random_words(size, seed=seed, stream=_FUNCTION + i) % np.uint64(self.tokens)
            may_train = np.zeros(size, dtype=bool)
            may_train[random_order(size, seed=seed, stream=_SEEN + i)[: round(self.seen * size)]] = True
            key_C = np.ravel_multi_index([values[each] for each in taken], domain)
            values.append(drawn.astype(np.int16)[key_C])
            may_train_C &= may_train[key_C]
            keys.append(key_C)
            sizes.append(size)
        return Combinations(values, keys, tuple(sizes), may_train_C)

    def _kinds(self, every: Combinations, train: np.ndarray) -> np.ndarray:
        """Returns (C,) int64: the index of a combination's kind in `tests`, or -1 if it trains."""
        kind_C = np.zeros(len(every.may_train_C), dtype=np.int64)
        for key_C, size in zip(every.keys, every.sizes, strict=True):
            shown = np.zeros(size, dtype=bool)
            shown[key_C[train]] = True
            kind_C = 2 * kind_C + shown[key_C]
        kind_C = (kind_C + 1) % 2 ** len(every.keys)
        kind_C[train] = -1
        return kind_C

    def _split(self, values: list[np.ndarray]) -> Split:
        inputs, hops = _HOPS[self.structure]
        end, no_bridge = np.full_like(values[0], self.tokens), np.full_like(values[0], self.tokens + 1)
        bridges = {"none": [], "shown": values[inputs:-1], "constant": [no_bridge] * (len(hops) - 1)}
        tokens_NT = np.stack([*values[:inputs], *bridges[self.bridges], values[-1], end], axis=1).astype(np.int32)
        return clean_split(tokens_NT[:, :-1], tokens_NT[:, inputs:], np)
