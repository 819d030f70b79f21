"""Counts the floating point operations of the matrix products in a traced program."""

from __future__ import annotations

import math
from typing import Any

from jax.extend import core


def matmul_flops(jaxpr: Any) -> int:
    """Returns the floating point operations of all matrix products of a jaxpr, two for each multiply and add.

    A scan counts once for each iteration, a conditional as its largest branch, a loop of unknown length as one
    iteration, and a kernel once for each point of its grid. In a `shard_map` the parts of all devices are counted.
    """
    return sum(_equation_flops(equation) for equation in jaxpr.eqns)


def _equation_flops(equation: Any) -> int:
    if equation.primitive.name == "dot_general":
        (left, right) = (variable.aval.shape for variable in equation.invars)
        (contracted, _), (batch, _) = equation.params["dimension_numbers"]
        depth = math.prod(left[i] for i in contracted)
        return 2 * math.prod(left) * math.prod(right) // (depth * math.prod(left[i] for i in batch))
    inner = [matmul_flops(each) for each in _jaxprs(equation.params)]
    if not inner:
        return 0
    if equation.primitive.name == "cond":
        return max(inner)
    if equation.primitive.name == "scan":
        return int(sum(inner) * equation.params["length"])
    if equation.primitive.name == "pallas_call":
        return sum(inner) * math.prod(equation.params["grid_mapping"].grid)
    if equation.primitive.name == "shard_map":
        manual = equation.params["newly_manual_axes"]
        return sum(inner) * math.prod(size for axis, size in equation.params["mesh"].shape.items() if axis in manual)
    return sum(inner)


def _jaxprs(params: dict[str, Any]) -> list[Any]:
    found = []
    for value in params.values():
        for each in value if isinstance(value, (tuple, list)) else [value]:
            if isinstance(each, core.ClosedJaxpr):
                found.append(each.jaxpr)
            elif isinstance(each, core.Jaxpr):
                found.append(each)
    return found
