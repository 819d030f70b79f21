"""PCFG SET against an evaluator that works from the end of the text, and against the published means."""

import collections
import dataclasses
import functools
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxgen.config import from_json, to_json
from jaxgen.errors import UserError
from jaxgen.tasks.pcfg import PcfgTask
from tests.texts import Pair, pairs

ARITY = {
    **dict.fromkeys(("copy", "reverse", "shift", "echo", "swap_first_last", "repeat"), 1),
    **dict.fromkeys(("append", "prepend", "remove_first", "remove_second"), 2),
}
HELD_OUT = {
    ("swap_first_last", "repeat"),
    ("append", "remove_second"),
    ("repeat", "remove_second"),
    ("append", "swap_first_last"),
}


def apply(function: str, arguments: list[list[str]]) -> list[str]:
    first, result = arguments[0], collections.deque(arguments[0])
    if function == "reverse":
        result.reverse()
    elif function == "shift":
        result.rotate(-1)
    elif function == "echo":
        result.append(first[len(first) - 1])
    elif function == "swap_first_last":
        result[0], result[-1] = result[-1], result[0]
    elif function in ("repeat", "append"):
        result.extend(arguments[-1])
    elif function == "prepend":
        result.extendleft(arguments[1][::-1])
    elif function == "remove_first":
        return arguments[1]
    else:
        assert function in ("copy", "remove_second")
    return list(result)


def value(source: list[str]) -> list[str]:
    """Evaluates from the last word to the first: a function finds its arguments on the stack."""
    stack: list[list[str]] = []
    for starts_new, words in itertools.groupby(reversed(source), key=lambda word: word in ARITY or word == ","):
        if not starts_new:
            stack.append(list(words)[::-1])
            continue
        for word in words:
            if word != ",":
                stack.append(apply(word, [stack.pop() for _ in range(ARITY[word])]))
    (only,) = stack
    return only


def functions(source: list[str]) -> list[str]:
    return [word for word in source if word in ARITY]


def strings(source: list[str]) -> list[tuple[str, ...]]:
    groups = itertools.groupby(source, key=lambda word: word in ARITY or word == ",")
    return [tuple(words) for other, words in groups if not other]


def holds_out(source: list[str]) -> bool:
    return not HELD_OUT.isdisjoint(itertools.pairwise(source))


@functools.cache
def corpus() -> list[Pair]:
    task = PcfgTask(split="pcfgset", train_examples=6000, validation_examples=300, test_examples=600)
    return [pair for rows in pairs(task).values() for pair in rows]


def test_an_example_by_hand() -> None:
    source = ["append", "swap_first_last", "A1", "B7", "C2", ",", "echo", "D4", "E5"]
    assert value(source) == ["C2", "B7", "A1", "D4", "E5", "E5"]


def test_the_corpus_is_about_the_published_one() -> None:
    sources = [source for source, _ in corpus()]
    counts = np.array([len(functions(source)) for source in sources])
    assert np.mean([len(source) for source in sources]) == pytest.approx(18, abs=0.5)
    assert counts.mean() == pytest.approx(5.1, abs=0.6)
    assert np.mean([len(target) for _, target in corpus()]) == pytest.approx(9.3, abs=0.6)
    assert np.mean(counts > 8) == pytest.approx(11_333 / 92_333, abs=0.025)
    assert np.mean([holds_out(source) for source in sources]) == pytest.approx(10_175 / 92_175, abs=0.025)
    assert len({len(string) for source in sources for string in strings(source)}) == 4


def test_functions_of_one_arity_and_strings_of_each_length_are_as_frequent() -> None:
    seen = collections.Counter(word for source, _ in corpus() for word in functions(source))
    lengths = collections.Counter(len(string) for source, _ in corpus() for string in strings(source))
    for arity in (1, 2):
        of_arity = np.array([seen[name] for name in ARITY if ARITY[name] == arity])
        np.testing.assert_allclose(of_arity / of_arity.mean(), 1, atol=0.1)
    assert set(lengths) == {2, 3, 4, 5}
    letters = collections.Counter(word for source, _ in corpus() for string in strings(source) for word in string)
    assert len(letters) == 520
    np.testing.assert_allclose(np.array(list(letters.values())) / np.mean(list(letters.values())), 1, atol=0.45)


def test_no_string_comes_twice() -> None:
    drawn = [string for source, _ in corpus() for string in strings(source)]
    assert len(set(drawn)) == len(drawn)


@settings(max_examples=15)
@given(
    split=st.sampled_from(["pcfgset", "systematicity", "productivity"]),
    train=st.integers(1, 120),
    test=st.integers(1, 60),
    indices=st.integers(1, 20),
    trained=st.integers(1, 5),
    more=st.integers(1, 4),
    longest=st.integers(20, 40),
    data_seed=st.integers(0, 3),
)
def test_every_corpus_follows_its_rule(split, train, test, indices, trained, more, longest, data_seed) -> None:
    task = PcfgTask(
        split=split,
        train_examples=train,
        test_examples=test,
        validation_examples=5 if split == "pcfgset" else None,
        indices=indices,
        trained_functions=trained,
        most_functions=trained + more,
        longest_source=longest,
        longest_target=30,
        data_seed=data_seed,
    )
    assert from_json(to_json(task)) == task
    read = pairs(task)
    assert {name: len(rows) for name, rows in read.items()} == task.sizes()
    for name, rows in read.items():
        for source, target in rows:
            assert value(source) == target
            assert len(source) <= longest
            assert len(target) <= 30
            assert len(functions(source)) <= trained + more
            if split == "productivity":
                assert (len(functions(source)) <= trained) == (name == "train")
            elif split == "systematicity":
                assert holds_out(source) == (name == "test")
    sources = [tuple(source) for rows in read.values() for source, _ in rows]
    assert len(set(sources)) == len(sources)


def test_more_training_examples_leave_the_test_and_hold_the_fewer() -> None:
    fewer = PcfgTask(split="pcfgset", train_examples=50, validation_examples=20, test_examples=30)
    one, other = pairs(fewer), pairs(dataclasses.replace(fewer, train_examples=90))
    assert other["test"] == one["test"]
    assert other["train"][:50] == one["train"]
    assert pairs(dataclasses.replace(fewer, data_seed=1))["test"] != one["test"]


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(UserError, match="got None of 'pcfgset', expected a number"):
        PcfgTask(split="pcfgset", train_examples=5, test_examples=5)
    with pytest.raises(UserError, match="got 5 of 'systematicity', expected a number of 'pcfgset' and none"):
        PcfgTask(split="systematicity", train_examples=5, test_examples=5, validation_examples=5)
    with pytest.raises(UserError, match="trained_functions: got 35, expected fewer than most_functions=35"):
        PcfgTask(split="productivity", train_examples=5, test_examples=5, trained_functions=35)
    rare = PcfgTask(split="productivity", train_examples=5, test_examples=5, trained_functions=20, longest_source=12)
    with pytest.raises(UserError, match=r"got {'train': 5, 'test': 0}, expected {'train': 5, 'test': 5}: others of"):
        rare.table(0)
