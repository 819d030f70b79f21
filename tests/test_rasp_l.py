"""The tasks of rasp-l: what they ask, and their next tokens by short programs in the style of RASP-L.

A program reads a whole sequence, and gives at every position the token that comes next. It may compare tokens, select
earlier positions by a comparison, and take the mean, the least or the largest of what it selects; it never counts
positions from an end, nor does arithmetic with their indices. So it is the same for every length.
"""

import collections
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import jax
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxgen.errors import UserError
from jaxgen.experiments import rasp_l
from jaxgen.experiments.rasp_l.parts import ExactMatch, ModeTask, RunningParityTask
from jaxgen.measures.evaluation import Evaluation
from jaxgen.objectives.losses import cross_entropy
from jaxgen.tasks import ArithmeticTask, CountTask, StringTask
from jaxgen.tasks.base import IGNORED
from jaxgen.tasks.strings.lengths import LengthTask
from tests.questions import check_both_and_alone, check_table, drawn_words, questions

Sequence = np.ndarray  # (S,) int
NOTHING = -1  # what is selected from no position


def select(keys: Sequence, queries: Sequence, holds: Callable) -> np.ndarray:
    """Which keys each query selects: (S, S) bool, queries first. Causal: no later key."""
    return holds(keys[None, :], queries[:, None]) & np.tri(len(keys), dtype=bool)


def aggregate(selected: np.ndarray, values: Sequence, how: str) -> Sequence:
    """The least or the largest of the selected values, or their mean rounded down."""
    found = []
    for row in selected:
        chosen = values[row]
        found.append({"min": np.min, "max": np.max, "mean": np.mean}[how](chosen) if len(chosen) else NOTHING)
    return np.floor(found).astype(int)


def kqv(keys: Sequence, queries: Sequence, values: Sequence, holds: Callable, how: str) -> Sequence:
    return aggregate(select(keys, queries, holds), values, how)


def width(selected: np.ndarray) -> Sequence:
    """How many positions each query selects."""
    return selected.sum(1)


def before(x: Sequence) -> Sequence:
    """The token one position earlier."""
    return np.concatenate([[NOTHING], x[:-1]])


def equal(a, b):
    return a == b


class Names:
    """The numbers of a task's tokens."""

    def __init__(self, task: LengthTask):
        self.of = {name: token for token, name in enumerate(task.token_names())}
        self.start, self.arrow, self.end = (self.of[name] for name in ("<start>", ">", "<end>"))
        self.markers = [token for name, token in self.of.items() if name[0] == "h" and name[1:].isdigit()]

    def is_marker(self, x: Sequence) -> Sequence:
        return (x >= min(self.markers)) & (x <= max(self.markers))

    def asked(self, x: Sequence) -> Sequence:
        """Whether the arrow was before, or is here."""
        return kqv(x, np.full_like(x, self.arrow), np.ones_like(x), equal, "max") == 1

    def prompt(self, x: Sequence) -> Sequence:
        return ~self.asked(x) & (x != self.start)


def constant(x: Sequence, value: int) -> Sequence:
    return np.full_like(x, value)


def count(names: Names, x: Sequence) -> Sequence:
    first = kqv(before(x), constant(x, names.start), x, equal, "max")
    last = kqv(before(before(x)), constant(x, names.start), x, equal, "max")
    return np.where(x == names.arrow, first, np.where(x == last, names.end, x + 1))


def copy(names: Names, x: Sequence) -> Sequence:
    """An induction head: what followed this token before."""
    first = kqv(before(x), constant(x, names.start), x, equal, "max")
    then = kqv(before(x), x, x, equal, "max")
    return np.where(x == names.arrow, first, np.where(then == names.arrow, names.end, then))


def sort(names: Names, x: Sequence) -> Sequence:
    """The least symbol of the prompt that is larger than the last one."""
    last = np.where(x == names.arrow, NOTHING, x)
    larger = kqv(np.where(names.prompt(x), x, NOTHING), last, x, lambda k, q: (k > q) & (k != NOTHING), "min")
    return np.where(larger == NOTHING, names.end, larger)


def mode(names: Names, x: Sequence) -> Sequence:
    """The symbol whose last occurrence has the most like it before."""
    so_far = np.where(names.prompt(x), width(select(x, x, equal)), NOTHING)
    most = kqv(so_far, so_far, so_far, lambda k, q: k == k, "max")
    found = kqv(so_far, most, x, equal, "max")
    return np.where(x == names.arrow, found, names.end)


