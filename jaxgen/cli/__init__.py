"""The command line: the only place that prints and exits."""

from jaxgen.cli.main import main

__all__ = ["main"]
