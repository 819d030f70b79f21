"""Drawings as SVG that lives inside an HTML page and follows its colour scheme."""

from __future__ import annotations

import io
import re

import matplotlib
from markupsafe import Markup
from matplotlib.figure import Figure as Drawing

from jaxgen.figures.axes import STYLE
from jaxgen.figures.draw import shorter
from jaxgen.figures.palette import SHADES


def svg_text(drawing: Drawing) -> str:
    """Returns the drawing as the text of a file, its labels as text."""
    buffer = io.StringIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    with matplotlib.rc_context(STYLE):
        drawing.savefig(buffer, format="svg", metadata=nothing)
    return shorter(buffer.getvalue())


def inline_svg(text: str, prefix: str) -> Markup:
    """Returns a drawing of `svg_text` as one `<svg>` element.

    Args:
      text: the drawing.
      prefix: what makes its element IDs unique in the page.
    """
    text = text[text.index("<svg") :]
    text = re.sub(r'<svg [^>]*?viewBox="([^"]*)"[^>]*>', r'<svg viewBox="\1" aria-hidden="true">', text, count=1)
    text = re.sub(r'\bid="', f'id="{prefix}-', text)
    text = re.sub(r'(url\(|xlink:href=")#', rf"\1#{prefix}-", text).replace("xlink:href", "href")
    for shade in SHADES:
        text = text.replace(shade.light, f"var(--{shade.name})")
    return Markup(text)
