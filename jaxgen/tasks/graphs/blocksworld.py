"""Plans of Blocksworld, with or without intermediate states, after Stechly, Valmeekam and Kambhampati (Chain of
Thoughtlessness? An Analysis of CoT in Planning, arXiv 2405.04776), as a task to train on from scratch.

Shape letters: N examples, W random words of an example, B blocks of the largest problem, X tokens of a part,
T tokens of a padded sequence.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

import numpy as np

from jaxgen.config import Range, Size
from jaxgen.errors import UserError
from jaxgen.tasks.base import Array, Split
from jaxgen.tasks.sampled import SampledTask, some

Blocks = Annotated[int, Range(at_least=2)]

_WORDS = ("pick-up", "put-down", "unstack", "stack", ":", ";", ".", "goal", "<sep>", "<end>", "<pad>")
_IN_HAND = -1


@dataclasses.dataclass(frozen=True, kw_only=True)
class BlocksworldTask(SampledTask):
    """How to build one stack of all blocks, with the four actions of Blocksworld.

    The prompt lists the stacks, each from its bottom and followed by `;`, ordered by the names of their bottom blocks,
    and then the goal from its bottom: `b4 b1 ; b6 ; goal b6 b1 b4 <sep>`. Names of blocks are drawn from `names`. At
    first all blocks are on the table (`table`), or in `stacks`: in a random order, each block stands on the one before
    it with probability 1/2, else on the table. The goal is any order, or `lexicographic`: ascending from the bottom.

    The target is the plan of the universal algorithm, and the end. The algorithm goes from the first stack to the last,
    and in each from its top, and puts every block that stands on another on the table; then it builds the goal from its
    bottom. From the table this is only the stacking. Actions are `unstack b1 b4`, `put-down b1`, `pick-up b1` and
    `stack b1 b6`; with `states`, each is followed by `:`, the stacks without the block in hand, and a full stop.

    Splits: `train`; `blocks_5` and so on, for each of `blocks` and `larger`, with the same kind of problems; and, if
    training problems start on the table, `stacks_5` and so on for each of `blocks`, which start from stacks.
    """

    numpy_alone: ClassVar[bool] = True

    blocks: tuple[Blocks, ...] = (3, 4, 5)
    larger: tuple[Blocks, ...] = ()
    names: Size = 12
    initial: Literal["table", "stacks"] = "table"
    goal: Literal["any", "lexicographic"] = "any"
    states: bool = False

    def validate(self) -> None:
        sizes = (*self.blocks, *self.larger)
        if not self.blocks or len(set(sizes)) < len(sizes):
            raise UserError(
                f"task: got blocks={list(self.blocks)} and larger={list(self.larger)}, expected at least one number of "
                "blocks that train, and all different"
            )
        if max(sizes) > self.names:
            raise UserError(f"task.names: got {self.names}, expected at least {max(sizes)}, the blocks of a problem")

    def disjoint_by(self) -> str:
        if self.goal == "lexicographic":
            return (
                "problems of `larger` have other numbers of blocks than those that train, and those of stacks_N start "
                "otherwise unless all are on the table; those of `blocks` may train, too"
            )
        return "the goal is an even permutation of the names in training, an odd one in all other splits"

    def splits(self) -> tuple[str, ...]:
        return tuple(self._kinds())

    def _kinds(self) -> dict[str, tuple[tuple[int, ...], bool]]:
        """Returns for each split the numbers of blocks, and whether problems start from stacks."""
        stacks = self.initial == "stacks"
        kinds = {"train": (self.blocks, stacks)}
        kinds |= {f"blocks_{count}": ((count,), stacks) for count in (*self.blocks, *self.larger)}
        return kinds | {f"stacks_{count}": ((count,), True) for count in self.blocks if not stacks}

    def token_names(self) -> tuple[str, ...]:
        return (*(f"b{i}" for i in range(self.names)), *_WORDS)

    def spans(self) -> Mapping[str, tuple[int, int]]:
        spans = {}
        for name, (blocks, stacks) in self._kinds().items():
            fewest, most = min(blocks), max(blocks)
            # If two blocks share a stack, one `;` fewer is written.
            prompt = 3 * most + 2
            moves = (most - 1) * (2 if stacks else 1)
            plan = moves * (5 + (2 * (2 + 2 * most) if self.states else 0))
            spans[name] = (2 * fewest + 3, prompt + plan + 1)
        return spans

    def words(self, split: str) -> int:
        return 1 + self.names + 3 * max(self._kinds()[split][0])

    def make(self, split: str, words_NW: Array, xp: Any) -> Split:
        sizes, stacks = self._kinds()[split]
        most = max(sizes)
        parts = np.cumsum([1, self.names, most, most])
        size_N1, name_NX, order_NX, on_NX, goal_NX = np.split(words_NW, parts, axis=1)
        blocks_N = np.array(sizes)[size_N1[:, 0] % len(sizes)]
        problem = _Problem(self.token_names(), blocks_N, name_NX, most)
        base_NB, height_NB = problem.stacks(order_NX, on_NX) if stacks else problem.table()
        goal_NB = problem.goal(goal_NX if self.goal == "any" else None, odd=split != "train")
        problem.tell_stacks(base_NB, height_NB)
        problem.tell("goal")
        for place in range(most):
            problem.tell(goal_NB[:, place], there_N=place < blocks_N)
        problem.tell("<sep>")
        prompt = sum(each.shape[1] for each in problem.told)
        problem.plan(base_NB, height_NB, goal_NB, states=self.states, stacks=stacks)
        problem.tell("<end>")
        tokens_NX, shown_NX = (np.concatenate(each, axis=1) for each in (problem.told, problem.shown))
        return self.told(split, tokens_NX, shown_NX, tokens_NX.shape[1] - prompt, np)


class _Problem:
    """A batch of problems and the tokens written for them. Blocks are numbered by the order of their names.

    The position of a block is the lowest block of its stack, its `base`, and the number of blocks beneath it.
    """

    def __init__(self, names: tuple[str, ...], blocks_N: np.ndarray, words_NX: np.ndarray, most: int) -> None:
        self.names, self.most, self.blocks_N = names, most, blocks_N
        self.there_NB = np.arange(most) < blocks_N[:, None]
        self.name_NB = some(words_NX, blocks_N, most)
        self.row_N = np.arange(len(blocks_N))
        self.told: list[np.ndarray] = []
        self.shown: list[np.ndarray] = []

    def table(self) -> tuple[np.ndarray, np.ndarray]:
        """Returns base and height (N, B) of every block if all are on the table."""
        base_NB = np.broadcast_to(np.arange(self.most), self.there_NB.shape).copy()
        return base_NB, np.zeros_like(base_NB)

    def stacks(self, order_NX: np.ndarray, on_NX: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns base and height (N, B) of blocks in random stacks."""
        order_NB = self._ordered(order_NX)
        first_NB = on_NX & 1 == 0
        first_NB[:, 0] = True
        start_NB = np.maximum.accumulate(np.where(first_NB, np.arange(self.most), 0), axis=1)
        base_NB, height_NB = np.empty_like(order_NB), np.empty_like(order_NB)
        np.put_along_axis(base_NB, order_NB, np.take_along_axis(order_NB, start_NB, axis=1), axis=1)
        np.put_along_axis(height_NB, order_NB, np.arange(self.most) - start_NB, axis=1)
        return base_NB, height_NB

    def goal(self, words_NX: np.ndarray | None, *, odd: bool) -> np.ndarray:
        """Returns (N, B): the goal from its bottom, an odd or even permutation; without random words, in order."""
        if words_NX is None:
            return np.broadcast_to(np.arange(self.most), self.there_NB.shape)
        goal_NB = self._ordered(words_NX)
        inverted_NBB = (goal_NB[:, :, None] > goal_NB[:, None, :]) & np.tri(self.most, k=-1, dtype=bool).T
        wrong_N = (inverted_NBB.sum(axis=(1, 2)) % 2 == 1) != odd
        goal_NB[wrong_N, :2] = goal_NB[wrong_N, 1::-1]
        return goal_NB

    def _ordered(self, words_NX: np.ndarray) -> np.ndarray:
        """Returns (N, B): the blocks of each problem in random order, then the numbers of those it lacks."""
        return np.argsort(np.where(self.there_NB, words_NX.astype(np.int64), 2**32 + np.arange(self.most)), axis=1)

    def tell(self, word: str | np.ndarray, there_N: np.ndarray | None = None) -> None:
        """Adds a word, or a block of each problem."""
        if isinstance(word, str):
            token_N = np.full(len(self.row_N), self.names.index(word), dtype=np.int32)
        else:
            token_N = self.name_NB[self.row_N, word]
        self.told.append(token_N[:, None])
        self.shown.append(np.ones((len(self.row_N), 1), dtype=bool) if there_N is None else there_N[:, None])

    def tell_stacks(self, base_NB: np.ndarray, height_NB: np.ndarray, there_N: np.ndarray | None = None) -> None:
        """Adds the stacks, each with `;` behind it."""
        standing_NB = self.there_NB & (base_NB != _IN_HAND)
        key_NB = np.where(standing_NB, base_NB * self.most + height_NB, self.most**2)
        order_NB = np.argsort(key_NB, axis=1, stable=True)
        standing_NB, base_NB = (np.take_along_axis(each, order_NB, axis=1) for each in (standing_NB, base_NB))
        ends_NB = standing_NB.copy()
        ends_NB[:, :-1] &= ~standing_NB[:, 1:] | (base_NB[:, 1:] != base_NB[:, :-1])
        name_NB = np.take_along_axis(self.name_NB, order_NB, axis=1)
        mark_NB = np.full_like(name_NB, self.names.index(";"))
        self.told.append(np.stack([name_NB, mark_NB], axis=2).reshape(len(name_NB), -1))
        shown_NX = np.stack([standing_NB, ends_NB], axis=2).reshape(len(name_NB), -1)
        self.shown.append(shown_NX if there_N is None else shown_NX & there_N[:, None])

    def plan(
        self, base_NB: np.ndarray, height_NB: np.ndarray, goal_NB: np.ndarray, *, states: bool, stacks: bool
    ) -> None:
        """Adds the actions of the universal algorithm, and after each the state if `states` are written."""
        base_NB, height_NB, row_N = base_NB.copy(), height_NB.copy(), self.row_N

        def act(word: str, moved_N: np.ndarray, on_N: np.ndarray | None, there_N: np.ndarray) -> None:
            self.tell(word, there_N)
            self.tell(moved_N, there_N)
            if on_N is not None:
                self.tell(on_N, there_N)
            rows, moved = row_N[there_N], moved_N[there_N]
            if word in ("pick-up", "unstack"):
                base_NB[rows, moved] = _IN_HAND
            elif on_N is None:
                base_NB[rows, moved], height_NB[rows, moved] = moved, 0
            else:
                on = on_N[there_N]
                base_NB[rows, moved], height_NB[rows, moved] = base_NB[rows, on], height_NB[rows, on] + 1
            if states:
                self.tell(":", there_N)
                self.tell_stacks(base_NB, height_NB, there_N)
                self.tell(".", there_N)

        if stacks:
            key_NB = np.where(self.there_NB, base_NB * self.most - height_NB, self.most**2)
            order_NB = np.argsort(key_NB, axis=1, stable=True)
            above_NB = np.take_along_axis(height_NB, order_NB, axis=1) > 0
            # Going from the top, the block beneath is next.
            for place in range(self.most - 1):
                moved_N, there_N = order_NB[:, place], above_NB[:, place] & (place < self.blocks_N)
                act("unstack", moved_N, order_NB[:, place + 1], there_N)
                act("put-down", moved_N, None, there_N)
        for place in range(1, self.most):
            there_N = place < self.blocks_N
            act("pick-up", goal_NB[:, place], None, there_N)
            act("stack", goal_NB[:, place], goal_NB[:, place - 1], there_N)
