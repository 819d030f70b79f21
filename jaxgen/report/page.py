"""What all pages share: templates, colours, and the script of their charts, within one file that loads nothing."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from jaxgen.figures import palette
from jaxgen.figures.chart import Chart
from jaxgen.report.mathematics import plain, set_mathematics

HERE = Path(__file__).parent


def render_page(template: str, charts: bool, values: Mapping[str, Any]) -> str:
    """Returns a page as text. Its texts are escaped; of scripts its policy allows the one for charts alone.

    Args:
      template: the name of a file beside this one.
      charts: whether the page has charts.
      values: what the template reads.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"mathematics": set_mathematics, "plain": plain}
    script = _script() if charts else ""
    policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    if script:
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        policy += f"; script-src 'sha256-{digest}'"
    return environment.get_template(template).render(
        **values,
        policy=Markup(policy),
        script=Markup(f"<script>{script}</script>") if script else "",
        chart_style=Markup(_read("vendor/uPlot.min.css")) if script else "",
        light=Markup(palette.variables("light")),
        dark=Markup(palette.variables("dark")),
    )


def chart_json(chart: Chart) -> Markup:
    """Returns a chart as JSON that is safe within a script element, whatever its names are."""
    text = json.dumps(chart.json(), allow_nan=False, separators=(",", ":"))
    return Markup(text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e"))


def _script() -> str:
    return _read("vendor/uPlot.iife.min.js") + _read("chart.js")


def _read(name: str) -> str:
    return (HERE / name).read_text(encoding="utf-8")
