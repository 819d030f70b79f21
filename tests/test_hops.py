"""Functions of functions read back from the examples, and coverage against a search that follows its definition."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxgen.errors import UserError
from jaxgen.tasks.facts.coverage import coverage_cutoffs
from jaxgen.tasks.facts.hops import HopTask

ARITY = {"2-hop": 3, "parallel 2-hop": 4, "3-hop": 4, "non-tree": 3}


def taken(structure: str, x: list[int], b: list[int]) -> list[tuple[int, ...]]:
    """What each hop takes."""
    if structure == "2-hop":
        return [(x[0], x[1]), (b[0], x[2])]
    if structure == "non-tree":
        return [(x[0], x[1]), (b[0], x[1], x[2])]
    if structure == "3-hop":
        return [(x[0], x[1]), (b[0], x[2]), (b[1], x[3])]
    return [(x[0], x[1]), (x[2], x[3]), (b[0], b[1])]


@given(
    structure=st.sampled_from(sorted(ARITY)), tokens=st.integers(5, 7), train=st.integers(5, 30), seed=st.integers(0, 9)
)
def test_every_example_is_of_one_set_of_functions(structure: str, tokens: int, train: int, seed: int) -> None:
    settings = {"structure": structure, "tokens": tokens, "train_examples": train, "test_examples": 2}
    tasks = {bridges: HopTask(bridges=bridges, **settings) for bridges in ("none", "shown", "constant")}
    try:
        tables = {bridges: task.table(seed) for bridges, task in tasks.items()}
    except UserError:
        return  # what is refused has tests of its own
    inputs, table = ARITY[structure], tables["shown"]
    hops = len(tasks["none"].test_splits()[-1]) - len("ood_")
    shown: list[set[tuple[int, ...]]] = [set() for _ in range(hops)]
    functions: list[dict[tuple[int, ...], int]] = [{} for _ in range(hops)]
    rows: dict[tuple[int, ...], str] = {}
    for name, split in table.items():
        for tokens_in, asked in zip(split.inputs.tolist(), split.targets.tolist(), strict=True):
            x, results = tokens_in[:inputs], asked[:-1]
            assert tokens_in[inputs:] == results
            assert asked[-1] == tokens
            for i, (key, result) in enumerate(zip(taken(structure, x, results), results, strict=True)):
                assert functions[i].setdefault(key, result) == result
                if name == "train":
                    shown[i].add(key)
            if name == "train_inferred":
                assert rows[tuple(x)] == "train"
                continue
            assert tuple(x) not in rows
            rows[tuple(x)] = name
            seen = "".join(str(int(key in of)) for key, of in zip(taken(structure, x, results), shown, strict=True))
            assert name in ("train", f"ood_{seen}", "id" if seen == "1" * hops else "")
    for bridges, task in tasks.items():
        shape = task.shape()
        assert len(task.token_names()) == shape.vocabulary
        assert {name: len(split.inputs) for name, split in tables[bridges].items()} == dict(shape.sizes)
        for name, split in tables[bridges].items():
            assert split.inputs.shape[1] == shape.length
            assert split.targets.shape[1] == len(shape.readout)
            for one, other in zip(task.facts(split), tasks["shown"].facts(table[name]), strict=True):
                np.testing.assert_array_equal(one, other)
            if bridges == "constant":
                assert (split.targets[:, :-2] == tokens + 1).all()


def test_functions_are_uniform_and_the_seeds_own() -> None:
    task = HopTask(tokens=40, train_examples=20_000, test_examples=10)
    _, answers = task.facts(task.table(0)["train"])
    # 20,000 examples share 1,120 values of f2, so a count's variance is near 20,000 / 40 * 20,000 / 1,120.
    assert np.abs(np.bincount(answers, minlength=40) - 500).max() < 4.5 * (500 * 18) ** 0.5
    few = HopTask(tokens=40, train_examples=5_000, test_examples=10)
    np.testing.assert_array_equal(few.table(0)["train"].inputs, task.table(0)["train"].inputs[:5000])
    assert not np.array_equal(few.table(0)["train"].inputs, few.table(1)["train"].inputs)


def test_too_many_examples_are_refused() -> None:
    # The paper's pool of 50 tokens: 0.7 * 0.7 * 125,000.
    with pytest.raises(UserError, match="got 70000, expected at most about 61250: so many of the 125000"):
        HopTask(tokens=50, train_examples=70_000)
    with pytest.raises(UserError, match=r"test_examples: got 2000, expected at most \d+: there are no more of id"):
        HopTask(tokens=12, train_examples=400).table(0)


def covered(train: dict[tuple[int, ...], int], test: dict[tuple[int, ...], int], k: int) -> set[tuple[int, ...]]:
    """The definition, by sets: classes of fragments closed by repeated merging, and a search from the examples."""
    every, inputs = {**train, **test}, len(next(iter(train)))
    classes = {}
    for places in (s for n in range(1, inputs) for s in itertools.combinations(range(inputs), n)):
        part = lambda row, places=places: tuple(row[i] for i in places)  # noqa: E731
        rest = lambda row, places=places: tuple(row[i] for i in range(inputs) if i not in places)  # noqa: E731
        behaviour: dict[tuple[int, ...], dict[tuple[int, ...], int]] = {}
        for row, answer in train.items():
            behaviour.setdefault(part(row), {})[rest(row)] = answer
        groups = [{fragment} for fragment in behaviour]
        for one, other in itertools.combinations(behaviour, 2):
            shared = behaviour[one].keys() & behaviour[other].keys()
            if len(shared) >= k and all(behaviour[one][c] == behaviour[other][c] for c in shared):
                touched = [group for group in groups if group & {one, other}]
                groups = [group for group in groups if group not in touched] + [set().union(*touched)]
        classes[places] = (part, rest, groups)

    def joined(one: tuple[int, ...], other: tuple[int, ...]) -> bool:
        return every[one] == every[other] and any(
            rest(one) == rest(other) and any({part(one), part(other)} <= group for group in groups)
            for part, rest, groups in classes.values()
        )

    found, waiting = set(train), list(train)
    while waiting:
        row = waiting.pop()
        for other in every:
            if other not in found and joined(row, other):
                found.add(other)
                waiting.append(other)
    return found & set(test)


@given(data=st.data(), inputs=st.integers(2, 3), values=st.integers(2, 3), answers=st.integers(1, 3))
def test_coverage_follows_its_definition(data: st.DataObject, inputs: int, values: int, answers: int) -> None:
    rows = data.draw(st.permutations(list(itertools.product(range(values), repeat=inputs))))
    count = data.draw(st.integers(1, len(rows) - 1))
    drawn = data.draw(st.lists(st.integers(0, answers - 1), min_size=len(rows), max_size=len(rows)))
    table = dict(zip(rows, drawn, strict=True))
    train, test = ({row: table[row] for row in part} for part in (rows[:count], rows[count:]))
    arrays = [np.array(each) for part in (train, test) for each in (list(part), list(part.values()))]
    cutoffs = coverage_cutoffs(*arrays, most=4)
    for k in range(1, 5):
        assert {row for row, cutoff in zip(test, cutoffs, strict=True) if cutoff >= k} == covered(train, test, k)


def test_coverage_of_two_hops_by_hand() -> None:
    # f1 gives (0, 0) and (1, 1) the same b; they are seen to agree with x3 = 0 and 1, and (0, 0) alone with 2.
    train = np.array([[0, 0, 0], [1, 1, 0], [0, 0, 1], [1, 1, 1], [0, 0, 2], [2, 2, 0]])
    answers = np.array([5, 5, 6, 6, 7, 5])
    test = np.array([[1, 1, 2], [1, 1, 3], [2, 2, 2]])
    # (2, 2) agrees with them in one context alone; x3 = 3 was never seen.
    first_hop = ((0, 1),)
    cutoffs = coverage_cutoffs(train, answers, test, np.array([7, 8, 7]), fragments=first_hop)
    assert cutoffs.tolist() == [2, 0, 1]
    # With another true answer nothing leads there.
    assert coverage_cutoffs(train, answers, test, np.array([9, 8, 7]), fragments=first_hop).tolist() == [0, 0, 1]


def test_what_is_out_of_distribution_is_never_covered_by_the_first_hop() -> None:
    task = HopTask(tokens=12, train_examples=300, test_examples=50)
    table = task.table(0)
    train = task.facts(table["train"])
    cutoffs = {
        kind: coverage_cutoffs(*train, *task.facts(table[kind]), fragments=((0, 1),)) for kind in task.test_splits()
    }
    assert (cutoffs["id"] > 0).mean() > 0.2
    # An unseen (x1, x2) has no class, and an unseen (b, x3) no training example in its context and class.
    assert not cutoffs["ood_00"].any()
    assert not cutoffs["ood_01"].any()
