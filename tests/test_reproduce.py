"""Runs from end to end, in this process: resuming, extending, chains, failures."""

import dataclasses
import json
import os
from pathlib import Path

import numpy as np
import pytest

from jaxgen.condition import Condition
from jaxgen.errors import UserError
from jaxgen.ledger.discovery import find
from jaxgen.ledger.reproduce import Reproduction, reproduce
from jaxgen.ledger.runs import Request, load_run, run_directory
from jaxgen.run import directory as directories
from jaxgen.run.arguments import Interrupted, RunArguments, SilentObserver
from jaxgen.run.checkpoint import CheckpointStore
from jaxgen.run.directory import PopulationDirectory
from jaxgen.run.rows import read_rows


class Stopper(SilentObserver):
    """Asks to stop once training has come to a step."""

    def __init__(self, step: int):
        self.step, self.reached = step, -1

    def advanced(self, step, rows):
        self.reached = step

    def stop_requested(self):
        return self.reached >= self.step


def run(
    path: Path, observer=None, experiment="main", scale="paper", seeds=None, extend=None, **arguments
) -> Reproduction:
    _, (found,) = find(f"tiny-paper/{experiment}")
    request = Request("tiny-paper", experiment, scale, (), seeds, extend)
    return reproduce(found, request, path, observer=observer or SilentObserver(), arguments=RunArguments(**arguments))


def rows_of(path: Path) -> list:
    """Every metric row of a run, without the wall clock."""
    found = []
    for directory in load_run(path).populations():
        for line in directory.metrics_file.read_text().splitlines():
            row = json.loads(line)
            row.pop("time")
            found.append((directory.path.name, row))
    return found


def final_states(path: Path) -> dict[str, dict[str, np.ndarray]]:
    states = {}
    for directory in load_run(path).populations():
        store = CheckpointStore(directory.path / "recovery")
        states[directory.path.name] = store.load(store.steps()[-1])
    return states


def assert_same_runs(one: Path, other: Path) -> None:
    assert rows_of(one) == rows_of(other)
    states, others = final_states(one), final_states(other)
    assert states.keys() == others.keys()
    for name, leaves in states.items():
        assert leaves.keys() == others[name].keys()
        for path, leaf in leaves.items():
            np.testing.assert_array_equal(leaf, others[name][path], err_msg=path)


@pytest.mark.parametrize("layout", ["sequential", pytest.param("vmap", marks=pytest.mark.long)])
def test_an_interrupted_run_resumes_bit_for_bit(tiny: Path, layout: str) -> None:
    run(tiny / "whole", layout=layout)
    for step in (1, 9, 23):
        with pytest.raises(Interrupted):
            run(tiny / "cut", Stopper(step), layout=layout)
    done = run(tiny / "cut", layout=layout)
    assert_same_runs(tiny / "whole", tiny / "cut")
    # Two seeds settle nothing.
    assert {verdict.claim: (verdict.outcome, len(verdict.values)) for verdict in done.verdicts} == {
        "fits": ("inconclusive", 2),
        "fits too well": ("inconclusive", 2),
    }


def test_a_kill_after_a_checkpoint_leaves_no_trace(tiny: Path) -> None:
    run(tiny / "whole")
    with pytest.raises(Interrupted):
        run(tiny / "cut", Stopper(12))
    (directory,) = load_run(tiny / "cut").populations()
    # As a kill would leave it: rows beyond the checkpoint, the last one half-written.
    with directory.metrics_file.open("a") as file:
        file.write('{"step": 39, "member": 0, "time": 0, "values": {"accuracy/train": 0.5}}\n{"step": 4')
    run(tiny / "cut")
    assert_same_runs(tiny / "whole", tiny / "cut")


@pytest.mark.long
def test_the_length_of_chunks_never_matters(tiny: Path) -> None:
    run(tiny / "long", chunk_seconds=60.0)
    run(tiny / "short", chunk_seconds=1e-9)
    assert_same_runs(tiny / "long", tiny / "short")


@pytest.mark.long
def test_a_run_can_be_extended_and_equals_the_longer_run(tiny: Path) -> None:
    run(tiny / "run", experiment="faults")
    once = {(name, row["step"], row["member"]): row for name, row in rows_of(tiny / "run")}
    run(tiny / "run", experiment="faults", extend=60)
    later = {(name, row["step"], row["member"]): row for name, row in rows_of(tiny / "run")}
    assert once.items() <= later.items()
    run(tiny / "main")
    run(tiny / "main", extend=60)
    dense = next(each for each in load_run(tiny / "main").members if each.condition.name == "dense")
    assert dense.steps() == [0, 40, 60]


