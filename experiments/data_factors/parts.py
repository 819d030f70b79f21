"""SCAN with training sets that differ in one factor, and the loss that the authors train with."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from jaxgen.config import INT32, PositiveInt, Range
from jaxgen.errors import UserError
from jaxgen.objectives import CrossEntropy
from jaxgen.tasks.language.text import Sentences, Span, TextTask

if TYPE_CHECKING:
    from jaxgen.measures.evaluation import LossFn

# The most words of a phrase, `walk around left thrice`, and its actions.
PHRASE_WORDS, PHRASE_ACTIONS = 4, 24


@dataclasses.dataclass(frozen=True, kw_only=True)
class FactorsTask(TextTask):
    """SCAN, whose training set is changed in one factor while the test stays the original one.

    Splits: `train`; `trained`, a sample of it to measure on; `id_dev`, commands made in the same way that do not train;
    `ood_dev` and `test`, two random parts of the test of `split`, so that a model can be selected by commands like
    those it is tested on (as the authors do) or by others.

    - `addprim_jump`: no command with `jump` trains but `jump` itself, which is a tenth of the training examples;
      commands with `jump` test. `template_around_right`: commands with `around right` test, and none of them trains.
      `length`: commands with more than `most_actions` actions test.
    - `mutants` k: every verb has k numbered copies (`walk_3` means `I_WALK_3`), and every training command is expanded
      to all of its versions, in which each verb is the original or one of its copies, independently. At most `versions`
      of them are kept: the original, then random ones. Of a held-out verb the copies are trained alone, as it is; all
      of them share its tenth evenly.
    - `copies` k (AugZero): the training set k times, with every word and action of each further copy renamed.
    - `connectives` above 1: training commands are random ones of a longer language. They join 1 to `connectives` + 1
      phrases by `and` or `after`, read from the left: `a after b and c` is b, a, c.
    - `verbs_a_command`: a training command has at most so many different verbs.
    - `most_actions`, `tested_actions`: training or test commands with more actions are left out.
    - `train_examples`: so many random training commands are kept, all different; the tenth is added to it.
    """

    smoke_sizes: ClassVar[Mapping[str, int]] = {
        "train_examples": 40, "dev_examples": 5, "ood_dev_examples": 5, "test_examples": 5, "most_actions": 8,
        "tested_actions": 10, "connectives": 1, "mutants": 2, "copies": 2,
    }  # fmt: skip

    split: Literal["addprim_jump", "template_around_right", "length"]
    train_examples: PositiveInt
    dev_examples: PositiveInt  # of `trained` and `id_dev`
    ood_dev_examples: PositiveInt
    test_examples: PositiveInt
    mutants: Annotated[int, Range(at_least=0, at_most=1000)] = 0
    versions: PositiveInt | None = None
    copies: Annotated[int, Range(at_least=1, at_most=1000)] = 1
    connectives: Annotated[int, Range(at_least=1, at_most=200)] = 1
    verbs_a_command: PositiveInt | None = None
    most_actions: PositiveInt | None = None
    tested_actions: PositiveInt | None = None

    def validate(self) -> None:
        if self.connectives > 1 and self.versions is not None:
            raise UserError("task.versions: got a number with connectives above 1, whose commands are drawn with verbs")
        if self.split == "length" and self.most_actions is None:
            raise UserError("task.most_actions: got null, expected a number: longer commands are the test of 'length'")
        if self.train_examples < self.dev_examples:
            raise UserError(
                f"task.dev_examples: got {self.dev_examples}, expected at most train_examples={self.train_examples}"
            )

    def symbols(self) -> tuple[str, ...]:
        from .language import words

        own = words(self.mutants)
        return own + tuple(f"{word}#{copy}" for copy in range(1, self.copies) for word in own)

    def alone(self) -> int:
        """Returns how many training lines of a copy of the set are of the held-out verb alone."""
        return max(1, round(self.train_examples / 9)) if self.split == "addprim_jump" else 0

    def spans(self) -> Mapping[str, Span]:
        # Bounds, so that no command is made to know them.
        phrases = self.connectives + 1
        source = PHRASE_WORDS * phrases + self.connectives
        test_source, most = (source, phrases) if self.split == "length" else (PHRASE_WORDS * 2 + 1, 2)
        trained = min(self.most_actions or INT32, PHRASE_ACTIONS * phrases)
        tested = min(self.tested_actions or INT32, PHRASE_ACTIONS * most)
        sizes = {
            "train": self.copies * (self.train_examples + self.alone()),
            "trained": self.dev_examples,
            "id_dev": self.dev_examples,
        }
        of_train = {name: Span(size, 1, source + trained, source) for name, size in sizes.items()}
        tests = {"ood_dev": self.ood_dev_examples, "test": self.test_examples}
        return of_train | {name: Span(size, 1, test_source + tested, test_source) for name, size in tests.items()}

    def sentences(self) -> Mapping[str, Sentences]:
        from .language import sentences

        return sentences(self)

    def measured(self) -> tuple[str, ...]:
        return ("trained", "id_dev", "ood_dev", "test")

    def disjoint_by(self) -> str:
        return "trained is a sample of train; the repeated commands of a held-out verb occur many times in train"


@dataclasses.dataclass(frozen=True, kw_only=True)
class SummedCrossEntropy(CrossEntropy):
    """Cross-entropy in nats, summed over the tokens of an answer: a long one weighs more than a short one."""

    word: ClassVar[None] = None  # type: ignore[assignment]

    def example_loss(self) -> LossFn:
        return _summed


def _summed(logits_BKV: Any, targets_BK: Any) -> Any:
    """Returns (B,) float32."""
    import jax.numpy as jnp

    from jaxgen.objectives.losses import cross_entropy
    from jaxgen.tasks.base import IGNORED

    asked_B = jnp.sum(targets_BK != IGNORED, axis=-1, dtype=jnp.float32)
    return cross_entropy(logits_BKV, targets_BK) * asked_B
