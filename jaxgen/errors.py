"""The exception for a user's own mistake, and helpers for its message."""

from __future__ import annotations

from collections.abc import Iterable


class UserError(Exception):
    """A mistake that the user can correct. The message says in one line what was got, what was expected, and the fix.

    The command line prints the message and exits with code 2; it shows no traceback.
    """


# Messages show at most this many characters of a value.
_SHOWN = 100


def shown(value: object) -> str:
    """Returns a value as messages show it: its Python form, cut if it is long."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # Python writes no number of more than 4,300 digits
        return "a value too long to be shown"
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}... ({len(text):,} characters)"


def suggestion(name: str, choices: Iterable[str]) -> str:
    """Returns `; did you mean 'x'?` for the nearest of `choices`, or nothing if none is near."""
    import difflib  # slow to import, and needed only in messages

    by_lower = {each.lower(): each for each in sorted(set(choices))}
    close = difflib.get_close_matches(name.lower(), sorted(by_lower), n=1, cutoff=0.6)
    return f"; did you mean '{by_lower[close[0]]}'?" if close else ""


def nearest(name: str, choices: Iterable[str]) -> str:
    """Returns the suggestion for `name`, else the list of all `choices`."""
    names = sorted(set(choices))
    if found := suggestion(name, names):
        return found
    return f"; there is: {', '.join(names)}" if names else "; there is none"
