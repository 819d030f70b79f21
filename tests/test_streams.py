"""Recurrent networks, encoders of two streams and a Perceiver, against the equations in plain numpy."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxgen.errors import UserError
from jaxgen.models.config import ModelConfig, PerceiverConfig, RecurrentConfig, TransformerConfig, TwoStreamConfig
from jaxgen.models.recurrent import with_the_rest
from jaxgen.models.taps import capture, taps
from jaxgen.tasks.base import TaskShape
from tests.test_models import _quick_compilation  # noqa: F401

TOKENS = TaskShape(11, 5, (1, 4), ())
CHANNELS = TaskShape(7, 6, (5,), (), channels=3)
ENCODER = TransformerConfig(
    layers=2, width=8, heads=2, mlp_width=12, causal=False, norm="post", positions="sinusoidal", attention_bias=True
)
SUM = TwoStreamConfig(encoder=ENCODER, second=4, hidden=10, fusion="sum")
CROSS = dataclasses.replace(SUM, fusion="cross")
PERCEIVER = PerceiverConfig(encoder=ENCODER, second=4, hidden=10, latents=3)
GRU = RecurrentConfig(cell="gru", hidden=4, embedding=3, layers=2, norm=True)


def inputs(shape: TaskShape) -> np.ndarray:
    rng = np.random.default_rng(7)
    if shape.channels is None:
        return rng.integers(0, shape.vocabulary, (5, shape.length)).astype(np.int32)
    return rng.normal(size=(5, shape.length, shape.channels)).astype(np.float32)


def drawn(model: ModelConfig, shape: TaskShape):
    """The module with drawn variables, so that no bias or scale hides behind its initial 0 or 1; and its logits."""
    rng, module = np.random.default_rng(3), model.build(shape)
    abstract = jax.eval_shape(module.init, jax.random.key(0), inputs(shape))
    variables = jax.tree.map(lambda leaf: jnp.array(rng.normal(0.1, 0.4, leaf.shape), jnp.float32), abstract)
    logits = jax.jit(module.apply)(variables, inputs(shape))
    assert logits.shape == (5, len(shape.readout), shape.vocabulary)
    assert logits.dtype == jnp.float32
    return module, variables, jax.tree.map(np.float64, variables["params"]), np.asarray(logits)


def dense(p, x):
    return x @ p["kernel"] + p.get("bias", 0.0)


def norm(p, x):
    centred = x - x.mean(-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5) * p["scale"] + p["bias"]


def relu(x):
    return np.maximum(x, 0)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def attention(p, x, seen, heads=2):
    """One example and one head at a time."""
    q, k, v = dense(p["query"], x), dense(p["key"], seen), dense(p["value"], seen)
    size = q.shape[-1] // heads
    z = np.zeros((*x.shape[:2], q.shape[-1]))
    for b in range(len(x)):
        for h in range(heads):
            at = slice(h * size, (h + 1) * size)
            scores = np.exp(q[b, :, at] @ k[b, :, at].T / np.sqrt(size))
            z[b, :, at] = scores / scores.sum(-1, keepdims=True) @ v[b, :, at]
    return dense(p["output"], z)


def encoder(p, x):
    """An encoder of ENCODER's kind at all of its positions."""
    h = dense(p["read_in"], x)
    length, width = h.shape[1:]
    for t in range(length):
        for i in range(width):
            angle = t / 10000 ** (2 * (i // 2) / width)
            h[:, t, i] += np.cos(angle) if i % 2 else np.sin(angle)
    for name in ("block_0", "block_1"):
        block = p[name]
        h = norm(block["norm_attention"], h + attention(block["attention"], h, h))
        h = norm(block["norm_mlp"], h + dense(block["mlp"]["out"], relu(dense(block["mlp"]["in"], h))))
    return h


# -- recurrent networks


def test_a_gru_is_its_equations_layer_by_layer() -> None:
    _, _, params, logits = drawn(GRU, TOKENS)
    x = params["embed"]["embedding"][inputs(TOKENS)]
    for layer in ("layer_0", "layer_1"):
        h, states = np.zeros((5, 4)), []
        (w, b), (u, c) = ((params[layer][name]["kernel"], params[layer][name]["bias"]) for name in ("inputs", "states"))
        for t in range(5):
            reset, update, new = (slice(4 * i, 4 * i + 4) for i in range(3))
            r = sigmoid(x[:, t] @ w[:, reset] + b[reset] + h @ u[:, reset] + c[reset])
            z = sigmoid(x[:, t] @ w[:, update] + b[update] + h @ u[:, update] + c[update])
            n = np.tanh(x[:, t] @ w[:, new] + b[new] + r * (h @ u[:, new] + c[new]))
            h = (1 - z) * n + z * h
            states.append(h)
        x = np.stack(states, axis=1)
    expected = dense(params["output"], norm(params["norm"], x))[:, [1, 4]]
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("cell", "act"), [("tanh", np.tanh), ("relu", relu)])
def test_an_elman_network_reads_the_whole_second_stream_with_every_step(cell, act) -> None:
    _, _, params, logits = drawn(RecurrentConfig(cell=cell, hidden=4, whole=4), CHANNELS)
    x, layer, h = inputs(CHANNELS), params["layer_0"], np.zeros((5, 4))
    for t in range(2):
        step = np.concatenate([x[:, t], x[:, 2], x[:, 3], x[:, 4], x[:, 5]], axis=1)
        h = act(dense(layer["inputs"], step) + dense(layer["states"], h))
    np.testing.assert_allclose(logits[:, 0], dense(params["output"], h), rtol=1e-4, atol=1e-5)


@given(whole=st.integers(0, 5), length=st.integers(6, 8))
def test_every_step_has_its_own_features_and_then_all_of_the_rest(whole: int, length: int) -> None:
    x = np.arange(2 * length * 3, dtype=np.float32).reshape(2, length, 3)
    made = np.asarray(with_the_rest(jnp.asarray(x), whole))
    assert made.shape == (2, length - whole, 3 * (1 + whole))
    for t in range(length - whole):
        expected = [x[:, t], *(x[:, length - whole + i] for i in range(whole))]
        np.testing.assert_array_equal(made[:, t], np.concatenate(expected, axis=1))


def test_a_state_depends_on_no_later_token() -> None:
    module, variables, _, logits = drawn(GRU, TOKENS)
    changed = inputs(TOKENS)
    changed[:, 2:] = 0
    found = np.asarray(jax.jit(module.apply)(variables, changed))
    np.testing.assert_array_equal(found[:, 0], logits[:, 0])
    assert not np.allclose(found[:, 1], logits[:, 1])


# -- two streams, and a Perceiver


def test_a_sum_joins_the_last_positions_of_two_encoders() -> None:
    _, _, params, logits = drawn(SUM, CHANNELS)
    x = inputs(CHANNELS)
    one = relu(dense(params["project_first"], encoder(params["first"], x[:, :2])[:, -1]))
    other = relu(dense(params["project_second"], encoder(params["second"], x[:, 2:])[:, -1]))
    h = norm(params["norm_sum"], one + other)
    for i in range(3):
        h = relu(dense(params[f"hidden_{i}"], h))
    assert [params[f"hidden_{i}"]["kernel"].shape for i in range(3)] == [(10, 20), (20, 20), (20, 10)]
    expected = dense(params["output"], norm(params["norm_final"], h))
    np.testing.assert_allclose(logits[:, 0], expected, rtol=1e-4, atol=1e-4)


def test_cross_attention_reads_the_second_stream_from_the_first() -> None:
    _, _, params, logits = drawn(CROSS, CHANNELS)
    x = inputs(CHANNELS)
    h = encoder(params["first"], x[:, :2])[:, -1:]
    h = h + norm(params["norm_cross"], attention(params["cross_attention"], h, encoder(params["second"], x[:, 2:])))
    for i in range(2):
        h = relu(dense(params[f"hidden_{i}"], h))
    expected = dense(params["output"], norm(params["norm_final"], h))
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("second", [0, 4])
def test_a_perceiver_reads_one_stream_after_the_other(second: int) -> None:
    _, _, params, logits = drawn(dataclasses.replace(PERCEIVER, second=second), CHANNELS)
    x = inputs(CHANNELS)
    h = np.broadcast_to(params["latents"], (5, 3, 8))
    streams = {"first": x[:, :2], "second": x[:, 2:]} if second else {"first": x}
    for name, stream in streams.items():
        y = encoder(params[name], stream)
        for kind in (f"cross_attention_{name}", f"self_attention_{name}"):
            h = norm(params[f"norm_{kind}"], h + attention(params[kind], h, y if "cross" in kind else h))
            mlp = dense(params[f"out_{kind}"], relu(dense(params[f"in_{kind}"], h)))
            h = norm(params[f"norm_mlp_{kind}"], h + mlp)
    np.testing.assert_allclose(logits[:, 0], dense(params["output"], h.mean(1)), rtol=1e-4, atol=1e-4)


@pytest.mark.long
@pytest.mark.parametrize("model", [SUM, CROSS, PERCEIVER])
@pytest.mark.parametrize("positions", ["learned", "none"])
def test_tokens_are_read_too_and_recomputing_changes_no_gradient(model, positions: str) -> None:
    model = dataclasses.replace(model, encoder=dataclasses.replace(ENCODER, norm="pre", positions=positions))
    shape = TaskShape(11, 6, (5,), ())
    module, variables, _, logits = drawn(model, shape)
    again = model.build(shape, remat=True)

    def gradients(module):
        gradient = jax.jit(jax.grad(lambda variables: jnp.sum(jnp.square(module.apply(variables, inputs(shape))))))
        return gradient(variables)

    kept, recomputed = gradients(module), gradients(again)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3), kept, recomputed)
    for leaf in jax.tree.leaves(kept):
        assert np.isfinite(leaf).all()
    changed = inputs(shape)
    changed[:, 0] = (changed[:, 0] + 1) % 11  # the first token of the first stream
    assert not np.allclose(jax.jit(module.apply)(variables, changed), logits)


