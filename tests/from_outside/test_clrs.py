"""Random graphs as CLRS draws them (github.com/google-deepmind/clrs, _src/samplers.py and examples/run.py)."""

import numpy as np
import pytest

from jaxgen.tasks.graphs.graph_search import GraphSearchTask

pytestmark = pytest.mark.report("https://github.com/google-deepmind/clrs")

PAIRS = 16 * 15  # of nodes, in both directions


def edges(task: GraphSearchTask, split: str) -> np.ndarray:
    """Returns how many edges each graph tells."""
    inputs = task.table(0)[split].inputs
    told = np.argmax(inputs == task.token_names().index("<sep>"), axis=1) - (0 if task.algorithm == "dfs" else 2)
    return told / (3 if task.algorithm == "bellman-ford" else 2)


@pytest.mark.parametrize(
    ("algorithm", "pairs", "density"),
    # Where edges have no direction, the matrix is multiplied by its transpose: 0.5 becomes 0.25.
    [("bfs", PAIRS / 2, 0.25), ("bellman-ford", PAIRS / 2, 0.25), ("dfs", PAIRS, 0.5)],
)
def test_tested_graphs_have_the_published_density(algorithm: str, pairs: float, density: float) -> None:
    task = GraphSearchTask(algorithm=algorithm, nodes=(16,), test_examples=400)  # type: ignore[arg-type]
    assert edges(task, "nodes_16").mean() / pairs == pytest.approx(density, abs=0.01)


@pytest.mark.parametrize(("algorithm", "pairs", "power"), [("bfs", PAIRS / 2, 2), ("dfs", PAIRS, 1)])
def test_training_graphs_draw_their_probability_from_a_tenth_to_nine(algorithm: str, pairs: float, power: int) -> None:
    task = GraphSearchTask(algorithm=algorithm, nodes=(16,), test_examples=2000)  # type: ignore[arg-type]
    expected = (np.arange(1, 10) / 10) ** power
    found = edges(task, "train") / pairs
    assert found.mean() == pytest.approx(expected.mean(), abs=0.025)
    nearest = np.bincount(np.argmin(abs(found[:, None] - expected), axis=1), minlength=9) / len(found)
    np.testing.assert_allclose(nearest, 1 / 9, atol=0.04)
