"""The circuit of two-hop questions, against layers that are applied one by one."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.condition import Condition
from jaxgen.errors import UserError
from jaxgen.experiments.grokked_transformers.circuit import known_tails, other_questions
from jaxgen.experiments.grokked_transformers.parts import Circuit
from jaxgen.measures.evaluation import MemberSnapshots
from jaxgen.models.config import MLPConfig, TransformerConfig
from jaxgen.models.transformer import Block
from jaxgen.objectives.losses import cross_entropy
from jaxgen.optimizers import SGD
from jaxgen.tasks.algebra.modular import ModularTask
from jaxgen.tasks.facts.composition import CompositionTask

TASK = CompositionTask(entities=12, relations=6, out_degree=4, phi=2.0, ood_fraction=0.2, held_out=0.1)
MODEL = TransformerConfig(layers=3, width=16, heads=2, mlp_width=24, norm="pre", attention_bias=True, tied=True)


@pytest.fixture(scope="module")
def snapshots() -> MemberSnapshots:
    module = MODEL.build(TASK.shape())
    shapes = jax.eval_shape(module.init, jax.random.key(0), TASK.shape().blank())
    rng = np.random.default_rng(0)
    variables = jax.tree.map(lambda leaf: jnp.asarray(rng.normal(0, 0.4, leaf.shape), jnp.float32), shapes)
    return MemberSnapshots(
        task=TASK, module=module, variables_by_step={7: variables}, splits=TASK.table(0), loss=cross_entropy
    )


def by_layers(params: Any, tokens_BS: np.ndarray, edit: dict[int, Any]) -> tuple[list[Any], Any]:
    """Returns the residual stream after each layer, and the logits at all positions; `edit` changes what is after a
    layer."""
    x_BSD = params["embed"]["embedding"][tokens_BS] + params["positions"]["embedding"][None, : tokens_BS.shape[1]]
    streams = []
    for i in range(MODEL.layers):
        x_BSD = Block(MODEL, (0, 1, 2, 3), "float32", None).apply({"params": params[f"block_{i}"]}, x_BSD, None, None)
        x_BSD = edit.get(i + 1, lambda x: x)(x_BSD)
        streams.append(x_BSD)
    return streams, read(params, x_BSD)


def read(params: Any, stream: Any) -> np.ndarray:
    params, x = jax.tree.map(np.asarray, params), np.asarray(stream)
    scaled = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
    scaled = scaled * params["norm_final"]["scale"] + params["norm_final"]["bias"]
    logits: np.ndarray = scaled @ params["embed"]["embedding"].T
    return logits


def test_lenses_and_effects_are_those_of_layers_applied_one_by_one(snapshots: MemberSnapshots) -> None:
    found = {key: value for step, key, value in Circuit(questions=40).rows(snapshots)}
    assert set(found) == {
        f"{what}.{layer}/train_inferred"
        for what in ("mrr.bridge", "mrr.r2", "effect.h", "effect.r1", "effect.r2")
        for layer in (1, 2)
    }
    params = snapshots.variables_by_step[7]["params"]
    questions = np.asarray(snapshots.splits["train_inferred"].inputs)[:40]
    tails = known_tails(TASK)
    bridge = tails[questions[:, 0], questions[:, 1] - TASK.entities]
    answer = tails[bridge, questions[:, 2] - TASK.entities]
    np.testing.assert_array_equal(answer, questions[:, 3])
    streams, logits = by_layers(params, questions, {})
    right = np.argmax(logits[:, 2], axis=-1) == answer
    assert right.any(), "no question is answered right: the effects would be 0 whatever is patched"
    for layer in (1, 2):
        for at, what, tokens in ((1, "bridge", bridge), (2, "r2", questions[:, 2])):
            order = np.argsort(-read(params, streams[layer - 1][:, at]), axis=-1)
            rank = np.argmax(order == tokens[:, None], axis=-1)
            assert found[f"mrr.{what}.{layer}/train_inferred"] == pytest.approx(np.mean(1 / (1 + rank)), abs=1e-6)
        for at, what in enumerate(("h", "r1", "r2")):
            others, exists = other_questions(questions, at, tails, TASK)
            theirs = by_layers(params, others, {})[0][layer - 1]
            patched = by_layers(params, questions, {layer: lambda x, y=theirs, at=at: x.at[:, at].set(y[:, at])})[1]
            changed = np.argmax(patched[:, 2], axis=-1) != answer
            expected = np.mean(changed[right & exists]) if (right & exists).any() else 0.0
            assert found[f"effect.{what}.{layer}/train_inferred"] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("at", [0, 1, 2])
def test_another_question_differs_at_one_token_and_in_its_answer(at: int) -> None:
    graph, tails = TASK.graph(), known_tails(TASK)
    facts = {
        (int(f) // TASK.out_degree, int(graph.relation_F[f])): int(graph.tail_F[f])
        for f in np.flatnonzero(~graph.ood_F)
    }
    assert (tails >= 0).sum() == len(facts)

    def answer(h: int, r1: int, r2: int) -> int | None:
        return facts.get((facts[h, r1], r2)) if (h, r1) in facts else None

    questions = np.asarray(TASK.table(0)["train_inferred"].inputs)
    others, exists = other_questions(questions, at, tails, TASK)
    assert exists.sum() > 0
    for own, other, found in zip(questions[:, :3], others[:, :3], exists, strict=True):
        (h, r1, r2), (h2, r12, r22) = ((int(q[0]), int(q[1]) - 12, int(q[2]) - 12) for q in (own, other))
        choices = {
            0: [(each, r1, r2) for each in range(12)],
            1: [(h, each, r2) for each in range(6) if (h, each) in facts],
            2: [(h, r1, each) for each in range(6) if (facts[h, r1], each) in facts],
        }[at]
        possible = [each for each in choices if answer(*each) != answer(h, r1, r2)]
        assert found == bool(possible)
        assert (h2, r12, r22) in possible if found else (h2, r12, r22) == (h, r1, r2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": dataclasses.replace(MODEL, layers=1)}, "two or more, got layers=1"),
        ({"model": dataclasses.replace(MODEL, loops=2)}, "got layers=3, loops=2"),
        (
            {"task": ModularTask(p=7, train_fraction=0.5), "model": MLPConfig(hidden=(4,))},
            "got ModularTask and MLPConfig",
        ),
    ],
)
def test_another_network_or_task_is_refused_before_training(change: dict[str, Any], message: str) -> None:
    condition = Condition(name="a", task=TASK, model=MODEL, optimizer=SGD(learning_rate=0.1), steps=1)
    with pytest.raises(UserError, match=message):
        Circuit().check(dataclasses.replace(condition, **change))
