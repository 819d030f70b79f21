"""Reads the text of a compiled module: its instructions, how often each runs, and the bytes that they move."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterator, Mapping

_BYTES = {"pred": 1, "s8": 1, "u8": 1, "s16": 2, "u16": 2, "bf16": 2, "f16": 2, "s32": 4, "u32": 4, "f32": 4, "s64": 8,
          "u64": 8, "f64": 8, "c64": 8, "c128": 16}  # fmt: skip
_ARRAY = re.compile(r"\b([a-z]+\d*)\[([\d,]*)\](\{[^}]*\})?")
_HEAD = re.compile(r"^(ENTRY )?%?([\w.-]+) \(.*\{$")
_INSTRUCTION = re.compile(r"^\s+(ROOT )?%?([\w.-]+) = ")
_NAME = re.compile(r"%([\w.-]+)")
# Attributes that name computations which run as part of this one, and not inside one of its instructions.
_CALLED = re.compile(
    r"(?:condition|body|true_computation|false_computation|branch_computations|calls|to_apply)="
    r"\{?(%[^ ,}]+(?:, %[^ ,}]+)*)"
)
# Instructions that move no bytes themselves: names, and the second halves of asynchronous pairs.
_FREE = {
    "parameter", "constant", "tuple", "get-tuple-element", "bitcast", "while", "conditional", "call", "after-all",
    "partition-id", "replica-id", "async-start", "async-update", "async-done", "copy-done", "slice-done",
    "dynamic-slice-done", "opt-barrier",
}  # fmt: skip
_COLLECTIVE = re.compile(
    r"(?P<kind>all-reduce|all-gather|reduce-scatter|all-to-all|collective-permute)(?P<half>-start|-done)?"
)
_SLICES = {"dynamic-slice", "slice", "gather"}


@dataclasses.dataclass(frozen=True)
class Array:
    """One array of a result."""

    bytes: int
    in_memory: bool  # in the device's main memory, not in on-chip memory as on TPUs
    scalar: bool


@dataclasses.dataclass(frozen=True)
class Instruction:
    """One line of a computation."""

    name: str
    opcode: str
    arrays: tuple[Array, ...]  # of its result, with tuples flattened
    operands: tuple[str, ...]
    attributes: str  # the text after the operands
    root: bool

    @property
    def bytes(self) -> int:
        """The size of the result."""
        return sum(each.bytes for each in self.arrays)

    @property
    def in_memory(self) -> int:
        """The bytes of the result that lie in the device's main memory."""
        return sum(each.bytes for each in self.arrays if each.in_memory)

    @property
    def channel(self) -> str | None:
        """The id that a collective shares with its other half and its copies."""
        found = re.search(r"channel_id=(\d+)", self.attributes)
        return found[1] if found else None


Computation = Mapping[str, Instruction]


@dataclasses.dataclass(frozen=True)
class Module:
    """A compiled module.

    Attributes:
      computations: all, by name, with their instructions by name.
      times: how often each computation outside fusions runs; a loop with an unknown trip count counts once.
    """

    computations: Mapping[str, Computation]
    times: Mapping[str, int]

    def collectives(self) -> Iterator[tuple[str, Instruction, int]]:
        """Yields kind, instruction and run count of each collective, once each.

        A TPU's compiler repeats a collective in every fusion that overlaps with it: one channel is one collective.
        """
        owners = self._owners()
        seen = set()
        for name, computation in self.computations.items():
            for each in computation.values():
                match = _COLLECTIVE.fullmatch(each.opcode)
                if match is None or match["half"] == "-done" or name not in owners:
                    continue
                if each.channel is not None and each.channel in seen:
                    continue
                seen.add(each.channel)
                yield match["kind"], each, self.times[owners[name]]

    def traffic(self) -> int:
        """Returns the bytes that the instructions read from the device's memory and write into it.

        Each instruction reads its operands and writes its result. A fusion that only slices an operand reads only the
        slices, and an in-place update writes only the update. Caches between instructions are ignored.
        """
        moved = sum(2 * each.in_memory * times for _, each, times in self.collectives())
        for name, times in self.times.items():
            computation = self.computations[name]
            moved += times * sum(self._moved(each, computation) for each in computation.values())
        return moved

    def _moved(self, each: Instruction, computation: Computation) -> int:
        operands = [computation[name] for name in each.operands if name in computation]
        if each.opcode in _FREE or _COLLECTIVE.fullmatch(each.opcode) or not operands:
            return each.in_memory if each.opcode in ("iota", "rng-bit-generator") else 0
        if each.opcode == "fusion":
            return self._moved_by_fusion(each, operands)
        if each.opcode.removesuffix("-start") in (*_SLICES, "copy"):
            # The start of a slice lists its operand before its result; the start of a copy lists it after.
            result = each.arrays[1 if each.opcode.endswith("slice-start") else 0]
            return result.bytes * (result.in_memory + bool(operands[0].in_memory))
        if each.opcode in ("dynamic-update-slice", "scatter"):
            return 2 * operands[-1 if each.opcode == "scatter" else 1].in_memory
        written = each.in_memory
        if "__cublas" in each.attributes:  # the second result is scratch space
            written = each.arrays[0].bytes
        return written + sum(operand.in_memory for operand in operands)

    def _moved_by_fusion(self, fusion: Instruction, operands: list[Instruction]) -> int:
        moved = sum(self._read(fusion, i) for i, operand in enumerate(operands) if operand.in_memory)
        for i, array in enumerate(fusion.arrays):
            if array.in_memory:
                moved += min(array.bytes, self._written(fusion, i))
        return moved

    def _read(self, fusion: Instruction, index: int) -> int:
        """Returns the bytes that a fusion reads from its operand at this index."""
        inside = self.computations[_called(fusion.attributes)[0]]
        parameter = next(
            each for each in inside.values() if each.opcode == "parameter" and each.attributes == str(index)
        )
        moved = 0
        for user, name in _users(parameter.name, inside):
            if user.opcode in _SLICES:
                moved += user.bytes
            elif user.opcode == "fusion":
                moved += self._read(user, user.operands.index(name))
            elif user.opcode == "dynamic-update-slice" and user.operands[0] == name:
                continue  # updated in place
            elif user.opcode in ("tuple", "custom-call") or _COLLECTIVE.fullmatch(user.opcode):
                continue  # passed on; the bytes of collectives are counted with them
            else:
                return parameter.bytes
        return min(moved, parameter.bytes)

    def _written(self, fusion: Instruction, index: int) -> int:
        """Returns the bytes that a fusion writes to its result at this index."""
        inside = self.computations[_called(fusion.attributes)[0]]
        root = next(each for each in inside.values() if each.root)
        if root.opcode == "tuple":
            root = inside[root.operands[index]]
        while root.opcode == "bitcast":
            root = inside[root.operands[0]]
        if root.opcode == "fusion":
            return self._written(root, 0)
        if root.opcode == "dynamic-update-slice":
            return inside[root.operands[1]].bytes
        if root.opcode in ("parameter", "custom-call", "get-tuple-element") or _COLLECTIVE.fullmatch(root.opcode):
            return 0
        return root.bytes

    def _owners(self) -> dict[str, str]:
        """Maps each computation that runs to the one in which it runs: itself or, for a fusion's, the caller's."""
        owners = {name: name for name in self.times}
        for name in self.times:
            waiting = [name]
            while waiting:
                for each in self.computations[waiting.pop()].values():
                    if each.opcode == "fusion" or each.opcode.startswith("async"):
                        for called in _called(each.attributes):
                            owners.setdefault(called, name)
                            waiting.append(called)
        return owners


