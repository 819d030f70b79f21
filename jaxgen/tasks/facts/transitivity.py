"""Transitivity of causation, written in sentences: the task of Vashishtha et al. (Teaching Transformers Causal
Reasoning through Axiomatic Training, arXiv 2407.07612).

Shape letters: N examples, W random words of an example, V nodes of the largest graph, E edges, Q questions,
C candidates for names, T tokens of a padded sequence.
"""

from __future__ import annotations

import dataclasses
import math
import string
from collections.abc import Mapping
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np

from jaxgen.config import MOST, Fraction, Positive, PositiveInt, Range, Size
from jaxgen.errors import UserError
from jaxgen.tasks.base import Array, Split
from jaxgen.tasks.sampled import SampledTask, chosen, packed

_CHARACTERS = string.ascii_uppercase + string.ascii_lowercase + string.digits
_WORDS = ("causes", ".", "Does", "cause", "?", "Yes", "No", "<pad>")
_LONGEST = 3  # characters of a name

Nodes = Annotated[int, Range(at_least=3, at_most=MOST)]


class _Kind(NamedTuple):
    """The graphs of a split."""

    nodes: tuple[int, ...]  # the possible numbers of nodes
    flipped: float = 0.0  # the fraction of chains with randomly flipped edges
    reversed: bool = False  # whether a chain's edges are listed from the last to the first
    edges: int | None = None  # the number of edges; None: a chain


