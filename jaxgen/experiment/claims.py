"""Claims that papers often make, in one line each. Whatever else a claim says goes in as `note`, `role` and so on.

sooner("EMA", than="Adam", level=0.95, times=5, place="Fig. 3", paper="43.8 times")
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from jaxgen.bounds import Number, least
from jaxgen.experiment.claim import YES, Compare, EverySeed, Expect, Typical, at_least, at_most, within

if TYPE_CHECKING:
    from jaxgen.table import SeedTable

TEST, TRAIN = "accuracy/test", "accuracy/train"
Value = Callable[["SeedTable"], Number]


def steps_to(condition: str, level: float, key: str = TEST) -> Value:
    """Returns the first measured step at which a key is at least `level`; where it never is, bounds."""
    return lambda t: t.first_step(condition, key, at_least=level)


def reaches(condition: str, level: float, *, key: str = TEST, **words: Any) -> EverySeed:
    """The key comes to `level` at some step."""
    told = {"name": f"{condition}: {key} reaches {level:g}", "says": f"'{condition}' reaches {level:g} of {key}"}
    return EverySeed(**told | words, value=lambda t: t.max(condition, key), expect=at_least(level))


def stays_below(condition: str, level: float, *, key: str = TEST, **words: Any) -> EverySeed:
    """The key comes above `level` at no step."""
    told = {
        "name": f"{condition}: {key} stays below {level:g}",
        "says": f"'{condition}' stays below {level:g} of {key}",
    }
    return EverySeed(**told | words, value=lambda t: t.max(condition, key), expect=at_most(level))


def ends_at(condition: str, value: float, tolerance: float = 0.03, *, key: str = TEST, **words: Any) -> Typical:
    """The key's median over the last five measured steps is `value` up to the tolerance."""
    told: dict[str, Any] = {
        "name": f"{condition}: {key} ends at {value:g}",
        "says": f"'{condition}' ends at {value:g} of {key}, up to {tolerance:g}",
        "paper": f"{value:g}",
        "paper_value": value,
    }
    return Typical(**told | words, value=lambda t: t.final(condition, key), expect=within(value, tolerance))


def sooner(condition: str, *, than: str, level: float, times: float = 1.0, key: str = TEST, **words: Any) -> Compare:
    """A condition reaches `level` in fewer steps than another, by more than a factor of `times`."""
    factor = f"more than {times:g} times " if times != 1 else ""
    told = {
        "name": f"{condition} sooner than {than}",
        "says": f"'{condition}' reaches {level:g} of {key} {factor}sooner than '{than}'",
    }
    slow, fast = steps_to(than, level, key), steps_to(condition, level, key)
    return Compare(**told | words, by="ratio", value=lambda t: slow(t) / fast(t), expect=at_least(times))


def delayed(
    condition: str,
    *,
    fitted: float,
    generalised: float,
    times: float,
    keys: tuple[str, str] = (TRAIN, TEST),
    **words: Any,
) -> Compare:
    """Within a condition, the second key reaches `generalised` more than `times` later than the first `fitted`.

    Of a run that never generalises nothing is known: random labels would show any delay.
    """
    told = {
        "name": f"{condition}: delayed",
        "says": f"'{condition}' reaches {generalised:g} of {keys[1]} after more than {times:g} times the steps to "
        f"{fitted:g} of {keys[0]}",
    }
    early, late = steps_to(condition, fitted, keys[0]), steps_to(condition, generalised, keys[1])
    return Compare(**told | words, by="ratio", value=lambda t: float(late(t)) / early(t), expect=at_least(times))


def rises(values: Sequence[Value], **words: Any) -> EverySeed:
    """Each value is larger than the one before it: a tie is no rise."""

    def risen(t: SeedTable) -> Number:
        rise = least(after - before for before, after in itertools.pairwise(value(t) for value in values))
        return rise > 0

    return EverySeed(**words, value=risen, expect=YES)


def differs(one: Value, other: Value, expect: Expect, **words: Any) -> Compare:
    """The first value less the second one."""
    return Compare(**words, by="difference", value=lambda t: one(t) - other(t), expect=expect)
