"""Text for people: text from a run's files is shown, and never obeyed by a terminal."""

from __future__ import annotations

import errno
import io
import re
import shlex
import sys
from pathlib import Path
from typing import Any, TextIO

import click

from jaxgen.storage import objects

# Sequences that colour text, move the cursor or talk to the terminal; other invisible characters except tab and # new
# line; and marks that reorder the line around them.
_SEQUENCE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|[\]PX^_].*?(?:\x07|\x1b\\|$))", re.DOTALL)
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def harmless(text: str) -> str:
    """Removes from a text the sequences that a terminal would obey. Other invisible characters become `\\x07`."""
    return _CONTROL.sub(lambda found: repr(found.group())[1:-1], _SEQUENCE.sub("", text))


def shown_path(path: Path) -> str:
    """Returns the location of a run or a file, as a command takes it."""
    return shlex.quote(objects.url(path))


def echo(text: str, *, newline: bool = True, err: bool = False) -> None:
    """Prints a text that may come from a file."""
    click.echo(harmless(text), nl=newline, err=err)


def forgive_terminals() -> None:
    """Ensures that output never ends a run: characters that it cannot encode are written as `\\u2265`, and text for a
    closed terminal is dropped."""
    sys.stdout, sys.stderr = _forgiving(sys.stdout), _forgiving(sys.stderr)


class _Terminal(io.FileIO):
    """A terminal that may close at any moment."""

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data)
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            return memoryview(data).nbytes


def _forgiving(stream: TextIO) -> TextIO:
    if not isinstance(stream, io.TextIOWrapper):
        return stream
    stream.reconfigure(errors="backslashreplace")
    if not stream.isatty():
        return stream
    stream.flush()
    output = io.BufferedWriter(_Terminal(stream.fileno(), "w", closefd=False))
    return io.TextIOWrapper(output, encoding=stream.encoding, errors="backslashreplace", line_buffering=True)
