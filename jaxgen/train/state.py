"""The state that a program changes and the constants that it reads, of one member; a population stacks them."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax

from jaxgen.tasks.base import Split

Tree = Any


class State(NamedTuple):
    """The arrays that training changes, which are exactly those of a recovery checkpoint."""

    params: Tree
    model_state: Tree  # Flax collections beside the parameters, such as BatchNorm statistics
    opt_state: Tree
    extra: Tree  # the state of the objective
    step: jax.Array  # () int32: updates made so far
    active: jax.Array  # () bool: false once the member has stopped or failed; then nothing changes
    failed: jax.Array  # () bool: a loss or an update was not finite, and was not applied
    hits: jax.Array  # () int32: consecutive measuring steps at which the stopping rule held


class Ends(NamedTuple):
    """The fields of a state that say whether its member is still trained."""

    active: jax.Array
    failed: jax.Array
    hits: jax.Array


class Feed(NamedTuple):
    """Training batches of consecutive steps, made by the host."""

    first: jax.Array  # () int32: the step of the first batch
    batches: Split  # with a leading axis of C steps


class Constants(NamedTuple):
    """The arrays that training reads: the member's tables, numbers and mask."""

    splits: dict[str, Split]
    scalars: dict[str, jax.Array]  # the values of fields marked PerMember, by dotted path
    seed: jax.Array  # () int32
    mask: Tree | None  # like params, 0 where a parameter is held at zero; None: no mask
    feed: Feed | None = None  # None: batches are made in the program
