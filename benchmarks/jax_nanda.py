"""The same step through the engine, and as a jitted loop written by hand."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxgen.condition import Condition, Trajectory
from jaxgen.objectives.losses import cross_entropy
from jaxgen.train.constants import stack_constants
from jaxgen.train.program import Program


class Engine:
    """What `jaxgen reproduce` runs between two measurements."""

    def __init__(self, condition: Condition, members: int = 1):
        self.program = Program(condition, "sequential")
        trajectories = [Trajectory(condition, seed, "") for seed in range(members)]
        self.constants = stack_constants(trajectories, [None] * members)
        self.state = self.program.init(self.constants, None)

    def steps(self, count: int) -> None:
        self.state, reached = self.program.advance(self.state, self.constants, np.int32(count))
        jax.block_until_ready(reached)


class ByHand:
    """The same model, loss and optimiser in a loop without the engine: no members, no freezing, no keys."""

    def __init__(self, condition: Condition):
        train = condition.task.table(0)["train"]
        inputs, targets = jnp.asarray(train.inputs), jnp.asarray(train.targets)
        module = condition.model.build(condition.task.shape())
        config = condition.optimizer
        optimizer = optax.adamw(
            lambda count: config.learning_rate * jnp.minimum(1.0, (count + 1) / config.warmup),
            b1=config.b1, b2=config.b2, eps=config.eps, weight_decay=config.weight_decay,
        )  # fmt: skip

        def step(_, carried):
            params, opt_state = carried
            loss = lambda params: jnp.mean(cross_entropy(module.apply({"params": params}, inputs), targets))  # noqa: E731
            updates, opt_state = optimizer.update(jax.grad(loss)(params), opt_state, params)
            return optax.apply_updates(params, updates), opt_state

        @functools.partial(jax.jit, donate_argnums=0)
        def run(carried, count):
            return jax.lax.fori_loop(0, count, step, carried)

        params = module.init(jax.random.key(0), inputs[:1])["params"]
        self.run, self.carried = run, (params, optimizer.init(params))

    def steps(self, count: int) -> None:
        self.carried = jax.block_until_ready(self.run(self.carried, np.int32(count)))
