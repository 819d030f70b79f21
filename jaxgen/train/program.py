"""The compiled programs of a population: initialise, advance by n steps, measure.

A member is one trajectory; a population stacks members on a leading axis. Everything random is derived from (seed,
stream, step), so only the `State` needs to be saved.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxgen.condition import Condition
from jaxgen.config import per_member_values, values_of
from jaxgen.distributed.mesh import DATA, MEMBER, constants_shardings, one_device, put, state_shardings
from jaxgen.errors import UserError, nearest
from jaxgen.measures.evaluation import Evaluation, Variables
from jaxgen.streams import Stream, fixed_draws, stream_key
from jaxgen.tasks.base import Split, TaskShape
from jaxgen.train.gradient import gradients
from jaxgen.train.savings import Savings
from jaxgen.train.state import Constants, Ends, State
from jaxgen.train.step import Step, all_finite

Layout = Literal["sequential", "vmap"]
Tree = Any


def _blank_splits(shape: TaskShape) -> dict[str, Split]:
    """Returns the shapes of the examples in every split."""
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


class Program:
    """The pure functions of one member, and their compiled forms over a population.

    Args:
      condition: any condition of the population; all conditions have equal static fields.
      layout: `sequential` runs members one after another, which a CPU prefers; `vmap` runs them
        side by side, which an accelerator prefers. It changes bits, so a population keeps its own.
      mesh: the devices; None: only the first.
      savings: how a step saves memory; None: not at all.
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
        # Measures read activations and differentiate more than once, so they use no kernel; training may use one.
        self.training_module: nn.Module = condition.model.build(
            self.shape, compute_dtype, remat=remat, attention_device=self.mesh.devices.flat[0]
        )
        self.shards = condition.numerics.logical_shards
        over = gradients(self.savings.microbatches, self.shards, self.mesh.shape[DATA])
        self.step = Step(condition, self.training_module, self.module, over)
        # The first two XLA passes may reorder sums depending on neighbouring operations such as collectives. With them
        # off, results do not depend on the mesh. The last adds transposes that only the first would take out again,
        # at each of its many rounds: programs of several devices took eight times as long to compile.
        options = {"xla_disable_hlo_passes": "algsimp,fusion,reshape-mover"} if self.shards else None
        compiled = functools.partial(jax.jit, compiler_options=options)
        self.init = compiled(self._population(self._init_member))
        self.advance = compiled(self._population(self._advance_member, shared=1), donate_argnums=0)
        self.measure = compiled(self._population(self._measure_member, shared=1))
        self.update = compiled(self._population(self.step.update), donate_argnums=0)  # one step, used by plans

    def _population(self, member_fn: Callable[..., Any], shared: int = 0) -> Callable[..., Any]:
        """Maps `member_fn` over the members of two stacked arguments; `shared` further arguments are equal for all
        members."""
        precision = self.condition.numerics.matmul_precision

        def over_members(one: Any, other: Any, *rest: Any) -> Any:
            if self.layout == "vmap":
                return jax.vmap(member_fn, in_axes=(0, 0) + (None,) * shared)(one, other, *rest)
            return jax.lax.map(lambda stacked: member_fn(*stacked, *rest), (one, other))

        # Each device has its own members. The compiler shards one member over the other axes, except with logical
        # shards.
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
        if isinstance(part, dict):  # a row of measures; every process reads it
            return jax.lax.with_sharding_constraint(part, NamedSharding(self.mesh, P()))
        if not isinstance(part, State):
            return part
        return jax.lax.with_sharding_constraint(part, state_shardings(self.mesh, self.rules, part))

    def place(self, constants: Constants) -> Constants:
        """Places the constants of a population on the mesh."""
        placed: Constants = put(constants, constants_shardings(self.mesh, self.rules, constants))
        return placed

    def place_start(self, variables: Tree) -> Tree:
        """Places the variables that the members start from on the mesh, unsharded within a member."""
        return put(variables, jax.tree.map(lambda _: NamedSharding(self.mesh, P(MEMBER)), variables))

    def place_state(self, state: State) -> State:
        """Places a state of numpy arrays on the mesh."""
        placed: State = put(state, state_shardings(self.mesh, self.rules, state))
        return placed

    def check_measures(self) -> None:
        """Traces the measures with shapes alone.

        Raises:
          UserError: a measure does not fit this model or task, or the stopping rule reads a value that no measure
          gives.
        """
        made: Any = jax.ShapeDtypeStruct
        scalars = {path: made((), jnp.float32) for path in per_member_values(self.condition)}
        constants = Constants(_blank_splits(self.shape), scalars, seed=made((), jnp.int32), mask=None)
        jax.eval_shape(self._measure_member, jax.eval_shape(self._init_member, constants, None), constants, True)

    def _init_member(self, constants: Constants, given: Variables | None) -> State:
        """Makes the state at step 0, from the given collections or the model's initialisation."""
        variables = dict(
            self.module.init(stream_key(constants.seed, Stream.INIT), constants.splits["train"].inputs[:1])
        )
        start_scalars = values_of("start", constants.scalars)
        variables["params"] = self.condition.start.initial(variables["params"], start_scalars)
        variables |= given or {}
        params = variables.pop("params")
        optimizer = self.condition.optimizer.build(values_of("optimizer", constants.scalars), self.condition.steps)
        opt_state, extra = optimizer.init(params), self.condition.loss.init(params)
        finite, zero = all_finite((params, variables)), jnp.zeros((), jnp.int32)
        return State(params, variables, opt_state, extra, step=zero, active=finite, failed=~finite, hits=zero)

    def _advance_member(self, state: State, constants: Constants, steps: jax.Array) -> tuple[State, jax.Array]:
        """Makes `steps` updates. Also returns the step reached, as a separate buffer to wait on."""
        if self.layout == "sequential":
            steps = jnp.where(state.active, steps, 0)
        state = jax.lax.fori_loop(0, steps, lambda _, carried: self.step.update(carried, constants), state)
        return state, state.step + 0

    def _measure_member(
        self, state: State, constants: Constants, scheduled: jax.Array
    ) -> tuple[dict[str, jax.Array], Ends]:
        """Returns the measured values, and the fields that say whether the member has failed or stops.

        The stopping rule reads only the steps of the schedule (`scheduled`, () bool). The last step of a run may be
        outside the schedule, and it must not change the result of a run that is extended later.
        """
        evaluation = Evaluation(
            module=self.module,
            variables={"params": state.params, **state.model_state},
            splits={name: constants.splits[name] for name in self.condition.task.measured()},
            shape=self.shape,
            loss=self.loss,
            corruption=self.condition.task.corrupts(),
            at_once=self.condition.measured_at_once,
        )
        row: dict[str, jax.Array] = {}
        for config in self.condition.measures:
            row |= config.values(evaluation)
        # Otherwise no step would notice a loss that is not finite at the last step.
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
