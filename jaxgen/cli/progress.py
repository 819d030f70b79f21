"""The live display of training: one line a population, or plain lines without a terminal."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterable, Sequence

from rich.console import RenderableType
from rich.progress import Progress, Task, TaskID
from rich.progress_bar import ProgressBar
from rich.table import Column, Table
from rich.text import Text

from jaxgen.cli.console import Console
from jaxgen.cli.left import TimeLeft, about
from jaxgen.cli.signals import Preemption
from jaxgen.cli.text import harmless
from jaxgen.run.rows import Row
from jaxgen.storage import objects

# Without a terminal: the time before the first line of progress, and between later ones.
FIRST_SECONDS, PLAIN_SECONDS = 5.0, 30.0
BAR_WIDTH = 20
# What a narrow terminal goes without, in this order; then the name is cut. Step and time left stay.
_LEFT_OUT = ("bar", "speed", "accuracy")
_LEAST_NAME = 12


class ProgressDisplay:
    """An observer that shows the step, steps a second over all members, median accuracy, and time left."""

    def __init__(self, console: Console, preemption: Preemption, left: TimeLeft | None = None):
        self.console, self.preemption = console, preemption
        self.left = left or TimeLeft([], time.monotonic)
        self.progress = _Lines(self, console)
        self.task: TaskID | None = None
        self.label = ""
        self.members = 0
        self.step, self.horizon = 0, 0
        self.shown_at = 0.0
        self.accuracy = ""

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
        self.left.started(conditions, step, horizon)
        if not self.console.is_terminal:
            trains = f"from step {step} to {horizon}" if step < horizon else f"at step {step}, asked for {horizon}"
            self._print("; ".join(filter(None, (f"{self.label}: {trains}", self.whole()))))
        self.task = self.progress.add_task(self.label, total=horizon, completed=step, accuracy="", speed="compiling")

    def compiled(self, program: str, seconds: float, cached: bool) -> None:
        if not cached and seconds > 1:
            self._print(f"compiled {program} in {seconds:.1f} s (kept for next time)")
        self.left.compiled()

    def advanced(self, step: int, rows: Sequence[Row]) -> None:
        shown = []
        for split in ("train", "test"):
            values = [v for row in rows if (v := row["values"].get(f"accuracy/{split}")) is not None]
            if values:
                shown.append(f"{split} {statistics.median(values):.3f}")
        self.accuracy = "  ".join(shown) or self.accuracy
        self.step = step
        self.left.advanced(step)
        seconds = self.left.step_seconds()
        speed = f"{self.members / seconds:.3g} steps/s" if seconds else ""
        assert self.task is not None
        self.progress.update(self.task, completed=step, accuracy=self.accuracy, speed=speed)
        now = time.monotonic()
        if not self.console.is_terminal and (now - self.shown_at > PLAIN_SECONDS or step == self.horizon):
            self.shown_at = now
            parts = (f"{self.label}: step {step}/{self.horizon}", speed, self.accuracy, self.time_left())
            whole = self.whole()
            self._print("  ".join(filter(None, parts)) + (f"; {whole}" if whole else ""))

    def time_left(self) -> str:
        """Returns the time left of the population that trains; empty while nothing tells."""
        seconds = self.left.this()
        if seconds is None or self.step == self.horizon:
            return ""
        minutes, rest = divmod(round(seconds), 60)
        return f"{minutes // 60}:{minutes % 60:02}:{rest:02} left"

    def whole(self) -> str:
        """Returns how far the whole command is; empty if it trains one population."""
        if len(self.left.works) < 2 and self.left.measured():
            return ""
        words = [f"population {self.left.number} of {len(self.left.works)}"] if len(self.left.works) > 1 else []
        if (seconds := self.left.all()) is not None:
            known = "" if self.left.measured() else " as recorded"
            words.append(f"about {about(seconds)} left in all{known}")
        return ", ".join(words)

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


class _Lines(Progress):
    """A line for each population, within the terminal's width, and one for the whole command."""

    def __init__(self, display: ProgressDisplay, console: Console):
        self.display = display
        super().__init__(console=console, disable=not console.is_terminal)

    def get_renderables(self) -> Iterable[RenderableType]:
        yield self.make_tasks_table(self.tasks)
        if whole := self.display.whole():
            yield Text(whole, style="bright_black", no_wrap=True, overflow="ellipsis")

    def make_tasks_table(self, tasks: Iterable[Task]) -> Table:
        tasks = list(tasks)
        rows = [self._cells(task) for task in tasks]
        names = ["name", "bar", "step", "left", "speed", "accuracy"]
        widths = {name: max((len(row[name]) for row in rows), default=0) for name in names}
        names = [name for name in names if widths[name]]

        def others() -> int:
            return sum(widths[name] + 1 for name in names if name != "name")

        for name in _LEFT_OUT:
            if others() + min(widths["name"], _LEAST_NAME) > self.display.console.width and name in names:
                names.remove(name)
        widths["name"] = max(min(widths["name"], self.display.console.width - others()), 1)
        columns = [Column(width=widths[name], no_wrap=True, overflow="ellipsis") for name in names]
        table = Table.grid(*columns, padding=(0, 1))
        for task, row in zip(tasks, rows, strict=True):
            bar = ProgressBar(total=task.total, completed=task.completed, width=BAR_WIDTH)
            table.add_row(*(bar if name == "bar" else Text(row[name]) for name in names))
        return table

    def _cells(self, task: Task) -> dict[str, str]:
        running = task.id == self.display.task
        return {
            "name": task.description,
            "bar": " " * BAR_WIDTH,
            "step": f"{task.completed:.0f}/{task.total:.0f}",
            "left": self.display.time_left() if running else "",
            "speed": task.fields["speed"],
            "accuracy": task.fields["accuracy"],
        }
