"""Checks a built site: every link leads somewhere within it, and nothing is loaded from elsewhere."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

_LOADS = {("script", "src"), ("img", "src"), ("link", "href"), ("iframe", "src"), ("source", "src"), ("object", "data")}


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[tuple[str, str, str]] = []  # tag, attribute, target

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ("id", "name") and value:
                self.ids.add(value)
            if value and (name == "href" or (tag, name) in _LOADS):
                self.links.append((tag, name, value))


@functools.cache
def _page(path: Path) -> _Page:
    page = _Page()
    page.feed(path.read_text(encoding="utf-8"))
    return page


def broken(site: Path) -> list[str]:
    """Returns a line for every link that leads nowhere, and for everything that would be loaded from another host."""
    return [
        line for path in sorted(site.rglob("*.html")) if "_static" not in path.parts for line in _broken(site, path)
    ]


def _broken(site: Path, path: Path) -> Iterator[str]:
    for tag, name, link in _page(path).links:
        parts = urlsplit(link)
        if parts.scheme or parts.netloc:
            if (tag, name) in _LOADS and parts.scheme != "data":
                yield f"{path.relative_to(site)}: loads {link}"
            continue
        to = (path.parent / unquote(parts.path)).resolve() if parts.path else path
        if not to.is_relative_to(site.resolve()) or not to.is_file():
            yield f"{path.relative_to(site)}: {link} is not there"
        elif parts.fragment and to.suffix == ".html" and unquote(parts.fragment) not in _page(to).ids:
            yield f"{path.relative_to(site)}: {link} has no such anchor"
