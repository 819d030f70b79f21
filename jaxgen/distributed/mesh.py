"""The mesh of devices (member, data, fsdp, tensor), and the sharding of each array of a population.

Axes of size 1 are kept, so one device and a pod run the same code. Members are sharded over `member`, examples of a
batch over `data` and `fsdp`, parameters and optimiser state over `fsdp` and `tensor`, by the rules beside each model.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxgen.condition import Condition
from jaxgen.errors import UserError, nearest, shown
from jaxgen.models.sharding import Rules

Tree = Any

MEMBER, DATA = "member", "data"


@dataclasses.dataclass(frozen=True)
class MeshSizes:
    """The number of devices along each axis."""

    member: int = 1
    data: int = 1
    fsdp: int = 1
    tensor: int = 1

    @classmethod
    def parse(cls, text: str) -> MeshSizes:
        """Reads `data=2,fsdp=4`; axes that are not given have size 1.

        Raises:
          UserError: an axis is unknown or given twice, or a size is not a positive number.
        """
        sizes: dict[str, int] = {}
        names = [field.name for field in dataclasses.fields(cls)]
        for part in text.split(","):
            name, equals, size = part.strip().partition("=")
            if name not in names:
                raise UserError(f"mesh: no axis {shown(name)}{nearest(name, names)}; write data=2,fsdp=4")
            if name in sizes:
                raise UserError(f"mesh: axis '{name}' is given twice in '{text}'")
            if not equals or not re.fullmatch(r"\d{1,9}", size) or int(size) == 0:
                raise UserError(f"mesh: got {shown(part.strip())}, expected {name}=NUMBER with a number of 1 or more")
            sizes[name] = int(size)
        return cls(**sizes)

    def __str__(self) -> str:
        return ",".join(f"{name}={size}" for name, size in dataclasses.asdict(self).items())

    @property
    def devices(self) -> int:
        """The number of devices in the mesh."""
        return self.member * self.data * self.fsdp * self.tensor

    def build(self, devices: Sequence[Any] | None = None) -> Mesh:
        """Returns the mesh of the first of `devices`, by default jax's own.

        Raises:
          UserError: there are too few devices.
        """
        devices = jax.devices() if devices is None else devices
        if self.devices > len(devices):
            product = " x ".join(f"{name} {size}" for name, size in dataclasses.asdict(self).items())
            raise UserError(f"mesh: {product} takes {self.devices} devices, but there are {len(devices)}")
        grid = np.asarray(devices[: self.devices]).reshape(dataclasses.astuple(self))
        return Mesh(grid, tuple(field.name for field in dataclasses.fields(self)))

    def check(self, condition: Condition, members: int) -> None:
        """Raises `UserError`, with the numbers, if members or examples cannot be sharded evenly."""
        shards = condition.numerics.logical_shards
        if shards is not None and (self.fsdp > 1 or self.tensor > 1 or shards % self.data):
            raise UserError(
                f"mesh: got {self} with {shards} logical shards, expected fsdp=1, tensor=1 and a data that divides "
                f"{shards}: only then are sums equal on every number of devices"
            )
        if members % self.member:
            raise UserError(f"mesh: {members} members cannot be spread over member={self.member}; it must divide them")
        examples = examples_a_step(condition)
        over = self.data * self.fsdp
        if examples % over:
            divisors = [n for n in range(1, examples + 1) if examples % n == 0 and n <= 512]
            raise UserError(
                f"mesh: a batch of {examples} examples cannot be spread over data={self.data} x fsdp={self.fsdp}; "
                f"their product must be one of {', '.join(map(str, divisors))}"
            )


def examples_a_step(condition: Condition) -> int:
    """Returns the number of examples in one step of a member."""
    return condition.batch_size or dict(condition.task.shape().sizes)["train"]


def spread_members_then_examples(condition: Condition, members: int, devices: int) -> MeshSizes:
    """Returns the mesh with the least communication: it shards members first, then examples. It may leave devices
    unused."""
    member = math.gcd(members, devices)
    return MeshSizes(member=member, data=math.gcd(examples_a_step(condition), devices // member))


def put(tree: Tree, shardings: Tree) -> Tree:
    """Puts numpy arrays on the devices, each device with its own shard. All processes must pass equal arrays.

    The arrays are copied, because a program may donate its arguments, and numpy's memory is not jax's to free.
    """

    def place(leaf: Any, sharding: NamedSharding) -> jax.Array:
        leaf = np.asarray(leaf)
        parts = [
            jax.device_put(leaf[index], device, may_alias=False)
            for device, index in sharding.addressable_devices_indices_map(leaf.shape).items()
        ]
        return jax.make_array_from_single_device_arrays(leaf.shape, sharding, parts)

    return jax.tree.map(place, tree, shardings)


def on_host(tree: Tree) -> Tree:
    """Returns an unsharded copy as numpy arrays. It is a collective: every process must call it."""

    def gather(leaf: jax.Array) -> Any:
        return leaf if leaf.is_fully_addressable else multihost_utils.process_allgather(leaf, tiled=True)

    # device_get starts all transfers before it waits for the first.
    return jax.tree.map(np.array, jax.device_get(jax.tree.map(gather, tree)))


def one_device() -> Mesh:
    """Returns the mesh of only the first device."""
    return MeshSizes().build()


def state_shardings(mesh: Mesh, rules: Rules, state: Tree) -> Tree:
    """Returns the sharding of each leaf of a population's state: NamedShardings in the tree of `state`.

    Args:
      mesh: the mesh.
      rules: the model's sharding rules; optimiser leaves that mirror a parameter are sharded like it.
      state: the population's state, of arrays or shapes, with the members on the leading axis.

    Raises:
      UserError: a dimension cannot be sharded evenly over its axes; the message names leaf, size and axes.
    """
    parameters = [_name(path) for path, _ in jax.tree.flatten_with_path(state.params)[0]]

    def place(path: Any, leaf: Any) -> NamedSharding:
        name = _name(path)
        like_parameter = any(name == each or name.endswith(f".{each}") for each in parameters)
        return _place(mesh, name, leaf, rules if like_parameter else ())

    return jax.tree.map_with_path(place, state)


def constants_shardings(mesh: Mesh, rules: Rules, constants: Tree) -> Tree:
    """Returns the sharding of each leaf of a population's constants: masks like parameters, a feed's batches by rows,
    everything else unsharded within a member."""

    def place(path: Any, leaf: Any) -> NamedSharding:
        name = _name(path)
        if name.startswith("feed.batches."):
            return feed_sharding(mesh)
        return _place(mesh, name, leaf, rules if name.startswith("mask.") else ())

    return jax.tree.map_with_path(place, constants)


def feed_sharding(mesh: Mesh) -> NamedSharding:
    """Returns the sharding of a feed's arrays (members, steps, rows, ...)."""
    return NamedSharding(mesh, P(MEMBER, None, (DATA, "fsdp")))


def _place(mesh: Mesh, name: str, leaf: Any, rules: Rules) -> NamedSharding:
    shape = leaf.shape[1:]  # of one member
    axes = next((axes for pattern, axes in rules if re.search(pattern, name)), ())
    # Additional leading dimensions, such as a window of gradients, are not sharded.
    axes = (None,) * (len(shape) - len(axes)) + axes
    for dimension, names in zip(shape, axes, strict=True):
        spread = (names,) if isinstance(names, str) else names or ()
        if dimension % math.prod(mesh.shape[each] for each in spread):
            product = " x ".join(f"{each}={mesh.shape[each]}" for each in spread)
            raise UserError(f"mesh: {name} has a dimension of {dimension}, which cannot be spread over {product}")
    return NamedSharding(mesh, P(MEMBER, *axes))


def _name(path: Any) -> str:
    return str(jax.tree_util.keystr(path, simple=True, separator="."))
