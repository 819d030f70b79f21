"""Traces of breadth-first search, depth-first search and Bellman-Ford on random graphs: the tasks of Saldyt and
Kambhampati (Mind The Gap, arXiv 2505.18623), with the graphs and the order of ties of the CLRS benchmark
(Velickovic et al., arXiv 2205.15659).

Shape letters: N examples, W random words of an example, V nodes of the largest graph, P pairs of nodes that may
have an edge, X tokens of a part, T tokens of a padded sequence.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

import numpy as np

from jaxgen.config import PositiveInt, Range, Size
from jaxgen.errors import UserError
from jaxgen.tasks.base import Array, Split
from jaxgen.tasks.sampled import SampledTask, some

Nodes = Annotated[int, Range(at_least=2)]
Probability = Annotated[float, Range(above=0, below=1)]

_SPECIAL = ("from", ";", ")", "<sep>", "<end>", "<pad>")
_UNKNOWN = 2**29  # a distance above all others


@dataclasses.dataclass(frozen=True, kw_only=True)
class GraphSearchTask(SampledTask):
    """A graph's edges, then the trace of an algorithm on it, step by step.

    There is an edge from one node to another with probability `edge_probability`. An undirected edge requires two
    opposite directed ones, so its probability is the square (as in CLRS). A training graph draws its probability from
    `trained_edge_probabilities`. The number of nodes is one of `nodes`, and their names are drawn from `names`; every
    tie is resolved in favour of the lowest name. Edges are listed in the order of their names. The trace and the end
    are targets:

    - `bfs` (undirected, from a random source): `v p` for each node found, with the lowest p from which it is found; the
      nodes of one distance are in ascending order, followed by `;`: `n0 n2 n2 n5 from n0 <sep> n2 n0 ; n5 n2 ; <end>`.
    - `dfs` (directed; every node is a source, in ascending order, unless it was found before): each node when it is
      entered, and `)` when it is left.
    - `bellman-ford` (undirected, integer weights uniform in 1..max_weight written after each edge, from a random
      source): each round starts from the distances of the round before. It writes `v p d` for each node whose distance
      falls to d via p (the lowest one), in ascending order, followed by `;`. The trace ends with the round in which no
      distance falls, or after `rounds`. (CLRS draws real weights.)

    Splits: `train`; `nodes_7` and so on, for each of `nodes` and `larger`. Training graphs have an even number of
    edges, test graphs an odd number; the edge between the first two nodes is set accordingly.
    """

    version: ClassVar[int] = 2
    numpy_alone: ClassVar[bool] = True

    algorithm: Literal["bfs", "dfs", "bellman-ford"]
    nodes: tuple[Nodes, ...] = (4, 7, 11, 13, 16)
    larger: tuple[Nodes, ...] = ()
    names: Size = 64
    edge_probability: Probability = 0.5
    trained_edge_probabilities: tuple[Probability, ...] = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
    max_weight: PositiveInt = 9
    rounds: PositiveInt | None = None  # None: the largest number that a graph may need

    def validate(self) -> None:
        sizes = (*self.nodes, *self.larger)
        if not self.nodes or len(set(sizes)) < len(sizes):
            raise UserError(
                f"task: got nodes={list(self.nodes)} and larger={list(self.larger)}, expected at least one number of "
                "nodes that train, and all different"
            )
        if not self.trained_edge_probabilities:
            raise UserError("task.trained_edge_probabilities: got none, expected at least one")
        if max(sizes) > self.names:
            raise UserError(f"task.names: got {self.names}, expected at least {max(sizes)}, the nodes of a graph")

    def disjoint_by(self) -> str:
        return "training graphs have an even number of edges, those of all other splits an odd one"

    def splits(self) -> tuple[str, ...]:
        return tuple(self._nodes())

    def _nodes(self) -> dict[str, tuple[int, ...]]:
        """Returns for each split the possible numbers of nodes."""
        return {"train": self.nodes, **{f"nodes_{each}": (each,) for each in (*self.nodes, *self.larger)}}

    def token_names(self) -> tuple[str, ...]:
        numbers = self.max_weight * (max(*self.nodes, *self.larger, 0) - 1) + 1
        told = tuple(map(str, range(numbers))) if self.algorithm == "bellman-ford" else ()
        return (*(f"n{i}" for i in range(self.names)), *told, *_SPECIAL)

    def spans(self) -> Mapping[str, tuple[int, int]]:
        prompt = 1 if self.algorithm == "dfs" else 3
        spans = {}
        for name, nodes in self._nodes().items():
            most = max(nodes)
            edges = len(self._pairs(most)[0]) * (3 if self.algorithm == "bellman-ford" else 2)
            trace = {"bfs": 3 * (most - 1), "dfs": 2 * most, "bellman-ford": self._rounds(most) * (3 * most - 2)}
            spans[name] = (prompt, prompt + edges + trace[self.algorithm] + 1)
        return spans

    def _rounds(self, nodes: int) -> int:
        return min(self.rounds or nodes - 1, nodes - 1)

    def _pairs(self, nodes: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns the pairs (P,) of nodes that may have an edge, in their order."""
        if self.algorithm != "dfs":
            one_P, other_P = np.triu_indices(nodes, k=1)
            return one_P, other_P
        one_P, other_P = np.nonzero(~np.eye(nodes, dtype=bool))
        return one_P, other_P

    def words(self, split: str) -> int:
        pairs = len(self._pairs(max(self._nodes()[split]))[0])
        return 3 + self.names + pairs * (2 if self.algorithm == "bellman-ford" else 1)

    def make(self, split: str, words_NW: Array, xp: Any) -> Split:
        nodes = self._nodes()[split]
        one_P, other_P = self._pairs(max(nodes))
        count = len(words_NW)
        nodes_N = np.array(nodes)[words_NW[:, 0] % len(nodes)]
        source_N = words_NW[:, 1].astype(np.int64) % nodes_N
        probabilities = self.trained_edge_probabilities if split == "train" else (self.edge_probability,)
        probability_N = np.array(probabilities)[words_NW[:, 2] % len(probabilities)]
        weight_NP = self._weights(split, nodes_N, probability_N, one_P, other_P, words_NW[:, 3 + self.names :])
        weight_NVV = np.zeros((count, max(nodes), max(nodes)), dtype=np.int32)
        weight_NVV[:, one_P, other_P] = weight_NP
        if self.algorithm != "dfs":
            weight_NVV[:, other_P, one_P] = weight_NP

        mark = {name: i for i, name in enumerate(self.token_names())}
        name_NV = some(words_NW[:, 3 : 3 + self.names], nodes_N, max(nodes))
        edges = [np.take(name_NV, one_P, axis=1), np.take(name_NV, other_P, axis=1)]
        if self.algorithm == "bellman-ford":
            edges.append(self.names + weight_NP)
        source_N1 = np.take_along_axis(name_NV, source_N[:, None], axis=1)
        given = [np.full_like(source_N1, mark["from"]), source_N1, np.full_like(source_N1, mark["<sep>"])]
        if self.algorithm == "dfs":
            given = given[2:]
            trace = self._depth_first(weight_NVV > 0, nodes_N, name_NV, mark)
        elif self.algorithm == "bfs":
            trace = self._breadth_first(weight_NVV > 0, source_N, name_NV, mark)
        else:
            trace = self._bellman_ford(weight_NVV, source_N, name_NV, mark)
        told = [_flat(edges, np.repeat(weight_NP[:, :, None] > 0, len(edges), axis=2))]
        told += [(token_N1, np.ones((count, 1), dtype=bool)) for token_N1 in given]
        told += [trace, (np.full((count, 1), mark["<end>"]), np.ones((count, 1), dtype=bool))]
        tokens_NX, shown_NX = (np.concatenate(each, axis=1, dtype=each[0].dtype) for each in zip(*told, strict=True))
        return self.told(split, tokens_NX, shown_NX, trace[0].shape[1] + 1, np)

    def _weights(
        self,
        split: str,
        nodes_N: np.ndarray,
        probability_N: np.ndarray,
        one_P: np.ndarray,
        other_P: np.ndarray,
        words_NX: np.ndarray,
    ) -> np.ndarray:
        """Returns (N, P) int32: the weights of edges, 0 if there is no edge."""
        pairs = len(one_P)
        if self.algorithm != "dfs":
            probability_N = probability_N**2
        edge_NP = words_NX[:, :pairs] >> 8 < np.rint(probability_N * 2**24)[:, None]
        edge_NP &= (one_P < nodes_N[:, None]) & (other_P < nodes_N[:, None])
        edge_NP[:, 0] ^= (edge_NP.sum(axis=1) % 2 == 1) == (split == "train")
        weight_NP = edge_NP.astype(np.int32)
        if self.algorithm == "bellman-ford":
            weight_NP *= 1 + (words_NX[:, pairs:] % self.max_weight).astype(np.int32)
        return weight_NP

    def _breadth_first(
        self, edge_NVV: np.ndarray, source_N: np.ndarray, name_NV: np.ndarray, mark: dict[str, int]
    ) -> tuple[np.ndarray, np.ndarray]:
        count, nodes = edge_NVV.shape[:2]
        level_NV = np.full((count, nodes), _UNKNOWN, dtype=np.int32)
        level_NV[np.arange(count), source_N] = 0
        parent_NV = np.zeros((count, nodes), dtype=np.int64)
        for level in range(1, nodes):
            from_NVV = edge_NVV & (level_NV < level)[:, :, None]
            new_NV = from_NVV.any(axis=1) & (level_NV == _UNKNOWN)
            if not new_NV.any():
                break
            parent_NV = np.where(new_NV, from_NVV.argmax(axis=1), parent_NV)
            level_NV[new_NV] = level
        order_NV = np.argsort(level_NV, axis=1, stable=True)[:, 1:]
        level_NV = np.take_along_axis(level_NV, order_NV, axis=1)
        parent_NV = np.take_along_axis(parent_NV, order_NV, axis=1)
        found_NV = level_NV < _UNKNOWN
        after_NV = np.concatenate([level_NV[:, 1:], np.full((count, 1), _UNKNOWN, dtype=np.int32)], axis=1)
        return _flat(
            [
                np.take_along_axis(name_NV, order_NV, axis=1),
                np.take_along_axis(name_NV, parent_NV, axis=1),
                np.full(order_NV.shape, mark[";"], dtype=np.int32),
            ],
            np.stack([found_NV, found_NV, found_NV & (after_NV != level_NV)], axis=2),
        )

    def _depth_first(
        self, edge_NVV: np.ndarray, nodes_N: np.ndarray, name_NV: np.ndarray, mark: dict[str, int]
    ) -> tuple[np.ndarray, np.ndarray]:
        count, nodes = edge_NVV.shape[:2]
        row_N = np.arange(count)
        new_NV = np.arange(nodes) < nodes_N[:, None]
        # Node V is the root of the search: all nodes are its neighbours.
        edge_NVV = np.concatenate([edge_NVV, np.ones((count, 1, nodes), dtype=bool)], axis=1)
        path_NV = np.full((count, nodes + 1), nodes)
        depth_N = np.zeros(count, dtype=np.int64)
        tokens, shown = [], []
        for _ in range(2 * nodes):
            next_NV = edge_NVV[row_N, path_NV[row_N, depth_N]] & new_NV
            enters_N, node_N = next_NV.any(axis=1), next_NV.argmax(axis=1)
            shown.append(enters_N | (depth_N > 0))
            tokens.append(np.where(enters_N, name_NV[row_N, node_N], mark[")"]))
            new_NV[row_N[enters_N], node_N[enters_N]] = False
            depth_N = np.where(enters_N, depth_N + 1, np.maximum(depth_N - 1, 0))
            path_NV[row_N[enters_N], depth_N[enters_N]] = node_N[enters_N]
        return np.stack(tokens, axis=1), np.stack(shown, axis=1)

    def _bellman_ford(
        self, weight_NVV: np.ndarray, source_N: np.ndarray, name_NV: np.ndarray, mark: dict[str, int]
    ) -> tuple[np.ndarray, np.ndarray]:
        count, nodes = weight_NVV.shape[:2]
        length_NVV = np.where(weight_NVV > 0, weight_NVV, np.int32(_UNKNOWN))
        distance_NV = np.full((count, nodes), _UNKNOWN, dtype=np.int32)
        distance_NV[np.arange(count), source_N] = 0
        tokens, shown = [], []
        for _ in range(self._rounds(nodes)):
            through_NVV = distance_NV[:, :, None] + length_NVV
            parent_NV, shortest_NV = through_NVV.argmin(axis=1), through_NVV.min(axis=1)
            falls_NV = shortest_NV < distance_NV
            distance_NV = np.where(falls_NV, shortest_NV, distance_NV)
            parts = [name_NV, np.take_along_axis(name_NV, parent_NV, axis=1), self.names + distance_NV]
            tokens_NX, shown_NX = _flat(parts, np.repeat(falls_NV[:, :, None], 3, axis=2))
            tokens += [tokens_NX, np.full((count, 1), mark[";"], dtype=np.int32)]
            shown += [shown_NX, falls_NV.any(axis=1, keepdims=True)]
        return np.concatenate(tokens, axis=1), np.concatenate(shown, axis=1)


def _flat(columns: list[np.ndarray], shown_NXC: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns (N, X * C): the tokens of the X entries one after another, and which of them are present."""
    tokens_NXC = np.stack(columns, axis=2)
    return tokens_NXC.reshape(len(tokens_NXC), -1), shown_NXC.reshape(len(tokens_NXC), -1)
