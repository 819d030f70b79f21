"""Comparisons against facts that are read back from the examples, and searches by following every edge."""

import dataclasses
import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxgen.errors import UserError
from jaxgen.tasks.base import Split
from jaxgen.tasks.facts.comparison import AttributeTask, ComparisonTask
from jaxgen.tasks.facts.complex_reasoning import ComplexReasoningTask
from jaxgen.tasks.facts.composition import PROBES
from tests.reading import read

WHOLE = 10**6  # more probes than there are examples
TASK = ComparisonTask(entities=20, attributes=3, values=4, ood_fraction=0.3, phi=2.5, held_out=0.2, probes=WHOLE)
COMPLEX = ComplexReasoningTask(
    entities=40, attributes=4, values=6, ood_fraction=0.4, trained_fraction=0.1, hard=3, probes=WHOLE
)


def sentences(task: AttributeTask, name: str, split: Split) -> list[list[str]]:
    """Whole sequences in words, checking what is asked for."""
    found = []
    for words, asked in read(task, name, split):
        count = 3 if isinstance(task, ComplexReasoningTask) else 2
        assert asked == list(range(len(words) - count, len(words)))
        found.append(words)
    return found


def facts_of(task: AttributeTask, name: str, split: Split) -> dict[tuple[str, str], int]:
    """The value of (attribute, entity) of every atomic fact."""
    found = {}
    for words in sentences(task, name, split):
        if isinstance(task, ComplexReasoningTask):
            assert words[0] == "<q>"
            assert words[3:6] == ["<mask>", "</q>", "<a>"]
            _, entity, attribute, *_, value, end = words
        else:
            entity, attribute, value, end = words
        assert end == "</a>"
        assert (attribute, entity) not in found
        found[attribute, entity] = int(value)
    return found


def comparisons_of(task: AttributeTask, name: str, split: Split) -> dict[tuple[str, str, str], str]:
    """The label of (attribute, first, second) of every comparison."""
    found = {}
    for words in sentences(task, name, split):
        attribute, question, first, mask, second, *rest = words
        assert (question, mask) == ("<q>", "<mask>")
        if isinstance(task, ComplexReasoningTask):
            assert rest[:2] == ["</q>", "<a>"]
            rest = rest[2:]
        label, end = rest
        assert end == "</a>"
        assert label[:-1] == attribute
        assert (attribute, first, second) not in found
        found[attribute, first, second] = label[-1]
    return found


def right(facts: dict[tuple[str, str], int], attribute: str, first: str, second: str) -> str:
    one, other = facts[attribute, first], facts[attribute, second]
    return "<" if one < other else "=" if one == other else ">"


def check(task: ComparisonTask) -> None:
    table = task.table(0)
    assert {name: len(split.inputs) for name, split in table.items()} == dict(task.shape().sizes)
    known, ood = (facts_of(task, name, table[name]) for name in ("id_atomic", "ood_atomic"))
    facts = known | ood
    assert len(facts) == len(known) + len(ood) == task.entities * task.attributes
    assert set(facts.values()) <= set(range(task.values))
    asked = {name: comparisons_of(task, name, table[name]) for name in PROBES[2:]}
    for found in asked.values():
        assert all(label == right(facts, *question) for question, label in found.items())
    pairs = {True: set(), False: set()}
    for attribute, one in facts:
        for other in (entity for each, entity in facts if each == attribute and entity != one):
            sides = {(attribute, one) in known, (attribute, other) in known}
            if len(sides) == 1:
                pairs[sides.pop()].add((attribute, one, other))
    trained, iid = asked["train_inferred"].keys(), asked["test_inferred_iid"].keys()
    assert asked["test_inferred_ood"].keys() == pairs[False]
    assert trained | iid <= pairs[True]
    assert not trained & iid
    assert iid == {(attribute, other, one) for attribute, one, other in iid}
    assert len(iid) == 2 * round(task.held_out * len(pairs[True]) / 2)
    assert len(trained) == round(task.phi * len(known))
    whole = [row for name in PROBES[:3] for row in table[name].inputs.tolist()]
    assert sorted(table["train"].inputs.tolist()) == sorted(whole)


def test_every_split_follows_from_the_facts() -> None:
    check(TASK)


@given(
    entities=st.integers(5, 14),
    attributes=st.integers(1, 3),
    values=st.integers(2, 6),
    ood_fraction=st.floats(0.2, 0.6),
    phi=st.floats(0.3, 2.0),
    facts_seed=st.integers(0, 10),
)
def test_any_facts_follow_the_rules_or_are_refused(**settings) -> None:
    try:
        task = ComparisonTask(held_out=0.3, probes=WHOLE, **settings)
    except UserError:
        return  # what is refused has tests of its own
    check(task)


