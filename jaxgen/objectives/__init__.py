"""Objectives, which training minimises. All are imported here, so that a saved configuration finds its class."""

from jaxgen.objectives.adversarial import Adversarial, Attack
from jaxgen.objectives.base import Minimised, Model, Objective
from jaxgen.objectives.supervised import CrossEntropy, MeanSquaredError, SquaredError, Supervised

__all__ = [
    "Adversarial",
    "Attack",
    "CrossEntropy",
    "MeanSquaredError",
    "Minimised",
    "Model",
    "Objective",
    "SquaredError",
    "Supervised",
]
