"""`export`: a run as one file. Imports no jax."""

from __future__ import annotations

import os
from pathlib import Path

from jaxgen.cli.runs import look, size
from jaxgen.cli.text import echo, shown_path
from jaxgen.errors import UserError
from jaxgen.ledger.archive import pack
from jaxgen.ledger.runs import load_run


def export_command(run_path: Path, to: Path) -> None:
    """Writes a run to a file, after checking all that the file will hold."""
    run = load_run(run_path)
    if to.is_dir() or to.absolute().is_relative_to(run.path.absolute()):
        raise UserError(f"--to: got {to}, expected the name of a file, not in the run")
    if to.parent.is_dir() and not os.access(to.parent, os.W_OK):
        raise UserError(f"--to: {to.parent} cannot be written")
    if (state := look(run.path).state) in ("running", "queued"):
        raise UserError(f"{run.path} is {state}; wait for it, or end it with: jaxgen cancel {shown_path(run.path)}")
    run.check_whole()
    members = run.trained()
    if not members:
        raise UserError(f"{run.path} has trained nothing yet")
    request = run.request
    name = f"{request.paper}-{request.experiment}-{run.path.name}"
    pack(run.path, run.populations(), name, to)
    echo(f"{shown_path(to)}: {size(to.stat().st_size)}, {len(members)} members with their kept parameters")
    echo(f"  jaxgen status {shown_path(to)}\n  jaxgen report {shown_path(to)}\n  jaxgen.load_run({str(to)!r})")
