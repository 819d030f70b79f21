"""What a finished run no longer needs, and removing it. Imports no jax.

The recovery states of a run that has finished serve to train it on alone: its rows, verdicts, report and kept
parameters stay. Nothing that a process works on is touched, and nothing outside a run.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

from jaxgen.errors import UserError
from jaxgen.run import lease, manifest
from jaxgen.run.directory import PopulationDirectory
from jaxgen.storage import links
from jaxgen.storage.files import remove_path


def populations(run: Path) -> list[PopulationDirectory]:
    """Returns the populations of a run on disk."""
    links.confine(run)
    return [PopulationDirectory(each) for each in sorted((run / "populations").glob("*")) if each.is_dir()]


def recovery_bytes(directory: PopulationDirectory) -> int:
    """Returns how many bytes of recovery states a population does not need; 0 where it has not finished.

    Raises:
      UserError: the population could not be read without them.
    """
    recovery = directory.path / "recovery"
    if not manifest.all_steps(recovery) or not directory.status()["finished"]:
        return 0
    directory.check_without_recovery()
    return sum(
        each.stat(follow_symlinks=False).st_size
        for step in manifest.all_steps(recovery)
        for each in (recovery / str(step)).rglob("*")
        if each.is_file() and not each.is_symlink()
    )


def remove_recovery(directory: PopulationDirectory) -> None:
    """Removes the recovery states of a population that has finished.

    Raises:
      UserError: a process trains it.
    """
    with directory.lock(lambda _: None):
        if recovery_bytes(directory):
            for step in manifest.all_steps(directory.path / "recovery"):
                manifest.remove(directory.path / "recovery" / str(step))


def remove_run(run: Path) -> None:
    """Removes a whole run.

    Raises:
      UserError: a process trains it, or its folder is a link.
    """
    if run.is_symlink():
        raise UserError(f"{run} is a link; remove what it leads to by hand")
    with contextlib.ExitStack() as held:
        for directory in populations(run):
            held.enter_context(directory.lock(lambda _: None))
        if lease.holder(run) is not None:
            raise UserError(f"{run} is being judged; wait for it")
        remove_path(run)
