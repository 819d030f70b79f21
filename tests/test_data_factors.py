"""The training sets of data-factors against the grammar of tests/test_scan.py, and its loss against a sum."""

from __future__ import annotations

import collections
import itertools

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxgen.errors import UserError
from jaxgen.experiments.data_factors.parts import FactorsTask, SummedCrossEntropy
from jaxgen.tasks.base import IGNORED
from tests.test_scan import SCAN, parts, published
from tests.texts import Pair, pairs

SMALL = {"dev_examples": 20, "ood_dev_examples": 30, "test_examples": 50, "most_actions": 8, "tested_actions": 8}
VERBS = ("walk", "look", "run", "jump")


def task(**changes) -> FactorsTask:
    return FactorsTask(**{"split": "addprim_jump", "train_examples": 60} | SMALL | changes)


def lines(rows: list[Pair]) -> list[str]:
    return [" ".join(source) for source, _ in rows]


def original(word: str) -> str:
    return word.partition("_")[0] if word.partition("_")[0] in VERBS else word


def means(command: str, verbs: list[str]) -> list[str]:
    """The actions of a command, one connective after the other."""
    said, words, done, joint, phrase = parts(verbs), command.split(), [], "and", []
    for word in [*words, "and"]:
        if word not in ("and", "after"):
            phrase.append(word)
            continue
        action = said[" ".join(phrase)]
        done, joint, phrase = (done + action if joint == "and" else action + done), word, []
    return done


