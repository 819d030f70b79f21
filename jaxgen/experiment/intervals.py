"""Confidence intervals of few seeds; numbers of which only bounds are known make them wider, never narrower.

`lows` and `highs` are the bounds of the seeds' numbers, equal where a number is known. A lower end is computed of the
lows and an upper end of the highs: each bound is one that the numbers themselves would have given, or one beyond it.
"""

from __future__ import annotations

import functools
import math
import statistics
from collections.abc import Callable, Sequence

FEWEST = 3  # seeds, below which an interval says nothing


@functools.cache
def rate_ends(low: int, high: int, seeds: int, level: float) -> tuple[float, float]:
    """Returns the one-sided Clopper-Pearson bounds of the rate of seeds that hold, each at `level`.

    Args:
      low: how many of them hold for certain.
      high: how many may hold.
      seeds: their number.
      level: of each bound alone, such as 0.95.
    """
    from scipy.stats import beta

    lower = float(beta.ppf(1 - level, low, seeds - low + 1)) if low else 0.0
    upper = float(beta.ppf(level, high + 1, seeds - high)) if high < seeds else 1.0
    return lower, upper


def mean_ends(lows: Sequence[float], highs: Sequence[float], level: float) -> tuple[float, float]:
    """Returns the t-interval of the mean; all numbers where there are fewer than `FEWEST` seeds."""
    if len(lows) < FEWEST:
        return -math.inf, math.inf
    return _mean_end(lows, level, -1), _mean_end(highs, level, 1)


def _mean_end(values: Sequence[float], level: float, side: int) -> float:
    if any(map(math.isinf, values)):
        return side * math.inf
    error = statistics.stdev(values) / math.sqrt(len(values))
    return statistics.fmean(values) + side * t_quantile(len(values), level) * error


def median_ends(
    lows: Sequence[float], highs: Sequence[float], level: float, seeds: int | None = None
) -> tuple[float, float]:
    """Returns the interval of the median between two order statistics; all numbers where there are too few seeds.

    At 95 % it takes six. With `seeds`, what it would about be of so many that are distributed like these.
    """
    there = len(lows)
    seeds = seeds or there
    out = _left_out(seeds, level)
    if out < 0:
        return -math.inf, math.inf
    at = out * there // seeds
    return sorted(lows)[at], sorted(highs)[there - 1 - at]


@functools.cache
def _left_out(seeds: int, level: float) -> int:
    """Returns how many values the interval of a median leaves out at each end; -1: there is none."""
    from scipy.stats import binom

    tail = (1 - level) / 2
    out = int(binom.ppf(tail, seeds, 0.5))
    return out if binom.cdf(out, seeds, 0.5) <= tail else out - 1


@functools.cache
def t_quantile(seeds: int, level: float) -> float:
    """Returns how many standard errors the t-interval of the mean of some seeds reaches to either side."""
    from scipy.stats import t

    return float(t.ppf((1 + level) / 2, seeds - 1))


def fewest(settles: Callable[[int], bool], seeds: int, most: int = 200) -> int | None:
    """Returns how many more seeds than `seeds` settle it; None where `most` do not."""
    return next((more for more in range(1, most + 1) if settles(seeds + more)), None)