@dataclasses.dataclass(frozen=True, kw_only=True)
class TransitivityTask(SampledTask):
    """`A causes B. B causes C. Does A cause C? Yes`: is there a directed path from one node to another?

    Training graphs are chains of `lengths` nodes, listed edge by edge along the chain. In the fraction `flipped` of
    them each edge is reversed with probability 1/2 (the paper's TS2; 0 is its TS1, as far as known). For each of the
    `questions` a fair coin chooses the answer, and a pair of different nodes with this answer is drawn uniformly. Only
    the answers are targets.

    Names are 1 to 3 random characters with uniform length, one token a character (`characters`), or one of
    `name_tokens` tokens (`tokens`). Unlike in the authors' data, the names of an example are all different.

    Splits, of graphs of one size each:

    - `train`;
    - `sequential_7` and `flipped_7` and so on, for each of `longer`: chains without and with reversed edges;
    - `reversed_3` and so on, for each of `lengths`: chains listed from the last edge to the first;
    - `branching_5_1.4` and so on, for each of `branching` nodes and each of `edges_per_node`: acyclic graphs with
      int(edges_per_node * nodes) edges, uniform over those that agree with a fixed order of the nodes, and listed in
      that order. Questions may ask about nodes without edges.
    """

    lengths: tuple[Nodes, ...] = (3, 4, 5, 6)
    flipped: Fraction = 0.5
    questions: Size = 1
    names: Literal["characters", "tokens"] = "characters"
    name_tokens: PositiveInt = len(_CHARACTERS)
    longer: tuple[Nodes, ...] = ()
    branching: tuple[Nodes, ...] = ()
    edges_per_node: tuple[Positive, ...] = (1.4, 2.0)

    def validate(self) -> None:
        if not self.lengths:
            raise UserError("task.lengths: got none, expected at least one number of nodes")
        if shared := set(self.lengths) & set(self.longer):
            raise UserError(f"task.longer: got {sorted(shared)}, expected numbers of nodes that do not train")
        most = max((*self.lengths, *self.longer, *self.branching))
        if self.names == "tokens" and most > self.name_tokens:
            raise UserError(
                f"task.name_tokens: got {self.name_tokens}, expected at least {most}: the nodes of a graph have "
                "different names"
            )
        for name, kind in self._kinds().items():
            most = kind.nodes[0] * (kind.nodes[0] - 1) // 2
            if kind.edges is not None and not 1 <= kind.edges <= most:
                raise UserError(f"task.edges_per_node: got {kind.edges} edges for {name}, expected 1 to {most}")

    def disjoint_by(self) -> str:
        return (
            "sequential and flipped chains that test have other numbers of nodes than those that train; a reversed or "
            "branching graph may also be a training chain, turned in every edge or of so many nodes, as rarely as its "
            "names are drawn alike"
        )

    def splits(self) -> tuple[str, ...]:
        return tuple(self._kinds())

    def _kinds(self) -> dict[str, _Kind]:
        kinds = {"train": _Kind(self.lengths, self.flipped)}
        for nodes in self.longer:
            kinds |= {f"sequential_{nodes}": _Kind((nodes,)), f"flipped_{nodes}": _Kind((nodes,), flipped=1.0)}
        kinds |= {f"reversed_{nodes}": _Kind((nodes,), reversed=True) for nodes in self.lengths}
        for nodes in self.branching:
            for factor in self.edges_per_node:
                # The product of decimals such as 1.4 and 5 may be slightly too low.
                edges = math.floor(factor * nodes + 1e-9)
                kinds[f"branching_{nodes}_{factor:g}"] = _Kind((nodes,), edges=edges)
        return kinds

    def token_names(self) -> tuple[str, ...]:
        names = tuple(_CHARACTERS) if self.names == "characters" else tuple(f"n{i}" for i in range(self.name_tokens))
        return (*names, *_WORDS)

    def spans(self) -> Mapping[str, tuple[int, int]]:
        longest = _LONGEST if self.names == "characters" else 1
        spans = {}
        for name, kind in self._kinds().items():
            fewest, most = (kind.edges or nodes - 1 for nodes in (min(kind.nodes), max(kind.nodes)))
            spans[name] = (4 * fewest + 5, (2 * longest + 2) * most + (2 * longest + 4) * self.questions)
        return spans

    def words(self, split: str) -> int:
        return sum(self._parts(self._kinds()[split]))

    def _parts(self, kind: _Kind) -> tuple[int, int, int, int]:
        """Returns the random words for the size and the flip, the edges, the questions, and the names."""
        most = max(kind.nodes)
        edges = most * (most - 1) // 2 if kind.edges else most - 1
        names = (_LONGEST + 1) * _candidates(most) if self.names == "characters" else self.name_tokens
        return 2, edges, 2 * self.questions, names

    def make(self, split: str, words_NW: Array, xp: Any) -> Split:
        kind = self._kinds()[split]
        size_N2, edge_NX, question_NX, name_NX = xp.split(words_NW, np.cumsum(self._parts(kind))[:-1].tolist(), axis=1)
        nodes_N = xp.asarray(kind.nodes, dtype=xp.int32)[size_N2[:, 0] % len(kind.nodes)]
        cause_NE, effect_NE, present_NE = self._edges(kind, nodes_N, size_N2[:, 1], edge_NX, xp)
        most = max(kind.nodes)
        path_NVV = _paths(cause_NE, effect_NE, present_NE, most, xp)
        names_NVX, shown_NVX = self._names(name_NX, most, xp)
        said, shown = [], []

        def say(*parts: Any, there_N: Array) -> None:
            for part in parts:
                node = not isinstance(part, str)
                tokens_NX = _at(names_NVX, part, xp) if node else self._word(part, there_N, xp)
                shown_NX = _at(shown_NVX, part, xp) if node else xp.ones_like(tokens_NX, dtype=bool)
                said.append(tokens_NX)
                shown.append(shown_NX & there_N[:, None])

        for i in reversed(range(cause_NE.shape[1])) if kind.reversed else range(cause_NE.shape[1]):
            say(cause_NE[:, i], "causes", effect_NE[:, i], ".", there_N=present_NE[:, i])
        always_N = nodes_N > 0
        for i in range(self.questions):
            coin_N, rank_N = question_NX[:, 2 * i] & 1 == 1, question_NX[:, 2 * i + 1]
            one_N, other_N = _pair(path_NVV, nodes_N, coin_N, rank_N, xp)
            say("Does", one_N, "cause", other_N, "?", there_N=always_N)
            said.append(xp.where(coin_N[:, None], self._word("Yes", coin_N, xp), self._word("No", coin_N, xp)))
            shown.append(always_N[:, None])
        names = self.token_names()
        tokens_NT, _ = packed(xp.concatenate(said, axis=1), xp.concatenate(shown, axis=1), len(names) - 1, xp)
        answers_NT = (tokens_NT == names.index("Yes")) | (tokens_NT == names.index("No"))
        return self.asked(split, tokens_NT, answers_NT, xp)

    def _word(self, word: str, like_N: Array, xp: Any) -> Array:
        return xp.full((len(like_N), 1), self.token_names().index(word), dtype=xp.int32)

    def _edges(
        self, kind: _Kind, nodes_N: Array, coin_N: Array, words_NX: Array, xp: Any
    ) -> tuple[Array, Array, Array]:
        """Returns cause and effect of each edge, (N, E) int32, and which edges are present."""
        if kind.edges is not None:
            pairs_2X = xp.asarray(np.stack(np.triu_indices(max(kind.nodes), k=1)), dtype=xp.int32)
            chosen_NE = xp.sort(xp.argsort(words_NX, axis=1)[:, : kind.edges], axis=1)
            cause_NE, effect_NE = pairs_2X[0][chosen_NE], pairs_2X[1][chosen_NE]
            return cause_NE, effect_NE, xp.ones_like(cause_NE, dtype=bool)
        place_1E = xp.arange(max(kind.nodes) - 1, dtype=xp.int32)[None]
        flips_N1 = (coin_N >> 8 < round(kind.flipped * 2**24))[:, None]
        turned_NE = flips_N1 & (words_NX & 1 == 1)
        along_NE = turned_NE.astype(xp.int32)
        return place_1E + along_NE, place_1E + 1 - along_NE, place_1E < nodes_N[:, None] - 1

    def _names(self, words_NX: Array, nodes: int, xp: Any) -> tuple[Array, Array]:
        """Returns the tokens of different names, (N, V, X) int32, and which of them are present."""
        if self.names == "tokens":
            order_NV1 = xp.argsort(words_NX, axis=1)[:, :nodes, None].astype(xp.int32)
            return order_NV1, xp.ones_like(order_NV1, dtype=bool)
        words_NCX = words_NX.reshape(len(words_NX), _candidates(nodes), _LONGEST + 1)
        shown_NCX = xp.arange(_LONGEST, dtype=xp.uint32)[None, None] <= words_NCX[..., :1] % _LONGEST
        tokens_NCX = (words_NCX[..., 1:] % len(_CHARACTERS)).astype(xp.int32)
        base = len(_CHARACTERS) + 1
        digits_X = xp.asarray([base**i for i in range(_LONGEST)], dtype=xp.int32)
        code_NC = (xp.where(shown_NCX, tokens_NCX + 1, 0) * digits_X[None, None]).sum(axis=2, dtype=xp.int32)
        earlier_CC = xp.asarray(np.tri(_candidates(nodes), k=-1, dtype=bool))
        again_NC = ((code_NC[:, :, None] == code_NC[:, None, :]) & earlier_CC[None]).any(axis=2)
        chosen_NV1 = xp.argsort(again_NC.astype(xp.int8), axis=1, stable=True)[:, :nodes, None]
        return xp.take_along_axis(tokens_NCX, chosen_NV1, axis=1), xp.take_along_axis(shown_NCX, chosen_NV1, axis=1)


