"""`jaxgen bench`: measures the engine's steps per second on this machine."""

from __future__ import annotations

import statistics
import time
from typing import Any

import jax
import numpy as np
from rich.table import Table

from jaxgen.cli.console import Console
from jaxgen.condition import Trajectory
from jaxgen.distributed import environment
from jaxgen.ledger.discovery import find
from jaxgen.machine import device_name
from jaxgen.train.constants import stack_constants
from jaxgen.train.program import Layout, Program

EXPERIMENT, CONDITION = "nanda-modadd/mainline", "decay"


def bench(seconds: float) -> None:
    """Prints member-steps per second of one condition, alone and in populations of both layouts."""
    environment.check_devices()
    environment.enable_compile_cache()
    console = Console()
    _, (experiment,) = find(EXPERIMENT)
    (condition,) = (each for each in experiment.at_scale("paper") if each.name == CONDITION)
    console.print(f"{EXPERIMENT}, '{CONDITION}': full batch of {dict(condition.task.shape().sizes)['train']} examples")
    console.print(device_name(environment.describe()), markup=False)
    table = Table("members", "layout", "member-steps/s", "ms a member-step", box=None)
    cases: list[tuple[int, Layout]] = [(1, "sequential"), (4, "sequential"), (4, "vmap")]
    for members, layout in cases:
        speed = _measure(
            Program(condition, layout), [Trajectory(condition, i, "") for i in range(members)], seconds / 3
        )
        table.add_row(str(members), layout, f"{speed:.1f}", f"{1000 / speed:.2f}")
    console.print(table)


def _measure(program: Program, members: list[Trajectory], seconds: float) -> float:
    constants = stack_constants(members, [None] * len(members))
    state = program.init(constants, None)
    state, token = program.advance(state, constants, np.int32(2))
    jax.block_until_ready(token)
    speeds: list[float] = []
    began = time.monotonic()
    while time.monotonic() - began < seconds or len(speeds) < 3:
        state, elapsed = _timed(program, state, constants, steps=5)
        speeds.append(5 * len(members) / elapsed)
    return statistics.median(speeds)


def _timed(program: Program, state: Any, constants: Any, steps: int) -> tuple[Any, float]:
    began = time.perf_counter()
    state, token = program.advance(state, constants, np.int32(steps))
    jax.block_until_ready(token)
    return state, time.perf_counter() - began
