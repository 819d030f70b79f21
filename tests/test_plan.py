"""Plans: operations and bytes counted, exchanges read, meshes tried; steps compiled where a compiler is installed."""

from __future__ import annotations

import dataclasses
import importlib.util
import re

import jax
import jax.numpy as jnp
import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from jaxgen.cli import main
from jaxgen.condition import Condition, Trajectory
from jaxgen.distributed.devices import GPUS, Device
from jaxgen.distributed.mesh import MeshSizes, spread_members_then_examples
from jaxgen.errors import UserError
from jaxgen.models.config import MLPConfig, TransformerConfig
from jaxgen.optimizers import SGD
from jaxgen.plan.collectives import Collective, collectives
from jaxgen.plan.compile import DoesNotFit, _temporaries, plan
from jaxgen.plan.hlo import read_module
from jaxgen.plan.search import meshes, saving_more
from jaxgen.plan.topology import Topology, read_topology
from jaxgen.tasks.algebra.modular import ModularTask
from jaxgen.tasks.features.slab import SlabTask
from jaxgen.train.constants import stack_constants
from jaxgen.train.flops import matmul_flops
from jaxgen.train.program import Program
from jaxgen.train.savings import Savings
from tests.tiny_paper import invoke

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


@pytest.mark.long
def test_operations_agree_with_the_compilers_own_count() -> None:
    """The compiler counts every operation, so a little more than matrix products, which are nearly all of this step."""
    wide = dataclasses.replace(
        CONDITION,
        task=ModularTask(p=31, train_fraction=0.5),
        model=TransformerConfig(layers=2, width=256, heads=4, mlp_width=1024, norm="pre", init="gpt2"),
        batch_size=256,
    )
    made = plan(members(1, wide), cpu(), MeshSizes())
    assert made.flops <= made.compiled_flops <= 1.1 * made.flops


MODULE = """
%turn (p: (s32[], f32[8,4])) -> (s32[], f32[8,4]) {
  %p = (s32[], f32[8,4]{1,0}) parameter(0)
  %e = f32[2,8]{1,0} reduce-scatter(%p), channel_id=5, replica_groups=[2,4]<=[8], dimensions={0}
}

%below (p.1: (s32[], f32[8,4])) -> pred[] {
  %p.1 = (s32[], f32[8,4]{1,0}) parameter(0)
  %i = s32[] get-tuple-element(%p.1), index=0
  %end = s32[]{:T(128)} constant(7)
  ROOT %lt = pred[] compare(%i, %end), direction=LT
}

%beside (q: f32[8,8]) -> f32[8,8] {
  %q = f32[8,8]{1,0} parameter(0)
  ROOT %again = f32[8,8]{1,0} all-gather(%q), channel_id=6, replica_groups=[4,2]<=[2,4]T(1,0)
}

ENTRY %main (x: f32[16,128]) -> f32[16,128] {
  %x = f32[16,128]{1,0} parameter(0)
  %a = f32[16,128]{1,0:T(8,128)} all-reduce(%x), channel_id=1, replica_groups={{0,1,2,3},{4,5,6,7}}, to_apply=%add
  %b = (f32[8]{0}, bf16[4,2]{1,0}) all-reduce(%x, %y), replica_groups=[4,2]<=[8], to_apply=%add
  %c = (f32[4,8]{1,0}, f32[8,8]{1,0}) all-gather-start(%x), replica_groups=mesh['a'=4,'b'=2] {'b'}
  %d = f32[8,8]{1,0} all-gather-done(%c)
  %g = f32[8,8]{1,0} fusion(%x), kind=kCustom, calls=%beside
  %h = f32[8,8]{1,0} all-gather(%x), channel_id=6, replica_groups=[4,2]<=[2,4]T(1,0)
  %w = (s32[], f32[8,4]{1,0}) while(%t), condition=%below, body=%turn
  %alone = f32[8,8]{1,0} all-reduce(%x), replica_groups={{0},{1}}, to_apply=%add
  ROOT %f = f32[16,128]{1,0} add(%all-reduce.1, %x)
}
"""


def test_exchanges_are_read() -> None:
    found = {(each.kind, each.group, each.near): each for each in collectives(read_module(MODULE), devices=8, node=4)}
    kilobytes = 16 * 128 * 4
    assert found.pop(("all-reduce", 4, 4)) == Collective("all-reduce", 4, 4, 1, kilobytes, kilobytes * 2 * 3 / 4)
    assert found.pop(("all-reduce", 2, 2)) == Collective("all-reduce", 2, 2, 1, 48, 48 * 2 * 1 / 2)
    assert found.pop(("all-gather", 2, 2)) == Collective("all-gather", 2, 2, 1, 256, 256 * 1 / 2)
    # Devices 0 and 4 are in two nodes; the two lines of one channel are one exchange.
    assert found.pop(("all-gather", 2, 1)) == Collective("all-gather", 2, 1, 1, 256, 256 * 1 / 2)
    # In a loop of seven turns.
    assert found.pop(("reduce-scatter", 4, 4)) == Collective("reduce-scatter", 4, 4, 7, 7 * 64, 7 * 64 * 3)
    assert not found


