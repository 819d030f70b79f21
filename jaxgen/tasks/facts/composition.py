"""Facts over a knowledge graph, and facts that follow from two of them: the composition task of Wang et al. (Grokked
Transformers are Implicit Reasoners, arXiv 2405.15071, Sec. 3).

Shape letters: E entities, R relations, F atomic facts, I inferred facts, N examples.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Annotated, NamedTuple

import numpy as np

from jaxgen.config import HostSeed, Positive, PositiveInt, Range, Size
from jaxgen.errors import UserError
from jaxgen.tasks.base import IGNORED, Split, Task, TaskShape, clean_split, random_order, random_uniforms, random_words

# The key of each random draw for the graph and its splits, beside the graph's seed.
_RELATIONS, _TAILS, _OOD, _HELD_OUT, _POOL, _PROBES = range(6)

PROBES = ("id_atomic", "ood_atomic", "train_inferred", "test_inferred_iid", "test_inferred_ood")


class Graph(NamedTuple):
    """A knowledge graph, and its inferred facts by their use.

    Atomic fact f, of F = entities * out_degree, has the head f // out_degree. An inferred fact is a path of
    two atomic ones, numbered first * out_degree + (second % out_degree).
    """

    relation_F: np.ndarray  # (F,) int64
    tail_F: np.ndarray  # (F,) int64
    ood_F: np.ndarray  # (F,) bool: no training inferred fact uses it
    pool_I: np.ndarray  # (I,) int64: inferred facts that may train; both atomic facts are ID
    test_iid_I: np.ndarray  # (I,) int64: held out; both atomic facts are ID
    test_ood_I: np.ndarray  # (I,) int64: both atomic facts are OOD


@dataclasses.dataclass(frozen=True, kw_only=True)
class CompositionTask(Task):
    """Two-hop questions: from the atomic facts (h, r1, b) and (b, r2, t) follows the inferred fact (h, r1, r2, t).

    Each entity has `out_degree` facts of different relations, whose tails are uniform over all entities.
    A random `ood_fraction` of the facts is OOD. Each inferred fact from two ID facts is held out for testing with
    probability `held_out`. Inferred facts from two OOD facts are the out-of-distribution test; those from one ID and
    one OOD fact are not used. All atomic facts train, ID and OOD, and round(phi * ID facts) of the inferred facts. The
    graph and the tests depend on neither `phi` nor a run's seed, and the training examples of one phi are also those of
    a larger one.

    Tokens are the entities, then the relations, then the end. An example is `h r t end` or `h r1 r2 t end`; answer and
    end are targets, each at the token before it. Both kinds have four input positions and are read out at positions 1
    to 3, of which each kind ignores one. Causal attention hides the tokens after an atomic fact's end from its
    read-out.

    Splits: `train`, which is not measured, and up to `probes` examples each of `id_atomic`, `ood_atomic`,
    `train_inferred` (all of which train), `test_inferred_iid` and `test_inferred_ood`.
    """

    entities: Size
    relations: Size
    out_degree: PositiveInt
    phi: Positive
    ood_fraction: Annotated[float, Range(above=0, below=1)] = 0.05
    held_out: Annotated[float, Range(above=0, below=1)] = 0.005
    probes: PositiveInt = 3000
    graph_seed: HostSeed = 0

    def validate(self) -> None:
        if self.out_degree > self.relations:
            raise UserError(
                f"task.out_degree: got {self.out_degree}, expected at most the {self.relations} relations: "
                "those of an entity are all different"
            )
        id_facts, pool = self._id_facts(), len(self.graph().pool_I)
        if self._trained() > pool:
            raise UserError(
                f"task.phi: got {self.phi:g}, which is {self._trained()} inferred facts for {id_facts} ID facts, "
                f"expected at most {int(100 * pool / id_facts) / 100:g}: there are {pool} to train on"
            )
        empty = [name for name, size in self.shape().sizes if size == 0]
        if empty:
            raise UserError(
                f"task: got no example of {', '.join(empty)}, expected at least one: {self.entities} entities of "
                f"{self.out_degree} facts, phi={self.phi:g}, ood_fraction={self.ood_fraction:g} and "
                f"held_out={self.held_out:g} leave too few"
            )

    def graph(self) -> Graph:
        """Returns the graph, which does not depend on phi."""
        return _draw(self.entities, self.relations, self.out_degree, self.ood_fraction, self.held_out, self.graph_seed)

    def shape(self) -> TaskShape:
        graph, facts = self.graph(), self.entities * self.out_degree
        id_facts = self._id_facts()
        available = (id_facts, facts - id_facts, self._trained(), len(graph.test_iid_I), len(graph.test_ood_I))
        sizes = ((name, min(self.probes, count)) for name, count in zip(PROBES, available, strict=True))
        return TaskShape(
            vocabulary=self.entities + self.relations + 1,
            length=4,
            readout=(1, 2, 3),
            sizes=(("train", facts + self._trained()), *sizes),
        )

    def token_names(self) -> tuple[str, ...]:
        entities, relations = (range(count) for count in (self.entities, self.relations))
        return (*(f"e{i}" for i in entities), *(f"r{i}" for i in relations), "</a>")

    def disjoint_by(self) -> str:
        return "id_atomic, ood_atomic and train_inferred are training examples; those of the other splits never train"

    def measured(self) -> tuple[str, ...]:
        return PROBES

    def table(self, seed: int) -> dict[str, Split]:
        graph = self.graph()
        order = random_order(len(graph.pool_I), seed=self.graph_seed, stream=_POOL)
        trained = graph.pool_I[order[: self._trained()]]
        facts = np.arange(self.entities * self.out_degree)
        probes = {
            "id_atomic": (self._atomic, facts[~graph.ood_F]),
            "ood_atomic": (self._atomic, facts[graph.ood_F]),
            "train_inferred": (self._inferred, trained),
            "test_inferred_iid": (self._inferred, graph.test_iid_I),
            "test_inferred_ood": (self._inferred, graph.test_ood_I),
        }
        splits = {"train": Split(*map(np.concatenate, zip(self._atomic(facts), self._inferred(trained), strict=True)))}
        for i, (name, (encode, numbers)) in enumerate(probes.items()):
            # train_inferred has the first inferred facts, because these train at every phi.
            if name != "train_inferred":
                numbers = numbers[random_order(len(numbers), seed=self.graph_seed, stream=_PROBES + i)]
            splits[name] = encode(numbers[: self.probes])
        return splits

    def _id_facts(self) -> int:
        facts = self.entities * self.out_degree
        return facts - round(self.ood_fraction * facts)

    def _trained(self) -> int:
        return round(self.phi * self._id_facts())

    def _atomic(self, facts_N: np.ndarray) -> Split:
        graph = self.graph()
        head, relation, tail = facts_N // self.out_degree, graph.relation_F[facts_N], graph.tail_F[facts_N]
        end, ignored = np.full_like(head, self.entities + self.relations), np.full_like(head, IGNORED)
        return _split([head, relation + self.entities, tail, end], [tail, end, ignored])

    def _inferred(self, paths_N: np.ndarray) -> Split:
        graph = self.graph()
        first, second = _facts_of(paths_N, graph.tail_F, self.out_degree)
        head, tail = first // self.out_degree, graph.tail_F[second]
        end, ignored = np.full_like(head, self.entities + self.relations), np.full_like(head, IGNORED)
        r1, r2 = graph.relation_F[first] + self.entities, graph.relation_F[second] + self.entities
        return _split([head, r1, r2, tail], [ignored, tail, end])


def _facts_of(paths_N: np.ndarray, tail_F: np.ndarray, out_degree: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the first and the second atomic fact of each inferred fact."""
    first = paths_N // out_degree
    return first, tail_F[first] * out_degree + paths_N % out_degree


