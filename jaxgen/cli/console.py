"""The console on which commands print colours and tables."""

from __future__ import annotations

from typing import Any

import rich.console
from rich.text import Text

from jaxgen.cli.text import harmless


class Console(rich.console.Console):
    """A console that removes control sequences from the printed text; only its own colours remain."""

    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str(harmless(text), **options)
