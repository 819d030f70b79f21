"""nanda-modadd at the paper's size, p = 113: seed-steps a second of populations, and of what a user would write.

The baselines are `jax.vmap` by hand, plain PyTorch, and PyTorch in a CUDA graph, which trains one seed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

from benchmarks import jax_nanda
from benchmarks.device import Record
from jaxgen.condition import Condition
from jaxgen.ledger.discovery import find


def run(record: Record, tiny: bool) -> None:
    _, (experiment,) = find("nanda-modadd/mainline")
    condition = next(each for each in experiment.at_scale("smoke" if tiny else "paper") if each.name == "decay")
    for name, members, make in contestants(condition, (1, 2) if tiny else (1, 64, 256, 1024), tiny):
        try:
            steps = make()
            speed = steps_a_second(steps, 0.05 if tiny else 1.5)
        except Exception as error:  # such as too little memory for so many members
            record(by=name, members=members, failed=f"{type(error).__name__}: {str(error)[:300]}")
        else:
            record(by=name, members=members, seed_steps=members * speed)


def contestants(
    condition: Condition, counts: tuple[int, ...], tiny: bool
) -> Iterator[tuple[str, int, Callable[[], Callable[[int], Any]]]]:
    """Yields a name, how many seeds are trained, and what makes a function that takes so many steps."""

    def of_torch(name: str, *arguments: str) -> Callable[[int], Any]:
        from benchmarks import torch_nanda  # torch may not be there

        steps: Callable[[int], Any] = getattr(torch_nanda, name)(condition, *arguments).steps
        return steps

    yield "PyTorch, eager", 1, lambda: of_torch("Script", "cpu" if tiny else "cuda")
    for members in counts:
        yield "jaxgen", members, lambda members=members: jax_nanda.Engine(condition, members, "vmap").steps
        yield "jax.vmap by hand", members, lambda members=members: jax_nanda.ByHand(condition, members).steps
    if not tiny:
        yield "PyTorch, CUDA graph", 1, lambda: of_torch("Graph")


def steps_a_second(steps: Callable[[int], Any], seconds: float) -> float:
    """Returns the speed over a time that is about `seconds` long or longer."""
    steps(3)
    count = 1
    while True:
        began = time.perf_counter()
        steps(count)
        took = time.perf_counter() - began
        if took >= seconds:
            return count / took
        count = max(2 * count, int(count * seconds / max(took, 1e-4)))
