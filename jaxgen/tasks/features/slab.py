"""Two classes: coordinates of graded simplicity.

Shape letters: N examples, D coordinates.
"""

from __future__ import annotations

import dataclasses
from typing import Annotated, Literal

import numpy as np

from jaxgen.config import Fraction, Range
from jaxgen.errors import UserError
from jaxgen.tasks.base import Split, random_normals, random_order, random_uniforms
from jaxgen.tasks.features.base import FeatureTask, feature_split

Block = Literal["linear", "3-slab", "5-slab", "7-slab"]

# Streams of random words.
_CLASS, _PLACE, _SLAB, _SIGN, _ROTATION, _TAINT, _TAINTED, _SHUFFLE = 0, *range(3, 10)

# The probability that an example lies in the innermost slab of its class, for class 0 and class 1.
_INNERMOST = {3: (1.0, 1.0), 5: (3 / 4, 1.0), 7: (1 / 2, 7 / 8)}


@dataclasses.dataclass(frozen=True, kw_only=True)
class SlabTask(FeatureTask):
    """One simple coordinate and D - 1 complex ones, each of which determines the class; then a random rotation.

    A `linear` coordinate is in [margin, 1] for class 1, in [-1, -margin] for class 0. A `k-slab` coordinate is in one
    of k slabs on [-1, 1] that alternate between the classes, class 0 in the centre, with gaps of twice the margin, so
    no threshold separates the classes. Within the slabs, and given the class, the coordinates are uniform and
    independent (Shah et al., arXiv 2006.07710, Sec. 3 and 4; mixture weights of their scripts/gendata.py). LMS-k is
    `linear` and `k-slab`, MS-(5,7) is `5-slab` and `7-slab`, and MS-7 `7-slab` twice.

    Other splits: the test examples with the simple coordinate permuted among them (`simple_randomised`), and with all
    complex ones permuted together (`complex_randomised`).
    """

    dimensions: Annotated[int, Range(at_least=2)]
    simple: Block
    complex: Block
    margin: Annotated[float, Range(above=0, below=1)] = 0.1
    # This fraction of the examples has a simple coordinate uniform in [-margin, margin], without information.
    simple_noise: Fraction = 0.0
    rotate: bool = True  # by a random orthogonal matrix from the seed

    def validate(self) -> None:
        if self.complex == "linear":
            raise UserError("task.complex: got 'linear', expected '3-slab', '5-slab' or '7-slab'")
        if self.simple_noise > 0 and self.simple != "linear":
            raise UserError(f"task.simple_noise: needs a 'linear' simple coordinate, got '{self.simple}'")
        for block in (self.simple, self.complex):
            if block != "linear" and slab_width(int(block[0]), self.margin) <= 0:
                raise UserError(f"task.margin: got {self.margin}, with which the slabs of a '{block}' have no width")

    def splits(self) -> tuple[str, ...]:
        return ("train", "test", "simple_randomised", "complex_randomised")

    def disjoint_by(self) -> str:
        return (
            "simple_randomised and complex_randomised are made of test, of which a permutation may leave examples as "
            "they are; none of theirs trains"
        )

    def table(self, seed: int) -> dict[str, Split]:
        count = self.train + self.test
        x_ND, class_N = self._coordinates(seed)
        order_N = random_order(self.test, seed=seed, stream=_SHUFFLE)
        train_ND, test_ND = x_ND[: self.train], x_ND[self.train :]
        shuffled_ND = test_ND[order_N]
        inputs = {
            "train": train_ND,
            "test": test_ND,
            "simple_randomised": np.concatenate([shuffled_ND[:, :1], test_ND[:, 1:]], axis=1),
            "complex_randomised": np.concatenate([test_ND[:, :1], shuffled_ND[:, 1:]], axis=1),
        }
        rotation_DD = rotation(self.dimensions, seed=seed) if self.rotate else np.eye(self.dimensions)
        clean_N = np.zeros(count, bool)
        return {
            name: feature_split(x @ rotation_DD, class_N[rows], class_N[rows], clean_N[rows])
            for name, x in inputs.items()
            for rows in [slice(None, self.train) if name == "train" else slice(self.train, None)]
        }

    def _coordinates(self, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns the unrotated vectors (N, D) and the classes (N,) of all examples, training ones first."""
        count = self.train + self.test
        shape = (count, self.dimensions)
        class_N = (random_uniforms((count,), seed=seed, stream=_CLASS) < 0.5).astype(np.int32)
        place_ND = random_uniforms(shape, seed=seed, stream=_PLACE)
        slab_ND = random_uniforms(shape, seed=seed, stream=_SLAB)
        sign_ND = np.where(random_uniforms(shape, seed=seed, stream=_SIGN) < 0.5, -1.0, 1.0)
        if self.simple == "linear":
            simple_N = (2 * class_N - 1) * (self.margin + (1 - self.margin) * place_ND[:, 0])
        else:
            simple_N = _in_slabs(self.simple, self.margin, class_N, place_ND, slab_ND, sign_ND)[:, 0]
        tainted_N = random_order(count, seed=seed, stream=_TAINTED)[: round(self.simple_noise * count)]
        taint_N = random_uniforms((count,), seed=seed, stream=_TAINT)[tainted_N]
        simple_N[tainted_N] = self.margin * (2 * taint_N - 1)
        x_ND = _in_slabs(self.complex, self.margin, class_N, place_ND, slab_ND, sign_ND)
        x_ND[:, 0] = simple_N
        return x_ND, class_N


def slab_width(slabs: int, margin: float) -> float:
    """Returns the width of the slabs on [-1, 1], with gaps of 2 * margin between them."""
    return (2 - 2 * (slabs - 1) * margin) / slabs


def rotation(dimensions: int, *, seed: int) -> np.ndarray:
    """Returns an orthogonal matrix (D, D), uniform over all: Q of a Gaussian matrix whose R has a positive diagonal."""
    q_DD, r_DD = np.linalg.qr(random_normals((dimensions, dimensions), seed=seed, stream=_ROTATION))
    return q_DD * np.sign(np.diag(r_DD))[None]


def _in_slabs(
    block: Block, margin: float, class_N: np.ndarray, place_ND: np.ndarray, slab_ND: np.ndarray, sign_ND: np.ndarray
) -> np.ndarray:
    """Returns (N, D): positions inside a slab of the class, from numbers uniform in [0, 1) and signs."""
    slabs = int(block[0])
    innermost_N1 = np.array(_INNERMOST[slabs])[class_N][:, None]
    # Counted from the centre, class 0 has the slabs 0 and 2, class 1 the slabs 1 and 3.
    number_ND = class_N[:, None] + np.where(slab_ND < innermost_N1, 0, 2)
    width = slab_width(slabs, margin)
    return sign_ND * (number_ND * (width + 2 * margin)) + width * (place_ND - 0.5)
