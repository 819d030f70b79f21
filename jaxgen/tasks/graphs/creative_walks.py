"""Walks on a graph with labelled edges that must have some labels and avoid others, after Schapiro et al.
(Combinatorial Creativity: A New Frontier in Generalization Abilities, arXiv 2509.21043).

Shape letters: N examples, W random words of an example, V nodes, E edges, D the largest number of neighbours, L labels,
H steps of the longest walk, X slots for a token.
"""

from __future__ import annotations

import dataclasses
import functools
import string
from collections.abc import Mapping
from typing import Annotated, Any, NamedTuple

import numpy as np

from jaxgen.config import MOST, HostSeed, NonNegativeInt, PositiveInt, Range, Size
from jaxgen.errors import UserError
from jaxgen.tasks.base import Array, Split, random_order, random_words
from jaxgen.tasks.sampled import SampledTask

_EDGES, _LABELS = 0, 1
_MARKS = ("+", "-", ":", "<end>", "<pad>")


class LabelledGraph(NamedTuple):
    """An undirected graph without loops or double edges."""

    end_E2: np.ndarray  # (E, 2) int32: the nodes of each edge
    label_VV: np.ndarray  # (V, V) int32: the label of the edge between two nodes, -1 if there is none
    degree_V: np.ndarray  # (V,) int32: the number of neighbours of each node
    neighbour_VD: np.ndarray  # (V, D) int32: each node's neighbours, ascending, padded with 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class CreativeWalkTask(SampledTask):
    """`n3 n9 + a c - d : a n5 c n7 b n9 <end>`: from n3 to n9, with the labels a and c, without d.

    The model must store one graph in its weights, because no example shows all of it: `edges` random pairs of its
    nodes, with uniform labels. An example is a random walk of 1 to `longest` steps (uniform) that starts at either end
    of a uniform edge, and goes to a uniform neighbour at each step. The prompt gives its start and its end, up to
    `demanded` of its labels, and up to `forbidden` labels that it does not have (their numbers are uniform, up to what
    the walk allows). The walk and the end are targets; other walks may be equally valid.

    Splits: `train` and `test`, from the same distribution.

    The authors' numbers of nodes, edges, steps and demands, and how they draw walks, are not known; the defaults are
    our own choice.
    """

    nodes: Annotated[int, Range(at_least=2, at_most=MOST)] = 60
    edges: PositiveInt = 120
    labels: Annotated[int, Range(at_least=1, at_most=26)] = 8
    longest: Size = 6
    demanded: NonNegativeInt = 2
    forbidden: NonNegativeInt = 2
    graph_seed: HostSeed = 0

    def validate(self) -> None:
        pairs = self.nodes * (self.nodes - 1) // 2
        if self.edges > pairs:
            raise UserError(
                f"task.edges: got {self.edges}, expected at most {pairs}: {self.nodes} nodes have no more pairs"
            )

    def graph(self) -> LabelledGraph:
        """Returns the graph."""
        return _draw(self.nodes, self.edges, self.labels, self.graph_seed)

    def disjoint_by(self) -> str:
        return (
            "test is drawn as the stream is, so a walk of it may be met in training: the longer it is, the more rarely"
        )

    def splits(self) -> tuple[str, ...]:
        return ("train", "test")

    def token_names(self) -> tuple[str, ...]:
        return (*(f"n{i}" for i in range(self.nodes)), *string.ascii_lowercase[: self.labels], *_MARKS)

    def spans(self) -> Mapping[str, tuple[int, int]]:
        told = min(self.labels, self.demanded + self.forbidden)
        return dict.fromkeys(self.splits(), (5, 5 + told + 2 * self.longest + 1))

    def words(self, split: str) -> int:
        return 4 + self.longest + self.labels

    def make(self, split: str, words_NW: Array, xp: Any) -> Split:
        graph = LabelledGraph(*map(xp.asarray, self.graph()))
        start_N = graph.end_E2.reshape(-1)[words_NW[:, 0] % (2 * self.edges)]
        steps_N = 1 + (words_NW[:, 1] % self.longest).astype(xp.int32)
        nodes, labels, at_N = [], [], start_N
        for step in range(self.longest):
            turn_N = words_NW[:, 4 + step] % graph.degree_V[at_N].astype(xp.uint32)
            next_N = graph.neighbour_VD[at_N, turn_N.astype(xp.int32)]
            nodes.append(next_N)
            labels.append(graph.label_VV[at_N, next_N])
            at_N = next_N
        node_NH, label_NH = xp.stack(nodes, axis=1), xp.stack(labels, axis=1)
        walked_NH = xp.arange(self.longest, dtype=xp.int32)[None] < steps_N[:, None]
        goal_N1 = xp.take_along_axis(node_NH, steps_N[:, None] - 1, axis=1)
        label_L = xp.arange(self.labels, dtype=xp.int32)
        on_NL = ((label_NH[:, :, None] == label_L[None, None]) & walked_NH[:, :, None]).any(axis=1)
        demanded_NL = _some(on_NL, words_NW[:, 4 + self.longest :], words_NW[:, 2], self.demanded, xp)
        forbidden_NL = _some(~on_NL, words_NW[:, 4 + self.longest :], words_NW[:, 3], self.forbidden, xp)

        count, always_N1 = len(words_NW), xp.ones_like(goal_N1, dtype=bool)
        mark = {name: i for i, name in enumerate(self.token_names())}
        plus, minus, colon, end = (xp.full((count, 1), mark[each], dtype=xp.int32) for each in _MARKS[:-1])
        named_NL = xp.broadcast_to(self.nodes + label_L[None], (count, self.labels))
        walk_NX = xp.stack([self.nodes + label_NH, node_NH], axis=2).reshape(count, -1)
        walked_NX = xp.repeat(walked_NH, 2, axis=1)
        told = [start_N[:, None], goal_N1, plus, named_NL, minus, named_NL, colon, walk_NX, end]
        shown = [always_N1] * 3 + [demanded_NL, always_N1, forbidden_NL, always_N1, walked_NX, always_N1]
        tokens_NX, shown_NX = (xp.concatenate(each, axis=1) for each in (told, shown))
        return self.told(split, tokens_NX, shown_NX, 2 * self.longest + 1, xp)


