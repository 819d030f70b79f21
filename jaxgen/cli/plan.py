"""`plan`: prints what an experiment's train step needs on devices that are not here."""

from __future__ import annotations

import math
import shlex
from collections import deque
from collections.abc import Sequence

import rich.box
from rich.table import Table

from jaxgen.cli.console import Console
from jaxgen.condition import Trajectory, populations, trajectories
from jaxgen.distributed.mesh import MeshSizes, spread_members_then_examples
from jaxgen.errors import UserError, nearest
from jaxgen.experiment.sweep import split_seeds
from jaxgen.ledger.discovery import find
from jaxgen.plan.compile import DoesNotFit, Plan, plan
from jaxgen.plan.search import find_fitting, meshes, saving_more
from jaxgen.plan.topology import Topology, read_topology
from jaxgen.train.savings import Remat, Savings

# Fractions of the peak speed at which the plan shows steps per second.
EFFICIENCIES = (0.5, 0.3)
# If a mesh does not fit, at most this many others are compiled to find one that does.
MESHES_TRIED = 4


def plan_command(
    experiment_id: str, *, topology: str, scale: str, settings: Sequence[str], sweeps: Sequence[str], zipped: bool,
    condition: str | None, mesh: str | None, remat: Remat, microbatches: int, search: int | None,
) -> bool:  # fmt: skip
    """Prints the plan of one population, or of the best meshes found, and returns whether one fits."""
    _, experiments = find(experiment_id)
    if len(experiments) > 1:
        names = ", ".join(each.name for each in experiments)
        raise UserError(f"plan: '{experiment_id}' has several experiments; name one of: {names}")
    axes, seeds, first_seed = split_seeds(sweeps, None, 0)
    conditions = experiments[0].at_scale(scale, settings, seeds, None, first_seed, axes, zipped)
    found = populations(trajectories(conditions))
    members = _population(found, condition)
    there, savings = read_topology(topology), Savings(remat=remat, microbatches=microbatches)
    console = Console()
    console.print(
        f"[bold]{experiment_id}[/] at scale {scale}, {members[0].condition.name}: {len(members)} "
        f"member{'s' if len(members) > 1 else ''}, on {len(there.devices)} x {there.device.kind}"
    )
    if search is not None:
        return _search(console, members, there, savings, search)
    first, devices = members[0].condition, len(there.devices)
    sizes = MeshSizes.parse(mesh) if mesh else spread_members_then_examples(first, len(members), devices)
    try:
        made = plan(members, there, sizes, savings)
    except DoesNotFit as reason:
        console.print(f"{sizes}: [red]does not fit[/]. {reason}", highlight=False)
        blamed = reason.blamed
    else:
        _print(console, made, members[0].condition.steps)
        if made.fits:
            return True
        blamed = made.blamed
    console.print(f"[bold]largest[/]  {_sizes(blamed[:3])}", highlight=False)
    options = ["--scale", scale, *(["--condition", condition] if condition else [])]
    options += [part for setting in settings for part in ("--set", setting)]
    options += [f"--sweep={each}" for each in sweeps] + ["--zip"] * zipped
    options += _saving(savings)
    command = ["jaxgen", "plan", experiment_id, "--topology", topology, *options]
    _suggest(console, members, there, sizes, savings, command)
    return False


def _suggest(
    console: Console, members: Sequence[Trajectory], topology: Topology, failed: MeshSizes, savings: Savings,
    command: Sequence[str],
) -> None:  # fmt: skip
    """Looks for a mesh that fits, and prints the command that plans it."""
    found, tried = find_fitting(members, topology, failed, savings, MESHES_TRIED)
    if found is None:
        console.print(
            f"No mesh fits among {tried} more compiled (at most {MESHES_TRIED}, none whose state alone is too "
            "large). Try more devices, fewer members or a smaller batch.",
            highlight=False,
        )
        return
    console.print(
        f"Of {tried} more meshes compiled, this one fits, with {_size(found.bytes)} a device:", highlight=False
    )
    print(shlex.join([*command, "--mesh", _short(found.mesh, Savings())]))


def _population(found: Sequence[list[Trajectory]], condition: str | None) -> list[Trajectory]:
    if condition is None:
        return found[0]
    for members in found:
        if any(each.condition.name == condition for each in members):
            return members
    names = [each.condition.name for members in found for each in members]
    raise UserError(f"plan: no condition '{condition}'{nearest(condition, names)}")


