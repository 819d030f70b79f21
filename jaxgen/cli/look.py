"""`list` and `show`: reading the ledger, without jax."""

from __future__ import annotations

from collections import Counter

import click
from rich.console import Console
from rich.table import Table

from jaxgen.config import field_types, to_json
from jaxgen.discovery import FoundPaper, discover, find
from jaxgen.experiment import Condition, Experiment, From
from jaxgen.results import read_results

MARKS = {"reproduced": "green", "not reproduced": "red", "inconclusive": "yellow", "not judged": "bright_black"}


def list_papers() -> None:
    """Prints every experiment with its scales and recorded verdicts."""
    found = discover()
    table = Table(box=None, pad_edge=False)
    for column in ("ID", "what", "claims", "recorded"):
        table.add_column(column, overflow="fold")
    for slug, each in found.papers.items():
        table.add_row(f"[bold]{slug}", f"[bold]{each.paper.title}[/] (arXiv {each.paper.arxiv})", "", "")
        for experiment in each.paper.experiments:
            table.add_row(
                f"  {slug}/{experiment.name}",
                experiment.title,
                str(len(experiment.claims)),
                _recorded(each, experiment),
            )
    Console().print(table)
    for folder, reason in found.broken.items():
        click.echo(f"cannot be read: {folder}: {reason}", err=True)


def _recorded(found: FoundPaper, experiment: Experiment) -> str:
    parts = []
    for scale in ("paper", "mini"):
        entry = read_results(found.folder, scale).get(experiment.name)
        if entry:
            counts = Counter(claim["outcome"] for claim in entry["claims"])
            verdicts = ", ".join(f"[{MARKS[name]}]{n} {name}[/]" for name, n in counts.most_common())
            parts.append(f"{scale}: {verdicts or 'no claims'}")
    return "; ".join(parts)


def show(experiment_id: str, scale: str) -> None:
    """Prints what an ID means."""
    console = Console(highlight=False)
    found, experiments = find(experiment_id)
    paper = found.paper
    console.print(f"[bold]{paper.title}[/]\n{paper.authors}, {paper.year}, arXiv:{paper.arxiv}\n")
    console.print(found.notebook.strip(), markup=False)
    for experiment in experiments:
        _show_experiment(console, found, experiment, scale)


def _show_experiment(console: Console, found: FoundPaper, experiment: Experiment, scale: str) -> None:
    console.print(f"\n[bold]{found.paper.slug}/{experiment.name}[/]  {experiment.title}")
    console.print(
        f"scales: {', '.join(experiment.scales)}"
        + ("; paper scale wants an accelerator" if experiment.accelerator else "")
    )
    conditions = experiment.at_scale(scale)
    console.print(f"\nconditions at scale {scale}:")
    for condition in conditions[:20]:
        start = f", from '{condition.start.condition}'" if isinstance(condition.start, From) else ""
        console.print(
            f"  {condition.name}: {condition.steps} steps, seeds {list(condition.seeds)}{start}", markup=False
        )
    if len(conditions) > 20:
        console.print(f"  ... and {len(conditions) - 20} more")
    console.print("\nsettings (change any with --set KEY=VALUE):")
    for key, value in _settings(conditions[0]):
        console.print(f"  {key} = {value}", markup=False)
    if experiment.claims:
        recorded = read_results(found.folder, scale).get(experiment.name, {"claims": []})
        verdicts = {claim["claim"]: claim for claim in recorded["claims"]}
        console.print("\nclaims:")
        for claim in experiment.claims:
            console.print(f"  {claim.name}: {claim.says}", markup=False)
            console.print(f"      paper: {claim.paper} ({claim.place}); expected {claim.expect}", markup=False)
            if claim.name in verdicts:
                outcome = verdicts[claim.name]["outcome"]
                console.print(f"      recorded at scale {scale}: [{MARKS[outcome]}]{outcome}[/], ", end="")
                console.print(verdicts[claim.name]["reason"], markup=False)


def _settings(condition: Condition) -> list[tuple[str, object]]:
    """Returns the keys that --set takes, with their values in this condition."""
    found: list[tuple[str, object]] = []
    for name in field_types(Condition):
        value = to_json(getattr(condition, name))
        if isinstance(value, dict):
            found += [(f"{name}.{key}", each) for key, each in value.items() if key != "kind"]
        elif name not in ("name", "measures", "analyses"):
            found.append((name, value))
    return found