def test_phi_and_the_runs_seed_change_neither_facts_nor_tests() -> None:
    less, more = (dataclasses.replace(TASK, phi=phi, probes=20).table(phi > 2) for phi in (2.0, 3.0))
    for name in PROBES:
        np.testing.assert_array_equal(less[name].inputs, more[name].inputs)
    few, many = ({tuple(row) for row in each["train"].inputs.tolist()} for each in (less, more))
    assert few < many
    other = dataclasses.replace(TASK, facts_seed=1).table(0)
    assert not np.array_equal(TASK.table(0)["id_atomic"].inputs, other["id_atomic"].inputs)


def test_the_papers_sizes() -> None:
    task = ComparisonTask(entities=1000, attributes=20, values=20, phi=7.2)
    sizes = dict(task.shape().sizes)
    assert sizes["train"] == 18_000 + 2_000 + 129_600
    assert sizes["ood_atomic"] == 2000
    assert {sizes[name] for name in PROBES if name != "ood_atomic"} == {3000}
    assert task.shape().vocabulary == 1000 + 20 + 20 + 60 + 6
    complex_sizes = dict(ComplexReasoningTask(entities=1000, attributes=20, values=20).shape().sizes)
    assert complex_sizes["train"] == pytest.approx(563_000, abs=500)
    assert complex_sizes["test_hard"] == 150


def test_facts_that_cannot_be_are_refused() -> None:
    with pytest.raises(UserError, match=r"got 99, which is 4158 comparisons for 42 ID facts.*at most 10.38"):
        dataclasses.replace(TASK, phi=99.0)
    with pytest.raises(UserError, match="got 19 ID and 1 OOD entities for each attribute and 103 pairs held out"):
        dataclasses.replace(TASK, ood_fraction=0.05)
    with pytest.raises(UserError, match=r"got 0\.0001, which leaves 0 and 0 comparisons"):
        dataclasses.replace(COMPLEX, trained_fraction=1e-4)


def reaches(edges: dict[str, set[str]], start: str, goal: str) -> bool:
    found, waiting = {start}, [start]
    while waiting:
        for node in edges.get(waiting.pop(), set()) - found:
            found.add(node)
            waiting.append(node)
    return goal in found


def edges_of(comparisons: dict[tuple[str, str, str], str], attribute: str) -> dict[str, set[str]]:
    """Edges from entities to those that are at most as high."""
    edges: dict[str, set[str]] = {}
    for (each, first, second), label in comparisons.items():
        if each == attribute and label in "=>":
            edges.setdefault(first, set()).add(second)
        if each == attribute and label in "=<":
            edges.setdefault(second, set()).add(first)
    return edges


def test_hard_comparisons_follow_from_facts_and_comparisons_but_not_from_comparisons_alone() -> None:
    table = COMPLEX.table(0)
    assert {name: len(split.inputs) for name, split in table.items()} == dict(COMPLEX.shape().sizes)
    known, ood = (facts_of(COMPLEX, name, table[name]) for name in ("id_atomic", "ood_atomic"))
    inferred, cross, iid, every, hard = (
        comparisons_of(COMPLEX, name, table[name])
        for name in ("train_inferred", "train_cross", "test_inferred_iid", "test_inferred_ood", "test_hard")
    )
    facts = known | ood
    for (attribute, first, second), label in (inferred | cross | iid | every | hard).items():
        assert label == right(facts, attribute, first, second)
    assert all(((a, one) in known) != ((a, other) in known) for a, one, other in cross)
    assert all((a, one) in known and (a, other) in known for a, one, other in inferred | iid)
    assert not inferred.keys() & iid.keys()
    whole = [row for name in ("id_atomic", "train_inferred", "train_cross") for row in table[name].inputs.tolist()]
    assert sorted(table["train"].inputs.tolist()) == sorted(whole)

    found: dict[str, set[tuple[str, str, str]]] = {label: set() for label in "<=>"}
    for attribute in sorted({attribute for attribute, _ in facts}):
        entities = [entity for each, entity in known if each == attribute]
        of_facts = {
            (attribute, one, other): right(known, attribute, one, other)
            for one, other in itertools.permutations(entities, 2)
        }
        full, alone = edges_of(of_facts | cross, attribute), edges_of(inferred | cross, attribute)
        for each, one, other in every:
            if each == attribute:
                forth, back = reaches(full, one, other), reaches(full, other, one)
                easy = reaches(alone, one, other) or reaches(alone, other, one)
                if (forth or back) and not easy:
                    found["=" if forth and back else ">" if forth else "<"].add((each, one, other))
    for label in "<=>":
        asked = {question for question in hard if hard[question] == label}
        assert len(asked) == COMPLEX.hard
        assert asked <= found[label]
    counts = ", ".join(f"{len(found[label])} '{label}'" for label in "<=>")
    with pytest.raises(UserError, match=f"got 1000, expected at most the number of each label, {counts}"):
        dataclasses.replace(COMPLEX, hard=1000).table(0)
