"""The tasks on strings of Neural Networks and the Chomsky Hierarchy (arXiv 2207.02098), as rules.

Shape letters: N examples, W random words, P places of a prompt, A of an answer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from jaxgen.tasks.base import Array
from jaxgen.tasks.strings.lengths import Question, taken, while_loop


class Rule(NamedTuple):
    """The rule of one task: how it makes questions and answers."""

    symbols: tuple[str, ...]
    # Makes questions from words (N, W) and lengths (N,), none above `longest`: question(words, length, longest, xp).
    question: Callable[[Array, Array, int, Any], Question]
    choices: int  # the average number of choices per position of the prompt, roughly
    # The published number of outputs of an input length, of an int or of (N,) int32.
    outputs: Callable[[Any], Any]
    # Whether the answer's length varies and a termination token, the `<end>`, is among the outputs.
    terminated: bool = False
    words: Callable[[int], int] = lambda longest: longest + 2


def places(longest: int, xp: Any) -> Array:
    """Returns the positions (1, P) of a prompt."""
    return xp.arange(longest, dtype=xp.int32)[None]


def inside(length_N: Array, longest: int, xp: Any) -> Array:
    """Returns whether each position (N, P) is within the length."""
    return places(longest, xp) < length_N[:, None]


def drawn(words_NW: Array, longest: int, count: int, xp: Any) -> Array:
    """Returns numbers (N, P) int32, uniform below `count`, from the first words."""
    return (words_NW[:, :longest] % count).astype(xp.int32)


def below(word_N: Array, count_N: Array, xp: Any) -> Array:
    """Returns numbers (N,) int32, each uniform below its count."""
    return (word_N % count_N.astype(xp.uint32)).astype(xp.int32)


def answered(prompt_NP: Array, length_N: Array, answer_N: Array, xp: Any) -> Question:
    """Returns questions whose answer is one symbol (N,)."""
    return Question(prompt_NP, length_N, answer_N[:, None].astype(xp.int32), xp.ones_like(length_N))


def _even_pairs(words_NW: Array, length_N: Array, longest: int, xp: Any) -> Question:
    """0 if 01 and 10 together occur an even number of times, that is, if the ends are equal."""
    bits_NP = drawn(words_NW, longest, 2, xp)
    last_N = taken(bits_NP, length_N[:, None] - 1, xp)[:, 0]
    return answered(bits_NP, length_N, bits_NP[:, 0] != last_N, xp)


def _parity_check(words_NW: Array, length_N: Array, longest: int, xp: Any) -> Question:
    """The parity of the number of 1s."""
    bits_NP = drawn(words_NW, longest, 2, xp)
    ones_N = xp.sum(xp.where(inside(length_N, longest, xp), bits_NP, 0), axis=1, dtype=xp.int32)
    return answered(bits_NP, length_N, ones_N % 2, xp)


def _cycle_navigation(words_NW: Array, length_N: Array, longest: int, xp: Any) -> Question:
    """The end of a walk from 0 on a cycle of 5, with steps left, none and right."""
    steps_NP = drawn(words_NW, longest, 3, xp)
    walk_N = xp.sum(xp.where(inside(length_N, longest, xp), steps_NP - 1, 0), axis=1, dtype=xp.int32)
    return answered(steps_NP + 5, length_N, walk_N % 5, xp)


def _reverse_string(words_NW: Array, length_N: Array, longest: int, xp: Any) -> Question:
    bits_NP = drawn(words_NW, longest, 2, xp)
    return Question(bits_NP, length_N, taken(bits_NP, length_N[:, None] - 1 - places(longest, xp), xp), length_N)


def _duplicate_string(words_NW: Array, length_N: Array, longest: int, xp: Any) -> Question:
    bits_NP = drawn(words_NW, longest, 2, xp)
    return Question(bits_NP, length_N, taken(bits_NP, places(2 * longest, xp) % length_N[:, None], xp), 2 * length_N)


def _missing_duplicate_string(words_NW: Array, length_N: Array, longest: int, xp: Any) -> Question:
    """A string twice, with a hole at the position of the target; an odd length ends with a blank.

    For length 1 there is no such string; the prompt and the answer are 1.
    """
    hole, blank = 2, 3
    half_N = xp.maximum(length_N // 2, 1)
    bits_NP = taken(drawn(words_NW, longest, 2, xp), places(longest, xp) % half_N[:, None], xp)
    asked_N1 = below(words_NW[:, -1], 2 * half_N, xp)[:, None]
    prompt_NP = xp.where(places(longest, xp) == asked_N1, hole, bits_NP)
    prompt_NP = xp.where(places(longest, xp) == 2 * half_N[:, None], blank, prompt_NP)
    shortest_N = length_N == 1
    answer_N = xp.where(shortest_N, 1, taken(bits_NP, asked_N1, xp)[:, 0])
    return answered(xp.where(shortest_N[:, None], 1, prompt_NP), length_N, answer_N, xp)


def _odds_first(words_NW: Array, length_N: Array, longest: int, xp: Any, *, second_first: bool = True) -> Question:
    bits_NP = drawn(words_NW, longest, 2, xp)
    early = 1 if second_first else 0
    count_N1 = (length_N[:, None] + 1 - early) // 2
    place_1P = places(longest, xp)
    origin_NP = xp.where(place_1P < count_N1, 2 * place_1P + early, 2 * (place_1P - count_N1) + 1 - early)
    return Question(bits_NP, length_N, taken(bits_NP, origin_NP, xp), length_N)


def odds_first_as_told(words_NW: Array, length_N: Array, longest: int, xp: Any) -> Question:
    """The symbols at odd positions (first, third, ...), then the others, as the paper describes the task."""
    return _odds_first(words_NW, length_N, longest, xp, second_first=False)


def _bucket_sort(words_NW: Array, length_N: Array, longest: int, xp: Any) -> Question:
    """The symbols in ascending order. They are few, so counting is faster than sorting."""
    symbols_NP = drawn(words_NW, longest, 5, xp)
    symbol_151 = xp.arange(5, dtype=xp.int32)[None, :, None]
    up_to_N5P = (symbols_NP[:, None] <= symbol_151) & inside(length_N, longest, xp)[:, None]
    count_N5 = xp.sum(up_to_N5P, axis=2, dtype=xp.int32)
    answer_NP = xp.sum(count_N5[:, :, None] <= places(longest, xp)[:, None], axis=1, dtype=xp.int32)
    return Question(symbols_NP, length_N, answer_NP, length_N)


def _stack_manipulation(words_NW: Array, length_N: Array, longest: int, xp: Any) -> Question:
    """A stack from its bottom, then operations on it. The answer is the stack from its top. Popping an empty stack does
    nothing.

    The initial stack has 1 to length - 1 symbols; length 1 has only a symbol.
    """
    pop, push = 2, 3  # push 0 is 3, push 1 is 4
    height_N1 = 1 + below(words_NW[:, -1], xp.maximum(length_N - 1, 1), xp)[:, None]
    place_1P = places(longest, xp)
    bits_NP, actions_NP = drawn(words_NW, longest, 2, xp), pop + drawn(words_NW, longest, 3, xp)
    prompt_NP = xp.where(place_1P < height_N1, bits_NP, actions_NP)
    active_NP = (place_1P >= height_N1) & inside(length_N, longest, xp)

    def act(state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        step, stack_NP, height_N1 = state
        now_N1 = xp.zeros_like(height_N1) + step
        action_N1 = xp.where(taken(active_NP, now_N1, xp), taken(prompt_NP, now_N1, xp), 0)
        stack_NP = xp.where((place_1P == height_N1) & (action_N1 >= push), action_N1 - push, stack_NP)
        lower_N1 = xp.where(action_N1 == pop, xp.maximum(height_N1 - 1, 0), height_N1)
        return step + xp.int32(1), stack_NP, xp.where(action_N1 >= push, height_N1 + 1, lower_N1)

    state = (xp.int32(1), bits_NP, height_N1)
    _, stack_NP, height_N1 = while_loop(lambda state: state[0] < longest, act, state, xp)
    return Question(prompt_NP, length_N, taken(stack_NP, height_N1 - 1 - place_1P, xp), height_N1[:, 0])


def one_output(length: Any) -> Any:
    """Returns 1 for every length."""
    return length * 0 + 1


def _same(length: Any) -> Any:
    return length


_BITS = ("0", "1")

STRING_RULES = {
    "even_pairs": Rule(_BITS, _even_pairs, 2, one_output),
    "parity_check": Rule(_BITS, _parity_check, 2, one_output),
    "cycle_navigation": Rule((*"01234", "left", "stay", "right"), _cycle_navigation, 3, one_output),
    "stack_manipulation": Rule(
        (*_BITS, "pop", "push0", "push1"), _stack_manipulation, 2, lambda length: length + 1, terminated=True
    ),
    "reverse_string": Rule(_BITS, _reverse_string, 2, _same),
    "duplicate_string": Rule(_BITS, _duplicate_string, 2, lambda length: 2 * length),
    "missing_duplicate_string": Rule((*_BITS, "?", "_"), _missing_duplicate_string, 2, one_output),
    "odds_first": Rule(_BITS, _odds_first, 2, _same),
    "bucket_sort": Rule(tuple("01234"), _bucket_sort, 5, _same),
}
