r"""Mathematics within texts: what stands between two `$` is TeX, of which powers, indices, names and braces are known.

`$n |\mu|^4 / p \ge 10^{-3}$` is set so on a page, and is `n |mu|^4 / p >= 10^-3` in a terminal. The first `$` has no
space after it, the last one none before it and no digit after it, so that prices stay what they are.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.entities import html5

from markupsafe import Markup, escape

_MATHEMATICS = re.compile(r"\$(?!\s)([^$\n]+)(?<!\s)\$(?!\d)")
_TOKEN = re.compile(r"\\[A-Za-z]+|\\?.")
_ROOT = re.compile(r"\\sqrt\{([^{}]*)\}")
# HTML has characters of most of TeX's names (mu, Omega, ge); these have others there. All else is a word: exp, log.
_NAMES = {"cdot": "·", "infty": "∞", "to": "→", "ldots": "…"}
_IN_TERMINALS = {"le": "<=", "leq": "<=", "ge": ">=", "geq": ">=", "cdot": "*", "times": "x", "to": "->", "pm": "+-"}


def set_mathematics(text: str) -> Markup:
    """Returns a text as HTML, its mathematics set; all else is escaped."""
    parts = _MATHEMATICS.split(text)
    found = [_set(part) if number % 2 else escape(part) for number, part in enumerate(parts)]
    return Markup("").join(found)


def plain(text: str) -> str:
    """Returns a text for terminals and labels."""
    return _MATHEMATICS.sub(lambda found: _plain(found[1]), text)


def _plain(tex: str) -> str:
    named = _ROOT.sub(r"sqrt(\1)", tex)
    named = re.sub(r"\\([A-Za-z]+)", lambda found: _IN_TERMINALS.get(found[1], found[1]), named)
    return re.sub(r"[{}\\]", "", named)


def _set(tex: str) -> Markup:
    tokens = iter(_TOKEN.findall(_ROOT.sub(r"√(\1)", tex)))
    return Markup('<span class="math">{}</span>').format(_until_brace(tokens))


def _until_brace(tokens: Iterator[str]) -> Markup:
    found = Markup("")
    for token in tokens:
        if token == "}":
            break
        if token in ("^", "_"):
            # An atom or a group; groups hold no groups, so that no text is too deep.
            follows = next(tokens, "")
            inner = _group(tokens) if follows == "{" else _atom(follows)
            found += Markup("<sup>{}</sup>" if token == "^" else "<sub>{}</sub>").format(inner)
        elif token != "{":
            found += _atom(token)
    return found


def _group(tokens: Iterator[str]) -> Markup:
    found = Markup("")
    for token in tokens:
        if token == "}":
            break
        found += _atom(token)
    return found


def _atom(token: str) -> Markup:
    if token.startswith("\\"):
        name = token[1:]
        return escape(_NAMES.get(name) or html5.get(f"{name};") or name)
    if token.isascii() and token.isalpha():
        return Markup("<i>{}</i>").format(token)
    return escape("−" if token == "-" else token)
