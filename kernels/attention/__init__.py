"""Attention for training: kernels for short and for long sequences beside their definition.

`attention` is the one entry; docs/attention.md tells what there is.
"""

from jaxgen.kernels.attention.dispatch import Choice, Implementation, Interpreter, attention, choose
from jaxgen.kernels.attention.problem import Problem, Unsupported

__all__ = ["Choice", "Implementation", "Interpreter", "Problem", "Unsupported", "attention", "choose"]
