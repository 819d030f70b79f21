"""`--record`: writing results into the paper's folder, condition by condition and seed by seed if need be.

A recorded table is merged: seeds that this run has finished are added, or replace their old rows; others stay where the
present settings would train them alike, by their identities. Verdicts are judged and figures are drawn from the merged
table as it is recorded, so a recording can go on another day, and whoever has the table finds the same.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxgen.condition import Condition, trajectories
from jaxgen.errors import UserError
from jaxgen.experiment import Experiment
from jaxgen.experiment.digests import claim_digest
from jaxgen.figures.draw import draw, svg
from jaxgen.ledger.discovery import FoundPaper
from jaxgen.ledger.index import read_index, write_index
from jaxgen.ledger.recorded import recorded_rows
from jaxgen.ledger.reproduce import Reproduction, withheld
from jaxgen.ledger.results import (
    RECORDED_SCALES,
    figure_file,
    read_results,
    recorded_seeds,
    results_file,
    table_file,
)
from jaxgen.ledger.runs import Request, Run
from jaxgen.ledger.stated import TUNING, Stated, now, stated_since
from jaxgen.ledger.verdict import Verdict, judge_all, verdict_json
from jaxgen.machine import device_name
from jaxgen.storage.files import write_json, write_text
from jaxgen.table import Table


def refuse_to_record(found: FoundPaper, experiment: Experiment, request: Request) -> None:
    """Raises `UserError` where a run of this request must not be recorded."""
    table = table_file(found.folder, request.scale, experiment.name)
    if experiment.name in read_results(found.folder, request.scale) and not table.exists():
        raise UserError(
            f"--record: {experiment.name} is recorded, and its table {table} is not there: an installed jaxgen has no "
            "tables; record in a checkout of it (pip install --editable)"
        )
    reason = withheld(experiment, request)
    if request.extend is not None:
        reason = "it is trained beyond its own steps"
    conditions = request.conditions(experiment)
    if any(seed >= TUNING for each in conditions for seed in each.seeds):
        reason = f"its seeds are from {TUNING} on: those are for tuning"
    if reason:
        raise UserError(f"--record: a run of {experiment.name} is not recorded when {reason}")
    entry = read_results(found.folder, request.scale).get(experiment.name, {"conditions": {}})
    own = {each.name: set(each.seeds) for each in experiment.at_scale(request.scale)}
    alike = _kept(entry["conditions"], conditions, {})
    for each in conditions:
        there, kept = (recorded_seeds(of.get(each.name, [])) for of in (entry["conditions"], alike))
        if kept < there and not own[each.name] <= set(each.seeds):
            raise UserError(
                f"--record: seeds {', '.join(map(str, sorted(there - kept)))} of '{each.name}' are recorded with other "
                "settings than the notebook has now; record all of its seeds anew, without --seeds and --first-seed"
            )


def record_results(found: FoundPaper, done: Reproduction) -> Path:
    """Writes a finished run's table, figures, verdicts and provenance; returns the results file."""
    experiment, scale = done.experiment, done.request.scale
    recorded_before = recorded_rows(found.folder, scale, experiment.name) if done.request.recorded else {}
    fresh = _finished(done, recorded_before)
    results = read_results(found.folder, scale)
    entry = results.get(experiment.name, {"conditions": {}, "claims": []})
    recordings = _kept(entry["conditions"], done.conditions, fresh)
    for name, facts in fresh.items():
        recordings[name] = [*recordings.get(name, []), facts]
    csv = table_file(found.folder, scale, experiment.name)
    old_table = Table.load(csv) if csv.exists() else Table.of([])
    added = {name: recorded_seeds([facts]) for name, facts in fresh.items()}
    kept = {name: recorded_seeds(of) - added.get(name, set()) for name, of in recordings.items()}
    table = Table.concat([old_table.of_seeds(kept), done.table.of_seeds(added)])
    write_text(csv, table.csv())
    entry["conditions"] = recordings
    if done.request.looks > 1:
        entry["looks"] = max(done.request.looks, entry.get("looks", 1))
    entry["claims"] = _judged(found, experiment, scale, entry, stated_since(done.path))
    results[experiment.name] = entry
    path = results_file(found.folder, scale)
    write_json(path, dict(sorted(results.items())))
    for file, text in figures(found, experiment, scale):
        write_text(file, text)
    write_index(found)
    return path


def _kept(
    recordings: Mapping[str, Sequence[dict[str, Any]]], conditions: Sequence[Condition], fresh: Mapping[str, Any]
) -> dict[str, list[dict[str, Any]]]:
    """Returns of every condition's recordings the seeds that its present settings would train alike, and that are not
    recorded anew in `fresh`; conditions without any are left out."""
    seeds = tuple(sorted({seed for of in recordings.values() for seed in recorded_seeds(of)}))
    if not seeds:
        return {}
    wide = trajectories([dataclasses.replace(each, seeds=seeds) for each in conditions])
    present = {(each.condition.name, str(each.seed)): each.identity for each in wide}
    kept: dict[str, list[dict[str, Any]]] = {}
    for name in (each.name for each in conditions):
        replaced = fresh[name]["seeds"] if name in fresh else {}
        for each in recordings.get(name, []):
            alike = {
                seed: it for seed, it in each["seeds"].items() if present[name, seed] == it and seed not in replaced
            }
            if alike:
                kept.setdefault(name, []).append({**each, "seeds": alike})
    return kept