def parity(names: Names, x: Sequence) -> Sequence:
    """The marker of the next 1; then the opposite of the last parity; at last that parity again."""
    one = names.prompt(x) & (x == names.of["1"])
    after = np.where(names.is_marker(before(x)), before(x), NOTHING)  # of the last bit or parity
    following = kqv(np.where(one, before(x), NOTHING), after, before(x), lambda k, q: k > q, "min")
    flipped = np.where(before(x) == names.arrow, names.of["1"], 1 - before(x))
    found = np.where(following != NOTHING, following, np.where(x == names.arrow, names.of["0"], x))
    ended = ~names.is_marker(before(x)) & (x != names.arrow)
    return np.where(names.is_marker(x), flipped, np.where(ended, names.end, found))


def operands(names: Names, x: Sequence, place: Sequence) -> tuple[Sequence, Sequence]:
    """The digits of both numbers after a marker."""
    sign = kqv(x, constant(x, names.of["+"]), constant(x, 1), equal, "max") == 1
    digit = names.prompt(x) & names.is_marker(before(x))
    one, other = (np.where(digit & each, before(x), NOTHING) for each in (~sign, sign))
    return kqv(one, place, x, equal, "max"), kqv(other, place, x, equal, "max")


def ends(names: Names, x: Sequence) -> tuple[Sequence, Sequence]:
    """The first and the last marker."""
    marker = np.where(names.is_marker(x), x, NOTHING)
    return tuple(kqv(marker, marker, marker, lambda k, q: (k != NOTHING) & (q == q), how) for how in ("min", "max"))


def reversed_sum(names: Names, x: Sequence) -> Sequence:
    """A carry comes from the place before: its digit is less than what was added there."""
    one, other = operands(names, x, x)
    there, those = operands(names, x, before(before(x)))
    carry = (before(before(x)) != NOTHING) & names.is_marker(before(before(x))) & (before(x) < there + those)
    digit = (one + other + carry) % 10
    first, last = ends(names, x)
    following = np.where(before(x) == first, names.end, before(x) - 1)
    return np.where(x == names.arrow, last, np.where(names.is_marker(x), digit, following))


def forward_sum(names: Names, x: Sequence) -> Sequence:
    """A carry comes from the nearest lower place that does not add up to 9."""
    one, other = operands(names, x, x)
    at_one, at_other = operands(names, x, before(x))
    both = names.prompt(x) & names.is_marker(before(x)) & (at_one != NOTHING) & (at_other != NOTHING)
    added = np.where(both, at_one + at_other, 9)
    decides = np.where(added != 9, before(x), NOTHING)
    nearest = kqv(decides, x, decides, lambda k, q: (k > q) & (k != NOTHING), "min")
    carry = (nearest != NOTHING) & (kqv(decides, nearest, added, equal, "max") >= 10)
    first, last = ends(names, x)
    following = np.where(before(x) == last, names.end, before(x) + 1)
    return np.where(x == names.arrow, first, np.where(names.is_marker(x), (one + other + carry) % 10, following))


SIZES = {"max_length": 9, "test_lengths": (1, 5, 14), "test_examples": 40}
PROGRAMS: dict[str, tuple[LengthTask, Callable]] = {
    "count": (CountTask(numbers=30, **SIZES), count),
    "mode": (ModeTask(alphabet=5, **SIZES), mode),
    "copy": (StringTask(operation="copy", alphabet=20, distinct=True, **SIZES), copy),
    "sort": (StringTask(operation="sort", alphabet=20, distinct=True, **SIZES), sort),
    "parity": (RunningParityTask(index_hints=20, **SIZES), parity),
    "reversed sum": (ArithmeticTask(index_hints=20, reverse_answer=True, **SIZES), reversed_sum),
    "sum": (ArithmeticTask(index_hints=20, **SIZES), forward_sum),
}


