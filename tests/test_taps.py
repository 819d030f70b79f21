"""Capture and patch by name, against activations computed by hand from the parameters."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.errors import UserError
from jaxgen.models.config import MLPConfig, TransformerConfig
from jaxgen.models.taps import capture, patch
from jaxgen.tasks.base import TaskShape

SHAPE = TaskShape(11, 5, (2, 4), ())
CONFIG = TransformerConfig(layers=2, width=8, heads=2, mlp_width=12)
TAPS = [f"block_{i}/{name}" for i in range(2) for name in ("attention/pattern", "mlp/hidden", "residual")]


@pytest.fixture(autouse=True, scope="module")
def _quick_compilation():
    # The many tiny programs here compile twice as fast, and none is timed.
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", before)


def setup(config=CONFIG, shape=SHAPE, batch=30):
    model = config.build(shape)
    tokens = jax.random.randint(jax.random.key(7), (batch, 5), 0, 11)
    return model, jax.jit(model.init)(jax.random.key(0), tokens), tokens


@pytest.mark.parametrize("batch", [4, pytest.param(30, marks=pytest.mark.long)])
def test_capture_gives_the_activations(batch):
    model, variables, tokens = setup(batch=batch)
    found = jax.jit(lambda v: capture(model, v, tokens, TAPS))(variables)
    p = jax.tree.map(np.asarray, variables["params"])
    x = p["embed"]["embedding"][np.asarray(tokens)] + p["positions"]["embedding"]
    for i, readout in ((0, [0, 1, 2, 3, 4]), (1, [2, 4])):
        block = p[f"block_{i}"]
        q, k, v = (
            (x @ block["attention"][name]["kernel"]).reshape(batch, 5, 2, 4) for name in ("query", "key", "value")
        )
        scores = np.einsum("bqhc,bshc->bhqs", q, k) / 2
        scores[..., np.triu(np.ones((5, 5)), 1) == 1] = -np.inf
        pattern = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
        z = np.einsum("bhqs,bshc->bqhc", pattern, v).reshape(batch, 5, 8)
        x = x + z @ block["attention"]["output"]["kernel"]
        hidden = np.maximum(x @ block["mlp"]["in"]["kernel"] + block["mlp"]["in"]["bias"], 0)
        x = x + hidden @ block["mlp"]["out"]["kernel"] + block["mlp"]["out"]["bias"]
        expected = {"attention/pattern": pattern[:, :, readout], "mlp/hidden": hidden[:, readout]}
        for name, value in (expected | {"residual": x[:, readout]}).items():
            np.testing.assert_allclose(found[f"block_{i}/{name}"], value, rtol=1e-4, atol=1e-5, err_msg=name)
    np.testing.assert_allclose(
        model.apply(variables, tokens), x[:, [2, 4]] @ p["unembed"]["kernel"], rtol=1e-4, atol=1e-5
    )


def test_capture_of_an_mlp():
    model, variables, tokens = setup(MLPConfig(hidden=(6, 7), batch_norm=True), TaskShape(11, 5, (4,), ()))
    found = capture(model, variables, tokens, ["hidden_0", "hidden_1"])
    p = jax.tree.map(np.asarray, variables["params"])
    first = p["layer_0"]["kernel"][np.arange(5), np.asarray(tokens)].sum(1) + p["layer_0"]["bias"]
    hidden = np.maximum(first, 0)
    np.testing.assert_allclose(found["hidden_0"], hidden, rtol=1e-5, atol=1e-6)
    second = hidden / np.sqrt(1 + 1e-5) @ p["layer_1"]["kernel"] + p["layer_1"]["bias"]
    np.testing.assert_allclose(found["hidden_1"], np.maximum(second, 0), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", TAPS)
def test_patch(name):
    model, variables, tokens = setup()
    logits = model.apply(variables, tokens)
    np.testing.assert_array_equal(patch(model, variables, tokens, {name: lambda x: x}), logits)
    assert np.abs(patch(model, variables, tokens, {name: jnp.zeros_like}) - logits).max() > 1e-3


def test_a_patched_residual_decides_the_logits():
    model, variables, tokens = setup()
    logits = patch(model, variables, tokens, {"block_1/residual": jnp.ones_like})
    expected = np.asarray(variables["params"]["unembed"]["kernel"]).sum(0)
    np.testing.assert_allclose(logits, np.broadcast_to(expected, logits.shape), rtol=1e-4, atol=1e-5)


def test_patches_add_up():
    # With the pattern of both layers zero no position hears another: earlier tokens cannot matter.
    model, variables, tokens = setup()
    edits = {f"block_{i}/attention/pattern": jnp.zeros_like for i in range(2)}
    other = tokens.at[:, :2].set(0).at[:, 3].set(0)
    np.testing.assert_array_equal(patch(model, variables, tokens, edits), patch(model, variables, other, edits))
    assert np.any(patch(model, variables, tokens, {}) != patch(model, variables, other, {}))


@pytest.mark.long
def test_under_jit_and_vmap():
    model, variables, tokens = setup()
    members = jax.tree.map(lambda x: jnp.stack([x, 1.1 * x, -x]), variables)
    name = "block_0/mlp/hidden"
    found = jax.jit(jax.vmap(lambda v: capture(model, v, tokens, [name])[name]))(members)
    logits = jax.jit(jax.vmap(lambda v: patch(model, v, tokens, {name: lambda x: 2 * x})))(members)
    for i in range(3):
        member = jax.tree.map(lambda x, i=i: x[i], members)
        np.testing.assert_allclose(found[i], capture(model, member, tokens, [name])[name], rtol=1e-4, atol=1e-5)
        expected = patch(model, member, tokens, {name: lambda x: 2 * x})
        np.testing.assert_allclose(logits[i], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("use", [capture, lambda *args: patch(*args[:3], {args[3][0]: jnp.zeros_like})])
def test_an_unknown_name_names_the_nearest(use):
    model, variables, tokens = setup()
    with pytest.raises(
        UserError, match=r"^no tap 'block_0/mlp/hiden' in this model; did you mean 'block_0/mlp/hidden'"
    ):
        use(model, variables, tokens, ["block_0/mlp/hiden"])
    with pytest.raises(UserError, match="no tap 'block_0/mlp' in this model"):
        use(model, variables, tokens, ["block_0/mlp"])