@pytest.mark.long
def test_a_seed_can_be_added_without_retraining(tiny: Path) -> None:
    run(tiny / "run", seeds=1)
    before = {each.directory.path: each.directory.metrics_file.read_bytes() for each in load_run(tiny / "run").members}
    done = run(tiny / "run", seeds=3)
    assert done.table.seeds() == [0, 1, 2]
    assert {path: PopulationDirectory(path).metrics_file.read_bytes() for path in before} == before
    assert run(tiny / "run", seeds=2).table.seeds() == [0, 1]


@pytest.mark.long
def test_what_members_share_is_written_and_read_once(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else thousands of members cost the square of their number."""
    calls: list[str] = []

    def counted(cls: type, name: str) -> None:
        original = getattr(cls, name)
        monkeypatch.setattr(cls, name, lambda self, *args: (calls.append(name), original(self, *args))[1])

    for cls, name in ((Condition, "identity_fields"), (Condition, "static_signature"), (CheckpointStore, "load")):
        counted(cls, name)
    monkeypatch.setattr(directories, "read_rows", lambda *args: (calls.append("read_rows"), read_rows(*args))[1])
    run(tiny / "run", seeds=5)
    conditions = 2
    # Of the parents: their last step, and the one that tickets are rewound to.
    expected = {"static_signature": conditions, "load": 2, "read_rows": 2}
    assert {name: calls.count(name) for name in expected} == expected
    assert calls.count("identity_fields") < 5 * conditions
    for directory in load_run(tiny / "run").populations():
        data = json.loads(directory.run_file.read_text())
        assert not any("settings" in member for member in data["members"])
        assert list(data["settings"]) == list(dict.fromkeys(member["condition"] for member in data["members"]))


@pytest.mark.long
def test_a_seed_that_is_no_longer_asked_for_has_the_settings_it_was_begun_with(tiny: Path) -> None:
    run(tiny / "run", seeds=2)
    assert run(tiny / "run", seeds=1, extend=50).table.seeds() == [0]


def test_a_finished_run_trains_nothing(tiny: Path) -> None:
    run(tiny / "run")

    class Forbidding(SilentObserver):
        def started(self, conditions, step, horizon):
            raise AssertionError("it trained again")

    run(tiny / "run", Forbidding())


def test_a_ticket_starts_from_its_masked_and_rewound_parent(tiny: Path) -> None:
    run(tiny / "run")
    members = {(each.condition.name, each.seed): each for each in load_run(tiny / "run").members}
    for seed in (0, 1):
        dense, ticket = members["dense", seed], members["ticket", seed]
        trained = dense.params(40)
        matrices = np.concatenate(
            [np.abs(w).ravel() for w in (trained["layer_0"]["kernel"], trained["output"]["kernel"])]
        )
        threshold = np.sort(matrices)[::-1][round(0.5 * matrices.size) - 1]
        for layer in ("layer_0", "output"):
            kept = np.abs(trained[layer]["kernel"]) >= threshold
            start = np.where(kept, dense.params(0)[layer]["kernel"], 0)
            end = ticket.params(40)[layer]["kernel"]
            np.testing.assert_array_equal(end[~kept], 0)
            assert np.any(end[kept] != start[kept])
        assert ticket.identity != dense.identity


@pytest.mark.long
def test_a_member_that_diverges_is_frozen_and_the_others_go_on(tiny: Path) -> None:
    done = run(tiny / "run", experiment="faults")
    assert any("diverging, seed 0: training gave numbers that are not finite at step" in note for note in done.notes)
    run_ = load_run(tiny / "run")
    for each in run_.members:
        assert all(np.all(np.isfinite(w)) for w in each.params()["output"].values())
    states = {each.condition.name: each.directory.status()["members"][each.index] for each in run_.members}
    assert states["diverging"]["state"] == "failed"
    assert states["stopping"]["state"] == "stopped"
    assert states["stopping"]["step"] < 40
    stopping = done.table.seed(0).values("stopping", "accuracy/train")
    assert stopping.iloc[-1] >= 0.3
    assert (stopping.iloc[:-1] < 0.3).all()


@pytest.mark.long
def test_a_begun_run_keeps_its_layout(tiny: Path) -> None:
    with pytest.raises(Interrupted):
        run(tiny / "run", Stopper(5), layout="vmap")
    run(tiny / "run", layout="sequential")
    run(tiny / "whole", layout="vmap")
    names = {each.path.name: each.run()["layout"] for each in load_run(tiny / "run").populations()}
    assert "vmap" in names.values()
    vmapped = [name for name, layout in names.items() if layout == "vmap"]
    for name in vmapped:
        ours, theirs = final_states(tiny / "run")[name], final_states(tiny / "whole")[name]
        for path, leaf in ours.items():
            np.testing.assert_array_equal(leaf, theirs[path])


def test_two_trainings_of_one_population_are_refused(tiny: Path) -> None:
    with pytest.raises(Interrupted):
        run(tiny / "run", Stopper(5))
    (directory,) = load_run(tiny / "run").populations()
    with directory.lock(print), pytest.raises(UserError, match=f"trained by process {os.getpid()} on "):
        run(tiny / "run")


def test_a_checkpoint_of_another_tree_is_an_error_that_names_the_leaves(tiny: Path) -> None:
    with pytest.raises(Interrupted):
        run(tiny / "run", Stopper(5))
    (directory,) = load_run(tiny / "run").populations()
    store = CheckpointStore(directory.path / "recovery")
    newest = store.steps()[-1]
    leaves = store.load(newest)
    broken = {path: leaf for path, leaf in leaves.items() if path != "step"} | {"extra": leaves["step"]}
    store.save(newest + 1, broken, store.verify(newest).facts)
    with pytest.raises(UserError, match=r"missing \['step'\], extra \['extra'\]"):
        run(tiny / "run")


@pytest.mark.long
def test_a_parent_that_never_got_there_is_named(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from jaxgen.starts import First

    _, (found,) = find("tiny-paper/main")
    dense, ticket = found.conditions
    start = dataclasses.replace(ticket.start, at=First(at_least=2.0))
    late = dataclasses.replace(found, conditions=(dense, dataclasses.replace(ticket, start=start)))
    request = Request("tiny-paper", "main", "paper")
    done = reproduce(late, request, tiny / "run", observer=SilentObserver(), arguments=RunArguments())
    for seed in (0, 1):
        said = f"ticket, seed {seed}: not trained: accuracy/test of 'dense' was never at least 2"
        assert any(said in note for note in done.notes)
    assert [verdict.outcome for verdict in done.verdicts] == ["reproduced", "inconclusive"]


@pytest.mark.long
def test_first_starts_a_child_at_the_step_it_names(tiny: Path) -> None:
    from jaxgen.starts import First

    _, (found,) = find("tiny-paper/main")
    dense, ticket = found.conditions
    start = dataclasses.replace(ticket.start, at=First(split="train", at_least=0.3), transforms=())
    child = dataclasses.replace(ticket, start=start, steps=1, measures=dense.measures)
    early = dataclasses.replace(found, conditions=(dense, child))
    request = Request("tiny-paper", "main", "paper")
    done = reproduce(early, request, tiny / "run", observer=SilentObserver(), arguments=RunArguments())
    reached = done.table.seed(0).first_step("dense", "accuracy/train", at_least=0.3)
    norms = done.table.seed(0).values("dense", "weight_norm")
    assert done.table.seed(0).at("ticket", "weight_norm", 0) == pytest.approx(norms[reached], rel=1e-6)


@pytest.mark.long
def test_a_run_shows_the_members_last_asked_for(tiny: Path) -> None:
    run(tiny / "run", seeds=1)
    _, (found,) = find("tiny-paper/main")
    dense = found.conditions[0]
    changed = dataclasses.replace(found, conditions=(dataclasses.replace(dense, seeds=(0,), batch_size=9),))
    reproduce(
        changed, Request("tiny-paper", "main", "paper"), tiny / "run",
        observer=SilentObserver(), arguments=RunArguments(),
    )  # fmt: skip
    found_run = load_run(tiny / "run")
    assert [each.condition.batch_size for each in found_run.members] == [9]
    assert len(list(found_run.trained())) == 3
    assert not found_run.table.rows.duplicated(["condition", "seed", "step", "split", "measure"]).any()


def test_fresh_starts_beside_what_there_is(tmp_path: Path) -> None:
    request = Request("paper", "main", "mini")
    first = run_directory(tmp_path, request, fresh=True)
    first.mkdir(parents=True)
    second = run_directory(tmp_path, request, fresh=True)
    second.mkdir()
    assert [first.name, second.name] == ["mini", "mini.2"]
    assert run_directory(tmp_path, request, fresh=False) == second
    assert run_directory(tmp_path, dataclasses.replace(request, settings=("steps=3",)), fresh=False).name != "mini"


def test_python_reads_a_run(tiny: Path) -> None:
    import jaxgen

    run(tiny / "run")
    found = jaxgen.load_run(tiny / "run")
    assert list(found.table.rows.columns) == ["condition", "seed", "step", "split", "measure", "value"]
    assert [(each["claim"], each["outcome"], sorted(each["values"])) for each in found.verdicts] == [
        ("fits", "inconclusive", [0, 1]),
        ("fits too well", "inconclusive", [0, 1]),
    ]
    assert found.member(0).params()["layer_0"]["kernel"].shape == (2, 7, 12)
    assert jaxgen.load_run(found.populations()[0].path).path == found.path
    with pytest.raises(UserError, match="expected 0 to 3"):
        found.member(9)
    with pytest.raises(UserError, match="no run at"):
        jaxgen.load_run(tiny)
