"""Plans: operations counted, exchanges read, meshes tried; steps compiled for TPUs where libtpu is installed."""

from __future__ import annotations

import dataclasses
import importlib.util

import jax
import jax.numpy as jnp
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from jaxgen.cli import main
from jaxgen.errors import UserError
from jaxgen.experiment import Condition, Trajectory
from jaxgen.models.config import MLPConfig, TransformerConfig
from jaxgen.plan.collectives import Collective, collectives
from jaxgen.plan.compile import DoesNotFit, plan
from jaxgen.plan.flops import matmul_flops
from jaxgen.plan.search import meshes, saving_more
from jaxgen.plan.topology import read_topology
from jaxgen.tasks.features import SlabTask
from jaxgen.tasks.modular import ModularTask
from jaxgen.train.config import SGD
from jaxgen.train.loop import stack_constants
from jaxgen.train.mesh import MeshSizes, spread_members_then_examples
from jaxgen.train.program import Program
from jaxgen.train.savings import Savings

B, D, H, V = 32, 8, 16, 2
CONDITION = Condition(
    name="mlp",
    task=SlabTask(train=64, test=16, dimensions=D, simple="linear", complex="5-slab"),
    model=MLPConfig(hidden=(H,)),
    optimizer=SGD(learning_rate=0.1),
    steps=100,
    batch_size=B,
)


def members(count: int, condition: Condition = CONDITION) -> list[Trajectory]:
    return [Trajectory(condition, seed, str(seed)) for seed in range(count)]


def counted(function, *shapes: tuple[int, ...]) -> int:
    return matmul_flops(jax.jit(function).trace(*(jnp.ones(shape) for shape in shapes)).jaxpr.jaxpr)


def test_matrix_products_are_counted() -> None:
    assert counted(lambda a, b: a @ b, (3, 5), (5, 7)) == 2 * 3 * 5 * 7
    assert counted(lambda a, b: jnp.einsum("nij,njk->nik", a, b), (4, 3, 5), (4, 5, 7)) == 2 * 4 * 3 * 5 * 7
    assert counted(lambda a: jax.lax.scan(lambda c, _: (c @ a, None), a, length=6)[0], (3, 3)) == 6 * 2 * 27
    assert counted(lambda a: jax.lax.cond(a[0, 0] > 0, lambda: a @ a, lambda: a @ a @ a), (3, 3)) == 2 * 2 * 27
    assert counted(lambda a: jnp.sin(a), (3, 3)) == 0


@pytest.mark.parametrize("mesh", ["data=1", "member=2,data=2"])
def test_a_step_of_an_mlp_has_the_operations_that_it_must(mesh: str) -> None:
    """Forward, and backward for both kernels and for the hidden layer; nothing needs the gradient of the inputs."""
    program = Program(CONDITION, "vmap", MeshSizes.parse(mesh).build())
    constants = stack_constants(members(4), [None] * 4)
    jaxpr = program.update.trace(jax.eval_shape(program.init, constants, None), constants).jaxpr.jaxpr
    assert matmul_flops(jaxpr) == 4 * 2 * B * (2 * D * H + 3 * H * V)


LINES = """
  %a = f32[16,128]{1,0:T(8,128)} all-reduce(%x), channel_id=1, replica_groups={{0,1,2,3},{4,5,6,7}}, to_apply=%add
  %b = (f32[8]{0}, bf16[4,2]{1,0}) all-reduce(%x, %y), replica_groups=[4,2]<=[8], to_apply=%add
  %c = (f32[4,8]{1,0}, f32[8,8]{1,0}) all-gather-start(%x), replica_groups=mesh['axis_0'=4,'axis_1'=2] {'axis_1'}
  %d = f32[8,8]{1,0} all-gather-done(%c)
  %e = f32[2,8]{1,0} reduce-scatter(%x), replica_groups=[2,4]<=[8], dimensions={0}
  %f = f32[2,8]{1,0} add(%all-reduce.1, %x)
"""


