"""String rewriting by rules, of which few or many are seen while training."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from jaxgen.config import HostSeed, Positive, PositiveInt, Range, Rate
from jaxgen.errors import UserError
from jaxgen.tasks.base import Split, Task, TaskShape

# The restricted meanings.
RESTRICTED = ("repeated", "periodic", "mirrored")


@dataclasses.dataclass(frozen=True, kw_only=True)
class RewriteTask(Task):
    """`x > y : z = w`: w is z with the leftmost occurrence of x replaced by y, or z itself where there is none.

    Letters are the first `alphabet` of a to z; z has `length` of them, x and y have `pattern` each. A rule is a pair of
    different x and y. `rules` of them train, each on `train_examples` / `rules` inputs, up to one. With `exponent` a,
    rules are as rare as a power law has it: that of an example is number floor(rules * u^(1 / a)), of a uniform u; 1 is
    uniform, and the smaller a, the fewer rules have most of the examples.

    Splits: `train`; `trained`, a sample of it to measure on; `seen`, fresh inputs for the rules that train; `unseen`,
    rules whose x and y are those of no rule that trains. With `no_op`, the share of inputs in which x does not occur,
    also `has_op` and `no_op`, the two kinds of `unseen` alone.

    `meaning` restricts the patterns: `free` letters, or, with k of `degrees`, `repeated` (each letter k times:
    aaabbb), `periodic` (a word of pattern / k letters, k times: abcabc) or `mirrored` (a word and its reverse in turn,
    k times: abccbaabc). If k does not divide the pattern, the last piece is cut. `restricted` draws one of the three
    for each rule. The rules of `unseen` have a k of `unseen_degrees`, where 1 is `free`.

    Only `data_seed` and the seed of a run draw the examples: every run has rules and inputs of its own.
    """

    smoke_sizes: ClassVar[Mapping[str, int]] = {
        "rules": 4, "train_examples": 40, "test_examples": 10, "length": 7, "pattern": 6,
    }  # fmt: skip

    rules: PositiveInt
    train_examples: PositiveInt
    test_examples: PositiveInt  # of every other split
    length: Annotated[int, Range(at_least=1, at_most=1000)]
    pattern: Annotated[int, Range(at_least=1, at_most=500)]
    alphabet: Annotated[int, Range(at_least=2, at_most=26)] = 26
    no_op: Rate = 0.0
    exponent: Positive | None = None  # of the power law; None: as many examples of each rule
    meaning: Literal["free", "repeated", "periodic", "mirrored", "restricted"] = "free"
    degrees: tuple[PositiveInt, PositiveInt] = (1, 1)  # the least and the largest k of the rules that train
    unseen_degrees: tuple[PositiveInt, PositiveInt] = (1, 1)
    data_seed: HostSeed = 0

    def validate(self) -> None:
        if self.pattern > self.length:
            raise UserError(f"task.pattern: got {self.pattern}, expected at most length={self.length}")
        if self.rules > self.train_examples:
            raise UserError(f"task.rules: got {self.rules}, expected at most train_examples={self.train_examples}")
        for name, (least, most) in (("degrees", self.degrees), ("unseen_degrees", self.unseen_degrees)):
            if not least <= most <= self.pattern:
                raise UserError(f"task.{name}: got {least} to {most}, expected a range up to pattern={self.pattern}")
        if self.meaning == "free" and self.degrees != (1, 1):
            raise UserError("task.degrees: got more than 1 with meaning='free', whose letters have no k")

    def splits(self) -> tuple[str, ...]:
        """Returns the names of the splits that are not `train`."""
        return ("trained", "seen", "unseen", *(("has_op", "no_op") if self.no_op else ()))

    def shape(self) -> TaskShape:
        prompt = 2 * self.pattern + self.length + 3
        sizes = (("train", self.train_examples), *((name, self.test_examples) for name in self.splits()))
        positions = prompt + self.length - 1
        return TaskShape(len(self.token_names()), positions, tuple(range(prompt - 1, positions)), sizes)

    def measured(self) -> tuple[str, ...]:
        return self.splits()

    def token_names(self) -> tuple[str, ...]:
        return (*"abcdefghijklmnopqrstuvwxyz"[: self.alphabet], ">", ":", "=")

    def disjoint_by(self) -> str:
        return (
            "trained is a sample of train, has_op and no_op are parts of what unseen draws; rules of unseen never train"
        )

    def table(self, seed: int) -> dict[str, Split]:
        from .rewriting import table

        return table(self, seed)
