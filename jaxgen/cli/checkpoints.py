"""`jaxgen checkpoints`: lists a run's checkpoints, and checks that they are intact. Imports no jax."""

from __future__ import annotations

from pathlib import Path

from rich.markup import escape
from rich.table import Table

from jaxgen.cli.console import Console
from jaxgen.errors import UserError
from jaxgen.ledger.runs import load_run
from jaxgen.run.directory import PopulationDirectory
from jaxgen.run.manifest import Damaged, all_steps, check_owner, verify
from jaxgen.run.rows import check_rows


def list_checkpoints(run_path: Path) -> bool:
    """Prints a table of the checkpoints of a run, and returns whether all are intact."""
    console = Console()
    table = Table("population", "kind", "step", "MB", "state", box=None, pad_edge=False)
    for column in (2, 3):
        table.columns[column].justify = "right"
    run = load_run(run_path)
    run.trained()  # checks that the trajectories match their identities
    run.check_whole()
    damages = []
    for directory in run.populations():
        name = _name(directory)
        try:
            directory.rows()
        except Damaged as damage:
            damages.append(str(damage))
        there = all_steps(directory.path / "snapshots")
        lost = [step for step in directory.status()["snapshots"] if int(step) not in there]
        damages += [f"{directory.path / 'snapshots' / step} is missing" for step in lost]
        for kind in ("recovery", "snapshots"):
            for step in all_steps(directory.path / kind):
                try:
                    size, state = f"{_megabytes(directory, kind, step):.2f}", "intact"
                except UserError as damage:
                    size, state = "", "[red]damaged[/]"
                    damages.append(str(damage))
                table.add_row(escape(name), kind, str(step), size, state)
                name = ""
    console.print(table)
    for text in dict.fromkeys(damages):
        console.print(f"damaged: {text}", markup=False, highlight=False, soft_wrap=True)
    return not damages


def _name(directory: PopulationDirectory) -> str:
    conditions = list(dict.fromkeys(member["condition"] for member in directory.run()["members"]))
    more = f" and {len(conditions) - 1} more" if len(conditions) > 1 else ""
    return f"{directory.path.name[:8]} {conditions[0]}{more}"


def _megabytes(directory: PopulationDirectory, kind: str, step: int) -> float:
    """Returns the size of a checkpoint that is intact.

    Raises:
      UserError: the checkpoint is damaged, or belongs to another run.
    """
    path = directory.path / kind / str(step)
    found = verify(path)
    if directory.status()[kind].get(str(step), found.digest) != found.digest:
        raise Damaged(f"{path} is another checkpoint than was saved there")
    check_owner(path, found, directory.owner)
    if kind == "recovery":
        check_rows(directory.metrics_file, found.facts["metrics"])
    return found.bytes / 1e6
