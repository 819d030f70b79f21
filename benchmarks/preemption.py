"""How long a run takes to end after SIGTERM, by what it is doing: `make endurance`.

Each line is a process of its own, which sends itself the signal where the line says; the time is from
there to the end of the process, as its parent sees it.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.survival_paper import write_survival_paper

ROUNDS = 3
LIMIT_SECONDS = 10.0

# Runs the command line, and sends the signal some seconds after the n-th call of a function has begun.
CHILD = """
import importlib, os, signal, sys, threading, time

module, name, call, delay = sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4])

def send():
    time.sleep(delay)
    print("signalled", time.time(), file=sys.stderr, flush=True)
    os.kill(os.getpid(), signal.SIGTERM)

def hook():
    place = importlib.import_module(module)
    *outer, last = name.split(".")
    for each in outer:
        place = getattr(place, each)
    original, calls = getattr(place, last), []
    def replaced(*args, **kwargs):
        calls.append(None)
        if len(calls) == call:
            threading.Thread(target=send, daemon=True).start()
        return original(*args, **kwargs)
    setattr(place, last, replaced)

from jaxgen.cli import main
if module == "start":
    threading.Thread(target=send, daemon=True).start()
else:
    hook()
main(["reproduce", *sys.argv[5:]])
"""

# What it is doing, the experiment, the function whose call begins it, which call, and how long after.
PHASES = [
    ("importing jax", "shallow", "start", "-", 1, 0.3),
    ("compiling 24 layers", "deep", "jaxgen.run.loop", "_Training._compile", 1, 2.0),
    ("in a chunk of 24 layers", "deep", "jaxgen.run.reader", "Reader.read", 3, 0.5),
    ("measuring", "shallow", "jaxgen.run.loop", "_Training._measured", 9, 0.0),
    ("saving 300 MB", "300-MB", "jaxgen.run.keeper", "Keeper.begin_save", 1, 0.2),
    ("in a chunk, with 300 MB to save", "300-MB", "jaxgen.run.reader", "Reader.read", 9, 0.1),
    ("analysing", "shallow", "jaxgen.ledger.reproduce", "_analyse", 1, 0.0),
    ("writing the report", "shallow", "jaxgen.cli.train", "_write_report", 1, 0.0),
]


def latency(root: Path, phase: tuple[str, str, str, str, int, float], number: int) -> tuple[float, int]:
    """Returns the seconds from the signal to the end of a run, and its exit code."""
    _, experiment, module, name, call, delay = phase
    environment = os.environ | {
        "JAXGEN_EXPERIMENTS": str(root / "papers"),
        "JAXGEN_RUNS": str(root / f"runs-{number}"),
        "JAXGEN_CACHE": str(root / f"cache-{number}"),  # each compiles anew
    }
    arguments = [module, name, str(call), str(delay), f"survival/{experiment}", "--save-every", "5"]
    process = subprocess.Popen(
        [sys.executable, "-c", CHILD, *arguments],
        env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stderr is not None
    signalled, lines = None, []
    for line in process.stderr:
        lines.append(line)
        if line.startswith("signalled"):
            signalled = float(line.split()[1])
            break
    code = process.wait()
    if signalled is None:
        raise RuntimeError(f"{phase[0]}: it ended with {code} before it came there:\n{''.join(lines)}")
    return time.time() - signalled, code


def main() -> None:
    """Print the table, and fail where a run took longer than ten seconds or said the wrong exit code."""
    print(f"{'SIGTERM while':34} {'median s':>9} {'longest s':>10} {'exit code':>10}")
    failed = False
    number = 0
    for phase in PHASES:
        times, codes = [], set()
        for _ in range(ROUNDS):
            number += 1
            with tempfile.TemporaryDirectory(prefix="preemption-") as root:
                write_survival_paper(Path(root))
                seconds, code = latency(Path(root), phase, number)
            times.append(seconds)
            codes.add(code)
        said = " or ".join(str(code) for code in sorted(codes))
        print(f"{phase[0]:34} {statistics.median(times):9.2f} {max(times):10.2f} {said:>10}", flush=True)
        # A run that was done before it had to end says so with 0.
        failed |= max(times) > LIMIT_SECONDS or not codes <= {0, 75}
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
