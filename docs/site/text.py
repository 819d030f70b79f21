"""Plain text as Markdown: what a docstring says, and nothing that Markdown would make of it."""

from __future__ import annotations

import re

_SPECIAL = re.compile(r"([\\*_\[\]<>|~$#])")


def escaped(text: str) -> str:
    """Returns text with Markdown's special characters escaped; code in backticks stays code."""
    parts = re.split(r"(``[^`]*``|`[^`]*`)", text)
    return "".join(part if i % 2 else _SPECIAL.sub(r"\\\1", part) for i, part in enumerate(parts))


def raw(html: str) -> str:
    """Returns HTML as a block of a Markdown page."""
    return f"``````{{raw}} html\n{html.strip()}\n``````\n"


def fenced(text: str, language: str = "text") -> str:
    """Returns a block of code; the fence is longer than any within."""
    longest = max((len(each) for each in re.findall(r"`{3,}", text)), default=2)
    fence = "`" * (longest + 1)
    return f"{fence}{language}\n{text}\n{fence}\n"


def toctree(entries: list[str]) -> str:
    """Returns a table of contents that only the navigation shows; an entry is `page` or `title <page>`."""
    return "```{toctree}\n:hidden:\n\n" + "\n".join(entries) + "\n```\n"
