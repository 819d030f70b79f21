"""What a program changes and what it reads, of one member; a population has them stacked on a leading axis."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax

from jaxgen.tasks.base import Split

Tree = Any


class State(NamedTuple):
    """What training changes: the whole of a recovery checkpoint."""

    params: Tree
    model_state: Tree  # Flax collections beside the parameters, such as BatchNorm statistics
    opt_state: Tree
    extra: Tree  # what the objective keeps
    step: jax.Array  # () int32: updates made so far
    active: jax.Array  # () bool: false once the member has stopped or failed; then nothing changes
    failed: jax.Array  # () bool: a loss or an update was not finite; it was not taken
    hits: jax.Array  # () int32: measuring steps running at which the stopping rule held


class Ends(NamedTuple):
    """The fields of a state that tell whether its member goes on."""

    active: jax.Array
    failed: jax.Array
    hits: jax.Array


class Feed(NamedTuple):
    """Training batches that the host made, of steps that follow each other."""

    first: jax.Array  # () int32: the step of the first
    batches: Split  # with the C steps in front


class Constants(NamedTuple):
    """What training reads: the member's tables, numbers and mask."""

    splits: dict[str, Split]
    scalars: dict[str, jax.Array]  # the numbers marked PerMember, by dotted path
    seed: jax.Array  # () int32
    mask: Tree | None  # like params, 0 where a parameter is held at zero; None: no mask
    feed: Feed | None = None  # None: batches are made in the program
