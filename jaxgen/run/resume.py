"""Chooses the checkpoint that a run resumes from, and lists what has changed since."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from jaxgen.errors import UserError
from jaxgen.run.checkpoint import CheckpointStore
from jaxgen.run.directory import PopulationDirectory
from jaxgen.run.manifest import Damaged, Manifest
from jaxgen.run.rows import check_rows


def newest_intact(
    directory: PopulationDirectory, recovery: CheckpointStore, *, start_over: bool, tell: Callable[[str], None]
) -> Manifest | None:
    """Returns the manifest of the newest checkpoint whose files and rows are all intact.

    Args:
      directory: the population's directory.
      recovery: its checkpoints.
      start_over: whether to return None, instead of an error, if checkpoints exist but none is intact.
      tell: receives a message for each damaged checkpoint.

    Raises:
      UserError: checkpoints exist but none is intact; or they belong to other runs.
    """
    damaged = []
    for step in reversed(recovery.all_steps()):
        try:
            found = recovery.verify(step)
            check_rows(directory.metrics_file, found.facts["metrics"])
            return found
        except Damaged as damage:
            damaged.append(str(damage))
            directory.event("damaged", step=step, what=str(damage))
            tell(f"step {step} is skipped: {damage}")
    saved_step = directory.status()["step"]
    if saved_step is None and not recovery.steps():
        return None
    if not start_over:
        raise UserError(
            f"{directory.path} was saved up to step {saved_step}, and no intact checkpoint is left: "
            f"{'; '.join(damaged) or 'recovery/ is empty'}. Restore the files from a copy, start beside it with "
            f"--fresh, or start it over with --resume may"
        )
    tell(f"no intact checkpoint is left in {directory.path}: it starts over from step 0")
    return None


def drift(then: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """Describes the changes between two fingerprints: the versions, devices and flags on which a run's bits depend."""
    return [
        f"{name} was {then.get(name, 'not set')}, is {now.get(name, 'not set')}"
        for name in sorted(then.keys() | now.keys())
        if then.get(name) != now.get(name)
    ]
