"""Compiles one train step of a population for a mesh of devices that need not be here."""

from __future__ import annotations

import dataclasses
import re
import time
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from jaxgen.condition import Trajectory
from jaxgen.distributed.mesh import MeshSizes, constants_shardings, state_shardings
from jaxgen.plan.collectives import Collective, collectives
from jaxgen.plan.hlo import read_module
from jaxgen.plan.topology import Topology
from jaxgen.train.constants import stack_constants
from jaxgen.train.flops import matmul_flops
from jaxgen.train.program import Program
from jaxgen.train.savings import Savings

Tree = Any

TEMPORARIES = "temporaries"
OUTPUTS = "outputs"


@dataclasses.dataclass(frozen=True)
class Plan:
    """The needs of a train step of a whole population; bytes and seconds are per device."""

    topology: Topology
    mesh: MeshSizes
    savings: Savings
    members: int
    arguments: int  # bytes: state and constants
    outputs: int  # bytes that do not alias the arguments
    temporaries: int  # bytes
    largest: tuple[tuple[str, int], ...]  # the largest leaves of the arguments, with their bytes
    flops: int  # of matrix products, on all devices together
    compiled_flops: float  # of all operations, on one device, as the compiler counts them; 0 if it does not
    traffic: float  # bytes to and from memory
    exchanges: tuple[Collective, ...]
    compute_seconds: float
    memory_seconds: float
    network_seconds: float
    compile_seconds: float

    @property
    def bytes(self) -> int:
        """The memory needed on each device."""
        return self.arguments + self.outputs + self.temporaries

    @property
    def fits(self) -> bool:
        return self.bytes <= self.topology.device.memory

    @property
    def seconds(self) -> float:
        """The lower bound on the time of a step: the largest of compute, memory and network time."""
        return max(self.compute_seconds, self.memory_seconds, self.network_seconds)

    @property
    def bound(self) -> str:
        """Which of the three bounds the step."""
        times = {
            "compute": self.compute_seconds, "memory": self.memory_seconds, "network": self.network_seconds
        }  # fmt: skip
        return max(times, key=lambda name: times[name])

    @property
    def blamed(self) -> tuple[tuple[str, int], ...]:
        """The largest users of memory, with their bytes: leaves of the arguments, outputs, temporaries."""
        return _blamed(self.largest, self.temporaries, self.outputs)


class DoesNotFit(Exception):
    """The compiler could not fit the step into a device's memory.

    Attributes:
      blamed: the largest users of memory, with their bytes: leaves of the arguments, and temporaries if the compiler
      reported them.
    """

    def __init__(self, reason: str, blamed: tuple[tuple[str, int], ...]):
        super().__init__(reason)
        self.blamed = blamed


def plan(members: Sequence[Trajectory], topology: Topology, sizes: MeshSizes, savings: Savings | None = None) -> Plan:
    """Compiles the train step of a population for a mesh of the topology's devices.

    Raises:
      UserError: the mesh does not fit the population or the topology.
      DoesNotFit: the compiler ran out of memory; its message is the reason.
    """
    condition, savings = members[0].condition, savings or Savings()
    program, state, constants = step_arguments(members, topology, sizes, savings)
    mesh = program.mesh

    began = time.monotonic()
    traced = program.update.trace(state, constants)
    try:
        compiled = traced.lower().compile(compiler_options=dict(topology.compiler_options))
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" in str(error):
            reason = str(error).splitlines()[0].removeprefix("RESOURCE_EXHAUSTED: ")
            temporaries = _temporaries(reason, argument_bytes(state, constants))
            raise DoesNotFit(reason, _blamed(_largest(state, constants), temporaries)) from None
        raise
    seconds = time.monotonic() - began

    memory, module = compiled.memory_analysis(), read_module(compiled.as_text())
    exchanges = collectives(module, mesh.size, topology.node)
    flops, traffic = matmul_flops(traced.jaxpr.jaxpr), module.traffic()
    device, numerics = topology.device, condition.numerics
    rate = device.rate(numerics.compute_dtype, numerics.matmul_precision)
    return Plan(
        topology=topology,
        mesh=sizes,
        savings=savings,
        members=len(members),
        arguments=memory.argument_size_in_bytes,
        outputs=memory.output_size_in_bytes - memory.alias_size_in_bytes,
        temporaries=memory.temp_size_in_bytes,
        largest=_largest(state, constants),
        flops=flops,
        compiled_flops=_compiled_flops(compiled),
        traffic=traffic,
        exchanges=tuple(exchanges),
        compute_seconds=flops / mesh.size / rate,
        memory_seconds=traffic / device.bandwidth,
        network_seconds=sum(each.sent / topology.network(each.near) for each in exchanges),
        compile_seconds=seconds,
    )


def step_arguments(
    members: Sequence[Trajectory], topology: Topology, sizes: MeshSizes, savings: Savings
) -> tuple[Program, Tree, Tree]:
    """Returns the program of a population on the topology, and the shapes of its state and constants with shardings.

    Raises:
      UserError: the mesh does not fit the population or the topology.
    """
    condition = members[0].condition
    sizes.check(condition, len(members))
    savings.check(condition, sizes)
    mesh = sizes.build(topology.devices)
    program = Program(condition, "sequential" if condition.numerics.logical_shards else "vmap", mesh, savings)
    constants = jax.eval_shape(lambda: stack_constants(members, [None] * len(members)))
    constants = _placed(constants, constants_shardings(mesh, program.rules, constants))
    state = jax.eval_shape(program.init, constants, None)
    return program, _placed(state, state_shardings(mesh, program.rules, state)), constants


def argument_bytes(state: Tree, constants: Tree) -> int:
    """Returns the bytes per device of a step's arguments."""
    return sum(_bytes(leaf) for leaf in jax.tree.leaves((state, constants)))


def _placed(tree: Tree, shardings: Tree) -> Tree:
    return jax.tree.map(
        lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), tree, shardings
    )


def _compiled_flops(compiled: Any) -> float:
    costs = compiled.cost_analysis()
    costs = costs[0] if isinstance(costs, list) else costs
    return costs.get("flops", 0.0) if costs else 0.0


def _temporaries(reason: str, arguments: int) -> int:
    """Reads the bytes of temporaries from the compiler's message, or its total less the arguments; else 0."""
    told = re.search(r"temporaries \(([\d.]+)([KMGT]?)\)", reason)
    whole = re.search(r"Used ([\d.]+)([KMGT]?)", reason)
    match = told or whole
    if match is None:
        return 0
    size = round(float(match[1]) * 1024 ** " KMGT".index(match[2] or " "))
    return size if told else max(0, size - arguments)


def _blamed(largest: tuple[tuple[str, int], ...], temporaries: int, outputs: int = 0) -> tuple[tuple[str, int], ...]:
    sizes = [*largest, (TEMPORARIES, temporaries), (OUTPUTS, outputs)]
    return tuple(sorted((each for each in sizes if each[1]), key=lambda each: -each[1]))


def _largest(state: Tree, constants: Tree, count: int = 5) -> tuple[tuple[str, int], ...]:
    leaves = jax.tree.flatten_with_path({"state": state, "constants": constants})[0]
    sizes = {str(jax.tree_util.keystr(path, simple=True, separator=".")): _bytes(leaf) for path, leaf in leaves}
    return tuple(sorted(sizes.items(), key=lambda item: -item[1])[:count])


def _bytes(leaf: Any) -> int:
    return int(np.prod(leaf.sharding.shard_shape(leaf.shape), dtype=np.int64)) * leaf.dtype.itemsize
