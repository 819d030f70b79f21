"""The encoder-decoder against a forward pass in numpy, which reads one example at a time and nothing beside it."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.condition import Condition
from jaxgen.errors import UserError
from jaxgen.models.config import EncoderDecoderConfig
from jaxgen.models.taps import capture, taps
from jaxgen.optimizers import SGD
from jaxgen.tasks import ModularTask, ScanTask
from jaxgen.tasks.base import Source, TaskShape

SEP, VOCABULARY, LENGTH = 1, 9, 10
SHAPE = TaskShape(VOCABULARY, LENGTH, tuple(range(1, LENGTH)), (), padding=0, source=Source(SEP, 4))
BASE = EncoderDecoderConfig(encoder_layers=2, decoder_layers=2, width=8, heads=2, mlp_width=12, relative=2)
# Sources of 1 to 4 tokens, targets of several lengths, one without room for padding.
EXAMPLES = [[5, SEP, 3, 4], [2, 3, SEP, 7], [4, 4, 5, 6, SEP, 2, 8, 2, 3, 5], [8, 3, 2, SEP, 4, 4, 6]]
CONFIGS = {
    "relative": BASE,
    "neither": dataclasses.replace(BASE, relative=0, positions="none", norm="post", scaled_embedding=False),
    "far": dataclasses.replace(BASE, relative=20, positions="none", activation="tanh", encoder_layers=1),
    "post": dataclasses.replace(BASE, norm="post", decoder_layers=1, heads=4),
}


@pytest.fixture(autouse=True, scope="module")
def _quick_compilation():
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", before)


def padded() -> np.ndarray:
    return np.array([each + [0] * (LENGTH - len(each)) for each in EXAMPLES], np.int32)


def drawn(config: EncoderDecoderConfig, shape: TaskShape = SHAPE):
    """The module, and variables drawn with numpy so that no bias or scale hides behind its initial value."""
    rng, module = np.random.default_rng(3), config.build(shape)
    abstract = jax.eval_shape(module.init, jax.random.key(0), jnp.zeros((1, shape.length), jnp.int32))
    return module, jax.tree.map(lambda leaf: jnp.array(rng.normal(0.1, 0.4, leaf.shape), jnp.float32), abstract)


class Plain:
    """The network of one example, in float64, with a loop over heads and pairs of positions."""

    def __init__(self, config: EncoderDecoderConfig, params):
        self.config, self.params = config, jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)

    def logits(self, source: list[int], target: list[int]) -> np.ndarray:
        memory = self.stack("encoder", self.config.encoder_layers, self.embedded("encoder", source), None)
        x = self.stack("decoder", self.config.decoder_layers, self.embedded("decoder", target), memory)
        return self.dense(self.params["unembed"], x)

    def act(self, h):
        return np.tanh(h) if self.config.activation == "tanh" else np.maximum(h, 0)

    def stack(self, which, layers, x, memory):
        for i in range(layers):
            p = self.params[f"{which}_{i}"]

            def attend(h, p=p):
                return self.attention(p["attention"], h, h, causal=which == "decoder", relative=self.config.relative)

            def read(h, p=p):
                return self.attention(p["cross_attention"], h, memory, causal=False, relative=0)

            steps = {"attention": attend} | ({"cross_attention": read} if memory is not None else {})
            steps["mlp"] = lambda h, p=p: self.dense(p["mlp"]["out"], self.act(self.dense(p["mlp"]["in"], h)))
            for name, step in steps.items():
                norm = p[f"norm_{name}"]
                x = x + step(self.norm(norm, x)) if self.config.norm == "pre" else self.norm(norm, x + step(x))
        return self.norm(self.params[f"{which}_norm"], x) if self.config.norm == "pre" else x

    def embedded(self, which, tokens):
        x, width = self.params[f"{which}_embed"]["embedding"][tokens], self.config.width
        x = x * math.sqrt(width) if self.config.scaled_embedding else x
        if self.config.positions == "none":
            return x
        return x + np.array(
            [
                [(math.cos if i % 2 else math.sin)(s / 10000 ** ((i - i % 2) / width)) for i in range(width)]
                for s in range(len(tokens))
            ]
        )

    def attention(self, p, x, other, causal, relative):
        q, k, v = (self.dense(p[name], of) for name, of in (("query", x), ("key", other), ("value", other)))
        size, heads = self.config.width // self.config.heads, []
        for h in range(self.config.heads):
            part, rows = slice(h * size, (h + 1) * size), []
            for i in range(len(x)):
                seen = [j for j in range(len(other)) if j <= i or not causal]
                apart = np.zeros((len(seen), size))
                if relative:
                    places = [min(max(j - i, -relative), relative) + relative for j in seen]
                    apart = p["distances"]["embedding"][places]
                scores = (k[seen][:, part] + apart) @ q[i, part] / math.sqrt(size)
                weights = np.exp(scores - scores.max())
                rows.append(weights / weights.sum() @ (v[seen][:, part] + apart))
            heads.append(rows)
        return self.dense(p["output"], np.concatenate(heads, -1))

    def dense(self, p, x):
        return x @ p["kernel"] + p["bias"]

    def norm(self, p, x):
        centred = x - x.mean(-1, keepdims=True)
        return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-6) * p["scale"] + p["bias"]


@pytest.mark.parametrize("name", CONFIGS)
def test_it_is_the_plain_forward_of_each_example_alone(name):
    module, variables = drawn(CONFIGS[name])
    logits = np.asarray(jax.jit(module.apply)(variables, jnp.asarray(padded())))
    assert logits.shape == (len(EXAMPLES), LENGTH - 1, VOCABULARY)
    assert np.isfinite(logits).all()
    plain = Plain(CONFIGS[name], variables["params"])
    for row, example in zip(logits, EXAMPLES, strict=True):
        at = example.index(SEP)
        expected = plain.logits(example[:at], example[at:])
        np.testing.assert_allclose(row[at - 1 :][: len(expected)], expected, rtol=2e-4, atol=2e-4)


def test_nothing_after_a_position_of_the_target_changes_it():
    module, variables = drawn(BASE)
    apply = jax.jit(module.apply)
    tokens = padded()
    before = np.asarray(apply(variables, jnp.asarray(tokens)))
    for place in range(6, LENGTH):
        changed = tokens.copy()
        changed[:, place] = 6
        after = np.asarray(apply(variables, jnp.asarray(changed)))
        np.testing.assert_array_equal(after[:, : place - 1], before[:, : place - 1])
    changed = tokens.copy()
    changed[2, 0] = 7  # of the source of the third example
    after = np.asarray(apply(variables, jnp.asarray(changed)))
    assert (after[2, 3:] != before[2, 3:]).any(axis=1).all()
    np.testing.assert_array_equal(np.delete(after, 2, 0), np.delete(before, 2, 0))


def test_gradients_are_finite_with_positions_that_are_asked_nothing():
    module, variables = drawn(BASE)
    tokens = jnp.asarray(padded())
    grads = jax.jit(jax.grad(lambda v: jnp.sum(jnp.sin(module.apply(v, tokens)))))(variables)
    assert all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(grads))


@pytest.mark.long
def test_recomputed_activations_give_the_same_gradients():
    variables = drawn(BASE)[1]
    tokens = jnp.asarray(padded())

    def gradients(module):
        return jax.jit(jax.grad(lambda v: jnp.sum(jnp.sin(module.apply(v, tokens)))))(variables)

    plain, recomputed = (gradients(BASE.build(SHAPE, remat=remat)) for remat in (False, True))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), plain, recomputed)


@pytest.mark.long
def test_dropout_acts_in_training_alone():
    config = dataclasses.replace(BASE, dropout=0.5)
    module, variables = drawn(config)
    tokens = jnp.asarray(padded())
    still = module.apply(variables, tokens)
    np.testing.assert_array_equal(still, drawn(BASE)[0].apply(variables, tokens))
    one, other = (
        module.apply(variables, tokens, train=True, dropout_rate=0.5, rngs={"dropout": jax.random.key(n)})
        for n in (0, 1)
    )
    assert not np.allclose(one, still)
    assert not np.allclose(one, other)
    none = module.apply(variables, tokens, train=True, dropout_rate=0.0, rngs={"dropout": jax.random.key(0)})
    np.testing.assert_allclose(none, still, rtol=1e-5, atol=1e-5)


def test_parameters_are_counted_and_drawn_as_in_torch():
    config = EncoderDecoderConfig(encoder_layers=1, decoder_layers=1, width=64, heads=4, mlp_width=256, relative=20)
    shape = dataclasses.replace(SHAPE, vocabulary=200)
    params = jax.jit(config.build(shape).init)(jax.random.key(1), jnp.zeros((1, LENGTH), jnp.int32))["params"]
    attention, mlp, norm, distances = 4 * (64 * 64 + 64), 2 * 64 * 256 + 256 + 64, 2 * 64, 41 * 16
    layers = (attention + distances + mlp + 2 * norm) + (2 * attention + distances + mlp + 3 * norm)
    ends = 2 * 200 * 64 + 2 * norm + 64 * 200 + 200
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == layers + ends
    assert "distances" not in params["decoder_0"]["cross_attention"]
    for leaf, std in (
        (params["encoder_embed"]["embedding"], 1.0),
        (params["decoder_0"]["attention"]["distances"]["embedding"], 1.0),
        (params["decoder_0"]["cross_attention"]["key"]["kernel"], 64**-0.5 / math.sqrt(3)),
        (params["encoder_0"]["mlp"]["out"]["kernel"], 256**-0.5 / math.sqrt(3)),
    ):
        assert np.std(leaf) == pytest.approx(std, rel=0.08)


def test_patterns_can_be_read():
    module, variables = drawn(BASE)
    tokens = jnp.asarray(padded())
    assert {"encoder_0/residual", "decoder_1/cross_attention/pattern"} <= taps(module, variables, tokens).keys()
    found = capture(module, variables, tokens, ["decoder_0/cross_attention/pattern"])
    pattern = np.asarray(found["decoder_0/cross_attention/pattern"])
    np.testing.assert_allclose(pattern.sum(-1), 1, rtol=1e-5)
    for row, example in zip(pattern, EXAMPLES, strict=True):
        assert (row[..., example.index(SEP) :] == 0).all()


def test_a_task_must_tell_where_its_source_ends():
    scan = ScanTask(split="simple", train_fraction=0.01).shape()
    assert scan.source == Source(SEP, 9)
    BASE.check_shape(scan)
    with pytest.raises(UserError, match=r"the task does not tell where its source ends \(TaskShape.source\)"):
        Condition(
            name="a", task=ModularTask(p=7, train_fraction=0.5), model=BASE, optimizer=SGD(learning_rate=0.1), steps=1
        )
    with pytest.raises(UserError, match=r"model.width: got 9, expected a multiple of heads=2"):
        dataclasses.replace(BASE, width=9)
