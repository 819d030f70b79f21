"""Reads the sentences of a text task back from its tables, checking everything around them."""

import numpy as np

from jaxgen.tasks.base import IGNORED
from jaxgen.tasks.language.text import END, PAD, SEP, TextTask

Pair = tuple[list[str], list[str]]


def pairs(task: TextTask, *splits: str) -> dict[str, list[Pair]]:
    """Returns the (source, target) words of these splits, or of all, in order."""
    shape, names = task.shape(), task.token_names()
    assert len(set(names)) == len(names) == shape.vocabulary
    table = task.table(0)
    assert {name: len(split.inputs) for name, split in table.items()} == dict(shape.sizes)
    assert shape.readout == tuple(range(shape.readout[0], shape.length))
    assert set(dict(shape.lengths)) <= set(table) - {"train"}
    assert not (shape.lengths and shape.readout[0])
    read = {}
    for name in splits or table:
        split = table[name]
        length = dict(shape.lengths).get(name, shape.length)
        assert split.inputs.dtype == split.targets.dtype == np.int32
        assert split.inputs.shape[1] == length
        assert split.targets.shape[1] == length - shape.readout[0]
        assert split.true_targets is split.targets
        assert not split.corrupted.any()
        read[name] = _read(split.inputs, split.targets, shape.readout[0], names)
    return read


def _read(inputs: np.ndarray, targets: np.ndarray, first: int, names: tuple[str, ...]) -> list[Pair]:
    asked = targets != IGNORED
    start, count = np.argmax(inputs == SEP, axis=1), asked.sum(axis=1)
    place, after = np.arange(inputs.shape[1])[None], (start + count)[:, None]
    np.testing.assert_array_equal(asked, (place[:, first:] >= start[:, None]) & (place[:, first:] < after))
    # What follows is what was asked, the end last; then there is padding.
    follows = np.where(asked[:, :-1], targets[:, :-1], np.where(place[:, first + 1 :] > after, PAD, -9))
    np.testing.assert_array_equal(inputs[:, first + 1 :][follows != -9], follows[follows != -9])
    assert (inputs[place < start[:, None]] > END).all()
    rows = zip(inputs.tolist(), targets.tolist(), start.tolist(), count.tolist(), strict=True)
    read = []
    for row, told, at, n in rows:
        answer = told[at - first : at - first + n]
        assert answer[-1] == END
        read.append(([names[token] for token in row[:at]], [names[token] for token in answer[:-1]]))
        assert not {"<pad>", "<sep>", "<end>"} & set(read[-1][1])
    return read
