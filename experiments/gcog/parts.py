"""Questions about objects on a grid, asked by a tree of operators; and the accuracy by operator and kind of answer.

Shape letters: N examples, W random words, M operators of a tree (the deepest that a split has), G cells, P pairs of
shape and colour, D distractors, R rows of the instruction, S input positions, C channels.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, NamedTuple

import numpy as np

from jaxgen.config import NonNegativeInt, PositiveInt, Range
from jaxgen.errors import UserError
from jaxgen.measures.config import Measure
from jaxgen.tasks.base import Array, Split, Task, TaskShape, clean_split, example_words
from jaxgen.tasks.sampled import chosen

if TYPE_CHECKING:
    import jax

    from jaxgen.measures.evaluation import Evaluation

OPERATORS = ("exist", "go", "getcolor", "getshape", "sumeven", "sumodd", "producteven", "productodd")
CONDITIONS = ("exist", "sumeven", "sumodd", "producteven", "productodd")  # they answer yes or no
SWITCH = len(OPERATORS)  # the number of if-then-else, after those of the operators

# Systematicity at depth 1: these meet the first half of the colours in training, the others the second half of the
# shapes.
BY_COLOUR = ("exist", "sumeven", "producteven", "getshape")
# Systematicity at depth 3: conditions, and the branches that each half of them meets in training.
HALVES = (
    (("exist", "sumeven", "producteven"), ("sumeven", "producteven", "getcolor", "getshape")),
    (("sumodd", "productodd"), ("exist", "sumodd", "productodd", "go")),
)


def operators_of(depth: int) -> int:
    """Returns M, the number of operators in a tree: of a question of depth 1 there is one, and each two steps of depth
    put an if-then-else with two branches in the place of every leaf."""
    return 2 ** ((depth + 1) // 2) - 1


def rows_of(depth: int) -> int:
    """Returns the number of rows of a tree's instruction, its if-then-elses included, without the end row."""
    return operators_of(depth) + (operators_of(depth) - 1) // 2


class _Scene(NamedTuple):
    """What a question is about: operators, their objects and answers, (N, M) each; and the grid (N, G)."""

    operator_NM: Array
    shape_NM: Array
    colour_NM: Array
    answer_NM: Array
    shape_NG: Array  # 0: the cell is empty
    colour_NG: Array


