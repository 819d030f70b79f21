"""What deep networks need: layers scanned, blocks recomputed, batches in parts. Each gives what the plain one does."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.condition import Condition, Trajectory
from jaxgen.distributed.mesh import MeshSizes
from jaxgen.errors import UserError
from jaxgen.models.config import MLPConfig, TransformerConfig
from jaxgen.models.stacked import matrices
from jaxgen.models.taps import capture, patch
from jaxgen.optimizers import SGD
from jaxgen.run.arguments import RunArguments, SilentObserver
from jaxgen.run.loop import train
from jaxgen.tasks.algebra.modular import ModularTask
from jaxgen.tasks.base import TaskShape
from jaxgen.train.constants import stack_constants
from jaxgen.train.program import Program
from jaxgen.train.savings import Savings
from tests.tiny_paper import invoke

LAYERS, VOCABULARY = 3, 11
SHAPE = TaskShape(VOCABULARY, 5, (2, 4), ())
DEEP = TransformerConfig(layers=LAYERS, width=8, heads=2, mlp_width=12, norm="pre", attention_bias=True)
TAPS = ("attention/pattern", "mlp/hidden", "residual")


@pytest.fixture(autouse=True, scope="module")
def _quick_compilation():
    # The many tiny programs here compile twice as fast, and none is timed.
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", before)


def scanned(config):
    return dataclasses.replace(config, scan_layers=True)


def restacked(params):
    """Returns the parameters of the same network with its layers scanned."""
    blocks = [params[f"block_{i}"] for i in range(LAYERS - 1)]
    others = {name: each for name, each in params.items() if name not in {f"block_{i}" for i in range(LAYERS - 1)}}
    return others | {"blocks": jax.tree.map(lambda *layers: jnp.stack(layers), *blocks)}


def draw_tokens(batch):
    return jax.random.randint(jax.random.key(7), (batch, SHAPE.length), 0, VOCABULARY)


def assert_close(found, expected, rtol=1e-4, atol=1e-5):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=rtol, atol=atol), found, expected)


def shapes(config=DEEP):
    return jax.eval_shape(config.build(SHAPE).init, jax.random.key(0), draw_tokens(1))["params"]


def randomised(config=DEEP):
    """Drawn with numpy, which compiles nothing, and so that no bias or scale hides behind its initial 0 or 1."""
    rng = np.random.default_rng(3)
    return jax.tree.map(lambda leaf: jnp.array(rng.normal(0.1, 0.4, leaf.shape), jnp.float32), shapes(config))


@pytest.mark.long
@pytest.mark.parametrize(
    ("norm", "batch", "remat"), [pytest.param("pre", 4, True, marks=pytest.mark.long), ("post", 30, False)]
)
def test_scanned_and_recomputed_layers_are_the_same_function(norm, batch, remat):
    config = dataclasses.replace(DEEP, norm=norm)
    params, tokens = randomised(config), draw_tokens(batch)

    def outcome(config, params, remat=False):
        def loss(params):
            logits = config.build(SHAPE, remat=remat).apply({"params": params}, tokens)
            return jnp.mean(jnp.sin(logits)), logits

        return jax.jit(jax.value_and_grad(loss, has_aux=True))(params)

    (_, logits), gradients = outcome(config, params)
    (_, found_logits), found_gradients = outcome(scanned(config), restacked(params), remat)
    assert_close(found_logits, logits)
    assert_close(found_gradients, restacked(gradients))
    if remat:
        (_, found_logits), found_gradients = outcome(config, params, remat)
        assert_close(found_logits, logits)
        assert_close(found_gradients, gradients)


@pytest.mark.long
def test_every_scanned_layer_starts_from_draws_of_its_own():
    wide = dataclasses.replace(DEEP, width=64, mlp_width=128, init="gpt2")
    found = jax.jit(scanned(wide).build(SHAPE).init)(jax.random.key(0), draw_tokens(1))["params"]["blocks"]
    out = 0.02 / np.sqrt(2 * LAYERS)
    for part, name, std in (
        ("attention", "query", 0.02), ("attention", "output", out), ("mlp", "in", 0.02), ("mlp", "out", out)
    ):  # fmt: skip
        first, second = np.asarray(found[part][name]["kernel"])
        np.testing.assert_allclose([first.std(), second.std()], std, rtol=0.05)
        assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 0.1
        assert not np.any(found[part][name]["bias"])


def test_each_scanned_layer_draws_its_own_dropout():
    # Where attention and MLP add nothing but their biases of one, a layer adds what its dropout leaves of them.
    config = scanned(dataclasses.replace(DEEP, norm="none", mlp_width=0, dropout=0.5, positions="none"))
    params = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape), shapes(config))
    params["blocks"]["attention"]["output"]["bias"] += 1.0
    params["unembed"]["kernel"] += jnp.eye(8, VOCABULARY)

    @jax.jit
    def logits(tokens):
        rngs = {"dropout": jax.random.key(0)}
        return config.build(SHAPE).apply({"params": params}, tokens, train=True, dropout_rate=0.5, rngs=rngs)

    # The last layer adds nothing: the sums are of two layers, each 0 or 2; were they alike, 0 or 4.
    values, counts = np.unique(np.asarray(logits(draw_tokens(40)))[..., :8], return_counts=True)
    np.testing.assert_array_equal(values, [0, 2, 4])
    np.testing.assert_allclose(counts / counts.sum(), [1 / 4, 1 / 2, 1 / 4], atol=0.06)


@pytest.mark.long
def test_a_tap_of_scanned_layers_is_stacked_and_patched_in_all_of_them():
    params, tokens = randomised(), draw_tokens(6)
    plain, scan = DEEP.build(SHAPE), scanned(DEEP).build(SHAPE)
    every, stacked = {"params": params}, {"params": restacked(params)}
    names = [f"block_{i}/{name}" for i in range(LAYERS) for name in TAPS]
    expected = jax.jit(lambda v: capture(plain, v, tokens, names))(every)
    scanned_names = [f"blocks/{name}" for name in TAPS] + [f"block_{LAYERS - 1}/{name}" for name in TAPS]
    found = jax.jit(lambda v: capture(scan, v, tokens, scanned_names))(stacked)
    for name in TAPS:
        assert_close(found[f"blocks/{name}"], jnp.stack([expected[f"block_{i}/{name}"] for i in range(LAYERS - 1)]))
        assert_close(found[f"block_{LAYERS - 1}/{name}"], expected[f"block_{LAYERS - 1}/{name}"])

    edits = {f"block_{i}/mlp/hidden": lambda x: 2 * x for i in range(LAYERS - 1)}
    logits = jax.jit(lambda v: patch(scan, v, tokens, {"blocks/mlp/hidden": lambda x: 2 * x}))(stacked)
    assert_close(logits, jax.jit(lambda v: patch(plain, v, tokens, edits))(every), rtol=1e-3)
    with pytest.raises(UserError, match="no tap 'block_0/residual'"):
        capture(scan, stacked, tokens, ["block_0/residual"])


def test_biases_and_norms_of_scanned_layers_are_vectors():
    params = randomised()
    alike = jax.tree.map(lambda w: w.ndim > 1, params)
    assert matrices(params) == alike
    found = matrices(restacked(params))
    assert found["blocks"] == alike["block_0"]
    assert {name: each for name, each in found.items() if name != "blocks"}.items() <= alike.items()


def test_one_layer_has_nothing_to_scan():
    alone = dataclasses.replace(DEEP, layers=1)
    assert shapes(scanned(alone)) == shapes(alone)


TRAINED = Condition(
    name="a",
    task=ModularTask(p=8, operation="x+y", format="a b =", train_fraction=0.5),
    model=TransformerConfig(layers=1, width=8, heads=2, mlp_width=12),
    optimizer=SGD(learning_rate=0.1),
    steps=10,
    batch_size=16,
)
CONDITIONS = {
    "transformer": TRAINED,
    "scanned": dataclasses.replace(TRAINED, model=scanned(dataclasses.replace(TRAINED.model, layers=LAYERS))),
    "mlp": dataclasses.replace(
        TRAINED,
        task=dataclasses.replace(TRAINED.task, format="a b"),
        model=MLPConfig(hidden=(9,)),
        loss="mse",
        batch_size=None,
    ),
    "batch norm": dataclasses.replace(
        TRAINED, task=dataclasses.replace(TRAINED.task, format="a b"), model=MLPConfig(hidden=(9,), batch_norm=True)
    ),
}


@functools.cache
def constants(name):
    return stack_constants([Trajectory(CONDITIONS[name], seed, str(seed)) for seed in (0, 1)], [None, None])


@functools.cache
def start(name):
    return jax.tree.map(np.asarray, Program(CONDITIONS[name], "sequential").init(constants(name), None))


@functools.cache
def stepped(name, mesh=None, savings=None):
    """Returns the parameters after one step; with SGD they tell the gradient."""
    program = Program(CONDITIONS[name], "sequential", mesh and mesh.build(), savings)
    state = program.update(program.place_state(start(name)), program.place(constants(name)))
    return jax.tree.map(np.asarray, state.params)


@pytest.mark.parametrize(
    ("name", "mesh", "savings"),
    [
        ("mlp", None, Savings(microbatches=2)),
        ("mlp", None, Savings(microbatches=4)),
        pytest.param("transformer", None, Savings(microbatches=4), marks=pytest.mark.long),
        pytest.param(
            "scanned",
            MeshSizes(data=2, fsdp=2, tensor=2),
            Savings(microbatches=2, remat="block"),
            marks=pytest.mark.long,
        ),
    ],
)
def test_a_step_that_saves_memory_is_the_same_step(name, mesh, savings):
    before, expected, found = start(name).params, stepped(name), stepped(name, mesh, savings)
    moved = [np.abs(a - b).max() for a, b in zip(jax.tree.leaves(before), jax.tree.leaves(expected), strict=True)]
    assert max(moved) > 1e-3
    assert_close(found, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.long
def test_recomputed_blocks_need_less_memory():
    deep = scanned(dataclasses.replace(DEEP, layers=9, width=16))
    tokens = jax.ShapeDtypeStruct((256, SHAPE.length), jnp.int32)

    def temporaries(remat):
        model = deep.build(SHAPE, remat=remat)
        gradient = jax.jit(jax.grad(lambda params, tokens: jnp.mean(model.apply({"params": params}, tokens))))
        return gradient.lower(shapes(deep), tokens).compile().memory_analysis().temp_size_in_bytes

    assert temporaries(remat=True) < 0.5 * temporaries(remat=False)


@pytest.mark.parametrize(
    ("name", "parts", "mesh", "said"),
    [
        ("transformer", 3, MeshSizes(), "a batch of 16 examples cannot be cut into 3 equal parts; .* 1, 2, 4, 8, 16$"),
        ("transformer", 8, MeshSizes(data=2, fsdp=2), "8 equal parts, each spread over data=2 x fsdp=2; .* 1, 2, 4$"),
        ("mlp", 5, MeshSizes(), "a batch of 32 examples cannot be cut into 5"),
        (
            "batch norm",
            2,
            MeshSizes(),
            "expected 1: the model computes batch_stats from the whole batch",
        ),
    ],
)
def test_a_batch_that_cannot_be_taken_in_parts(name, parts, mesh, said):
    with pytest.raises(UserError, match=said):
        Savings(microbatches=parts).check(CONDITIONS[name], mesh)


@pytest.mark.long
def test_a_begun_run_is_not_given_other_savings(tiny):
    def command(*options):
        result = invoke("reproduce", "tiny-paper/main", "--scale", "smoke", *options)
        return result.exit_code, result.output

    code, said = command("--microbatches", "2")
    assert (code, list(tiny.rglob("metrics.jsonl"))) == (2, [])
    assert "expected 1: the model computes batch_stats" in said
    assert command("--remat", "block")[0] == 0
    code, said = command("--extend", "5", "--remat", "none")
    assert code == 2
    assert "cannot resume bit for bit: remat was block, is none" in " ".join(said.split())


@pytest.mark.long
def test_a_run_goes_on_with_the_savings_that_it_began_with(tmp_path):
    condition = CONDITIONS["mlp"]

    def run(name, horizon, **arguments):
        train(
            tmp_path / name, [Trajectory(condition, 0, "0")], horizon=horizon, snapshot_steps=set(), starts=[None],
            observer=SilentObserver(), arguments=RunArguments(**arguments),
        )  # fmt: skip

    run("saving", 2, remat="block")
    run("saving", 3)
    with pytest.raises(UserError, match="remat was block, is none"):
        run("saving", 4, remat="none")

    run("without any", 2)
    run("without any", 3)
    with pytest.raises(UserError, match="microbatches was 1, is 2"):
        run("without any", 4, microbatches=2)