def _some(fits_NL: Array, order_NL: Array, word_N: Array, most: int, xp: Any) -> Array:
    """Returns (N, L) bool: 0 to `most` of the labels that fit; the number is uniform, up to the number that fit."""
    number_N1 = (word_N % (1 + xp.minimum(fits_NL.sum(axis=1, dtype=xp.uint32), xp.uint32(most))))[:, None]
    before_NLL = (order_NL[:, None, :] < order_NL[:, :, None]) & fits_NL[:, None, :]
    return fits_NL & (before_NLL.sum(axis=2, dtype=xp.uint32) < number_N1)


@functools.lru_cache(maxsize=8)
def _draw(nodes: int, edges: int, labels: int, seed: int) -> LabelledGraph:
    pair_P2 = np.stack(np.triu_indices(nodes, k=1), axis=1).astype(np.int32)
    end_E2 = pair_P2[random_order(len(pair_P2), seed=seed, stream=_EDGES)[:edges]]
    label_VV = np.full((nodes, nodes), -1, dtype=np.int32)
    label_E = (random_words(edges, seed=seed, stream=_LABELS) % np.uint64(labels)).astype(np.int32)
    label_VV[end_E2[:, 0], end_E2[:, 1]] = label_VV[end_E2[:, 1], end_E2[:, 0]] = label_E
    near_VV = label_VV >= 0
    degree_V = near_VV.sum(axis=1, dtype=np.int32)
    order_VV = np.argsort(~near_VV, axis=1, kind="stable").astype(np.int32)[:, : int(np.max(degree_V))]
    neighbour_VD = np.where(np.arange(order_VV.shape[1]) < degree_V[:, None], order_VV, 0)
    return LabelledGraph(end_E2, label_VV, degree_V, neighbour_VD.astype(np.int32))
