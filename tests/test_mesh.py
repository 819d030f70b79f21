"""Populations over meshes of several devices: where everything lies, and that the values stay."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.condition import Condition, Numerics, Trajectory
from jaxgen.distributed.devices import TPUS
from jaxgen.distributed.mesh import MeshSizes, state_shardings
from jaxgen.errors import UserError
from jaxgen.experiments.grokfast.parts import MAFilter
from jaxgen.experiments.grokking_tickets.parts import EmbeddingMLPConfig
from jaxgen.models.config import MLPConfig, ModelConfig, TransformerConfig
from jaxgen.optimizers import AdamW, OptimizerConfig, OptimizerWrapper
from jaxgen.plan.collectives import collectives
from jaxgen.plan.compile import step_arguments
from jaxgen.plan.hlo import read_module
from jaxgen.plan.topology import Topology
from jaxgen.run.arguments import Interrupted, RunArguments, SilentObserver
from jaxgen.run.directory import PopulationDirectory
from jaxgen.run.loop import train
from jaxgen.run.rows import read_rows
from jaxgen.starts import From, MagnitudeMask
from jaxgen.starts.transforms import Start
from jaxgen.tasks.algebra.modular import ModularTask
from jaxgen.train.constants import stack_constants
from jaxgen.train.program import Program
from jaxgen.train.savings import Savings
from jaxgen.train.state import State
from tests.tiny_paper import invoke

SHARDING = Path(__file__).parent / "golden" / "sharding.txt"
COLLECTIVES = Path(__file__).parent / "golden" / "collectives.txt"
ADAMW = AdamW(learning_rate=1e-3, weight_decay=1.0)
TRANSFORMER = TransformerConfig(
    layers=1, width=16, heads=4, mlp_width=32, norm="pre", attention_bias=True, mlp_bias=True, output_bias=True,
    init="torch",
)  # fmt: skip
MLP = MLPConfig(hidden=(32, 16), batch_norm=True)
MODELS = {
    "transformer": TRANSFORMER,
    "mlp": MLP,
    "embedding_mlp": EmbeddingMLPConfig(embedding=16, hidden=32),
    "scanned": dataclasses.replace(TRANSFORMER, layers=3, scan_layers=True),
}


def condition(
    model: ModelConfig, optimizer: OptimizerConfig | OptimizerWrapper = ADAMW, batch_size: int | None = 32
) -> Condition:
    format_ = "a b =" if isinstance(model, TransformerConfig) else "a b"
    task = ModularTask(p=16, operation="x+y", format=format_, train_fraction=0.5)
    return Condition(name="a", task=task, model=model, optimizer=optimizer, steps=20, batch_size=batch_size)


def members(of: Condition, count: int = 4) -> list[Trajectory]:
    return [Trajectory(of, seed, str(seed)) for seed in range(count)]


@functools.cache
def trained(of: Condition, mesh: str | None, layout="sequential") -> tuple[State, np.ndarray]:
    """Returns the state and the training losses (M,) of four members after ten steps."""
    program = Program(of, layout, MeshSizes.parse(mesh).build() if mesh else None)
    constants = program.place(stack_constants(members(of), [None] * 4))
    state, _ = program.advance(program.init(constants, None), constants, jnp.int32(10))
    row, _ = program.measure(state, constants, True)
    return state, np.asarray(row["loss/train"])


@pytest.mark.long
@pytest.mark.parametrize(
    ("model", "layout", "mesh"),
    [
        pytest.param("transformer", "sequential", "data=8", marks=pytest.mark.long),
        pytest.param("transformer", "vmap", "data=2,fsdp=2,tensor=2", marks=pytest.mark.long),
        ("mlp", "vmap", "member=4,tensor=2"),
        pytest.param("embedding_mlp", "sequential", "member=2,fsdp=4", marks=pytest.mark.long),
    ],
)
def test_every_mesh_trains_as_one_device_does(model: str, layout, mesh: str) -> None:
    _, alone = trained(condition(MODELS[model]), None)
    state, spread = trained(condition(MODELS[model]), mesh, layout)
    # Sums in another order differ in the last bits, which ten steps of Adam carry on.
    np.testing.assert_allclose(spread, alone, rtol=1e-4)
    assert len(jax.tree.leaves(state.params)[0].sharding.device_set) == MeshSizes.parse(mesh).devices


@pytest.mark.long
def test_members_on_devices_of_their_own_start_alike() -> None:
    of = condition(TRANSFORMER)
    ours, theirs = (
        Program(of, "sequential", MeshSizes.parse(mesh).build() if mesh else None) for mesh in (None, "member=4")
    )
    constants = stack_constants(members(of), [None] * 4)
    for one, other in zip(
        jax.tree.leaves(ours.init(ours.place(constants), None)),
        jax.tree.leaves(theirs.init(theirs.place(constants), None)),
        strict=True,
    ):
        np.testing.assert_array_equal(np.asarray(one), np.asarray(other))


def test_no_device_holds_the_whole_state() -> None:
    program = Program(condition(TRANSFORMER), "sequential", MeshSizes(fsdp=4, tensor=2).build())
    state = program.init(program.place(stack_constants(members(program.condition), [None] * 4)), None)
    for tree in (state.params, state.opt_state):
        whole = sum(leaf.nbytes for leaf in jax.tree.leaves(tree))
        own = sum(leaf.addressable_shards[0].data.nbytes for leaf in jax.tree.leaves(tree))
        assert own < 0.4 * whole


def places(name: str) -> dict[str, tuple[tuple[int, ...], tuple]]:
    """Returns shape and PartitionSpec of every leaf of a model's state on fsdp=2,tensor=2, by dotted path."""
    mesh = MeshSizes(fsdp=2, tensor=2).build()
    optimizer = MAFilter(base=ADAMW, window=3, gain=1.0)  # its window is a further axis in front
    program = Program(condition(MODELS[name], optimizer), "sequential", mesh)
    state = jax.eval_shape(program.init, stack_constants(members(program.condition), [None] * 4), None)
    placed, _ = jax.tree.flatten_with_path(state_shardings(mesh, program.rules, state))
    shapes = [leaf.shape for leaf in jax.tree.leaves(state)]
    return {
        jax.tree_util.keystr(path, simple=True, separator="."): (shape, tuple(sharding.spec))
        for (path, sharding), shape in zip(placed, shapes, strict=True)
    }


