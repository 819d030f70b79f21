"""Pointers of complexity-ood: each question is followed by hand."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.errors import UserError
from jaxgen.experiments.complexity_ood.parts import PointersTask
from jaxgen.tasks.base import IGNORED

BY_HOPS = {"axis": "hops", "pairs": 9, "max_length": 3, "test_lengths": (5, 7)}
BY_PAIRS = {"axis": "pairs", "hops": 3, "min_length": 4, "max_length": 6, "test_lengths": (9,)}
COMMON = {"symbols_in_use": 12, "most_hops": 7, "test_examples": 200}


@pytest.mark.parametrize("trace", [False, True])
@pytest.mark.parametrize("axis", [BY_HOPS, BY_PAIRS], ids=lambda axis: axis["axis"])
def test_the_answer_is_where_the_hops_lead(axis: dict, trace: bool) -> None:
    task = PointersTask(**COMMON, **axis, trace=trace)
    names = task.token_names()
    seen: dict[str, set[tuple[int, int]]] = {}
    starts = set()
    for split, of in task.table(2).items():
        for inputs, targets in zip(of.inputs, of.targets, strict=True):
            sequence = [names[token] for token in inputs]
            prompt = sequence[1 : sequence.index(">")]
            pairs, field, start = prompt[: -COMMON["most_hops"] - 1], prompt[-COMMON["most_hops"] - 1 : -1], prompt[-1]
            after = dict(zip(pairs[::2], pairs[1::2], strict=True))
            assert len(after) == len(pairs) // 2
            hops = field.count("*")
            assert field == ["*"] * hops + ["."] * (len(field) - hops)
            way = [start]
            for _ in range(len(after)):
                way.append(after[way[-1]])
            assert len(set(way)) == len(after)  # one cycle
            expected = way[1 : hops + 1] if trace else [way[hops]]
            assert [names[token] for token in targets if token != IGNORED] == [*expected, "<end>"]
            seen.setdefault(split, set()).add((len(after), hops))
            starts.add(pairs[::2].index(start))
    if axis is BY_HOPS:
        assert seen == {"train": {(9, 1), (9, 2), (9, 3)}, "length_5": {(9, 5)}, "length_7": {(9, 7)}}
    else:
        trained = {(pairs, hops) for pairs in (4, 5, 6) for hops in (1, 2, 3)}
        assert seen == {"train": trained, "length_9": {(9, hops) for hops in (1, 2, 3)}}
    assert starts == set(range(9))


@pytest.mark.parametrize("trace", [False, True])
@pytest.mark.parametrize("axis", [BY_HOPS, BY_PAIRS], ids=lambda axis: axis["axis"])
def test_a_compiled_program_makes_the_same_questions(axis: dict, trace: bool) -> None:
    task = PointersTask(**COMMON, **axis, trace=trace)
    words = np.random.default_rng(0).integers(0, 2**32, (20, task.stream_words()), dtype=np.uint32)
    compiled = jax.jit(lambda words: task.examples(words, jnp))(words)
    for one, other in zip(compiled, task.examples(words, np), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"symbols_in_use": 8}, r"task\.symbols_in_use: got 8, expected at least 9, as many as pairs"),
        ({"most_hops": 6}, r"task\.most_hops: got 6, expected at least 7, the hops of a question"),
        ({"pairs": 7}, r"got 7 hops in a list of 7 pairs, expected fewer: they would return"),
    ],
)
def test_hops_that_cannot_be_asked_are_refused(changes: dict, says: str) -> None:
    with pytest.raises(UserError, match=says):
        PointersTask(**COMMON | BY_HOPS | changes)
