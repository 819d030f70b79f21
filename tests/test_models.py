"""The models against plain forwards written from their definition, which compute every position and save nothing."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.errors import UserError
from jaxgen.experiments.grokking_tickets.parts import EmbeddingMLPConfig
from jaxgen.models.config import MLPConfig, ModelConfig, TransformerConfig
from jaxgen.tasks.algebra.modular import ModularTask
from jaxgen.tasks.base import TaskShape

VOCABULARY, LENGTH = 11, 5
NANDA = TransformerConfig(layers=1, width=128, heads=4, mlp_width=512)


@pytest.fixture(autouse=True, scope="module")
def _quick_compilation():
    # The many tiny programs here compile twice as fast, and none is timed.
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", before)


def task_shape(readout=(4,), length=LENGTH):
    return TaskShape(VOCABULARY, length, readout, ())


def draw_tokens(batch, length=LENGTH):
    return jnp.array(np.random.default_rng(7).integers(0, VOCABULARY, (batch, length)), jnp.int32)


def randomised(model, tokens):
    """Variables drawn with numpy, so that no bias or scale hides behind its initial 0 or 1."""
    rng = np.random.default_rng(3)
    abstract = jax.eval_shape(model.init, jax.random.key(0), tokens)
    return jax.tree.map(lambda leaf: jnp.array(rng.normal(0.1, 0.4, leaf.shape), jnp.float32), abstract)


def small(**changes):
    return TransformerConfig(**{"layers": 2, "width": 8, "heads": 2, "mlp_width": 12} | changes)


def plain_transformer(config, params, tokens, np=np):
    """Returns the logits (B, S, V) at every position, one head and one matrix product at a time."""
    act = {
        "relu": lambda x: np.maximum(x, 0),
        "gelu": lambda x: 0.5 * x * (1 + np.vectorize(math.erf)(x / math.sqrt(2))),
        "gelu_tanh": lambda x: 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
        "tanh": np.tanh,
        "square": lambda x: x * x,
        "identity": lambda x: x,
    }[config.activation]

    def dense(p, x):
        return x @ p["kernel"] + p.get("bias", 0.0)

    def norm(p, x):
        centred = x - x.mean(-1, keepdims=True)
        return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5) * p["scale"] + p["bias"]

    def attention(p, x):
        q, k, v = (dense(p[name], x) for name in ("query", "key", "value"))
        size, heads = config.width // config.heads, []
        for h in range(config.heads):
            part = slice(h * size, (h + 1) * size)
            scores = q[..., part] @ np.swapaxes(k[..., part], 1, 2) / (size if config.mup else math.sqrt(size))
            if config.causal:
                scores = np.where(np.tril(np.ones(scores.shape[1:]))[None] == 0, -np.inf, scores)
            weights = np.exp(scores - scores.max(-1, keepdims=True))
            heads.append(weights / weights.sum(-1, keepdims=True) @ v[..., part])
        return dense(p["output"], np.concatenate(heads, -1))

    def mlp(p, x):
        return dense(p["out"], act(dense(p["in"], x)))

    x = params["embed"]["embedding"][tokens]
    length = tokens.shape[1]
    if config.positions.word == "learned":
        x = x + params["positions"]["embedding"][None]
    if config.positions.word == "sinusoidal":
        table = [
            [(math.cos if i % 2 else math.sin)(s / 10000 ** ((i - i % 2) / config.width)) for i in range(config.width)]
            for s in range(length)
        ]
        x = x + np.array(table)[None]
    for i in range(config.layers):
        p = params[f"block_{i}"]
        for part, name in ((attention, "attention"), (mlp, "mlp")):
            if config.norm == "pre":
                x = x + part(p[name], norm(p[f"norm_{name}"], x))
            elif config.norm == "post":
                x = norm(p[f"norm_{name}"], x + part(p[name], x))
            else:
                x = x + part(p[name], x)
    if config.norm == "pre":
        x = norm(params["norm_final"], x)
    if config.mup:
        x = x / config.width
    if config.tied:
        return x @ params["embed"]["embedding"].T + params.get("unembed_bias", 0.0)
    return dense(params["unembed"], x)


def assert_transformer_is_plain(config, shape, batch):
    model, tokens = config.build(shape), draw_tokens(batch, shape.length)
    variables = randomised(model, tokens)
    params = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), variables["params"])
    expected = plain_transformer(config, params, np.asarray(tokens))[:, list(shape.readout)]
    logits = jax.jit(model.apply)(variables, tokens)
    assert logits.dtype == jnp.float32
    np.testing.assert_allclose(logits, expected, rtol=3e-5, atol=3e-5)


@pytest.mark.parametrize("norm", ["pre", "post", "none"])
@pytest.mark.parametrize("positions", ["learned", "sinusoidal", "none"])
@pytest.mark.parametrize("causal", [True, False])
def test_transformer_is_the_plain_forward(norm, positions, causal):
    config = small(norm=norm, positions=positions, causal=causal)
    for batch, readout in ((VOCABULARY, (2, 3)), (VOCABULARY + 1, (3, 0))):
        assert_transformer_is_plain(config, task_shape(readout), batch)


@pytest.mark.parametrize("batch", [3, 30])
@pytest.mark.parametrize(("layers", "tied"), [(1, True), (3, False)])
def test_transformer_biases_and_tying(batch, layers, tied):
    biases = {"attention_bias": True, "mlp_bias": False, "output_bias": True}
    assert_transformer_is_plain(small(layers=layers, tied=tied, norm="pre", **biases), task_shape(), batch)


@pytest.mark.parametrize("tied", [True, False])
def test_transformer_mup(tied):
    assert_transformer_is_plain(small(mup=True, tied=tied), task_shape(), 6)


@pytest.mark.parametrize("activation", ["relu", "gelu", "gelu_tanh", "tanh", "square", "identity"])
def test_transformer_activations(activation):
    assert_transformer_is_plain(small(activation=activation, norm="post"), task_shape(), 6)


@pytest.mark.parametrize("form", ["a b", "a b =", "<eos> a op b = c <eos>"])
def test_every_format_of_the_modular_task(form):
    shape = ModularTask(p=8, train_fraction=0.5, format=form).shape()
    config = small()
    model, tokens = config.build(shape), draw_tokens(20, shape.length) % shape.vocabulary
    variables = randomised(model, tokens)
    params = jax.tree.map(np.asarray, variables["params"])
    expected = plain_transformer(config, params, np.asarray(tokens))[:, list(shape.readout)]
    np.testing.assert_allclose(jax.jit(model.apply)(variables, tokens), expected, rtol=2e-4, atol=2e-4)


@pytest.mark.parametrize(
    ("batch", "norm"),
    [(4, "pre"), (40, "none"), *(pytest.param(40, norm, marks=pytest.mark.long) for norm in ("pre", "post"))],
)
def test_gradients_are_those_of_the_plain_forward(batch, norm):
    config, shape, tokens = small(norm=norm, activation="tanh"), task_shape((1, 4)), draw_tokens(batch)
    model = config.build(shape)
    variables = randomised(model, tokens)

    def loss(logits):
        return jnp.sum(jnp.sin(logits))

    got = jax.jit(jax.grad(lambda v: loss(model.apply(v, tokens))))(variables)["params"]
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        plain = jax.grad(lambda p: loss(plain_transformer(config, p, tokens, jnp)[:, jnp.array(shape.readout)]))
        expected = jax.jit(plain)(variables["params"])
    for path, leaf in jax.tree.leaves_with_path(expected):
        value = got
        for key in path:
            value = value[key.key]
        np.testing.assert_allclose(value, leaf, rtol=3e-3, atol=3e-3, err_msg=jax.tree_util.keystr(path))


@pytest.mark.long
def test_computing_by_vocabulary_changes_no_gradient():
    # A batch of 8 is computed as it is, the same rows repeated to 40 by vocabulary: the mean loss is one.
    config, tokens = small(norm="pre", positions="sinusoidal"), draw_tokens(8)
    model = config.build(task_shape())
    variables = randomised(model, tokens)
    gradient = jax.jit(jax.grad(lambda v, t: jnp.mean(jnp.sin(model.apply(v, t)))))
    direct, shared = gradient(variables, tokens), gradient(variables, jnp.tile(tokens, (5, 1)))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), direct, shared)


@pytest.mark.long
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("batch", [3, 40])
def test_a_causal_answer_has_zero_gradient_of_later_tokens(causal, batch):
    # Tokens are integers, so the gradient is that of one embedding row that only one position reads.
    model = small(causal=causal, norm="pre").build(task_shape((1, 3)))
    variables = randomised(model, draw_tokens(batch))

    @jax.jit
    @jax.jacrev
    def gradient(variables, tokens):
        return jnp.sum(jnp.sin(model.apply(variables, tokens)), axis=(0, 2))

    for position in range(LENGTH):
        tokens = (draw_tokens(batch) % (VOCABULARY - 1)).at[:, position].set(VOCABULARY - 1)
        rows_KD = np.asarray(gradient(variables, tokens)["params"]["embed"]["embedding"])[:, -1]
        for k, readout in enumerate((1, 3)):
            reads = bool(np.any(rows_KD[k] != 0))
            assert reads == (position <= readout or not causal), (position, readout)


def count(variables):
    return sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))


def shapes_of(config: ModelConfig, shape: TaskShape):
    model = config.build(shape)
    return jax.eval_shape(model.init, jax.random.key(0), jax.ShapeDtypeStruct((2, shape.length), jnp.int32))


def test_parameter_counts():
    shape = TaskShape(114, 3, (2,), ())
    embeddings, attention = 114 * 128 + 3 * 128 + 128 * 114, 4 * 128 * 128
    mlp = 2 * 128 * 512 + 512 + 128
    assert count(shapes_of(NANDA, shape)) == embeddings + attention + mlp == 226_816
    layers = TransformerConfig(
        layers=3, width=16, heads=4, mlp_width=32, norm="pre", tied=True, attention_bias=True, positions="sinusoidal"
    )
    block = 4 * (16 * 16 + 16) + 2 * 16 * 32 + 32 + 16 + 2 * 2 * 16
    assert count(shapes_of(layers, shape)) == 114 * 16 + 3 * block + 2 * 16
    mlp_config = MLPConfig(hidden=(20, 30), batch_norm=True)
    assert count(shapes_of(mlp_config, shape)) == 3 * 114 * 20 + 20 + 40 + 20 * 30 + 30 + 60 + 30 * 114 + 114


def test_parameter_paths():
    paths = {"/".join(k.key for k in path) for path, _ in jax.tree.leaves_with_path(shapes_of(NANDA, task_shape()))}
    attention = {f"params/block_0/attention/{name}/kernel" for name in ("query", "key", "value", "output")}
    mlp = {f"params/block_0/mlp/{layer}/{leaf}" for layer in ("in", "out") for leaf in ("kernel", "bias")}
    ends = {"params/embed/embedding", "params/positions/embedding", "params/unembed/kernel"}
    assert paths == attention | mlp | ends


def initial(config: ModelConfig, vocabulary=150):
    shape = TaskShape(vocabulary, 40, (39,), ())
    return jax.jit(config.build(shape).init)(jax.random.key(1), jnp.zeros((2, 40), jnp.int32))["params"]


@pytest.mark.parametrize("scheme", ["nanda", "torch", "gpt2", "fan_in", "one_hot"])
def test_transformer_init(scheme):
    config = TransformerConfig(
        layers=2, width=100, heads=4, mlp_width=400, init=scheme, attention_bias=True, output_bias=True
    )
    params = initial(config)
    uniform = {fan_in: fan_in**-0.5 / math.sqrt(3) for fan_in in (100, 400)}
    # Standard deviations of: embeddings, inner matrices, attention output, MLP output, unembedding.
    expected = {
        "nanda": (0.1, 0.1, 0.1, 0.1, 150**-0.5),
        "torch": (1.0, uniform[100], uniform[100], uniform[400], uniform[100]),
        "gpt2": (0.02, 0.02, 0.01, 0.01, 0.02),
        "fan_in": (1.0, 0.1, 0.1, 0.05, 0.1),
        "one_hot": (150**-0.5, 0.1, 0.1, 0.05, 0.1),
    }[scheme]
    block = params["block_1"]
    found = {
        "embed": (params["embed"]["embedding"], expected[0]),
        "positions": (params["positions"]["embedding"], 40**-0.5 if scheme == "one_hot" else expected[0]),
        "query": (block["attention"]["query"]["kernel"], expected[1]),
        "key": (block["attention"]["key"]["kernel"], expected[1]),
        "value": (block["attention"]["value"]["kernel"], expected[1]),
        "in": (block["mlp"]["in"]["kernel"], expected[1]),
        "attention output": (block["attention"]["output"]["kernel"], expected[2]),
        "out": (block["mlp"]["out"]["kernel"], expected[3]),
        "unembed": (params["unembed"]["kernel"], expected[4]),
    }
    for name, (leaf, std) in found.items():
        assert np.std(leaf) == pytest.approx(std, rel=0.06), name
        assert abs(np.mean(leaf)) < 5 * std / math.sqrt(leaf.size), name
        if scheme == "torch" and std != 1.0:
            assert np.abs(leaf).max() == pytest.approx(std * math.sqrt(3), rel=0.01), name
    biases = (block["attention"]["query"], block["attention"]["output"], block["mlp"]["out"], params["unembed"])
    for fan_in, bias in zip((100, 100, 400, 100), (layer["bias"] for layer in biases), strict=True):
        if scheme == "torch":
            assert fan_in**-0.5 * 0.85 < np.abs(bias).max() <= fan_in**-0.5
        else:
            assert np.all(bias == 0)


@pytest.mark.parametrize("std", [0.3, None])
def test_mlp_init(std):
    params = initial(MLPConfig(hidden=(100, 60), init_std=std), vocabulary=20)
    for name, fan_in in (("layer_0", 40 * 20), ("layer_1", 100), ("output", 60)):
        kernel, bias = params[name]["kernel"], params[name]["bias"]
        if std is None:
            assert np.std(kernel) == pytest.approx(fan_in**-0.5 / math.sqrt(3), rel=0.06)
            assert fan_in**-0.5 * 0.8 < np.abs(bias).max() <= fan_in**-0.5
            assert np.abs(kernel).max() == pytest.approx(fan_in**-0.5, rel=0.02)
        else:
            assert np.std(kernel) == pytest.approx(std, rel=0.06)
            assert np.all(bias == 0)


def plain_mlp(config, variables, tokens, train):
    """Returns the logits (B, V) and the batch statistics that a training step leaves."""
    params, statistics = variables["params"], dict(variables.get("batch_stats", {}))
    x = np.eye(VOCABULARY)[tokens].reshape(len(tokens), -1)
    act = {"relu": lambda x: np.maximum(x, 0), "square": np.square, "tanh": np.tanh}[config.activation]
    for i in range(len(config.hidden)):
        kernel = params[f"layer_{i}"]["kernel"]
        x = act(x @ kernel.reshape(-1, kernel.shape[-1]) + params[f"layer_{i}"].get("bias", 0.0))
        if config.batch_norm:
            old = statistics[f"norm_{i}"]
            mean, var = (x.mean(0), x.var(0)) if train else (old["mean"], old["var"])
            statistics[f"norm_{i}"] = {"mean": 0.9 * old["mean"] + 0.1 * mean, "var": 0.9 * old["var"] + 0.1 * var}
            norm = params[f"norm_{i}"]
            x = (x - mean) / np.sqrt(var + 1e-5) * norm["scale"] + norm["bias"]
    return x @ params["output"]["kernel"] + params["output"].get("bias", 0.0), statistics


@pytest.mark.parametrize(("batch_norm", "hidden"), [(True, (7, 9, 6)), (False, (7,))])
@pytest.mark.parametrize(("activation", "bias"), [("square", False), ("relu", True), ("tanh", True)])
def test_mlp_is_the_plain_forward(batch_norm, hidden, activation, bias):
    config = MLPConfig(hidden=hidden, activation=activation, bias=bias, batch_norm=batch_norm)
    model, tokens = config.build(task_shape()), draw_tokens(13)
    variables = randomised(model, tokens)
    if batch_norm:
        variables["batch_stats"] = jax.tree.map(lambda x: jnp.abs(x) + 0.1, variables["batch_stats"])
    exact = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), variables)
    expected, _ = plain_mlp(config, exact, np.asarray(tokens), train=False)
    np.testing.assert_allclose(jax.jit(model.apply)(variables, tokens)[:, 0], expected, rtol=1e-4, atol=1e-4)
    step = jax.jit(lambda v: model.apply(v, tokens, train=True, mutable=["batch_stats"]))
    logits, updates = step(variables)
    expected, statistics = plain_mlp(config, exact, np.asarray(tokens), train=True)
    np.testing.assert_allclose(logits[:, 0], expected, rtol=1e-4, atol=1e-4)
    assert logits.shape == (13, 1, VOCABULARY)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), updates.get("batch_stats", {}), statistics
    )


def test_mlp_gradients():
    config, tokens = MLPConfig(hidden=(7, 5), activation="square"), draw_tokens(13)
    model = config.build(task_shape())
    variables = randomised(model, tokens)
    got = jax.jit(jax.grad(lambda v: jnp.sum(jnp.sin(model.apply(v, tokens)))))(variables)["params"]

    exact = jax.tree.map(lambda leaf: np.array(leaf, np.float64), variables)
    for name, index in (("layer_0", (1, int(tokens[0, 1]), 3)), ("layer_1", (2, 4)), ("output", (1, 6))):
        kernel = exact["params"][name]["kernel"]
        values = []
        for change in (1e-6, -2e-6):
            kernel[index] += change
            values.append(np.sum(np.sin(plain_mlp(config, exact, np.asarray(tokens), train=False)[0])))
        kernel[index] += 1e-6
        assert got[name]["kernel"][index] == pytest.approx((values[0] - values[1]) / 2e-6, rel=1e-3, abs=1e-4)


@pytest.mark.parametrize("config", [MLPConfig(hidden=(16,), dropout=0.5, activation="identity"), small(dropout=0.5)])
def test_dropout_takes_a_traced_rate_for_each_member(config):
    model, tokens = config.build(task_shape()), draw_tokens(30)
    variables = randomised(model, tokens)

    @jax.jit
    @jax.vmap
    def logits(rate, key):
        return model.apply(variables, tokens, train=True, dropout_rate=rate, rngs={"dropout": key})

    keys = jax.random.split(jax.random.key(5), 3)
    none, low, high = logits(jnp.array([0.0, 0.1, 0.6]), keys)
    evaluated = jax.jit(model.apply)(variables, tokens, dropout_rate=0.6)
    np.testing.assert_allclose(none, evaluated, rtol=1e-4, atol=1e-4)
    assert 0 < np.abs(low - evaluated).mean() < np.abs(high - evaluated).mean()


def test_dropout_keeps_the_mean():
    # Linear in the mask, so the mean over masks is the evaluation, within 5 standard errors.
    config = MLPConfig(hidden=(16,), dropout=0.5, activation="identity")
    model, tokens = config.build(task_shape()), draw_tokens(3)
    variables = randomised(model, tokens)
    keys = jax.random.split(jax.random.key(5), 4000)
    draws = jax.vmap(lambda key: model.apply(variables, tokens, train=True, dropout_rate=0.3, rngs={"dropout": key}))
    logits = np.asarray(jax.jit(draws)(keys))
    error = np.abs(logits.mean(0) - model.apply(variables, tokens))
    assert np.all(error < 5 * logits.std(0) / math.sqrt(4000))
    ones = jax.tree.map(jnp.ones_like, variables["params"])
    hidden = model.apply({"params": ones}, tokens, train=True, dropout_rate=0.3, rngs={"dropout": keys[0]})
    # Every unit is 6 (five tokens and the bias) or 0: the output counts units of 6 / 0.7, plus the bias 1.
    kept = (np.asarray(hidden)[:, 0, 0] - 1) * 0.7 / 6
    np.testing.assert_allclose(kept, np.round(kept), atol=1e-4)
    assert np.any(kept != 16)


@pytest.mark.parametrize("layers", [1, 2])
def test_transformer_dropout_acts_on_the_embedding_and_on_every_branch(layers):
    config = small(layers=layers, dropout=0.5, attention_bias=True, output_bias=True)
    model, tokens = config.build(task_shape()), draw_tokens(3)
    variables = randomised(model, tokens)
    # At a rate this near 1 all that is dropped is zero, so the output bias alone is left.
    logits = model.apply(variables, tokens, train=True, dropout_rate=1 - 1e-6, rngs={"dropout": jax.random.key(0)})
    expected = np.broadcast_to(variables["params"]["unembed"]["bias"], logits.shape)
    np.testing.assert_array_equal(logits, expected)


def test_dropout_acts_before_the_activation():
    config = MLPConfig(hidden=(400,), dropout=0.5, activation="square")
    model, tokens = config.build(task_shape()), draw_tokens(1)
    ones = jax.tree.map(jnp.ones_like, randomised(model, tokens)["params"])
    logits = model.apply({"params": ones}, tokens, train=True, dropout_rate=0.5, rngs={"dropout": jax.random.key(2)})
    # About half of 400 units hold (6 / 0.5)^2 = 144; after the activation they would hold 6^2 / 0.5 = 72.
    assert float(logits[0, 0, 0]) == pytest.approx(200 * 144, rel=0.2)


def test_a_zero_rate_needs_no_key():
    model, tokens = small().build(task_shape()), draw_tokens(3)
    variables = randomised(model, tokens)
    np.testing.assert_array_equal(
        model.apply(variables, tokens, train=True, dropout_rate=0.9), model.apply(variables, tokens)
    )


@pytest.mark.parametrize("config", [MLPConfig(hidden=(16, 8), batch_norm=True), small(norm="pre"), small(tied=True)])
@pytest.mark.parametrize("batch", [5, 50])
def test_bfloat16_computes_near_float32(config, batch):
    tokens = draw_tokens(batch)
    model, low = config.build(task_shape()), config.build(task_shape(), jnp.bfloat16)
    variables = jax.jit(low.init)(jax.random.key(0), tokens)
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype(jnp.float32)}
    exact, logits = jax.jit(model.apply)(variables, tokens), jax.jit(low.apply)(variables, tokens)
    assert logits.dtype == jnp.float32
    assert 0 < np.abs(logits - exact).max() < 0.05 * np.abs(exact).max()


def test_an_mlp_gives_one_answer():
    with pytest.raises(UserError, match=r"the task reads out 2 positions \[1, 2\]"):
        MLPConfig(hidden=(3,)).build(task_shape((1, 2)))


def test_an_unknown_configuration_is_named():
    with pytest.raises(UserError, match="ModelConfig: expected one of its kinds, EncoderDecoderConfig, MLPConfig, "):
        ModelConfig().build(task_shape())


def test_an_mlp_on_features_is_the_product_with_its_kernel() -> None:
    shape = TaskShape(vocabulary=2, length=5, readout=(0,), sizes=(("train", 7),), features=True)
    model = MLPConfig(hidden=(4,), activation="relu").build(shape)
    x_BF = jax.random.normal(jax.random.key(0), (7, 5))
    params = model.init(jax.random.key(1), x_BF)["params"]
    assert params["layer_0"]["kernel"].shape == (5, 4)
    assert jnp.max(jnp.abs(params["layer_0"]["kernel"])) <= 5**-0.5
    hidden = np.maximum(x_BF @ params["layer_0"]["kernel"] + params["layer_0"]["bias"][None], 0)
    expected = hidden @ params["output"]["kernel"] + params["output"]["bias"][None]
    np.testing.assert_allclose(model.apply({"params": params}, x_BF)[:, 0], expected, rtol=1e-5, atol=1e-6)
    with pytest.raises(UserError, match="a transformer reads tokens"):
        TransformerConfig(layers=1, width=8, heads=1, mlp_width=8).build(shape)


EMBEDDING_MLP = EmbeddingMLPConfig(embedding=50, hidden=12, dropout=0.5)


def test_an_embedding_mlp_sums_embeddings_before_its_layers() -> None:
    for activation, act in (("relu", lambda x: np.maximum(x, 0)), ("square", np.square)):
        config = EmbeddingMLPConfig(embedding=50, hidden=12, activation=activation)
        model, tokens = config.build(task_shape()), draw_tokens(13)
        variables = randomised(model, tokens)
        p = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), variables["params"])
        hidden = act(p["embedding"][np.asarray(tokens)].sum(axis=1) @ p["in"])
        expected = hidden @ p["out"] @ p["unembedding"]
        logits = jax.jit(model.apply)(variables, tokens)
        assert logits.shape == (13, 1, VOCABULARY)
        np.testing.assert_allclose(logits[:, 0], expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


def test_an_embedding_mlp_is_drawn_by_fan_in() -> None:
    params = initial(EmbeddingMLPConfig(embedding=400, hidden=100))
    found = {name: (leaf.shape, float(jnp.std(leaf))) for name, leaf in params.items()}
    expected = {"embedding": (150, 400), "in": (400, 100), "out": (100, 400), "unembedding": (400, 150)}
    assert found == {name: (shape, pytest.approx(shape[0] ** -0.5, rel=0.06)) for name, shape in expected.items()}


def test_an_embedding_mlp_drops_hidden_units() -> None:
    model, tokens = EMBEDDING_MLP.build(task_shape()), draw_tokens(13)
    variables = randomised(model, tokens)
    dropped = model.apply(variables, tokens, train=True, dropout_rate=1 - 1e-6, rngs={"dropout": jax.random.key(0)})
    np.testing.assert_array_equal(dropped, 0)


def test_an_embedding_mlp_reads_tokens_and_gives_one_answer() -> None:
    with pytest.raises(UserError, match="the task gives real features; use an MLPConfig"):
        EMBEDDING_MLP.build(TaskShape(vocabulary=2, length=5, readout=(0,), sizes=(), features=True))
    with pytest.raises(UserError, match="the task reads out 2 positions"):
        EMBEDDING_MLP.build(task_shape((1, 2)))
