"""Runs side by side: what differs in what was asked, in settings, code, versions and devices; verdicts; values.

Reads what the runs hold, and needs neither their papers nor jax.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import string
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxgen.bounds import between, number
from jaxgen.config import to_json
from jaxgen.errors import UserError, nearest, shown
from jaxgen.ledger import sources
from jaxgen.ledger.runs import Member, Run, load_run
from jaxgen.ledger.settings import NOTHING, settings_of
from jaxgen.ledger.verdict import number_of
from jaxgen.machine import device_name
from jaxgen.run.goodput import goodput
from jaxgen.storage.files import reading
from jaxgen.table import NOT_STARTED, Table

LABELS = string.ascii_uppercase
KEYS_SHOWN = 4  # where none are asked for


@dataclasses.dataclass(frozen=True)
class Row:
    """One thing of every run, in their order."""

    name: str
    values: tuple[str, ...]

    def differs(self) -> bool:
        return len(set(self.values)) > 1


@dataclasses.dataclass(frozen=True)
class Verdict:
    """A claim's recorded verdict."""

    outcome: str
    reason: str
    estimate: str  # with its interval


@dataclasses.dataclass(frozen=True)
class ComparedRun:
    """A run, and the letter that it is called by."""

    label: str
    name: str
    run: Run

    @functools.cached_property
    def table(self) -> Table:
        return self.run.table

    @functools.cached_property
    def members(self) -> Mapping[str, list[Member]]:
        """The members of each condition."""
        found: dict[str, list[Member]] = {}
        for each in self.run.members:
            found.setdefault(each.name, []).append(each)
        return found

    @functools.cached_property
    def verdicts(self) -> Mapping[str, Verdict]:
        """The verdicts in results.json by claim; none where there are none yet."""
        file = self.run.path / "results.json"
        if not file.exists():
            return {}
        verdicts = self.run.verdicts
        with reading(file):
            return {str(each["claim"]): _verdict(each) for each in verdicts}

    @functools.cached_property
    def facts(self) -> Mapping[str, str]:
        """What was asked for, how far it came, and with what it was trained."""
        request = self.run.request
        found = {
            "experiment": f"{request.paper}/{request.experiment}",
            "scale": request.scale,
            "set": ", ".join(request.settings) or NOTHING,
            "seeds": _ranges({each.seed for each in self.run.members}),
            "extended to": f"{request.extend:,}" if request.extend else NOTHING,
            "state": self._state(),
            "time": goodput(self._seconds()).partition(",")[0],
        }
        with reading(self.run.path / sources.FOLDER):
            found["paper's code"] = sources.code_digest(self.run.path / sources.FOLDER)[:8] or "not kept"
        several: dict[str, dict[str, None]] = {}
        for directory in self.run.populations():
            about = directory.run()
            with reading(directory.run_file):
                versions = about["versions"]
                facts = {"commit": _commit(about), "device": device_name(about), "mesh": about["mesh"]}
                facts |= {"flags": " ".join(f"{name}={value}" for name, value in about["flags"].items()) or NOTHING}
                for name, value in (*facts.items(), *versions.items()):
                    several.setdefault(str(name), {})[str(value)] = None
        return found | {name: "; ".join(values) for name, values in several.items()}

    def finals(self, key: str) -> Mapping[str, tuple[float, ...]]:
        """Returns the final values of a key by condition, one a seed."""
        found: dict[str, list[float]] = {}
        values = self.table.finals(key)
        for name, value in zip(values.index.get_level_values("condition"), values, strict=True):
            found.setdefault(str(name), []).append(float(value))
        return {name: tuple(values) for name, values in found.items()}

    def settings(self, *, complete: bool) -> Mapping[str, dict[str, str]]:
        """Returns the settings by condition, as text by dotted key.

        Args:
          complete: with those that have their defaults; the condition must be known.
        """
        return {
            name: settings_of(to_json(members[0].condition, complete=True) if complete else members[0].settings)
            for name, members in self.members.items()
        }

    def all_known(self) -> bool:
        """Returns whether the parts of all conditions are there."""
        return all(each.known is not None for each in self.run.members)

    def _state(self) -> str:
        statuses = [each.status() for each in self.run.populations()]
        if not statuses:
            return "not begun"
        if all(each["finished"] for each in statuses):
            return "finished" if self.verdicts else "trained, not judged"
        least = min(statuses, key=lambda each: (each["step"] or 0) / max(each["horizon"], 1))
        return f"step {least['step'] or 0:,} of {least['horizon']:,}"

    def _seconds(self) -> dict[str, float]:
        total: Counter[str] = Counter()
        for each in self.run.populations():
            total.update(each.status()["seconds"])
        return dict(total)


