"""PCFG SET against an evaluator that works from the end of the text."""

import collections
import dataclasses
import functools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxgen.config import from_json, to_json
from jaxgen.errors import UserError
from jaxgen.tasks.language.pcfg import PcfgTask
from tests.pcfg_reader import ARITY, functions, holds_out, strings, value
from tests.texts import Pair, pairs


@functools.cache
def corpus() -> list[Pair]:
    task = PcfgTask(split="pcfgset", train_examples=6000, validation_examples=300, test_examples=600)
    return [pair for rows in pairs(task).values() for pair in rows]


def test_an_example_by_hand() -> None:
    source = ["append", "swap_first_last", "A1", "B7", "C2", ",", "echo", "D4", "E5"]
    assert value(source) == ["C2", "B7", "A1", "D4", "E5", "E5"]


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
    assert {name: len(rows) for name, rows in read.items()} == dict(task.sizes())
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
