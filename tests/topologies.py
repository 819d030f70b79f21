"""One run in the topology-invariant mode on other numbers of devices and processes: `make chaos-distributed`.

It trains alone on each, and once wandering: killed on one, it goes on with the next. No bit of parameters and
optimiser state may differ; measured losses may, in their last digit.
"""

import os
import random
import sys
import tempfile
import time
from pathlib import Path

import click
import numpy as np

from jaxgen.ledger.runs import load_run
from tests.chaos import Launched, differences, write_paper

LARGEST_DIFFERENCE = 1e-5
# Processes, devices of each, and the mesh over all of them.
TOPOLOGIES = (
    (1, 1, "data=1"),
    (1, 2, "data=2"),
    (1, 4, "member=2,data=2"),
    (1, 8, "data=8"),
    (2, 1, "data=2"),
    (2, 2, "member=2,data=2"),
    (2, 4, "data=8"),
)


def launch(root: Path, runs: Path, topology: tuple[int, int, str]) -> Launched:
    processes, devices, mesh = topology
    command = [
        sys.executable, "-m", "jaxgen", "reproduce", "chaos/transformer", "--set", "numerics.logical_shards=8",
        "--mesh", mesh, "--runs", str(runs), "--save-every", "0.2",
    ]  # fmt: skip
    flags = f"--xla_force_host_platform_device_count={devices}"
    environment = os.environ | {"JAXGEN_EXPERIMENTS": str(root / "papers"), "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    return Launched(command, environment, processes)


def compare(one: Path, other: Path) -> tuple[list[str], float]:
    """Returns which states differ, and by how much a measured value does at most, relative to 1 or its size."""
    states = [each for each in differences(one, other) if "/recovery" in each or "/snapshots" in each]
    first, second = (load_run(each).table.rows["value"].to_numpy() for each in (one, other))
    return states, float(np.max(np.abs(first - second) / np.maximum(1.0, np.abs(first))))


def run_of(runs: Path) -> Path:
    (found,) = (runs / "chaos" / "transformer").iterdir()
    return found


@click.command()
@click.option("--steps", default=400, show_default=True)
@click.option("--seed", default=0, show_default=True, help="Decides when the wandering run is killed.")
def main(steps: int, seed: int) -> None:
    """Train on every topology, and compare all bits with those of one device."""
    random_ = random.Random(seed)
    with tempfile.TemporaryDirectory(prefix="topologies-") as name:
        root = Path(name)
        write_paper(root / "papers", steps)
        differing = 0
        for number, topology in enumerate(TOPOLOGIES):
            runs = root / str(number)
            began = time.monotonic()
            launch(root, runs, topology).check(runs)
            found, furthest = compare(run_of(root / "0"), run_of(runs))
            differing += len(found) + (furthest > LARGEST_DIFFERENCE)
            processes, devices, mesh = topology
            seconds = time.monotonic() - began
            print(
                f"{processes} x {devices} devices, {mesh:16} {len(found)} states differ, measures by {furthest:.1g}, "
                f"{seconds:.0f} s", *found, flush=True,
            )  # fmt: skip
        wandering, kills = root / "wandering", 0
        for topology in TOPOLOGIES[1:]:
            launched = launch(root, wandering, topology)
            until = time.monotonic() + random_.uniform(6, 20)
            while launched.running() and time.monotonic() < until:
                time.sleep(0.01)
            if not launched.running():
                launched.check(wandering)
                break
            random_.choice(launched.processes).kill()
            launched.output()
            kills += 1
        launch(root, wandering, TOPOLOGIES[0]).check(wandering)
        found, furthest = compare(run_of(root / "0"), run_of(wandering))
        differing += len(found) + (furthest > LARGEST_DIFFERENCE)
        print(f"killed {kills} times, each time moved: {len(found)} states differ, measures by {furthest:.1g}", *found)
    sys.exit(1 if differing else 0)


if __name__ == "__main__":
    main()