def _search(console: Console, members: Sequence[Trajectory], topology: Topology, savings: Savings, most: int) -> bool:
    table = Table("mesh", "fits", "GB a device", "us a step", "bound", "compile s", box=rich.box.SIMPLE)
    made: list[Plan] = []
    todo = deque((sizes, savings) for sizes in meshes(members, len(topology.devices)))
    tried = 0
    while todo and tried < most:
        tried += 1
        sizes, how = todo.popleft()
        fits = False
        try:
            made.append(plan(members, topology, sizes, how))
            fits = made[-1].fits
        except DoesNotFit:
            table.add_row(_short(sizes, how), "no", "more than available", "", "", "")
        except UserError as error:
            table.add_row(_short(sizes, how), "no", str(error).removeprefix("mesh: "), "", "", "")
            continue
        more = saving_more(members, how)
        if not fits and more is not None:
            todo.appendleft((sizes, more))
    for each in sorted(made, key=lambda each: (not each.fits, each.seconds)):
        table.add_row(
            _short(each.mesh, each.savings), "yes" if each.fits else "no", f"{each.bytes / 1e9:.3f}",
            f"{1e6 * each.seconds:.1f}", each.bound, f"{each.compile_seconds:.0f}",
        )  # fmt: skip
    console.print(table)
    return any(each.fits for each in made)


def _print(console: Console, made: Plan, steps: int) -> None:
    device = made.topology.device
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold")
    table.add_column()
    table.add_row("mesh", _short(made.mesh, made.savings))
    table.add_row(
        "memory",
        f"{'fits' if made.fits else 'does not fit'}: {_size(made.bytes)} of {_size(device.memory)} a device "
        f"(arguments {_size(made.arguments)}, outputs {_size(made.outputs)}, temporary {_size(made.temporaries)})",
    )
    table.add_row("largest", _sizes(made.largest))
    compiled = f"; by the compiler's count {_count(made.compiled_flops)}FLOP of all operations on a device, a loop once"
    table.add_row(
        "work",
        f"{_count(made.flops)}FLOP of matrix products in all, {_size(made.traffic)} to and from memory on a device"
        f"{compiled if made.compiled_flops else ''}",
    )
    for each in made.exchanges:
        nodes = f" ({each.near} in a node)" if each.near < each.group else ""
        table.add_row(
            "exchange",
            f"{each.count} {each.kind} among {each.group}{nodes}: {_size(each.bytes)}, {_size(each.sent)} sent",
        )
    table.add_row(
        "least time",
        f"{1e6 * made.seconds:.1f} us a step, bound by {made.bound} (compute {1e6 * made.compute_seconds:.1f}, "
        f"memory {1e6 * made.memory_seconds:.1f}, network {1e6 * made.network_seconds:.1f} us)",
    )
    for efficiency in EFFICIENCIES:
        rate = efficiency / made.seconds
        table.add_row(
            f"at {efficiency:.0%}", f"{_rate(rate)} steps/s, {_rate(made.members * rate)} with all members; "
            f"{steps:,} steps in {_duration(steps / rate)}",
        )  # fmt: skip
    table.add_row("compiled in", f"{made.compile_seconds:.0f} s")
    console.print(table, highlight=False)
    console.print("The least time assumes that operations and bytes run at the device's peak rates, without latency.")


def _sizes(sizes: Sequence[tuple[str, int]]) -> str:
    return ", ".join(f"{name} {_size(size)}" for name, size in sizes)


def _short(sizes: MeshSizes, savings: Savings) -> str:
    mesh = ",".join(part for part in str(sizes).split(",") if not part.endswith("=1")) or "one device"
    return " ".join([mesh, *_saving(savings)])


def _saving(savings: Savings) -> list[str]:
    """Returns the command-line options for these savings."""
    plain = Savings().facts()
    return [f"--{name}={value}" for name, value in savings.facts().items() if value != plain[name]]


def _size(count: float) -> str:
    return f"{_count(count)}B"


def _rate(rate: float) -> str:
    return f"{rate:,.0f}" if rate >= 10 else f"{rate:.2g}"


def _count(count: float) -> str:
    """Returns a number with an SI prefix: 3.4 M."""
    power = min(4, int(math.log10(count) / 3)) if count >= 1 else 0
    return f"{count / 1000**power:.3g} {['', 'k', 'M', 'G', 'T'][power]}"


def _duration(seconds: float) -> str:
    for size, unit in ((86400.0, "days"), (3600.0, "h"), (60.0, "min")):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.1f} s"
