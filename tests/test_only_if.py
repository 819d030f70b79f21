"""Rewriting by rules, read back letter by letter, against str.replace."""

from __future__ import annotations

import collections

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxgen.errors import UserError
from jaxgen.experiments.only_if.parts import RewriteTask
from jaxgen.tasks.base import IGNORED, Split

Rule = tuple[str, str]


def task(**changes) -> RewriteTask:
    given = {"rules": 20, "train_examples": 100, "test_examples": 30, "length": 9, "pattern": 3, "alphabet": 12}
    return RewriteTask(**given | changes)


def read(asked: RewriteTask, split: Split) -> list[tuple[str, str, str, str]]:
    """Returns x, y, z and w of every example, the latter from the targets."""
    names, rows = asked.token_names(), []
    assert split.inputs.shape[1] == asked.shape().length
    assert split.targets.shape[1] == asked.length
    for tokens, targets in zip(split.inputs.tolist(), split.targets.tolist(), strict=True):
        assert IGNORED not in targets
        said = "".join(names[token] for token in tokens) + names[targets[-1]]
        prompt, w = said.split("=")
        rule, z = prompt.split(":")
        x, y = rule.split(">")
        assert w == "".join(names[token] for token in targets)
        rows.append((x, y, z, w))
    return rows


@settings(max_examples=25, deadline=None)
@given(
    rules=st.integers(1, 30),
    alphabet=st.integers(8, 26),
    pattern=st.integers(2, 4),
    more=st.integers(0, 6),
    no_op=st.sampled_from([0.0, 0.3]),
    seed=st.integers(0, 3),
)
def test_the_leftmost_occurrence_is_replaced(rules, alphabet, pattern, more, no_op, seed) -> None:
    asked = task(rules=rules, alphabet=alphabet, pattern=pattern, length=pattern + more, no_op=no_op)
    table = asked.table(seed)
    assert {name: len(split.inputs) for name, split in table.items()} == dict(asked.shape().sizes)
    rules_of = {}
    for name, split in table.items():
        rows = read(asked, split)
        for x, y, z, w in rows:
            assert len(x) == len(y) == pattern
            assert x != y
            assert w == z.replace(x, y, 1)
            assert (x in z) or no_op
        rules_of[name] = {(x, y) for x, y, _, _ in rows}
    assert len(rules_of["train"]) == rules
    assert rules_of["trained"] | rules_of["seen"] <= rules_of["train"]
    shown = {each for rule in rules_of["train"] for each in rule}
    assert not shown & {each for rule in rules_of["unseen"] for each in rule}
    assert len(rules_of["unseen"]) == 30
    if no_op:
        assert all(x in z for x, _, z, _ in read(asked, table["has_op"]))
        assert all(x not in z for x, _, z, _ in read(asked, table["no_op"]))
        idle = np.mean([x not in z for x, _, z, _ in read(asked, table["train"])])
        assert 0.1 < idle < 0.5


def test_an_occurrence_before_the_one_that_was_put_is_the_one_replaced() -> None:
    asked = task(alphabet=3, pattern=2, length=9, rules=2, test_examples=2, train_examples=300)
    rows = read(asked, asked.table(0)["train"])
    several = [(x, y, z, w) for x, y, z, w in rows if z.count(x) > 1]
    assert len(several) > 20
    assert all(w == z.replace(x, y, 1) for x, y, z, w in several)


def counts(asked: RewriteTask) -> list[int]:
    return sorted(collections.Counter((x, y) for x, y, _, _ in read(asked, asked.table(0)["train"])).values())


def test_rules_have_the_same_number_of_examples_or_those_of_a_power_law() -> None:
    assert counts(task(rules=30)) == [3] * 20 + [4] * 10
    many = {"rules": 10, "train_examples": 20_000}
    uniform, peaked = (counts(task(**many, exponent=a)) for a in (1.0, 0.2))
    assert max(abs(n - 2000) for n in uniform) < 5 * 2000**0.5
    # The first rule has those with u^5 < 1/10, the second up to 2/10, and so on.
    shares = np.diff((np.arange(11) / 10) ** 0.2)
    np.testing.assert_allclose(np.array(peaked[::-1]) / 20_000, sorted(shares)[::-1], atol=0.015)


def test_patterns_are_repeated_periodic_or_mirrored() -> None:
    for meaning, is_one in (
        ("repeated", lambda p: all(len(set(p[i : i + 2])) == 1 for i in range(0, 6, 2))),
        ("periodic", lambda p: p[:3] == p[3:]),
        ("mirrored", lambda p: p[:3] == p[5:2:-1]),
    ):
        asked = task(pattern=6, length=9, meaning=meaning, degrees=(2, 2), unseen_degrees=(2, 2))
        table = asked.table(0)
        patterns = [each for name in ("train", "unseen") for x, y, _, _ in read(asked, table[name]) for each in (x, y)]
        assert all(is_one(each) for each in patterns)
        assert len(set(patterns)) > 50
    three = read(task(pattern=6, meaning="mirrored", degrees=(3, 3)), task(
        pattern=6, meaning="mirrored", degrees=(3, 3)).table(0)["train"])  # fmt: skip
    assert all(x[0] == x[3] == x[4] and x[1] == x[2] == x[5] for x, _, _, _ in three)


def test_restricted_rules_are_of_all_three_and_unseen_ones_are_free() -> None:
    asked = task(pattern=6, length=9, meaning="restricted", degrees=(3, 3), rules=60)
    table = asked.table(0)
    found = {tuple(map(x.index, x)) for x, _, _, _ in read(asked, table["train"])}
    # aaabbb would be k = 2 letters of three; k = 3 repeats each letter three times: aaabbb, ababab, abbaab.
    assert {(0, 0, 0, 3, 3, 3), (0, 1, 0, 1, 0, 1), (0, 1, 1, 0, 0, 1)} <= found
    assert found <= {(0, 0, 0, 3, 3, 3), (0, 1, 0, 1, 0, 1), (0, 1, 1, 0, 0, 1), (0,) * 6}
    assert len({tuple(map(x.index, x)) for x, _, _, _ in read(asked, table["unseen"])}) > 10


def test_a_run_has_rules_of_its_own() -> None:
    asked = task()
    one, same, other = (read(asked, asked.table(seed)["train"]) for seed in (0, 0, 1))
    assert one == same != other
    assert read(task(data_seed=5), task(data_seed=5).table(0)["train"]) != one


def test_what_cannot_be_is_refused() -> None:
    for changes, message in (
        ({"pattern": 10}, r"task.pattern: got 10, expected at most length=9"),
        ({"rules": 101}, r"task.rules: got 101, expected at most train_examples=100"),
        ({"meaning": "repeated", "degrees": (2, 4)}, r"task.degrees: got 2 to 4, expected a range up to pattern=3"),
        ({"degrees": (2, 2)}, r"task.degrees: got more than 1 with meaning='free'"),
    ):
        with pytest.raises(UserError, match=message):
            task(**changes)
    with pytest.raises(UserError, match=r"there are too few patterns of 2 letters"):
        task(alphabet=2, pattern=2).table(0)
    with pytest.raises(UserError, match=r"task.no_op: got inputs in which x almost always occurs"):
        task(alphabet=4, pattern=1, length=90, rules=1, test_examples=1, no_op=0.5).table(0)
