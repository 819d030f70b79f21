"""Formulas and causal graphs read back from their sentences, and decided by trying everything or following edges."""

import dataclasses
import itertools
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxgen.errors import UserError
from jaxgen.tasks.base import Split
from jaxgen.tasks.facts.satisfiability import SatisfiabilityTask, satisfiable
from jaxgen.tasks.facts.transitivity import TransitivityTask
from tests.reading import check_numpy_and_jax_agree, check_sizes, read, words_of

Clause = tuple[tuple[str, bool], ...]  # (variable, whether it is negated)


def formulas(task: SatisfiabilityTask, name: str, split: Split) -> list[tuple[list[Clause], str]]:
    """Reads clauses and answers back."""
    found = []
    for words, asked in read(task, name, split):
        assert words[-3] == "?"
        assert words[-1] == "<end>"
        assert asked == [len(words) - 2, len(words) - 1]
        mark = ";" if task.language == "symbols" else "."
        *sentences, rest = " ".join(words[:-3]).split(f" {mark}")
        assert rest == ""
        found.append(([clause(task, sentence.strip()) for sentence in sentences], words[-2]))
    return found


def clause(task: SatisfiabilityTask, sentence: str) -> Clause:
    if task.language == "symbols":
        return tuple((word.lstrip("-"), word.startswith("-")) for word in sentence.split())
    condition, then = sentence.removeprefix("If ").split(" then ")
    told = [(part, True) for part in condition.split(" and ")] + [(then, False)]
    denial = "no " if task.language == "rules" else "not "
    # `If a then b` is: not a, or b.
    return tuple((part.replace(denial, ""), is_condition != (denial in part)) for part, is_condition in told)


def can_be_true(clauses: list[Clause]) -> bool:
    """Splits on the variables one after another."""
    if not clauses:
        return True
    if () in clauses:
        return False
    variable = clauses[0][0][0]
    return any(
        can_be_true(
            [tuple(x for x in each if x[0] != variable) for each in clauses if (variable, not true) not in each]
        )
        for true in (False, True)
    )


TASK = SatisfiabilityTask(variables=4, clauses=(9, 14), other_variables=(6,), test_examples=40)


@given(
    variables=st.integers(3, 5),
    clauses=st.lists(st.integers(1, 24), min_size=1, max_size=3, unique=True),
    literals=st.sampled_from([2, 3]),
    language=st.sampled_from(["symbols", "rules", "people"]),
    candidates=st.integers(1, 3),
    others=st.lists(st.integers(6, 8), max_size=1),
)
def test_formulas_are_answered_rightly(variables, clauses, literals, language, candidates, others) -> None:
    task = SatisfiabilityTask(
        variables=variables, clauses=tuple(clauses), literals=literals, language=language, candidates=candidates,
        other_variables=tuple(others), test_examples=8,
    )  # fmt: skip
    table = check_sizes(task)
    assert list(table) == ["train", *(f"clauses_{m}" for m in clauses), *(f"variables_{n}" for n in others)]
    for name, split in table.items():
        for told, answer in formulas(task, name, split):
            assert answer == ("Yes" if can_be_true(told) else "No")
            assert all(len({variable for variable, _ in each}) == len(each) == literals for each in told)
            used = {variable for each in told for variable, _ in each}
            kind, _, number = name.partition("_")
            assert len(used) <= (int(number) if kind == "variables" else variables)
            if kind == "clauses":
                assert len(told) == int(number)
            elif kind == "train":
                assert len(told) in clauses
            assert sum(negated for each in told for _, negated in each) % 2 == (name != "train")


def test_a_rule_says_what_its_clause_says() -> None:
    assert clause(TASK, "If no carrot and steak then no apples") == (
        ("carrot", False),
        ("steak", True),
        ("apples", True),
    )


def test_formulas_are_uniform() -> None:
    task = SatisfiabilityTask(variables=4, clauses=(1,), language="symbols", test_examples=8000)
    for split in task.table(0).values():
        counts = Counter(told[0] for told, _ in formulas(task, "train", split))
        # Ordered choices of three of four variables, and the four signs of one parity.
        assert len(counts) == 24 * 4
        expected = 8000 / 96
        statistic = sum((count - expected) ** 2 / expected for count in counts.values())
        assert abs(statistic - 95) < 4 * (2 * 95) ** 0.5


