"""A temperature of attention by the number of positions that are seen."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.errors import UserError
from jaxgen.models.config import TransformerConfig
from jaxgen.models.decoding import greedy
from jaxgen.models.taps import capture
from jaxgen.tasks.base import TaskShape
from tests.test_decoding import TASK, by_hand

SHAPE = TaskShape(11, 5, tuple(range(5)), ())
PLAIN = TransformerConfig(layers=2, width=8, heads=2, mlp_width=12, norm="pre", init="fan_in")
TEMPERED = dataclasses.replace(PLAIN, tempered=True)
TOKENS = jax.random.randint(jax.random.key(7), (6, SHAPE.length), 0, SHAPE.vocabulary)
T_H = jnp.array([0.7, -0.3])


def drawn(config: TransformerConfig):
    return config.build(SHAPE).init(jax.random.key(3), TOKENS)["params"]


def with_temperature(params):
    heated = {name: block for name, block in params.items() if name.startswith("block")}
    heated = {name: block | {"attention": block["attention"] | {"temperature": T_H}} for name, block in heated.items()}
    return params | heated


def test_it_begins_as_the_network_without() -> None:
    params = drawn(TEMPERED)
    assert not params["block_0"]["attention"]["temperature"].any()
    logits = TEMPERED.build(SHAPE).apply({"params": params}, TOKENS)
    np.testing.assert_array_equal(logits, PLAIN.build(SHAPE).apply({"params": drawn(PLAIN)}, TOKENS))


def test_scores_are_multiplied_by_the_logarithm_of_what_is_seen() -> None:
    """softmax(f s) is softmax(s) to the power f, normed."""
    name = "block_0/attention/pattern"
    cold = capture(PLAIN.build(SHAPE), {"params": drawn(PLAIN)}, TOKENS, [name])[name]
    hot = capture(TEMPERED.build(SHAPE), {"params": with_temperature(drawn(TEMPERED))}, TOKENS, [name])[name]
    factor_HQ = 1 + np.asarray(T_H)[:, None] * np.log(np.arange(1, 6))
    expected = np.asarray(cold, np.float64) ** factor_HQ[None, :, :, None]
    expected *= np.asarray(cold) > 0
    np.testing.assert_allclose(hot, expected / expected.sum(-1, keepdims=True), rtol=2e-4, atol=1e-6)


def test_kept_keys_and_values_give_what_the_whole_sequence_does() -> None:
    module = TEMPERED.build(TASK.shape())
    params = module.init(jax.random.key(0), TASK.shape().blank())["params"]
    variables, split = {"params": with_temperature(params)}, TASK.table(0)["train"]
    ours = jax.jit(lambda v, i, t: greedy(module, v, TASK.shape(), i, t))(variables, split.inputs, split.targets)
    np.testing.assert_array_equal(np.asarray(ours), by_hand(module, variables, split.inputs, split.targets))


def test_an_encoder_has_none() -> None:
    with pytest.raises(UserError, match=r"model\.tempered: got true, expected false"):
        dataclasses.replace(TEMPERED, causal=False)
