"""The docstring of a notebook as Markdown, by its labels."""

from __future__ import annotations

import re

from docs.site.text import escaped

# A label stands at the start of a line and ends with a colon: `Claimed: ...`, `Deviations, and why:`.
_LABEL = re.compile(r"^(?=[A-Z])([A-Z]+|[A-Z][a-z]+(?:[ ,]+[a-z]+){0,5}):(?:[ ]|$)", re.MULTILINE)


def sections(docstring: str) -> dict[str, str]:
    """Returns a docstring's parts by their labels, in order, as Markdown, without its first line, which is a title.

    A paragraph without a label belongs to the one before.
    """
    text = docstring.strip().partition("\n")[2]
    places = [found for found in _LABEL.finditer(text) if _begins_paragraph(text, found.start(), found[1])]
    ends = [*(found.start() for found in places), len(text)][1:]
    return {found[1]: escaped(text[found.end() : end].strip()) for found, end in zip(places, ends, strict=True)}


def _begins_paragraph(text: str, place: int, label: str) -> bool:
    # The command, what it took and what came out are three lines of one paragraph.
    return label in ("Took", "Came out") or text[:place].endswith("\n\n") or not text[:place].strip()
