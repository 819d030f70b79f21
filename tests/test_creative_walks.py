"""Walks read back and followed on the graph, one step after another."""

import itertools
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxgen.errors import UserError
from jaxgen.tasks.graphs.creative_walks import CreativeWalkTask
from tests.reading import check_numpy_and_jax_agree, check_sizes, read


def walks(task: CreativeWalkTask, name: str, split) -> list[tuple[list[str], list[str], list[int], list[str]]]:
    """Reads demanded and forbidden labels, the nodes and the labels of every walk back, and follows it."""
    graph, found = task.graph(), []
    for words, asked in read(task, name, split):
        plus, minus, colon = (words.index(mark) for mark in "+-:")
        assert asked == list(range(colon + 1, len(words)))
        assert words[-1] == "<end>"
        start, goal = (int(word[1:]) for word in words[:plus])
        labels, nodes = words[colon + 1 : -1 : 2], [start, *(int(word[1:]) for word in words[colon + 2 : -1 : 2])]
        assert nodes[-1] == goal
        for (one, other), label in zip(itertools.pairwise(nodes), labels, strict=True):
            assert "abcdefgh"[graph.label_VV[one, other]] == label
            assert graph.label_VV[one, other] >= 0
        found.append((words[plus + 1 : minus], words[minus + 1 : colon], nodes, labels))
    return found


@given(
    nodes=st.integers(2, 9),
    edges=st.integers(1, 14),
    labels=st.integers(1, 4),
    longest=st.integers(1, 4),
    demanded=st.integers(0, 3),
    forbidden=st.integers(0, 3),
)
def test_walks_are_on_the_graph_and_meet_the_demands(nodes, edges, labels, longest, demanded, forbidden) -> None:
    settings = {"nodes": nodes, "labels": labels, "longest": longest, "demanded": demanded, "forbidden": forbidden}
    pairs = nodes * (nodes - 1) // 2
    if edges > pairs:
        with pytest.raises(UserError, match=f"edges: got {edges}, expected at most {pairs}: {nodes} nodes have"):
            CreativeWalkTask(edges=edges, **settings)
        return
    task = CreativeWalkTask(edges=edges, test_examples=30, **settings)
    graph = task.graph()
    assert (graph.label_VV >= 0).sum() == 2 * edges
    assert (graph.label_VV == graph.label_VV.T).all()
    assert (graph.label_VV.diagonal() == -1).all()
    assert graph.label_VV.max() < labels
    table = task.table(0)
    for name, split in table.items():
        for wanted, unwanted, _, told in walks(task, name, split):
            assert 1 <= len(told) <= longest
            assert set(wanted) <= set(told)
            assert not set(unwanted) & set(told)
            assert len(set(wanted)) == len(wanted) <= demanded
            assert len(set(unwanted)) == len(unwanted) <= forbidden
            assert sorted(wanted) == wanted


def test_walks_and_demands_are_uniform() -> None:
    task = CreativeWalkTask(nodes=6, edges=8, labels=4, longest=3, test_examples=6000)
    table = check_sizes(task)
    graph, lengths, starts, steps = task.graph(), Counter(), Counter(), Counter()
    numbers, named = Counter(), Counter()
    for wanted, _, nodes, labels in walks(task, "train", table["train"]):
        lengths[len(labels)] += 1
        starts[nodes[0]] += 1
        steps[tuple(nodes[:2])] += 1
        if len(set(labels)) == 2:
            numbers[len(wanted)] += 1
        if len(set(labels)) == 2 and len(wanted) == 1:
            named[wanted[0] == min(labels)] += 1
    assert all(lengths[length] == pytest.approx(2000, abs=4 * 37) for length in (1, 2, 3))
    # Starts as often as a node has edges, and then along each of them as often.
    for node, degree in enumerate(graph.degree_V.tolist()):
        assert starts[node] == pytest.approx(6000 * degree / 16, abs=5 * (6000 * degree / 16) ** 0.5)
    assert len(steps) == 16
    assert all(count == pytest.approx(375, abs=5 * 19) for count in steps.values())
    total = sum(numbers.values())
    assert all(numbers[number] == pytest.approx(total / 3, abs=5 * (total / 3) ** 0.5) for number in (0, 1, 2))
    assert named[True] == pytest.approx(sum(named.values()) / 2, abs=3 * sum(named.values()) ** 0.5)


def test_a_compiled_program_walks_the_same() -> None:
    check_numpy_and_jax_agree(CreativeWalkTask())
