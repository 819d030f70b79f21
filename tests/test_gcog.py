"""Questions about a grid, against a reader that knows only what is shown, and the splits' rules by counting."""

import collections
import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxgen.condition import Condition
from jaxgen.errors import UserError
from jaxgen.experiments import gcog
from jaxgen.experiments.gcog.measures import by_operator
from jaxgen.experiments.gcog.parts import BY_COLOUR, HALVES, OPERATORS, ByOperator, GridTask, operators_of, rows_of
from jaxgen.figures.base import keys_measured
from jaxgen.ledger.verdict import judge_all
from jaxgen.measures.evaluation import Evaluation
from jaxgen.models.config import RecurrentConfig
from jaxgen.objectives.losses import cross_entropy
from jaxgen.optimizers import AdamW
from jaxgen.table import Table
from jaxgen.tasks import ModularTask

TREES = GridTask(side=7, train_depths=(1, 3), test_depths=(5,), test_distractors=(12,), test_examples=300)
FEATURES = GridTask(side=5, systematic="features", shapes=4, colours=6, test_examples=1500)
BRANCHES = GridTask(side=5, train_depths=(3,), systematic="branches", test_examples=600)
NUMBERS = dataclasses.replace(TREES, encoding="numbers")
TASKS = {"trees": TREES, "features": FEATURES, "branches": BRANCHES, "numbers": NUMBERS}


def hot(row) -> int | None:
    """Which of one-hot channels is on."""
    on = np.flatnonzero(row)
    assert len(on) <= 1
    return int(on[0]) if len(on) else None


def read(task: GridTask, example: np.ndarray):
    """Returns what an example shows: the nodes (operator, shape, colour), and the objects by cell."""
    rows, s, c = task.rule_rows(), task.shapes, task.colours
    nodes, grid = [], {}
    if task.encoding == "numbers":
        for row in example[:rows]:
            assert not row[4:].any()
            operator, shape, colour = (int(value) - 1 if value else None for value in row[:3])
            nodes.append((operator, shape, colour, row[3]))
        for cell, row in enumerate(example[rows:]):
            assert not row[:4].any()
            grid[cell] = (*(int(value) - 1 if value else None for value in row[4:6]), row[6])
    else:
        wide = 10 + s + c
        for row in example[:rows]:
            assert not row[wide:].any()
            nodes.append((hot(row[:9]), hot(row[9 : 9 + s]), hot(row[9 + s : 9 + s + c]), row[9 + s + c]))
        for cell, row in enumerate(example[rows:]):
            assert not row[:wide].any()
            grid[cell] = (hot(row[wide : wide + s]), hot(row[wide + s : wide + s + c]), row[wide + s + c])
    assert [node[3] for node in nodes] == [0] * (rows - 1) + [1]
    assert [cell[2] for cell in grid.values()] == [0] * task.side**2 + [1]
    nodes = [node[:3] for node in nodes[:-1]]
    while nodes and nodes[0] == (None, None, None):
        nodes = nodes[1:]
    return nodes, {cell: of[:2] for cell, of in grid.items() if of[0] is not None}


def ask(task: GridTask, operator: int, shape, colour, grid) -> str:
    """Returns the answer's name, by looking at the grid alone."""
    found = [
        (cell, s, c)
        for cell, (s, c) in grid.items()
        if (shape is None or s == shape) and (colour is None or c == colour)
    ]
    name = OPERATORS[operator]
    if name == "exist":
        return "yes" if found else "no"
    ((cell, s, c),) = found  # exactly one, or the question would be ambiguous
    line, column = divmod(cell, task.side)
    if name == "go":
        return f"({line},{column})"
    if name == "getcolor":
        return f"colour{c}"
    if name == "getshape":
        return f"shape{s}"
    value = line + column if name.startswith("sum") else line * column
    return "yes" if (value % 2 == 0) == name.endswith("even") else "no"


def answer(task: GridTask, nodes, grid) -> str:
    """Follows the if-then-elses level by level, as the rows list them."""
    levels, left = [], list(nodes)
    while left:
        width = 2 ** len(levels)
        levels.append(left[:width])
        left = left[width:]
        if left:
            assert all(node == (8, None, None) for node in left[:width])
            left = left[width:]
    at = 0
    for level in levels[:-1]:
        said = ask(task, *level[at], grid)
        assert said in ("yes", "no")
        at = 2 * at + (said == "no")
    return ask(task, *levels[-1][at], grid)


