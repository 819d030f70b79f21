"""The same step through the engine, and as a jitted loop written by hand."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxgen.condition import Condition, Trajectory
from jaxgen.objectives.losses import cross_entropy
from jaxgen.train.constants import stack_constants
from jaxgen.train.program import Layout, Program


class Engine:
    """What `jaxgen reproduce` runs between two measurements."""

    def __init__(self, condition: Condition, members: int = 1, layout: Layout = "sequential"):
        self.program = Program(condition, layout)
        trajectories = [Trajectory(condition, seed, "") for seed in range(members)]
        self.constants = stack_constants(trajectories, [None] * members)
        self.state = self.program.init(self.constants, None)

    def steps(self, count: int) -> None:
        self.state, reached = self.program.advance(self.state, self.constants, np.int32(count))
        jax.block_until_ready(reached)


class ByHand:
    """The same model, loss and optimiser in a loop without the engine: no freezing, no keys. Of several members, all
    under one `jax.vmap`."""

    def __init__(self, condition: Condition, members: int = 1):
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

        if members > 1:
            step = functools.partial(lambda one, i, carried: jax.vmap(lambda each: one(i, each))(carried), step)

        @functools.partial(jax.jit, donate_argnums=0)
        def run(carried, count):
            return jax.lax.fori_loop(0, count, step, carried)

        def start(key):
            params = module.init(key, inputs[:1])["params"]
            return params, optimizer.init(params)

        keys = jax.random.split(jax.random.key(0), members)
        self.run, self.carried = run, jax.vmap(start)(keys) if members > 1 else start(keys[0])

    def steps(self, count: int) -> None:
        self.carried = jax.block_until_ready(self.run(self.carried, np.int32(count)))