def right(task: LengthTask, program: Callable, inputs: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Whether each token that is asked for is the one that the program gives."""
    asked = targets != IGNORED
    return np.asarray(program(Names(task), inputs.astype(int)))[asked] == targets[asked]


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_next_token_is_that_of_a_short_program_at_every_length(name: str) -> None:
    task, program = PROGRAMS[name]
    for split in task.table(0).values():
        for inputs, targets in zip(split.inputs, split.targets, strict=True):
            assert right(task, program, inputs, targets).all()


def test_the_program_for_tokens_that_are_all_different_is_none_for_repeated_ones() -> None:
    task = StringTask(operation="copy", alphabet=2, **SIZES)
    split = task.table(0)["length_14"]
    found = [right(task, copy, *row).all() for row in zip(split.inputs, split.targets, strict=True)]
    assert np.mean(found) < 0.1


def mode_answer(task: ModeTask, prompt: list[str]) -> list[str]:
    counts = collections.Counter(prompt)
    (winner, most), *others = counts.most_common()
    assert all(count < most for _, count in others)
    if task.scratchpad == "by_count":
        rising = sorted(counts, key=lambda symbol: (counts[symbol], int(symbol)))
        return [text for symbol in rising for text in (f"#{counts[symbol]}", symbol)] + [winner]
    if task.scratchpad == "by_occurrence":
        return [text for symbol in dict.fromkeys(prompt) for text in (symbol, f"#{counts[symbol]}")] + [winner]
    return [winner]


def parity_answer(prompt: list[str]) -> list[str]:
    markers, bits = prompt[::2], prompt[1::2]
    first = int(markers[0][1:])
    assert markers == [f"h{first + i}" for i in range(len(bits))]
    told = [
        text for i, bit in enumerate(bits) if bit == "1" for text in (markers[i], str(bits[: i + 1].count("1") % 2))
    ]
    return [*told, str(bits.count("1") % 2)]


@given(
    alphabet=st.integers(1, 7),
    longest=st.integers(1, 9),
    scratchpad=st.sampled_from(["none", "by_count", "by_occurrence"]),
    data=st.data(),
)
def test_modes_of_any_configuration(alphabet: int, longest: int, scratchpad: str, data: st.DataObject) -> None:
    task = ModeTask(alphabet=alphabet, max_length=longest, scratchpad=scratchpad)
    for prompt, told in questions(task, task.examples(data.draw(drawn_words(task)), np)):
        assert 1 <= len(prompt) <= longest
        assert told == mode_answer(task, prompt)


@given(longest=st.integers(1, 9), spare=st.integers(0, 4), data=st.data())
def test_running_parities_of_any_configuration(longest: int, spare: int, data: st.DataObject) -> None:
    task = RunningParityTask(max_length=longest, index_hints=longest + spare)
    for prompt, told in questions(task, task.examples(data.draw(drawn_words(task)), np)):
        assert told == parity_answer(prompt)


@pytest.mark.parametrize(
    "task",
    [
        ModeTask(alphabet=5, scratchpad="by_count", **SIZES),
        ModeTask(alphabet=3, context=40, **SIZES),
        RunningParityTask(index_hints=15, context=90, **SIZES),
    ],
    ids=lambda task: type(task).__name__ + str(task.context),
)
def test_numpy_and_jax_make_the_same_examples_alone_and_together(task: LengthTask) -> None:
    check_both_and_alone(task)
    check_table(task)


def test_every_symbol_is_as_often_the_mode() -> None:
    task = ModeTask(alphabet=5, max_length=8, test_examples=5000)
    modes = collections.Counter(told[0] for _, told in questions(task, task.table(0)["train"]))
    assert all(abs(modes[str(symbol)] - 1000) < 150 for symbol in range(5))


def test_mistakes_are_told_with_their_numbers() -> None:
    with pytest.raises(UserError, match="distinct: got true, expected false"):
        ModeTask(alphabet=9, max_length=5, distinct=True)
    with pytest.raises(UserError, match="index_hints: got 4 markers, expected at least 6"):
        RunningParityTask(index_hints=4, max_length=3, test_lengths=(6,))


def test_exact_match_is_of_whole_answers_by_length() -> None:
    task = CountTask(numbers=9, max_length=3, test_lengths=(2, 5), test_examples=6)
    table, wrong = task.table(0), {"length_2": 1, "length_5": 4}
    answers = {name: np.where(split.targets == IGNORED, 0, split.targets) for name, split in table.items()}
    for name, count in wrong.items():
        answers[name][:count, 3] += 1  # one token of each of so many answers

    class Known(Evaluation):
        def logits(self, inputs):
            (name,) = [each for each, split in table.items() if np.shape(inputs) == split.inputs.shape]
            return jax.nn.one_hot(answers[name], task.shape().vocabulary)

    of = Known(
        module=None, variables={}, splits=table, shape=task.shape(), loss=cross_entropy, corruption=False
    )  # fmt: skip
    values = ExactMatch().values(of)
    assert values == {"exact.2/tested": pytest.approx(5 / 6), "exact.5/tested": pytest.approx(2 / 6)}


def test_what_is_not_fitted_settles_nothing() -> None:
    def seed(**exact: float) -> Any:
        rows = pd.DataFrame({"measure": [f"exact.{length}" for length in (4, 8, 12, 16, 20, 24)]})
        return SimpleNamespace(rows=rows, final=lambda name, key, rows: exact[f"at_{key[6:].partition('/')[0]}"])

    assert rasp_l.beyond(seed(at_16=0.99, at_20=0.3), "copy, long") == 0.3
    assert rasp_l.beyond(seed(at_4=1.0, at_20=0.0), "copy, short") == 0.0
    unknown = rasp_l.beyond(seed(at_16=0.98, at_20=0.3), "copy, long")
    assert (unknown.low, unknown.high) == (0.0, 1.0)
    assert unknown.why == "'copy, long' answers 0.98 of the longest trained length"
