"""`list` and `show`: reading the ledger, without jax."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import click

from jaxgen.cli import columns
from jaxgen.cli.text import harmless
from jaxgen.config import field_types, to_json
from jaxgen.errors import UserError, nearest, shown
from jaxgen.ledger.discovery import FoundPaper, find, listing
from jaxgen.ledger.index import ListedExperiment
from jaxgen.ledger.results import read_results
from jaxgen.report.mathematics import plain

if TYPE_CHECKING:
    from jaxgen.condition import Condition
    from jaxgen.experiment import Experiment

MARKS = {
    "reproduced": "green",
    "not reproduced": "red",
    "inconclusive": "yellow",
    "untestable at this scale": "bright_black",
    "not judged": "bright_black",
}
CHANGED = " (the claim changed after its first results)"
_SPACE = "\u00a0"  # that no line is broken at
_OUTCOME = re.compile(rf"\d+{_SPACE}({'|'.join(MARKS)})".replace(" ", _SPACE))


def list_papers() -> None:
    """Prints every experiment with its recorded verdicts."""
    found = listing()
    rows: list[tuple[str, ...]] = [("ID", "what", "claims", "recorded")]
    for slug, paper in found.papers.items():
        rows.append((slug, f"{paper.title} (arXiv {paper.arxiv})", "", ""))
        rows += [(f"  {slug}/{each.name}", each.title, str(each.claims), _recorded(each)) for each in paper.experiments]
    rows = [tuple(map(harmless, row)) for row in rows]
    for row, lines in zip(rows, columns.lay_out(rows, (1, 3), columns.width()), strict=True):
        for line in lines:
            columns.echo(_OUTCOME.sub(_coloured, line) if row[2].isdigit() else click.style(line, bold=True))
    for folder, reason in found.broken.items():
        click.echo(f"cannot be read: {folder}: {reason}", err=True)


def _recorded(experiment: ListedExperiment) -> str:
    """Returns the outcomes at every scale; the spaces within one are no place to break a line."""
    parts = []
    for scale, counts in experiment.recorded.items():
        verdicts = ", ".join(f"{n} {name}".replace(" ", _SPACE) for name, n in counts.items())
        parts.append(f"{scale}: {verdicts or 'no claims'}")
    return "; ".join(parts)


def _coloured(outcome: re.Match[str]) -> str:
    text = outcome[0].replace(_SPACE, " ")
    return click.style(text, fg=MARKS[text.partition(" ")[2]])


def show(experiment_id: str, scale: str) -> None:
    """Prints what an ID means."""
    found, experiments = find(experiment_id)
    paper = found.paper
    scales = {each for experiment in experiments for each in experiment.scales}
    if scale not in scales:
        raise UserError(f"{experiment_id} has no scale {shown(scale)}{nearest(scale, scales)}")
    _say(_styled(paper.title, bold=True))
    _say(f"{paper.authors}, {paper.year}, arXiv:{paper.arxiv}\n")
    _say(found.notebook.strip())
    for experiment in experiments:
        _say("\n", _styled(f"{paper.slug}/{experiment.name}", bold=True), f"  {experiment.title}")
        wish = "; paper scale wants an accelerator" if experiment.accelerator else ""
        _say(f"  scales: {', '.join(experiment.scales)}{wish}")
        if len(experiments) == 1:
            _show_conditions(experiment, scale)
        _show_claims(found, experiment)


def _show_conditions(experiment: Experiment, scale: str) -> None:
    """Prints the settings of the first condition, and of the others what differs."""
    conditions = experiment.at_scale(scale)
    common = dict(_settings(conditions[0]))
    _say(f"\nsettings of '{conditions[0].name}' at scale {scale} (change any: jaxgen reproduce ID --set KEY=VALUE):")
    for key, value in common.items():
        _say(f"  {key} = {value}")
    for condition in conditions[1:20]:
        own = [f"{key} = {value}" for key, value in _settings(condition) if common.get(key) != value]
        _say(f"'{condition.name}': {', '.join(own) or 'the same'}")
    if len(conditions) > 20:
        _say(f"... and {len(conditions) - 20} more")
    decays = zip(conditions[:20], experiment.decays(conditions[:20]), strict=True)
    if told := [f"'{each.name}' {decay}" for each, decay in decays if decay]:
        _say(f"learning rate x decay x steps, for which grokking waits: {', '.join(told)}")


def _show_claims(found: FoundPaper, experiment: Experiment) -> None:
    recorded: dict[str, list[tuple[str, dict[str, Any]]]] = {}
    for scale in experiment.scales:
        for verdict in read_results(found.folder, scale).get(experiment.name, {"claims": []})["claims"]:
            recorded.setdefault(verdict["claim"], []).append((scale, verdict))
    for claim in experiment.claims:
        role = "" if claim.role == "paper" else f" [{claim.role}]"
        _say(f"  {claim.name}{role}: {plain(claim.says)}")
        _say(f"      paper: {plain(claim.paper)} ({plain(claim.place)}); {claim.kind}, expected {claim.expected()}")
        for scale, verdict in recorded.get(claim.name, []):
            outcome = _styled(verdict["outcome"], fg=MARKS[verdict["outcome"]])
            _say(f"      at scale {scale}: ", outcome, f", {verdict['reason']}", CHANGED if verdict["changed"] else "")


class _Styled(str):
    """A text with the codes that a terminal obeys."""


def _styled(text: str, **style: Any) -> _Styled:
    return _Styled(click.style(harmless(text), **style))


def _say(*parts: str) -> None:
    """Prints the parts of a line, where a terminal obeys the styled ones alone."""
    columns.echo("".join(part if isinstance(part, _Styled) else harmless(part) for part in parts))


def _settings(condition: Condition) -> list[tuple[str, object]]:
    """Returns the keys that --set takes, with their values in this condition."""
    found: list[tuple[str, object]] = []
    for name in field_types(type(condition)):
        value = to_json(getattr(condition, name), complete=True)
        if isinstance(value, dict):
            found += [(f"{name}.{key}", each) for key, each in value.items() if key != "kind"]
        elif name not in ("name", "measures", "analyses"):
            found.append((name, value))
    return found