@pytest.mark.parametrize(
    ("variables", "clauses", "half"), [(5, (24, 28, 34), 28.5), (8, (34, 41, 48), 41), (10, (42, 49, 56), 49.5)]
)
def test_half_can_be_satisfied_at_the_known_ratio(variables: int, clauses: tuple[int, ...], half: float) -> None:
    # Half of the random formulas are satisfiable at 5.7, 5.1 and 4.9 clauses a variable, as measured elsewhere.
    task = SatisfiabilityTask(variables=variables, clauses=clauses, language="symbols", test_examples=2000)
    yes = task.token_names().index("Yes")
    share = [(task.table(0)[f"clauses_{m}"].targets == yes).any(axis=1).mean() for m in clauses]
    assert share[0] > share[1] + 0.1
    assert share[1] > share[2] + 0.1
    assert share[1] == pytest.approx(0.5, abs=0.06), half


def test_more_candidates_bring_the_answers_nearer_to_a_half() -> None:
    share = []
    for candidates in (1, 4):
        task = SatisfiabilityTask(variables=5, clauses=(20,), candidates=candidates, test_examples=1000)
        yes = task.token_names().index("Yes")
        share.append((task.table(0)["train"].targets == yes).any(axis=1).mean())
    assert share[0] > 0.8
    # Of four candidates all are satisfiable in p**4 of the cases, with p the share of one.
    assert share[1] == pytest.approx(0.5 + 0.5 * share[0] ** 4, abs=0.06)


@given(variables=st.integers(2, 9), seed=st.integers(0, 10**6), clauses=st.integers(1, 40))
def test_trying_all_assignments_agrees_with_a_search(variables: int, seed: int, clauses: int) -> None:
    drawn = np.random.default_rng(seed)
    variable = drawn.integers(variables, size=(3, clauses, 2))
    negated = drawn.integers(2, size=variable.shape).astype(bool)
    present = drawn.integers(2, size=(3, clauses)).astype(bool)
    answers = satisfiable(variable, negated, present, variables, np)
    for i, answer in enumerate(answers):
        told = [
            tuple((str(v), bool(n)) for v, n in zip(variable[i, m], negated[i, m], strict=True))
            for m in np.flatnonzero(present[i])
        ]
        assert answer == can_be_true(told)


@pytest.mark.parametrize("task", [TASK, dataclasses.replace(TASK, language="symbols", literals=2, candidates=2)])
def test_a_compiled_program_makes_the_same_formulas(task: SatisfiabilityTask) -> None:
    check_numpy_and_jax_agree(task)


def test_formulas_that_cannot_be_are_refused() -> None:
    with pytest.raises(UserError, match=r"clauses: got \[3, 3\], expected at least one number, all different"):
        SatisfiabilityTask(variables=4, clauses=(3, 3))
    with pytest.raises(
        UserError, match=r"got variables=2 and other_variables=\[\], expected different numbers of at le"
    ):
        SatisfiabilityTask(variables=2, clauses=(3,))


def graph(task: TransitivityTask, words: list[str]) -> tuple[list[tuple[str, str]], list[tuple[str, str, str]]]:
    """Reads edges and questions with their answers back."""
    text = " ".join(words)
    told, _, rest = text.partition("Does ")
    *sentences, end = told.split(" .")
    assert not end.strip()
    edges = [tuple(each.strip().split(" causes ")) for each in sentences]
    questions = []
    for each in rest.split("Does "):
        one, other = each.split(" ? ")[0].split(" cause ")
        questions.append((one, other, each.split(" ? ")[1].strip()))
    if task.names == "characters":
        assert all(len(name.split()) <= 3 and all(len(c) == 1 for c in name.split()) for edge in edges for name in edge)
    return edges, questions


def causes(edges: list[tuple[str, str]], one: str, other: str) -> bool:
    found, waiting = set(), [one]
    while waiting:
        node = waiting.pop()
        for after in [effect for cause, effect in edges if cause == node]:
            if after not in found:
                found.add(after)
                waiting.append(after)
    return other in found