@dataclasses.dataclass(frozen=True)
class Comparison:
    """What is told of some runs."""

    runs: tuple[ComparedRun, ...]
    keys: tuple[str, ...]  # whose values are shown
    more_keys: tuple[str, ...]  # that some run has, too

    def facts(self) -> list[Row]:
        """Returns what was asked and with what it was trained, equal or not."""
        rows = self._rows([run.facts for run in self.runs])
        first = self.runs[0]
        if len({run.run.request.paper for run in self.runs}) == 1:
            changed = [sources.changed_files(first.run.path, run.run.path / sources.FOLDER) for run in self.runs]
            if any(changed):
                rows.append(
                    Row(f"files not as in {first.label}", tuple(", ".join(each) or NOTHING for each in changed))
                )
        return rows

    def settings(self) -> list[Row]:
        """Returns the settings in which the runs differ: of conditions that several runs have, one by one; where no
        two runs share a condition, of all together."""
        complete = all(run.all_known() for run in self.runs)
        by_run = [run.settings(complete=complete) for run in self.runs]
        shared = [name for name in self.conditions() if sum(name in of for of in by_run) > 1]
        if not shared:
            together = [_together(list(of.values())) for of in by_run]
            return [row for row in self._rows(together) if row.differs()]
        # Equal differences of several conditions are one row.
        found: dict[tuple[str, tuple[str, ...]], list[str]] = {}
        for name in shared:
            for row in self._rows([of.get(name, {}) for of in by_run]):
                if len({value for value, of in zip(row.values, by_run, strict=True) if name in of}) > 1:
                    found.setdefault((row.name, row.values), []).append(name)
        everywhere = len(shared)
        return [
            Row(key if len(names) == everywhere else f"{key} of {', '.join(names)}", values)
            for (key, values), names in found.items()
        ]

    def conditions(self) -> list[str]:
        """Returns the names of all conditions, those that most runs have first."""
        count = Counter(name for run in self.runs for name in run.members)
        return sorted(count, key=lambda name: -count[name])

    def alone(self) -> list[Row]:
        """Returns the conditions that not all runs have."""
        rows = [
            Row(name, tuple("yes" if name in run.members else NOTHING for run in self.runs))
            for name in self.conditions()
        ]
        return [row for row in rows if row.differs()]

    def claims(self) -> list[tuple[str, list[Verdict | None]]]:
        """Returns every claim with its verdict in each run."""
        names = dict.fromkeys(name for run in self.runs for name in run.verdicts)
        return [(name, [run.verdicts.get(name) for run in self.runs]) for name in names]

    def finals(self, key: str) -> list[Row]:
        """Returns the final values of a key by condition: the median, and the range over the seeds."""
        by_run = [run.finals(key) for run in self.runs]
        rows = [Row(name, tuple(_spread(of.get(name, ())) for of in by_run)) for name in self.conditions()]
        return [row for row in rows if set(row.values) != {NOTHING}]

    def _rows(self, by_run: Sequence[Mapping[str, str]]) -> list[Row]:
        names = dict.fromkeys(name for of in by_run for name in of)
        return [Row(name, tuple(of.get(name, NOTHING) for of in by_run)) for name in names]


