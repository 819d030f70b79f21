"""Chooses how a population is trained, and writes its run.json."""

from __future__ import annotations

import dataclasses
import secrets
from collections.abc import Sequence
from typing import Any

import jax

from jaxgen.condition import Condition, Trajectory
from jaxgen.config import to_json
from jaxgen.distributed import environment, processes
from jaxgen.distributed.mesh import MeshSizes, spread_members_then_examples
from jaxgen.errors import UserError
from jaxgen.run.arguments import RunArguments
from jaxgen.run.directory import PopulationDirectory
from jaxgen.storage.files import check_fields
from jaxgen.train.program import Program
from jaxgen.train.savings import Savings, check_memory


def how_to_train(directory: PopulationDirectory, members: Sequence[Trajectory], asked: RunArguments) -> dict[str, Any]:
    """Returns how a population is trained: the options given, else those in run.json, else the defaults. Writes
    nothing.

    Raises:
      UserError: the population cannot be trained with these options.
    """
    condition = members[0].condition
    given = {"mesh": asked.mesh and str(asked.mesh), "remat": asked.remat, "microbatches": asked.microbatches}
    wanted = {name: value for name, value in given.items() if value is not None}
    if directory.exists():
        begun = dataclasses.asdict(Savings()) | directory.run()  # older runs saved none
        check_fields(directory.run_file, begun, {"mesh": str, "remat": str, "microbatches": int})
        how = {name: begun[name] for name in ("layout", "mesh", "remat", "microbatches")} | wanted
    else:
        check_memory(condition, len(members))
        if any(each.keys(condition) is None for each in condition.measures):
            Program(condition, "sequential").check_measures()
        sizes = asked.mesh or MeshSizes()
        if asked.mesh is None and processes.count() > 1:
            sizes = spread_members_then_examples(condition, len(members), len(jax.devices()))
        invariant = condition.numerics.logical_shards is not None
        if invariant and asked.layout == "vmap":
            raise UserError("layout: got vmap, expected sequential: side by side, members' sums depend on their number")
        in_turn = invariant or jax.devices()[0].platform == "cpu"
        layout = asked.layout or ("sequential" if in_turn else "vmap")
        how = {"layout": layout, "mesh": str(sizes), **dataclasses.asdict(Savings()), **wanted}
    kernels(condition)
    sizes = MeshSizes.parse(how["mesh"])
    sizes.check(condition, len(members))
    Savings(remat=how["remat"], microbatches=how["microbatches"]).check(condition, sizes)
    sizes.build()
    there = len(jax.devices())
    if processes.count() > 1 and sizes.devices < there:
        raise UserError(f"mesh: {sizes} takes {sizes.devices} of {there} devices; of several processes it takes all")
    return how


def kernels(condition: Condition) -> dict[str, Any]:
    """Returns which kernels the layers use, and why. Checks that the requested kernels can be used."""
    dtype = condition.numerics.compute_dtype
    return condition.model.kernels(condition.task.shape(), dtype, jax.devices()[0])


def begin(directory: PopulationDirectory, members: Sequence[Trajectory], arguments: RunArguments) -> dict[str, Any]:
    """Returns the same as `how_to_train`, and writes run.json if it does not exist yet."""
    how = how_to_train(directory, members, arguments)
    if directory.exists():
        return how
    conditions = {member.condition.name: member.condition for member in members}
    settings = {name: to_json(condition) for name, condition in conditions.items()}
    facts = [
        {"condition": member.condition.name, "seed": member.seed, "identity": member.identity,
         "parent": member.parent and member.parent.identity,
         "parent_steps": member.parent and member.parent.condition.steps}
        for member in members
    ]  # fmt: skip
    about = {
        **how,
        **kernels(members[0].condition),
        "wandb_id": secrets.token_hex(8),
        "settings": settings,
        "members": facts,
        **environment.describe(keep_diff=arguments.keep_diff),
    }
    directory.begin(about)
    return how
