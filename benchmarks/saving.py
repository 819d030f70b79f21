"""What saving costs at the default cadence, on states of 5 MB and 300 MB: `make endurance`.

`blocked` is the part of the time in which training waited for a save; `slowed` how much slower
training was over all, against its speed while nothing was being written in the background.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.survival_paper import write_survival_paper
from jaxgen.ledger.discovery import find
from jaxgen.ledger.reproduce import reproduce
from jaxgen.ledger.runs import Request, Run
from jaxgen.run.arguments import Interrupted, RunArguments, SilentObserver
from jaxgen.run.goodput import goodput
from jaxgen.run.manifest import all_steps, published_steps, verify

SECONDS = 200.0  # so three saves


class Watch(SilentObserver):
    """Stops after some time; notes how far training was, and whether a save was being written."""

    def __init__(self, path: Path):
        self.path = path
        self.until = time.monotonic() + SECONDS
        self.status: dict[str, Any] = {}  # as the last save before the stop left it
        self.seen: list[tuple[float, int, bool]] = []

    def advanced(self, step, rows):
        (directory,) = Run(self.path).populations()
        recovery = directory.path / "recovery"
        if time.monotonic() < self.until:
            self.status = directory.status()
        writing = len(all_steps(recovery)) > len(published_steps(recovery))
        self.seen.append((time.monotonic(), step, writing))

    def stop_requested(self) -> bool:
        return time.monotonic() > self.until

    def slowed(self) -> float:
        """Returns 1 - (speed over all) / (speed while nothing was being written)."""
        free_steps = free_seconds = 0.0
        for (before, step_before, was), (after, step_after, is_) in zip(self.seen, self.seen[1:], strict=False):
            if not was and not is_:
                free_steps += step_after - step_before
                free_seconds += after - before
        (first, first_step, _), (last, last_step, _) = self.seen[0], self.seen[-1]
        return 1 - (last_step - first_step) / (last - first) / (free_steps / free_seconds)


def main() -> None:
    """Print the table."""
    print(f"{'state':>8} {'saves':>6} {'blocked %':>10} {'slowed %':>9}   the run's own words")
    for name in ("5-MB", "300-MB"):
        with tempfile.TemporaryDirectory(prefix="saving-") as root:
            os.environ["JAXGEN_EXPERIMENTS"] = str(write_survival_paper(Path(root)))
            _, (experiment,) = find(f"survival/{name}")
            path = Path(root) / "run"
            watch = Watch(path)
            request = Request("survival", name, "paper")
            with contextlib.suppress(Interrupted):
                reproduce(experiment, request, path, observer=watch, arguments=RunArguments())
            (directory,) = Run(path).populations()
            newest = published_steps(directory.path / "recovery")[-1]
            size = verify(directory.path / "recovery" / str(newest)).bytes / 1e6
            events = (directory.path / "events.jsonl").read_text()
            # The last save is that of the stop, which waits for itself; counted are those before it.
            saves, seconds = events.count('"saved"') - 1, watch.status["seconds"]
            blocked = 100 * (seconds["saving"] + seconds["waiting"]) / sum(seconds.values())
            words = goodput(seconds)
            print(f"{size:5.0f} MB {saves:6} {blocked:10.2f} {100 * watch.slowed():9.2f}   {words}", flush=True)


if __name__ == "__main__":
    main()
