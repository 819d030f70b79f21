"""One update of one member: batch, objective, gradient, optimiser, and the new state."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from jaxgen.condition import Condition
from jaxgen.config import values_of
from jaxgen.models.sharding import spread_examples
from jaxgen.objectives.base import Model
from jaxgen.starts.scores import masked
from jaxgen.streams import Stream, stream_key
from jaxgen.tasks.base import Split, Task
from jaxgen.train.batch import batch_at
from jaxgen.train.gradient import Gradient, Gradients, Kept
from jaxgen.train.state import Constants, State

Tree = Any


@dataclasses.dataclass(frozen=True)
class Step:
    """The update of a condition's members. Pure."""

    condition: Condition
    training_module: nn.Module  # uses kernels and rematerialisation if requested
    module: nn.Module  # uses neither
    gradients: Gradients

    def update(self, state: State, constants: Constants) -> State:
        """Returns the state after the update. If the update is not finite, returns the old state marked as failed."""
        optimizer, scalars = self.condition.optimizer, values_of("optimizer", constants.scalars)
        draw = functools.partial(stream_key, constants.seed, Stream.WEIGHT_NOISE, state.step)
        point = optimizer.gradient_point(state.params, scalars, draw)
        if point is not state.params:
            point = masked(point, constants.mask)

        def gradient(part: Task) -> Gradient:
            size, curriculum = self.condition.batch_size, self.condition.curriculum
            batch = jax.tree.map(spread_examples, batch_at(state.step, part, size, constants, curriculum))
            key = stream_key(constants.seed, Stream.DROPOUT, state.step)
            return self.gradients(functools.partial(self._gradient, point, state, constants), batch, key)

        loss, grads, kept = _of_part_at(self.condition.task, state.step, gradient)
        grads, kept = masked(grads, constants.mask), Kept(state.model_state, state.extra) if kept is None else kept
        # Optax raises floats to integer powers, which the strict promotion of the tests forbids.
        with jax.numpy_dtype_promotion("standard"):
            key = stream_key(constants.seed, Stream.UPDATE_NOISE, state.step)
            updates, opt_state = optimizer.build(scalars, self.condition.steps).update(
                grads, state.opt_state, state.params, key=key, mask=constants.mask
            )
        params = masked(optax.apply_updates(state.params, updates), constants.mask)
        finite = all_finite((loss, params, kept.model_state, opt_state, kept.extra))
        going = state.active & finite
        new = state._replace(params=params, opt_state=opt_state, step=state.step + 1, **kept._asdict())
        taken = jax.tree.map(lambda after, before: jnp.where(going, after, before), new, state)
        return taken._replace(active=going, failed=state.failed | (state.active & ~finite))

    def _gradient(self, point: Tree, state: State, constants: Constants, batch: Split, key: jax.Array) -> Gradient:
        """Returns the gradient of the objective at the parameters `point`."""
        objective, numbers = self.condition.loss, self.condition.model.numbers(values_of("model", constants.scalars))
        # Not the key of the part: what a model draws for a whole batch is the same in all of its parts.
        streams = {
            name: stream_key(constants.seed, Stream[name.upper()], state.step) for name in self.condition.model.draws()
        }
        model = Model(self.training_module, self.module, state.model_state, numbers, streams)
        batch = objective.prepare(model, state.params, batch)

        def loss(params: Tree) -> tuple[jax.Array, Kept]:
            found = objective.batch_loss(model, params, batch, key, {}, state.extra)
            return found.loss, Kept(found.model_state, found.extra)

        (value, kept), grads = jax.value_and_grad(loss, has_aux=True)(point)
        return Gradient(value, grads, kept)


def _of_part_at(task: Task, step: jax.Array, gradient: Callable[[Task], Gradient]) -> Gradient:
    """Returns the gradient for the task or sub-task from which the batch of a step is drawn."""
    branches = [functools.partial(gradient, part) for part in task.parts()]
    return branches[0]() if len(branches) == 1 else jax.lax.switch(task.part_at(step, jnp), branches)


def all_finite(tree: Tree) -> jax.Array:
    """Returns () bool: whether every float in a tree is finite."""
    floats = [leaf for leaf in jax.tree.leaves(tree) if jnp.issubdtype(leaf.dtype, jnp.floating)]
    return jnp.all(jnp.array([jnp.all(jnp.isfinite(leaf)) for leaf in floats], jnp.bool_))
