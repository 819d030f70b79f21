"""Numbers of which only bounds are known."""

import math
import operator
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxgen.bounds import Bounds, Censored, Number, ends, largest, least

finite = st.floats(0.0, 1e6)


@st.composite
def known_within(draw: st.DrawFn) -> tuple[float, Number]:
    """A number, and what may be known of it."""
    value = draw(finite)
    low = draw(st.floats(0.0, value))
    high = draw(st.one_of(st.floats(value, 2e6), st.just(math.inf)))
    return value, draw(st.sampled_from([value, Bounds(low, high)]))


OPERATIONS = [operator.add, operator.sub, operator.mul, operator.truediv]


@pytest.mark.parametrize("operation", OPERATIONS)
@given(one=known_within(), other=known_within())
def test_what_is_computed_lies_within_its_bounds(
    operation: Callable[[Number, Number], Number], one: tuple[float, Number], other: tuple[float, Number]
) -> None:
    if operation is operator.truediv and ends(other[1])[0] == 0:
        return
    low, high = ends(operation(one[1], other[1]))
    true = operation(one[0], other[0])
    assert isinstance(true, float)
    rounding = 1e-9 * max(1.0, abs(true), *(abs(end) for end in (low, high) if math.isfinite(end)))
    assert low - rounding <= true <= high + rounding


@given(st.lists(known_within(), min_size=1, max_size=5))
def test_the_least_and_the_largest_lie_within_their_bounds(pairs: list[tuple[float, Number]]) -> None:
    true, known = zip(*pairs, strict=True)
    for of, found in ((min, least(known)), (max, largest(known))):
        low, high = ends(found)
        assert low <= of(true) <= high


@given(one=known_within(), other=known_within())
def test_a_comparison_is_right_or_left_open(one: tuple[float, Number], other: tuple[float, Number]) -> None:
    for compare in (operator.lt, operator.le, operator.gt, operator.ge):
        try:
            assert compare(one[1], other[1]) == compare(one[0], other[0])
        except Censored:
            assert isinstance(one[1], Bounds) or isinstance(other[1], Bounds)


def test_a_bound_says_what_it_is_and_is_no_number() -> None:
    late = Bounds(15000, math.inf, "it never came")
    assert str(late / 2000) == "> 7.5"
    assert str(2000 / late) == "0 to 0.1333"
    assert str(late / late) == "> 0"
    assert str(Bounds(-math.inf, 3)) == "< 3"
    assert str(late - late) == "unknown"
    assert late >= 15000
    for ask in (float, lambda value: value > 20000, lambda value: max(value / 2000, 9.0)):
        with pytest.raises(Censored, match="it never came"):
            ask(late)
    with pytest.raises(ValueError, match="expected the lower one first"):
        Bounds(2, 1)
