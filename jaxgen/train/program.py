"""The compiled programs of a population: initialise, advance by n steps, measure.

A member is one trajectory; a population stacks members on a leading axis. Everything random is
derived from (seed, stream, step), so nothing but the state below needs to be saved.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxgen.condition import Condition
from jaxgen.config import per_member_values, values_of
from jaxgen.distributed.mesh import DATA, MEMBER, constants_shardings, one_device, put, state_shardings
from jaxgen.errors import UserError, nearest
from jaxgen.measures.evaluation import Evaluation, Variables
from jaxgen.models.sharding import spread_examples
from jaxgen.objectives.base import Model
from jaxgen.starts.scores import masked
from jaxgen.streams import Stream, fixed_draws, stream_key
from jaxgen.tasks.base import Split, Task, TaskShape, cut
from jaxgen.train.savings import Savings
from jaxgen.train.shuffle import shuffled_index

Layout = Literal["sequential", "vmap"]
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


class Kept(NamedTuple):
    """What a batch changes beside the parameters."""

    model_state: Tree
    extra: Tree


def _blank_splits(shape: TaskShape) -> dict[str, Split]:
    """Returns the shapes of the examples of every split."""
    blank, made = shape.blank(), jax.ShapeDtypeStruct
    splits = {}
    for name, count in shape.sizes:
        length = shape.length_of(name)
        answers = len(shape.readout_at(length))
        targets = (
            made((count, answers, shape.vocabulary), jnp.float32)
            if shape.real_targets
            else made((count, answers), jnp.int32)
        )
        inputs = made((count, length, *blank.shape[2:]), blank.dtype)
        splits[name] = Split(inputs, targets, targets, made((count,), jnp.bool_))
    return splits


def _all_finite(tree: Tree) -> jax.Array:
    floats = [leaf for leaf in jax.tree.leaves(tree) if jnp.issubdtype(leaf.dtype, jnp.floating)]
    return jnp.all(jnp.array([jnp.all(jnp.isfinite(leaf)) for leaf in floats], jnp.bool_))


class Program:
    """The functions of one member, pure, and their compiled forms over a population.

    Args:
      condition: any condition of the population; all have equal static fields.
      layout: `sequential` runs members one after another, which a CPU prefers; `vmap` runs them
        side by side, which an accelerator prefers. It changes bits, so a population keeps its own.
      mesh: the devices; None: the first alone.
      savings: what a step does to need less memory; None: nothing.
    """

    def __init__(self, condition: Condition, layout: Layout, mesh: Mesh | None = None, savings: Savings | None = None):
        self.condition = condition
        self.layout = layout
        self.mesh = mesh or one_device()
        self.savings = savings or Savings()
        self.rules = condition.model.sharding_rules()
        self.shape = condition.task.shape()
        self.loss = condition.loss.example_loss()
        compute_dtype = jnp.dtype(condition.numerics.compute_dtype)
        remat = self.savings.remat == "block"
        self.module: nn.Module = condition.model.build(self.shape, compute_dtype)
        # Measures look inside, and differentiate more than once; training takes a kernel where it is asked to.
        self.training_module: nn.Module = condition.model.build(
            self.shape, compute_dtype, remat=remat, attention_device=self.mesh.devices.flat[0]
        )
        self.shards = condition.numerics.logical_shards
        # These passes decide by what is around an operation, such as an exchange, in which order and precision it adds.
        options = {"xla_disable_hlo_passes": "algsimp,fusion"} if self.shards else None
        compiled = functools.partial(jax.jit, compiler_options=options)
        self.init = compiled(self._population(self._init_member))
        self.advance = compiled(self._population(self._advance_member, shared=1), donate_argnums=0)
        self.measure = compiled(self._population(self._measure_member, shared=1))
        self.update = compiled(self._population(self._step_member), donate_argnums=0)  # one step, to plan by

    def _population(self, member_fn: Callable[..., Any], shared: int = 0) -> Callable[..., Any]:
        """Returns `member_fn` over the members of two stacked arguments; `shared` further ones are the same for all."""
        precision = self.condition.numerics.matmul_precision

        def over_members(one: Any, other: Any, *rest: Any) -> Any:
            if self.layout == "vmap":
                return jax.vmap(member_fn, in_axes=(0, 0) + (None,) * shared)(one, other, *rest)
            return jax.lax.map(lambda stacked: member_fn(*stacked, *rest), (one, other))

        # Each device has members of its own; how one member is spread over the other axes is left to the compiler, but
        # for logical shards.
        spread = jax.shard_map(
            over_members,
            mesh=self.mesh,
            in_specs=(P(MEMBER), P(MEMBER)) + (P(),) * shared,
            out_specs=P(MEMBER),
            axis_names={MEMBER, DATA} if self.shards else {MEMBER},
            check_vma=False,
        )

        @functools.wraps(member_fn)
        def placed(*args: Any) -> Any:
            with jax.default_matmul_precision(precision), fixed_draws():
                return jax.tree.map(self._in_place, spread(*args), is_leaf=lambda part: isinstance(part, State | dict))

        return placed

    def _in_place(self, part: Any) -> Any:
        if isinstance(part, dict):  # a row of measures, which every process reads
            return jax.lax.with_sharding_constraint(part, NamedSharding(self.mesh, P()))
        if not isinstance(part, State):
            return part
        return jax.lax.with_sharding_constraint(part, state_shardings(self.mesh, self.rules, part))

    def place(self, constants: Constants) -> Constants:
        """Returns the constants of a population where they lie on the mesh."""
        placed: Constants = put(constants, constants_shardings(self.mesh, self.rules, constants))
        return placed

    def place_start(self, variables: Tree) -> Tree:
        """Returns what the members start from, whole for each member, where it lies on the mesh."""
        return put(variables, jax.tree.map(lambda _: NamedSharding(self.mesh, P(MEMBER)), variables))

    def place_state(self, state: State) -> State:
        """Returns a state of numpy's arrays where it lies on the mesh."""
        placed: State = put(state, state_shardings(self.mesh, self.rules, state))
        return placed

    def check_measures(self) -> None:
        """Traces the measures, of nothing but shapes.

        Raises:
          UserError: one cannot measure this model or task, or the stopping rule looks at what none measures.
        """
        made: Any = jax.ShapeDtypeStruct
        scalars = {path: made((), jnp.float32) for path in per_member_values(self.condition)}
        constants = Constants(_blank_splits(self.shape), scalars, seed=made((), jnp.int32), mask=None)
        jax.eval_shape(self._measure_member, jax.eval_shape(self._init_member, constants, None), constants, True)

    def _init_member(self, constants: Constants, given: Variables | None) -> State:
        """Makes the state of step 0, from the collections given or the model's initialisation."""
        variables = dict(
            self.module.init(stream_key(constants.seed, Stream.INIT), constants.splits["train"].inputs[:1])
        )
        start_scalars = values_of("start", constants.scalars)
        variables["params"] = self.condition.start.initial(variables["params"], start_scalars)
        variables |= given or {}
        params = variables.pop("params")
        optimizer = self.condition.optimizer.build(values_of("optimizer", constants.scalars), self.condition.steps)
        opt_state, extra = optimizer.init(params), self.condition.loss.init(params)
        finite, zero = _all_finite((params, variables)), jnp.zeros((), jnp.int32)
        return State(params, variables, opt_state, extra, step=zero, active=finite, failed=~finite, hits=zero)

    def _batch(self, constants: Constants, step: jax.Array, part: Task) -> Split:
        """Returns the batch of a step, which is of the task `part`."""
        train, size = constants.splits["train"], self.condition.batch_size
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
        batches = count // size  # an epoch leaves out the remainder, other examples each time
        key = stream_key(constants.seed, Stream.BATCH, step // batches)
        rows = shuffled_index((step % batches) * size + jnp.arange(size, dtype=jnp.int32), count, key)
        return jax.tree.map(lambda column: column[rows], train)

    def _gradients(
        self, params: Tree, state: State, constants: Constants, batch: Split
    ) -> tuple[jax.Array, Kept, Tree]:
        """Returns the mean loss of a batch at `params`, what else the batch changes, and the gradient like params."""
        key, parts = stream_key(constants.seed, Stream.DROPOUT, state.step), self.savings.microbatches
        if self.shards is not None:
            return self._gradients_in_fixed_order(self.shards, params, state, constants, batch, key)
        if parts == 1:
            return self._gradients_of_part(params, state, constants, batch, key)
        # A part takes every so many-th example: of those that a device has, it has the same number of each part.
        cut = jax.tree.map(lambda column: column.reshape(-1, parts, *column.shape[1:]).swapaxes(0, 1), batch)

        def add(sums: Tree, numbered: tuple[jax.Array, Split]) -> tuple[Tree, None]:
            i, part = numbered
            part = jax.tree.map(spread_examples, part)
            loss, _, grads = self._gradients_of_part(params, state, constants, part, jax.random.fold_in(key, i))
            return jax.tree.map(jnp.add, sums, (loss, grads)), None

        zeros = (jnp.zeros(()), jax.tree.map(jnp.zeros_like, params))
        sums, _ = jax.lax.scan(add, zeros, (jnp.arange(parts), cut))
        loss, grads = jax.tree.map(lambda total: total / parts, sums)
        return loss, Kept(state.model_state, state.extra), grads

    def _gradients_in_fixed_order(
        self, shards: int, params: Tree, state: State, constants: Constants, batch: Split, key: jax.Array
    ) -> tuple[jax.Array, Kept, Tree]:
        cut = jax.tree.map(lambda column: column.reshape(shards, -1, *column.shape[1:]), batch)

        def one(i: jax.Array) -> tuple[jax.Array, Tree]:
            shard = jax.tree.map(lambda column: column[i], cut)
            loss, _, grads = self._gradients_of_part(params, state, constants, shard, jax.random.fold_in(key, i))
            return loss, grads

        each = shards // self.mesh.shape[DATA]
        mine = jax.lax.map(one, jax.lax.axis_index(DATA) * each + jnp.arange(each))
        found = jax.lax.all_gather(mine, DATA, tiled=True)
        zeros = jax.tree.map(lambda of: jnp.zeros_like(of[0]), found)
        sums, _ = jax.lax.scan(lambda sums, of: (jax.tree.map(jnp.add, sums, of), None), zeros, found)
        loss, grads = jax.tree.map(lambda total: total / shards, sums)
        return loss, Kept(state.model_state, state.extra), grads

    def _gradients_of_part(
        self, params: Tree, state: State, constants: Constants, part: Split, key: jax.Array
    ) -> tuple[jax.Array, Kept, Tree]:
        objective, numbers = self.condition.loss, self.condition.model.numbers(values_of("model", constants.scalars))
        model = Model(self.training_module, self.module, state.model_state, numbers)
        part = objective.prepare(model, state.params, part)

        def loss(params: Tree) -> tuple[jax.Array, Kept]:
            found = objective.batch_loss(model, params, part, key, {}, state.extra)
            return found.loss, Kept(found.model_state, found.extra)

        (value, kept), grads = jax.value_and_grad(loss, has_aux=True)(params)
        return value, kept, grads

    def _gradients_at(self, params: Tree, state: State, constants: Constants) -> tuple[jax.Array, Kept, Tree]:
        """Returns what `_gradients` does, of the batch of the state's step."""

        def of(part: Task) -> tuple[jax.Array, Kept, Tree]:
            batch = jax.tree.map(spread_examples, self._batch(constants, state.step, part))
            return self._gradients(params, state, constants, batch)

        task = self.condition.task
        branches = [functools.partial(of, part) for part in task.parts()]
        return branches[0]() if len(branches) == 1 else jax.lax.switch(task.part_at(state.step, jnp), branches)

    def _step_member(self, state: State, constants: Constants) -> State:
        optimizer, scalars = self.condition.optimizer, values_of("optimizer", constants.scalars)
        draw = functools.partial(stream_key, constants.seed, Stream.WEIGHT_NOISE, state.step)
        point = optimizer.gradient_point(state.params, scalars, draw)
        if point is not state.params:
            point = masked(point, constants.mask)
        loss, kept, grads = self._gradients_at(point, state, constants)
        grads = masked(grads, constants.mask)
        # Optax raises floats to integer powers, which the strict promotion of the tests forbids.
        with jax.numpy_dtype_promotion("standard"):
            key = stream_key(constants.seed, Stream.UPDATE_NOISE, state.step)
            updates, opt_state = optimizer.build(scalars, self.condition.steps).update(
                grads, state.opt_state, state.params, key=key, mask=constants.mask
            )
        params = masked(optax.apply_updates(state.params, updates), constants.mask)
        finite = _all_finite((loss, params, kept.model_state, opt_state, kept.extra))
        going = state.active & finite
        new = state._replace(params=params, opt_state=opt_state, step=state.step + 1, **kept._asdict())
        taken = jax.tree.map(lambda after, before: jnp.where(going, after, before), new, state)
        return taken._replace(active=going, failed=state.failed | (state.active & ~finite))

    def _advance_member(self, state: State, constants: Constants, steps: jax.Array) -> tuple[State, jax.Array]:
        """Makes `steps` updates; also returns the step reached, a buffer of its own to wait on."""
        if self.layout == "sequential":
            steps = jnp.where(state.active, steps, 0)
        state = jax.lax.fori_loop(0, steps, lambda _, carried: self._step_member(carried, constants), state)
        return state, state.step + 0

    def _measure_member(
        self, state: State, constants: Constants, scheduled: jax.Array
    ) -> tuple[dict[str, jax.Array], Ends]:
        """Returns the measured values, and what has failed or is to stop.

        The stopping rule looks at the steps of the schedule alone (`scheduled`, () bool): the end of a run may be
        another step, and where it lies must not matter to a run that is extended.
        """
        evaluation = Evaluation(
            module=self.module,
            variables={"params": state.params, **state.model_state},
            splits={name: constants.splits[name] for name in self.condition.task.measured()},
            shape=self.shape,
            loss=self.loss,
            corruption=self.condition.task.corrupts(),
        )
        row: dict[str, jax.Array] = {}
        for config in self.condition.measures:
            row |= config.values(evaluation)
        # Else a loss that is not finite at the last step would be seen by no step.
        count = None if "train" in evaluation.splits else self.condition.batch_size
        train = jax.tree.map(lambda column: jnp.asarray(column[:count]), constants.splits["train"])
        finite = jnp.all(jnp.isfinite(self.loss(evaluation.logits(train.inputs), train.targets)))
        failed, active = state.failed | (state.active & ~finite), state.active & finite
        hits, stop = state.hits, self.condition.stop
        if stop is not None:
            if stop.key not in row:
                raise UserError(f"stop: '{self.condition.name}' measures no '{stop.key}'{nearest(stop.key, row)}")
            held = jnp.where(row[stop.key] >= stop.at_least, hits + 1, 0)
            hits = jnp.where(scheduled, held, hits)
            active &= hits < stop.patience
        row |= {"failed": failed, "active": active}
        return row, Ends(active=active | False, failed=failed | False, hits=hits)
