"""One train step of a population, compiled for a mesh of devices that need not be here."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from jaxgen.experiment import Trajectory
from jaxgen.plan.collectives import Collective, collectives
from jaxgen.plan.flops import matmul_flops
from jaxgen.plan.topology import Topology
from jaxgen.train.loop import stack_constants
from jaxgen.train.mesh import MeshSizes, constants_shardings, state_shardings
from jaxgen.train.program import Program
from jaxgen.train.savings import Savings

Tree = Any

# Of the bfloat16 peak, what is left to float32 products at each precision: they are made of 1, 3 or 6 of those.
_PRODUCTS = {"default": 1, "high": 3, "highest": 6}


@dataclasses.dataclass(frozen=True)
class Plan:
    """What a train step of a whole population needs; bytes and seconds are of one device."""

    topology: Topology
    mesh: MeshSizes
    savings: Savings
    members: int
    arguments: int  # bytes: state and constants
    outputs: int  # bytes that are not the arguments' own
    temporaries: int  # bytes
    largest: tuple[tuple[str, int], ...]  # leaves of the arguments, by bytes
    flops: int  # of matrix products, on all devices together
    compiled_flops: float  # of all operations, on one device, as the compiler counts them
    traffic: float  # bytes to and from memory
    exchanges: tuple[Collective, ...]
    compute_seconds: float
    memory_seconds: float
    network_seconds: float
    compile_seconds: float

    @property
    def bytes(self) -> int:
        """The memory that a device needs."""
        return self.arguments + self.outputs + self.temporaries

    @property
    def fits(self) -> bool:
        return self.bytes <= self.topology.device.memory

    @property
    def seconds(self) -> float:
        """The least time of a step: that of the slowest of computing, memory and network."""
        return max(self.compute_seconds, self.memory_seconds, self.network_seconds)

    @property
    def bound(self) -> str:
        """Which of the three is slowest."""
        times = {
            "compute": self.compute_seconds, "memory": self.memory_seconds, "network": self.network_seconds
        }  # fmt: skip
        return max(times, key=lambda name: times[name])


class DoesNotFit(Exception):
    """The compiler found no way to fit the step into the memory of a device."""


def plan(members: Sequence[Trajectory], topology: Topology, sizes: MeshSizes, savings: Savings | None = None) -> Plan:
    """Compiles the train step of a population for a mesh of the topology's devices.

    Raises:
      UserError: the mesh does not fit the population or the topology.
      DoesNotFit: the compiler ran out of memory; its message is the reason.
    """
    condition, savings = members[0].condition, savings or Savings()
    sizes.check(condition, len(members))
    savings.check(condition, sizes)
    mesh = sizes.build(topology.devices)
    program = Program(condition, "vmap", mesh, savings)
    constants = jax.eval_shape(lambda: stack_constants(members, [None] * len(members)))
    constants = _placed(constants, constants_shardings(mesh, program.rules, constants))
    state = jax.eval_shape(program.init, constants, None)
    state = _placed(state, state_shardings(mesh, program.rules, state))

    began = time.monotonic()
    traced = program.update.trace(state, constants)
    try:
        compiled = traced.lower().compile()
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" in str(error):
            raise DoesNotFit(str(error).splitlines()[0].removeprefix("RESOURCE_EXHAUSTED: ")) from None
        raise
    seconds = time.monotonic() - began

    memory, costs = compiled.memory_analysis(), _costs(compiled)
    exchanges = collectives(compiled.as_text(), mesh.size)
    flops = matmul_flops(traced.jaxpr.jaxpr)
    device, numerics = topology.device, condition.numerics
    products = 1 if numerics.compute_dtype == "bfloat16" else _PRODUCTS[numerics.matmul_precision]
    return Plan(
        topology=topology,
        mesh=sizes,
        savings=savings,
        members=len(members),
        arguments=memory.argument_size_in_bytes,
        outputs=memory.output_size_in_bytes - memory.alias_size_in_bytes,
        temporaries=memory.temp_size_in_bytes,
        largest=_largest({"state": state, "constants": constants}),
        flops=flops,
        compiled_flops=costs.get("flops", 0.0),
        traffic=costs.get("bytes accessed", 0.0),
        exchanges=tuple(exchanges),
        compute_seconds=flops / mesh.size * products / device.flops,
        memory_seconds=costs.get("bytes accessed", 0.0) / device.bandwidth,
        network_seconds=sum(each.sent for each in exchanges) / device.network,
        compile_seconds=seconds,
    )


def _placed(tree: Tree, shardings: Tree) -> Tree:
    return jax.tree.map(
        lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), tree, shardings
    )


def _costs(compiled: Any) -> dict[str, float]:
    costs = compiled.cost_analysis()
    return (costs[0] if isinstance(costs, list) else costs) or {}


def _largest(tree: Tree, count: int = 5) -> tuple[tuple[str, int], ...]:
    sizes = {
        str(jax.tree_util.keystr(path, simple=True, separator=".")): int(
            np.prod(leaf.sharding.shard_shape(leaf.shape), dtype=np.int64) * leaf.dtype.itemsize
        )
        for path, leaf in jax.tree.flatten_with_path(tree)[0]
    }
    return tuple(sorted(sizes.items(), key=lambda item: -item[1])[:count])
