"""Reads the collectives of a compiled program from its text."""

from __future__ import annotations

import dataclasses
import re
from collections import defaultdict

import numpy as np

from jaxgen.plan.hlo import Instruction, Module


@dataclasses.dataclass(frozen=True)
class Collective:
    """All collectives of one kind whose groups have the same size and the same number of devices in each node."""

    kind: str
    group: int  # devices in a group
    near: int  # devices of a group in one node, or connected by the same fast links
    count: int
    bytes: int  # of the results, per device
    sent: float  # bytes that a device sends, with ring algorithms


def collectives(module: Module, devices: int, node: int | None = None) -> list[Collective]:
    """Returns the collectives of a module, ordered by bytes sent, largest first.

    Args:
      module: the compiled program.
      devices: the number of devices that run it.
      node: the number of consecutive devices in a node; None: all devices.
    """
    counts: dict[tuple[str, int, int], int] = defaultdict(int)
    sizes: dict[tuple[str, int, int], int] = defaultdict(int)
    for kind, each, times in module.collectives():
        members = _group(each, devices)
        near = len(members) if node is None else _near(members, node)
        if len(members) == 1:
            continue
        key = kind, len(members), near
        counts[key] += times
        sizes[key] += times * _result(kind, each)
    found = [
        Collective(kind, group, near, counts[kind, group, near], size, size * _SENT[kind](group))
        for (kind, group, near), size in sizes.items()
    ]
    return sorted(found, key=lambda each: -each.sent)


# Bytes that each of n devices sends for each byte of its result, with a ring algorithm.
_SENT = {
    "all-reduce": lambda n: 2 * (n - 1) / n,
    "all-gather": lambda n: (n - 1) / n,
    "reduce-scatter": lambda n: n - 1,
    "all-to-all": lambda n: (n - 1) / n,
    "collective-permute": lambda n: 1,
}


def _result(kind: str, each: Instruction) -> int:
    if each.opcode == kind or kind == "all-reduce":
        return each.bytes
    # The start of an asynchronous collective returns its operands, its results, and internal numbers.
    arrays = [array for array in each.arrays if not array.scalar]
    return sum(array.bytes for array in arrays[len(arrays) // 2 :])


def _near(members: list[int], node: int) -> int:
    """Returns the smallest number of the group's devices that share a node."""
    _, counts = np.unique([member // node for member in members], return_counts=True)
    return int(np.min(counts))


def _group(each: Instruction, devices: int) -> list[int]:
    """Returns one group of a collective, as device numbers.

    Groups are written as `{{0,1},..}`, as `[groups,size]<=[..]T(..)`, or as axes of a named mesh.
    """
    text = each.attributes
    pairs = re.findall(r"\{(\d+),(\d+)\}", text) if "source_target_pairs" in text else []
    if pairs:
        return max(([int(source), int(target)] for source, target in pairs), key=lambda pair: abs(pair[0] - pair[1]))
    listed = re.search(r"replica_groups=\{\{([\d,]*)\}", text)
    if listed:
        return [int(member) for member in listed[1].split(",")]
    product = re.search(r"replica_groups=\[(\d+),(\d+)\]<=\[([\d,]+)\](?:T\(([\d,]+)\))?", text)
    if product:
        shape = [int(size) for size in product[3].split(",")]
        order = [int(axis) for axis in product[4].split(",")] if product[4] else range(len(shape))
        ordered = np.arange(np.prod(shape)).reshape(shape).transpose(order)
        return [int(member) for member in ordered.reshape(int(product[1]), int(product[2]))[0]]
    named = re.search(r"replica_groups=mesh\[([^\]]*)\] \{([^}]*)\}", text)
    if named:
        axes = dict(re.findall(r"'(\w+)'=(\d+)", named[1]))
        chosen = re.findall(r"'(\w+)'", named[2])
        ids = np.arange(np.prod([int(size) for size in axes.values()])).reshape([int(size) for size in axes.values()])
        first = tuple(slice(None) if axis in chosen else 0 for axis in axes)
        return [int(member) for member in ids[first].ravel()]
    return list(range(devices))
