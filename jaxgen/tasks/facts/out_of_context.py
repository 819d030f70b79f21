"""Facts, some of which imply others: the task of Huang, Zhu, Guo et al. (Generalization or Hallucination? Understanding
Out-of-Context Reasoning in Transformers, arXiv 2506.10887).

Shape letters: N examples, W random words of an example, S input positions.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Annotated, Any

from jaxgen.config import MOST, PositiveInt, Range, Size
from jaxgen.errors import UserError
from jaxgen.tasks.base import Array, Split, TaskShape, clean_split
from jaxgen.tasks.sampled import SampledTask


@dataclasses.dataclass(frozen=True, kw_only=True)
class OutOfContextTask(SampledTask):
    """Subject i lives in city i mod `cities`, and city j keeps animal j.

    A fact asks for a subject's city, an implication for its animal. Training has implications only for the first
    `train_subjects` subjects, and facts for all. One third of the training examples are facts of these subjects, one
    third implications of these, and one third facts of the other subjects (in the authors' batches exactly; here each
    example is drawn independently). The test has the implications of the other subjects.

    An example is `length` tokens: noise, a subject and later a relation at two random positions, and the end, where the
    answer is read out. Tokens are two relations, cities, animals, subjects, noise and the end: 128 with the paper's
    numbers, which are the defaults.

    Splits: `train`, `train_facts`, `train_implications`, `test_facts`, `test_implications`.
    """

    cities: Size = 20
    subjects: Size = 80
    train_subjects: PositiveInt = 20
    noise: Size = 5
    length: Annotated[int, Range(at_least=3, at_most=MOST)] = 16

    def validate(self) -> None:
        if self.train_subjects >= self.subjects:
            raise UserError(
                f"task.train_subjects: got {self.train_subjects}, expected fewer than the {self.subjects} subjects, so "
                "that some are left to test"
            )

    def disjoint_by(self) -> str:
        return (
            "subjects whose implications are tested have facts alone in training; the other splits are samples of what "
            "trains"
        )

    def _kinds(self) -> Mapping[str, tuple[int, ...]]:
        """Returns the kinds of each split: 0 facts and 1 implications of the first subjects, 2 and 3 of the others."""
        return {
            "train": (0, 1, 2),
            "train_facts": (0,),
            "train_implications": (1,),
            "test_facts": (2,),
            "test_implications": (3,),
        }

    def splits(self) -> tuple[str, ...]:
        return tuple(self._kinds())

    def shape(self) -> TaskShape:
        return TaskShape(
            vocabulary=len(self.token_names()),
            length=self.length,
            readout=(self.length - 1,),
            sizes=self.sizes(),
        )

    def token_names(self) -> tuple[str, ...]:
        counts = {"city": self.cities, "animal": self.cities, "subject": self.subjects, "noise": self.noise}
        named = (f"{name}{i}" for name, count in counts.items() for i in range(count))
        return ("lives-in", "animal-there", *named, "<end>")

    def words(self, split: str) -> int:
        return 4 + self.length - 1

    def make(self, split: str, words_NW: Array, xp: Any) -> Split:
        kinds = self._kinds()[split]
        kind_N = xp.asarray(kinds, dtype=xp.int32)[words_NW[:, 0] % len(kinds)]
        relation_N, other_N = kind_N % 2, kind_N >= 2
        subject_N = xp.where(
            other_N,
            self.train_subjects + (words_NW[:, 1] % (self.subjects - self.train_subjects)).astype(xp.int32),
            (words_NW[:, 1] % self.train_subjects).astype(xp.int32),
        )
        places = self.length - 1
        one_N = (words_NW[:, 2] % places).astype(xp.int32)
        other_place_N = (words_NW[:, 3] % (places - 1)).astype(xp.int32)
        other_place_N = other_place_N + (other_place_N >= one_N).astype(xp.int32)
        first_N1, last_N1 = (pick(one_N, other_place_N)[:, None] for pick in (xp.minimum, xp.maximum))
        noise = 2 + 2 * self.cities + self.subjects
        noise_NS = noise + (words_NW[:, 4:] % self.noise).astype(xp.int32)
        place_1S = xp.arange(places, dtype=xp.int32)[None]
        tokens_NS = xp.where(place_1S == first_N1, 2 + 2 * self.cities + subject_N[:, None], noise_NS)
        tokens_NS = xp.where(place_1S == last_N1, relation_N[:, None], tokens_NS)
        end_N1 = xp.full_like(first_N1, noise + self.noise)
        answer_N1 = (2 + self.cities * relation_N + subject_N % self.cities)[:, None]
        return clean_split(xp.concatenate([tokens_NS, end_N1], axis=1), answer_N1, xp)
