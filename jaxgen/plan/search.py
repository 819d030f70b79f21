"""Chooses the meshes to try for a population on a number of devices."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

from jaxgen.condition import Trajectory
from jaxgen.distributed.mesh import MeshSizes, examples_a_step
from jaxgen.errors import UserError
from jaxgen.plan.compile import DoesNotFit, Plan, argument_bytes, plan, step_arguments
from jaxgen.plan.topology import Topology
from jaxgen.train.savings import Savings


def meshes(members: Sequence[Trajectory], devices: int) -> list[MeshSizes]:
    """Returns every mesh that uses all devices and shards members and examples evenly, the likely ones first.

    Meshes that shard members come first, then those that shard examples, then parameters, and last heads.
    """
    found = [
        MeshSizes(member=member, data=data, fsdp=fsdp, tensor=devices // (member * data * fsdp))
        for member in _divisors(math.gcd(devices, len(members)))
        for data in _divisors(devices // member)
        for fsdp in _divisors(devices // (member * data))
        if examples_a_step(members[0].condition) % (data * fsdp) == 0
    ]
    return sorted(found, key=lambda each: (each.tensor, each.fsdp, -each.member))


def saving_more(members: Sequence[Trajectory], savings: Savings) -> Savings | None:
    """Returns the next savings to try if a step does not fit with `savings`; None if there are no more."""
    if savings.remat == "block" or not members[0].condition.model.has_blocks():
        return None
    return dataclasses.replace(savings, remat="block")


def find_fitting(
    members: Sequence[Trajectory], topology: Topology, failed: MeshSizes, savings: Savings, most: int
) -> tuple[Plan | None, int]:
    """Returns the plan of a mesh other than `failed` that fits, if it finds one, and how many it compiled.

    It compiles at most `most`. Meshes that shard members and parameters come first, because they need least memory. It
    skips meshes whose state alone is larger than the memory.
    """
    tried = 0
    for sizes in sorted(
        meshes(members, len(topology.devices)), key=lambda each: (each.tensor, -each.member, each.data)
    ):
        if tried == most:
            break
        if sizes == failed:
            continue
        try:
            _, state, constants = step_arguments(members, topology, sizes, savings)
            if argument_bytes(state, constants) > topology.device.memory:
                continue
            tried += 1
            made = plan(members, topology, sizes, savings)
        except (DoesNotFit, UserError):
            continue
        if made.fits:
            return made, tried
    return None, tried


def _divisors(number: int) -> list[int]:
    return [each for each in range(1, number + 1) if number % each == 0]
