"""The constants that a population's program reads: its members' tables, numbers and masks, stacked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from jaxgen.condition import Trajectory
from jaxgen.config import per_member_values
from jaxgen.errors import UserError
from jaxgen.starts.transforms import Start
from jaxgen.tasks.base import checked_table
from jaxgen.train.feed import feed_like
from jaxgen.train.state import Constants


def stack(trees: Sequence[Any]) -> Any:
    """Stacks trees of numpy arrays on a new leading axis; returns None if the trees are None."""
    # In numpy, because a jax program that stacks thousands of arrays takes minutes to compile.
    return jax.tree.map(lambda *leaves: np.stack(leaves), *trees) if trees else None


def _as_jax_has_it(value: Any) -> Any:
    """Returns a numpy array with the dtype that jax would give it."""
    value = np.asarray(value)
    return value.astype(jax.dtypes.canonicalize_dtype(value.dtype), copy=False)


def stack_constants(members: Sequence[Trajectory], starts: Sequence[Start | None]) -> Constants:
    """Returns the tables, numbers and masks of the members, stacked on a leading axis."""
    if any(start is None for start in starts) and any(start is not None for start in starts):
        raise UserError("the members of a population must all start from a parent, or all from an initialisation")
    masks = [start.mask for start in starts if start is not None and start.mask is not None]
    conditions = {member.condition.name: member.condition for member in members}
    numbers = {name: per_member_values(condition) for name, condition in conditions.items()}
    stacked: Constants = stack(
        [
            Constants(
                splits={name: jax.tree.map(_as_jax_has_it, split) for name, split in table.items()},
                scalars={
                    path: _as_jax_has_it(np.float32(value)) for path, value in numbers[member.condition.name].items()
                },
                seed=_as_jax_has_it(np.int32(member.seed)),
                mask=mask,
            )
            for member, table, mask in zip(
                members,
                (checked_table(member.condition.task, member.seed) for member in members),
                masks or [None] * len(members),
                strict=True,
            )
        ]
    )
    return stacked._replace(feed=feed_like(members))
