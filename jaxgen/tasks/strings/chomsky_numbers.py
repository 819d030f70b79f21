"""The tasks on numbers of Neural Networks and the Chomsky Hierarchy (arXiv 2207.02098), as rules.

Arithmetic is modulo 5 or of binary numbers of any length; everything is exact.

Shape letters: N examples, W random words, P places of a prompt, D binary digits, the lowest first.
"""

from __future__ import annotations

from typing import Any

from jaxgen.tasks.base import Array
from jaxgen.tasks.strings.arithmetic import carried, carries, product, shifted
from jaxgen.tasks.strings.chomsky_strings import Rule, answered, below, drawn, inside, one_output, places
from jaxgen.tasks.strings.lengths import Question, taken, while_loop

_MODULUS = 5


def _modular_arithmetic(words_NW: Array, length_N: Array, longest: int, xp: Any) -> Question:
    """The value of digits with + - * between them, products first. An even length is reduced by one."""
    plus, minus, times = 5, 6, 7
    length_N = length_N - (length_N + 1) % 2
    digits_NP, signs_NP = drawn(words_NW, longest, _MODULUS, xp), plus + drawn(words_NW, longest, 3, xp)
    prompt_NP = xp.where(places(longest, xp) % 2 == 0, digits_NP, signs_NP)
    # Beyond the end a plus and zeros change nothing.
    inside_NP = inside(length_N, longest, xp)
    read_NP = xp.where(inside_NP, prompt_NP, xp.where(places(longest, xp) % 2 == 0, 0, plus))

    def read(state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        place, sum_N, term_N = state
        now_N1 = xp.zeros_like(length_N[:, None]) + place
        sign_N, digit_N = taken(read_NP, now_N1, xp)[:, 0], taken(read_NP, now_N1 + 1, xp)[:, 0]
        sum_N = xp.where(sign_N == times, sum_N, sum_N + term_N) % _MODULUS
        new_N = xp.where(sign_N == minus, -digit_N, digit_N)
        return place + xp.int32(2), sum_N, xp.where(sign_N == times, term_N * digit_N, new_N) % _MODULUS

    state = (xp.int32(1), xp.zeros_like(length_N), read_NP[:, 0])
    _, sum_N, term_N = while_loop(lambda state: state[0] < longest - 1, read, state, xp)
    return answered(prompt_NP, length_N, (sum_N + term_N) % _MODULUS, xp)


def _expression(words_NP: Array, length_N: Array, signs: int, xp: Any) -> tuple[Array, Array]:
    """Returns expressions (N, P) of 1 to P tokens, and their values (N,): digits 0-4, + - * 5-7, brackets 8 and 9.

    With up to 4 tokens it is d, -d, (d) or (-d). With n tokens it is (l + r), with a sign among the first `signs`; l
    has a uniform 1 to n - 4 tokens, and both sides are made recursively. All expressions of one depth are made at once.
    """
    minus, opening, closing = 6, 8, 9
    longest = words_NP.shape[1]
    place_NP = places(longest, xp) + xp.zeros_like(length_N[:, None])
    digit_NP = (words_NP % _MODULUS).astype(xp.int32)
    sign_NP = 5 + (words_NP % signs).astype(xp.int32)

    def split(state: tuple[Array, ...]) -> tuple[Array, ...]:
        # Every position stores the start and the number of tokens of its expression.
        start_NP, size_NP, token_NP, left_NP = state
        within_NP = place_NP - start_NP
        spare_NP = xp.maximum(size_NP - 4, 1).astype(xp.uint32)
        parted_NP = 1 + (xp.take_along_axis(words_NP, start_NP, axis=1) % spare_NP).astype(xp.int32)
        large_NP = size_NP >= 5
        bracketed_NP = size_NP >= 3
        token = xp.where(large_NP & (within_NP == parted_NP + 1), sign_NP, -1)
        token = xp.where(
            ~large_NP, xp.where((size_NP % 2 == 0) & (within_NP == size_NP // 2 - 1), minus, digit_NP), token
        )
        token = xp.where(bracketed_NP & (within_NP == 0), opening, token)
        token = xp.where(bracketed_NP & (within_NP == size_NP - 1), closing, token)
        open_NP = token_NP < 0
        left_NP = xp.where(open_NP & large_NP & (within_NP == 0), parted_NP, left_NP)
        first_NP = within_NP <= parted_NP
        next_NP = start_NP + xp.where(first_NP, 1, parted_NP + 2)
        rest_NP = xp.where(first_NP, parted_NP, size_NP - 3 - parted_NP)
        deeper_NP = open_NP & (token < 0)
        return (
            xp.where(deeper_NP, next_NP, start_NP),
            xp.where(deeper_NP, rest_NP, size_NP),
            xp.where(open_NP, token, token_NP),
            left_NP,
        )

    token_NP = xp.where(inside(length_N, longest, xp), xp.int32(-1), 0)
    size_NP = length_N[:, None] + xp.zeros_like(place_NP)
    state = (xp.zeros_like(place_NP), size_NP, token_NP, xp.zeros_like(place_NP))
    start_NP, size_NP, token_NP, left_NP = while_loop(lambda state: xp.any(state[2] < 0), split, state, xp)

    # The value of an expression is written at its start once the values of both parts are known; -1: unknown.
    digit_NP = taken(token_NP, start_NP + size_NP // 2, xp)
    value_NP = xp.where(left_NP > 0, -1, xp.where(size_NP % 2 == 0, -digit_NP, digit_NP) % _MODULUS)
    right_NP = place_NP + 2 + left_NP
    sign_NP = taken(token_NP, right_NP - 1, xp)

    def reduce(value_NP: Array) -> Array:
        a_NP, b_NP = taken(value_NP, place_NP + 1, xp), taken(value_NP, right_NP, xp)
        result_NP = xp.where(sign_NP == 5, a_NP + b_NP, xp.where(sign_NP == 6, a_NP - b_NP, a_NP * b_NP)) % _MODULUS
        return xp.where((value_NP < 0) & (a_NP >= 0) & (b_NP >= 0), result_NP, value_NP)

    value_NP = while_loop(lambda value_NP: xp.any(value_NP[:, 0] < 0), reduce, value_NP, xp)
    return token_NP, value_NP[:, 0]


def _modular_arithmetic_brackets(words_NW: Array, length_N: Array, longest: int, xp: Any) -> Question:
    """The value of an expression with + - * in brackets."""
    token_NP, value_N = _expression(words_NW[:, :longest], length_N, 3, xp)
    return answered(token_NP, length_N, value_N, xp)


def _solve_equation(words_NW: Array, length_N: Array, longest: int, xp: Any) -> Question:
    """The digit that x stands for in `expression = value`, with + and - in brackets.

    x replaces the first digit at or after a uniform position, cyclically. Below length 3 there is no equation, and
    everything is 0.
    """
    unknown, equals = 10, 11
    size_N = xp.maximum(length_N - 2, 1)
    token_NP, value_N = _expression(words_NW[:, :longest], size_N, 2, xp)
    from_N1 = below(words_NW[:, -1], size_N, xp)[:, None]
    ahead_NP = (places(longest, xp) - from_N1) % size_N[:, None]
    ahead_NP = xp.where((token_NP < _MODULUS) & inside(size_N, longest, xp), ahead_NP, longest)
    asked_N1 = xp.argmin(ahead_NP, axis=1).astype(xp.int32)[:, None]
    behind_NP = places(longest, xp) - size_N[:, None]
    prompt_NP = xp.where(behind_NP == 0, equals, xp.where(behind_NP == 1, value_N[:, None], token_NP))
    prompt_NP = xp.where(places(longest, xp) == asked_N1, unknown, prompt_NP)
    short_N = length_N < 3
    answer_N = xp.where(short_N, 0, taken(token_NP, asked_N1, xp)[:, 0])
    return answered(xp.where(short_N[:, None], 0, prompt_NP), length_N, answer_N, xp)


def _binary(words_NW: Array, digits_N: Array, xp: Any) -> Array:
    """Returns numbers (N, W - 1), each uniform from 1 to the largest with its number of digits.

    If all drawn digits are 0, the last word draws them again, excluding 0. So every number stays equally likely, up to
    2^-32.
    """
    count = words_NW.shape[1] - 1
    bits_ND = xp.where(inside(digits_N, count, xp), (words_NW[:, :-1] % 2).astype(xp.int32), 0)
    few_N = xp.minimum(digits_N, 31).astype(xp.uint32)
    again_N = 1 + words_NW[:, -1] % xp.maximum((xp.uint32(1) << few_N) - 1, 1)
    place_1D = xp.minimum(places(count, xp), 31).astype(xp.uint32)
    again_ND = ((again_N[:, None] >> place_1D) % 2).astype(xp.int32)
    return xp.where(xp.any(bits_ND > 0, axis=1, keepdims=True), bits_ND, again_ND)


def _two_numbers(words_NW: Array, length_N: Array, longest: int, xp: Any) -> tuple[Array, Array, Array]:
    """Returns `first sign second` (N, P), with the lowest digits first, and both numbers (N, D).

    The first has a uniform 1 to length - 2 digits, and both are uniform and not 0. Below length 3 there is one number
    without a sign, uniform except the largest.
    """
    sign = 2
    two_N = length_N >= 3
    first_N = xp.where(two_N, 1 + below(words_NW[:, 0], xp.maximum(length_N - 2, 1), xp), length_N)
    second_N = xp.where(two_N, length_N - 1 - first_N, 0)
    a_ND = _binary(words_NW[:, 1 : longest + 2], first_N, xp)
    b_ND = _binary(words_NW[:, longest + 2 :], second_N, xp)
    alone_N = below(words_NW[:, 1], xp.where(length_N == 1, 1, 3), xp)
    alone_ND = xp.where(places(longest, xp) == 0, alone_N[:, None] % 2, alone_N[:, None] // 2)
    alone_ND = xp.where(places(longest, xp) < 2, alone_ND, 0)
    a_ND = xp.where(two_N[:, None], a_ND, alone_ND)
    b_ND = xp.where(two_N[:, None], b_ND, 0)
    behind_NP = places(longest, xp) - first_N[:, None]
    prompt_NP = xp.where(behind_NP < 0, a_ND, xp.where(behind_NP == 0, sign, taken(b_ND, behind_NP - 1, xp)))
    return prompt_NP, a_ND, b_ND


def _digits(number_ND: Array, xp: Any) -> Array:
    """Returns the number of digits (N,) of a number without leading zeros; 1 for 0."""
    place_1D = places(number_ND.shape[1], xp)
    return 1 + xp.max(xp.where(number_ND > 0, place_1D, 0), axis=1)


def _binary_addition(words_NW: Array, length_N: Array, longest: int, xp: Any) -> Question:
    prompt_NP, a_ND, b_ND = _two_numbers(words_NW, length_N, longest, xp)
    sum_ND = carried(a_ND + b_ND, 2, 2, xp)
    return Question(prompt_NP, length_N, sum_ND, _digits(sum_ND, xp))


def _binary_multiplication(words_NW: Array, length_N: Array, longest: int, xp: Any) -> Question:
    """A product; below length 3 the published answer is 0 in length - 1 digits."""
    prompt_NP, a_ND, b_ND = _two_numbers(words_NW, length_N, longest, xp)
    product_ND = product(a_ND, b_ND, 2, xp)
    digits_N = xp.where(length_N >= 3, _digits(product_ND, xp), length_N - 1)
    return Question(prompt_NP, length_N, product_ND, digits_N)


def _compute_sqrt(words_NW: Array, length_N: Array, longest: int, xp: Any) -> Question:
    """The integer part of a number's square root, both with the highest digit first; the number is uniform and not
    0."""
    half = (longest + 1) // 2
    number_ND = _binary(words_NW[:, : longest + 1], length_N, xp)
    padded_ND = xp.concatenate([number_ND, xp.zeros_like(number_ND[:, : 2 * half - longest])], axis=1)
    low_1D = (places(half + 2, xp) == 0).astype(xp.int32)

    def next_digit(state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        # Long-hand: append the next two digits to the remainder, and subtract 4 root + 1 if possible.
        place, root_ND, rest_ND = state
        now_N1 = xp.zeros_like(length_N[:, None]) + 2 * place
        high_N1, next_N1 = taken(padded_ND, now_N1 + 1, xp), taken(padded_ND, now_N1, xp)
        rest_ND = xp.concatenate([next_N1, high_N1, rest_ND[:, :-2]], axis=1)
        off_ND = shifted(root_ND, 2, xp) + low_1D
        # rest - off equals rest plus the complement of off plus 1, and is not negative if this sum carries out at the
        # top.
        sum_ND = rest_ND + 1 - off_ND
        carry_ND = carries(sum_ND, 2, 1, xp)
        fits_N1 = carry_ND[:, -1:]
        rest_ND = xp.where(fits_N1 == 1, (sum_ND + carry_ND[:, :-1]) % 2, rest_ND)
        return place - xp.int32(1), shifted(root_ND, 1, xp) + low_1D * fits_N1, rest_ND

    zero_ND = xp.zeros_like(length_N[:, None]) + 0 * low_1D
    state = (xp.int32(half - 1), zero_ND, zero_ND)
    _, root_ND, _ = while_loop(lambda state: state[0] >= 0, next_digit, state, xp)
    prompt_NP = taken(number_ND, length_N[:, None] - 1 - places(longest, xp), xp)
    digits_N = (length_N + 1) // 2
    return Question(prompt_NP, length_N, taken(root_ND, digits_N[:, None] - 1 - places(half, xp), xp), digits_N)


_DIGITS = tuple("01234")


def _two_number_words(longest: int) -> int:
    return 1 + 2 * (longest + 1)


NUMBER_RULES = {
    "modular_arithmetic": Rule((*_DIGITS, *"+-*"), _modular_arithmetic, 4, one_output),
    "modular_arithmetic_brackets": Rule((*_DIGITS, *"+-*()"), _modular_arithmetic_brackets, 2, one_output),
    "solve_equation": Rule((*_DIGITS, *"+-*()x="), _solve_equation, 2, one_output),
    "binary_addition": Rule(
        (*"01+",), _binary_addition, 2, lambda length: length + 1, terminated=True, words=_two_number_words
    ),
    "binary_multiplication": Rule(
        (*"01*",), _binary_multiplication, 2, lambda length: length, terminated=True, words=_two_number_words
    ),
    "compute_sqrt": Rule((*"01",), _compute_sqrt, 2, lambda length: (length + 1) // 2),
}