@settings(max_examples=12, deadline=None)
@given(
    split=st.sampled_from(["addprim_jump", "template_around_right"]),
    mutants=st.integers(0, 3),
    versions=st.sampled_from([None, 2, 5]),
    copies=st.integers(1, 3),
)
def test_versions_of_training_commands_keep_meaning_and_hold_out_the_same(split, mutants, versions, copies) -> None:
    longest = 8 if split == "addprim_jump" else 16  # `around right` takes 8 actions at least
    asked = task(split=split, mutants=mutants, versions=versions, copies=copies, tested_actions=longest)
    read = pairs(asked)
    verbs = [verb + suffix for verb in VERBS for suffix in ["", *(f"_{n}" for n in range(1, mutants + 1))]]
    first = read["train"][: len(read["train"]) // copies]
    for copy in range(1, copies):
        renamed = [([f"{word}#{copy}" for word in s], [f"{word}#{copy}" for word in t]) for s, t in first]
        assert read["train"][copy * len(first) : (copy + 1) * len(first)] == renamed
    held = [f"jump{suffix}" for suffix in ["", *(f"_{n}" for n in range(1, mutants + 1))]]
    alone = collections.Counter(line for line in lines(first) if split == "addprim_jump" and line in held)
    composed = [line for line in lines(first) if line not in alone]
    assert len(composed) == len(set(composed)) == 60
    if split == "addprim_jump":
        assert sum(alone.values()) == round(60 / 9)
        assert max(alone.values()) - min([alone[each] for each in held]) <= 1
    trained = set(lines(published(split)["train"]))
    for source, target in [*first, *read["id_dev"]]:
        assert means(" ".join(source), verbs) == target
        assert len(target) <= 8
        assert " ".join(map(original, source)) in trained
    assert not set(lines(read["id_dev"])) & set(composed)
    assert read["trained"] == [each for each in first if " ".join(each[0]) in composed][:20]
    tested = {line for line in lines(published(split)["test"]) if len(SCAN[line]) <= longest}
    both = lines(read["ood_dev"]) + lines(read["test"])
    assert len(both) == len(set(both)) == 80
    assert set(both) <= tested


def test_all_versions_are_made_where_there_is_no_limit() -> None:
    from jaxgen.experiments.data_factors.language import _expanded

    for most, mutants in ((4, 1), (2, 2)):
        asked = task(mutants=mutants, most_actions=most)
        commands = [each for each in set(lines(published("addprim_jump")["train"])) if len(SCAN[each]) <= most]
        copies = ["", *(f"_{n}" for n in range(1, mutants + 1))]
        expected = set()
        for command in commands:
            if command != "jump":
                spellings = [[w + c for c in copies] if w in VERBS else [w] for w in command.split()]
                expected |= {" ".join(each) for each in itertools.product(*spellings)}
        found = list(_expanded(asked))
        assert len(found) == len(set(found))
        assert set(found) == expected


def test_at_most_so_many_versions_the_original_among_them() -> None:
    from jaxgen.experiments.data_factors.language import _expanded

    found = list(_expanded(task(mutants=5, versions=3, most_actions=4)))
    by_original = collections.Counter(" ".join(map(original, line.split())) for line in found)
    assert set(by_original) <= set(found)
    for command, count in by_original.items():
        verbs = sum(word in VERBS for word in command.split())
        assert count == 1 if not verbs else 2 <= count <= 3


@pytest.mark.parametrize("verbs_a_command", [None, 1, 2])
def test_longer_commands_are_read_from_the_left(verbs_a_command: int | None) -> None:
    asked = task(connectives=5, mutants=2, most_actions=30, verbs_a_command=verbs_a_command, train_examples=100)
    read = pairs(asked)
    verbs = [verb + suffix for verb in VERBS for suffix in ("", "_1", "_2")]
    composed = [each for each in read["train"] if not each[0][0].startswith("jump")]
    for source, target in composed + read["id_dev"]:
        assert means(" ".join(source), verbs) == target
        assert len(target) <= 30
        used = {word for word in source if original(word) in VERBS}
        assert verbs_a_command is None or len(used) <= verbs_a_command
        assert not any(word.startswith("jump") for word in source)
    joints = [sum(word in ("and", "after") for word in source) for source, _ in composed]
    assert set(joints) >= {0, 1, 2}
    assert max(joints) <= 5
    assert {original(word) for word in {w for s, _ in composed for w in s} if original(word) in VERBS} == set(VERBS[:3])


@pytest.mark.parametrize("connectives", [1, 4])
def test_length_tests_longer_commands_than_train(connectives: int) -> None:
    read = pairs(task(split="length", connectives=connectives, most_actions=6, tested_actions=12))
    assert max(len(target) for _, target in read["train"] + read["id_dev"]) <= 6
    for _, target in read["ood_dev"] + read["test"]:
        assert 6 < len(target) <= 12
    assert any("jump" in source for source, _ in read["train"])


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(UserError, match=r"train_examples: got 9000 beside dev_examples=20, expected at most 4111"):
        task(train_examples=9000).table(0)
    with pytest.raises(UserError, match=r"test_examples: got 2500 beside ood_dev_examples=30, expected at most 2156"):
        task(test_examples=2500).table(0)
    with pytest.raises(UserError, match=r"most_actions: got null, expected a number"):
        task(split="length", most_actions=None)
    with pytest.raises(UserError, match=r"versions: got a number with connectives above 1"):
        task(connectives=2, versions=3)
    with pytest.raises(UserError, match=r"dev_examples: got 70, expected at most train_examples=60"):
        task(dev_examples=70)


def test_a_configuration_is_made_without_its_commands() -> None:
    huge = task(mutants=200, connectives=125, most_actions=500, train_examples=50_000)
    assert dict(huge.shape().sizes)["train"] == 50_000 + 5_556
    assert huge.shape().source is not None


def test_the_loss_is_summed_over_an_answers_tokens() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(3, 4, 5)).astype(np.float32)
    targets = np.array([[0, 1, 2, 3], [4, IGNORED, IGNORED, 1], [IGNORED] * 4], np.int32)
    logs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    expected = [-sum(logs[b, k, y] for k, y in enumerate(row) if y != IGNORED) for b, row in enumerate(targets)]
    found = SummedCrossEntropy().example_loss()(jnp.asarray(logits), jnp.asarray(targets))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
