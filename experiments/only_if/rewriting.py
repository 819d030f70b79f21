"""Rules, inputs and outputs of `RewriteTask`.

Shape letters: N examples, R rules, P letters of a pattern, L letters of an input, T tokens.
"""

from __future__ import annotations

import numpy as np

from jaxgen.errors import UserError
from jaxgen.tasks.base import Split, next_tokens, random_uniforms

from .parts import RESTRICTED, RewriteTask

# The key of each random draw is (seed of the data and of the run, stream); each use takes the next stream.
_SEEDS = 1 << 32


class _Draws:
    """Uniform numbers, those of each call from a stream of its own."""

    def __init__(self, task: RewriteTask, seed: int) -> None:
        self.seed, self.next = task.data_seed, seed * _SEEDS

    def uniforms(self, *shape: int) -> np.ndarray:
        self.next += 1
        return random_uniforms(shape, seed=self.seed, stream=self.next)

    def below(self, count: int, *shape: int) -> np.ndarray:
        return (self.uniforms(*shape) * count).astype(np.int32)


def table(task: RewriteTask, seed: int) -> dict[str, Split]:
    """Returns the examples of every split."""
    draws = _Draws(task, seed)
    trained_R2P = _rules(task, draws, task.rules, task.degrees, None)
    count = min(task.test_examples, 100_000)
    unseen_R2P = _rules(task, draws, count, task.unseen_degrees, trained_R2P)
    number_N = _numbers(task, draws, task.train_examples)
    train = _examples(task, draws, trained_R2P[number_N], task.no_op)
    order_N = np.argsort(draws.uniforms(task.train_examples))[: task.test_examples]
    if len(order_N) < task.test_examples:
        order_N = np.resize(order_N, task.test_examples)
    splits = {
        "train": train,
        "trained": Split(*(column[order_N] for column in train)),
        "seen": _examples(task, draws, trained_R2P[_numbers(task, draws, task.test_examples)], task.no_op),
        "unseen": _examples(
            task, draws, np.resize(unseen_R2P, (task.test_examples, *unseen_R2P.shape[1:])), task.no_op
        ),
    }
    if task.no_op:
        for name, share in (("has_op", 0.0), ("no_op", 1.0)):
            splits[name] = _examples(task, draws, unseen_R2P, share)
    return splits


def _numbers(task: RewriteTask, draws: _Draws, count: int) -> np.ndarray:
    """Returns (N,) int64: the rule of each example."""
    if task.exponent is None:
        return np.arange(count) % task.rules
    return np.minimum(task.rules * draws.uniforms(count) ** (1 / task.exponent), task.rules - 1).astype(np.int64)


def _rules(
    task: RewriteTask, draws: _Draws, count: int, degrees: tuple[int, int], others_R2P: np.ndarray | None
) -> np.ndarray:
    """Returns (R, 2, P) int32: the x and y of different rules, none of them an x or y of `others_R2P`."""
    taken: set[bytes] = (
        set() if others_R2P is None else {each.tobytes() for each in others_R2P.reshape(-1, task.pattern)}
    )
    found: dict[bytes, np.ndarray] = {}
    for _ in range(100):
        drawn_N2P = _patterns(task, draws, 2 * count + 100, degrees)
        for rule_2P in drawn_N2P:
            x, y = (each.tobytes() for each in rule_2P)
            if x != y and x not in taken and y not in taken and len(found) < count:
                found.setdefault(x + y, rule_2P)
        if len(found) == count:
            return np.stack(list(found.values()))
    raise UserError(
        f"task.rules: got {task.rules} beside {task.test_examples} unseen ones, expected fewer: there are too few "
        f"patterns of {task.pattern} letters that no other rule has"
    )


def _patterns(task: RewriteTask, draws: _Draws, count: int, degrees: tuple[int, int]) -> np.ndarray:
    """Returns (N, 2, P) int32: pairs of patterns; both of a pair have one meaning and one degree."""
    letters_N2P = draws.below(task.alphabet, count, 2, task.pattern)
    degree_N = degrees[0] + draws.below(degrees[1] - degrees[0] + 1, count)
    kind_N = draws.below(len(RESTRICTED), count)
    if task.meaning != "restricted":
        kind_N[:] = RESTRICTED.index(task.meaning) if task.meaning in RESTRICTED else -1
    place_P = np.arange(task.pattern)
    period_N1 = -(-task.pattern // degree_N)[:, None]  # letters of a word, of which there are k
    within_NP, turn_NP = place_P % period_N1, place_P // period_N1
    from_NP = np.select(
        [kind_N[:, None] == 0, kind_N[:, None] == 1, kind_N[:, None] == 2],
        [
            place_P // degree_N[:, None],
            within_NP,
            np.where(turn_NP % 2 == 0, within_NP, period_N1 - 1 - within_NP),
        ],
        np.broadcast_to(place_P, (count, task.pattern)),
    )
    return np.take_along_axis(letters_N2P, from_NP[:, None].repeat(2, axis=1), axis=2)


def _examples(task: RewriteTask, draws: _Draws, rule_N2P: np.ndarray, no_op: float) -> Split:
    """Returns an example of each rule; with the probability `no_op` its x does not occur in the input."""
    count, length, pattern = len(rule_N2P), task.length, task.pattern
    x_NP, y_NP = rule_N2P[:, 0], rule_N2P[:, 1]
    idle_N = draws.uniforms(count) < no_op
    z_NL = draws.below(task.alphabet, count, length)
    put_NP = draws.below(length - pattern + 1, count)[:, None] + np.arange(pattern)
    busy = np.flatnonzero(~idle_N)
    z_NL[busy[:, None], put_NP[busy]] = x_NP[busy]
    for _ in range(1000):
        wrong = np.flatnonzero(idle_N & (_leftmost(z_NL, x_NP) >= 0))
        if not len(wrong):
            break
        z_NL[wrong] = draws.below(task.alphabet, len(wrong), length)
    else:
        raise UserError("task.no_op: got inputs in which x almost always occurs, expected a longer pattern")
    at_N = _leftmost(z_NL, x_NP)
    w_NL = z_NL.copy()
    found = np.flatnonzero(at_N >= 0)
    w_NL[found[:, None], at_N[found][:, None] + np.arange(pattern)] = y_NP[found]
    signs_N3 = np.broadcast_to(np.arange(task.alphabet, task.alphabet + 3, dtype=np.int32), (count, 3))
    tokens_NT = np.concatenate([x_NP, signs_N3[:, :1], y_NP, signs_N3[:, 1:2], z_NL, signs_N3[:, 2:], w_NL], axis=1)
    first = 2 * pattern + length + 2  # the position of the `=`
    asked_NT = np.broadcast_to(np.arange(tokens_NT.shape[1]) > first, tokens_NT.shape)
    return next_tokens(tokens_NT.astype(np.int32), asked_NT, np, first=first)


def _leftmost(z_NL: np.ndarray, x_NP: np.ndarray) -> np.ndarray:
    """Returns (N,) int64: where x first occurs in z; -1 where it does not."""
    places = z_NL.shape[1] - x_NP.shape[1] + 1
    at_N = np.full(len(z_NL), -1)
    for place in reversed(range(places)):  # one place at a time: all windows at once would not fit into memory
        at_N[np.all(z_NL[:, place : place + x_NP.shape[1]] == x_NP, axis=1)] = place
    return at_N
