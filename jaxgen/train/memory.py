"""How a step gets by with less memory: activations computed again, and a batch taken in parts."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Literal

import jax

from jaxgen import machine
from jaxgen.config import per_member_values
from jaxgen.errors import UserError
from jaxgen.experiment import Condition
from jaxgen.models.build import build_model
from jaxgen.train.mesh import MeshSizes, examples_a_step
from jaxgen.train.optimizers import build_optimizer

Remat = Literal["none", "block"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Savings:
    """What a step does to need less memory. It changes bits, not the law, so a run keeps its own."""

    # block: what is inside a transformer's block is not kept for the gradient, but computed again; other models have
    # no blocks, and train as ever.
    remat: Remat = "none"
    # The batch is cut into so many equal parts, one after the other; the update is that of their mean gradient.
    microbatches: int = 1

    def check(self, condition: Condition, sizes: MeshSizes) -> None:
        """Raises `UserError` where a batch cannot be cut evenly, or a step in parts would be another one."""
        shards = condition.numerics.logical_shards
        if shards is None:
            _check_parts("microbatches", self.microbatches, condition, sizes)
        elif self.microbatches > 1:
            raise UserError(f"microbatches: got {self.microbatches}, expected 1: there are {shards} logical shards")
        else:
            _check_parts("numerics.logical_shards", shards, condition, MeshSizes())

    def facts(self) -> dict[str, str]:
        return {name: str(value) for name, value in dataclasses.asdict(self).items()}


def check_memory(condition: Condition, members: int) -> None:
    """Raises `UserError` where a population is more than this machine has memory for; makes nothing of it."""
    shape = condition.task.shape()
    # Tables are drawn by the host member by member, which takes some four times their bytes, and then stacked.
    examples = (3 * members + 1) * shape.table_bytes()
    machine.check_memory(examples, f"'{condition.name}': the examples of {members} members")
    variables = jax.eval_shape(build_model(condition.model, shape).init, jax.random.key(0), shape.blank())
    if jax.default_backend() != "cpu":
        return  # the device's memory is its own, and the program that does not fit says so
    optimizer = build_optimizer(condition.optimizer, per_member_values(condition.optimizer))
    moments = jax.eval_shape(optimizer.init, variables["params"])
    state = 2 * _bytes(variables) + _bytes(moments)  # with the gradient
    machine.check_memory(members * state, f"'{condition.name}': the parameters and moments of {members} members")


def _bytes(tree: Any) -> int:
    return sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def _check_parts(name: str, parts: int, condition: Condition, sizes: MeshSizes) -> None:
    if parts == 1:
        return
    examples, over = examples_a_step(condition), sizes.data * sizes.fsdp
    if examples % (parts * over):
        fit = [n for n in range(1, examples // over + 1) if examples % (n * over) == 0 and n <= 512]
        spread = f", each spread over data={sizes.data} x fsdp={sizes.fsdp}" if over > 1 else ""
        raise UserError(
            f"{name}: a batch of {examples} examples cannot be cut into {parts} equal parts"
            f"{spread}; their number must be one of {', '.join(map(str, fit))}"
        )
    shape = condition.task.shape()
    variables = jax.eval_shape(build_model(condition.model, shape).init, jax.random.key(0), shape.blank())
    if set(variables) != {"params"}:
        beside = ", ".join(sorted(set(variables) - {"params"}))
        raise UserError(
            f"{name}: got {parts}, expected 1: the model has {beside} of the whole batch, "
            f"and would train another way in parts"
        )
