"""Random Bayesian networks of binary variables, after Prystawski, Li and Goodman (Why Think Step by Step? Reasoning
Emerges from the Locality of Experience, arXiv 2304.03843).

Shape letters: V variables, E edges, N samples, R rows of a table of conditional probabilities.
"""

from __future__ import annotations

import dataclasses
import functools

import numpy as np

from jaxgen.errors import UserError
from jaxgen.tasks.base import random_order, random_uniforms, random_words

# Streams of random words; each attempt at a graph uses two more.
_ROOTS, _TABLES, _SAMPLES, _GRAPHS = 0, 1, 2, 10
_ATTEMPTS = 1000
_BETA = 0.2  # both parameters of the probabilities' distribution
_TRIES = 16  # of Johnk's method; each succeeds with probability 0.95
_SAMPLED = 2**17


@dataclasses.dataclass(frozen=True, eq=False)
class BayesNet:
    """A network: an acyclic graph, and for each variable the probability that it is 1 given its parents."""

    order: tuple[int, ...]  # variables in topological order, parents first
    parents: tuple[tuple[int, ...], ...]  # of each variable
    tables: tuple[np.ndarray, ...]  # of each variable, (R,) with R = 2**parents; the first parent is the highest bit

    def sample(self, uniform_NV: np.ndarray) -> np.ndarray:
        """Returns (N, V) bool: values of all variables, from numbers uniform in [0, 1)."""
        # The values of one variable are contiguous.
        uniform_VN = np.ascontiguousarray(uniform_NV.T)
        value_VN = np.zeros(uniform_VN.shape, dtype=bool)
        for variable in self.order:
            row_N = np.zeros(len(uniform_NV), dtype=np.int64)
            for parent in self.parents[variable]:
                row_N = 2 * row_N + value_VN[parent]
            value_VN[variable] = uniform_VN[variable] < self.tables[variable][row_N]
        return value_VN.T

    @functools.cached_property
    def distances(self) -> np.ndarray:
        """(V, V) int64: the number of edges on the shortest undirected path between variables; V if there is no
        path."""
        count = len(self.parents)
        near_VV = np.eye(count, dtype=bool)
        for variable, parents in enumerate(self.parents):
            near_VV[variable, list(parents)] = near_VV[list(parents), variable] = True
        distance_VV = np.where(np.eye(count, dtype=bool), 0, count)
        reached_VV = np.eye(count, dtype=bool)
        for distance in range(1, count):
            further_VV = (reached_VV.astype(np.float32) @ near_VV.astype(np.float32)) > 0
            distance_VV[further_VV & ~reached_VV] = distance
            reached_VV = further_VV
        return distance_VV


@functools.lru_cache(maxsize=32)
def random_net(variables: int, edges: int, seed: int) -> BayesNet:
    """Draws a network.

    Edges are uniform pairs of variables with random directions, drawn again until there is no cycle. The probability of
    a variable without parents is uniform, that of each row of the others Beta(0.2, 0.2).

    Raises:
      UserError: every graph drawn had a cycle.
    """
    one_P, other_P = np.triu_indices(variables, k=1)
    for attempt in range(_ATTEMPTS):
        pair_E = random_order(len(one_P), seed=seed, stream=_GRAPHS + 2 * attempt)[:edges]
        turned_E = random_words(edges, seed=seed, stream=_GRAPHS + 2 * attempt + 1) % np.uint64(2) == 1
        cause_E = np.where(turned_E, other_P[pair_E], one_P[pair_E]).tolist()
        effect_E = np.where(turned_E, one_P[pair_E], other_P[pair_E]).tolist()
        parents: list[list[int]] = [[] for _ in range(variables)]
        for cause, effect in sorted(zip(cause_E, effect_E, strict=True)):
            parents[effect].append(cause)
        if len(order := _parents_first(parents)) == variables:
            break
    else:
        raise UserError(f"task.edges: got {edges} for {variables} variables, expected fewer: every graph had a cycle")
    rows = [2 ** len(each) for each in parents]
    root_V = random_uniforms((variables,), seed=seed, stream=_ROOTS)
    beta_R = np.split(_betas(sum(rows), seed=seed), np.cumsum(rows)[:-1])
    tables = tuple(beta if len(beta) > 1 else root_V[i : i + 1] for i, beta in enumerate(beta_R))
    return BayesNet(tuple(order), tuple(map(tuple, parents)), tables)


@functools.lru_cache(maxsize=32)
def joint_probabilities(net: BayesNet, seed: int) -> np.ndarray:
    """Returns (V, V, 2, 2): the probability of each two values of each two variables, among 2**17 samples."""
    variables = len(net.parents)
    value_NV = net.sample(random_uniforms((_SAMPLED, variables), seed=seed, stream=_SAMPLES)).astype(np.float32)
    both_VV = (value_NV.T @ value_NV).astype(np.float64) / _SAMPLED
    one_V = np.diag(both_VV)
    first_VV = one_V[:, None] - both_VV
    second_VV = one_V[None] - both_VV
    return np.stack(
        [np.stack([1 - first_VV - second_VV - both_VV, second_VV], -1), np.stack([first_VV, both_VV], -1)], axis=-2
    )


def mutual_information(joint_VV22: np.ndarray) -> np.ndarray:
    """Returns (V, V): the mutual information of each two variables, in nats."""
    apart_VV22 = joint_VV22.sum(axis=-1, keepdims=True) * joint_VV22.sum(axis=-2, keepdims=True)
    ratio_VV22 = np.divide(joint_VV22, apart_VV22, out=np.ones_like(joint_VV22), where=joint_VV22 > 0)
    return (joint_VV22 * np.log(ratio_VV22)).sum(axis=(-2, -1))


def _parents_first(parents: list[list[int]]) -> list[int]:
    """Returns the variables in topological order, without those on cycles and their descendants."""
    order: list[int] = []
    while new := [v for v in range(len(parents)) if v not in order and set(parents[v]) <= set(order)]:
        order += new
    return order


def _betas(count: int, *, seed: int) -> np.ndarray:
    """Returns (count,) numbers from Beta(a, a), by Johnk's method: x / (x + y) with x = u**(1/a) and y = v**(1/a)."""
    power_2RT = random_uniforms((2, count, _TRIES), seed=seed, stream=_TABLES) ** (1 / _BETA)
    total_RT = power_2RT.sum(axis=0)
    fits_R = (total_RT <= 1).argmax(axis=1)
    return power_2RT[0][np.arange(count), fits_R] / total_RT[np.arange(count), fits_R]
