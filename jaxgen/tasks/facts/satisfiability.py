"""Satisfiability of random clauses, written as symbols or as rules in English: the problems of Richardson and Sabharwal
(Pushing the Limits of Rule Reasoning in Transformers through Natural Language Satisfiability, arXiv 2112.09054).

Shape letters: N examples, W random words of an example, A candidates for an example, M clauses, L literals of a
clause, B words of 32 assignments each, T tokens of a padded sequence.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import numpy as np

from jaxgen.config import PositiveInt, Range, Size
from jaxgen.errors import UserError
from jaxgen.tasks.base import Array, Split
from jaxgen.tasks.sampled import SampledTask

_LARDER = """
apple bacon banana basil bean beet bread butter cabbage cake carrot cheese cherry cocoa coffee corn cream egg fig fish
garlic ginger grape ham honey jam leek lemon lime mango melon milk mint nut oat olive onion orange pasta pea
"""
NOUNS = tuple(_LARDER.split())
NAMES = tuple("Ada Ben Cleo Dan Eva Finn Gus Hana Ivo June Kai Lena".split())  # noqa: SIM905
PROPERTIES = tuple("angry blue brave calm green happy kind proud red round sad tired".split())  # noqa: SIM905

_SPECIAL = ("?", "Yes", "No", "<end>", "<pad>")
_WORDS = {"rules": ("If", "and", "then", "no", "."), "people": ("If", "and", "then", "is", "not", ".")}

Sizes = tuple[int, tuple[int, ...]]  # the number of variables of a split, and its numbers of clauses


@dataclasses.dataclass(frozen=True, kw_only=True)
class SatisfiabilityTask(SampledTask):
    """Is there an assignment that makes every clause true?

    The number of clauses of an example is one of `clauses`. A clause has `literals` different variables, uniform, and
    each is negated or not, uniformly (the fixed clause length model). Problems are hardest where half of them can be
    satisfied: with three literals at about 5.7 clauses a variable for 5 variables, 5.1 for 8, 4.9 for 10, and 4.85 for
    12. Elsewhere one answer is more frequent. A fair coin chooses the answer, and the first of `candidates` problems
    with this answer is taken (or the first, if none has it), so more candidates balance the answers better.

    Languages:

    - `symbols`: `x3 -x1 x2 ;` for each clause;
    - `rules` (the paper's Grounded Rule Language): a clause a or b or c is the sentence
      `If [not a] and [not b] then [c] .`, with a different noun for each variable, drawn anew for every example,
      and `no` before it where it is negated;
    - `people` (the sentences of the authors' generator): the same with `Ada is [not] tired` for a variable; each
      variable has a different name or property.

    A question mark follows; the answer, `Yes` or `No`, and the end are targets.

    Splits: `train`; `clauses_17` and so on, for each of `clauses`; `variables_8` and so on, for each of
    `other_variables`, with numbers of clauses in proportion. Training problems have an even number of negated literals,
    and test problems an odd number; the negation of the first literal is set accordingly.
    """

    variables: Annotated[int, Range(at_least=2, at_most=16)]
    clauses: tuple[Size, ...]
    literals: Literal[2, 3] = 3
    language: Literal["symbols", "rules", "people"] = "rules"
    candidates: PositiveInt = 1
    other_variables: tuple[Annotated[int, Range(at_least=2, at_most=16)], ...] = ()

    def validate(self) -> None:
        if not self.clauses or len(set(self.clauses)) < len(self.clauses):
            raise UserError(f"task.clauses: got {list(self.clauses)}, expected at least one number, all different")
        numbers = (self.variables, *self.other_variables)
        if min(numbers) < self.literals or len(set(numbers)) < len(numbers):
            raise UserError(
                f"task: got variables={self.variables} and other_variables={list(self.other_variables)}, expected "
                f"different numbers of at least {self.literals}: the literals of a clause are of different variables"
            )

    def disjoint_by(self) -> str:
        return "training formulas have an even number of negated literals, those of all other splits an odd one"

    def splits(self) -> tuple[str, ...]:
        return tuple(self._formula_sizes())

    def _formula_sizes(self) -> dict[str, Sizes]:
        """Returns for each split the number of variables, and the possible numbers of clauses."""
        scaled = {
            n: tuple(dict.fromkeys(max(1, round(m * n / self.variables)) for m in self.clauses))
            for n in self.other_variables
        }
        return {
            "train": (self.variables, self.clauses),
            **{f"clauses_{m}": (self.variables, (m,)) for m in self.clauses},
            **{f"variables_{n}": (n, clauses) for n, clauses in scaled.items()},
        }

    def token_names(self) -> tuple[str, ...]:
        if self.language != "symbols":
            things = NOUNS if self.language == "rules" else (*NAMES, *PROPERTIES)
            return (*things, *_WORDS[self.language], *_SPECIAL)
        numbers = range(1, max(self.variables, *self.other_variables, 0) + 1)
        return (*(f"x{i}" for i in numbers), *(f"-x{i}" for i in numbers), ";", *_SPECIAL)

    def spans(self) -> Mapping[str, tuple[int, int]]:
        fewest, most = {"symbols": (1, 1), "rules": (2, 3), "people": (4, 5)}[self.language]
        fewest, most = fewest * self.literals + 1, most * self.literals + 1
        return {name: (fewest * min(m) + 1, most * max(m) + 3) for name, (_, m) in self._formula_sizes().items()}

    def words(self, split: str) -> int:
        clauses = max(self._formula_sizes()[split][1])
        return 2 + self._things() + self.candidates * clauses * (self.literals + 1)

    def _things(self) -> int:
        """Returns the number of symbols, nouns or sentences that the language has for variables."""
        return {"symbols": 0, "rules": len(NOUNS), "people": len(NAMES) * len(PROPERTIES)}[self.language]

    def make(self, split: str, words_NW: Array, xp: Any) -> Split:
        variable_NML, negated_NML, present_NM, answer_N = self._formulas(split, words_NW, xp)
        tokens_NMX, shown_NMX = self._told(variable_NML, negated_NML, words_NW, xp)
        names, count = self.token_names(), len(words_NW)
        question, yes, no, end = (xp.full((count,), names.index(name), dtype=xp.int32) for name in _SPECIAL[:-1])
        tail_N3 = xp.stack([question, xp.where(answer_N, yes, no), end], axis=1)
        tokens_NX = xp.concatenate([tokens_NMX.reshape(count, -1), tail_N3], axis=1)
        shown_NX = (shown_NMX & present_NM[:, :, None]).reshape(count, -1)
        shown_NX = xp.concatenate([shown_NX, xp.ones_like(tail_N3, dtype=bool)], axis=1)
        return self.told(split, tokens_NX, shown_NX, 2, xp)

    def _formulas(self, split: str, words_NW: Array, xp: Any) -> tuple[Array, Array, Array, Array]:
        """Returns variables and negations (N, M, L), which clauses are present (N, M), and whether all can be true
        (N,)."""
        variables, clauses = self._formula_sizes()[split]
        shape = (len(words_NW), self.candidates, max(clauses), self.literals + 1)
        words_NAMX = words_NW[:, -math.prod(shape[1:]) :].reshape(shape)
        count_N = xp.asarray(clauses, dtype=xp.int32)[words_NW[:, 0] % len(clauses)]
        present_NM = xp.arange(max(clauses), dtype=xp.int32)[None] < count_N[:, None]
        variable_NAML = _different(words_NAMX[..., :-1], variables, xp)
        bits_L = xp.arange(self.literals, dtype=xp.uint32)
        negated_NAML = (words_NAMX[..., -1:] >> bits_L[None, None, None] & 1).astype(bool)
        odd_NA = (negated_NAML & present_NM[:, None, :, None]).sum(axis=(2, 3), dtype=xp.int32) % 2 == 1
        wrong_NA = odd_NA if split == "train" else ~odd_NA
        first_ML = xp.asarray((np.indices((max(clauses), self.literals)) == 0).all(axis=0))
        negated_NAML = negated_NAML ^ (wrong_NA[:, :, None, None] & first_ML[None, None])

        answer_NA = satisfiable(variable_NAML, negated_NAML, present_NM[:, None], variables, xp)
        wished_N = (words_NW[:, 1] & 1).astype(bool)
        chosen_N = xp.argmax(answer_NA == wished_N[:, None], axis=1)
        of = lambda each: xp.take_along_axis(  # noqa: E731
            each, chosen_N.reshape(-1, *[1] * (each.ndim - 1)), axis=1
        )[:, 0]
        return of(variable_NAML), of(negated_NAML), present_NM, of(answer_NA)

    def _told(self, variable_NML: Array, negated_NML: Array, words_NW: Array, xp: Any) -> tuple[Array, Array]:
        """Returns the tokens of each clause, and which of them are present."""
        names = self.token_names()
        if self.language == "symbols":
            literal_NML = variable_NML + xp.where(negated_NML, names.index("-x1"), 0).astype(xp.int32)
            mark_NM1 = xp.full_like(literal_NML[..., :1], names.index(";"))
            tokens_NMX = xp.concatenate([literal_NML, mark_NM1], axis=2)
            return tokens_NMX, xp.ones_like(tokens_NMX, dtype=bool)
        thing_NV = xp.argsort(words_NW[:, 2 : 2 + self._things()], axis=1).astype(xp.int32)
        flat_NX = variable_NML.reshape(len(words_NW), -1)
        thing_NML = xp.take_along_axis(thing_NV, flat_NX, axis=1).reshape(variable_NML.shape)
        always_NM = xp.ones_like(negated_NML[..., 0])
        columns, shown = [], []

        def tell(token: Any, there_NM: Array) -> None:
            columns.append(xp.full_like(thing_NML[..., 0], names.index(token)) if isinstance(token, str) else token)
            shown.append(there_NM)

        for i in range(self.literals):
            last = i == self.literals - 1
            thing_NM = thing_NML[..., i]
            no_NM = negated_NML[..., i] if last else ~negated_NML[..., i]
            tell("then" if last else "and" if i else "If", always_NM)
            if self.language == "rules":
                tell("no", no_NM)
                tell(thing_NM, always_NM)
            else:
                tell(thing_NM // len(PROPERTIES), always_NM)
                tell("is", always_NM)
                tell("not", no_NM)
                tell(len(NAMES) + thing_NM % len(PROPERTIES), always_NM)
        tell(".", always_NM)
        return xp.stack(columns, axis=-1), xp.stack(shown, axis=-1)


def satisfiable(variable_ML: Array, negated_ML: Array, present_M: Array, variables: int, xp: Any) -> Array:
    """Returns (...,) bool: whether an assignment satisfies all clauses, by trying all 2**variables.

    Args:
      variable_ML: (..., M, L) the variable of each literal, from 0.
      negated_ML: (..., M, L) bool.
      present_M: (..., M) bool: which clauses count.
      variables: the number of variables.
      xp: numpy or jax.numpy.
    """
    true_VB = xp.asarray(_assignments(variables))
    satisfied_MB: Any = None
    for i in range(variable_ML.shape[-1]):
        literal_MB = true_VB[variable_ML[..., i]] ^ xp.where(
            negated_ML[..., i, None], xp.uint32(2**32 - 1), xp.uint32(0)
        )
        satisfied_MB = literal_MB if satisfied_MB is None else satisfied_MB | literal_MB
    satisfied_MB = xp.where(present_M[..., None], satisfied_MB, xp.uint32(2**32 - 1))
    return (xp.bitwise_and.reduce(satisfied_MB, axis=-2) != 0).any(axis=-1)


@functools.lru_cache(maxsize=16)
def _assignments(variables: int) -> np.ndarray:
    """Returns (variables, B) uint32: bit i of word b is the variable's value in assignment 32 b + i."""
    assignment = np.arange(max(32, 2**variables), dtype=np.uint64)
    bits = assignment[None] >> np.arange(variables, dtype=np.uint64)[:, None] & np.uint64(1)
    return (bits.reshape(variables, -1, 32) << np.arange(32, dtype=np.uint64)).sum(axis=2).astype(np.uint32)


def _different(words_XL: Array, count: int, xp: Any) -> Array:
    """Returns (..., L) int32 below `count`, all different along the last axis; L is two or three."""
    left_L = xp.asarray([count - i for i in range(words_XL.shape[-1])], dtype=xp.uint32)
    first, second, *third = xp.moveaxis((words_XL % left_L.reshape(1, 1, 1, -1)).astype(xp.int32), -1, 0)
    second = second + (second >= first).astype(xp.int32)
    if not third:
        return xp.stack([first, second], axis=-1)
    low, high = xp.minimum(first, second), xp.maximum(first, second)
    last = third[0] + (third[0] >= low).astype(xp.int32)
    return xp.stack([first, second, last + (last >= high).astype(xp.int32)], axis=-1)
