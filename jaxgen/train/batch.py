"""The batch of a step, a pure function of the task, the seed and the step."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen.streams import Stream, stream_key
from jaxgen.tasks.base import Split, Task, cut
from jaxgen.tasks.growing import Growing
from jaxgen.train.shuffle import shuffled_index
from jaxgen.train.state import Constants


def batch_at(
    step: jax.Array, part: Task, size: int | None, constants: Constants, curriculum: Growing | None = None
) -> Split:
    """Returns the batch of a step.

    Args:
      step: () int32.
      part: the task of the batch, or the chosen sub-task of a mixture.
      size: the number of examples; None: the whole training split.
      constants: the member's constants.
      curriculum: which examples of a table a step may draw; None: all, in shuffled epochs.
    """
    train = constants.splits["train"]
    if size is None:
        return train
    if constants.feed is not None:
        feed, shape = constants.feed, part.shape()
        fed = jax.tree.map(lambda column: column[step - feed.first], feed.batches)
        return cut(fed, shape.length, len(shape.readout))
    words = part.stream_words()
    if words is not None:
        drawn = jax.random.bits(stream_key(constants.seed, Stream.BATCH, step), (size, words), jnp.uint32)
        return part.batch(drawn, np.arange(size), jnp)
    count = train.inputs.shape[0]
    if curriculum is not None:
        rows = _grown_rows(step, size, count, curriculum, constants.seed)
        return jax.tree.map(lambda column: column[rows], train)
    batches = count // size  # an epoch leaves out the remainder, different examples each time
    key = stream_key(constants.seed, Stream.BATCH, step // batches)
    rows = shuffled_index((step % batches) * size + jnp.arange(size, dtype=jnp.int32), count, key)
    return jax.tree.map(lambda column: column[rows], train)


def _grown_rows(step: jax.Array, size: int, count: int, curriculum: Growing, seed: jax.Array) -> jax.Array:
    """Returns (B,) int32: rows drawn from those that have joined by now. Their order of joining is the seed's."""
    words_B = jax.random.bits(stream_key(seed, Stream.BATCH, step), (size,), jnp.uint32)
    place_B = (words_B % curriculum.joined(step, count, jnp).astype(jnp.uint32)).astype(jnp.int32)
    return shuffled_index(place_B, count, stream_key(seed, Stream.CURRICULUM))
