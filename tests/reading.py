"""Examples of token sequences, read back in words."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen.tasks.base import IGNORED, Split, Task
from jaxgen.tasks.sampled import SampledTask


def read(task: Task, name: str, split: Split) -> list[tuple[list[str], list[int]]]:
    """Returns for each example of a split its words without padding, and the places of those that are asked for.

    Checks dtypes and shapes, that what is asked for is what comes next, and that padding is at the end alone.
    """
    shape, names = task.shape(), task.token_names()
    assert len(set(names)) == len(names) == shape.vocabulary
    length = dict(shape.lengths).get(name, shape.length)
    readout = range(length) if shape.lengths else shape.readout
    inputs, targets = np.asarray(split.inputs), np.asarray(split.targets)
    assert inputs.dtype == targets.dtype == np.int32
    assert (inputs.shape[1], targets.shape[1]) == (length, len(readout))
    np.testing.assert_array_equal(targets, split.true_targets)
    assert not np.asarray(split.corrupted).any()
    found = []
    for tokens, told in zip(inputs.tolist(), targets.tolist(), strict=True):
        asked = [(place + 1, token) for place, token in zip(readout, told, strict=True) if token != IGNORED]
        if asked[-1][0] == length:
            tokens.append(asked[-1][1])
        assert all(tokens[place] == token for place, token in asked)
        words = [names[token] for token in tokens]
        if "<pad>" in words:
            words, padding = words[: words.index("<pad>")], words[words.index("<pad>") :]
            assert set(padding) == {"<pad>"}
        found.append((words, [place for place, _ in asked]))
    return found


def words_of(task: SampledTask, name: str, count: int, seed: int = 0) -> np.ndarray:
    """Returns random words (count, W) for examples of a split."""
    return np.random.default_rng(seed).integers(2**32, size=(count, task.words(name)), dtype=np.uint32)


def check_numpy_and_jax_agree(task: SampledTask, count: int = 64) -> None:
    """Checks that a compiled program makes the examples that numpy makes."""
    words = words_of(task, "train", count)
    there = jax.jit(lambda drawn: task.examples(drawn, jnp))(words)
    for one, other in zip(task.examples(words, np), there, strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)


def check_sizes(task: SampledTask, seed: int = 0) -> dict[str, Split]:
    """Checks that a table has the sizes it says and depends on the seed alone, and returns it."""
    table, again, other = task.table(seed), task.table(seed), task.table(seed + 1)
    assert {name: len(split.inputs) for name, split in table.items()} == dict(task.shape().sizes)
    assert all(np.array_equal(table[name].inputs, again[name].inputs) for name in table)
    assert not np.array_equal(table["train"].inputs, other["train"].inputs)
    return table
