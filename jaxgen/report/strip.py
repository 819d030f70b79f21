"""A small picture of a claim: the values of its seeds, the interval of their estimate, and what is expected."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from markupsafe import Markup

from jaxgen.bounds import Bounds, ends, number
from jaxgen.experiment import Claim
from jaxgen.ledger.verdict import Verdict

WIDTH, HEIGHT, EDGE = 168, 30, 7


def strip(claim: Claim, verdict: Verdict) -> Markup:
    """Returns an inline SVG; nothing where no number is known.

    A dot is a seed; of one that is only known to be beyond a number, an arrow points there. What is expected is the
    shaded part, the bar below is the interval, and a diamond is the paper's value.
    """
    if all(isinstance(value, bool) for value in verdict.values.values()):
        return Markup("")
    known = [end for value in verdict.values.values() for end in ends(value) if math.isfinite(end)]
    if not known:
        return Markup("")
    interval = [end for end in (verdict.low, verdict.high) if math.isfinite(end) and claim.in_unit_of_values]
    marks = [
        bound for bound in (claim.expect.at_least, claim.expect.at_most, claim.paper_value) if math.isfinite(bound)
    ]
    place = _places([*known, *interval, *marks])
    left = place(claim.expect.at_least) if math.isfinite(claim.expect.at_least) else 0.0
    right = place(claim.expect.at_most) if math.isfinite(claim.expect.at_most) else float(WIDTH)
    parts = [f'<rect class="all" width="{WIDTH}" height="{HEIGHT}" rx="3"/>']
    parts += [f'<rect class="expected" x="{left:.1f}" y="0" width="{max(right - left, 1):.1f}" height="{HEIGHT}"/>']
    if len(interval) == 2:
        start, end = map(place, interval)
        parts.append(f'<path class="interval" d="M{start:.1f} 24H{max(end, start + 1):.1f}"/>')
    if math.isfinite(claim.paper_value):
        parts.append(f'<path class="stated" d="M{place(claim.paper_value):.1f} 19l4 5l-4 5l-4 -5z"/>')
    for seed, value in verdict.values.items():
        parts.append(_mark(value, place, f"seed {seed}: {number(value)}"))
    told = f"values of the seeds: {verdict.spread()}; expected {claim.expected()}"
    return Markup(
        f'<svg class="strip" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" role="img" '
        f'aria-label="{{}}">{"".join(parts)}</svg>'
    ).format(told)


def _mark(value: float | Bounds, place: Callable[[float], float], title: str) -> str:
    low, high = ends(value)
    if math.isinf(low) and math.isinf(high):
        return ""
    if low == high:
        return f'<circle class="seed" cx="{place(low):.1f}" cy="11" r="3.2"><title>{title}</title></circle>'
    at, to = (low, 6) if math.isfinite(low) else (high, -6)
    return f'<path class="seed" d="M{place(at):.1f} 7l{to} 4l{-to} 4z"><title>{title}</title></path>'


def _places(values: Sequence[float]) -> Callable[[float], float]:
    """Returns from a number to its place in the picture: by its logarithm where the numbers are of many sizes."""
    low, high = min(values), max(values)
    by: Callable[[float], float] = math.log if low > 0 and high > 20 * low else float
    start, end = by(low), by(high)
    # Some room beyond the outermost, so that what is not expected has a place, too.
    margin = 0.12 * (end - start) or 1.0
    start, end = start - margin, end + margin

    def place(value: float) -> float:
        return EDGE + (WIDTH - 2 * EDGE) * (by(value) - start) / (end - start)

    return place
