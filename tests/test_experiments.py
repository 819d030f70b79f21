"""The contract of every paper that is found: notebook, scales, programs, and a smoke run of each shape.

`make smoke` holds all papers to all of it. `make test` imports every paper, and takes a sample of nine, however many
there are; of what compiles or draws it takes one paper.
"""

import functools
from pathlib import Path
from typing import Any

import jax
import matplotlib
import pytest

from jaxgen.condition import Condition, trajectories
from jaxgen.config import digest, from_json, to_json
from jaxgen.experiment import SCALES, Experiment, Sweep
from jaxgen.ledger.discovery import FoundPaper, discover, find, listing
from jaxgen.ledger.index import listed, read_index
from jaxgen.ledger.record import figures, recorded, refuse_to_record
from jaxgen.ledger.reproduce import reproduce
from jaxgen.ledger.results import read_results, table_file
from jaxgen.ledger.runs import Request
from jaxgen.ledger.stated import TUNING
from jaxgen.ledger.verdict import judge_all
from jaxgen.run.arguments import RunArguments, SilentObserver
from jaxgen.starts import From
from jaxgen.table import Table
from jaxgen.train.constants import stack_constants
from jaxgen.train.program import Program

LEDGER = listing().papers
SLUGS = list(LEDGER)
SAMPLE = {SLUGS[i * len(SLUGS) // 9] for i in range(9)}
ONE = "xor-benign"


def slugs(sample: set[str]) -> list[Any]:
    return [pytest.param(slug, marks=() if slug in sample else pytest.mark.smoke) for slug in SLUGS]


def experiments(sample: set[str]) -> list[Any]:
    return [
        pytest.param(f"{slug}/{each.name}", marks=() if sample & {slug, f"{slug}/{each.name}"} else pytest.mark.smoke)
        for slug, paper in LEDGER.items()
        for each in paper.experiments
    ]


@functools.cache
def paper(slug: str) -> FoundPaper:
    return find(slug)[0]


def experiment(experiment_id: str) -> tuple[FoundPaper, Experiment]:
    slug, _, name = experiment_id.partition("/")
    return paper(slug), next(each for each in paper(slug).paper.experiments if each.name == name)


def one_of_each_kind(experiment: Experiment, scale: str) -> dict[str, Condition]:
    """The conditions of a scale, one for each combination of task, model, optimiser, loss and batching."""
    kinds: dict[str, Condition] = {}
    for condition in experiment.at_scale(scale):
        fields = to_json(condition)
        kind = digest([fields[name] for name in ("model", "optimizer", "loss", "numerics", "measures")])
        kinds.setdefault(f"{type(condition.task).__name__} {kind} {condition.batch_size is None}", condition)
    return kinds


def test_every_folder_is_a_paper_and_its_index_is_what_it_says() -> None:
    found = discover()
    assert not found.broken
    assert {"corrupted-modadd", "power-grok", "nanda-modadd"} <= found.papers.keys()
    old = [
        slug for slug, each in found.papers.items() if list(recorded(each)) and read_index(each.folder) != listed(each)
    ]
    assert old == [], "run: jaxgen gallery docs/gallery.md"


@pytest.mark.parametrize("slug", slugs({ONE}))
def test_recorded_figures_are_drawn_from_the_recorded_tables(slug: str) -> None:
    found = paper(slug)
    for scale, each in recorded(found):
        for path, text in figures(found, each, scale):
            there = path.read_text(encoding="utf-8")
            # Another matplotlib may draw otherwise.
            assert there == text or f"Matplotlib v{matplotlib.__version__}," not in there, f"{path}: run make figures"


@pytest.mark.parametrize("slug", slugs(SAMPLE))
def test_the_notebook_is_complete(slug: str) -> None:
    found = paper(slug)
    for part in ("Paper:", f"arXiv:{found.paper.arxiv}", "Claimed:", f"Command: jaxgen reproduce {slug}", "Took:",
                 "Came out:", "Setting:", "Deviations, and why:"):  # fmt: skip
        assert part in found.notebook, part


@pytest.mark.parametrize("experiment_id", experiments(SAMPLE))
def test_scales_resolve_and_claims_have_names_of_their_own(experiment_id: str) -> None:
    _, asked = experiment(experiment_id)
    assert {"smoke", "paper"} <= set(asked.scales) <= set(SCALES)
    assert not asked.scales["smoke"].judged
    for scale in asked.scales:
        conditions = asked.at_scale(scale)
        assert len(trajectories(conditions)) >= len(conditions)
        assert all(from_json(to_json(each)) == each for each in conditions[:20])
    names = [each.name for each in asked.claims]
    assert len(set(names)) == len(names)


@functools.cache
def kinds_lowered() -> set[str]:
    return set()


@pytest.mark.parametrize("slug", slugs({ONE}))
def test_every_kind_of_condition_lowers_at_paper_scale(slug: str) -> None:
    without_grids = [
        each for each in paper(slug).paper.experiments if not any(isinstance(c, Sweep) for c in each.conditions)
    ]
    kinds = {kind: condition for each in without_grids for kind, condition in one_of_each_kind(each, "paper").items()}
    for condition in [condition for kind, condition in kinds.items() if kind not in kinds_lowered()]:
        program = Program(condition, "vmap")
        member = [] if isinstance(condition.start, From) else trajectories([condition])[:1]
        if not member:
            continue
        constants = jax.eval_shape(lambda member=member: stack_constants(member, [None]))
        state = jax.eval_shape(program.init, constants, None)
        program.advance.lower(state, constants, jax.ShapeDtypeStruct((), "int32"))
        row, _ = jax.eval_shape(program.measure, state, constants, True)
        assert {key for each in condition.measures for key in each.keys(condition) or ()} <= row.keys()
    kinds_lowered().update(kinds)


@pytest.mark.parametrize("experiment_id", experiments({f"{ONE}/{LEDGER[ONE].experiments[0].name}"}))
def test_a_smoke_run_ends_and_judges_nothing(experiment_id: str, tmp_path: Path) -> None:
    found, asked = experiment(experiment_id)
    names = [each.name for each in one_of_each_kind(asked, "smoke").values()]
    request = Request(found.paper.slug, asked.name, "smoke", seeds=1)
    done = reproduce(asked, request, tmp_path / "run", observer=SilentObserver(), arguments=RunArguments())
    assert set(names) <= set(done.table.conditions())
    assert {verdict.outcome for verdict in done.verdicts} <= {"not judged"}
    with pytest.raises(Exception, match="is not recorded when the scale 'smoke' only proves that it runs"):
        refuse_to_record(found, asked, request)


@pytest.mark.parametrize("slug", slugs(SAMPLE))
def test_recorded_verdicts_follow_from_the_recorded_table(slug: str) -> None:
    found = paper(slug)
    for scale, each in recorded(found):
        entry = read_results(found.folder, scale)[each.name]
        verdicts = judge_all(each.claims, Table.load(table_file(found.folder, scale, each.name)), scale)
        assert [(claim["claim"], claim["outcome"]) for claim in entry["claims"]] == [
            (verdict.claim, verdict.outcome) for verdict in verdicts
        ]
        seeds = {condition.name: list(condition.seeds) for condition in each.at_scale(scale)}
        for name, recordings in entry["conditions"].items():
            found_seeds = [int(seed) for facts in recordings for seed in facts["seeds"]]
            assert len(set(found_seeds)) == len(found_seeds)
            assert set(found_seeds) <= set(range(TUNING))
            assert set(found_seeds) <= set(seeds[name])
