"""Short lists of different numbers, copied, reversed and sorted: the unary tasks of openai/grok.

Shape letters: N examples, R numbers in a list.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Annotated, Literal

import numpy as np

from jaxgen.config import HostSeed, PositiveInt, Range, Size, added
from jaxgen.errors import UserError
from jaxgen.tasks.algebra.modular import Rounding, training_rows
from jaxgen.tasks.base import Split, Task, TaskShape, clean_split, divided, random_order

# Of 97 numbers there are 884,640 lists of three, the most that openai/grok has.
_MOST = 10_000_000


@dataclasses.dataclass(frozen=True, kw_only=True)
class ListTask(Task):
    """`<eos> sort 5 3 9 = 3 5 9 <eos>`: every list of `size` different ones of the numbers 0 to n-1.

    Tokens are the numbers, then the operation n, `=` n+1 and `<eos>` n+2; everything after `=` is a target. The lists
    are shuffled, and the first train_fraction * lists train, rounded `down` or to the `nearest` (openai/grok).
    """

    operation: Literal["copy", "reverse", "sort"]
    numbers: PositiveInt = 97
    size: Size = 2
    train_fraction: Annotated[float, Range(above=0, below=1)]
    split_seed: HostSeed | None = None  # None: each run's own seed draws the split
    rounding: Rounding = added("down")  # rounding of the number of training lists

    def validate(self) -> None:
        if self.size > self.numbers:
            raise UserError(f"task.size: got {self.size}, expected at most numbers={self.numbers}: all are different")
        if self._lists() > _MOST:
            raise UserError(
                f"task.size: got {self.size} of {self.numbers} numbers, which has {self._lists()} lists, "
                f"expected at most {_MOST}: all of them are held"
            )
        self.shape()

    def shape(self) -> TaskShape:
        train = training_rows(self.train_fraction, self._lists(), "lists", self.rounding)
        return TaskShape(
            vocabulary=self.numbers + 3,
            length=2 * self.size + 3,
            readout=tuple(range(self.size + 2, 2 * self.size + 3)),
            sizes=(("train", train), ("test", self._lists() - train)),
        )

    def token_names(self) -> tuple[str, ...]:
        return (*(str(number) for number in range(self.numbers)), self.operation, "=", "<eos>")

    def table(self, seed: int) -> dict[str, Split]:
        seed = seed if self.split_seed is None else self.split_seed
        grid_NR = np.indices((self.numbers,) * self.size, dtype=np.int32).reshape(self.size, -1).T
        ascending_NR = np.sort(grid_NR, axis=1)
        lists_NR = grid_NR[np.all(ascending_NR[:, 1:] != ascending_NR[:, :-1], axis=1)]
        lists_NR = lists_NR[random_order(len(lists_NR), seed=seed, stream=0)]
        answers = {"copy": lists_NR, "reverse": lists_NR[:, ::-1], "sort": np.sort(lists_NR, axis=1)}
        operation_N1, equals_N1, eos_N1 = (np.full_like(lists_NR[:, :1], self.numbers + i) for i in range(3))
        row_NT = np.concatenate([eos_N1, operation_N1, lists_NR, equals_N1, answers[self.operation], eos_N1], axis=1)
        return divided(clean_split(row_NT[:, :-1], row_NT[:, self.size + 3 :], np), self.shape().sizes)

    def _lists(self) -> int:
        return math.perm(self.numbers, self.size)
