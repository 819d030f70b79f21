"""How long a command still trains: measured where it trains, and for what follows as recorded or measured alike."""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from jaxgen.condition import Trajectory
from jaxgen.config import digest

# A speed is that of this many last seconds, as measuring is dense in the first steps.
WINDOW = 60.0


@dataclasses.dataclass(frozen=True)
class Work:
    """A population that is still to be trained."""

    conditions: tuple[str, ...]  # one a member
    steps: int  # that are left
    seconds: float | None  # for one step, by the paper's records; None: these do not say
    program: str  # populations with equal ones take equally long for a step of a member


def work(members: Sequence[Trajectory], steps: int, recorded: Mapping[str, Sequence[Mapping[str, Any]]]) -> Work:
    """Returns what training a population takes.

    Args:
      members: of the population.
      steps: that are left.
      recorded: the recordings of every condition, in results/<scale>.json.
    """
    names = tuple(each.condition.name for each in members)
    of_names = {name: _recorded_seconds(recorded.get(name, ())) for name in names}
    known = [seconds for name in names if (seconds := of_names[name]) is not None]
    condition = members[0].condition
    shape = dataclasses.asdict(condition.task.shape())
    program = digest([shape, condition.model, type(condition.optimizer).__name__, condition.batch_size])
    return Work(names, steps, sum(known) if len(known) == len(names) else None, program)


def _recorded_seconds(recordings: Sequence[Mapping[str, Any]]) -> float | None:
    """Returns the seconds of one step of one member by the last recording."""
    last = recordings[-1] if recordings else {}
    if not all(last.get(name) for name in ("minutes", "trained_together", "steps")):
        return None
    return float(60 * last["minutes"] / last["trained_together"] / last["steps"])


class TimeLeft:
    """Estimates the seconds that are left, of the population that trains and of all.

    Args:
      works: all populations to train, in their order.
      clock: the time in seconds.
    """

    def __init__(self, works: Sequence[Work], clock: Callable[[], float]):
        self.works, self.clock = list(works), clock
        self.number = 0  # of the population that trains, from 1
        self._members: dict[str, float] = {}  # program -> measured seconds of one step of one member
        self._spent, self._recorded = 0.0, 0.0  # seconds of training in this command, and what the records say of it
        self._seen: deque[tuple[float, int]] = deque()  # (time, step)
        self._step, self._horizon = 0, 0

    def started(self, conditions: Sequence[str], step: int, horizon: int) -> None:
        """Receives that a population begins; those before it that have not are left out."""
        later = range(self.number, len(self.works))
        found = next((i for i in later if set(conditions) <= set(self.works[i].conditions)), None)
        if found is None:  # seeds that were added since
            found = len(self.works)
            self.works.append(Work(tuple(conditions), horizon - step, None, repr(conditions)))
        self.number = found + 1
        self._step, self._horizon = step, horizon
        self._seen.clear()

    def compiled(self) -> None:
        """Receives that the steps begin."""
        self._seen = deque([(self.clock(), self._step)])

    def advanced(self, step: int) -> None:
        now, (before, step_before) = self.clock(), self._seen[-1]
        self._seen.append((now, step))
        while len(self._seen) > 2 and now - self._seen[1][0] >= WINDOW:
            self._seen.popleft()
        self._step = step
        if self._current is None:
            return
        if (seconds := self.step_seconds()) is not None:
            self._members[self._current.program] = seconds / len(self._current.conditions)
        if self._current.seconds is not None:
            self._spent += now - before
            self._recorded += self._current.seconds * (step - step_before)

    @property
    def _current(self) -> Work | None:
        return self.works[self.number - 1] if self.number else None

    def step_seconds(self) -> float | None:
        """Returns the measured seconds of a step; None: none has been measured for a second."""
        if len(self._seen) < 2 or self._seen[-1][0] - self._seen[0][0] <= 1 or self._seen[-1][1] == self._seen[0][1]:
            return None
        return (self._seen[-1][0] - self._seen[0][0]) / (self._seen[-1][1] - self._seen[0][1])

    def this(self) -> float | None:
        """Returns the seconds that are left of the population that trains; None: nothing tells."""
        seconds = self.step_seconds()
        if seconds is None and self._current is not None:
            seconds = self._expected(self._current)
        if seconds is None:
            return None
        since = self.clock() - self._seen[-1][0] if self._seen else 0.0
        return max(seconds * (self._horizon - self._step) - since, 0.0)

    def all(self) -> float | None:
        """Returns the seconds that are left of all populations; None: nothing tells of one of them."""
        left = [self.this()]
        for each in self.works[self.number :]:
            seconds = self._expected(each)
            left.append(None if seconds is None else seconds * each.steps)
        known = [each for each in left if each is not None]
        return sum(known) if len(known) == len(left) else None

    def measured(self) -> bool:
        """Returns whether an estimate rests on what this command has measured, not on the records alone."""
        return bool(self._members)

    def _expected(self, what: Work) -> float | None:
        """Returns the seconds of a step of a population that has not been measured."""
        if what.program in self._members:
            return self._members[what.program] * len(what.conditions)
        if what.seconds is None:
            return None
        return what.seconds * (self._spent / self._recorded if self._recorded and self._spent > 1 else 1.0)


def about(seconds: float) -> str:
    """Returns a time to go, rounded as an estimate is: 40 s, 12 min, 3 h 20 min, 2 d 5 h."""
    if seconds < 55:
        return f"{max(5 * round(seconds / 5), 5)} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{max(minutes, 1)} min"
    hours, rest = divmod(10 * round(minutes / 10), 60)
    if hours < 24:
        return f"{hours} h {rest} min" if rest else f"{hours} h"
    days, hours = divmod(round(minutes / 60), 24)
    return f"{days} d {hours} h" if hours else f"{days} d"
