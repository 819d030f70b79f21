"""The starts of members. All kinds are imported here, so that a saved configuration finds its class."""

from jaxgen.starts.base import First, From, Init, Rewind, ScaledInit, ScaleParams, StartConfig, Transform
from jaxgen.starts.masks import MagnitudeMask, Mask, RandomMask

__all__ = [
    "First",
    "From",
    "Init",
    "MagnitudeMask",
    "Mask",
    "RandomMask",
    "Rewind",
    "ScaleParams",
    "ScaledInit",
    "StartConfig",
    "Transform",
]