@given(
    lengths=st.lists(st.integers(3, 6), min_size=1, max_size=2, unique=True),
    flipped=st.sampled_from([0.0, 0.5, 1.0]),
    names=st.sampled_from(["characters", "tokens"]),
    questions=st.integers(1, 3),
    branching=st.lists(st.integers(5, 9), max_size=1),
)
def test_causes_are_told_and_asked_for_rightly(lengths, flipped, names, questions, branching) -> None:
    task = TransitivityTask(
        lengths=tuple(lengths), flipped=flipped, names=names, questions=questions, longer=(7,),
        branching=tuple(branching), test_examples=8,
    )  # fmt: skip
    for name, split in check_sizes(task).items():
        for words, asked in read(task, name, split):
            assert asked == [place for place, word in enumerate(words) if word in ("Yes", "No")]
            edges, told = graph(task, words)
            nodes = {node for edge in edges for node in edge}
            assert len(told) == questions
            for one, other, answer in told:
                assert one != other
                assert {one, other} <= nodes or name.startswith("branching")  # whose nodes may have no edge
                assert (answer == "Yes") == causes(edges, one, other)
            kind, _, rest = name.partition("_")
            if kind == "branching":
                size, factor = rest.split("_")
                assert len(set(edges)) == len(edges) == int(round(10 * int(size) * float(factor)) // 10)
                assert len(nodes) <= int(size)
                assert not any(causes(edges, node, node) for node in nodes)
                continue
            assert len(nodes) == len(edges) + 1
            assert len(nodes) in (lengths if kind == "train" else [int(rest)])
            # Along a chain, each edge shares one node with the one before.
            assert all(len(set(one) & set(other)) == 1 for one, other in itertools.pairwise(edges))
            heads = [one[1] == other[0] for one, other in itertools.pairwise(edges)]
            if kind == "sequential" or (kind == "train" and flipped == 0.0):
                assert all(heads)
            if kind == "reversed":
                assert all(one[0] == other[1] for one, other in itertools.pairwise(edges))


def test_answers_are_even_and_names_and_sizes_uniform() -> None:
    task = TransitivityTask(lengths=(3, 5), flipped=0.25, test_examples=3000)
    sizes, answers, first, turned = Counter(), Counter(), Counter(), 0
    for words, _ in read(task, "train", task.table(0)["train"]):
        edges, ((_, _, answer),) = graph(task, words)
        sizes[len(edges)] += 1
        answers[answer] += 1
        first[len(edges[0][0].split())] += 1
        turned += not all(one[1] == other[0] for one, other in itertools.pairwise(edges))
    assert answers["Yes"] == pytest.approx(1500, abs=4 * 27)
    assert sizes[2] == pytest.approx(1500, abs=4 * 27)
    assert all(first[length] == pytest.approx(1000, abs=4 * 26) for length in (1, 2, 3))
    # Of the turned chains of 2 and 4 edges, 1/2 and 7/8 show it, unless all edges are turned: these too, told so.
    expected = 3000 * 0.25 * (0.5 * 3 / 4 + 0.5 * 15 / 16)
    assert turned == pytest.approx(expected, abs=4 * expected**0.5)


def test_questions_are_of_any_pair() -> None:
    task = TransitivityTask(lengths=(4,), flipped=0.0, names="tokens", test_examples=2400)
    pairs = Counter()
    for words, _ in read(task, "train", task.table(0)["train"]):
        edges, ((one, other, _),) = graph(task, words)
        chain = [edges[0][0], *(effect for _, effect in edges)]
        pairs[chain.index(one), chain.index(other)] += 1
    assert len(pairs) == 12
    assert all(count == pytest.approx(200, abs=5 * 14) for count in pairs.values())


@pytest.mark.parametrize("names", ["characters", "tokens"])
def test_a_compiled_program_tells_the_same_causes(names: str) -> None:
    check_numpy_and_jax_agree(TransitivityTask(names=names, questions=2))


def test_causal_graphs_that_cannot_be_are_refused() -> None:
    with pytest.raises(UserError, match=r"longer: got \[6\], expected numbers of nodes that do not train"):
        TransitivityTask(longer=(6, 7))
    with pytest.raises(UserError, match=r"edges_per_node: got 15 edges for branching_5_3, expected 1 to 10"):
        TransitivityTask(branching=(5,), edges_per_node=(3.0,))
    with pytest.raises(UserError, match=r"name_tokens: got 5, expected at least 6"):
        TransitivityTask(names="tokens", name_tokens=5)


def test_rows_of_words_make_examples_alone() -> None:
    for task in (TASK, TransitivityTask()):
        words = words_of(task, "train", 12)
        whole, part = task.examples(words, np), task.examples(words[5:7], np)
        np.testing.assert_array_equal(whole.inputs[5:7], part.inputs)
        np.testing.assert_array_equal(whole.targets[5:7], part.targets)
