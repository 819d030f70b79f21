"""Traces of searches against searches written one node at a time, and mazes against distances from every cell."""

import dataclasses
import heapq
from collections import Counter, deque

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxgen.errors import UserError
from jaxgen.tasks.graphs.graph_search import GraphSearchTask
from jaxgen.tasks.graphs.maze import MazeTask
from tests.reading import check_sizes, read, words_of

FAR = float("inf")


@dataclasses.dataclass
class Graph:
    weights: dict[tuple[int, int], int]  # by edge, both ways where it has no direction
    told: int
    source: int | None
    trace: list[str]

    def around(self, node: int) -> list[int]:
        return sorted(other for one, other in self.weights if one == node)


def number(word: str) -> int:
    return int(word.removeprefix("n"))


def graphs(task: GraphSearchTask, name: str, split) -> list[Graph]:
    """Reads graphs back; nodes without edges but the source do not show."""
    found = []
    for words, asked in read(task, name, split):
        start = words.index("<sep>")
        assert asked == list(range(start + 1, len(words)))
        assert words[-1] == "<end>"
        prompt, source = words[:start], None
        if task.algorithm != "dfs":
            assert prompt[-2] == "from"
            prompt, source = prompt[:-2], number(prompt[-1])
        width = 3 if task.algorithm == "bellman-ford" else 2
        edges = [prompt[i : i + width] for i in range(0, len(prompt), width)]
        pairs = [(number(one), number(other)) for one, other, *_ in edges]
        assert pairs == sorted(set(pairs))
        assert all(one != other and (task.algorithm == "dfs" or one < other) for one, other in pairs)
        weights = {pair: int(edge[2]) if width == 3 else 1 for pair, edge in zip(pairs, edges, strict=True)}
        if task.algorithm != "dfs":
            weights |= {(other, one): weight for (one, other), weight in weights.items()}
        found.append(Graph(weights, len(pairs), source, words[start + 1 : -1]))
    return found


def breadth_first(graph: Graph) -> list[str]:
    assert graph.source is not None
    distance, waiting = {graph.source: 0}, deque([graph.source])
    while waiting:
        node = waiting.popleft()
        for other in graph.around(node):
            if other not in distance:
                distance[other] = distance[node] + 1
                waiting.append(other)
    trace = []
    for level in range(1, max(distance.values()) + 1):
        for node in sorted(node for node in distance if distance[node] == level):
            parent = min(other for other in graph.around(node) if distance[other] == level - 1)
            trace += [f"n{node}", f"n{parent}"]
        trace.append(";")
    return trace


def depth_first(graph: Graph, nodes: list[int]) -> list[str]:
    entered, trace = set(), []

    def enter(node: int) -> None:
        entered.add(node)
        trace.append(f"n{node}")
        for other in graph.around(node):
            if other not in entered:
                enter(other)
        trace.append(")")

    for node in nodes:
        if node not in entered:
            enter(node)
    return trace


def shortest(graph: Graph, steps: int) -> dict[int, float]:
    """Distances over at most so many edges, by going through all (distance, steps, node) in order of distance."""
    assert graph.source is not None
    best: dict[int, float] = {}
    waiting, seen = [(0, 0, graph.source)], set()
    while waiting:
        distance, used, node = heapq.heappop(waiting)
        best.setdefault(node, distance)
        for other in graph.around(node):
            if used < steps and (used + 1, other) not in seen:
                heapq.heappush(waiting, (distance + graph.weights[node, other], used + 1, other))
        seen.add((used, node))
    return best


def bellman_ford(graph: Graph, rounds: int) -> list[str]:
    trace = []
    for steps in range(1, rounds + 1):
        before, now = shortest(graph, steps - 1), shortest(graph, steps)
        falls = [node for node in sorted(now) if now[node] < before.get(node, FAR)]
        for node in falls:
            parent = min(o for o in graph.around(node) if before.get(o, FAR) + graph.weights[o, node] == now[node])
            trace += [f"n{node}", f"n{parent}", str(now[node])]
        trace += [";"] if falls else []
    return trace


