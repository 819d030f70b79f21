"""Weak and strong scaling of the 57M-parameter transformer on TPU v5p, as `jaxgen plan` predicts it.

    python -m benchmarks.scaling_on_paper

compiles the train step for 1 to 512 chips and writes docs/scaling-on-paper.csv and docs/scaling-on-paper.svg. Points
that the table has are not compiled again. Needs libtpu and no TPU.
"""

from __future__ import annotations

import csv
import dataclasses
import os
from collections.abc import Callable
from pathlib import Path

import matplotlib
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from benchmarks.plans import population
from jaxgen.figures.axes import STYLE, legend, name_axes, panels, step_text
from jaxgen.figures.palette import MUTED, SERIES

DOCS = Path(__file__).parents[1] / "docs"
TABLE, FIGURE = DOCS / "scaling-on-paper.csv", DOCS / "scaling-on-paper.svg"
TOPOLOGIES = {1: "v5p:2x2x1", 8: "v5p:2x2x2", 64: "v5p:4x4x4", 512: "v5p:8x8x8"}  # a slice has four chips or more
MESHES = ("data", "fsdp")
MOST_FSDP = 64  # a width of 768 cannot be spread over 512; the rest is data
BATCH, BATCH_A_CHIP = 4096, 64  # so both scalings are one thing on 64 chips
LABELS = {"data": "data", "fsdp": f"fsdp to {MOST_FSDP}, then data"}
FIELDS = ("mesh", "chips", "batch", "compute us", "memory us", "network us", "GB a device")


def wanted() -> list[tuple[str, int, int]]:
    """Returns the points (mesh, chips, batch); one chip is one mesh."""
    points = {
        (mesh if chips > 1 else MESHES[0], chips, batch)
        for mesh in MESHES
        for chips in TOPOLOGIES
        for batch in (BATCH, BATCH_A_CHIP * chips)
    }
    return sorted(points, key=lambda point: point[1:])


def compile_point(mesh: str, chips: int, batch: int) -> dict[str, float | str]:
    from jaxgen.distributed.mesh import MeshSizes
    from jaxgen.plan.compile import plan
    from jaxgen.plan.topology import read_topology

    # The exchanges are the partitioner's, whatever the effort of the passes after it.
    topology = dataclasses.replace(
        read_topology(TOPOLOGIES[chips]), compiler_options={"exec_time_optimization_effort": -1.0}
    )
    # Of p = 389 there are equations enough for the largest batch.
    fsdp = min(chips, MOST_FSDP) if mesh == "fsdp" else 1
    members = population("57M", "task.p=389", f"batch_size={batch}")
    made = plan(members, topology, MeshSizes(data=chips // fsdp, fsdp=fsdp))
    seconds = (made.compute_seconds, made.memory_seconds, made.network_seconds)
    numbers = [round(1e6 * each, 2) for each in seconds] + [round(made.bytes / 1e9, 3)]
    return dict(zip(FIELDS, [mesh, chips, batch, *numbers], strict=True))


def read_table() -> dict[tuple[str, int, int], dict[str, float]]:
    if not TABLE.exists():
        return {}
    with TABLE.open() as file:
        rows = list(csv.DictReader(file))
    return {
        (row["mesh"], int(row["chips"]), int(row["batch"])): {field: float(row[field]) for field in FIELDS[1:]}
        for row in rows
    }


def draw(table: dict[tuple[str, int, int], dict[str, float]]) -> None:
    titles = [f"Strong: {BATCH:,} examples in all", f"Weak: {BATCH_A_CHIP} examples a chip"]
    chips = list(TOPOLOGIES)
    with matplotlib.rc_context(STYLE):
        figure, axes = panels(titles, 8.0)
        handles: list[Line2D] = []
        for each, batches in zip(axes, ([BATCH] * len(chips), [BATCH_A_CHIP * n for n in chips]), strict=True):
            handles = []
            for mesh, shade in zip(MESHES, SERIES, strict=False):
                rows = [table[mesh if n > 1 else MESHES[0], n, batch] for n, batch in zip(chips, batches, strict=True)]
                fastest, slowest = rates(rows, max), rates(rows, sum)
                (line,) = each.plot(chips, fastest, color=shade.light, marker="o", markersize=4, label=LABELS[mesh])
                each.fill_between(chips, slowest, fastest, color=shade.light, alpha=0.18, linewidth=0)
                handles.append(line)
            ideal = [fastest[0] * n for n in chips]
            handles += each.plot(
                chips, ideal, color=MUTED.light, linewidth=1, linestyle=(0, (4, 3)), label="one chip's times chips"
            )
            each.set_xscale("log")
            each.set_yscale("log")
            each.xaxis.set_major_locator(FixedLocator(chips))
            each.xaxis.set_minor_locator(NullLocator())
            each.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            each.yaxis.set_minor_locator(NullLocator())
            each.yaxis.set_major_formatter(FuncFormatter(lambda value, _: step_text(value)))
        name_axes(figure, "TPU v5p chips", "examples a second")
        legend(figure, handles)
        figure.savefig(FIGURE, format="svg", metadata={"Date": None})


def rates(rows: list[dict[str, float]], together: Callable[[list[float]], float]) -> list[float]:
    """Returns examples a second, where the times of a step go `together`: the longest where all overlap, or the sum."""
    return [1e6 * row["batch"] / together([row[field] for field in FIELDS[3:6]]) for row in rows]


def main() -> None:
    os.environ["JAX_PLATFORMS"] = "cpu"
    for point in wanted():
        if point in read_table():
            continue
        row = compile_point(*point)
        new = not TABLE.exists()
        with TABLE.open("a", newline="") as file:
            writer = csv.DictWriter(file, FIELDS)
            if new:
                writer.writeheader()
            writer.writerow(row)
        print(row, flush=True)
    draw(read_table())


if __name__ == "__main__":
    main()
