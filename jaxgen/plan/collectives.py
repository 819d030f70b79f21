"""What the devices of a compiled program tell each other, read from its text."""

from __future__ import annotations

import dataclasses
import math
import re
from collections import defaultdict

_BYTES = {"pred": 1, "s8": 1, "u8": 1, "s16": 2, "u16": 2, "bf16": 2, "f16": 2, "s32": 4, "u32": 4, "f32": 4, "s64": 8,
          "u64": 8, "f64": 8}  # fmt: skip
_COLLECTIVE = re.compile(
    r" = (?P<type>.*?) (?P<kind>all-reduce|all-gather|reduce-scatter|all-to-all|collective-permute)(?P<start>-start)?\("
)
_ARRAY = re.compile(r"\b([a-z]+\d*)\[([\d,]*)\]")


@dataclasses.dataclass(frozen=True)
class Collective:
    """All exchanges of one kind among groups of one size."""

    kind: str
    group: int  # devices that exchange with each other
    count: int
    bytes: int  # that a device holds of the results
    sent: float  # bytes that a device sends, in rings


def collectives(text: str, devices: int) -> list[Collective]:
    """Returns the exchanges of a compiled module's text, those that send most first; one in a loop counts once."""
    counts: dict[tuple[str, int], int] = defaultdict(int)
    sizes: dict[tuple[str, int], int] = defaultdict(int)
    for line in text.splitlines():
        match = _COLLECTIVE.search(line)
        if match is None:
            continue
        arrays = [_size(kind, shape) for kind, shape in _ARRAY.findall(match["type"])]
        # What starts an exchange gives its operands too, and the result is the larger.
        size = max(arrays, default=0) if match["start"] and match["kind"] != "all-reduce" else sum(arrays)
        key = match["kind"], _group(line, devices)
        counts[key] += 1
        sizes[key] += size
    found = [
        Collective(kind, group, counts[kind, group], size, size * _SENT[kind](group))
        for (kind, group), size in sizes.items()
    ]
    return sorted(found, key=lambda each: -each.sent)


# Bytes that each of n devices sends for a byte of its result, in a ring.
_SENT = {
    "all-reduce": lambda n: 2 * (n - 1) / n,
    "all-gather": lambda n: (n - 1) / n,
    "reduce-scatter": lambda n: n - 1,
    "all-to-all": lambda n: (n - 1) / n,
    "collective-permute": lambda n: 1,
}


def _size(kind: str, shape: str) -> int:
    return _BYTES.get(kind, 0) * math.prod(int(each) for each in shape.split(",") if each)


def _group(line: str, devices: int) -> int:
    """Returns how many devices are in a group: `{{0,1},..}`, `[groups,size]<=..`, or axes of a named mesh."""
    listed = re.search(r"replica_groups=\{\{([\d,]*)\}", line)
    if listed:
        return listed[1].count(",") + 1
    product = re.search(r"replica_groups=\[(\d+),(\d+)\]<=", line)
    if product:
        return int(product[2])
    named = re.search(r"replica_groups=mesh\[([^\]]*)\] \{([^}]*)\}", line)
    if named:
        axes = dict(re.findall(r"'(\w+)'=(\d+)", named[1]))
        return math.prod(int(axes[axis]) for axis in re.findall(r"'(\w+)'", named[2]))
    return devices
