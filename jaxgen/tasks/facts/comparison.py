"""Which of two entities has more of an attribute: the comparison task of Wang et al.
(Grokked Transformers are Implicit Reasoners, arXiv 2405.15071, Sec. 4).

Shape letters: E entities, A attributes, I entities that are ID, O that are OOD, P unordered pairs of ID entities,
N examples, T tokens.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Annotated, NamedTuple

import numpy as np

from jaxgen.config import HostSeed, Positive, PositiveInt, Range
from jaxgen.errors import UserError
from jaxgen.tasks.base import Split, Task, TaskShape, next_tokens, random_order, random_words
from jaxgen.tasks.facts.composition import PROBES

# The key of each random draw, beside the seed of the facts.
_VALUES, _ENTITIES, _PAIRS, _POOL, _PROBES = range(5)

LABELS = ("<", "=", ">")


class Comparisons(NamedTuple):
    """The attributes and entities that are compared, each (N,) int64."""

    attribute: np.ndarray
    first: np.ndarray
    second: np.ndarray

    def at(self, rows: np.ndarray | slice) -> Comparisons:
        """Returns the comparisons at these rows."""
        return Comparisons(self.attribute[rows], self.first[rows], self.second[rows])

    def with_(self, others: Comparisons) -> Comparisons:
        """Returns these comparisons followed by the others."""
        return Comparisons(*map(np.concatenate, zip(self, others, strict=True)))


class Facts(NamedTuple):
    """The value of every attribute of every entity, and which entities and pairs are compared where."""

    value_AE: np.ndarray  # int64
    id_AI: np.ndarray  # int64 entities whose facts occur in training comparisons
    ood_AO: np.ndarray  # int64: the other entities
    held_out: np.ndarray  # held-out pairs of ID entities, numbered attribute * P + index in triu_indices
    pool: np.ndarray  # the other such pairs, which may train


@dataclasses.dataclass(frozen=True, kw_only=True)
class AttributeTask(Task, family=True):
    """Entities with attributes, whose values are uniform, and comparisons of two entities by an attribute.

    Separately for each attribute, round(ood_fraction * entities) of the entities are OOD. The fraction `held_out` of
    all pairs of ID entities is for testing, in both orders (the authors hold each out with that probability).
    """

    entities: Annotated[int, Range(at_least=3)]
    attributes: PositiveInt
    values: Annotated[int, Range(at_least=2)]
    ood_fraction: Annotated[float, Range(above=0, below=1)] = 0.1
    held_out: Annotated[float, Range(above=0, below=1)] = 0.1
    probes: PositiveInt = 3000
    facts_seed: HostSeed = 0

    def validate(self) -> None:
        ood = self.entities - self.id_entities()
        if min(ood, self.id_entities()) < 2 or self._held_out_pairs() < 1:
            raise UserError(
                f"task: got {self.id_entities()} ID and {ood} OOD entities for each attribute and "
                f"{self._held_out_pairs()} pairs held out, expected at least two, two and one: entities="
                f"{self.entities}, ood_fraction={self.ood_fraction:g} and held_out={self.held_out:g} leave too few"
            )

    def facts(self) -> Facts:
        """Returns the facts; they do not depend on which comparisons train."""
        return _draw(self.entities, self.attributes, self.values, self.id_entities(), self.held_out, self.facts_seed)

    def id_entities(self) -> int:
        """Returns I, the number of ID entities of each attribute."""
        return self.entities - round(self.ood_fraction * self.entities)

    def pooled(self) -> int:
        """Returns the number of comparisons of ID entities that may train, counting both orders."""
        return 2 * (self._pairs() - self._held_out_pairs())

    def _pairs(self) -> int:
        return self.attributes * (self.id_entities() * (self.id_entities() - 1) // 2)

    def _held_out_pairs(self) -> int:
        return round(self.held_out * self._pairs())

    def trained(self, count: int) -> Comparisons:
        """Returns `count` comparisons of ID entities; a smaller count gives a prefix of a larger one."""
        pool = self.facts().pool
        order = random_order(2 * len(pool), seed=self.facts_seed, stream=_POOL)[:count]
        return self._of_pairs(pool[order // 2], order % 2)

    def of_id(self) -> Comparisons:
        """Returns all held-out comparisons of ID entities."""
        held_out = np.repeat(self.facts().held_out, 2)
        return self._of_pairs(held_out, np.arange(len(held_out)) % 2)

    def of_ood(self) -> Comparisons:
        """Returns all comparisons of two OOD entities."""
        ood_AO = self.facts().ood_AO
        others = ood_AO.shape[1] - 1
        attribute, first, second = np.indices((len(ood_AO), others + 1, others)).reshape(3, -1)
        return Comparisons(attribute, ood_AO[attribute, first], ood_AO[attribute, second + (second >= first)])

    def _of_pairs(self, pair_N: np.ndarray, turned_N: np.ndarray) -> Comparisons:
        pairs_2P = np.stack(np.triu_indices(self.id_entities(), k=1))
        attribute, place = pair_N // pairs_2P.shape[1], pair_N % pairs_2P.shape[1]
        entity_AI = self.facts().id_AI
        first, second = entity_AI[attribute, pairs_2P[:, place]]
        return Comparisons(attribute, np.where(turned_N, second, first), np.where(turned_N, first, second))

    def labels(self, comparisons: Comparisons) -> np.ndarray:
        """Returns (N,) int64: 0, 1 or 2 if the first entity's value is smaller, equal or larger."""
        attribute, first, second = comparisons
        value_AE = self.facts().value_AE
        return np.sign(value_AE[attribute, first] - value_AE[attribute, second]) + 1

    def token_names(self) -> tuple[str, ...]:
        attributes = range(self.attributes)
        return (
            *(f"e{i}" for i in range(self.entities)),
            *(f"a{i}" for i in attributes),
            *(str(value) for value in range(self.values)),
            *(f"a{i}{label}" for i in attributes for label in LABELS),
            *("<q>", "</q>", "<mask>", "<a>", "</a>", "<pad>"),
        )

    def layout(self) -> tuple[tuple[str, ...], tuple[str, ...], int]:
        """Returns the tokens of an atomic fact and of a comparison, and how many tokens at their ends are targets.

        A name in small letters is a placeholder: attribute, entity, value, first, second, label.
        """
        raise NotImplementedError

    def _read_out(self) -> tuple[int, ...]:
        atomic, comparison, asked = self.layout()
        return tuple(range(len(atomic) - asked - 1, len(comparison) - 1))

    def token_shape(self, sizes: tuple[tuple[str, int], ...]) -> TaskShape:
        """Returns the shape of examples of both kinds in splits of `sizes`."""
        vocabulary = self.entities + 4 * self.attributes + self.values + 6
        return TaskShape(
            vocabulary=vocabulary,
            length=len(self.layout()[1]) - 1,
            readout=self._read_out(),
            sizes=sizes,
            padding=vocabulary - 1,
        )

    def atomic(self, attribute_N: np.ndarray, entity_N: np.ndarray) -> Split:
        """Makes examples from the facts of entities."""
        value_N = self.facts().value_AE[attribute_N, entity_N]
        columns = {
            "attribute": attribute_N + self.entities,
            "entity": entity_N,
            "value": value_N + self.entities + self.attributes,
        }
        return self._split(self.layout()[0], columns)

    def comparison(self, comparisons: Comparisons) -> Split:
        """Makes examples from comparisons."""
        attribute, first, second = comparisons
        labels = self.entities + self.attributes + self.values
        columns = {
            "attribute": attribute + self.entities,
            "first": first,
            "second": second,
            "label": labels + 3 * attribute + self.labels(comparisons),
        }
        return self._split(self.layout()[1], columns)

    def _split(self, layout: tuple[str, ...], columns: dict[str, np.ndarray]) -> Split:
        special = {name: len(self.token_names()) - 6 + i for i, name in enumerate(self.token_names()[-6:])}
        count, length = len(columns["attribute"]), len(self.layout()[1])
        tokens_NT = np.full((count, length), special["<pad>"], dtype=np.int32)
        for place, name in enumerate(layout):
            tokens_NT[:, place] = special[name] if name in special else columns[name]
        place_1T = np.arange(length)[None]
        asked_1T = (place_1T >= len(layout) - self.layout()[2]) & (place_1T < len(layout))
        return next_tokens(tokens_NT, asked_1T, np, first=self._read_out()[0])

    def chosen(self, comparisons: Comparisons, probe: int) -> Comparisons:
        """Returns a random choice of up to `probes` comparisons; `probe` keys the draw."""
        count = len(comparisons.attribute)
        return comparisons.at(random_order(count, seed=self.facts_seed, stream=_PROBES + probe)[: self.probes])

    def atomic_probes(self, entity_AX: np.ndarray, probe: int) -> Split:
        """Returns up to `probes` of the facts of some entities of each attribute."""
        order = random_order(entity_AX.size, seed=self.facts_seed, stream=_PROBES + probe)[: self.probes]
        return self.atomic(order // entity_AX.shape[1], entity_AX.ravel()[order])

    def all_atomic(self, entity_AX: np.ndarray) -> Split:
        """Returns all facts of some entities of each attribute."""
        return self.atomic(np.repeat(np.arange(len(entity_AX)), entity_AX.shape[1]), entity_AX.ravel())


@dataclasses.dataclass(frozen=True, kw_only=True)
class ComparisonTask(AttributeTask):
    """Training has all facts, and round(phi * ID facts) of the comparisons of two ID entities that are not held out.

    Comparisons of an ID with an OOD entity are left out. A fact is `e a value </a>`. A comparison is `a <q> e1 <mask>
    e2 label </a>`; each attribute has its own three tokens for the label. Answer and end are targets. Facts and tests
    depend on neither `phi` nor a run's seed, and the training examples of one phi are also those of a larger one.
    Splits are those of `CompositionTask`. The most frequent label is correct in (1 - 1 / values) / 2 of the tests.
    """

    phi: Positive

    def validate(self) -> None:
        super().validate()
        id_facts, trained = self.attributes * self.id_entities(), self._trained()
        if not 0 < trained <= self.pooled():
            raise UserError(
                f"task.phi: got {self.phi:g}, which is {trained} comparisons for {id_facts} ID facts, expected at "
                f"least one, and at most {int(100 * self.pooled() / id_facts) / 100:g}: there are {self.pooled()}"
            )

    def _trained(self) -> int:
        return round(self.phi * self.attributes * self.id_entities())

    def layout(self) -> tuple[tuple[str, ...], tuple[str, ...], int]:
        atomic = ("entity", "attribute", "value", "</a>")
        return atomic, ("attribute", "<q>", "first", "<mask>", "second", "label", "</a>"), 2

    def shape(self) -> TaskShape:
        ood = self.entities - self.id_entities()
        id_facts, ood_facts = self.attributes * self.id_entities(), self.attributes * ood
        available = (id_facts, ood_facts, self._trained(), 2 * self._held_out_pairs(), ood_facts * (ood - 1))
        sizes = ((name, min(self.probes, count)) for name, count in zip(PROBES, available, strict=True))
        return self.token_shape((("train", id_facts + ood_facts + self._trained()), *sizes))

    def disjoint_by(self) -> str:
        return "id_atomic, ood_atomic and train_inferred are training examples; those of the other splits never train"

    def measured(self) -> tuple[str, ...]:
        return PROBES

    def table(self, seed: int) -> dict[str, Split]:
        facts = self.facts()
        trained = self.trained(self._trained())
        parts = (self.all_atomic(facts.id_AI), self.all_atomic(facts.ood_AO), self.comparison(trained))
        return {
            "train": Split(*map(np.concatenate, zip(*parts, strict=True))),
            "id_atomic": self.atomic_probes(facts.id_AI, 0),
            "ood_atomic": self.atomic_probes(facts.ood_AO, 1),
            # The first comparisons, because these train at every phi.
            "train_inferred": self.comparison(trained.at(slice(self.probes))),
            "test_inferred_iid": self.comparison(self.chosen(self.of_id(), 2)),
            "test_inferred_ood": self.comparison(self.chosen(self.of_ood(), 3)),
        }


@functools.lru_cache(maxsize=4)
def _draw(entities: int, attributes: int, values: int, id_entities: int, held_out: float, seed: int) -> Facts:
    words_AE = random_words(attributes * entities, seed=seed, stream=_VALUES).reshape(attributes, entities)
    order_AE = random_words(attributes * entities, seed=seed, stream=_ENTITIES).reshape(attributes, entities)
    order_AE = np.argsort(order_AE, axis=1, kind="stable")
    pairs = attributes * (id_entities * (id_entities - 1) // 2)
    order_P = random_order(pairs, seed=seed, stream=_PAIRS)
    count = round(held_out * pairs)
    return Facts(
        value_AE=(words_AE % np.uint64(values)).astype(np.int64),
        id_AI=order_AE[:, :id_entities],
        ood_AO=order_AE[:, id_entities:],
        held_out=order_P[:count],
        pool=order_P[count:],
    )