@pytest.mark.parametrize("name", TASKS)
def test_the_answer_follows_from_what_is_shown(name: str) -> None:
    task = TASKS[name]
    names = task.token_names()
    table = task.table(3)
    assert {split: len(of.inputs) for split, of in table.items()} == dict(task.shape().sizes)
    for split, of in table.items():
        assert of.inputs.dtype == np.float32
        assert of.inputs.shape[1:] == (task.shape().length, task.shape().channels)
        depths, counts = task._of_split(split)
        seen = collections.Counter()
        for example, target in zip(of.inputs[:200], of.targets[:200, 0], strict=True):
            nodes, grid = read(task, example)
            assert answer(task, nodes, grid) == names[target]
            depth = next(depth for depth in depths if rows_of(depth) == len(nodes))
            hidden = sum(OPERATORS[o] == "exist" and ask(task, o, s, c, grid) == "no" for o, s, c in nodes if o != 8)
            seen[depth, len(grid) - operators_of(depth) + hidden] += 1
        assert set(seen) == {(depth, count) for depth in depths for count in counts}


@pytest.mark.parametrize("name", TASKS)
def test_numpy_and_jax_make_the_same_examples_alone_and_together(name: str) -> None:
    task = TASKS[name]
    words = np.random.default_rng(0).integers(2**32, size=(40, task.stream_words()), dtype=np.uint32)
    here, there = task.examples(words, np), jax.jit(lambda drawn: task.examples(drawn, jnp))(words)
    alone = task.examples(words[7:8], np)
    for one, other, row in zip(here, there, alone, strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)
        np.testing.assert_array_equal(one[7:8], row)


def pairs(task: GridTask, split: str) -> dict[str, set[tuple[int, int]]]:
    """Returns the pairs (shape, colour) that each operator meets in a split of questions of depth 1."""
    of, met = task.table(0)[split], {name: set() for name in OPERATORS}
    for example in of.inputs:
        ((operator, shape, colour),), _ = read(task, example)
        met[OPERATORS[operator]].add((shape, colour))
    return met


def test_systematic_questions_are_those_that_no_operator_trained() -> None:
    train, new, leaky = (pairs(FEATURES, split) for split in ("train", "systematic", "systematic_leaky"))
    for name in set(OPERATORS) - {"getcolor", "getshape"}:
        by_colour = name in BY_COLOUR
        trained = {(s, c) for s in range(4) for c in range(6) if (c < 3 if by_colour else s >= 2)}
        swapped = {(s, c) for s in range(4) for c in range(6) if (s >= 2 if by_colour else c < 3)}
        assert train[name] == trained
        assert leaky[name] == swapped
        assert new[name] == swapped - trained
        assert len(swapped & trained) == len(swapped) / 2
    assert not train["getcolor"] & new["getcolor"]
    assert not train["getshape"] & new["getshape"]


def test_systematic_trees_have_conditions_with_the_branches_of_the_others() -> None:
    table = BRANCHES.table(0)
    for split in ("train", "test", "systematic"):
        met = collections.defaultdict(set)
        for example in table[split].inputs:
            nodes, _ = read(BRANCHES, example)
            met[OPERATORS[nodes[0][0]]] |= {OPERATORS[node[0]] for node in nodes[2:]}
        for i, (conditions, branches) in enumerate(HALVES):
            for condition in conditions:
                assert met[condition] == set(branches if split != "systematic" else HALVES[1 - i][1])


def test_questions_of_yes_or_no_are_balanced_and_cells_uniform() -> None:
    task = GridTask(side=4, shapes=4, colours=4, test_examples=20_000)
    of = task.table(1)["test"]
    operator = of.inputs[:, 0, :8].argmax(1)
    counts = np.bincount(operator, minlength=8)
    assert np.sum((counts - 2500) ** 2 / 2500) < 30  # chi-square with 7 degrees, p = 1e-4
    for name in ("exist", "sumeven", "sumodd", "producteven", "productodd"):
        yes = of.targets[operator == OPERATORS.index(name), 0] == 0
        assert abs(yes.mean() - 0.5) < 4 * 0.5 / len(yes) ** 0.5
    cells = np.bincount(of.targets[operator == OPERATORS.index("go"), 0] - 2, minlength=16)
    assert np.sum((cells - cells.mean()) ** 2 / cells.mean()) < 45  # chi-square with 15 degrees, p = 1e-4
    # Distractors lie anywhere that is free: the density of a cell does not depend on where it is.
    grid = (of.inputs[:, 2:-1, 18:22] > 0).any(-1).mean(0)
    assert np.ptp(grid) < 0.03


@settings(max_examples=15, deadline=None)
@given(
    side=st.integers(6, 8), features=st.integers(8, 10), seed=st.integers(0, 99),
    depths=st.sampled_from([(1,), (3,), (5,), (1, 3, 5)]), counts=st.sampled_from([(0,), (1, 4), (29,)]),
)  # fmt: skip
def test_any_sizes_give_questions_with_one_answer(side, features, seed, depths, counts) -> None:
    task = GridTask(
        side=side, shapes=features, colours=features, train_depths=depths, train_distractors=counts, test_examples=6
    )
    for of in task.table(seed).values():
        for example, target in zip(of.inputs, of.targets[:, 0], strict=True):
            assert answer(task, *read(task, example)) == task.token_names()[target]