def sharding_table() -> str:
    lines = []
    for name in MODELS:
        lines += ["", f"{name}, members first"]
        lines += [
            f"  {path.removeprefix('params.'):32} {shape!s:18} {spec}"
            for path, (shape, spec) in places(name).items()
            if path.startswith("params.")
        ]
    return "\n".join(lines).lstrip() + "\n"


def test_where_every_parameter_lies() -> None:
    """A change shows as a difference in tests/golden/sharding.txt, which `python -m tests.test_mesh` writes."""
    assert sharding_table() == SHARDING.read_text(encoding="utf-8")


def collectives_table() -> str:
    lines = ["exchanges of a step of the transformer, one member: kind, devices, times, bytes of a device's results"]
    of = members(condition(TRANSFORMER), 1)
    for mesh in ("data=8", "fsdp=8", "tensor=4"):
        sizes = MeshSizes.parse(mesh)
        topology = Topology("here", TPUS["v5e"], tuple(jax.devices()))
        program, state, constants = step_arguments(of, topology, sizes, Savings())
        module = read_module(program.update.lower(state, constants).compile().as_text())
        found = sorted(collectives(module, sizes.devices), key=lambda each: each.kind)
        lines += ["", mesh, *(f"  {each.kind:12} {each.group} {each.count:4} {each.bytes:8}" for each in found)]
    return "\n".join(lines) + "\n"


@pytest.mark.long
def test_what_devices_tell_each_other() -> None:
    """A change shows as a difference in tests/golden/collectives.txt, which `python -m tests.test_mesh` writes."""
    assert collectives_table() == COLLECTIVES.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", MODELS)
