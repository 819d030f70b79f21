"""The notebook of the Chomsky hierarchy: best settings, claims of what a scale trains, and the table of scores."""

from __future__ import annotations

import typing

import pytest

from jaxgen.experiments.chomsky import (
    CONTEXT_FREE,
    CONTEXT_SENSITIVE,
    PAPER,
    RATES,
    REGULAR,
    SCORE,
    SETTINGS,
    named,
    score,
    scores,
)
from jaxgen.experiments.chomsky.parts import ScoreTable
from jaxgen.ledger.verdict import judge_all
from jaxgen.table import Table
from jaxgen.tasks.strings.chomsky import Name

CLASSES = {"regular": REGULAR, "context-free": CONTEXT_FREE, "context-sensitive": CONTEXT_SENSITIVE}
# Which tasks each architecture solves by the paper, of those that are in the minis.
SOLVES = {
    "RNN": REGULAR,
    "LSTM": (*REGULAR, "bucket_sort"),
    "Stack-RNN": (*REGULAR, *CONTEXT_FREE[:3]),
    "Tape-RNN": (*REGULAR, *CONTEXT_FREE[:3], "duplicate_string", "odds_first"),
    "Transformer": ("even_pairs", "bucket_sort"),
}


def as_in_the_paper(experiment, scale: str) -> Table:
    rows = []
    for condition in experiment.at_scale(scale):
        architecture = next(each for each in SETTINGS if condition.name in named(condition.task.name, each))
        for seed in condition.seeds:
            value = 0.97 if condition.task.name in SOLVES[architecture] else 0.3 if "arith" in condition.name else 0.52
            rows.append((condition.name, seed, condition.steps, SCORE, value + 0.001 * seed))
    return Table.of(rows)


@pytest.mark.parametrize("experiment", PAPER.experiments, ids=CLASSES)
@pytest.mark.parametrize("scale", ["mini", "paper"])
def test_scores_like_the_papers_bear_out_every_claim(experiment, scale: str) -> None:
    verdicts = judge_all(experiment.claims, as_in_the_paper(experiment, scale), scale)
    untestable = {claim.name for claim in experiment.claims if scale in claim.untestable}
    assert {verdict.claim for verdict in verdicts if verdict.outcome != "reproduced"} == untestable


def test_all_fifteen_tasks_are_there_and_six_in_the_minis() -> None:
    assert {task for tasks in CLASSES.values() for task in tasks} == set(typing.get_args(Name))
    small = [{each.task.name for each in experiment.at_scale("mini")} for experiment in PAPER.experiments]
    assert sum(map(len, small)) >= 6
    assert all(len(each) >= 2 for each in small)
    settings = sum(map(len, SETTINGS.values()))
    for experiment in PAPER.experiments:
        assert len(experiment.at_scale("paper")) == len(CLASSES[experiment.name]) * len(RATES) * settings


def test_the_best_setting_of_a_seed_counts() -> None:
    names = named("parity_check", "Tape-RNN")
    rows = [(name, seed, 10, SCORE, 0.1 * (i + seed)) for i, name in enumerate(names[:3]) for seed in (0, 1)]
    table = Table.of([*rows, ("parity_check RNN", 0, 10, SCORE, 0.9)])
    assert score(table.seed(1), "parity_check", "Tape-RNN") == pytest.approx(0.3)
    assert scores(table.seed(0), REGULAR, "RNN", "Tape-RNN") == pytest.approx([0.9, 0.2])


def test_a_table_shows_ours_and_the_papers() -> None:
    experiment = PAPER.experiments[1]
    figure = next(each for each in experiment.figures if isinstance(each, ScoreTable))
    drawing = figure.draw(as_in_the_paper(experiment, "mini"), experiment.at_scale("mini"), 8.0)
    texts = [text.get_text() for text in drawing.axes[0].texts]
    assert texts.count("97 (97)") == 4
    assert "paper 62.3" in texts
    assert [label.get_text() for label in drawing.axes[0].get_yticklabels()] == ["stack manipulation", "reverse string"]
    assert figure.draw(Table.of([("reverse_string RNN", 0, 1, "loss/train", 1.0)]), (), 8.0) is None
