"""Comparisons that require a search over many facts: the complex reasoning task of Wang et al. (Grokked Transformers
are Implicit Reasoners, arXiv 2405.15071, Sec. 5 and App. F).

Shape letters: E entities, A attributes, I entities that are ID, O that are OOD, N examples.
"""

from __future__ import annotations

import dataclasses
from typing import Annotated

import numpy as np

from jaxgen.config import PositiveInt, Range
from jaxgen.errors import UserError
from jaxgen.tasks.base import Split, TaskShape, random_order
from jaxgen.tasks.facts.comparison import LABELS, AttributeTask, Comparisons

# The key of each random draw, beside the seed of the facts; larger than the keys of the comparison task's draws.
_CROSS, _HARD = 100, 101

_SPLITS = (
    "id_atomic",
    "ood_atomic",
    "train_inferred",
    "train_cross",
    "test_inferred_iid",
    "test_inferred_ood",
    "test_hard",
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ComplexReasoningTask(AttributeTask):
    """The facts of OOD entities are not in training: only comparisons with ID entities give information on them.

    Training has the ID facts, the fraction `trained_fraction` of the comparisons of two ID entities that are not held
    out, and the same fraction of the comparisons of an ID and an OOD entity (`train_cross`). A fact is `<q> e a <mask>
    </q> <a> value </a>`, a comparison `a <q> e1 <mask> e2 </q> <a> label </a>`; the last three tokens are targets.

    `test_hard` has comparisons of two OOD entities, `hard` for each label, that follow from all training examples but
    not from the training comparisons alone (the authors' 150 items). At the paper's size there are 42 to 70 for each of
    `smaller` and `larger`, depending on `facts_seed` (with 0 too few, with 1 there are 55), and about 380 equal ones.
    If there are too few, `table` raises a `UserError`.
    """

    trained_fraction: Annotated[float, Range(above=0, at_most=1)] = 0.03
    hard: PositiveInt = 50  # for each of the three labels

    def validate(self) -> None:
        super().validate()
        if min(self._trained(), self._cross()) < 1:
            raise UserError(
                f"task.trained_fraction: got {self.trained_fraction:g}, which leaves {self._trained()} and "
                f"{self._cross()} comparisons to train on, expected at least one of both kinds"
            )

    def _trained(self) -> int:
        return round(self.trained_fraction * self.pooled())

    def _all_cross(self) -> int:
        return 2 * self.attributes * self.id_entities() * (self.entities - self.id_entities())

    def _cross(self) -> int:
        return round(self.trained_fraction * self._all_cross())

    def layout(self) -> tuple[tuple[str, ...], tuple[str, ...], int]:
        atomic = ("<q>", "entity", "attribute", "<mask>", "</q>", "<a>", "value", "</a>")
        return atomic, ("attribute", "<q>", "first", "<mask>", "second", "</q>", "<a>", "label", "</a>"), 3

    def shape(self) -> TaskShape:
        ood = self.entities - self.id_entities()
        id_facts, ood_facts = self.attributes * self.id_entities(), self.attributes * ood
        held_out, hard = 2 * self._held_out_pairs(), len(LABELS) * self.hard
        available = (id_facts, ood_facts, self._trained(), self._cross(), held_out, ood_facts * (ood - 1))
        sizes = (min(self.probes, count) for count in available)
        train = id_facts + self._trained() + self._cross()
        return self.token_shape((("train", train), *zip(_SPLITS, (*sizes, hard), strict=True)))

    def disjoint_by(self) -> str:
        return (
            "id_atomic, train_inferred and train_cross are training examples; those of the other splits never train, "
            "and test_hard may be of test_inferred_ood"
        )

    def measured(self) -> tuple[str, ...]:
        return _SPLITS

    def table(self, seed: int) -> dict[str, Split]:
        facts = self.facts()
        trained, cross = self.trained(self._trained()), self.cross()
        parts = (self.all_atomic(facts.id_AI), self.comparison(trained), self.comparison(cross))
        return {
            "train": Split(*map(np.concatenate, zip(*parts, strict=True))),
            "id_atomic": self.atomic_probes(facts.id_AI, 0),
            "ood_atomic": self.atomic_probes(facts.ood_AO, 1),
            "train_inferred": self.comparison(self.chosen(trained, 4)),
            "train_cross": self.comparison(self.chosen(cross, 5)),
            "test_inferred_iid": self.comparison(self.chosen(self.of_id(), 2)),
            "test_inferred_ood": self.comparison(self.chosen(self.of_ood(), 3)),
            "test_hard": self.comparison(self._hard(trained, cross)),
        }

    def cross(self) -> Comparisons:
        """Returns the comparisons of an ID and an OOD entity that train."""
        facts = self.facts()
        number_N = random_order(self._all_cross(), seed=self.facts_seed, stream=_CROSS)[: self._cross()]
        sizes = (self.attributes, facts.id_AI.shape[1], facts.ood_AO.shape[1], 2)
        attribute, i, o, turned = np.unravel_index(number_N, sizes)
        one, other = facts.id_AI[attribute, i], facts.ood_AO[attribute, o]
        return Comparisons(attribute, np.where(turned, other, one), np.where(turned, one, other))

    def _hard(self, trained: Comparisons, cross: Comparisons) -> Comparisons:
        every = self.of_ood()
        attribute, first, second = every
        forth, back = (attribute, first, second), (attribute, second, first)
        at_least_AEE = self._follows(cross)
        easy_AEE = self._reachable(trained.with_(cross))
        hard_N = (at_least_AEE[forth] | at_least_AEE[back]) & ~easy_AEE[forth] & ~easy_AEE[back]
        label_N = self.labels(every)
        order_N = random_order(len(label_N), seed=self.facts_seed, stream=_HARD)
        rows = [order_N[(hard_N & (label_N == label))[order_N]][: self.hard] for label in range(len(LABELS))]
        if min(map(len, rows)) < self.hard:
            found = ", ".join(f"{len(each)} '{label}'" for each, label in zip(rows, LABELS, strict=True))
            raise UserError(
                f"task.hard: got {self.hard}, expected at most the number of each label, {found}; change "
                "trained_fraction, or take more entities or attributes"
            )
        return every.at(np.concatenate(rows))

    def _follows(self, cross: Comparisons) -> np.ndarray:
        """Returns (A, E, E) bool: whether e1 >= e2 follows, for two OOD entities, from the ID facts and these
        comparisons.

        The order of the ID entities is known. So e1 >= e2 follows exactly if an ID entity known to be at most e1 has at
        least the value of an ID entity known to be at least e2.
        """
        value_AE = self.facts().value_AE
        low_AE = np.full(value_AE.shape, -1)
        high_AE = np.full(value_AE.shape, self.values)
        for attribute, one, other in (cross, (cross.attribute, cross.second, cross.first)):
            own, of_other = value_AE[attribute, one], value_AE[attribute, other]
            above, below = own >= of_other, own <= of_other
            np.maximum.at(low_AE, (attribute[above], one[above]), of_other[above])
            np.minimum.at(high_AE, (attribute[below], one[below]), of_other[below])
        return low_AE[:, :, None] >= high_AE[:, None, :]

    def _reachable(self, comparisons: Comparisons) -> np.ndarray:
        """Returns (A, E, E) bool: whether e1 >= e2 follows from these comparisons alone; only rows of OOD entities
        count."""
        attribute, first, second = comparisons
        label_N, ood_AO = self.labels(comparisons), self.facts().ood_AO
        reached_AEE = np.zeros((self.attributes, self.entities, self.entities), dtype=bool)
        for a in range(self.attributes):
            edge_EE = np.zeros((self.entities, self.entities), dtype=np.float32)
            above, below = (attribute == a) & (label_N >= 1), (attribute == a) & (label_N <= 1)
            edge_EE[first[above], second[above]] = 1.0
            edge_EE[second[below], first[below]] = 1.0
            reached_OE = edge_EE[ood_AO[a]] > 0
            while True:
                further_OE = reached_OE | (reached_OE.astype(np.float32) @ edge_EE > 0)
                if (further_OE == reached_OE).all():
                    break
                reached_OE = further_OE
            reached_AEE[a, ood_AO[a]] = reached_OE
        return reached_AEE