class Yes:
    """A module that answers yes to everything."""

    def apply(self, variables, inputs):
        return jnp.zeros((len(inputs), 1, 200)).at[:, :, 0].set(1.0)


def test_accuracy_by_operator_counts_each_root() -> None:
    for task in (TREES, NUMBERS):
        table = task.table(2)
        shape, names = task.shape(), ("train", "depth_5")

        found = by_operator(
            Evaluation(
                module=Yes(), variables={}, splits={name: table[name] for name in names}, shape=shape,
                loss=cross_entropy, corruption=False,
            )
        )  # fmt: skip
        for split in names:
            roots = collections.defaultdict(list)
            for example, target in zip(table[split].inputs, table[split].targets[:, 0], strict=True):
                nodes, _ = read(task, example)
                roots[OPERATORS[nodes[0][0]]].append(target == 0)
                roots["boolean" if target < 2 else "other"].append(target == 0)
            if split == "depth_5":
                roots[""] = [target == 0 for target in table[split].targets[:, 0]]
            measure = {"train": "accuracy.{}/train", "depth_5": "accuracy.{}.5/depth"}[split]
            for name, right in roots.items():
                key = measure.format(name).replace("..", ".")
                assert float(found[key]) == pytest.approx(np.mean(right), abs=1e-6)


def test_what_cannot_be_asked_is_refused() -> None:
    with pytest.raises(UserError, match=r"expected odd numbers up to 7"):
        GridTask(train_depths=(2,))
    with pytest.raises(UserError, match=r"task.shapes: got 7, expected at least 8: a tree of depth 5 has 7 operators"):
        GridTask(shapes=7, train_depths=(5,))
    with pytest.raises(UserError, match=r"task.side: got 4, expected at least 6"):
        GridTask(side=4, train_depths=(5,))
    with pytest.raises(UserError, match=r"task.side: got 5, expected a grid with room for 1 objects and 30 dist"):
        GridTask(side=5, test_distractors=(30,))
    with pytest.raises(UserError, match=r"task.train_depths: got \[1\], expected \[3\] with systematic=branches"):
        GridTask(systematic="branches")
    with pytest.raises(UserError, match=r"ByOperator: got a ModularTask, expected a GridTask"):
        Condition(
            name="a", task=ModularTask(p=5, train_fraction=0.5), model=RecurrentConfig(cell="gru", hidden=4),
            optimizer=AdamW(learning_rate=0.1), steps=1, measures=(ByOperator(),),
        )  # fmt: skip


def judged(experiment, value) -> dict[str, str]:
    """The outcomes at mini, where every seed measured `value(condition, key)`."""
    rows = [
        (each.name, seed, each.steps, key, value(each.name, key))
        for each in experiment.at_scale("mini")
        for seed in each.seeds
        for key in keys_measured(each)
    ]
    return {verdict.claim: verdict.outcome for verdict in judge_all(experiment.claims, Table.of(rows), "mini")}


def test_claims_ask_only_what_networks_do_that_fit() -> None:
    def better(name: str, key: str) -> float:
        if key == "accuracy/distractors_6":  # only the most distractors count
            return 0.0
        if key == "accuracy/distractors_12":
            return 0.8 if name in (gcog.CROSS, gcog.DEEP) else 0.6
        return 0.91

    def unfit(name: str, key: str) -> float:
        return 0.5 if (name, key) == (gcog.DOUBLE, "accuracy/test") else better(name, key)

    assert judged(gcog.distractors, better) == dict.fromkeys(
        ("all fit", "cross-attention helps", "layers help"), "reproduced"
    )
    assert judged(gcog.distractors, unfit) == {
        "all fit": "not reproduced", "cross-attention helps": "inconclusive", "layers help": "reproduced"
    }  # fmt: skip


def test_a_network_that_answers_deeper_trees_would_refute_the_claim() -> None:
    def fails(name: str, key: str) -> float:
        return {"accuracy/depth_5": 0.3, "accuracy.boolean.5/depth": 0.5}.get(key, 0.95)

    def answers(name: str, key: str) -> float:
        return 0.95 if name == "rnn" else fails(name, key)

    def unfit(name: str, key: str) -> float:
        return 0.4 if key == "accuracy/test" else fails(name, key)

    for value, outcome in ((fails, "reproduced"), (answers, "not reproduced"), (unfit, "inconclusive")):
        found = judged(gcog.productive, value)
        assert found["none answers deeper trees"] == found["they guess"] == outcome
