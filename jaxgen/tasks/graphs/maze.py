"""Mazes with the search that solves them: the procedures of Yang et al. (Chain of Thought Imitation with Procedure
Cloning, arXiv 2205.10816), as token sequences.

Shape letters: N examples, W random words of an example, H rows and columns of a maze, M mazes, C = H * H cells,
X tokens of a part, T tokens of a padded sequence.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

import numpy as np

from jaxgen.config import HostSeed, PositiveInt, Range
from jaxgen.tasks.base import Array, Split, example_words
from jaxgen.tasks.sampled import SampledTask, chosen

_STEPS = ((-1, 0), (1, 0), (0, -1), (0, 1))
_MARKS = (".", "#", "G", "A", "up", "down", "left", "right", ";", "<sep>", "<end>", "<pad>")
_MAZES = 100  # the stream of random words for training mazes


@dataclasses.dataclass(frozen=True, kw_only=True)
class MazeTask(SampledTask):
    """The first step on a shortest path from A to the goal G, and the backward search from G that finds it.

    Each of the `size` * `size` cells is a wall with probability `walls`; G is uniform, one of the cells next to it is
    opened, and A is uniform among the cells that reach G. The map is written row by row, from its top left.

    Answers, which are targets together with the end:

    - `search`: G is reached first, and each round reaches every cell next to one reached before. For each new cell the
      answer has its position (`2,7`: row 2, column 7) and the step that leads back, the first of up, down, left and
      right that does; row by row, with `;` after the round. The round that reaches A is the last. Then comes the step
      from A.
    - `action`: only the step from A (behavioural cloning, the paper's baseline).

    Training uses `mazes` mazes drawn from `maze_seed`, each with every possible A, or fresh mazes at every step.
    Splits: `train`; `test`, with fresh mazes. Training mazes have an even number of walls, test mazes an odd number;
    the first of three cells in the top row that is neither G nor opened is set accordingly.

    The authors' mazes are rooms and tunnels from their own library, and each example is one round of the search, on a
    map with one channel for each kind of cell.
    """

    numpy_alone: ClassVar[bool] = True

    size: Annotated[int, Range(at_least=3, at_most=1000)] = 8
    walls: Annotated[float, Range(at_least=0, below=1)] = 0.3
    answer: Literal["search", "action"] = "search"
    mazes: PositiveInt | None = None  # None: fresh mazes
    maze_seed: HostSeed = 0

    def disjoint_by(self) -> str:
        return "training mazes have an even number of walls, those of the test an odd one"

    def splits(self) -> tuple[str, ...]:
        return ("train", "test")

    def token_names(self) -> tuple[str, ...]:
        cells = range(self.size)
        return (*(f"{row},{column}" for row in cells for column in cells), *_MARKS)

    def spans(self) -> Mapping[str, tuple[int, int]]:
        cells = self.size**2
        answer = 2 if self.answer == "action" else 3 * (cells - 1) + 2
        return dict.fromkeys(self.splits(), (cells + 1, cells + 1 + answer))

    def _finite(self, split: str) -> bool:
        return split == "train" and self.mazes is not None

    def words(self, split: str) -> int:
        return 2 if self._finite(split) else 1 + self._maze_words()

    def _maze_words(self) -> int:
        return 2 + self.size**2

    def make(self, split: str, words_NW: Array, xp: Any) -> Split:
        maze_NX, rows = words_NW[:, 1:], np.arange(len(words_NW))
        if self._finite(split):
            count = self.mazes or 0
            maze_NX = example_words(count, self._maze_words(), seed=self.maze_seed, stream=_MAZES)
            rows = words_NW[:, 1] % count
        wall_MHH, goal_M = self._mazes(maze_NX, even=split == "train")
        round_MC, step_MC = self._search(wall_MHH, goal_M)
        agent_N = chosen(round_MC[rows] > 0, words_NW[:, 0], np)
        wall_MC = wall_MHH.reshape(len(wall_MHH), -1)
        return self._told(split, wall_MC[rows], goal_M[rows], agent_N, round_MC[rows], step_MC[rows])

    def _mazes(self, words_MX: np.ndarray, *, even: bool) -> tuple[np.ndarray, np.ndarray]:
        """Returns walls (M, H, H) bool, and goals (M,) as numbers of cells."""
        count, size = len(words_MX), self.size
        row_M = np.arange(count)
        wall_MC = words_MX[:, 2:] >> 8 < round(self.walls * 2**24)
        goal_M = words_MX[:, 0].astype(np.int64) % size**2
        near_MC = np.zeros((count, size, size), dtype=bool)
        for down, right in _STEPS:
            row, column = goal_M // size + down, goal_M % size + right
            inside = (row >= 0) & (row < size) & (column >= 0) & (column < size)
            near_MC[row_M[inside], row[inside], column[inside]] = True
        opened_M = chosen(near_MC.reshape(count, -1), words_MX[:, 1], np)
        wall_MC[row_M, goal_M] = wall_MC[row_M, opened_M] = False
        adjusted_M = np.stack([(goal_M != cell) & (opened_M != cell) for cell in range(3)], axis=1).argmax(axis=1)
        wall_MC[row_M, adjusted_M] ^= (wall_MC.sum(axis=1) % 2 == 1) == even
        return wall_MC.reshape(count, size, size), goal_M

    def _search(self, wall_NHH: np.ndarray, goal_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns (N, C): the round that reaches each cell, -1 if none does, and the number of the step back."""
        count, size = len(wall_NHH), self.size
        # A border of unreachable cells avoids checks of the boundary.
        round_NHH = np.full((count, size + 2, size + 2), -1, dtype=np.int32)
        round_NHH[np.arange(count), goal_N // size + 1, goal_N % size + 1] = 0
        step_NHH = np.zeros((count, size, size), dtype=np.int32)
        inside_NHH = round_NHH[:, 1:-1, 1:-1]
        for this in range(1, size**2):
            open_NHH = ~wall_NHH & (inside_NHH < 0)
            new_NHH = np.zeros_like(open_NHH)
            for number, (down, right) in reversed(list(enumerate(_STEPS))):
                beyond_NHH = round_NHH[:, 1 + down : size + 1 + down, 1 + right : size + 1 + right]
                leads_NHH = open_NHH & (beyond_NHH >= 0)
                step_NHH[leads_NHH] = number
                new_NHH |= leads_NHH
            if not new_NHH.any():
                break
            inside_NHH[new_NHH] = this
        return inside_NHH.reshape(count, -1), step_NHH.reshape(count, -1)

    def _told(
        self,
        split: str,
        wall_NC: np.ndarray,
        goal_N: np.ndarray,
        agent_N: np.ndarray,
        round_NC: np.ndarray,
        step_NC: np.ndarray,
    ) -> Split:
        count, cells = wall_NC.shape
        row_N = np.arange(count)
        mark = {name: cells + i for i, name in enumerate(_MARKS)}
        map_NC = np.where(wall_NC, mark["#"], mark["."]).astype(np.int32)
        map_NC[row_N, goal_N], map_NC[row_N, agent_N] = mark["G"], mark["A"]
        tail_N3 = np.full((count, 3), mark["<end>"], dtype=np.int32)
        tail_N3[:, 0], tail_N3[:, 1] = mark["<sep>"], mark["up"] + step_NC[row_N, agent_N]
        given = np.ones((count, cells + 3), dtype=bool)
        search_NX, searched_NX = tail_N3[:, :0], given[:, :0]
        if self.answer == "search":
            search_NX, searched_NX = self._rounds(round_NC, step_NC, agent_N, mark)
        tokens_NX = np.concatenate([map_NC, tail_N3[:, :1], search_NX, tail_N3[:, 1:]], axis=1)
        shown_NX = np.concatenate([given[:, 2:], searched_NX, given[:, :2]], axis=1)
        return self.told(split, tokens_NX, shown_NX, search_NX.shape[1] + 2, np)

    def _rounds(
        self, round_NC: np.ndarray, step_NC: np.ndarray, agent_N: np.ndarray, mark: dict[str, int]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Returns the tokens (N, X) int32 of the search, and which of them are present."""
        count, cells = round_NC.shape
        seen_NC = (round_NC > 0) & (round_NC <= round_NC[np.arange(count), agent_N][:, None])
        order_NC = np.argsort(np.where(seen_NC, round_NC, cells), axis=1, stable=True)[:, :-1]
        seen_NX, round_NX = (np.take_along_axis(each, order_NC, axis=1) for each in (seen_NC, round_NC))
        ends_NX = seen_NX.copy()
        ends_NX[:, :-1] &= ~seen_NX[:, 1:] | (round_NX[:, 1:] != round_NX[:, :-1])
        step_NX = mark["up"] + np.take_along_axis(step_NC, order_NC, axis=1)
        tokens_NX3 = np.stack([order_NC, step_NX, np.full_like(step_NX, mark[";"])], axis=2).astype(np.int32)
        return tokens_NX3.reshape(count, -1), np.stack([seen_NX, seen_NX, ends_NX], axis=2).reshape(count, -1)
