"""Traces of tail: each against the program run by hand, and what the ablations leave out."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.errors import UserError
from jaxgen.experiments.tail.parts import (
    AddNumbersTask,
    BinarySearchTask,
    CompareNumbersTask,
    FlipWordsTask,
    Part,
    TraceTask,
)
from jaxgen.tasks.base import IGNORED

SIZES = {"max_length": 5, "test_lengths": (8,), "addresses": 9, "test_examples": 200}
TASKS = (
    CompareNumbersTask(**SIZES), AddNumbersTask(**SIZES), FlipWordsTask(**SIZES, words=4),
    BinarySearchTask(**SIZES, numbers=20),
)  # fmt: skip
WITHOUT: tuple[Part | None, ...] = (None, "linear", "atomic", "fetch", "trace")

Step = tuple[list[str], list[str], list[str]]  # tag, fetched, result


def compared(prompt: list[str]) -> tuple[list[Step], list[str]]:
    middle = prompt.index("?")
    first, second = prompt[:middle], prompt[middle + 1 :]
    steps, relation = [], "equal"
    for at, a, b in zip(first[::2], first[1::2], second[1::2], strict=True):
        if relation == "equal" and a != b:
            relation = "less" if int(a) < int(b) else "more"
        steps.append(([at], [a, b], [relation]))
    return steps, [relation]


def added(prompt: list[str]) -> tuple[list[Step], list[str]]:
    middle = prompt.index("+")
    first, second = prompt[:middle], prompt[middle + 1 :]
    steps, carry = [], 0
    for at, a, b in reversed(list(zip(first[::2], first[1::2], second[1::2], strict=True))):
        digit, after = (int(a) + int(b) + carry) % 10, (int(a) + int(b) + carry) // 10
        steps.append(([at], [a, b, str(carry)], [str(digit), str(after)]))
        carry = after
    total = int("".join(first[1::2])) + int("".join(second[1::2]))
    return steps, list(str(total).zfill(len(steps) + 1))


def flipped(prompt: list[str]) -> tuple[list[Step], list[str]]:
    pairs = list(zip(prompt[::2], prompt[1::2], strict=True))[::-1]
    return [([at], [word], []) for at, word in pairs], [word for _, word in pairs]


def searched(prompt: list[str]) -> tuple[list[Step], list[str]]:
    *items, mark, wanted = prompt
    assert mark == "?"
    addresses, numbers = items[::2], [int(each[1:]) for each in items[1::2]]
    assert numbers == sorted(set(numbers))
    low, high, steps = 0, len(numbers) - 1, []
    while True:
        middle = (low + high) // 2
        found = numbers[middle]
        relation = "equal" if found == int(wanted[1:]) else "less" if found < int(wanted[1:]) else "more"
        steps.append(([addresses[low], addresses[high], addresses[middle]], [f"n{found}", wanted], [relation]))
        if relation == "equal":
            return steps, [addresses[middle]]
        low, high = (middle + 1, high) if relation == "less" else (low, middle - 1)


PROGRAMS = dict(zip(map(type, TASKS), (compared, added, flipped, searched), strict=True))


def written(steps: list[Step], without: Part | None) -> list[str]:
    """The trace by its rule, one step after another."""
    if without == "trace":
        return []
    if without == "atomic":
        joined = []
        for i in range(0, len(steps), 2):
            (tag, fetched, result), *more = steps[i : i + 2]
            (_, after, outcome) = more[0] if more else (tag, ["."] * len(fetched), result)
            joined.append((tag, fetched + after, outcome))
        steps = joined
    left_out = {"linear": 0, "fetch": 1}.get(str(without))
    return [symbol for step in steps for i, part in enumerate(step) if i != left_out for symbol in part]


def examples(task: TraceTask) -> Iterator[tuple[str, list[str], list[str], list[str]]]:
    """Yields of every example its split, its prompt, what comes after it, and the targets."""
    names = task.token_names()
    for split, of in task.table(3).items():
        for inputs, targets in zip(of.inputs, of.targets, strict=True):
            sequence = [names[token] for token in inputs]
            assert sequence[0] == "<start>"
            asked = [names[token] for token in targets if token != IGNORED]
            middle = sequence.index(">")
            after = [symbol for symbol in sequence[middle + 1 :] if symbol not in ("<end>", "<pad>")]
            yield split, sequence[1:middle], after, asked


@pytest.mark.parametrize("without", WITHOUT)
@pytest.mark.parametrize("task", TASKS, ids=lambda task: type(task).__name__)
def test_a_trace_is_what_the_program_does(task: TraceTask, without: Part | None) -> None:
    task = dataclasses.replace(task, without=without)
    lengths: dict[str, set[int]] = {}
    for split, prompt, after, asked in examples(task):
        steps, answer = PROGRAMS[type(task)](prompt)
        assert after == written(steps, without) + answer
        assert asked == [*after, "<end>"]
        lengths.setdefault(split, set()).add(sum(symbol.startswith("h") for symbol in prompt))
    pairs = 2 if isinstance(task, (CompareNumbersTask, AddNumbersTask)) else 1
    assert lengths == {"train": {pairs * n for n in range(1, 6)}, "length_8": {pairs * 8}}


@pytest.mark.parametrize("task", TASKS, ids=lambda task: type(task).__name__)
def test_addresses_are_consecutive_and_all_are_trained(task: TraceTask) -> None:
    firsts = set()
    for split, prompt, _, _ in examples(task):
        at = [int(symbol[1:]) for symbol in prompt if symbol.startswith("h")]
        count = len(at) if isinstance(task, (FlipWordsTask, BinarySearchTask)) else len(at) // 2
        assert at[:count] == list(range(at[0], at[0] + count))
        assert at[count:] in ([], at[:count])
        firsts |= set(at) if split == "train" else set()
    assert firsts == set(range(9))


def test_numbers_that_are_compared_often_agree_at_first() -> None:
    agreed = [
        sum(fetched[0] == fetched[1] for _, fetched, _ in compared(prompt)[0][:1])
        for split, prompt, _, _ in examples(TASKS[0])
        if split == "length_8"
    ]
    assert 0.8 < np.mean(agreed) < 1.0  # 8 of 9 agree by design, and a tenth of the others by chance


@pytest.mark.parametrize("without", WITHOUT)
@pytest.mark.parametrize("task", TASKS, ids=lambda task: type(task).__name__)
def test_a_compiled_program_makes_the_same_examples(task: TraceTask, without: Part | None) -> None:
    task = dataclasses.replace(task, without=without)
    words = np.random.default_rng(0).integers(0, 2**32, (20, task.stream_words()), dtype=np.uint32)
    compiled = jax.jit(lambda words: task.examples(words, jnp))(words)
    for one, other in zip(compiled, task.examples(words, np), strict=True):
        np.testing.assert_array_equal(one, other)


def test_too_few_addresses_or_numbers_are_refused() -> None:
    with pytest.raises(UserError, match=r"task\.addresses: got 7, expected at least 8"):
        dataclasses.replace(TASKS[0], addresses=7)
    with pytest.raises(UserError, match=r"task\.numbers: got 7, expected at least 8"):
        BinarySearchTask(**SIZES, numbers=7)
