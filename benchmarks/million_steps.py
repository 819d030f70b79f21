"""Memory over a million steps, saved every second: it must stay flat. `make endurance`."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from benchmarks.survival_paper import write_survival_paper
from jaxgen.ledger.discovery import find
from jaxgen.ledger.reproduce import reproduce
from jaxgen.ledger.runs import Request, Run
from jaxgen.run.arguments import RunArguments, SilentObserver
from jaxgen.run.manifest import published_steps

EVERY = 100_000
LIMIT_MB = 20.0


def resident_megabytes() -> float:
    """Returns the memory that this process holds now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


class Watch(SilentObserver):
    """Prints the memory every 100,000 steps."""

    def __init__(self) -> None:
        self.held: dict[int, float] = {}

    def advanced(self, step, rows):
        mark = step // EVERY * EVERY
        if mark not in self.held:
            self.held[mark] = resident_megabytes()
            print(f"{mark:9} {self.held[mark]:8.1f}", flush=True)


def main() -> None:
    """Print the table, and fail where memory grew by more than 20 MB after the first 100,000 steps."""
    with tempfile.TemporaryDirectory(prefix="million-") as root:
        os.environ["JAXGEN_EXPERIMENTS"] = str(write_survival_paper(Path(root)))
        _, (experiment,) = find("survival/million")
        watch, path = Watch(), Path(root) / "run"
        print(f"{'step':>9} {'MB held':>8}")
        reproduce(
            experiment, Request("survival", "million", "paper"), path,
            observer=watch, arguments=RunArguments(recovery_seconds=1.0),
        )  # fmt: skip
        (directory,) = Run(path).populations()
        kept = published_steps(directory.path / "recovery")
        grown = watch.held[10**6] - watch.held[EVERY]
        print(f"grown by {grown:.1f} MB; recovery keeps {kept}")
    sys.exit(1 if grown > LIMIT_MB or len(kept) != 2 else 0)


if __name__ == "__main__":
    main()
