"""The table of a sweep, as the terminal shows it."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Sequence

from jaxgen.cli.columns import lay_out, width
from jaxgen.ledger.swept import Points, metric, metric_text, results
from jaxgen.table import Table

# The report has the others.
MOST_ROWS = 20


def best_first(points: Points, table: Table) -> Iterator[str]:
    """Yields the lines of a table of the swept conditions, those with the best final value first."""
    key = metric(table)
    if key is None:
        return
    found = results([name for name, point in points.items() if point.values], table, key)
    rows = [("condition", f"final {metric_text(key)}", "best", "seeds")]
    for each in found[:MOST_ROWS]:
        failed = sum(map(math.isnan, each.final))
        seeds = f"{len(each.final)}, {failed} failed" if failed else f"{len(each.final)}"
        rows.append((each.name, _spread(each.final, key), _spread(each.best, key), seeds))
    for lines in lay_out(rows, [0], width() - 2):
        yield from lines
    if len(found) > MOST_ROWS:
        yield f"and {len(found) - MOST_ROWS:,} more: table.csv and the report have them"


def _spread(values: Sequence[float], key: str) -> str:
    """Returns the median and the range of the seeds that did not fail."""
    there = [value for value in values if not math.isnan(value)]
    if not there:
        return "–"
    form = ".3f" if key.startswith("accuracy/") else ".4g"
    middle = f"{statistics.median(there):{form}}"
    return middle if len(there) == 1 else f"{middle} ({min(there):{form}} to {max(there):{form}})"
