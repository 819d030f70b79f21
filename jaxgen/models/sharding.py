"""How parameters and activations are spread over a mesh of devices (jaxgen.distributed.mesh)."""

from __future__ import annotations

import math

import jax
from jax.sharding import PartitionSpec as P

# A pattern searched for in a parameter's dotted path, and for each of its last dimensions the axes of the mesh that it
# is spread over, or None. The first rule that matches holds; a parameter without one is whole on every device.
Axes = tuple[str | tuple[str, ...] | None, ...]
Rules = tuple[tuple[str, Axes], ...]

EXAMPLES = ("data", "fsdp")  # the axes that a batch is spread over


def spread_examples(x: jax.Array) -> jax.Array:
    """Spreads the leading axis over `data` and `fsdp`, all others whole: parameters come to the examples.

    Outside of a mesh, or where the examples do not divide evenly (a test set, say), it leaves `x` to the compiler;
    where each device has taken its examples already, nothing is left to spread.
    """
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty or "data" in mesh.manual_axes or x.shape[0] % math.prod(mesh.shape[axis] for axis in EXAMPLES):
        return x
    return jax.lax.with_sharding_constraint(x, P(EXAMPLES))


def whole(x: jax.Array) -> jax.Array:
    """Puts `x` whole on every device of a member."""
    return x if jax.sharding.get_abstract_mesh().empty else jax.lax.with_sharding_constraint(x, P())