def judge_recorded(found: FoundPaper, experiment: Experiment, scale: str, entry: Mapping[str, Any]) -> list[Verdict]:
    """Returns the verdicts on a recorded table; `entry` is what is recorded beside it."""
    table = Table.load(table_file(found.folder, scale, experiment.name))
    seeds = {name: sorted(recorded_seeds(of)) for name, of in entry["conditions"].items()}
    return judge_all(experiment.claims, table, scale, seeds=seeds, looks=entry.get("looks", 1))


def _judged(
    found: FoundPaper, experiment: Experiment, scale: str, entry: Mapping[str, Any], since: Mapping[str, Stated]
) -> list[dict[str, Any]]:
    """Returns the verdicts on a recorded table as JSON, and since when each claim has been what it is.

    Args:
      found: the paper.
      experiment: of it.
      scale: that is recorded.
      entry: its recorded results.
      since: what a run says of its claims.
    """
    before = {each["claim"]: Stated(each.get("digest", ""), each.get("since", "")) for each in entry["claims"]}
    verdicts = judge_recorded(found, experiment, scale, entry)
    first = min((each["recorded"] for of in entry["conditions"].values() for each in of), default=now())
    judged = []
    for claim, verdict in zip(experiment.claims, verdicts, strict=True):
        digest = claim_digest(claim)
        stated = [each[claim.name] for each in (before, since) if claim.name in each]
        told = min((each.since for each in stated if each.digest == digest), default=now())
        verdict = dataclasses.replace(verdict, changed=told > first)
        judged.append(verdict_json(verdict) | {"digest": digest, "since": told})
    return judged


def figures(found: FoundPaper, experiment: Experiment, scale: str) -> Iterator[tuple[Path, str]]:
    """Draws the figures of an experiment from its recorded table: gives the file and the text of each."""
    table = Table.load(table_file(found.folder, scale, experiment.name))
    conditions = experiment.at_scale(scale)
    for figure in experiment.figures:
        drawing = draw(figure, table, conditions)
        if drawing is not None:
            yield figure_file(found.folder, scale, experiment.name, figure.name), svg(drawing)


def recorded(found: FoundPaper) -> Iterator[tuple[str, Experiment]]:
    """Gives the scale and the experiment of everything of a paper that is recorded."""
    for scale in RECORDED_SCALES:
        results = read_results(found.folder, scale)
        yield from ((scale, each) for each in found.paper.experiments if each.name in results)


def renew(found: FoundPaper, *, redraw: bool) -> None:
    """Judges the recorded tables of a paper, draws their figures and writes its index, where this did not hold or
    `redraw`.

    A paper of which nothing is recorded has an index, too. What would be the same is not written; of an installed
    jaxgen, which has no tables, nothing is judged or drawn.
    """
    there = list(recorded(found))
    if redraw or read_index(found.folder) is None:
        for scale, experiment in there:
            if not table_file(found.folder, scale, experiment.name).exists():
                continue
            results = read_results(found.folder, scale)
            claims = _judged(found, experiment, scale, results[experiment.name], {})
            if claims != results[experiment.name]["claims"]:
                results[experiment.name]["claims"] = claims
                write_json(results_file(found.folder, scale), results)
            for path, text in figures(found, experiment, scale):
                if not path.exists() or path.read_text(encoding="utf-8") != text:
                    write_text(path, text)
    write_index(found)


def _finished(done: Reproduction, recorded_before: Collection[str]) -> dict[str, Any]:
    """Returns the provenance of every condition whose seeds are all finished, those of before aside."""
    by_identity = {each.identity: each for each in Run(done.path).trained()}
    read = functools.cache(lambda directory: (directory.status(), directory.run()))
    found: dict[str, Any] = {}
    complete = {each.name for each in done.conditions}
    for wanted in trajectories(done.conditions):
        name = wanted.condition.name
        member = by_identity.get(wanted.identity)
        if member is None and wanted.identity in recorded_before:
            continue
        status, run = read(member.directory) if member else ({"finished": False}, {})
        if not status["finished"]:
            complete.discard(name)
            continue
        facts = found.setdefault(
            name,
            {
                "seeds": {},
                "steps": wanted.condition.steps,
                "commit": run["commit"],
                "modified": bool(run["modified"]),
                "device": device_name(run),
                "versions": run["versions"],
                "minutes": round(sum(status["seconds"].values()) / 60, 1),
                "trained_together": len(run["members"]),
                "recorded": now(),
            },
        )
        facts["seeds"][str(wanted.seed)] = wanted.identity
    return {name: facts for name, facts in found.items() if name in complete}
