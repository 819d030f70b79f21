"""The sequences that sentences become, what draws them, and the bytes of all tasks made so."""

import dataclasses
import hashlib
from collections.abc import Mapping

import jax
import numpy as np
import pytest

from jaxgen.condition import Condition, Trajectory
from jaxgen.models.config import TransformerConfig
from jaxgen.optimizers import AdamW
from jaxgen.tasks.language.cogs import CogsTask
from jaxgen.tasks.language.hint import HintTask
from jaxgen.tasks.language.pcfg import PcfgTask
from jaxgen.tasks.language.scan import ScanTask
from jaxgen.tasks.language.text import Draws, Sentences, Span, TextTask
from jaxgen.train.constants import stack_constants
from jaxgen.train.program import Program


@dataclasses.dataclass(frozen=True, kw_only=True)
class FixedTextTask(TextTask):
    """Three pairs of the words 3 to 6, and one test pair of another length."""

    longer_test: bool

    def symbols(self) -> tuple[str, ...]:
        return ("a", "b", "c", "d")

    def spans(self) -> Mapping[str, Span]:
        return {name: sentences.span() for name, sentences in self.sentences().items()}

    def sentences(self) -> Mapping[str, Sentences]:
        test = [([3, 4], [5, 6, 5, 6])] if self.longer_test else [([3, 3], [4])]
        return {"train": Sentences.of([([3, 4, 5], [6]), ([3, 4], []), ([5, 5], [3, 3])]), "test": Sentences.of(test)}


def test_a_sequence_by_hand() -> None:
    task = FixedTextTask(longer_test=False)
    shape, table = task.shape(), task.table(0)
    assert (shape.vocabulary, shape.length, shape.readout) == (7, 5, (2, 3, 4))
    assert shape.sizes == (("train", 3), ("test", 1))
    assert shape.lengths == ()
    assert task.token_names() == ("<pad>", "<sep>", "<end>", "a", "b", "c", "d")
    assert table["train"].inputs.tolist() == [[3, 4, 5, 1, 6], [3, 4, 1, 2, 0], [5, 5, 1, 3, 3]]
    assert table["train"].targets.tolist() == [[-1, 6, 2], [2, -1, -1], [3, 3, 2]]
    assert table["test"].inputs.tolist() == [[3, 3, 1, 4, 2]]
    assert table["test"].targets.tolist() == [[4, 2, -1]]


def test_a_longer_split_has_its_own_length_and_all_is_read_out() -> None:
    task = FixedTextTask(longer_test=True)
    shape, table = task.shape(), task.table(0)
    assert (shape.length, shape.readout, shape.lengths) == (5, (0, 1, 2, 3, 4), (("test", 7),))
    assert table["train"].targets.tolist() == [[-1, -1, -1, 6, 2], [-1, -1, 2, -1, -1], [-1, -1, 3, 3, 2]]
    assert table["test"].inputs.tolist() == [[3, 4, 1, 5, 6, 5, 6]]
    assert table["test"].targets.tolist() == [[-1, -1, 5, 6, 5, 6, 2]]


def test_draws_are_uniform_and_go_on_after_a_block() -> None:
    draws, again, other = Draws(seed=1, stream=2), Draws(seed=1, stream=2), Draws(seed=1, stream=3)
    drawn = [draws.below(10) for _ in range(40_000)]
    assert drawn == [again.below(10) for _ in range(40_000)]
    assert drawn[:50] != [other.below(10) for _ in range(50)]
    assert drawn[:50] != drawn[1 << 14 : (1 << 14) + 50]
    np.testing.assert_allclose(np.bincount(drawn) / 40_000, 0.1, atol=0.01)
    uniform = np.array([draws.uniform() for _ in range(10_000)])
    assert 0 <= uniform.min() < 0.01 < 0.99 < uniform.max() < 1
    assert uniform.mean() == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize(
    ("task", "version", "digest"),
    [
        (ScanTask(split="fewshot", exposed=8), 1, "4291db3c4414f48b"),
        (ScanTask(split="simple", verb_copies=3, train_examples=500), 1, "1f2b5119d25cae4e"),
        (
            PcfgTask(split="pcfgset", train_examples=300, validation_examples=20, test_examples=50),
            2,
            "5ca31713eecfd529",
        ),
        (
            CogsTask(train_examples=200, validation_examples=20, test_examples=20, case_examples=10),
            2,
            "fc86a30e258cff0f",
        ),
        (
            HintTask(train_examples=500, test_examples=20, validation_examples=5, most_operators=11),
            1,
            "ef19a4f439eb34b5",
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_the_bytes_of_a_table(task: TextTask, version: int, digest: str) -> None:
    # Where this fails on purpose, raise `version` of the task: the runs of old identities saw other examples.
    table = task.table(0)
    content = b"".join(
        np.ascontiguousarray(part.astype("<i4")).tobytes() for split in table.values() for part in split[:2]
    )
    assert task.version == version
    assert hashlib.sha256(content).hexdigest()[:16] == digest


def test_a_model_trains_on_sentences() -> None:
    condition = Condition(
        name="scan",
        task=ScanTask(split="addprim_jump", train_examples=90),
        model=TransformerConfig(layers=1, width=8, heads=2, mlp_width=16),
        optimizer=AdamW(learning_rate=0.01),
        batch_size=16,
        steps=2,
    )
    program = Program(condition, "sequential")
    constants = stack_constants([Trajectory(condition, 0, "id")], [None])
    row, _ = jax.eval_shape(program.measure, jax.eval_shape(program.init, constants, None), constants, True)
    assert {"accuracy/train", "accuracy/test"} <= set(row)
