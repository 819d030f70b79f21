"""k-coverage (Chang et al., The Coverage Principle, arXiv 2505.20278): which test examples follow from the training
examples by exchanging parts that behaved alike.

Shape letters: N training examples, M test examples, X inputs, F different fragments, C different contexts,
G edges.
"""

from __future__ import annotations

import itertools

import numpy as np

_NONE = -1  # no training example shows this fragment in this context


def coverage_cutoffs(
    train_NX: np.ndarray,
    answer_N: np.ndarray,
    test_MX: np.ndarray,
    answer_M: np.ndarray,
    *,
    most: int = 20,
    fragments: tuple[tuple[int, ...], ...] | None = None,
) -> np.ndarray:
    """Returns for each test example the largest k up to `most` for which it is k-covered; 0 if there is none.

    A fragment is the values at some positions of an example; its context is the values at the other positions. Two
    fragments at the same positions are equivalent if training examples show both in at least k contexts, with the same
    answer in each shared context. Equivalence is then closed under transitivity. Two examples, from training or test,
    are joined if they differ only in equivalent fragments and have the same answer. A test example is covered if a
    chain of such joins leads to a training example.

    This uses the answers of test examples, so it may only serve analysis, never training.

    Args:
      train_NX: whole numbers, all examples different.
      answer_N: whole numbers from 0.
      test_MX: whole numbers, all examples different.
      answer_M: whole numbers from 0.
      most: the largest k to try.
      fragments: the positions of each kind of fragment; None: every proper, non-empty subset of the positions. Each
        kind takes memory for F**2 numbers, with F the number of different fragments in training.
    """
    both = np.concatenate([train_NX, test_MX])
    answers = np.concatenate([answer_N, answer_M])
    trains = np.arange(len(both)) < len(train_NX)
    if fragments is None:
        places = range(both.shape[1])
        fragments = tuple(itertools.chain.from_iterable(itertools.combinations(places, n) for n in places if n))
    kinds = [_Fragments(both, answers, trains, kind) for kind in fragments]
    cutoff = np.zeros(len(both), dtype=np.int64)
    for k in range(1, most + 1):
        joined = _components(len(both), [kind.joins(k) for kind in kinds])
        cutoff[np.isin(joined, joined[trains])] = k
    return cutoff[~trains]


class _Fragments:
    """The fragments at some positions, and how much pairs of them agree."""

    def __init__(self, both: np.ndarray, answers: np.ndarray, trains: np.ndarray, places: tuple[int, ...]) -> None:
        others = [place for place in range(both.shape[1]) if place not in places]
        # Fragments of training examples are numbered first.
        self.fragment = _numbered(both[:, list(places)], trains)
        self.context = _numbered(both[:, others], trains)
        self.answers = answers
        count = self.fragment[trains].max() + 1
        answer_FC = np.full((count, self.context[trains].max() + 1), _NONE)
        answer_FC[self.fragment[trains], self.context[trains]] = answers[trains]
        agree_FF = np.zeros((count, count), dtype=np.int32)
        clash_FF = np.zeros((count, count), dtype=bool)
        for answer_F in answer_FC.T:
            shown = np.flatnonzero(answer_F != _NONE)
            same = answer_F[shown, None] == answer_F[None, shown]
            square = np.ix_(shown, shown)
            agree_FF[square] += same
            clash_FF[square] |= ~same
        agree_FF[clash_FF] = 0
        self.one_G, self.other_G = np.nonzero(np.triu(agree_FF, k=1))
        self.agree_G = agree_FF[self.one_G, self.other_G]

    def joins(self, k: int) -> np.ndarray:
        """Returns (N + M,) numbers: examples with the same number differ only in equivalent fragments."""
        enough = self.agree_G >= k
        edges = np.stack([self.one_G[enough], self.other_G[enough]])
        classes = _labels(self.fragment.max() + 1, edges)
        return _numbered(np.stack([classes[self.fragment], self.context, self.answers], axis=1))


def _numbered(rows: np.ndarray, first: np.ndarray | None = None) -> np.ndarray:
    """Numbers the distinct rows, those marked `first` before the others, and returns the number of each row."""
    _, number = np.unique(rows, axis=0, return_inverse=True)
    number = number.reshape(-1)
    if first is not None:
        late = np.ones(int(np.max(number)) + 1, dtype=bool)
        late[number[first]] = False
        number = np.argsort(np.argsort(late, kind="stable"), kind="stable")[number]
    return number


def _components(count: int, groupings: list[np.ndarray]) -> np.ndarray:
    """Returns (count,) numbers, equal if a chain of shared groups connects two members."""
    edges, nodes = [], count
    for group in groupings:
        edges.append(np.stack([np.arange(count), nodes + group]))
        nodes += group.max() + 1
    return _labels(nodes, np.concatenate(edges, axis=1))[:count]


def _labels(nodes: int, edge_2G: np.ndarray) -> np.ndarray:
    """Returns (nodes,): the smallest node in each node's connected component."""
    label = np.arange(nodes)
    while True:
        low_G = label[edge_2G].min(axis=0)
        lower = label.copy()
        for end_G in edge_2G:
            np.minimum.at(lower, label[end_G], low_G)
        while not np.array_equal(lower, lower[lower]):
            lower = lower[lower]
        if np.array_equal(lower, label):
            return label
        label = lower
