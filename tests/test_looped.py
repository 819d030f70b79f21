"""A stack of layers that runs several times with the same parameters."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.errors import UserError
from jaxgen.models.config import TransformerConfig
from jaxgen.models.decoding import greedy
from jaxgen.models.taps import capture, patch
from jaxgen.tasks.base import TaskShape
from tests.test_decoding import TASK, by_hand

SHAPE = TaskShape(11, 5, (2, 4), ())
TWICE = TransformerConfig(layers=2, loops=2, width=8, heads=2, mlp_width=12, norm="pre", attention_bias=True)
FLAT = dataclasses.replace(TWICE, layers=4, loops=1)
TOKENS = jax.random.randint(jax.random.key(7), (6, SHAPE.length), 0, SHAPE.vocabulary)


def drawn(config: TransformerConfig):
    rng = np.random.default_rng(3)
    shapes = jax.eval_shape(config.build(SHAPE).init, jax.random.key(0), TOKENS)["params"]
    return jax.tree.map(lambda leaf: jnp.array(rng.normal(0.1, 0.4, leaf.shape), jnp.float32), shapes)


def unrolled(params):
    """The parameters of the same function without loops: blocks 2 and 3 are copies of blocks 0 and 1."""
    return params | {"block_2": params["block_0"], "block_3": params["block_1"]}


def test_it_is_the_unrolled_network_with_copied_layers_and_has_the_parameters_of_one_loop() -> None:
    params = drawn(TWICE)
    assert {name for name in params if name.startswith("block")} == {"block_0", "block_1"}
    np.testing.assert_allclose(
        TWICE.build(SHAPE).apply({"params": params}, TOKENS),
        FLAT.build(SHAPE).apply({"params": unrolled(params)}, TOKENS),
        rtol=1e-4, atol=1e-5,
    )  # fmt: skip


@pytest.mark.parametrize("remat", [pytest.param(False, marks=pytest.mark.long), True])
def test_a_shared_layer_gets_the_sum_of_its_copies_gradients(remat: bool) -> None:
    params = drawn(TWICE)

    def gradients(config, params, remat=False):
        module = config.build(SHAPE, remat=remat)
        return jax.grad(lambda params: jnp.sum(jnp.square(module.apply({"params": params}, TOKENS))))(params)

    ours, flat = gradients(TWICE, params, remat), gradients(FLAT, unrolled(params))
    for one, other in (("block_0", "block_2"), ("block_1", "block_3")):
        expected = jax.tree.map(jnp.add, flat[one], flat[other])
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-3, atol=2e-3), ours[one], expected)
    np.testing.assert_allclose(ours["embed"]["embedding"], flat["embed"]["embedding"], rtol=2e-3, atol=2e-3)


def test_every_loop_draws_its_own_dropout() -> None:
    """With only the bias of attention's output, a loop adds 2 or 0 to each number of the residual stream."""
    config = dataclasses.replace(TWICE, layers=1, mlp_width=0, norm="none", dropout=0.5)
    params = jax.tree.map(jnp.zeros_like, drawn(config))
    params["block_0"]["attention"]["output"]["bias"] = jnp.ones(8)
    params["unembed"]["kernel"] = jnp.eye(8, SHAPE.vocabulary)
    variables, key = {"params": params}, jax.random.key(0)
    module = config.build(SHAPE)
    residual = module.apply(variables, TOKENS, train=True, dropout_rate=0.5, rngs={"dropout": key})[..., :8]
    assert set(np.unique(residual)) == {0.0, 2.0, 4.0}


def test_a_tap_has_the_activations_of_all_loops_and_a_patch_edits_each() -> None:
    params, module = drawn(TWICE), TWICE.build(SHAPE)
    found = capture(module, {"params": params}, TOKENS, ["block_1/residual"])["block_1/residual"]
    flat = capture(FLAT.build(SHAPE), {"params": unrolled(params)}, TOKENS, ["block_1/residual", "block_3/residual"])
    np.testing.assert_allclose(found[0], flat["block_1/residual"], rtol=1e-4, atol=1e-5)
    # The last layer without loops answers at the read-out positions alone.
    np.testing.assert_allclose(found[1][:, [2, 4]], flat["block_3/residual"], rtol=1e-4, atol=1e-5)
    zero = {"block_1/residual": jnp.zeros_like}
    np.testing.assert_allclose(
        patch(module, {"params": params}, TOKENS, zero),
        patch(FLAT.build(SHAPE), {"params": unrolled(params)}, TOKENS, {"block_3/residual": jnp.zeros_like}),
        rtol=1e-4, atol=1e-5,
    )  # fmt: skip


def test_kept_keys_and_values_give_what_the_whole_sequence_does() -> None:
    module = dataclasses.replace(TWICE, width=16, init="fan_in").build(TASK.shape())
    variables = module.init(jax.random.key(0), TASK.shape().blank())
    split = TASK.table(0)["train"]
    ours = jax.jit(lambda v, i, t: greedy(module, v, TASK.shape(), i, t))(variables, split.inputs, split.targets)
    np.testing.assert_array_equal(np.asarray(ours), by_hand(module, variables, split.inputs, split.targets))


def test_loops_of_scanned_layers_are_refused() -> None:
    with pytest.raises(UserError, match=r"model.scan_layers: got true with loops=2, expected false"):
        dataclasses.replace(TWICE, scan_layers=True)
