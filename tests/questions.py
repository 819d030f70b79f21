"""Reads sequences of questions and answers as people would, for the tests of tasks of many lengths."""

import hashlib

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import strategies as st

from jaxgen.tasks.base import IGNORED, Split
from jaxgen.tasks.strings.lengths import LengthTask


def words(task: LengthTask, rows: int, seed: int = 0) -> np.ndarray:
    """Returns words of which many are equal, or at an end of their range, beside uniform ones."""
    rng = np.random.default_rng(seed)
    uniform = rng.integers(2**32, size=(rows, task.stream_words()), dtype=np.uint32)
    few = rng.choice(np.array([0, 1, 2, 3, 2**31, 2**32 - 2, 2**32 - 1], np.uint32), size=uniform.shape)
    return np.where(rng.random((rows, 1)) < 0.3, few, uniform)


def drawn_words(task: LengthTask) -> st.SearchStrategy[np.ndarray]:
    return st.builds(lambda seed: words(task, 8, seed), st.integers(0, 2**32 - 1))


def read(task: LengthTask, inputs: list[int], targets: list[int]) -> tuple[list[str], list[str]]:
    """Returns the prompt and the answer of one sequence, having checked what is asked for."""
    names = task.token_names()
    tokens = [names[token] for token in inputs]
    told = [names[token] if token != IGNORED else None for token in targets]
    assert tokens[0] == "<start>"
    assert tokens.count(">") == 1
    arrow = tokens.index(">")
    assert told[:arrow] == [None] * arrow
    answer = told[arrow : told.index("<end>")]
    behind = arrow + len(answer) + 1
    assert tokens[arrow + 1 : behind] == answer
    assert told[behind:] == [None] * len(told[behind:])
    assert tokens[behind : behind + 1] in (["<end>"], [])
    assert set(tokens[behind + 1 :]) <= {"<pad>"}
    return tokens[1:arrow], [name for name in answer if name is not None]


def questions(task: LengthTask, split: Split) -> list[tuple[list[str], list[str]]]:
    assert split.inputs.dtype == split.targets.dtype == np.int32
    assert split.inputs.shape == split.targets.shape
    assert not split.corrupted.any()
    return [read(task, *row) for row in zip(split.inputs.tolist(), split.targets.tolist(), strict=True)]


def check_both_and_alone(task: LengthTask) -> Split:
    """Checks that numpy and jax agree in every bit and that a batch changes no row; returns the examples."""
    drawn = words(task, 40)
    here = task.examples(drawn, np)
    there = jax.jit(lambda drawn: task.examples(drawn, jnp))(drawn)
    alone = [task.examples(drawn[row : row + 1], np) for row in range(4)]
    for one, other, *rows in zip(here, there, *alone, strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)
        np.testing.assert_array_equal(one[:4], np.concatenate(rows))
    shape = task.shape()
    assert here.inputs.shape == (40, shape.length)
    assert here.targets.shape == (40, len(shape.readout))
    assert here.inputs.min() >= 0
    assert max(here.inputs.max(), here.targets.max()) < shape.vocabulary == len(task.token_names())
    return here


def check_table(task: LengthTask) -> dict[str, Split]:
    shape, table = task.shape(), task.table(3)
    assert {name: len(split.inputs) for name, split in table.items()} == dict(shape.sizes)
    lengths = dict(shape.lengths)
    assert shape.length not in lengths.values()
    for name, split in table.items():
        assert split.inputs.shape[1] == split.targets.shape[1] == lengths.get(name, shape.length)
    again, other = task.table(3), task.table(4)
    assert all(np.array_equal(again[name].inputs, table[name].inputs) for name in table)
    assert not np.array_equal(other["train"].inputs, table["train"].inputs)
    return table


def digest(task: LengthTask) -> str:
    """Returns a hash of what a task makes of fixed words, and of a table of its own."""
    table = task.table(5)
    parts = [task.examples(words(task, 50), np), *(table[name] for name in sorted(table))]
    content = b"".join(np.ascontiguousarray(part.astype("<i4")).tobytes() for split in parts for part in split)
    return hashlib.sha256(content).hexdigest()[:16]