def _split(inputs: list[np.ndarray], targets: list[np.ndarray]) -> Split:
    inputs_NS, targets_NK = (np.stack(columns, axis=1).astype(np.int32) for columns in (inputs, targets))
    return clean_split(inputs_NS, targets_NK, np)


@functools.lru_cache(maxsize=8)
def _draw(entities: int, relations: int, out_degree: int, ood_fraction: float, held_out: float, seed: int) -> Graph:
    facts = entities * out_degree
    words_ER = random_words(entities * relations, seed=seed, stream=_RELATIONS).reshape(entities, relations)
    relation_F = np.argsort(words_ER, axis=1, kind="stable")[:, :out_degree].ravel()
    tail_F = (random_words(facts, seed=seed, stream=_TAILS) % np.uint64(entities)).astype(np.int64)
    ood_F = np.zeros(facts, dtype=bool)
    ood_F[random_order(facts, seed=seed, stream=_OOD)[: round(ood_fraction * facts)]] = True

    paths_I = np.arange(facts * out_degree)
    first_I, second_I = _facts_of(paths_I, tail_F, out_degree)
    both_id_I, both_ood_I = ~ood_F[first_I] & ~ood_F[second_I], ood_F[first_I] & ood_F[second_I]
    held_out_I = random_uniforms((len(paths_I),), seed=seed, stream=_HELD_OUT) < held_out
    return Graph(
        relation_F=relation_F,
        tail_F=tail_F,
        ood_F=ood_F,
        pool_I=paths_I[both_id_I & ~held_out_I],
        test_iid_I=paths_I[both_id_I & held_out_I],
        test_ood_I=paths_I[both_ood_I],
    )
