"""The vocabulary that `experiments/` is written in; imports no jax.

A `Paper` has `Experiment`s; an experiment has `Condition`s at the paper's own size, `Scale`s that
shrink them, claims judged on one tidy table, and `Figure`s. See docs/add-a-paper.md.
"""

from jaxgen.experiment.claim import YES, Claim, Compare, EverySeed, Expect, Typical, at_least, at_most, within
from jaxgen.experiment.paper import Experiment, Paper
from jaxgen.experiment.scale import SCALES, Scale, Sweep

__all__ = [
    "SCALES",
    "YES",
    "Claim",
    "Compare",
    "EverySeed",
    "Expect",
    "Experiment",
    "Paper",
    "Scale",
    "Sweep",
    "Typical",
    "at_least",
    "at_most",
    "within",
]