@dataclasses.dataclass(frozen=True, kw_only=True)
class GridTask(Task):
    """A stream of questions about a grid of objects, after the generator of Ito et al. (arXiv 2401.15030).

    A question of depth 1 is one operator and its object, a pair of shape and colour. `exist`: is the object there? (In
    half of the questions it is not.) `go`: at which cell is it? `getcolor` of a shape, `getshape` of a colour: the
    other attribute of the only object that has it. `sumeven`, `sumodd`, `producteven`, `productodd`: is the sum, or the
    product, of the object's two coordinates (from 0) even, or odd? (Yes in half of the questions.) Depth 3 is `if c
    then a else b` with a yes-or-no operator c; at depth 5 the branches are such questions themselves, and so on.
    Operators are uniform among those that a place admits. All operators' objects lie on the grid, at different cells,
    with different shapes and different colours. Distractors are uniform among the pairs that no operator names and that
    make no `getcolor` or `getshape` ambiguous; two of them may be alike.

    The input has a row for each node of the tree, level by level (an operator has 1, an if-then-else stands before its
    branches), then an end row; blank rows before them if other splits have deeper trees; then a row for each cell of
    the grid, by lines, and an end row, at which the answer is read out. Rows of nodes and cells have their own
    channels, which are 0 in the others. `one_hot`: operator, shape and colour, each one-hot, and the end; shape and
    colour, one-hot, and the end. `numbers`: these as single numbers counted from 1, as in the authors' code. Answers:
    yes, no, the cells, the shapes, the colours.

    Splits, `test_examples` each: `train`, as the stream, and `test`, too; `distractors_N`, with N of them;
    `depth_D`, trees of that depth; with systematic="features" (depth 1) `systematic` and `systematic_leaky`; with
    "branches" (depth 3) `systematic`.
    - features: one half of the operators trains on objects with the first half of the colours, the other on those with
      the second half of the shapes. The test of the authors' code swaps the two sets, so half of its pairs of operator
      and object were trained: `systematic_leaky`. `systematic` has those alone that were not.
    - branches: half of the conditions trains with half of the branches, the others with the others; the test swaps.
    """

    smoke_sizes: ClassVar[Mapping[str, int]] = {"test_examples": 20}

    side: Annotated[int, Range(at_least=2, at_most=100)] = 10
    shapes: Annotated[int, Range(at_least=2, at_most=100)] = 10
    colours: Annotated[int, Range(at_least=2, at_most=100)] = 10
    train_depths: tuple[PositiveInt, ...] = (1,)  # each as often
    test_depths: tuple[PositiveInt, ...] = ()
    train_distractors: tuple[NonNegativeInt, ...] = (1, 2, 3, 4, 5)  # each as often
    test_distractors: tuple[NonNegativeInt, ...] = ()
    systematic: Literal["none", "features", "branches"] = "none"
    encoding: Literal["one_hot", "numbers"] = "one_hot"
    test_examples: PositiveInt = 1000

    def validate(self) -> None:
        depths = (*self.train_depths, *self.test_depths)
        if any(depth % 2 == 0 for depth in depths) or not self.train_depths or max(depths) > 7:
            raise UserError(
                f"task.train_depths, task.test_depths: got {list(self.train_depths)} and {list(self.test_depths)}, "
                "expected odd numbers up to 7: an if-then-else and its branches are two steps"
            )
        if not self.train_distractors:
            raise UserError(
                "task.train_distractors: got none, expected at least one number of distractors; [0] for none"
            )
        for name in ("train_depths", "test_depths", "train_distractors", "test_distractors"):
            if len(set(getattr(self, name))) < len(getattr(self, name)):
                raise UserError(f"task.{name}: got {list(getattr(self, name))}, expected every number once")
        expected = {"features": (1,), "branches": (3,)}.get(self.systematic, self.train_depths)
        if self.train_depths != expected:
            raise UserError(
                f"task.train_depths: got {list(self.train_depths)}, expected {list(expected)} with "
                f"systematic={self.systematic}"
            )
        if self.systematic != "none" and self.test_depths:
            raise UserError(
                f"task.test_depths: got {list(self.test_depths)}, expected none with systematic={self.systematic}"
            )
        if self.systematic == "features" and (self.shapes % 2 or self.colours % 2):
            raise UserError(
                f"task.shapes, task.colours: got {self.shapes} and {self.colours}, expected even numbers to be halved"
            )
        operators = operators_of(max(depths))
        for name, count in (
            ("shapes", self.shapes - 1),
            ("colours", self.colours - 1),
            ("side", (self.side // 2) ** 2),
        ):
            if count < operators:
                least = operators + 1 if name != "side" else 2 * int(np.ceil(operators**0.5))
                raise UserError(
                    f"task.{name}: got {getattr(self, name)}, expected at least {least}: a tree of depth {max(depths)} "
                    f"has {operators} operators, whose objects differ and may all ask for an odd product"
                )
        most = max(*self.train_distractors, *self.test_distractors, 0)
        if self.side**2 < operators + most:
            raise UserError(
                f"task.side: got {self.side}, expected a grid with room for {operators} objects and {most} distractors"
            )

    # -- sizes

    def splits(self) -> tuple[str, ...]:
        """Returns the names of the splits."""
        tests = [f"distractors_{count}" for count in self.test_distractors]
        tests += [f"depth_{depth}" for depth in self.test_depths]
        held_out = {"none": (), "features": ("systematic", "systematic_leaky"), "branches": ("systematic",)}
        return ("train", "test", *tests, *held_out[self.systematic])

    def rule_rows(self) -> int:
        """Returns the rows before the grid: the nodes of the deepest tree and the end."""
        return rows_of(max(*self.train_depths, *self.test_depths, 1)) + 1

    def channels(self) -> tuple[int, int]:
        """Returns the number of channels of a node's row, and of a cell's."""
        if self.encoding == "numbers":
            return 4, 3
        return SWITCH + 2 + self.shapes + self.colours, self.shapes + self.colours + 1

    def shape(self) -> TaskShape:
        length = self.rule_rows() + self.side**2 + 1
        return TaskShape(
            vocabulary=len(self.token_names()),
            length=length,
            readout=(length - 1,),
            sizes=tuple((name, self.test_examples) for name in self.splits()),
            channels=sum(self.channels()),
        )

    def token_names(self) -> tuple[str, ...]:
        cells = tuple(f"({cell // self.side},{cell % self.side})" for cell in range(self.side**2))
        shapes = tuple(f"shape{i}" for i in range(self.shapes))
        return ("yes", "no", *cells, *shapes, *(f"colour{i}" for i in range(self.colours)))

    def disjoint_by(self) -> str:
        return (
            "test is of the stream's questions, which all but never come twice: the grid alone has more states than a "
            "run has examples; distractors_* have other numbers of objects, depth_* other trees, systematic and "
            "systematic_leaky other pairs of operators and objects, or of conditions and branches (half of the pairs "
            "of systematic_leaky are the stream's)"
        )

    def stream_words(self) -> int:
        return self._words(max(self.train_depths), max(self.train_distractors))

    def table(self, seed: int) -> dict[str, Split]:
        splits = {}
        for stream, name in enumerate(self.splits()):
            depths, distractors = self._of_split(name)
            words = self._words(max(depths), max(distractors))
            words_NW = example_words(self.test_examples, words, seed=seed, stream=stream)
            splits[name] = self._made(name, words_NW, np)
        return splits

    def examples(self, words_NW: Array, xp: Any) -> Split:
        return self._made("train", words_NW, xp)

    # -- making

    def _of_split(self, split: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Returns the depths and the numbers of distractors of a split."""
        kind, _, number = split.rpartition("_")
        if kind == "distractors":
            return self.train_depths, (int(number),)
        if kind == "depth":
            return (int(number),), self.train_distractors
        return self.train_depths, self.train_distractors

    def _words(self, depth: int, distractors: int) -> int:
        # Depth and number of distractors; of each operator: itself, its object, yes or no, and its cell.
        operators = operators_of(depth)
        return 2 + 3 * operators + self.shapes + self.colours + self.side**2 + distractors

    def _made(self, split: str, words_NW: Array, xp: Any) -> Split:
        depths, counts = self._of_split(split)
        most = operators_of(max(depths))
        taken = _Taken(words_NW)
        depth_N = xp.asarray(np.array(depths, np.int32))[_index(taken.next(1)[:, 0], len(depths), xp)]
        count_N = xp.asarray(np.array(counts, np.int32))[_index(taken.next(1)[:, 0], len(counts), xp)]
        operators_N = xp.left_shift(xp.int32(1), (depth_N + 1) // 2) - 1
        operator_NM = self._operators(split, taken.next(most), operators_N, xp)
        shape_NM, colour_NM = self._objects(split, taken, operator_NM, xp)
        scene = self._scene(taken, operator_NM, shape_NM, colour_NM, operators_N, count_N, max(counts), xp)
        return clean_split(self._shown(scene, depth_N, xp), self._answer(scene, operators_N, xp)[:, None], xp)

    def _operators(self, split: str, words_NM: Array, operators_N: Array, xp: Any) -> Array:
        """Returns the operator at each place of the tree (N, M): i has the branches 2i + 1 and 2i + 2."""
        fits_MNX = []
        for place in range(words_NM.shape[1]):
            inner_N1 = (2 * place + 1 < operators_N)[:, None]
            condition_X = _among(CONDITIONS, xp)
            if self.systematic != "branches" or place == 0:
                fits_MNX.append(xp.where(inner_N1, condition_X, True))
            else:
                first_X, second_X = (_among(branches, xp) for _, branches in HALVES)
                if split == "systematic":
                    first_X, second_X = second_X, first_X
                condition_N = chosen(fits_MNX[0], words_NM[:, 0], xp)
                fits_MNX.append(xp.where(_among(HALVES[0][0], xp)[condition_N][:, None], first_X, second_X))
        return xp.stack([chosen(fits, words_NM[:, i], xp) for i, fits in enumerate(fits_MNX)], axis=1)

    def _objects(self, split: str, taken: _Taken, operator_NM: Array, xp: Any) -> tuple[Array, Array]:
        """Returns shape and colour of each operator's object (N, M): no two of a question share one."""
        most = operator_NM.shape[1]
        # The places of the smallest words are a uniform choice, in a uniform order.
        shape_NM = xp.argsort(taken.next(self.shapes), axis=1, stable=True)[:, :most].astype(xp.int32)
        colour_NM = xp.argsort(taken.next(self.colours), axis=1, stable=True)[:, :most].astype(xp.int32)
        if self.systematic != "features":
            return shape_NM, colour_NM
        by_colour_NM = _among(BY_COLOUR, xp)[operator_NM]
        shapes, colours = self.shapes // 2, self.colours // 2
        # A number below the half, or one that is not, with the same chance each.
        early_NM, late_NM = colour_NM % colours, colours + colour_NM % (self.colours - colours)
        low_NM, high_NM = shape_NM % shapes, shapes + shape_NM % (self.shapes - shapes)
        if split == "systematic":
            return xp.where(by_colour_NM, high_NM, low_NM), xp.where(by_colour_NM, late_NM, early_NM)
        first_NM = by_colour_NM if split != "systematic_leaky" else ~by_colour_NM
        return xp.where(first_NM, shape_NM, high_NM), xp.where(first_NM, early_NM, colour_NM)

    def _scene(
        self, taken: _Taken, operator_NM: Array, shape_NM: Array, colour_NM: Array, operators_N: Array,
        count_N: Array, most: int, xp: Any,
    ) -> _Scene:  # fmt: skip
        """Places the objects of the operators, then the distractors."""
        cells, rows = self.side**2, operator_NM.shape[0]
        line_G, column_G = np.divmod(np.arange(cells), self.side)
        sum_G, product_G = line_G + column_G, line_G * column_G
        even_XG = np.ones((len(OPERATORS), cells), bool)  # where an operator says yes; for others anywhere
        for name, value_G in (("sum", sum_G), ("product", product_G)):
            even_XG[OPERATORS.index(f"{name}even")] = value_G % 2 == 0
            even_XG[OPERATORS.index(f"{name}odd")] = value_G % 2 == 1
        parity_X = np.array([name.startswith(("sum", "product")) for name in OPERATORS])
        free_NG = xp.ones((rows, cells), bool)
        shape_NG, colour_NG = xp.zeros((rows, cells), xp.int32), xp.zeros((rows, cells), xp.int32)
        order_NG = taken.next(cells)
        word_NM, cell_word_NM = taken.next(operator_NM.shape[1]), taken.next(operator_NM.shape[1])
        pairs_NP = xp.ones((rows, self.shapes * self.colours), bool)
        shape_P, colour_P = np.divmod(np.arange(self.shapes * self.colours), self.colours)
        answers = []
        for i in range(operator_NM.shape[1]):
            operator_N, shape_N, colour_N = operator_NM[:, i], shape_NM[:, i], colour_NM[:, i]
            there_N = i < operators_N
            yes_N = word_NM[:, i] >> xp.uint32(31) == 0
            says_yes_NG = xp.asarray(even_XG)[operator_N]
            parity_N = xp.asarray(parity_X)[operator_N]
            fits_NG = free_NG & xp.where((parity_N & ~yes_N)[:, None], ~says_yes_NG, says_yes_NG)
            cell_N = chosen(fits_NG, cell_word_NM[:, i], xp)
            placed_N = there_N & ~((operator_N == OPERATORS.index("exist")) & ~yes_N)
            here_NG = (xp.arange(cells)[None] == cell_N[:, None]) & placed_N[:, None]
            free_NG = free_NG & ~here_NG
            shape_NG = xp.where(here_NG, shape_N[:, None] + 1, shape_NG)
            colour_NG = xp.where(here_NG, colour_N[:, None] + 1, colour_NG)
            named_NP = (shape_P[None] == shape_N[:, None]) & (colour_P[None] == colour_N[:, None])
            named_NP |= (operator_N == OPERATORS.index("getcolor"))[:, None] & (shape_P[None] == shape_N[:, None])
            named_NP |= (operator_N == OPERATORS.index("getshape"))[:, None] & (colour_P[None] == colour_N[:, None])
            pairs_NP = pairs_NP & ~(named_NP & there_N[:, None])
            answer_N = xp.where(yes_N, 0, 1)
            answer_N = xp.where(operator_N == OPERATORS.index("go"), 2 + cell_N, answer_N)
            answer_N = xp.where(operator_N == OPERATORS.index("getshape"), 2 + cells + shape_N, answer_N)
            answers.append(
                xp.where(operator_N == OPERATORS.index("getcolor"), 2 + cells + self.shapes + colour_N, answer_N)
            )
        # The free cells in a random order: the d-th of them takes distractor d. Of few cells none is taken twice.
        key_NG = xp.where(free_NG, order_NG >> xp.uint32(1), xp.uint32(2**32 - 1))
        cell_ND = xp.argsort(key_NG, axis=1, stable=True)[:, :most]
        rank_ND = (taken.next(most) % xp.sum(pairs_NP, axis=1, dtype=xp.uint32)[:, None]).astype(xp.int32)
        upto_NP = xp.cumsum(pairs_NP, axis=1, dtype=xp.int32)
        for d in range(most):
            pair_N = xp.argmax(upto_NP > rank_ND[:, d, None], axis=1).astype(xp.int32)
            here_NG = (xp.arange(cells)[None] == cell_ND[:, d, None]) & (d < count_N)[:, None]
            shape_NG = xp.where(here_NG, pair_N[:, None] // self.colours + 1, shape_NG)
            colour_NG = xp.where(here_NG, pair_N[:, None] % self.colours + 1, colour_NG)
        answer_NM = xp.stack(answers, axis=1).astype(xp.int32)
        return _Scene(operator_NM, shape_NM, colour_NM, answer_NM, shape_NG, colour_NG)

    def _answer(self, scene: _Scene, operators_N: Array, xp: Any) -> Array:
        """Returns the answer (N,): from the root into the branch that each condition says."""
        most = scene.operator_NM.shape[1]
        at_N = xp.zeros_like(operators_N)
        for _ in range(most.bit_length() - 1):
            no_N = xp.take_along_axis(scene.answer_NM, at_N[:, None], axis=1)[:, 0]
            below_N = 2 * at_N + 1 + no_N  # of an inner operator the answer is 0, yes, or 1, no
            at_N = xp.where(2 * at_N + 1 < operators_N, xp.minimum(below_N, most - 1), at_N)
        return xp.take_along_axis(scene.answer_NM, at_N[:, None], axis=1)[:, 0]

    def _shown(self, scene: _Scene, depth_N: Array, xp: Any) -> Array:
        """Returns the inputs (N, S, C) float32."""
        rows, cells = self.rule_rows(), self.side**2
        examples = scene.operator_NM.shape[0]
        node_DR = _places(rows)
        level_N = (depth_N - 1) // 2
        node_NR = xp.asarray(node_DR)[level_N]
        node_NR = xp.minimum(node_NR, scene.operator_NM.shape[1] - 1)  # of depths that this split lacks: none
        inner_NR, asked_NR = node_NR == SWITCH_ROW, node_NR >= 0
        at_NR = xp.maximum(node_NR, 0)

        def of(value_NM: Array) -> Array:
            return xp.where(asked_NR, xp.take_along_axis(value_NM, at_NR, axis=1) + 1, 0)

        operator_NR = xp.where(inner_NR, SWITCH + 1, of(scene.operator_NM))
        rank_NR = of(scene.operator_NM)
        # getcolor names a shape alone, getshape a colour alone.
        shape_NR = xp.where(rank_NR == OPERATORS.index("getshape") + 1, 0, of(scene.shape_NM))
        colour_NR = xp.where(rank_NR == OPERATORS.index("getcolor") + 1, 0, of(scene.colour_NM))
        end_NR = xp.broadcast_to(xp.arange(rows)[None] == rows - 1, operator_NR.shape)
        nothing_N1 = xp.zeros((examples, 1), xp.int32)
        shape_NG = xp.concatenate([scene.shape_NG, nothing_N1], axis=1)
        colour_NG = xp.concatenate([scene.colour_NG, nothing_N1], axis=1)
        end_NG = xp.broadcast_to(xp.arange(cells + 1)[None] == cells, shape_NG.shape)

        def channels(values: tuple[tuple[Array, int], ...]) -> Array:
            if self.encoding == "numbers":
                return xp.stack([value for value, _ in values], axis=2)
            return xp.concatenate(
                [value[:, :, None] == xp.arange(1, 1 + most)[None, None] for value, most in values], axis=2
            )

        sizes = self.shapes, self.colours
        rule_NRC = channels(
            ((operator_NR, SWITCH + 1), (shape_NR, sizes[0]), (colour_NR, sizes[1]), (end_NR.astype(xp.int32), 1))
        ).astype(xp.float32)
        grid_NGC = channels(((shape_NG, sizes[0]), (colour_NG, sizes[1]), (end_NG.astype(xp.int32), 1))).astype(
            xp.float32
        )
        wide_NRC = xp.concatenate([rule_NRC, xp.zeros((examples, rows, grid_NGC.shape[2]), xp.float32)], axis=2)
        high_NGC = xp.concatenate([xp.zeros((examples, cells + 1, rule_NRC.shape[2]), xp.float32), grid_NGC], axis=2)
        return xp.concatenate([wide_NRC, high_NGC], axis=1)


SWITCH_ROW, BLANK_ROW = -1, -2


def _places(rows: int) -> np.ndarray:
    """Returns for trees of depth 1, 3, 5 and 7 which operator each row before the grid shows (4, R) int32, or
    SWITCH_ROW or BLANK_ROW. The last row is the end's."""
    node_DR = np.full((4, rows), BLANK_ROW, np.int32)
    for level in range(4):
        nodes: list[int] = [0]
        for below in range(1, level + 1):
            nodes += [SWITCH_ROW] * 2 ** (below - 1) + list(range(2**below - 1, 2 ** (below + 1) - 1))
        if len(nodes) < rows:
            node_DR[level, rows - 1 - len(nodes) : rows - 1] = nodes
    return node_DR


class _Taken:
    """Random words that are handed out in turn, from left to right."""

    def __init__(self, words_NW: Array):
        self.words_NW, self.at = words_NW, 0

    def next(self, count: int) -> Array:
        self.at += count
        return self.words_NW[:, self.at - count : self.at]


def _index(word_N: Array, count: int, xp: Any) -> Array:
    return (word_N % xp.uint32(count)).astype(xp.int32)


def _among(names: tuple[str, ...], xp: Any) -> Array:
    return xp.asarray(np.array([name in names for name in OPERATORS]))


GROUPS = (*OPERATORS, "boolean", "other")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ByOperator(Measure):
    """Accuracy by the operator at the root of the tree, `accuracy.<operator>/<split>`; on the questions that are
    answered by yes or no, `accuracy.boolean/<split>`; and on the others, `accuracy.other/<split>`. 0 where a split has
    no such question.

    Splits that are named by a number give it in the measure's name, so that a figure can draw them against it:
    `accuracy.exist.12/distractors` of `distractors_12`, and `accuracy.12/distractors` of all its questions. Chance
    differs: to guess is right in half of the questions of yes or no.
    """

    def values(self, evaluation: Evaluation) -> dict[str, jax.Array]:
        from .measures import by_operator

        return by_operator(evaluation)

    def check(self, condition: Any) -> None:
        if not isinstance(condition.task, GridTask):
            raise UserError(f"ByOperator: got a {type(condition.task).__name__}, expected a GridTask")

    def keys(self, condition: Any) -> frozenset[str]:
        splits = condition.task.measured()
        alone = [group_key("", split) for split in splits if is_numbered(split)]
        return frozenset([*alone, *(group_key(group, split) for group in GROUPS for split in splits)])


def is_numbered(split: str) -> bool:
    """Returns whether a split is named by a number, as `distractors_12` is."""
    kind, _, number = split.rpartition("_")
    return bool(kind) and number.isdigit()


def group_key(group: str, split: str) -> str:
    """Returns the key of the accuracy on a group of a split's questions (see `ByOperator`); without a group: on all."""
    kind, _, number = split.rpartition("_")
    parts, of = (("accuracy", group, number), kind) if is_numbered(split) else (("accuracy", group), split)
    return f"{'.'.join(filter(None, parts))}/{of}"