def moved(function, *shapes: tuple[int, ...]) -> int:
    compiled = jax.jit(function).lower(*(jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes)).compile()
    return read_module(compiled.as_text()).traffic()


def test_bytes_to_and_from_memory_are_counted() -> None:
    """Operands and results once each; of stacked parameters one layer a turn."""
    assert moved(lambda a, b: a @ b, (64, 32), (32, 16)) == 4 * (64 * 32 + 32 * 16 + 64 * 16)
    assert moved(lambda a: jnp.tanh(a) + 1, (64, 32)) == 4 * 2 * 64 * 32

    def layers(x, w_LDD):
        return jax.lax.scan(lambda x, w_DD: (jnp.tanh(x @ w_DD), None), x, w_LDD)[0]

    few, many = (moved(layers, (8, 64), (count, 64, 64)) for count in (4, 12))
    assert 4 * 64 * 64 <= (many - few) / 8 <= 4 * 4 * 64 * 64


CHIP = """
ENTRY %main (x: f32[64,16]) -> f32[16,16] {
  %x = f32[64,16]{1,0} parameter(0)
  %s = ((f32[64,16]{1,0}), f32[8,16]{1,0:T(8,128)S(1)}, s32[]{:S(2)}) slice-start(%x), slice={[0:8], [0:16]}
  %d = f32[8,16]{1,0:T(8,128)S(1)} slice-done(%s)
  %c = (f32[8,16]{1,0}, f32[8,16]{1,0:S(1)}, u32[]{:S(2)}) copy-start(%d)
  %e = f32[8,16]{1,0} copy-done(%c)
  %m = (f32[8,8]{1,0}, s8[4096]{0}) custom-call(%e, %e), custom_call_target="__cublas$lt$matmul"
  %r = f32[8,8]{1,0} get-tuple-element(%m), index=0
  ROOT %n = f32[8,8]{1,0:S(1)} negate(%r)
}
"""


def test_what_stays_on_the_chip_moves_nothing_to_or_from_memory() -> None:
    sliced, copied, product, negated = 8 * 16, 8 * 16, 2 * 8 * 16 + 8 * 8, 8 * 8
    assert read_module(CHIP).traffic() == 4 * (sliced + copied + product + negated)