@given(
    algorithm=st.sampled_from(["bfs", "dfs", "bellman-ford"]),
    nodes=st.lists(st.integers(2, 6), min_size=1, max_size=2, unique=True),
    larger=st.lists(st.integers(7, 8), max_size=1),
    edge_probability=st.sampled_from([0.2, 0.5, 0.9]),
    rounds=st.sampled_from([None, 2]),
)
def test_traces_are_those_of_the_algorithms(algorithm, nodes, larger, edge_probability, rounds) -> None:
    task = GraphSearchTask(
        algorithm=algorithm, nodes=tuple(nodes), larger=tuple(larger), names=12, edge_probability=edge_probability,
        trained_edge_probabilities=(edge_probability, 0.5), max_weight=4, rounds=rounds, test_examples=10,
    )  # fmt: skip
    table = check_sizes(task)
    assert list(table) == ["train", *(f"nodes_{n}" for n in (*nodes, *larger))]
    for name, split in table.items():
        sizes = nodes if name == "train" else [int(name.removeprefix("nodes_"))]
        for graph in graphs(task, name, split):
            assert graph.told % 2 == (name != "train")
            shown = {node for edge in graph.weights for node in edge} | {graph.source} - {None}
            assert len(shown) <= max(sizes)
            if algorithm == "bfs":
                assert graph.trace == breadth_first(graph)
            elif algorithm == "bellman-ford":
                assert graph.trace == bellman_ford(graph, min(rounds or 99, max(sizes) - 1))
                assert set(graph.weights.values()) <= {1, 2, 3, 4}
            else:
                entered = [number(word) for word in graph.trace if word != ")"]
                assert len(entered) in sizes
                assert shown <= set(entered)
                assert graph.trace == depth_first(graph, sorted(entered))


def test_bellman_ford_needs_no_more_rounds_than_nodes() -> None:
    task = GraphSearchTask(algorithm="bellman-ford", nodes=(8,), trained_edge_probabilities=(0.55,), max_weight=30)
    for graph in graphs(task, "train", task.table(0)["train"])[:100]:
        last = {
            node: distance for node, _, distance in zip(*[iter(w for w in graph.trace if w != ";")] * 3, strict=True)
        }
        assert {number(node): int(d) for node, d in last.items()} | {graph.source: 0} == shortest(graph, 8)


def test_graphs_are_random_as_they_say() -> None:
    task = GraphSearchTask(
        algorithm="dfs", nodes=(4, 6), names=9, trained_edge_probabilities=(0.3,), test_examples=3000
    )
    read_back = graphs(task, "train", task.table(0)["train"])
    sizes = Counter(sum(word != ")" for word in graph.trace) for graph in read_back)
    assert sizes[4] == pytest.approx(1500, abs=4 * 27)
    # Of 12 and 30 edges each is there in 0.3 of the cases, but for the first, which makes their number even.
    assert sum(graph.told for graph in read_back) / (12 * sizes[4] + 30 * sizes[6]) == pytest.approx(0.3, abs=0.03)
    names = Counter(word for graph in read_back for word in graph.trace if word != ")")
    expected = (4 * sizes[4] + 6 * sizes[6]) / 9
    assert all(count == pytest.approx(expected, abs=5 * expected**0.5) for count in names.values())
    assert len(names) == 9


def test_graphs_that_cannot_be_are_refused() -> None:
    with pytest.raises(UserError, match=r"got nodes=\[4\] and larger=\[4\], expected at least one.*all different"):
        GraphSearchTask(algorithm="bfs", nodes=(4,), larger=(4,))
    with pytest.raises(UserError, match=r"names: got 10, expected at least 16, the nodes of a graph"):
        GraphSearchTask(algorithm="bfs", names=10)
    with pytest.raises(UserError, match=r"trained_edge_probabilities: got none, expected at least one"):
        GraphSearchTask(algorithm="bfs", trained_edge_probabilities=())


STEPS = {"up": (-1, 0), "down": (1, 0), "left": (0, -1), "right": (0, 1)}
Cell = tuple[int, int]


def distances(free: set[Cell], start: Cell) -> dict[Cell, int]:
    found, waiting = {start: 0}, deque([start])
    while waiting:
        row, column = waiting.popleft()
        for down, right in STEPS.values():
            cell = (row + down, column + right)
            if cell in free and cell not in found:
                found[cell] = found[row, column] + 1
                waiting.append(cell)
    return found


