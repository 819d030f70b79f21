"""Which meshes to try for a population on a number of devices."""

from __future__ import annotations

import math
from collections.abc import Sequence

from jaxgen.experiment import Trajectory
from jaxgen.train.mesh import MeshSizes, examples_a_step


def meshes(members: Sequence[Trajectory], devices: int) -> list[MeshSizes]:
    """Returns every mesh that takes all devices and spreads members and examples evenly, the likely ones first.

    Members apart come before examples apart, those before parameters apart, and heads apart come last.
    """
    found = [
        MeshSizes(member=member, data=data, fsdp=fsdp, tensor=devices // (member * data * fsdp))
        for member in _divisors(math.gcd(devices, len(members)))
        for data in _divisors(devices // member)
        for fsdp in _divisors(devices // (member * data))
        if examples_a_step(members[0].condition) % (data * fsdp) == 0
    ]
    return sorted(found, key=lambda each: (each.tensor, each.fsdp, -each.member))


def _divisors(number: int) -> list[int]:
    return [each for each in range(1, number + 1) if number % each == 0]
