"""Options that save memory in a step: rematerialised activations and microbatches."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Literal

import jax

from jaxgen import machine
from jaxgen.condition import Condition
from jaxgen.config import per_member_values
from jaxgen.distributed.mesh import MeshSizes, examples_a_step
from jaxgen.errors import UserError
from jaxgen.train.shapes import traced

Remat = Literal["none", "block"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Savings:
    """How a step saves memory. It changes bits, not the expected result, so a run keeps its own."""

    # block: activations inside a transformer's block are not kept for the gradient, but recomputed.
    remat: Remat = "none"
    # The batch is cut into this many equal parts, computed one after another; the update uses their mean gradient.
    microbatches: int = 1

    def check(self, condition: Condition, sizes: MeshSizes) -> None:
        """Raises `UserError` if a batch cannot be cut evenly, if microbatches would change the step, or if a saving
        would have no effect."""
        if self.remat == "block" and not condition.model.has_blocks():
            raise UserError(
                f"remat: got 'block', expected 'none': {type(condition.model).__name__} of '{condition.name}' has no "
                "blocks to recompute"
            )
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
    """Raises `UserError` if a population needs more memory than this machine has. Allocates none of it."""
    shape = condition.task.shape()
    # The host draws the tables member by member and stacks them, which takes about four times their bytes.
    examples = (3 * members + 1) * shape.table_bytes()
    machine.check_memory(examples, f"'{condition.name}': the examples of {members} members")
    variables = traced(condition)
    if jax.default_backend() != "cpu":
        return  # the device has its own memory; a program that does not fit fails with a clear error
    optimizer = condition.optimizer.build(per_member_values(condition.optimizer), condition.steps)
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
    variables = traced(condition)
    if jax.tree.leaves(jax.eval_shape(condition.loss.init, variables["params"])):
        raise UserError(
            f"{name}: got {parts}, expected 1: {type(condition.loss).__name__} keeps state of the whole batch from "
            "step to step"
        )
    if set(variables) != {"params"}:
        beside = ", ".join(sorted(set(variables) - {"params"}))
        raise UserError(
            f"{name}: got {parts}, expected 1: the model computes {beside} from the whole batch, "
            f"so microbatches would change its training"
        )