def _candidates(nodes: int) -> int:
    # The names are the first distinct candidates. Too few are distinct with a probability below 1e-9 an example.
    return 2 * nodes + 6


def _at(values_NVX: Array, node_N: Array, xp: Any) -> Array:
    return xp.take_along_axis(values_NVX, node_N[:, None, None], axis=1)[:, 0]


def _paths(cause_NE: Array, effect_NE: Array, present_NE: Array, nodes: int, xp: Any) -> Array:
    """Returns (N, V, V) bool: a directed path leads from one node to another."""
    node_1V = xp.arange(nodes, dtype=xp.int32)[None, None]
    cause_NEV = ((cause_NE[..., None] == node_1V) & present_NE[..., None]).astype(xp.float32)
    effect_NEV = (effect_NE[..., None] == node_1V).astype(xp.float32)
    path_NVV = cause_NEV.swapaxes(1, 2) @ effect_NEV
    # Each round doubles the length of the paths that are found.
    for _ in range((nodes - 1).bit_length()):
        path_NVV = xp.minimum(path_NVV + path_NVV @ path_NVV, 1.0)
    return path_NVV > 0


def _pair(path_NVV: Array, nodes_N: Array, wished_N: Array, word_N: Array, xp: Any) -> tuple[Array, Array]:
    """Returns two different nodes, uniform among the pairs with a path, or among those without, as `wished_N` says."""
    nodes = path_NVV.shape[1]
    node_1V = xp.arange(nodes, dtype=xp.int32)[None]
    there_NV = node_1V < nodes_N[:, None]
    others_NVV = there_NV[:, :, None] & there_NV[:, None, :] & ~xp.eye(nodes, dtype=bool)[None]
    fits_NX = ((path_NVV == wished_N[:, None, None]) & others_NVV).reshape(len(path_NVV), -1)
    pair_N = chosen(fits_NX, word_N, xp)
    return pair_N // nodes, pair_N % nodes