def read_module(text: str) -> Module:
    """Parses the text of a compiled program."""
    computations: dict[str, dict[str, Instruction]] = {}
    current: dict[str, Instruction] = {}
    entry = ""
    for line in text.splitlines():
        head = _HEAD.match(line)
        if head:
            current = computations.setdefault(head[2], {})
            entry = head[2] if head[1] else entry
            continue
        match = _INSTRUCTION.match(line)
        if match:
            current[match[2]] = _instruction(match[2], line[match.end() :], root=bool(match[1]))
    times: dict[str, int] = {}
    _count(computations, entry, 1, times)
    return Module(computations, times)


def _instruction(name: str, text: str, *, root: bool) -> Instruction:
    end = _closing(text, 0) + 1 if text.startswith("(") else text.index(" ")
    opcode, _, rest = text[end:].strip().partition("(")
    close = _closing("(" + rest, 0) - 1
    # The operand of a parameter or a constant is its number.
    operands = tuple(_NAME.findall(rest[:close]))
    attributes = rest[:close] if opcode in ("parameter", "constant") else rest[close + 1 :]
    return Instruction(name, opcode, tuple(_arrays(text[:end])), operands, attributes, root)


def _arrays(text: str) -> Iterator[Array]:
    for kind, shape, layout in _ARRAY.findall(text):
        size = 0 if kind == "token" else _BYTES.get(kind, 1)
        yield Array(
            bytes=size * math.prod(int(each) for each in shape.split(",") if each),
            in_memory=not re.search(r"S\([1-9]\d*\)", layout),
            scalar=not shape,
        )


def _closing(text: str, start: int) -> int:
    """Returns the index of the parenthesis that closes the one at `start`."""
    depth = 0
    for i in range(start, len(text)):
        depth += (text[i] == "(") - (text[i] == ")")
        if depth == 0:
            return i
    return len(text)


def _called(attributes: str) -> list[str]:
    return [name for match in _CALLED.finditer(attributes) for name in _NAME.findall(match[1])]


def _count(computations: Mapping[str, Mapping[str, Instruction]], name: str, runs: int, times: dict[str, int]) -> None:
    times[name] = times.get(name, 0) + runs
    for each in computations.get(name, {}).values():
        if each.opcode in ("while", "conditional", "call"):
            turns = _turns(each, computations) if each.opcode == "while" else 1
            for called in _called(each.attributes):
                _count(computations, called, runs * turns, times)


def _turns(loop: Instruction, computations: Mapping[str, Mapping[str, Instruction]]) -> int:
    """Returns the trip count of a loop: as the compiler recorded it, or from a counter that starts at 0; 1 if
    unknown."""
    noted = re.search(r"known_trip_count\W+n\W+(\d+)", loop.attributes)
    if noted:
        return int(noted[1])
    condition = re.search(r"condition=%?([\w.-]+)", loop.attributes)
    if condition is None:
        return 1
    inside = computations[condition[1]]
    end = next(each for each in inside.values() if each.root)
    last = inside.get(end.operands[-1]) if end.opcode == "compare" and "direction=LT" in end.attributes else None
    return int(last.attributes) if last is not None and last.opcode == "constant" else 1


def _users(name: str, inside: Computation) -> list[tuple[Instruction, str]]:
    """Returns the instructions that use a value, each with the name under which it does."""
    found = []
    for each in inside.values():
        if name in each.operands:
            found += _users(each.name, inside) if each.opcode == "bitcast" and not each.root else [(each, name)]
    return found