def compare(paths: Sequence[Path], keys: Sequence[str] = ()) -> Comparison:
    """Reads runs to compare them.

    Args:
      paths: their directories.
      keys: whose values are shown; of none, some that most runs have, accuracies first.

    Raises:
      UserError: fewer than two runs, one of them twice, or one that is damaged; a key that no run has.
    """
    runs = [load_run(path) for path in paths]
    places = [each.path.resolve() for each in runs]
    if twice := [place for place in places if places.count(place) > 1]:
        raise UserError(f"got the run {twice[0]} twice, expected each once")
    if not 2 <= len(runs) <= len(LABELS):
        raise UserError(f"got {len(runs)} runs, expected 2 to {len(LABELS)}: jaxgen compare RUN RUN ...")
    compared = tuple(map(ComparedRun, LABELS, _names(runs), runs))
    count = Counter(key for run in compared for key in run.table.measured_keys() if key != NOT_STARTED)
    for key in keys:
        if key not in count:
            raise UserError(f"--key: no run has measured {shown(key)}{nearest(key, count)}")
    first = ("accuracy", "loss")
    ranks = {key: first.index(key.partition("/")[0]) if key.partition("/")[0] in first else 2 for key in count}
    ranked = sorted(count, key=lambda key: (-count[key], ranks[key]))
    chosen = tuple(dict.fromkeys(keys)) or tuple(ranked[:KEYS_SHOWN])
    return Comparison(compared, chosen, tuple(key for key in ranked if key not in chosen))


def _names(runs: Sequence[Run]) -> list[str]:
    """Returns as much of the end of each path as tells the runs apart; at least paper, experiment and scale."""
    parts = [each.path.parts for each in runs]
    for count in range(3, max(map(len, parts)) + 1):
        names = ["/".join(each[-count:]) for each in parts]
        if len(set(names)) == len(names):
            break
    return names


def _together(conditions: Sequence[Mapping[str, str]]) -> dict[str, str]:
    keys = dict.fromkeys(key for of in conditions for key in of)
    return {key: "; ".join(dict.fromkeys(of[key] for of in conditions if key in of)) for key in keys}


def _ranges(seeds: set[int]) -> str:
    """Returns whole numbers as text: 0 to 4, 7."""
    parts: list[list[int]] = []
    for seed in sorted(seeds):
        if parts and seed == parts[-1][-1] + 1:
            parts[-1].append(seed)
        else:
            parts.append([seed])
    told = [" to ".join(dict.fromkeys((str(part[0]), str(part[-1])))) for part in parts]
    return ", ".join(told) or NOTHING


def _commit(about: Mapping[str, Any]) -> str:
    if about["commit"] is None:
        return "installed from a wheel"
    return f"{about['commit'][:12]}{' and changes' if about['modified'] else ''}"


def _verdict(recorded: Mapping[str, Any]) -> Verdict:
    point, low, high = recorded["point"], recorded["low"], recorded["high"]
    estimate = "" if point is None else number(number_of(point))
    if low is not None or high is not None:
        ends = between(-math.inf if low is None else low, math.inf if high is None else high)
        estimate += f" ({number(low)} to {number(high)})" if None not in (low, high) else f" ({number(ends)})"
    return Verdict(str(recorded["outcome"]), str(recorded["reason"]), estimate)


def _spread(values: Sequence[float]) -> str:
    """Returns the median and the range; a seed that is not a number is told."""
    if not values:
        return NOTHING
    there = sorted(value for value in values if value == value)
    if not there:
        return "nan"
    middle = (there[(len(there) - 1) // 2] + there[len(there) // 2]) / 2
    text = number(middle) if len(there) == 1 else f"{number(middle)} ({number(there[0])} to {number(there[-1])})"
    return text if len(there) == len(values) else f"{text}, {len(values) - len(there)} nan"
