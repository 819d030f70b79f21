"""What a member starts from; all kinds are imported here, so that a saved configuration finds its kind."""

from jaxgen.starts.base import First, From, Init, MatchNorm, Rewind, ScaledInit, ScaleParams, StartConfig, Transform
from jaxgen.starts.masks import GraSPMask, MagnitudeMask, Mask, RandomMask, SNIPMask, SynFlowMask

__all__ = [
    "First",
    "From",
    "GraSPMask",
    "Init",
    "MagnitudeMask",
    "Mask",
    "MatchNorm",
    "RandomMask",
    "Rewind",
    "SNIPMask",
    "ScaleParams",
    "ScaledInit",
    "StartConfig",
    "SynFlowMask",
    "Transform",
]
