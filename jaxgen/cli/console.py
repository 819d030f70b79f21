"""Where commands print in colours and tables."""

from __future__ import annotations

from typing import Any

import rich.console
from rich.text import Text

from jaxgen.cli.text import harmless


class Console(rich.console.Console):
    """A console whose terminal obeys no text that is printed; its colours are its own."""

    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str(harmless(text), **options)
