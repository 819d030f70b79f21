"""A decoder of GPT-2 small's shape: model FLOPs utilisation with each kind of attention."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax

from benchmarks.device import Record
from benchmarks.device.populations import steps_a_second
from benchmarks.jax_nanda import Engine
from jaxgen.condition import Condition, Numerics
from jaxgen.config import Size
from jaxgen.kernels.attention.bench import CEILINGS
from jaxgen.models.config import TransformerConfig
from jaxgen.optimizers import AdamW
from jaxgen.tasks.base import Array, Split, TaskShape, clean_split
from jaxgen.tasks.strings.sequence import SequenceTask


@dataclasses.dataclass(frozen=True, kw_only=True)
class RandomTextTask(SequenceTask):
    """Uniform tokens; each is to be predicted from those before it."""

    train_examples: int | None = None
    vocabulary: Size
    length: Size

    def words(self) -> int:
        return self.length + 1

    def shape(self) -> TaskShape:
        readout = tuple(range(self.length))
        return TaskShape(vocabulary=self.vocabulary, length=self.length, readout=readout, sizes=self.sizes())

    def examples(self, words_NW: Array, xp: Any) -> Split:
        tokens_NW = (words_NW % self.vocabulary).astype(xp.int32)
        return clean_split(tokens_NW[:, :-1], tokens_NW[:, 1:], xp)


def condition(attention: str, tiny: bool) -> Condition:
    layers, width, heads, vocabulary, length, batch = (2, 32, 2, 50, 16, 4) if tiny else (12, 768, 12, 50257, 1024, 16)
    return Condition(
        name=attention,
        task=RandomTextTask(vocabulary=vocabulary, length=length, test_examples=8),
        model=TransformerConfig(
            layers=layers, width=width, heads=heads, mlp_width=4 * width, norm="pre", activation="gelu_tanh",
            attention_bias=True, tied=True, init="gpt2", scan_layers=True, attention=attention,
        ),
        optimizer=AdamW(learning_rate=3e-4, weight_decay=0.1),
        steps=1000,
        batch_size=batch,
        numerics=Numerics() if tiny else Numerics(compute_dtype="bfloat16", matmul_precision="default"),
    )  # fmt: skip


def flops_a_step(condition: Condition) -> float:
    """Returns 6 N T, with the output layer in N and embeddings not, and attention's 12 L D S T (halved: causal)."""
    model, task, tokens = condition.model, condition.task, condition.batch_size * condition.task.shape().length
    assert isinstance(model, TransformerConfig)
    weights = model.layers * (4 * model.width**2 + 2 * model.width * model.mlp_width)
    weights += task.shape().vocabulary * model.width
    return tokens * (6 * weights + 12 * model.layers * model.width * task.shape().length / 2)


def run(record: Record, tiny: bool) -> None:
    peak = CEILINGS.get(jax.devices()[0].device_kind, (0.0, float("nan")))[1]
    for attention in ("xla",) if tiny else ("cudnn", "pallas", "xla"):
        about = condition(attention, tiny)
        try:
            rate = steps_a_second(Engine(about).steps, 0.05 if tiny else 5.0)
        except Exception as error:  # one kind of attention that fails must not hide the others
            record(by=attention, failed=f"{type(error).__name__}: {str(error)[:300]}")
            continue
        flops = rate * flops_a_step(about)
        tokens = rate * about.batch_size * about.task.shape().length
        record(by=attention, tokens_a_second=tokens, teraflops=flops / 1e12, share_of_peak=flops / peak)
