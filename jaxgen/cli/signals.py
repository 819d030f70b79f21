"""Handles the signals by which the user or the machine stops a run, whatever the program is doing.

SIGTERM, SIGHUP (unless it is ignored, as under nohup) and the first SIGINT ask the run to save and stop; it exits with
`STOPPED`. SIGUSR1 asks it to save and continue. A second SIGINT ends it at once, and its checkpoints stay.

Python runs its signal handlers between two bytecode instructions, so not before a compilation ends. Therefore each
signal is written to a pipe at once, and a thread reads it. While nothing would be lost (compiling, analysing, writing
the report) this thread ends the process itself. It also does so if the program has not stopped after most of the grace
time. Files are atomic, so that is safe.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import NoReturn

from jaxgen.distributed.processes import STOPPED

# The exit code after a second SIGINT, as in a shell.
INTERRUPTED = 128 + signal.SIGINT

# The process ends within ten seconds of the first signal.
GRACE_SECONDS = 7.0
# A program that has nothing to save gets this long to stop by itself.
IDLE_SECONDS = 1.0

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)


class Preemption:
    """Handles the signals while it is entered, in the main thread. Imports no jax, so that it can start early."""

    def __init__(self) -> None:
        self.stop_requested = False
        self.unsaved = False  # whether ending now would lose something
        self.way_back = ""  # the command that resumes the run
        self.leaving: Callable[[str, int], None] = lambda *_: None  # called before the process ends
        self._save_requested = False

    def save_requested(self) -> bool:
        """Returns whether a save was requested since the last call."""
        requested, self._save_requested = self._save_requested, False
        return requested

    def __enter__(self) -> Preemption:
        self._read_end, self._write_end = os.pipe()
        os.set_blocking(self._write_end, False)
        ignored = signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
        held = [number for number in _SIGNALS if number != signal.SIGHUP or not ignored]
        self._handlers = {number: signal.signal(number, lambda *_: None) for number in held}
        self._wakeup = signal.set_wakeup_fd(self._write_end, warn_on_full_buffer=False)
        self._watcher = threading.Thread(target=self._watch, name="signals", daemon=True)
        self._watcher.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        signal.set_wakeup_fd(self._wakeup)
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        os.close(self._write_end)  # the watcher reads the end of the pipe, and ends
        self._watcher.join()
        os.close(self._read_end)

    def _watch(self) -> None:
        stop_at = float("inf")
        while True:
            readable, _, _ = select.select([self._read_end], [], [], 0.1 if self.stop_requested else None)
            if readable:
                numbers = os.read(self._read_end, 64)
                if not numbers:
                    return
                for number in numbers:
                    if number == signal.SIGUSR1:
                        self._save_requested = True
                    elif self.stop_requested and number == signal.SIGINT:
                        self._leave("ended at once; the checkpoints stay", INTERRUPTED)
                    elif not self.stop_requested:
                        self.stop_requested = True
                        stop_at = time.monotonic()
            waited = time.monotonic() - stop_at
            if waited > GRACE_SECONDS:
                self._leave("stopped while it was busy; it resumes from the last checkpoint", STOPPED)
            if waited > IDLE_SECONDS and not self.unsaved:
                self._leave("stopped; nothing is lost", STOPPED)

    def _leave(self, text: str, code: int) -> NoReturn:
        self.leaving(text, code)
        cursor = "\x1b[?25h" if sys.stdout.isatty() else ""  # a live display may have hidden it
        with contextlib.suppress(OSError):  # the reader may be gone
            os.write(1, f"{cursor}\n{text}{self.way_back and '; go on with: '}{self.way_back}\n".encode())
        os._exit(code)
