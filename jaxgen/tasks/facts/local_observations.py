"""Variables of a Bayesian network, seen in neighbourhoods: the task of Prystawski, Li and Goodman (Why Think Step by
Step? Reasoning Emerges from the Locality of Experience, arXiv 2304.03843).

Shape letters: N examples, W random words of an example, V variables, H pairs that are held out.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Annotated, Any, ClassVar, Literal

import numpy as np

from jaxgen.config import MOST, Fraction, HostSeed, PositiveInt, Range
from jaxgen.errors import UserError
from jaxgen.tasks.base import Array, Split, TaskShape, random_order
from jaxgen.tasks.facts.bayes_net import BayesNet, joint_probabilities, mutual_information, random_net
from jaxgen.tasks.sampled import SampledTask

_PAIRS = 5  # a stream of random words, beside those of the network


@dataclasses.dataclass(frozen=True, kw_only=True)
class LocalObservationTask(SampledTask):
    """`### target:X3 X1=0 X7=1 X3=1 <end>`: some variables of a sample in random order; the target comes last.

    What is observed:

    - `local`: all variables within a radius around a uniform one, of the `geometric` (P(r) = 2**-r) or `zipf`
      (P(r) proportional to r**-2) distribution. Each is dropped with probability `dropped`, except the centre if
      nothing else is left (the authors draw again);
    - `wrong`: the same, with the neighbourhoods of the network of the next seed;
    - `all`: every variable.

    `held_out` pairs of variables are never seen together: a random half of the 2 * `held_out` pairs that have most
    mutual information among those more than one edge apart. If both variables of a pair would be seen, one is left out.
    Everything after `###` is a target. Splits: `train`; `test`, from the same distribution; and `held_out`, which asks
    for the second variable of each pair given each value of the first, and the other way round, in the order of
    `queries`. The target is the more likely value.

    Each variable with its value is one token (the authors use a learned tokeniser). Probabilities of pairs are
    estimated from 2**17 samples.
    """

    numpy_alone: ClassVar[bool] = True

    variables: Annotated[int, Range(at_least=3, at_most=MOST)] = 100
    edges: PositiveInt = 100
    observed: Literal["local", "wrong", "all"] = "local"
    radius: Literal["geometric", "zipf"] = "geometric"
    dropped: Fraction = 0.2
    held_out: PositiveInt = 25
    net_seed: HostSeed = 0

    def validate(self) -> None:
        pairs = self.variables * (self.variables - 1) // 2
        if self.edges > pairs - 2 * self.held_out:
            raise UserError(
                f"task: got edges={self.edges} and held_out={self.held_out}, expected at most {pairs} for edges and "
                f"twice the held-out pairs: {self.variables} variables have no more pairs"
            )

    def disjoint_by(self) -> str:
        return "no training example shows both variables of a held-out pair; test is a sample of what trains"

    def splits(self) -> tuple[str, ...]:
        return ("train", "test", "held_out")

    def net(self) -> BayesNet:
        """Returns the network."""
        return random_net(self.variables, self.edges, self.net_seed)

    def shape(self) -> TaskShape:
        sizes = dict(self.sizes()) | {"held_out": 4 * self.held_out}
        return TaskShape(
            vocabulary=3 * self.variables + 3,
            length=self.variables + 2,
            readout=tuple(range(self.variables + 2)),
            sizes=tuple(sizes.items()),
            padding=3 * self.variables + 2,
        )

    def token_names(self) -> tuple[str, ...]:
        variables = range(self.variables)
        values = (f"X{i}={value}" for i in variables for value in (0, 1))
        return (*values, *(f"target:X{i}" for i in variables), "###", "<end>", "<pad>")

    def pairs(self) -> np.ndarray:
        """Returns (H, 2) int64: the held-out pairs of variables."""
        return _held_out(self.net(), self.held_out, self.net_seed)

    def queries(self) -> tuple[np.ndarray, np.ndarray]:
        """Returns the questions of `held_out`, row by row.

        Returns:
          (4 H, 3) int64: target, condition and the condition's value; and (4 H,) float64: the probability that the
          target is 1 given the condition (nan if no sample has that value).
        """
        both_H2 = np.concatenate([self.pairs(), self.pairs()[:, ::-1]])
        query_X3 = np.concatenate([np.insert(both_H2, 2, value, axis=1) for value in (0, 1)])
        target, condition, value = query_X3.T
        joint_X2 = joint_probabilities(self.net(), self.net_seed)[condition, target, value]
        total_X = joint_X2.sum(axis=1)
        return query_X3, np.divide(joint_X2[:, 1], total_X, out=np.full(len(total_X), np.nan), where=total_X > 0)

    def words(self, split: str) -> int:
        return 3 * self.variables + 2 + self.held_out

    def table(self, seed: int) -> dict[str, Split]:
        query_X3, truth_X = self.queries()
        target, condition, value = query_X3.T
        tokens_XT = np.full((len(query_X3), self.variables + 3), 3 * self.variables + 2, dtype=np.int32)
        tokens_XT[:, 0] = 3 * self.variables
        tokens_XT[:, 1] = 2 * self.variables + target
        tokens_XT[:, 2] = 2 * condition + value
        tokens_XT[:, 3] = 2 * target + (truth_X > 0.5)
        asked_T = np.arange(tokens_XT.shape[1]) == 3
        held_out = self.asked("held_out", tokens_XT, np.broadcast_to(asked_T, tokens_XT.shape), np)
        return super().table(seed) | {"held_out": held_out}

    def make(self, split: str, words_NW: Array, xp: Any) -> Split:
        count, variables = len(words_NW), self.variables
        cuts = np.cumsum([variables, variables, variables, 2])
        sample_NV, drop_NV, order_NV, place_N2, coin_NH = np.split(words_NW, cuts, axis=1)
        value_NV = self.net().sample(sample_NV * 2.0**-32)
        seen_NV = np.ones((count, variables), dtype=bool)
        if self.observed != "all":
            centre_N = place_N2[:, 0] % variables
            seen_NV = self._nearby()[centre_N] <= self._radii(place_N2[:, 1])[:, None]
            seen_NV &= drop_NV * 2.0**-32 >= self.dropped
            seen_NV[np.arange(count), centre_N] |= ~seen_NV.any(axis=1)
        for i, pair in enumerate(self.pairs()):
            both_N = seen_NV[:, pair].all(axis=1)
            seen_NV[both_N, pair[coin_NH[both_N, i] & 1]] = False
        order_NV = np.argsort(np.where(seen_NV, order_NV, np.uint64(2**32)), axis=1, kind="stable")
        seen_N = seen_NV.sum(axis=1)
        target_N = order_NV[np.arange(count), seen_N - 1]
        tokens_NT = np.full((count, variables + 3), 3 * variables + 2, dtype=np.int32)
        tokens_NT[:, 0] = 3 * variables
        tokens_NT[:, 1] = 2 * variables + target_N
        told_NV = 2 * order_NV + np.take_along_axis(value_NV, order_NV, axis=1)
        tokens_NT[:, 2:-1] = np.where(np.arange(variables) < seen_N[:, None], told_NV, 3 * variables + 2)
        tokens_NT[np.arange(count), seen_N + 2] = 3 * variables + 1
        place_T = np.arange(variables + 3)
        return self.asked(split, tokens_NT, (place_T > 0) & (place_T <= seen_N[:, None] + 2), np)

    def _nearby(self) -> np.ndarray:
        """Returns (V, V): the distances of variables in the network whose neighbourhoods are observed."""
        seed = self.net_seed + (self.observed == "wrong")
        return random_net(self.variables, self.edges, seed).distances

    def _radii(self, word_N: np.ndarray) -> np.ndarray:
        """Returns (N,) int64: radii from 1, capped at the size of the network."""
        radius = np.arange(1, self.variables - 1)
        share = 2.0**-radius if self.radius == "geometric" else 6 / np.pi**2 / radius**2
        return 1 + np.searchsorted(np.cumsum(share), word_N * 2.0**-32, side="right")


@functools.lru_cache(maxsize=32)
def _held_out(net: BayesNet, count: int, seed: int) -> np.ndarray:
    told_VV = mutual_information(joint_probabilities(net, seed))
    told_VV[(net.distances <= 1) | np.tri(len(net.parents), dtype=bool)] = -1.0
    most = np.argsort(-told_VV, axis=None, kind="stable")[: 2 * count]
    half = np.sort(random_order(2 * count, seed=seed, stream=_PAIRS)[:count])
    return np.stack(np.unravel_index(most[half], told_VV.shape), axis=1)
