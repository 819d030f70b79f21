"""Attention for training: kernels for short and for long sequences beside their definition.

`attention` is the only entry point; docs/attention.md describes the kernels.
"""

from jaxgen.kernels.attention.dispatch import Choice, Implementation, Interpreter, attention, choose
from jaxgen.kernels.attention.problem import Problem, Unsupported

__all__ = ["Choice", "Implementation", "Interpreter", "Problem", "Unsupported", "attention", "choose"]
