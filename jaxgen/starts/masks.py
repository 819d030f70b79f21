"""Masks: transforms that keep the parameters of the parent with the highest scores."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

from jaxgen.config import Range
from jaxgen.starts.base import Transform

if TYPE_CHECKING:
    import jax

    from jaxgen.starts.transforms import Examples, Start

Tree = Any


@dataclasses.dataclass(frozen=True, kw_only=True)
class Mask(Transform, family=True):
    """A transform of a start: keeps the fraction `keep` of the matrix entries with the highest scores, over all
    matrices together. The others are zero and stay zero in training. Vectors are not masked.

    Scores are computed from the parameters after the earlier transforms. Entries that an earlier mask removed stay
    removed, and count as removed in `keep`.
    """

    keep: Annotated[float, Range(above=0, at_most=1)]

    def masks(self) -> bool:
        return True

    def scores(self, params: Tree, mask: Tree | None, examples: Examples, key: jax.Array) -> Tree:
        """Returns the score of every parameter, in a tree like `params`; `mask` is the mask so far."""
        raise NotImplementedError

    def apply(self, start: Start, given: Start, examples: Callable[[Tree], Examples], key: jax.Array) -> Start:
        from jaxgen.starts.scores import top_mask, within

        scores = self.scores(start.params, start.mask, examples(start.model_state), key)
        return start._replace(mask=top_mask(within(scores, start.mask), self.keep))


@dataclasses.dataclass(frozen=True, kw_only=True)
class MagnitudeMask(Mask):
    """Keeps the largest magnitudes."""

    def scores(self, params: Tree, mask: Tree | None, examples: Examples, key: jax.Array) -> Tree:
        from jaxgen.starts.scores import magnitude_scores

        return magnitude_scores(params)


@dataclasses.dataclass(frozen=True, kw_only=True)
class RandomMask(Mask):
    """Keeps random entries drawn from the seed; those of a smaller `keep` are among those of a larger one."""

    def scores(self, params: Tree, mask: Tree | None, examples: Examples, key: jax.Array) -> Tree:
        from jaxgen.starts.scores import random_scores

        return random_scores(params, key)
