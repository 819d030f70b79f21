"""nanda-modadd at full size: the engine, a loop by hand, and plain PyTorch, side by side.

    python -m benchmarks.nanda_step [--rounds 15] [--steps 10]

Three processes live through the whole measurement and take turns, one round each, so a machine whose
speed drifts slows them all. Printed are the medians over the rounds of steps per second and of the
ratio to the engine's round of the same turn.
"""

import argparse
import multiprocessing as mp
import os
import statistics
import time
from multiprocessing.connection import Connection


def work(name: str, pipe: Connection) -> None:
    from jaxgen.ledger.discovery import find

    _, (experiment,) = find("nanda-modadd/mainline")
    condition = next(each for each in experiment.at_scale("paper") if each.name == "decay")
    if name == "PyTorch, eager":
        import torch

        from benchmarks.torch_nanda import Script

        torch.set_num_threads(os.cpu_count() or 1)
        runner = Script(condition)
    else:
        from benchmarks import jax_nanda

        runner = jax_nanda.Engine(condition) if name == "jaxgen" else jax_nanda.ByHand(condition)
    runner.steps(3)
    pipe.send("ready")
    while count := pipe.recv():
        began = time.perf_counter()
        runner.steps(count)
        pipe.send(count / (time.perf_counter() - began))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--steps", type=int, default=10, help="steps a round")
    options = parser.parse_args()
    context = mp.get_context("spawn")
    names = ["jaxgen", "jitted loop by hand", "PyTorch, eager"]
    pipes: dict[str, Connection] = {}
    for name in names:
        pipes[name], theirs = context.Pipe()
        context.Process(target=work, args=(name, theirs), daemon=True).start()
    for pipe in pipes.values():
        pipe.recv()
    speeds: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(options.rounds):
        for name in names if turn % 2 else reversed(names):
            pipes[name].send(options.steps)
            speeds[name].append(pipes[name].recv())
    for pipe in pipes.values():
        pipe.send(0)
    print(f"{'':22}{'steps/s':>10}{'lowest':>10}{'highest':>10}{'jaxgen is':>12}")
    for name in names:
        ratio = statistics.median(ours / theirs for ours, theirs in zip(speeds["jaxgen"], speeds[name], strict=True))
        low, high = min(speeds[name]), max(speeds[name])
        print(f"{name:22}{statistics.median(speeds[name]):10.1f}{low:10.1f}{high:10.1f}{ratio:11.2f}x")


if __name__ == "__main__":
    main()
