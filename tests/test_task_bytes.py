"""The bytes of tables, so that no generator changes unnoticed: runs of old identities saw other examples."""

import hashlib

import numpy as np
import pytest

from jaxgen.tasks import (
    BlocksworldTask,
    ComparisonTask,
    ComplexReasoningTask,
    CreativeWalkTask,
    GraphSearchTask,
    HopTask,
    LocalObservationTask,
    MazeTask,
    OutOfContextTask,
    SatisfiabilityTask,
    Task,
    TransitivityTask,
)

# Where one of these fails on purpose, raise `version` of the task.
DIGESTS: dict[str, tuple[Task, str]] = {
    "comparison": (ComparisonTask(entities=20, attributes=3, values=4, phi=2.5), "040929a682b602e5"),
    "complex reasoning": (
        ComplexReasoningTask(
            entities=40, attributes=4, values=6, ood_fraction=0.4, trained_fraction=0.1, hard=3, probes=50
        ),
        "81ba63247954d054",
    ),
    "2-hop": (HopTask(tokens=10, train_examples=100, test_examples=20, bridges="shown"), "7e78517818b8f247"),
    "non-tree": (HopTask(structure="non-tree", tokens=8, train_examples=100, test_examples=20), "41f775ff90d91e30"),
    "satisfiability": (
        SatisfiabilityTask(variables=5, clauses=(9, 20), other_variables=(7,), test_examples=20),
        "c9f3c7191370d50b",
    ),
    "transitivity": (TransitivityTask(longer=(7,), branching=(5,), test_examples=20), "c637855d38c31332"),
    "bfs": (GraphSearchTask(algorithm="bfs", test_examples=20), "b2cbb2be0473c2b9"),
    "dfs": (GraphSearchTask(algorithm="dfs", test_examples=20), "77123502915e37ef"),
    "bellman-ford": (GraphSearchTask(algorithm="bellman-ford", nodes=(5, 7), test_examples=20), "3184effde83b0d75"),
    "maze": (MazeTask(size=5, mazes=3, test_examples=20), "4bb94b425e2ea79c"),
    "blocksworld": (BlocksworldTask(initial="stacks", states=True, test_examples=20), "c3dc1f630eda2d9f"),
    "out of context": (OutOfContextTask(test_examples=20), "ba54907ba7b5a39d"),
    "local observations": (
        LocalObservationTask(variables=9, edges=9, held_out=3, test_examples=20),
        "5bc9a7f0b5b81339",
    ),
    "creative walks": (CreativeWalkTask(test_examples=20), "1bd7436e0d9817a8"),
}


@pytest.mark.parametrize("name", DIGESTS)
def test_the_bytes_of_a_table(name: str) -> None:
    task, digest = DIGESTS[name]
    content = b"".join(
        np.ascontiguousarray(part.astype("<i4")).tobytes() for split in task.table(seed=5).values() for part in split
    )
    assert hashlib.sha256(content).hexdigest()[:16] == digest