def test_exchanges_are_read() -> None:
    found = {(each.kind, each.group): each for each in collectives(LINES, devices=8)}
    kilobytes = 16 * 128 * 4
    assert found.pop(("all-reduce", 4)) == Collective("all-reduce", 4, 1, kilobytes, kilobytes * 2 * 3 / 4)
    assert found.pop(("all-reduce", 2)) == Collective("all-reduce", 2, 1, 48, 48 * 2 * 1 / 2)
    assert found.pop(("all-gather", 2)) == Collective("all-gather", 2, 1, 256, 256 * 1 / 2)
    assert found.pop(("reduce-scatter", 4)) == Collective("reduce-scatter", 4, 1, 64, 64 * 3)
    assert not found


@given(count=st.integers(1, 12), devices=st.sampled_from([1, 4, 6, 8, 64]))
def test_meshes_take_all_devices_and_spread_evenly(count: int, devices: int) -> None:
    found = meshes(members(count), devices)
    assert len(set(found)) == len(found) > 0
    for sizes in found:
        assert sizes.devices == devices
        sizes.check(CONDITION, count)
    first = spread_members_then_examples(CONDITION, count, devices)
    first.check(CONDITION, count)
    assert devices % first.devices == 0


def test_a_step_that_does_not_fit_is_tried_with_its_blocks_recomputed() -> None:
    task = ModularTask(p=7, format="a b =", train_fraction=0.5)
    model = TransformerConfig(layers=1, width=8, heads=2, mlp_width=8)
    transformer = dataclasses.replace(CONDITION, task=task, model=model, batch_size=None)
    assert saving_more(members(1), Savings()) is None
    tried = saving_more(members(1, transformer), Savings(microbatches=2))
    assert tried == Savings(microbatches=2, remat="block")
    assert saving_more(members(1, transformer), tried) is None


@pytest.mark.parametrize(
    ("name", "said"),
    [("v5q:2x4", "did you mean 'v5"), ("v5e", "expected the shape"), ("v5e:8", "expected the shape")],
)
def test_a_topology_that_cannot_be_read(name: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        read_topology(name)


def test_without_libtpu_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    result = CliRunner().invoke(main, ["plan", "nanda-modadd/mainline", "--topology", "v5e:2x4"])
    assert result.exit_code == 2
    assert 'pip install "jaxgen[tpu]"' in result.output


needs_libtpu = pytest.mark.skipif(
    importlib.util.find_spec("libtpu") is None, reason="libtpu is not installed: make compile-tpu"
)


@needs_libtpu
def test_a_step_compiles_for_a_tpu() -> None:
    made = plan(members(4), read_topology("v5e:2x4"), MeshSizes(member=4, data=2))
    assert made.fits
    assert made.flops == 4 * 2 * B * (2 * D * H + 3 * H * V)
    assert made.compiled_flops * 8 >= made.flops
    assert {each.group for each in made.exchanges} == {2}  # members tell each other nothing
    assert made.seconds == max(made.compute_seconds, made.memory_seconds, made.network_seconds) > 0


@needs_libtpu
def test_what_is_too_large_is_said_not_to_fit() -> None:
    wide = dataclasses.replace(CONDITION, model=MLPConfig(hidden=(60_000, 60_000)))  # 14.4 GB of parameters
    topology = read_topology("v5e:2x2")
    with pytest.raises(DoesNotFit, match="Ran out of memory on HBM"):
        plan(members(1, wide), topology, MeshSizes())
    assert plan(members(1, wide), topology, MeshSizes(fsdp=4)).fits


@needs_libtpu
def test_the_command_line_plans_and_searches() -> None:
    planned = CliRunner().invoke(main, ["plan", "xor-benign/signal", "--topology", "v5e:2x2", "--scale", "smoke",
                                        "--mesh", "data=2"])  # fmt: skip
    assert planned.exit_code == 0, planned.output
    for word in ("fits", "exchange", "least time", "steps/s"):
        assert word in planned.output
    searched = CliRunner().invoke(
        main, ["plan", "xor-benign/signal", "--topology", "v5e:2x2", "--scale", "smoke", "--search", "2"]
    )
    assert searched.exit_code == 0, searched.output
    assert searched.output.count("yes") == 2
