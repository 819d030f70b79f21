"""Whether killed runs come back bit for bit on this device, and what flags that change its order of sums cost."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.device import Record

FLAGS = {
    "as they are": "",
    "deterministic operations": "--xla_gpu_deterministic_ops=true",
    "no operation that is not": "--xla_gpu_exclude_nondeterministic_ops=true",
    "no command buffers": "--xla_gpu_enable_command_buffer=",
    "latency-hiding scheduler": "--xla_gpu_enable_latency_hiding_scheduler=true",
    "no autotuning": "--xla_gpu_autotune_level=0",
}
SPEED = """
from benchmarks.device.populations import steps_a_second
from benchmarks.jax_nanda import Engine
from jaxgen.ledger.discovery import find
_, (experiment,) = find("nanda-modadd/mainline")
condition = next(each for each in experiment.at_scale("SCALE") if each.name == "decay")
print("seed-steps", MEMBERS * steps_a_second(Engine(condition, MEMBERS, "vmap").steps, SECONDS))
"""


def run(record: Record, tiny: bool) -> None:
    # Imported here: the runs of it are other processes, and a GPU's memory is taken by the first that asks.
    from tests.chaos import KINDS, Chaos

    for kind in KINDS[1:2] if tiny else KINDS:
        began = time.perf_counter()
        with tempfile.TemporaryDirectory() as root:
            chaos = Chaos(kind, Path(root), 100 if tiny else 2000, random.Random(0))
            chaos.kill_and_compare(1 if tiny else 2)
        tally = chaos.tally
        record(of=f"kills, {kind}", kills=tally.kills, while_saving=tally.kills_while_saving,
               mismatches=len(tally.mismatches), passed=not tally.mismatches, said=tally.mismatches[:2],
               seconds=time.perf_counter() - began)  # fmt: skip
    sizes = {"SCALE": "smoke", "MEMBERS": "1", "SECONDS": "0.05"} if tiny else {}
    script = SPEED
    for name, value in ({"SCALE": "paper", "MEMBERS": "64", "SECONDS": "1.0"} | sizes).items():
        script = script.replace(name, value)
    for name, flags in list(FLAGS.items())[: 1 if tiny else None]:
        environment = os.environ | {"XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} {flags}".strip()}
        done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True)
        last = (done.stdout.strip().splitlines() or [""])[-1]
        if done.returncode == 0 and last.startswith("seed-steps "):
            record(of=f"flags, {name}", members=int(sizes.get("MEMBERS", "64")), seed_steps=float(last.split()[1]))
        else:
            record(of=f"flags, {name}", failed=done.stderr[-300:])
