"""Binary operations modulo p, and on permutations: the tasks of Power et al. (arXiv 2201.02177).

One example is an equation a o b = c. Its table holds every pair (a, b) for which c exists.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

import numpy as np

from jaxgen.config import Fraction, HostSeed, PerMember, Range, added
from jaxgen.errors import UserError
from jaxgen.tasks.base import Split, Task, TaskShape, divided, random_order
from jaxgen.tasks.labels import given_labels

Format = Literal["a b", "a b =", "<eos> a op b = c <eos>"]
Operation = Literal[
    "x+y",
    "x-y",
    "x*y",
    "x/y",
    "x/y if y odd else x-y",
    "x^2+y^2",
    "x^2+xy+y^2",
    "x^2+xy+y^2+x",
    "x^3+xy",
    "x^3+xy^2+y",
    "x^2+y",
    "x^3+y",
    "x+y if x even else x*y",
    "x+y if x even else x-y",
]
PermutationOperation = Literal["xy", "xyx^-1", "xyx", "xyx^-1y^-1"]
Rounding = Literal["down", "nearest"]

_ORDER_STREAM, _LABEL_STREAM = 0, 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class EquationTask(Task, family=True):
    """Equations a o b = c over `elements`: the split, the corruption and the token format.

    Tokens are the elements 0..n-1, then the operator n, `=` n+1 and `<eos>` n+2, as far as the
    format needs them:

    - `a b`: two tokens, c is read out at the last one (d-doshi/Grokking);
    - `a b =`: c is read out at `=` (Nanda et al.);
    - `<eos> a op b = c <eos>`: c is read out at `=` and `<eos>` at c (openai/grok, whose vocabulary serves all
      operations, so it has additional tokens that one operation never uses).

    The rows are shuffled, and the first train_fraction * rows train, rounded `down` or, as in openai/grok, to the
    `nearest` (2,823 of 9,409 at 30 %). Of these, the first floor(corruption * train rows) have a label drawn uniformly
    from all elements, so about one in n of them is correct by chance (To grok or not to grok, App. A).
    """

    train_fraction: Annotated[float, Range(above=0, below=1)]
    pairs: Literal["ordered", "unordered"] = "ordered"
    format: Format = "a b ="
    corruption: Annotated[Fraction, PerMember] = 0.0
    split_seed: HostSeed | None = None  # None: each run's own seed draws the split
    rounding: Rounding = added("down")  # rounding of the number of training rows

    def elements(self) -> int:
        """Returns n, the number of elements from which a and b are drawn."""
        raise NotImplementedError

    def ordered_pairs(self) -> int:
        """Returns the number of ordered pairs (a, b) that have an answer."""
        return self.elements() ** 2

    def equations(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Returns (a, b, c), each (ordered_pairs,) int64."""
        raise NotImplementedError

    def element_names(self) -> tuple[str, ...]:
        """Returns the names of the n elements."""
        return tuple(str(element) for element in range(self.elements()))

    def token_names(self) -> tuple[str, ...]:
        signs = {"a b": (), "a b =": ("=",), "<eos> a op b = c <eos>": ("op", "=", "<eos>")}[self.format]
        return self.element_names() + signs

    def _rows(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        a, b, c = self.equations()
        keep = a <= b if self.pairs == "unordered" else np.ones_like(a, dtype=bool)
        return a[keep], b[keep], c[keep]

    def shape(self) -> TaskShape:
        rows = self.ordered_pairs()
        if self.pairs == "unordered":
            rows = self.elements() * (self.elements() + 1) // 2
        train = training_rows(self.train_fraction, rows, "equations", self.rounding)
        length, readout, extra = {
            "a b": (2, (1,), 0),
            "a b =": (3, (2,), 1),
            "<eos> a op b = c <eos>": (6, (4, 5), 3),
        }[self.format]
        return TaskShape(
            vocabulary=self.elements() + extra,
            length=length,
            readout=readout,
            sizes=(("train", train), ("test", rows - train)),
        )

    def corrupts(self) -> bool:
        return self.corruption > 0

    def table(self, seed: int) -> dict[str, Split]:
        a, b, c = self._rows()
        sizes = self.shape().sizes
        seed_of_split = seed if self.split_seed is None else self.split_seed
        order = random_order(len(a), seed=seed_of_split, stream=_ORDER_STREAM)
        a, b, c = a[order], b[order], c[order]
        given, corrupted = given_labels(
            c, dict(sizes)["train"], self.corruption, self.elements(), seed=seed_of_split, stream=_LABEL_STREAM
        )
        return divided(self._encode(a, b, given, c, corrupted), sizes)

    def _encode(
        self, a: np.ndarray, b: np.ndarray, given: np.ndarray, true: np.ndarray, corrupted: np.ndarray
    ) -> Split:
        n = self.elements()
        if self.format == "<eos> a op b = c <eos>":
            operator, equals, eos = (np.full_like(a, n + i) for i in range(3))
            columns, answers = [eos, a, operator, b, equals, given], ([given, eos], [true, eos])
        elif self.format == "a b =":
            columns, answers = [a, b, np.full_like(a, n)], ([given], [true])
        else:
            columns, answers = [a, b], ([given], [true])
        stack = lambda arrays: np.stack(arrays, axis=1).astype(np.int32)  # noqa: E731
        return Split(stack(columns), stack(answers[0]), stack(answers[1]), corrupted)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModularTask(EquationTask):
    """Equations over the integers mod p (Power et al. App. A.1.1; only openai/grok has the last four).

    Division leaves out y = 0. Odd and even are the numbers 0 to p-1.
    """

    smoke_sizes: ClassVar[Mapping[str, int]] = {"p": 13}

    p: Annotated[int, Range(at_least=2)]
    operation: Operation = "x+y"

    def validate(self) -> None:
        if "/" in self.operation and not _is_prime(self.p):
            raise UserError(f"task.p: got {self.p}, expected a prime: '{self.operation}' divides mod p")
        if self.pairs == "unordered" and self.operation not in ("x+y", "x*y", "x^2+y^2", "x^2+xy+y^2"):
            raise UserError(f"task.pairs: 'unordered' needs x o y = y o x, which '{self.operation}' is not")
        self.shape()

    def elements(self) -> int:
        return self.p

    def ordered_pairs(self) -> int:
        return self.p * (self.p - 1) if self.operation == "x/y" else self.p**2

    def equations(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        x, y = (grid.ravel() for grid in np.meshgrid(*[np.arange(self.p)] * 2, indexing="ij"))
        if self.operation == "x/y":
            x, y = x[y != 0], y[y != 0]
        answers = {
            "x+y": lambda: x + y,
            "x-y": lambda: x - y,
            "x*y": lambda: x * y,
            "x/y": lambda: x * self._inverses()[y],
            "x/y if y odd else x-y": lambda: np.where(y % 2 == 1, x * self._inverses()[y], x - y),
            "x^2+y^2": lambda: x**2 + y**2,
            "x^2+xy+y^2": lambda: x**2 + x * y + y**2,
            "x^2+xy+y^2+x": lambda: x**2 + x * y + y**2 + x,
            "x^3+xy": lambda: x**3 + x * y,
            "x^3+xy^2+y": lambda: x**3 + x * y**2 + y,
            "x^2+y": lambda: x**2 + y,
            "x^3+y": lambda: x**3 + y,
            "x+y if x even else x*y": lambda: np.where(x % 2 == 0, x + y, x * y),
            "x+y if x even else x-y": lambda: np.where(x % 2 == 0, x + y, x - y),
        }
        return x, y, answers[self.operation]() % self.p

    def _inverses(self) -> np.ndarray:
        # Fermat: y^(p-2) is the inverse of y mod a prime p. The inverse of 0, never used, is set to 0.
        return np.array([0] + [pow(y, self.p - 2, self.p) for y in range(1, self.p)])


@dataclasses.dataclass(frozen=True, kw_only=True)
class PermutationTask(EquationTask):
    """Equations over the symmetric group S_degree (Power et al. App. A.1.1, degree 5).

    Elements are numbered in lexicographic order; xy is y after x: (xy)(i) = y(x(i)). Beside the product there are
    the conjugate, xyx, and the commutator.
    """

    smoke_sizes: ClassVar[Mapping[str, int]] = {"degree": 3}

    degree: Annotated[int, Range(at_least=2, at_most=6)] = 5
    operation: PermutationOperation = "xy"

    def validate(self) -> None:
        if self.pairs == "unordered":
            raise UserError("task.pairs: 'unordered' needs x o y = y o x, which permutations are not")
        self.shape()

    def elements(self) -> int:
        return math.factorial(self.degree)

    def element_names(self) -> tuple[str, ...]:
        return tuple("".join(map(str, member)) for member in itertools.permutations(range(self.degree)))

    def equations(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        members = np.array(list(itertools.permutations(range(self.degree))))
        radix = self.degree ** np.arange(self.degree)
        number = np.zeros(self.degree**self.degree, dtype=np.int64)
        number[members @ radix] = np.arange(len(members))
        x, y = (grid.ravel() for grid in np.meshgrid(*[np.arange(len(members))] * 2, indexing="ij"))
        after = lambda second, first: np.take_along_axis(second, first, axis=1)  # noqa: E731
        product = after(members[y], members[x])
        if self.operation == "xyx":
            product = after(members[x], product)
        elif self.operation != "xy":
            inverses = np.argsort(members, axis=1)
            product = after(inverses[x], product)
            if self.operation == "xyx^-1y^-1":
                product = after(inverses[y], product)
        return x, y, number[product @ radix]


def training_rows(fraction: float, rows: int, what: str, rounding: Rounding) -> int:
    """Returns fraction * rows, rounded. Raises `UserError` if that leaves no rows to train on or none to test."""
    train = math.floor(fraction * rows) if rounding == "down" else round(fraction * rows)
    if not 0 < train < rows:
        raise UserError(
            f"task.train_fraction: {fraction} of {rows} {what} is {train} for training, expected 1 to {rows - 1}"
        )
    return train


def _is_prime(n: int) -> bool:
    return n >= 2 and all(n % divisor for divisor in range(2, math.isqrt(n) + 1))
