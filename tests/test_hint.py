"""HINT's arithmetic against Python's own parser, and against the published sizes."""

import ast
import collections
import dataclasses
import functools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxgen.config import from_json, to_json
from jaxgen.errors import UserError
from jaxgen.tasks.language.hint import HintTask
from tests.texts import Pair, pairs

TESTS = ("test_i", "test_ss", "test_sl", "test_ls", "test_ll")


def values(tree: ast.expr) -> list[int]:
    """Returns the values of all nodes, the answer first."""
    if isinstance(tree, ast.Constant):
        return [tree.value]
    assert isinstance(tree, ast.BinOp)
    left, right = values(tree.left), values(tree.right)
    a, b = left[0], right[0]
    if isinstance(tree.op, ast.Div):
        assert b != 0
        answer = a // b + (a % b > 0)
    elif isinstance(tree.op, ast.Sub):
        answer = a - b if a > b else 0
    else:
        answer = a + b if isinstance(tree.op, ast.Add) else a * b
    return [answer, *left, *right]


@dataclasses.dataclass(frozen=True)
class Read:
    text: str
    operators: int
    largest: int
    answer: int


def check(pair: Pair) -> Read:
    """Reads an example, whose answer must be right and whose parentheses must be those that are needed."""
    text = " ".join(pair[0])
    tree = ast.parse(text, mode="eval").body
    assert ast.unparse(tree).replace("(", "( ").replace(")", " )") == text
    every = values(tree)
    assert "".join(pair[1]) == str(every[0])
    return Read(text, len(every) // 2, max(every), every[0])


TASK = HintTask(
    train_examples=500,
    test_examples=60,
    validation_examples=10,
    trained_operators=4,
    most_operators=7,
    trained_value=40,
    most_value=500,
)


@functools.cache
def read() -> dict[str, list[Read]]:
    return {name: [check(pair) for pair in rows] for name, rows in pairs(TASK).items()}


def test_what_each_split_holds() -> None:
    small, short = (lambda row: row.largest <= 40), (lambda row: row.operators <= 4)
    splits = read()
    trained = {row.text for row in splits["train"]}
    assert all(small(row) and short(row) for row in splits["train"] + splits["test_i"] + splits["test_ss"])
    assert all(short(row) and not small(row) for row in splits["test_sl"])
    assert all(small(row) and not short(row) for row in splits["test_ls"])
    assert not any(short(row) or small(row) for row in splits["test_ll"])
    assert max(row.largest for rows in splits.values() for row in rows) <= 500
    assert {row.text for row in splits["test_i"]} <= trained
    others = [row.text for name in TESTS[1:] for row in splits[name]]
    assert not trained & set(others)
    assert len(set(others)) == len(others)
    validated = [row.text for row in splits["validation"]]
    assert not set(validated) & set(others)
    one = sum(row.operators == 1 for row in splits["train"])
    assert sum(text in trained for text in validated) == 100 * 10 // 500 + one * 10 // 500 + 3 * 10


def test_each_number_of_operators_has_its_share() -> None:
    splits = read()
    for name in ("train", "test_i"):
        count = collections.Counter(row.operators for row in splits[name])
        per, scale = (500, 1) if name == "train" else (60, 60 / 500)
        assert count[0] == int(10 * (500 // 50) * scale)
        assert {count[n] for n in (2, 3, 4)} == {per}
    digits = collections.Counter(row.text for row in splits["train"] if row.operators == 0)
    assert digits == dict.fromkeys("0123456789", 10)
    for name in ("test_ls", "test_ll"):
        assert collections.Counter(row.operators for row in splits[name]) == dict.fromkeys((5, 6, 7), 60)
    drawn = [row for row in splits["train"] if row.operators > 2]
    assert len({row.text for row in drawn}) == len(drawn)
    assert 0 not in {row.answer for row in drawn}
    most = collections.Counter((row.operators, row.answer) for row in drawn).most_common(1)[0][1]
    assert most == int(0.05 * 570)
    for symbol in "+-*/(0123456789":
        assert any(symbol in row.text for row in drawn)


def test_the_published_sizes() -> None:
    sizes = dict(HintTask().shape().sizes)
    assert sizes["train"] == 998_000 == 20_000 + 78_000 + 9 * 100_000
    assert sizes["validation"] == 4698
    assert [sizes[name] for name in TESTS] == [9980, 8000, 8640, 10_000, 10_000]
    assert sum(sizes[name] for name in TESTS) == 46_620
    assert HintTask().measured() == ("validation", *TESTS)


def test_the_left_side_has_any_number_of_operators() -> None:
    def left(tree: ast.expr) -> int:
        assert isinstance(tree, ast.BinOp)
        return len(values(tree.left)) // 2

    sizes = collections.Counter(
        left(ast.parse(row.text, mode="eval").body) for row in read()["test_ls"] if row.operators == 7
    )
    assert set(sizes) == set(range(7))


@settings(max_examples=8)
@given(
    trained_operators=st.integers(2, 4),
    more=st.integers(1, 3),
    trained_value=st.integers(25, 120),
    larger=st.integers(50, 3000),
    test_examples=st.integers(1, 30),
    data_seed=st.integers(0, 3),
)
def test_any_sizes(trained_operators, more, trained_value, larger, test_examples, data_seed) -> None:
    task = HintTask(
        train_examples=500,
        test_examples=test_examples,
        validation_examples=5,
        trained_operators=trained_operators,
        most_operators=trained_operators + more,
        trained_value=trained_value,
        most_value=trained_value + larger,
        data_seed=data_seed,
    )
    assert from_json(to_json(task)) == task
    shown = pairs(task)
    for name in ("train", *TESTS):
        rows = [check(pair) for pair in shown[name][-40:]]
        for row in rows:
            assert (row.operators <= trained_operators) == (name not in ("test_ls", "test_ll"))
            assert (row.largest <= trained_value) == (name not in ("test_sl", "test_ll"))
            assert row.largest <= trained_value + larger


@pytest.mark.long
def test_no_expression_is_drawn_twice() -> None:
    # There are few of these, so that they come again and again.
    few = dataclasses.replace(TASK, most_value=41, test_examples=400, same_answer=1.0)
    rows = [check(pair) for pair in pairs(few, "test_sl")["test_sl"]]
    drawn = [row.text for row in rows if row.operators > 2]
    assert len(set(drawn)) == len(drawn) == 2 * 400


def test_a_corpus_is_the_data_seeds_own() -> None:
    again, other = (pairs(dataclasses.replace(TASK, data_seed=seed), "test_ll")["test_ll"] for seed in (0, 1))
    assert [" ".join(source) for source, _ in again] == [row.text for row in read()["test_ll"]]
    assert again != other


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(UserError, match="most_operators: got 10, expected more than trained_operators=10"):
        HintTask(most_operators=10)
    with pytest.raises(UserError, match="most_value: got 100, expected more than trained_value=100"):
        HintTask(most_value=100)
    with pytest.raises(UserError, match=r"same_answer: got 0\.05, which is 5055 expressions of each of the 10 answers"):
        HintTask(trained_value=10)
    rare = dataclasses.replace(TASK, trained_value=96, most_value=97)
    with pytest.raises(UserError, match=r"got 70 large expressions of 3 operators, expected at most about \d+: oth"):
        rare.table(0)
    assert "test_i and a part of validation are training examples" in TASK.disjoint_by()
