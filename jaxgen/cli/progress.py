"""The live display of training: one line a population, or plain lines without a terminal."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence

from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from jaxgen.cli.console import Console
from jaxgen.cli.signals import Preemption
from jaxgen.cli.text import harmless
from jaxgen.run.rows import Row
from jaxgen.storage import objects

# Without a terminal: the time before the first line of progress, and between later ones.
FIRST_SECONDS, PLAIN_SECONDS = 5.0, 30.0


class ProgressDisplay:
    """An observer that shows the step, steps a second over all members, median accuracy, and time left."""

    def __init__(self, console: Console, preemption: Preemption):
        self.console, self.preemption = console, preemption
        self.progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.completed}/{task.total}"),
            TextColumn("{task.fields[speed]}"),
            TextColumn("{task.fields[accuracy]}", style="cyan"),
            TimeRemainingColumn(elapsed_when_finished=True),
            console=console,
            disable=not console.is_terminal,
        )
        self.task: TaskID | None = None
        self.label = ""
        self.accuracy = ""
        self.members = 0
        self.step, self.horizon = 0, 0
        self.began: tuple[float, int] = (0.0, 0)  # the time and the step at which the program began to run
        self.shown_at = 0.0

    def __enter__(self) -> ProgressDisplay:
        self.progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.progress.stop()

    def started(self, conditions: Sequence[str], step: int, horizon: int) -> None:
        names = list(dict.fromkeys(conditions))
        label = ", ".join(names[:2]) + (f" and {len(names) - 2} more" if len(names) > 2 else "")
        count = f"{len(conditions)} run" + ("s" if len(conditions) != 1 else "")
        self.label = harmless(f"{label} ({count})")
        self.members, self.step, self.horizon, self.accuracy = len(conditions), step, horizon, ""
        self.shown_at = time.monotonic() - PLAIN_SECONDS + FIRST_SECONDS
        if not self.console.is_terminal:
            self._print(f"{self.label}: from step {step} to {horizon}")
        self.task = self.progress.add_task(self.label, total=horizon, completed=step, accuracy="", speed="compiling")

    def compiled(self, program: str, seconds: float, cached: bool) -> None:
        if not cached and seconds > 1:
            self._print(f"compiled {program} in {seconds:.1f} s (kept for next time)")
        self.began = (time.monotonic(), self.step)

    def advanced(self, step: int, rows: Sequence[Row]) -> None:
        shown = []
        for split in ("train", "test"):
            values = [v for row in rows if (v := row["values"].get(f"accuracy/{split}")) is not None]
            if values:
                shown.append(f"{split} {statistics.median(values):.3f}")
        self.accuracy = "  ".join(shown) or self.accuracy
        now = time.monotonic()
        elapsed = now - self.began[0]
        speed = f"{(step - self.began[1]) * self.members / elapsed:.0f} steps/s" if elapsed > 1 else ""
        assert self.task is not None
        self.progress.update(self.task, completed=step, accuracy=self.accuracy, speed=speed)
        if not self.console.is_terminal and (now - self.shown_at > PLAIN_SECONDS or step == self.horizon):
            self.shown_at = now
            self._print(f"{self.label}: step {step}/{self.horizon}  {speed}  {self.accuracy}")

    def note(self, text: str) -> None:
        self._print(text)

    def unsaved(self, unsaved: bool) -> None:
        self.preemption.unsaved = unsaved

    def stop_requested(self) -> bool:
        return self.preemption.stop_requested

    def save_requested(self) -> bool:
        return self.preemption.save_requested()

    def _print(self, text: str) -> None:
        self.console.print(objects.with_urls(text), highlight=False, markup=False, soft_wrap=True)
