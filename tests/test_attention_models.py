"""Transformers that train with a kernel: the same numbers as without, on any mesh, and what run.json tells of it."""

import dataclasses
import functools
import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.condition import Condition, Trajectory
from jaxgen.config import digest, to_json
from jaxgen.distributed.mesh import MeshSizes
from jaxgen.errors import UserError
from jaxgen.kernels.attention import Interpreter, attention
from jaxgen.measures.config import Loss
from jaxgen.models.attention import attention_choices, kernels_taken
from jaxgen.models.config import MLPConfig, TransformerConfig
from jaxgen.models.taps import capture
from jaxgen.optimizers import SGD
from jaxgen.run.arguments import RunArguments, SilentObserver
from jaxgen.run.loop import train
from jaxgen.tasks import ModularTask
from jaxgen.tasks.base import TaskShape
from jaxgen.train.constants import stack_constants
from jaxgen.train.flops import matmul_flops
from jaxgen.train.program import Program

TPU = Interpreter("tpu")
SHAPE = TaskShape(11, 5, (2, 4), ())
MODEL = TransformerConfig(layers=2, width=32, heads=4, mlp_width=8, attention="pallas")
CONDITION = Condition(
    name="base",
    task=ModularTask(p=7, train_fraction=0.5, format="a b ="),
    model=MODEL,
    optimizer=SGD(learning_rate=0.1),
    steps=4,
    batch_size=8,
    measures=(Loss(),),
)


@pytest.mark.long
@pytest.mark.parametrize(
    ("changes", "remat"),
    [
        ({}, False),
        pytest.param({"layers": 1, "causal": False, "mup": True, "norm": "pre"}, True, marks=pytest.mark.long),
        pytest.param({"layers": 3, "scan_layers": True}, False, marks=pytest.mark.long),
    ],
)
def test_a_model_with_a_kernel_is_the_one_without(changes: dict, remat: bool) -> None:
    config = dataclasses.replace(MODEL, **changes)
    plain = config.build(SHAPE)
    model = config.build(SHAPE, remat=remat, attention_device=TPU)
    tokens = jnp.asarray(np.random.default_rng(0).integers(0, 11, (6, 5)), jnp.int32)
    variables = jax.jit(plain.init)(jax.random.key(0), tokens)

    def loss(variables, model):
        return jnp.sum(model.apply(variables, tokens) ** 2)

    wanted, got = (jax.jit(jax.value_and_grad(loss), static_argnums=1)(variables, each) for each in (plain, model))
    jax.tree.map(lambda g, w: np.testing.assert_allclose(g, w, rtol=2e-4, atol=2e-5), got, wanted)
    assert "pallas_call" in str(jax.make_jaxpr(lambda v: loss(v, model))(variables))


@pytest.mark.long
def test_an_encoder_with_a_kernel_does_not_see_padding_either() -> None:
    config = dataclasses.replace(MODEL, causal=False)
    shape = dataclasses.replace(SHAPE, padding=10)
    plain, model = config.build(shape), config.build(shape, attention_device=TPU)
    tokens = np.random.default_rng(0).integers(0, 10, (6, 5)).astype(np.int32)
    tokens[np.arange(5) >= np.array([1, 2, 3, 4, 5, 5])[:, None]] = 10
    variables = jax.jit(plain.init)(jax.random.key(0), tokens)
    got, wanted = (jax.jit(each.apply)(variables, tokens) for each in (model, plain))
    np.testing.assert_allclose(got, wanted, rtol=2e-4, atol=2e-5)


@pytest.mark.long
def test_what_is_measured_can_be_tapped() -> None:
    program = Program(dataclasses.replace(CONDITION, model=dataclasses.replace(MODEL, attention="auto")), "vmap")
    tokens = jnp.zeros((3, 3), jnp.int32)
    variables = program.module.init(jax.random.key(0), tokens)
    found = capture(program.module, variables, tokens, ["block_0/attention/pattern"])
    assert found["block_0/attention/pattern"].shape == (3, 4, 3, 3)


