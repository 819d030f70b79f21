"""Questions about lists of numbers against answers that trying everything finds; claims against the paper's table."""

from __future__ import annotations

import itertools
import statistics
from collections import Counter
from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxgen.bounds import Bounds, ends
from jaxgen.errors import UserError
from jaxgen.experiments import scylla
from jaxgen.experiments.scylla.parts import (
    ORDERS,
    WORDS,
    DistinctTask,
    ExtremeTask,
    ModeTask,
    NumberTask,
    SortTask,
    SumTask,
    TopKTask,
    choices,
)
from jaxgen.table import Table
from jaxgen.tasks.base import IGNORED, Split
from jaxgen.tasks.mixtures.mixture import Mixture

SIZES: dict[str, Any] = {"digits": 2, "id_numbers": 50, "least": 6, "longest": 8, "test_examples": 40}
KINDS: dict[str, tuple[type[NumberTask], dict[str, Any]]] = {
    "min": (ExtremeTask, {}),
    "max": (ExtremeTask, {"largest": True}),
    "mode": (ModeTask, {}),
    "top_k": (TopKTask, {}),
    "two_sum": (SumTask, {"of": "two"}),
    "sort": (SortTask, {}),
    "distinct": (DistinctTask, {}),
    "three_sum": (SumTask, {"of": "three"}),
    "three_sum_in_range": (SumTask, {"of": "three", "in_range": True}),
    "four_sum": (SumTask, {"of": "four"}),
    "four_sum_in_range": (SumTask, {"of": "four", "in_range": True}),
    "subset_sum": (SumTask, {"of": "subset"}),
    "subset_sum_in_range": (SumTask, {"of": "subset", "in_range": True}),
}


def made(word: str, **sizes: Any) -> NumberTask:
    kind, fields = KINDS[word]
    return kind(**fields, **SIZES | sizes)


def read(task: NumberTask, split: Split) -> Iterable[tuple[str, list[int], list[int], list[int]]]:
    """Gives the word, query, list and answer of every example, from its tokens alone."""
    names, readout = task.token_names(), task.shape().readout

    def numbers(digits: list[str], width: int) -> list[int]:
        assert len(digits) % width == 0
        return [int("".join(digits[i : i + width])) for i in range(0, len(digits), width)]

    for inputs, targets in zip(np.asarray(split.inputs).tolist(), np.asarray(split.targets).tolist(), strict=True):
        text = [names[token] for token in inputs]
        equals = text.index("=")
        told = {place: names[target] for place, target in zip(readout, targets, strict=True) if target != IGNORED}
        answer = [told[place] for place in sorted(told)]
        # Each target is the token that comes next, from `=` to the end.
        assert sorted(told) == list(range(equals, equals + len(answer)))
        assert answer[-1] == "<end>"
        shown = text[equals + 1 :]
        assert shown[: len(answer) - 1] == answer[:-1][: len(shown)]
        assert set(shown[len(answer) - 1 :]) <= {"<end>", "<pad>"}
        query = task.queried * (task.digits + 1)
        yield (
            text[0],
            numbers(text[1 : 1 + query], task.digits + 1),
            numbers(text[1 + query : equals], task.digits),
            numbers(answer[:-1], task.digits),
        )


def tuples(numbers: list[int], sizes: Iterable[int]) -> list[tuple[int, ...]]:
    return [places for size in sizes for places in itertools.combinations(range(len(numbers)), size)]


def right_answers(word: str, query: list[int], numbers: list[int]) -> list[list[int]]:
    """Every right answer, found by trying all that there could be."""
    if word in ("min", "max"):
        return [[each] for each in set(numbers) if all(each <= x if word == "min" else each >= x for x in numbers)]
    if word == "mode":
        count = Counter(numbers)
        return [[each] for each in count if count[each] == max(count.values())]
    if word == "top_k":
        (k,) = query
        assert 2 <= k <= len(numbers) // 2
        above = {x: sum(y > x for y in numbers) for x in numbers}
        return [[x] for x in set(numbers) if above[x] < k <= above[x] + numbers.count(x)]
    if word == "sort":
        return [list(found) for found in {tuple(sorted(numbers))}]
    if word == "distinct":
        return [list(dict.fromkeys(numbers))]
    sizes = {"two": [2], "three": [3], "four": [4], "subset": [4, 5, 6]}[word.split("_")[0]]
    low, high = query if word.endswith("in_range") else (query[0] - 1, query[0] + 1)
    exact_subset = word == "subset_sum"
    found = [
        places
        for places in tuples(numbers, range(1, len(numbers) + 1) if exact_subset else sizes)
        if low < sum(numbers[i] for i in places) < high
    ]
    return [[numbers[i] for i in places] for places in found]


