"""Optimisers, and wrappers of them; all are imported here, so that a saved configuration finds its kind."""

from jaxgen.optimizers.adam import AdamL2, AdamW
from jaxgen.optimizers.base import OptimizerConfig, OptimizerWrapper, Schedule, Updates
from jaxgen.optimizers.sgd import SGD
from jaxgen.optimizers.wrappers import ClipNorm, ConstantNorm, EMAFilter, MAFilter

__all__ = [
    "SGD",
    "AdamL2",
    "AdamW",
    "ClipNorm",
    "ConstantNorm",
    "EMAFilter",
    "MAFilter",
    "OptimizerConfig",
    "OptimizerWrapper",
    "Schedule",
    "Updates",
]
