"""Adding seeds until the claims are settled, without being wrong more often for it.

The seeds of the conditions that an unsettled claim looks at are doubled, up to a number that is fixed before, and all
claims are judged again. As the number of looks is known from the first on, each has its share of the error.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from jaxgen.condition import Condition, with_parents
from jaxgen.ledger.verdict import Verdict


def planned_looks(conditions: Iterable[Condition], most: int) -> int:
    """Returns how often the claims are judged at most, the first time among them."""
    fewest = min(len(each.seeds) for each in conditions)
    return 1 + max(0, math.ceil(math.log2(most / fewest)))


def more_seeds(
    conditions: Sequence[Condition], verdicts: Iterable[Verdict], grown: Mapping[str, int], most: int
) -> dict[str, int] | None:
    """Returns how many seeds conditions are to have next, of those that do not have their own number; None where
    nothing is unsettled, or all that is has its seeds.

    Args:
      conditions: as they were judged.
      verdicts: on them.
      grown: what this returned before.
      most: how many seeds a condition may have.
    """
    unsettled = {name for each in verdicts if each.outcome == "inconclusive" for name in each.conditions}
    by_name = {each.name: each for each in conditions}
    # A child's seeds are those of its parents.
    wanted = {name: min(most, 2 * len(by_name[name].seeds)) for name in with_parents(conditions, unsettled)}
    if all(count <= len(by_name[name].seeds) for name, count in wanted.items()):
        return None
    return {**grown, **wanted}