def mazes(task: MazeTask, split) -> list[tuple[set[Cell], Cell, Cell, list[str]]]:
    """Reads free cells, goal, agent and answer back."""
    found = []
    for words, asked in read(task, "train", split):
        cells = task.size**2
        assert words[cells] == "<sep>"
        assert words[-1] == "<end>"
        assert asked == list(range(cells + 1, len(words)))
        at = {mark: [divmod(i, task.size) for i in range(cells) if words[i] == mark] for mark in ".#GA"}
        ((goal,), (agent,)) = at["G"], at["A"]
        found.append(({*at["."], goal, agent}, goal, agent, words[cells + 1 : -1]))
    return found


@given(size=st.integers(3, 7), walls=st.sampled_from([0.0, 0.3, 0.9]), count=st.sampled_from([None, 1, 4]))
def test_mazes_are_solved_by_the_search_that_is_told(size: int, walls: float, count: int | None) -> None:
    task = MazeTask(size=size, walls=walls, mazes=count, test_examples=15)
    for name, split in check_sizes(task).items():
        read_back = mazes(task, split)
        if name == "train" and count is not None:
            assert len({(frozenset(free), goal) for free, goal, *_ in read_back}) <= count
        for free, goal, agent, answer in read_back:
            assert (size**2 - len(free)) % 2 == (name == "test")
            away = distances(free, goal)
            steps = {
                (row, column): next(
                    step for step, (down, right) in STEPS.items()
                    if away.get((row + down, column + right), FAR) < away[row, column]
                )
                for row, column in away if (row, column) != goal
            }  # fmt: skip
            expected = []
            for this in range(1, away[agent] + 1):
                for cell in sorted(cell for cell in away if away[cell] == this):
                    expected += ["{},{}".format(*cell), steps[cell]]
                expected.append(";")
            assert answer == [*expected, steps[agent]]
    other = dataclasses.replace(task, answer="action")
    for one, also in zip(mazes(task, task.table(0)["test"]), mazes(other, other.table(0)["test"]), strict=True):
        assert one[:3] == also[:3]
        assert [one[3][-1]] == also[3]


def test_mazes_are_random_as_they_say() -> None:
    task = MazeTask(size=4, mazes=5, test_examples=4000)
    train, test = (mazes(task, task.table(0)[name]) for name in ("train", "test"))
    counts = Counter((frozenset(free), goal) for free, goal, *_ in train)
    assert len(counts) == 5
    assert all(count == pytest.approx(800, abs=110) for count in counts.values())
    (free, goal), count = counts.most_common(1)[0]
    agents = Counter(agent for each, other, agent, _ in train if (each, other) == (free, goal))
    assert agents.keys() == distances(set(free), goal).keys() - {goal}
    assert all(
        each == pytest.approx(count / len(agents), abs=5 * (count / len(agents)) ** 0.5) for each in agents.values()
    )
    # Of the cells of the bottom row that are neither goal nor agent, 0.3 are walls; goals are everywhere.
    goals = Counter(goal for _, goal, _, _ in test)
    assert all(goals[divmod(cell, 4)] == pytest.approx(250, abs=75) for cell in range(16))
    walls = sum((3, column) not in free for free, goal, *_ in test if goal[0] < 2 for column in range(4))
    assert walls / sum(4 for _, goal, *_ in test if goal[0] < 2) == pytest.approx(0.3, abs=0.03)
    other = dataclasses.replace(task, maze_seed=1)
    assert not counts.keys() & {(frozenset(free), goal) for free, goal, *_ in mazes(task, other.table(0)["train"])}


@pytest.mark.parametrize(
    "task", [GraphSearchTask(algorithm="bellman-ford", nodes=(3, 5)), MazeTask(), MazeTask(mazes=3)]
)
def test_rows_of_words_make_examples_alone(task: GraphSearchTask | MazeTask) -> None:
    words = words_of(task, "train", 12)
    whole, part = task.examples(words, np), task.examples(words[5:7], np)
    np.testing.assert_array_equal(whole.inputs[5:7], part.inputs)
    np.testing.assert_array_equal(whole.targets[5:7], part.targets)
