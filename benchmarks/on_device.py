"""The first minutes on a GPU: what the kernels, populations and resume do there, written down result by result.

    python -m benchmarks.on_device --out FILE            # about eight minutes on a GPU
    python -m benchmarks.on_device --out FILE --tiny     # on a CPU: that each part runs
    python -m benchmarks.on_device --table FILE          # the tables of a file that is there

Each part is a process with a time of its own, in order of value; where it fails or runs out of time, the others go on,
and what it had found is kept. A file that is there is added to, so parts can be run one by one (`--part`).
"""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

# Seconds of each part: eight minutes together, with the start of each process.
PARTS = {"parity": 100, "rates": 95, "populations": 110, "resume": 100, "gpt": 45, "blocks": 30}


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("--out", type=Path, help="where each result is added as a line of JSON")
    parser.add_argument("--table", type=Path, help="print the tables of such a file, and run nothing")
    parser.add_argument("--part", action="append", choices=PARTS, help="only this one; repeatable")
    parser.add_argument("--tiny", action="store_true", help="sizes for a CPU")
    parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)  # of one part: in this process
    asked = parser.parse_args(arguments)
    if asked.table:
        print(tables(asked.table))
    elif not asked.out:
        parser.error("--out or --table is needed")
    elif asked.alone:
        run_part(asked.part[0], asked.out, asked.tiny)
    else:
        conduct(asked.part or list(PARTS), asked.out, asked.tiny)


def conduct(parts: list[str], out: Path, tiny: bool) -> None:
    """Runs parts one after another, each in a process that is stopped when its time is over."""
    for part in parts:
        command = [sys.executable, "-m", "benchmarks.on_device", "--alone", "--part", part, "--out", str(out)]
        began = time.monotonic()
        try:
            # Sizes for a CPU are a check of the program, and take as long as that machine takes.
            done = subprocess.run([*command, "--tiny"]) if tiny else subprocess.run(command, timeout=PARTS[part])
            ended = "whole" if done.returncode == 0 else f"failed with {done.returncode}"
        except subprocess.TimeoutExpired:
            ended = f"stopped after its {PARTS[part]} s"
        add(out, {"part": part, "ended": ended, "seconds": time.monotonic() - began})
    print(tables(out))


def run_part(part: str, out: Path, tiny: bool) -> None:
    """Runs one part in this process."""
    # Three quarters of the memory would be taken at the start, and the runs of `resume` are other processes.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    if part != "resume":  # it uses the device only in its children
        import jax

        device = jax.devices()[0]
        versions = {name: importlib.metadata.version(name) for name in ("jax", "jaxlib")}
        add(out, {"part": part, "device": device.device_kind, "python": sys.version.split()[0], **versions})
    module = importlib.import_module(f"benchmarks.device.{part}")
    module.run(lambda **result: add(out, {"part": part, **result}), tiny)


def add(out: Path, result: dict[str, Any]) -> None:
    """Adds a result to the file, and prints it."""
    line = json.dumps({name: _short(value) for name, value in result.items()})
    with out.open("a") as file:
        file.write(line + "\n")
    print(line, flush=True)


def _short(value: Any) -> Any:
    return float(f"{value:.4g}") if isinstance(value, float) else value


def tables(path: Path) -> str:
    """Returns the results of a file as a Markdown table a part."""
    results = [json.loads(line) for line in path.read_text().splitlines()]
    devices = sorted({f"{each['device']}, jax {each['jax']}" for each in results if "device" in each})
    lines = [f"On {'; '.join(devices)}."]
    for part in dict.fromkeys(each["part"] for each in results):
        rows = [each for each in results if each["part"] == part and not {"device", "ended"} & each.keys()]
        ended = [
            f"{each['ended']}, {each['seconds']:.0f} s" for each in results if each["part"] == part and "ended" in each
        ]
        names = list(dict.fromkeys(name for row in rows for name in row if name != "part"))
        lines += ["", f"### {part} ({'; '.join(ended) or 'not ended'})", ""]
        lines += [_row(names), _row(["---"] * len(names))]
        lines += [_row([_cell(row.get(name, "")) for name in names]) for row in rows]
    return "\n".join(lines)


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(value: Any) -> str:
    return str(value).replace("|", "/").replace("\n", " ")


if __name__ == "__main__":
    main()