def check(task: NumberTask, split: Split, pool: set[int], *, only: bool = True) -> None:
    for word, query, numbers, answer in read(task, split):
        assert word == task.question()
        assert task.least <= len(numbers) <= task.longest
        assert set(numbers) <= pool
        right = right_answers(word, query, numbers)
        assert right == [answer] if only else answer in right


@pytest.mark.parametrize("word", WORDS)
def test_the_answer_is_the_only_one_that_trying_everything_finds(word: str) -> None:
    task = made(word)
    known, others = (set(task.pool(split).tolist()) for split in ("train", "ood"))
    assert len(known) == 50
    assert known.isdisjoint(others)
    assert known | others == set(range(100))
    table = task.table(3)
    assert {name: len(split.inputs) for name, split in table.items()} == {"train": 40, "ood": 40}
    check(task, table["train"], known)
    check(task, table["ood"], others)


@settings(max_examples=30, deadline=None)
@given(
    word=st.sampled_from(WORDS),
    digits=st.integers(1, 3),
    least=st.integers(6, 8),
    more=st.integers(0, 2),
    seed=st.integers(0, 2**32),
)
def test_every_size_asks_what_it_answers(word: str, digits: int, least: int, more: int, seed: int) -> None:
    """With few numbers not every list has a question with one answer; what is asked has a right answer still."""
    task = made(
        word,
        digits=digits,
        id_numbers=10**digits // 2,
        elements="lowest",
        least=least,
        longest=least + more,
        test_examples=6,
        tries=1,
    )
    for split, pool in (("train", range(10**digits // 2)), ("ood", range(10**digits // 2, 10**digits))):
        check(task, task.table(seed)[split], set(pool), only=False)


def test_the_device_makes_what_the_host_makes() -> None:
    tasks = [made(word, longest=7) for word in ("max", "mode", "top_k", "distinct", "three_sum_in_range", "subset_sum")]
    rng = np.random.default_rng(0)
    words = [rng.integers(2**32, size=(6, task.stream_words()), dtype=np.uint32) for task in tasks]
    on_device = jax.jit(lambda given: [task.examples(of, jnp) for task, of in zip(tasks, given, strict=True)])(words)
    for task, of, split in zip(tasks, words, on_device, strict=True):
        on_host = task.examples(of, np)
        for one, other in zip(split, on_host, strict=True):
            assert np.asarray(one).dtype == other.dtype
            np.testing.assert_array_equal(one, other)
        # Each example depends on its own words alone.
        np.testing.assert_array_equal(task.examples(of[5:], np).inputs, on_host.inputs[5:])


def test_sums_are_drawn_uniformly_from_those_that_one_choice_alone_has() -> None:
    task, rows = made("two_sum", longest=6, tries=1), 4000
    numbers = [3, 5, 11, 20, 20, 41]
    words = np.random.default_rng(0).integers(2**32, size=(rows, task.words_a_try()), dtype=np.uint32)
    asked = task.ask(np.tile(np.int32(numbers), (rows, 1)), np.full(rows, 6, np.int32), words, np)
    totals = [numbers[i] + numbers[j] for i, j in itertools.combinations(range(6), 2)]
    alone = sorted(total for total in totals if totals.count(total) == 1)
    found = Counter(asked.query_NQ[:, 0].tolist())
    assert sorted(found) == alone
    assert asked.only_N.all()
    expected = rows / len(alone)
    assert all(abs(count - expected) < 5 * expected**0.5 for count in found.values())


def test_lengths_and_numbers_are_uniform() -> None:
    task = made("sort", test_examples=3000)
    lists = [numbers for _, _, numbers, _ in read(task, task.table(0)["train"])]
    lengths = Counter(map(len, lists))
    assert set(lengths) == {6, 7, 8}
    assert all(abs(count - 1000) < 150 for count in lengths.values())
    counts = Counter(itertools.chain.from_iterable(lists))
    assert len(counts) == 50
    assert all(abs(count - 420) < 120 for count in counts.values())


def test_numbers_are_drawn_so_that_every_digit_trains_at_every_place() -> None:
    task = made("sort", digits=4, id_numbers=100)
    digits = {(place, digit) for number in task.pool("train") for place, digit in enumerate(f"{number:04}")}
    assert len(digits) == 40
    assert made("sort", elements="lowest").pool("train").tolist() == list(range(50))
    np.testing.assert_array_equal(task.pool("train"), made("min", digits=4, id_numbers=100).pool("train"))
    assert set(task.pool("train")) != set(made("sort", digits=4, id_numbers=100, pool_seed=1).pool("train"))


@pytest.mark.parametrize(("word", "most"), [("mode", 3e-3), ("subset_sum", 1e-3), ("three_sum_in_range", 1e-3)])
def test_few_questions_have_several_right_answers(word: str, most: float) -> None:
    task = made(word, longest=7, test_examples=3000)
    several = [len(right_answers(*each[:3])) > 1 for each in read(task, task.table(0)["train"])]
    assert statistics.mean(several) <= most


@given(places=st.integers(1, 8), fewest=st.integers(1, 4), more=st.integers(0, 4))
def test_choices_are_all_there_are(places: int, fewest: int, more: int) -> None:
    found = [tuple(row) for row in choices(places, fewest, fewest + more).tolist()]
    everything = itertools.product([False, True], repeat=places)
    assert sorted(found) == sorted(row for row in everything if fewest <= sum(row) <= fewest + more)


@pytest.mark.parametrize(
    ("word", "sizes", "message"),
    [
        ("sort", {"least": 9}, "got 9, expected at most longest=8"),
        ("sort", {"id_numbers": 100}, "got 100, expected below 10"),
        ("sort", {"id_numbers": 5}, "none of the 5 numbers that train has the digit"),
        ("subset_sum", {"least": 5}, "got 5, expected at least 6"),
        ("four_sum", {"least": 4}, "got 4, expected at least 5"),
    ],
)
def test_mistakes_are_told(word: str, sizes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        made(word, **sizes)


def test_there_is_no_range_of_two_numbers() -> None:
    with pytest.raises(UserError, match="got true with of=two"):
        SumTask(of="two", in_range=True, **SIZES)


def test_the_experiment_asks_every_question_in_one_vocabulary() -> None:
    (experiment,) = scylla.PAPER.experiments
    for scale, words in (("paper", set(WORDS)), ("mini", {"min", "max", "sort", "distinct", "three_sum", "four_sum"})):
        for condition in experiment.at_scale(scale):
            task = condition.task
            assert isinstance(task, Mixture)
            asked = {part.name for part in task.of}
            assert asked >= words
            assert all(asked & set(order) for order in ORDERS.values())


def test_claims_and_paper_values_follow_from_the_papers_own_table() -> None:
    """Of Fig. 5 the smallest and the largest model; each question has its order's accuracy."""
    rows = []
    for name in scylla.WIDTHS:
        at = "largest" if name == "largest" else "smallest"
        for split, values in (("train", scylla.PAPER_ID[at]), ("ood", scylla.PAPER_OOD[at])):
            for words, value in zip(ORDERS.values(), values, strict=True):
                rows += [(name, 0, 10, f"accuracy/{word}.{split}", value) for word in words]
    (experiment,) = scylla.PAPER.experiments
    table = Table.of(rows).seed(0)
    for claim in experiment.claims:
        if claim.role == "paper":
            value = float(claim.value(table))
            assert claim.expect.holds(value), claim.name
            if claim.paper_value == claim.paper_value:
                assert value == pytest.approx(claim.paper_value, abs=0.006), claim.name
    assert [scylla.critical(table, name) for name in ("smallest", "largest")] == [1, 4]  # Table 2


def test_the_critical_complexity_is_open_where_no_gap_is_above_chance() -> None:
    rows = [
        ("large", 0, 10, f"accuracy/{word}.{split}", 0.3 + 0.04 * (split == "train" and word == "sort"))
        for word in WORDS
        for split in ("train", "ood")
    ]
    found = scylla.critical(Table.of(rows).seed(0), "large")
    assert isinstance(found, Bounds)
    assert ends(found) == (1, 5)


def test_the_figure_draws_every_size_that_was_measured() -> None:
    (experiment,) = scylla.PAPER.experiments
    figure = experiment.figures[0]
    conditions = experiment.at_scale("mini")
    rows = [
        (name, seed, 10, f"accuracy/{part.name}.{split}", 0.1 * seed)
        for name in ("small", "largest")
        for seed in (0, 1, 2)
        for part in conditions[0].task.of
        for split in ("train", "ood")
    ]
    drawing = figure.draw(Table.of(rows), conditions, 10.0)
    assert [axes.get_title() or axes.get_title(loc="left") for axes in drawing.axes] == ["small", "largest"]
    assert [tick.get_text() for tick in drawing.axes[0].get_xticklabels()] == list(ORDERS)
    for line in drawing.axes[0].lines[:2]:
        np.testing.assert_allclose(line.get_ydata(), 0.1)  # the median of the seeds
    assert figure.draw(Table.of([]), conditions, 10.0) is None
