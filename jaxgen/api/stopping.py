"""Ctrl-C in a notebook or a script: the first one saves and ends the call, the second one ends it at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Sequence
from types import FrameType
from typing import Any

from jaxgen.run.arguments import Observer
from jaxgen.run.rows import Row


class Stopping:
    """An observer that shows the progress to another one, and asks to stop after Ctrl-C.

    It holds SIGINT while it is entered, in the main thread alone, and then gives it back to whoever had it.
    """

    def __init__(self, shown: Observer):
        self._shown = shown
        self._asked = self._told = False
        self._before: Any = None

    def __enter__(self) -> Stopping:
        there = signal.getsignal(signal.SIGINT)  # None: of another language; SIG_IGN: the user wants none
        if threading.current_thread() is threading.main_thread() and there not in (None, signal.SIG_IGN):
            self._before = signal.signal(signal.SIGINT, self._interrupted)
        return self

    def __exit__(self, *_: object) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)

    def _interrupted(self, number: int, frame: FrameType | None) -> None:
        if self._asked:
            raise KeyboardInterrupt("ended at once; the checkpoints stay, and the same call goes on from them")
        self._asked = True

    def started(self, conditions: Sequence[str], step: int, horizon: int) -> None:
        self._shown.started(conditions, step, horizon)

    def compiled(self, program: str, seconds: float, cached: bool) -> None:
        self._shown.compiled(program, seconds, cached)

    def advanced(self, step: int, rows: Sequence[Row]) -> None:
        self._shown.advanced(step, rows)

    def note(self, text: str) -> None:
        self._shown.note(text)

    def unsaved(self, unsaved: bool) -> None: ...

    def stop_requested(self) -> bool:
        if self._asked and not self._told:
            self._told = True
            self._shown.note("stopping and saving; interrupt again to end at once")
        return self._asked

    def save_requested(self) -> bool:
        return False
