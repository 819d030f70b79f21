"""Greedy decoding, and measures of answers of several tokens."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.condition import Condition
from jaxgen.errors import UserError
from jaxgen.measures.config import Accuracy, AccuracyByLength, GreedyAccuracy, TokenAccuracy
from jaxgen.measures.evaluation import Evaluation
from jaxgen.models.config import MLPConfig, TransformerConfig
from jaxgen.models.decoding import greedy, likeliest
from jaxgen.models.transformer import Decoding
from jaxgen.objectives.losses import cross_entropy
from jaxgen.optimizers import SGD
from jaxgen.tasks.algebra.modular import ModularTask
from jaxgen.tasks.base import IGNORED
from tests.host_task import END, ReversalTask

TASK = ReversalTask(least=1, longest=4)
BASE = TransformerConfig(layers=3, width=16, heads=2, mlp_width=32, norm="pre", init="fan_in", attention_bias=True)
MODELS = {
    "learned": BASE,
    "sinusoidal": dataclasses.replace(BASE, positions="sinusoidal", norm="post", mup=True),
    "scanned": dataclasses.replace(BASE, positions="none", scan_layers=True, tied=True),
}


def made(config: TransformerConfig, seed: int = 0):
    module = config.build(TASK.shape())
    return module, module.init(jax.random.key(seed), TASK.shape().blank())


def by_hand(module, variables, inputs_BS: np.ndarray, targets_BS: np.ndarray) -> np.ndarray:
    """The same, with the whole sequence computed anew for every token."""
    apply = jax.jit(module.apply)
    tokens, answers = inputs_BS.copy(), np.zeros_like(inputs_BS)
    for at in range(inputs_BS.shape[1]):
        answers[:, at] = np.asarray(jnp.argmax(apply(variables, tokens)[:, at], axis=-1))
        if at + 1 < inputs_BS.shape[1]:
            asked = targets_BS[:, at] != IGNORED
            tokens[asked, at + 1] = answers[asked, at]
    return answers


@pytest.mark.long
@pytest.mark.parametrize(
    "name", [pytest.param(each, marks=pytest.mark.long) if each != "scanned" else each for each in MODELS]
)
def test_kept_keys_and_values_give_what_the_whole_sequence_does(name: str) -> None:
    module, variables = made(MODELS[name])
    split = TASK.table(0)["train"]
    ours = jax.jit(lambda v, i, t: greedy(module, v, TASK.shape(), i, t))(variables, split.inputs, split.targets)
    expected = by_hand(module, variables, split.inputs, split.targets)
    np.testing.assert_array_equal(np.asarray(ours), expected)
    # The model is untrained: its own answers are others than those that it gives to the right beginnings.
    forced = np.argmax(np.asarray(module.apply(variables, split.inputs)), axis=-1)
    assert (forced != expected).any()


def test_what_is_kept_for_later_positions_never_reaches_earlier_ones() -> None:
    """A cache that was not cleared: nan where nothing has been written yet."""
    module, variables = made(BASE)
    tokens = jnp.asarray(TASK.table(0)["train"].inputs[:2, :1])
    step = jax.jit(
        lambda kept: module.apply(
            {**variables, **kept}, tokens, decoding=Decoding(jnp.int32(1), TASK.shape().length), mutable=["cache"]
        )
    )
    _, kept = step({})
    whole = jax.tree.map(lambda x: jnp.ones_like(x), dict(kept))
    wanted, _ = step(whole)
    got, _ = step(jax.tree.map(lambda x: x.at[:, :, 2:].set(jnp.nan), whole))
    np.testing.assert_array_equal(got, wanted)


@pytest.mark.long
def test_decoding_of_a_population() -> None:
    module, _ = made(BASE)
    split = TASK.table(0)["test"]
    stacked = jax.tree.map(lambda *w: jnp.stack(w), *(made(BASE, seed)[1] for seed in range(2)))
    both = jax.vmap(lambda v: greedy(module, v, TASK.shape(), split.inputs, split.targets))(stacked)
    for seed in range(2):
        alone = greedy(module, made(BASE, seed)[1], TASK.shape(), jnp.asarray(split.inputs), jnp.asarray(split.targets))
        np.testing.assert_array_equal(np.asarray(both[seed]), np.asarray(alone))


@pytest.mark.parametrize(
    ("config", "task"),
    [
        (MLPConfig(hidden=(4,)), ModularTask(p=5, train_fraction=0.5)),
        (dataclasses.replace(BASE, causal=False), ModularTask(p=5, train_fraction=0.5)),
    ],
)
def test_what_cannot_be_decoded_is_refused(config, task) -> None:
    with pytest.raises(UserError, match="GreedyAccuracy lets the model generate its answers, expected a causal"):
        Condition(
            name="a", task=task, model=config, optimizer=SGD(learning_rate=1), steps=1, measures=(GreedyAccuracy(),)
        )


def evaluation(logits_of) -> Evaluation:
    """Returns an evaluation of the test split with a model of which the answers are known."""

    class Known(Evaluation):
        def logits(self, inputs):
            return logits_of(np.asarray(inputs))

    module, variables = made(BASE)
    return Known(
        module=module, variables=variables, splits={"test": TASK.table(0)["test"]}, shape=TASK.shape(),
        loss=cross_entropy, corruption=False,
    )  # fmt: skip


@pytest.mark.long
def test_tokens_and_lengths_are_counted_as_they_stand() -> None:
    split = TASK.table(0)["test"]
    answers = np.where(split.targets == IGNORED, 0, split.targets)
    wrong = answers.copy()
    wrong[answers == END] = 0  # every end is missed
    wrong[0] = answers[0]
    of = evaluation(lambda _: jax.nn.one_hot(wrong, TASK.shape().vocabulary))
    asked = split.targets != IGNORED
    expected = ((wrong == split.targets) & asked).sum() / asked.sum()
    assert TokenAccuracy().values(of)["token_accuracy/test"] == pytest.approx(expected)
    assert Accuracy().values(of)["accuracy/test"] == pytest.approx(1 / len(asked))
    # A question of n digits and an end is answered after n + 1 tokens.
    before = asked.argmax(axis=1) + 1
    values = AccuracyByLength(edges=(2, 4, 9)).values(of)
    for low, edge in ((0, 2), (2, 4), (4, 9)):
        here = (before > low) & (before <= edge)
        assert values[f"share.to_{edge}/test"] == pytest.approx(here.mean())
        expected = (here[0] / here.sum()) if here.any() else 0
        assert values[f"accuracy.to_{edge}/test"] == pytest.approx(expected, abs=1e-6)


@pytest.mark.long
def test_greedy_accuracy_is_that_of_the_models_own_answers() -> None:
    module, variables = made(BASE)
    split = TASK.table(0)["train"]
    answers = by_hand(module, variables, split.inputs, split.targets)
    asked = split.targets != IGNORED
    # In every other example the model's own answers are right, by construction.
    inputs, targets = split.inputs.copy(), split.targets.copy()
    inputs[::2, 1:] = np.where(asked[::2, :-1], answers[::2, :-1], inputs[::2, 1:])
    targets[::2] = np.where(asked[::2], answers[::2], IGNORED)
    of = Evaluation(
        module=module, variables=variables, splits={"train": split._replace(inputs=inputs, targets=targets)},
        shape=TASK.shape(), loss=cross_entropy, corruption=False,
    )  # fmt: skip
    assert not ((answers == split.targets) | ~asked)[1::2].all(axis=1).any()
    assert GreedyAccuracy().values(of)["greedy_accuracy/train"] == pytest.approx(0.5)
    greedily = AccuracyByLength(edges=(20,), greedy=True).values(of)
    assert greedily["accuracy.to_20/train"] == pytest.approx(0.5)


def test_edges_must_rise() -> None:
    with pytest.raises(UserError, match="each above the one before"):
        AccuracyByLength(edges=(4, 4))


def test_a_logit_that_is_not_a_number_is_no_answer() -> None:
    logits_BKV = jnp.array([[[jnp.nan, 1.0, 0.0]], [[0.0, jnp.nan, 1.0]], [[0.0, 2.0, jnp.inf]]])
    np.testing.assert_array_equal(likeliest(logits_BKV), [[IGNORED], [IGNORED], [2]])