def test_the_optimiser_lies_as_the_parameters_do(name: str) -> None:
    found = places(name)
    parameters = {path.removeprefix("params."): spec for path, (_, spec) in found.items() if path.startswith("params.")}
    for path, (shape, spec) in found.items():
        of = [each for each in parameters if path.endswith(f".{each}")]
        expected = parameters[max(of, key=len)][1:] if of else ()
        assert spec == ("member", *(None,) * (len(shape) - 1 - len(expected)), *expected), path


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("dta=2", "did you mean 'data'"),
        ("data=0", "expected data=NUMBER"),
        ("data", "expected data=NUMBER"),
        ("data=2,data=4", "given twice"),
        ("data=2,", "no axis ''"),
    ],
)
def test_a_mesh_that_cannot_be_read(text: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        MeshSizes.parse(text)


@pytest.mark.parametrize(
    ("mesh", "said"),
    [
        ("member=3", "4 members cannot be spread over member=3"),
        ("data=3", "a batch of 32 examples cannot be spread over data=3 x fsdp=1.* 1, 2, 4, 8, 16, 32"),
        ("data=4,tensor=4", "takes 16 devices, but there are 8"),
    ],
)
def test_a_mesh_that_does_not_fit(mesh: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        check_and_build(MeshSizes.parse(mesh))


def check_and_build(sizes: MeshSizes) -> None:
    sizes.check(condition(TRANSFORMER), members=4)
    sizes.build()


def test_a_width_that_cannot_be_spread_is_named() -> None:
    odd = dataclasses.replace(TRANSFORMER, mlp_width=30)
    with pytest.raises(UserError, match=r"mlp.in.(bias|kernel) has a dimension of 30.*tensor=4"):
        trained(condition(odd), "tensor=4")


def test_masks_lie_as_their_parameters_do() -> None:
    of = dataclasses.replace(
        condition(MLPConfig(hidden=(32,))), start=From(condition="b", transforms=(MagnitudeMask(keep=0.5),))
    )
    program = Program(of, "sequential", MeshSizes(fsdp=2).build())
    params = jax.tree.map(lambda leaf: leaf[0], program.init(stack_constants(members(of, 1), [None]), None).params)
    start = Start(params, {}, mask=jax.tree.map(jnp.ones_like, params), parent_init={})
    constants = program.place(stack_constants(members(of, 2), [start, start]))
    state = program.init(constants, {"params": jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), params)})
    for mask, leaf in zip(jax.tree.leaves(constants.mask), jax.tree.leaves(state.params), strict=True):
        assert mask.sharding.is_equivalent_to(leaf.sharding, leaf.ndim)


class StopAt(SilentObserver):
    def __init__(self, step: int):
        self.step, self.seen = step, 0

    def advanced(self, step, rows):
        self.seen = step

    def stop_requested(self) -> bool:
        return self.seen >= self.step


def run(path: Path, of: Condition, observer: SilentObserver, **arguments) -> None:
    train(
        path, members(of), horizon=20, snapshot_steps={20}, starts=[None] * 4, observer=observer,
        arguments=RunArguments(chunk_seconds=0.0, **arguments),
    )  # fmt: skip


@pytest.mark.long
def test_a_run_resumes_on_its_mesh_bit_for_bit_and_on_another_if_allowed(tmp_path: Path) -> None:
    of, mesh = condition(MLP), MeshSizes.parse("member=2,fsdp=2")
    run(tmp_path / "whole", of, SilentObserver(), mesh=mesh)
    for name in ("same", "other"):
        with pytest.raises(Interrupted):
            run(tmp_path / name, of, StopAt(5), mesh=mesh)
    run(tmp_path / "same", of, SilentObserver())  # a begun run keeps its mesh
    with pytest.raises(UserError, match="mesh was member=2,data=1,fsdp=2,tensor=1, is member=1,data=4"):
        run(tmp_path / "other", of, SilentObserver(), mesh=MeshSizes(data=4))
    run(tmp_path / "other", of, SilentObserver(), mesh=MeshSizes(data=4), allow_drift=True)
    whole, same, other = (final_losses(tmp_path / name) for name in ("whole", "same", "other"))
    np.testing.assert_array_equal(same, whole)
    np.testing.assert_allclose(other, whole, rtol=1e-3)


