"""From what a user asks for to a run: which scale, and what a run keeps of its paper before it trains."""

from __future__ import annotations

from pathlib import Path

import jax

from jaxgen.errors import UserError
from jaxgen.experiment import Experiment
from jaxgen.ledger import sources
from jaxgen.ledger.discovery import FoundPaper
from jaxgen.ledger.recorded import Recorded
from jaxgen.ledger.reproduce import NOTHING, Reproduction, reproduce
from jaxgen.ledger.runs import Request
from jaxgen.ledger.stated import TUNING, keep_claims
from jaxgen.ledger.told import told
from jaxgen.run.arguments import Observer, RunArguments


def choose_scale(experiment: Experiment, scale: str | None, *, alone: bool) -> str | None:
    """Returns the scale to run; None where a whole paper's run leaves this experiment out."""
    has_accelerator = jax.default_backend() != "cpu"
    if scale is not None:
        too_large = scale == "paper" and experiment.accelerator and not has_accelerator
        return None if too_large and not alone else scale
    if has_accelerator or not experiment.accelerator:
        return "paper"
    if "mini" in experiment.scales:
        return "mini"
    if alone:
        raise UserError(
            f"the paper scale of {experiment.name} wants an accelerator and jax finds none (see `jaxgen doctor`); "
            "with --scale paper it trains here all the same"
        )
    return None


def check_experiment(found: FoundPaper, experiment: Experiment) -> None:
    """Raises `UserError` where a scale, a figure or a claim names what is not there, with the line that does."""
    try:
        experiment.check()
    except UserError as error:
        raise UserError(f"{found.folder}: {told(error, found.folder)}") from error


def reproduce_kept(
    found: FoundPaper, experiment: Experiment, request: Request, path: Path, *, observer: Observer,
    arguments: RunArguments, recorded: Recorded = NOTHING,
) -> Reproduction:  # fmt: skip
    """Keeps the paper's code and what it claims with a run, and then does what `reproduce` does."""
    sources.keep(path, found.folder)
    if any(seed < TUNING for each in request.conditions(experiment) for seed in each.seeds):
        keep_claims(path, experiment)
    return reproduce(experiment, request, path, observer=observer, arguments=arguments, recorded=recorded)
