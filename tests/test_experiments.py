"""The contract of every paper that is found: notebook, scales, programs, and a smoke run of each shape."""

from pathlib import Path
from typing import Any

import jax
import pytest

from jaxgen.condition import Condition, trajectories
from jaxgen.config import digest, from_json, to_json
from jaxgen.experiment import SCALES, Experiment, Sweep
from jaxgen.ledger.discovery import FoundPaper, discover
from jaxgen.ledger.record import refuse_to_record
from jaxgen.ledger.reproduce import reproduce
from jaxgen.ledger.results import read_results, table_file
from jaxgen.ledger.runs import Request
from jaxgen.ledger.verdict import judge_all
from jaxgen.run.arguments import RunArguments, SilentObserver
from jaxgen.starts import From
from jaxgen.table import Table
from jaxgen.train.constants import stack_constants
from jaxgen.train.program import Program

FOUND = discover()
EXPERIMENTS = [
    pytest.param(found, experiment, id=f"{slug}/{experiment.name}")
    for slug, found in FOUND.papers.items()
    for experiment in found.paper.experiments
]
# `make smoke` has the smoke runs of all experiments, and every kind of condition at paper scale. Among the tests are
# those of one paper's first experiment.
AMONG_THE_TESTS = ("xor-benign",)


def marks(found: FoundPaper, experiment: Experiment) -> Any:
    sampled = experiment is found.paper.experiments[0] and found.paper.slug in AMONG_THE_TESTS
    return () if sampled else pytest.mark.smoke


SMOKES = [pytest.param(*each.values, id=each.id, marks=marks(*each.values)) for each in EXPERIMENTS]
WITHOUT_GRIDS = [each for each in EXPERIMENTS if not any(isinstance(c, Sweep) for c in each.values[1].conditions)]


def one_of_each_kind(experiment: Experiment, scale: str) -> dict[str, Condition]:
    """The conditions of a scale, one for each combination of task, model, optimiser, loss and batching."""
    kinds: dict[str, Condition] = {}
    for condition in experiment.at_scale(scale):
        fields = to_json(condition)
        kind = digest([fields[name] for name in ("model", "optimizer", "loss", "numerics", "measures")])
        kinds.setdefault(f"{type(condition.task).__name__} {kind} {condition.batch_size is None}", condition)
    return kinds


def kinds_first_seen() -> list[Any]:
    """Each experiment with its kinds at paper scale that no experiment before it has."""
    seen: set[str] = set()
    found = []
    for each in WITHOUT_GRIDS:
        kinds = one_of_each_kind(each.values[1], "paper")
        new = [condition for kind, condition in kinds.items() if kind not in seen]
        seen |= kinds.keys()
        found += [pytest.param(new, id=each.id, marks=marks(*each.values))] if new else []
    return found


def test_every_folder_is_a_paper() -> None:
    assert not FOUND.broken
    assert {"corrupted-modadd", "power-grok", "nanda-modadd"} <= FOUND.papers.keys()


@pytest.mark.parametrize("slug", FOUND.papers)
def test_the_notebook_is_complete(slug: str) -> None:
    found = FOUND.papers[slug]
    for part in ("Paper:", f"arXiv:{found.paper.arxiv}", "Claimed:", f"Command: jaxgen reproduce {slug}", "Took:",
                 "Came out:", "Setting:", "Deviations, and why:"):  # fmt: skip
        assert part in found.notebook, part


@pytest.mark.parametrize(("found", "experiment"), EXPERIMENTS)
def test_scales_resolve_and_claims_have_names_of_their_own(found, experiment: Experiment) -> None:
    assert {"smoke", "paper"} <= set(experiment.scales) <= set(SCALES)
    assert not experiment.scales["smoke"].judged
    for scale in experiment.scales:
        conditions = experiment.at_scale(scale)
        assert len(trajectories(conditions)) >= len(conditions)
        assert all(from_json(to_json(each)) == each for each in conditions[:20])
    names = [each.name for each in experiment.claims]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("conditions", kinds_first_seen())
def test_every_kind_of_condition_lowers_at_paper_scale(conditions: list[Condition]) -> None:
    for condition in conditions:
        program = Program(condition, "vmap")
        member = [] if isinstance(condition.start, From) else trajectories([condition])[:1]
        if not member:
            continue
        constants = jax.eval_shape(lambda member=member: stack_constants(member, [None]))
        state = jax.eval_shape(program.init, constants, None)
        program.advance.lower(state, constants, jax.ShapeDtypeStruct((), "int32"))
        row, _ = jax.eval_shape(program.measure, state, constants, True)
        assert {f"loss/{split}" for split in condition.task.measured()} <= row.keys()


@pytest.mark.parametrize(("found", "experiment"), SMOKES)
def test_a_smoke_run_ends_and_judges_nothing(found, experiment: Experiment, tmp_path: Path) -> None:
    names = [each.name for each in one_of_each_kind(experiment, "smoke").values()]
    request = Request(found.paper.slug, experiment.name, "smoke", seeds=1)
    done = reproduce(experiment, request, tmp_path / "run", observer=SilentObserver(), arguments=RunArguments())
    assert set(names) <= set(done.table.conditions())
    assert {verdict.outcome for verdict in done.verdicts} <= {"not judged"}
    with pytest.raises(Exception, match="is not recorded when the scale 'smoke' only proves that it runs"):
        refuse_to_record(experiment, request)


@pytest.mark.parametrize(("found", "experiment"), EXPERIMENTS)
def test_recorded_verdicts_follow_from_the_recorded_table(found, experiment: Experiment) -> None:
    for scale in experiment.scales:
        entry = read_results(found.folder, scale).get(experiment.name)
        if entry is None:
            continue
        verdicts = judge_all(experiment.claims, Table.load(table_file(found.folder, scale, experiment.name)))
        assert [(each["claim"], each["outcome"]) for each in entry["claims"]] == [
            (verdict.claim, verdict.outcome) for verdict in verdicts
        ]
        seeds = {each.name: list(each.seeds) for each in experiment.at_scale(scale)}
        for name, facts in entry["conditions"].items():
            assert [int(seed) for seed in facts["seeds"]] == seeds[name]