def test_exchanges_between_nodes_go_by_the_adapters_of_all_devices_that_take_part() -> None:
    nodes = Topology("h100:2x8", GPUS["h100"], (), node=8)
    assert nodes.network(near=1) == 50e9
    assert nodes.network(near=4) == 200e9
    assert Topology("h100:8", GPUS["h100"], ()).network(near=8) == 450e9


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
    [
        ("v5q:2x4", "did you mean 'v5"),
        ("v5e", "expected the shape"),
        ("v5e:8", "expected the shape"),
        ("h200", "expected nodes x GPUs"),
        ("h200:2x2x8", "expected nodes x GPUs"),
        ("h200:0x8", "expected nodes x GPUs"),
    ],
)
def test_a_topology_that_cannot_be_read(name: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        read_topology(name)


@pytest.mark.parametrize(("topology", "extra"), [("v5e:2x4", "tpu"), ("h200:8", "cuda13")])
def test_without_a_compiler_one_line_says_what_to_install(
    topology: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    result = invoke("plan", "nanda-modadd/mainline", "--topology", topology)
    assert result.exit_code == 2
    assert f'pip install "jaxgen[{extra}]"' in result.output


def cpu(memory: float = 1e9) -> Topology:
    """Returns the devices that are here, with as much memory as the test wants them to have."""
    device = Device("CPU", "cpu", 1e12, {"default": 1e12, "high": 1e12, "highest": 1e12}, memory, 1e10, 1e9)
    return Topology("cpu", device, tuple(jax.devices()))


def plan_here(monkeypatch: pytest.MonkeyPatch, memory: float, *arguments: str) -> Result:
    monkeypatch.setattr("jaxgen.cli.plan.read_topology", lambda name: cpu(memory))
    return CliRunner().invoke(
        main, ["plan", "xor-benign/signal", "--topology", "v5e:2x4", "--scale", "smoke", *arguments]
    )


@pytest.mark.long
def test_what_does_not_fit_is_blamed_and_a_mesh_that_does_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    wide = ["--set", "model.width=4096"]
    needed = re.search(r"fits: ([\d.]+) (.)B", plan_here(monkeypatch, 1e12, *wide, "--mesh", "fsdp=1").output)
    assert needed is not None
    memory = 0.7 * float(needed[1]) * {"k": 1e3, "M": 1e6}[needed[2]]
    failed = plan_here(monkeypatch, memory, *wide, "--mesh", "fsdp=1")
    assert failed.exit_code == 1, failed.output
    assert "does not fit" in failed.output
    assert re.search(r"largest +(state\.params\.\S+|temporaries) ", failed.output)
    command = failed.output.splitlines()[-1]
    assert command.startswith("jaxgen plan xor-benign/signal --topology v5e:2x4 --scale smoke --set model.width=4096")
    fitting = plan_here(monkeypatch, memory, *wide, "--mesh", command.split()[-1])
    assert fitting.exit_code == 0, fitting.output
    # Nothing fits into so little, and that is said without compiling anything.
    hopeless = plan_here(monkeypatch, 1e3, *wide, "--mesh", "fsdp=1")
    assert hopeless.exit_code == 1
    assert "No mesh fits among 0 more compiled" in hopeless.output


def test_the_compilers_words_on_what_it_needs_are_read() -> None:
    assert _temporaries("the total memory required for HLO temporaries (2.5G) exceeds (1G).", 7) == 2.5 * 2**30
    assert _temporaries("Ran out of memory in memory space hbm. Used 2K of 1K hbm.", 7) == 2048 - 7
    assert _temporaries("No room.", 7) == 0


needs_libtpu = pytest.mark.skipif(
    importlib.util.find_spec("libtpu") is None, reason="libtpu is not installed: make compile-tpu"
)


@needs_libtpu
def test_a_step_compiles_for_a_tpu() -> None:
    made = plan(members(4), read_topology("v5e:2x4"), MeshSizes(member=4, data=2))
    assert made.fits
    assert made.flops == 4 * 2 * B * (2 * D * H + 3 * H * V)
    assert made.compiled_flops * 8 >= made.flops
    assert made.traffic > 2 * 4 * (D * H + H * V)  # parameters there and back
    assert {each.group for each in made.exchanges} == {2}  # members tell each other nothing
    assert made.seconds == max(made.compute_seconds, made.memory_seconds, made.network_seconds) > 0


@needs_libtpu
def test_what_is_too_large_is_said_not_to_fit() -> None:
    wide = dataclasses.replace(CONDITION, model=MLPConfig(hidden=(60_000, 60_000)))  # 14.4 GB of parameters
    topology = read_topology("v5e:2x2")
    with pytest.raises(DoesNotFit, match="Ran out of memory on HBM") as caught:
        plan(members(1, wide), topology, MeshSizes())
    assert caught.value.blamed[0][0] == "temporaries"  # gradients among them
    assert caught.value.blamed[1] == ("state.params.layer_1.kernel", 4 * 60_000**2)
    assert plan(members(1, wide), topology, MeshSizes(fsdp=4)).fits


@needs_libtpu
def test_the_command_line_plans_and_searches() -> None:
    planned = invoke("plan", "xor-benign/signal", "--topology", "v5e:2x2", "--scale", "smoke",
                                        "--mesh", "data=2")  # fmt: skip
    assert planned.exit_code == 0, planned.output
    for word in ("fits", "exchange", "least time", "steps/s"):
        assert word in planned.output
    searched = CliRunner().invoke(
        main, ["plan", "xor-benign/signal", "--topology", "v5e:2x2", "--scale", "smoke", "--search", "2"]
    )
    assert searched.exit_code == 0, searched.output
    assert searched.output.count("yes") == 2


needs_cuda = pytest.mark.skipif(
    importlib.util.find_spec("jax_cuda13_plugin") is None, reason="no CUDA plugin: make compile-cuda"
)


@needs_cuda
@pytest.mark.parametrize("kind", list(GPUS))
def test_a_step_compiles_for_a_gpu(kind: str) -> None:
    made = plan(members(4), read_topology(f"{kind}:8"), MeshSizes(member=4, data=2))
    assert made.fits
    assert made.flops == 4 * 2 * B * (2 * D * H + 3 * H * V)
    assert {(each.group, each.near) for each in made.exchanges} == {(2, 2)}
    assert made.traffic > 2 * 4 * (D * H + H * V)  # parameters there and back


@needs_cuda
def test_a_step_compiles_for_nodes_of_gpus() -> None:
    topology = read_topology("h100:2x8")
    assert len(topology.devices) == 16
    assert {(each.group, each.near) for each in plan(members(1), topology, MeshSizes(data=16)).exchanges} == {(16, 8)}
    spread = plan(members(1), topology, MeshSizes(data=2, fsdp=8))
    assert (8, 8) in {(each.group, each.near) for each in spread.exchanges}  # parameters come together in a node