def final_losses(path: Path) -> np.ndarray:
    rows = read_rows(PopulationDirectory(path).metrics_file)
    return np.array([row["values"]["loss/train"] for row in rows if row["step"] == 20])


def test_the_command_line_takes_a_mesh(tiny: Path) -> None:
    refused = invoke("reproduce", "tiny-paper/main", "--mesh", "member=5")
    assert refused.exit_code == 2
    assert "cannot be spread over member=5" in refused.output


INVARIANT = dataclasses.replace(condition(MLPConfig(hidden=(32, 16), dropout=0.1)), numerics=Numerics(logical_shards=8))


@pytest.mark.long
def test_logical_shards_give_the_same_bits_on_another_topology() -> None:
    alone, losses_alone = trained(INVARIANT, None)
    spread, losses = trained(INVARIANT, "member=2,data=4")
    assert losses.tobytes() == losses_alone.tobytes()
    for path, leaf in jax.tree.flatten_with_path(alone)[0]:
        other = np.asarray(dict(jax.tree.flatten_with_path(spread)[0])[path])
        assert np.asarray(leaf).tobytes() == other.tobytes(), jax.tree_util.keystr(path)


@pytest.mark.long
def test_logical_shards_compile_to_no_more_on_several_devices() -> None:
    """XLA without its simplifier once added transposes in each of its rounds: 4,639 of them, and minutes."""
    of = dataclasses.replace(condition(TRANSFORMER), numerics=Numerics(logical_shards=8))

    def transposes(mesh: str | None) -> int:
        program = Program(of, "sequential", MeshSizes.parse(mesh).build() if mesh else None)
        constants = program.place(stack_constants(members(of), [None] * 4))
        state = program.init(constants, None)
        return program.advance.lower(state, constants, jnp.int32(1)).compile().as_text().count(" transpose(")

    assert transposes("data=2") <= 2 * transposes(None)


@pytest.mark.long
def test_logical_shards_are_the_same_step_up_to_rounding() -> None:
    plain = condition(EmbeddingMLPConfig(embedding=16, hidden=32))
    _, losses = trained(dataclasses.replace(plain, numerics=Numerics(logical_shards=8)), None)
    np.testing.assert_allclose(losses, trained(plain, None)[1], rtol=1e-4)


@pytest.mark.parametrize(
    ("shards", "mesh", "of", "said"),
    [
        (8, "fsdp=2", condition(TRANSFORMER), "expected fsdp=1, tensor=1 and a data that divides 8"),
        (4, "data=8", condition(TRANSFORMER), "a data that divides 4"),
        (3, "data=1", condition(TRANSFORMER), "32 examples cannot be cut into 3 equal parts"),
        (8, "data=1", condition(MLP), "computes batch_stats from the whole batch"),
    ],
)
def test_logical_shards_are_refused_where_they_do_not_hold(
    shards: int, mesh: str, of: Condition, said: str, tmp_path: Path
) -> None:
    of = dataclasses.replace(of, numerics=Numerics(logical_shards=shards))
    with pytest.raises(UserError, match=said):
        train(
            tmp_path / "run", members(of), horizon=2, snapshot_steps=set(), starts=[None] * 4,
            observer=SilentObserver(), arguments=RunArguments(mesh=MeshSizes.parse(mesh)),
        )  # fmt: skip
    assert not (tmp_path / "run" / "run.json").exists()


if __name__ == "__main__":
    SHARDING.write_text(sharding_table(), encoding="utf-8")
    COLLECTIVES.write_text(collectives_table(), encoding="utf-8")
