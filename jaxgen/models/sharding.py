"""Sharding of parameters and activations over a mesh of devices (jaxgen.distributed.mesh)."""

from __future__ import annotations

import math

import jax
from jax.sharding import PartitionSpec as P

# A pattern to search for in a parameter's dotted path, and for each of its last dimensions the mesh axes that shard it,
# # or None. The first matching rule applies; a parameter without a rule is replicated.
Axes = tuple[str | tuple[str, ...] | None, ...]
Rules = tuple[tuple[str, Axes], ...]

EXAMPLES = ("data", "fsdp")  # the axes that shard a batch


def spread_examples(x: jax.Array) -> jax.Array:
    """Shards the leading axis over `data` and `fsdp` and no other axis, so that parameters are gathered to the
    examples.

    Outside a mesh, or if the examples do not divide evenly (a test set, for example), it leaves `x` to the compiler. If
    each device already holds only its own examples, it does nothing.
    """
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty or "data" in mesh.manual_axes or x.shape[0] % math.prod(mesh.shape[axis] for axis in EXAMPLES):
        return x
    return jax.lax.with_sharding_constraint(x, P(EXAMPLES))


def whole(x: jax.Array) -> jax.Array:
    """Replicates `x` on every device of a member."""
    return x if jax.sharding.get_abstract_mesh().empty else jax.lax.with_sharding_constraint(x, P())
