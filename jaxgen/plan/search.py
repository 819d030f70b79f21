"""Which meshes to try for a population on a number of devices."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

from jaxgen.experiment import Trajectory
from jaxgen.models.config import TransformerConfig
from jaxgen.train.mesh import MeshSizes, examples_a_step
from jaxgen.train.savings import Savings


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


def saving_more(members: Sequence[Trajectory], savings: Savings) -> Savings | None:
    """Returns what to try where a step does not fit with `savings`; None: there is no more to try."""
    if savings.remat == "block" or not isinstance(members[0].condition.model, TransformerConfig):
        return None
    return dataclasses.replace(savings, remat="block")


def _divisors(number: int) -> list[int]:
    return [each for each in range(1, number + 1) if number % each == 0]
