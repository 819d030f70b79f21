"""Optimisers and their wrappers. All are imported here, so that a saved configuration finds its class."""

from jaxgen.optimizers.adam import AdamW
from jaxgen.optimizers.base import OptimizerConfig, OptimizerWrapper, Schedule, Updates
from jaxgen.optimizers.schedules import Linear, Noam
from jaxgen.optimizers.sgd import SGD
from jaxgen.optimizers.wrappers import ClipNorm

__all__ = [
    "SGD",
    "AdamW",
    "ClipNorm",
    "Linear",
    "Noam",
    "OptimizerConfig",
    "OptimizerWrapper",
    "Schedule",
    "Updates",
]
