"""Recorded figures, in colours that follow the page that shows them."""

from __future__ import annotations

import re

from jaxgen.figures.palette import SHADES


def both_schemes(svg: str) -> str:
    """Returns a recorded figure whose colours are those of the dark scheme where the page is dark.

    A browser answers `prefers-color-scheme` within an image by the `color-scheme` of the page around it.
    """
    for shade in SHADES:
        svg = svg.replace(shade.light, f"var(--{shade.name})")
    light, dark = (
        "".join(f"--{shade.name}:{getattr(shade, scheme)};" for shade in SHADES if f"--{shade.name})" in svg)
        for scheme in ("light", "dark")
    )
    style = f"<style>:root{{{light}}}@media(prefers-color-scheme:dark){{:root{{{dark}}}}}</style>"
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, count=1, flags=re.DOTALL)
    return re.sub(r"(<svg [^>]*>)", lambda start: start[1] + style, svg, count=1)


def size(svg: str) -> tuple[int, int]:
    """Returns the width and height of a figure in CSS pixels."""
    found = re.search(r'<svg [^>]*?viewBox="0 0 ([\d.]+) ([\d.]+)"', svg)
    assert found, "a recorded figure has a viewBox"
    return round(float(found[1])), round(float(found[2]))
