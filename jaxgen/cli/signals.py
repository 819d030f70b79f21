"""What the user or the machine asks of a run by signals, wherever the program is.

SIGTERM, SIGHUP (unless it is ignored, as under nohup) and the first SIGINT ask it to save and stop; it exits with
`STOPPED`. SIGUSR1 asks it to save and go on. A second SIGINT ends it at once: what was saved stays.

Python runs its signal handlers between two of its instructions, so not before a compilation ends.
Here the system writes each signal to a pipe at once, and a thread reads it. While nothing would be
lost (compiling, analysing, writing the report) it ends the process itself; it also does so where the
program has not stopped after most of the grace time. Files are whole at any moment, so that is safe.
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

# The exit code of a run that was ended by a second SIGINT: as a shell has it.
INTERRUPTED = 128 + signal.SIGINT

# Within ten seconds of the first signal the process has ended.
GRACE_SECONDS = 7.0
# A program that has nothing to save gets this long to stop by itself.
IDLE_SECONDS = 1.0

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)


class Preemption:
    """Holds the signals while it is entered, in the main thread; imports no jax, to be there early."""

    def __init__(self) -> None:
        self.stop_requested = False
        self.unsaved = False  # whether there is something that ending now would lose
        self.way_back = ""  # the command that goes on
        self.leaving: Callable[[str, int], None] = lambda *_: None  # is told before the process ends
        self._save_requested = False

    def save_requested(self) -> bool:
        """Returns whether a save was asked for since it was last called."""
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
                        self._leave("ended at once; what was saved stays", INTERRUPTED)
                    elif not self.stop_requested:
                        self.stop_requested = True
                        stop_at = time.monotonic()
            waited = time.monotonic() - stop_at
            if waited > GRACE_SECONDS:
                self._leave("stopped while it was busy; it goes on from the last save", STOPPED)
            if waited > IDLE_SECONDS and not self.unsaved:
                self._leave("stopped; nothing is lost", STOPPED)

    def _leave(self, text: str, code: int) -> NoReturn:
        self.leaving(text, code)
        cursor = "\x1b[?25h" if sys.stdout.isatty() else ""  # a live display may have hidden it
        with contextlib.suppress(OSError):  # whoever read it may be gone
            os.write(1, f"{cursor}\n{text}{self.way_back and '; go on with: '}{self.way_back}\n".encode())
        os._exit(code)
