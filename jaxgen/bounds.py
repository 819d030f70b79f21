"""Numbers for which only bounds are known, because an event never came within a run."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable


class Censored(Exception):
    """An event that a claim needs did not come within the run, so a number or an answer is unknown."""


@dataclasses.dataclass(frozen=True)
class Bounds:
    """A number from `low` to `high`, either of which may be infinite.

    Arithmetic works as with numbers. Conversion to a number, or a comparison that the bounds do not decide, raises
    `Censored`. The result of two bounds is as wide as if the two were independent.
    """

    low: float
    high: float
    why: str = dataclasses.field(default="", compare=False)

    def __post_init__(self) -> None:
        if not self.low <= self.high:
            raise ValueError(f"bounds: got {self.low} to {self.high}, expected the lower one first")

    def __float__(self) -> float:
        raise Censored(self.why or f"it is only known to be {self}")

    def __str__(self) -> str:
        if math.isinf(self.low) and math.isinf(self.high):
            return "unknown"
        if math.isinf(self.high):
            return f"> {number(self.low)}"
        return f"< {number(self.high)}" if math.isinf(self.low) else f"{number(self.low)} to {number(self.high)}"

    def __add__(self, other: Number) -> Bounds:
        low, high = ends(other)
        return self._with(self.low + low, self.high + high, other)

    def __sub__(self, other: Number) -> Bounds:
        low, high = ends(other)
        return self._with(self.low - high, self.high - low, other)

    def __rsub__(self, other: Number) -> Bounds:
        low, high = ends(other)
        return self._with(low - self.high, high - self.low, other)

    def __mul__(self, other: Number) -> Bounds:
        low, high = _positive(*ends(other))
        mine = _positive(self.low, self.high)
        return self._with(mine[0] * low, mine[1] * high if high else 0.0, other)

    def __truediv__(self, other: Number) -> Bounds:
        low, high = _positive(*ends(other))
        return self._with(*_quotient(_positive(self.low, self.high), (low, high)), other)

    def __rtruediv__(self, other: Number) -> Bounds:
        return self._with(*_quotient(_positive(*ends(other)), _positive(self.low, self.high)), other)

    __radd__, __rmul__ = __add__, __mul__

    def __lt__(self, other: Number) -> bool:
        low, high = ends(other)
        return self._decided(self.high < low, self.low >= high)

    def __ge__(self, other: Number) -> bool:
        return not self < other

    def __gt__(self, other: Number) -> bool:
        low, high = ends(other)
        return self._decided(self.low > high, self.high <= low)

    def __le__(self, other: Number) -> bool:
        return not self > other

    def _decided(self, true: bool, false: bool) -> bool:
        if true or false:
            return true
        raise Censored(self.why or f"it is only known to be {self}")

    def _with(self, low: float, high: float, other: Number) -> Bounds:
        why = self.why or (other.why if isinstance(other, Bounds) else "")
        unknown = math.isnan(low) or math.isnan(high)
        return Bounds(-math.inf, math.inf, why) if unknown else Bounds(low, high, why)


Number = float | Bounds


def number(value: Number) -> str:
    """Formats a number for people: four digits, large ones as whole numbers with thousands separators, or bounds."""
    if isinstance(value, Bounds):
        return str(value)
    return f"{value:,.0f}" if abs(value) >= 1e4 else f"{value:.4g}"


def ends(value: Number) -> tuple[float, float]:
    """Returns the lower and the upper bound of a number."""
    return (value.low, value.high) if isinstance(value, Bounds) else (float(value), float(value))


def between(low: float, high: float, *, why: str = "") -> Number:
    """Returns the number if its bounds are equal, else the bounds."""
    return low if low == high else Bounds(low, high, why)


def least(values: Iterable[Number]) -> Number:
    """Returns the smallest of some numbers, as far as it is known."""
    return _known(values, min)


def largest(values: Iterable[Number]) -> Number:
    """Returns the largest of some numbers, as far as it is known."""
    return _known(values, max)


def _known(values: Iterable[Number], of: Callable[[Iterable[float]], float]) -> Number:
    values = list(values)
    if not values:
        raise Censored("there is no number to compare")
    lows, highs = zip(*map(ends, values), strict=True)
    why = next((each.why for each in values if isinstance(each, Bounds)), "")
    return between(of(lows), of(highs), why=why)


def _positive(low: float, high: float) -> tuple[float, float]:
    if low < 0:
        raise Censored(f"{Bounds(low, high)} may be negative: it cannot be divided by or multiplied with a bound")
    return low, high


def _quotient(above: tuple[float, float], below: tuple[float, float]) -> tuple[float, float]:
    low = 0.0 if math.isinf(below[1]) else above[0] / below[1] if below[1] else math.inf
    high = math.inf if math.isinf(above[1]) or not below[0] else above[1] / below[0]
    return low, high
