"""Two classes: clusters on the corners of an XOR.

Shape letters: N examples, D coordinates.
"""

from __future__ import annotations

import dataclasses
from typing import Annotated

import numpy as np

from jaxgen.config import Fraction, NonNegative, PerMember, Range
from jaxgen.tasks.base import Split, divided, random_normals, random_uniforms
from jaxgen.tasks.features.base import FeatureTask, feature_split

# Streams of random words.
_CLASS, _FLIP, _NOISE = range(3)


@dataclasses.dataclass(frozen=True, kw_only=True)
class XORClusterTask(FeatureTask):
    """Gaussian clusters on the corners of an XOR (Xu et al., arXiv 2310.02541, Sec. 2).

    x = c + N(0, I_D), with c uniform over +mu1, -mu1 (class 1), +mu2 and -mu2 (class 0); mu1 and mu2
    are orthogonal, of length `signal`, and lie along the first two axes: noise and initialisation of
    a network have no preferred directions. Each training label is flipped with probability
    `label_noise`, so the number of flips varies; test labels are clean.
    """

    dimensions: Annotated[int, Range(at_least=2)]
    signal: NonNegative
    label_noise: Annotated[Fraction, PerMember] = 0.0

    def corrupts(self) -> bool:
        return self.label_noise > 0

    def table(self, seed: int) -> dict[str, Split]:
        count = self.train + self.test
        corner_N = np.floor(4 * random_uniforms((count,), seed=seed, stream=_CLASS)).astype(np.int32)
        class_N = (corner_N < 2).astype(np.int32)
        x_ND = random_normals((count, self.dimensions), seed=seed, stream=_NOISE)
        x_ND[np.arange(count), 1 - class_N] += np.where(corner_N % 2 == 0, self.signal, -self.signal)
        flipped_N = random_uniforms((count,), seed=seed, stream=_FLIP) < self.label_noise
        flipped_N[self.train :] = False
        given_N = np.where(flipped_N, 1 - class_N, class_N)
        return divided(feature_split(x_ND, given_N, class_N, flipped_N), self.sizes())