@pytest.mark.long
def test_patterns_of_cross_attention_can_be_tapped() -> None:
    module, variables, _, _ = drawn(CROSS, CHANNELS)
    pattern = capture(module, variables, inputs(CHANNELS), ["cross_attention/pattern"])["cross_attention/pattern"]
    assert pattern.shape == (5, 2, 1, 4)
    np.testing.assert_allclose(pattern.sum(-1), 1, rtol=1e-5)
    assert "joined" in taps(module, variables, inputs(CHANNELS))


@pytest.mark.long
@pytest.mark.parametrize("model", [RecurrentConfig(cell="gru", hidden=64, whole=4), SUM, CROSS, PERCEIVER])
def test_weights_and_biases_start_uniform_as_in_torch(model: ModelConfig) -> None:
    module = model.build(CHANNELS)
    params = jax.jit(module.init)(jax.random.key(0), inputs(CHANNELS))["params"]
    output = params["output"]["kernel"]
    bound = output.shape[0] ** -0.5
    assert 0.8 * bound < np.abs(output).max() <= bound
    if isinstance(model, RecurrentConfig):
        for part in jax.tree.leaves(params["layer_0"]):
            assert 0.9 / 8 < np.abs(part).max() <= 1 / 8


def test_what_cannot_be_is_refused_by_name() -> None:
    with pytest.raises(UserError, match=r"model.whole: got 4, expected a part of sequences that are all of 5"):
        RecurrentConfig(cell="gru", hidden=4, whole=4).build(TOKENS)
    with pytest.raises(UserError, match=r"model.second: got 6, expected less than the 6 positions"):
        dataclasses.replace(SUM, second=6).build(CHANNELS)
    with pytest.raises(UserError, match=r"model.second: got 0, expected at least 1"):
        dataclasses.replace(SUM, second=0)
    with pytest.raises(UserError, match=r"a TwoStreamConfig reads sequences of one length without padding"):
        SUM.build(TOKENS)
    with pytest.raises(UserError, match=r"model.encoder.causal: got True, expected False"):
        dataclasses.replace(PERCEIVER, encoder=dataclasses.replace(ENCODER, causal=True))
    with pytest.raises(UserError, match=r"has no dropout yet"):
        dataclasses.replace(PERCEIVER, encoder=dataclasses.replace(ENCODER, dropout=0.1))
    with pytest.raises(UserError, match=r"a RecurrentConfig has none yet"):
        dataclasses.replace(GRU, dropout=0.1)