@pytest.mark.long
def test_a_population_trains_on_a_mesh_as_without_a_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    condition = dataclasses.replace(CONDITION, model=dataclasses.replace(MODEL, layers=1))

    def trained(sizes: str) -> np.ndarray:
        program = Program(condition, "vmap", MeshSizes.parse(sizes).build())
        trajectories = [Trajectory(condition, seed, str(seed)) for seed in range(2)]
        constants = program.place(stack_constants(trajectories, [None] * 2))
        state, _ = program.advance(program.init(constants, None), constants, jnp.int32(4))
        row, _ = program.measure(state, constants, True)
        return np.asarray(row["loss/train"])

    build = TransformerConfig.build

    def on(device: Any) -> Any:
        return lambda *args, attention_device=None, **how: build(
            *args, attention_device=attention_device and device, **how
        )

    with monkeypatch.context() as patched:
        patched.setattr(TransformerConfig, "build", on(None))
        wanted = trained("member=1")
    monkeypatch.setattr(TransformerConfig, "build", on(TPU))
    np.testing.assert_allclose(trained("member=2,data=2,tensor=2"), wanted, rtol=1e-4)


def test_runs_of_before_keep_their_identity() -> None:
    plain = dataclasses.replace(MODEL, attention="xla")
    assert "attention" not in to_json(plain)
    assert digest(plain) != digest(MODEL)


@pytest.mark.long
def test_run_json_tells_what_was_taken(tmp_path: Path) -> None:
    condition = dataclasses.replace(CONDITION, model=dataclasses.replace(MODEL, attention="auto"), measures=())
    train(
        tmp_path / "run",
        [Trajectory(condition, 0, "0")],
        horizon=1,
        snapshot_steps=set(),
        starts=[None],
        observer=SilentObserver(),
        arguments=RunArguments(),
    )
    told = json.loads((tmp_path / "run" / "run.json").read_text())["attention"]
    nothing = {"taken": "xla", "kernel": None, "why": "there is no kernel for a cpu"}
    assert told == {"asked": "auto", "last_layer": nothing, "layers_before": nothing}


def test_what_is_asked_for_by_name_and_cannot_be_ends_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"model.attention: .* the device is a cpu .*; ask for auto or xla"):
        train(
            tmp_path / "run",
            [Trajectory(CONDITION, 0, "0")],
            horizon=1,
            snapshot_steps=set(),
            starts=[None],
            observer=SilentObserver(),
            arguments=RunArguments(),
        )
    assert not (tmp_path / "run" / "run.json").exists()


def test_a_resumed_run_must_take_the_same_kernels() -> None:
    taken = kernels_taken(attention_choices(MODEL, SHAPE, "float32", TPU))
    assert taken == {"attention of last_layer": "tpu_short", "attention of layers_before": "tpu_short"}
    assert kernels_taken(attention_choices(dataclasses.replace(MODEL, attention="xla"), SHAPE, "float32", TPU)) == {}
    assert MLPConfig(hidden=(3,)).kernels(SHAPE, "float32", TPU) == {}
    assert kernels_taken({}) == {}


def test_operations_of_a_kernel_are_counted_over_its_grid() -> None:
    """Two tiles of 128 rows, two products each for every head, and five in the gradient, two of them again."""
    x = jnp.zeros((32, 8, 4, 16), jnp.bfloat16)
    forward = functools.partial(attention, causal=True, implementation="pallas", device=TPU)
    tile = 2 * 128 * 128 * 16
    assert matmul_flops(jax.make_jaxpr(forward)(x, x, x).jaxpr) == 2 * 4 * 2 * tile
    gradient = jax.grad(lambda q, k, v: jnp.sum(forward(q, k, v).astype(jnp.float32)), argnums=(0, 1, 2))
    assert matmul_flops(jax.make_jaxpr(gradient)(x, x, x).jaxpr) == 2 * 4 * (2 + 5) * tile
