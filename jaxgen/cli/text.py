"""Text for people: what a run's files say is shown, and never obeyed by a terminal."""

from __future__ import annotations

import io
import re
import sys

import click

# Sequences that colour text, move the cursor or talk to the terminal; what else is no character to be seen, but for
# tab and new line; and marks that reorder the line around them.
_SEQUENCE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|[\]PX^_].*?(?:\x07|\x1b\\|$))", re.DOTALL)
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def harmless(text: str) -> str:
    """Returns a text without what a terminal would obey; other characters that cannot be seen become `\\x07`."""
    return _CONTROL.sub(lambda found: repr(found.group())[1:-1], _SEQUENCE.sub("", text))


def echo(text: str, *, newline: bool = True, err: bool = False) -> None:
    """Prints a text that may come from a file."""
    click.echo(harmless(text), nl=newline, err=err)


def tolerate_encodings() -> None:
    """Has characters that the output cannot encode be written as `\\u2265`, since none may end a run."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
