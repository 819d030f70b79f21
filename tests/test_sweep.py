"""`--sweep`: many values of a setting as conditions of one run."""

import contextlib
import dataclasses
import itertools
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxgen.condition import Condition, populations, trajectories
from jaxgen.errors import UserError
from jaxgen.experiment.sweep import MOST_CONDITIONS, Point, _axis, split_seeds, swept_key
from jaxgen.ledger.discovery import find
from jaxgen.ledger.reproduce import Reproduction, reproduce
from jaxgen.ledger.runs import Request, load_run
from jaxgen.ledger.swept import best_first, figures_of, size_text
from jaxgen.run.arguments import Interrupted, RunArguments, SilentObserver
from jaxgen.table import Table
from tests.test_reproduce import Stopper, assert_same_runs
from tests.tiny_paper import invoke

RATE = "optimizer.learning_rate"


def conditions(*sweeps: str, zipped: bool = False, settings: tuple[str, ...] = (), **more: int) -> list[Condition]:
    _, (experiment,) = find("tiny-paper/main")
    return list(experiment.at_scale("paper", settings, sweeps=sweeps, zipped=zipped, **more))


def rates(*sweeps: str, **options) -> dict[str, float]:
    return {each.name: each.optimizer.learning_rate for each in conditions(*sweeps, **options)}


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ("1e-4,1e-3, 0.5", [1e-4, 1e-3, 0.5]),
        ("0.1:0.9:5", [0.1, 0.3, 0.5, 0.7, 0.9]),
        ("0.9:0.1:3", [0.9, 0.5, 0.1]),
        ("0.1..10:3", [0.1, 1, 10]),
        ("10000000:10000003:4", [10000000, 10000001, 10000002, 10000003]),
        ("1e-4..1e-1:4", [1e-4, 1e-3, 1e-2, 1e-1]),
        ("0.001..0.1:5", [0.001, 0.00316228, 0.01, 0.0316228, 0.1]),  # 10^-2.5 and 10^-1.5 to six digits
    ],
)
def test_lists_and_ranges_are_the_numbers_that_they_say(tiny: Path, values: str, expected: list[float]) -> None:
    found = rates(f"dense:{RATE}={values}")
    assert {name: rate for name, rate in found.items() if name.startswith("dense")} == {
        f"dense learning_rate={rate}": rate for rate in expected
    }


def test_whole_numbers_words_lists_and_parts_are_values_too(tiny: Path) -> None:
    assert [each.steps for each in conditions("dense:steps=8..64:4") if each.name.startswith("dense")] == [
        8,
        16,
        32,
        64,
    ]
    assert [each.model.hidden for each in conditions("model.hidden=[8],[8,4]")] == 2 * [(8,), (8, 4)]
    kinds = 'optimizer={"kind": "SGD", "learning_rate": 0.1},{"kind": "AdamW", "learning_rate": 1}'
    assert [each.name for each in conditions(kinds)][:2] == ["dense optimizer=SGD", "dense optimizer=AdamW"]
    assert [each.name for each in conditions("batch_size=4,null")][:2] == [
        "dense batch_size=4",
        "dense batch_size=none",
    ]


def test_several_axes_are_a_grid_and_zip_pairs_them(tiny: Path) -> None:
    axes = (f"{RATE}=0.1,0.2", "optimizer.weight_decay=1,2")
    found = [(each.optimizer.learning_rate, each.optimizer.weight_decay) for each in conditions(*axes)]
    assert found == 2 * [(0.1, 1), (0.1, 2), (0.2, 1), (0.2, 2)]
    found = [(each.optimizer.learning_rate, each.optimizer.weight_decay) for each in conditions(*axes, zipped=True)]
    assert found == 2 * [(0.1, 1), (0.2, 2)]
    assert conditions(*axes, zipped=True)[1].name == "dense learning_rate=0.2 weight_decay=2"


def test_a_child_starts_from_its_parent_at_the_same_point(tiny: Path) -> None:
    parents = {each.name: each.start.parent() for each in conditions(f"{RATE}=0.1,0.2")}
    assert parents["ticket learning_rate=0.2"] == "dense learning_rate=0.2"
    assert len(parents) == 4


def test_the_children_of_a_swept_condition_are_swept_with_it_and_keep_their_own_settings(tiny: Path) -> None:
    found = {each.name: each for each in conditions(f"dense:{RATE}=0.1,0.2", f"ticket:{RATE}=0.5,0.6")}
    child = found["ticket dense.learning_rate=0.2 learning_rate=0.5"]
    assert child.start.parent() == "dense learning_rate=0.2"
    assert child.optimizer.learning_rate == 0.5
    assert len(found) == 2 + 4
    # Paired, the parent's points are those that are asked for, each once.
    paired = conditions("dense:steps=10,20,20", f"ticket:{RATE}=1,2,3", zipped=True)
    assert [each.start.parent() for each in paired if each.name.startswith("ticket")] == [
        "dense steps=10",
        "dense steps=20",
        "dense steps=20",
    ]
    assert len(paired) == 2 + 3


def test_the_parents_of_a_swept_condition_stay_as_they_are_and_all_else_is_left_out(tiny: Path) -> None:
    assert [each.name for each in conditions("ticket:steps=5,6")] == ["dense", "ticket steps=5", "ticket steps=6"]
    _, (faults,) = find("tiny-paper/faults")
    found = faults.at_scale("paper", sweeps=["stopping:steps=5,6"])
    assert [each.name for each in found] == ["stopping steps=5", "stopping steps=6"]


@pytest.mark.parametrize(
    ("sweeps", "message"),
    [
        ([f"{RATE}=0.1:0.9"], r"got '0.1:0.9', expected a list .*START:END:COUNT in equal steps \(0.1:0.9:5\)"),
        ([f"{RATE}=0.1..0.9"], r"START..END:COUNT in equal ratios \(1e-4..1e-1:4\)"),
        ([f"{RATE}=1,0.1:0.9:3"], "expected a list"),
        ([f"{RATE}=0.1-0.9"], "expected at least two values"),
        ([f"{RATE}=0.1:0.1:3"], "two finite ends that differ"),
        ([f"{RATE}=0.1:1e999:3"], "two finite ends"),
        ([f"{RATE}=1:{'9' * 5000}:3"], "two finite ends"),
        ([f"{RATE}=1:2:{'9' * 5000}"], "expected a list"),
        ([f"{RATE}=0.1:0.9:1"], "a COUNT from 2 on"),
        ([f"{RATE}=0..0.9:3"], "ends above 0"),
        ([f"{RATE}=0.1"], "at least two values.*--set KEY=VALUE"),
        ([f"{RATE}=0.1,"], "at least two values"),
        ([f"{RATE}=1,1.0"], "learning_rate=1 twice"),
        ([f"{RATE}=a,b"], "got 'a' .str., expected float"),
        ([f"{RATE}=-1,1"], "'dense learning_rate=-1': optimizer.learning_rate: got -1.0"),
        ([RATE], "expected KEY=VALUES or CONDITION:KEY=VALUES"),
        (["optimizer.learning_rat=1,2"], "did you mean 'learning_rate'"),
        (["densee:steps=1,2"], "no condition 'densee'; did you mean 'dense'"),
        (['optimizer={"kind":"Adamw"},{"kind":"SGD"}'], "did you mean 'AdamW'"),
        (['optimizer={"learning_rate":1},{"learning_rate":2}'], 'expected parts as {"kind": ...}'),
        (["name=a,b"], "expected another setting"),
        (["dense:seeds=1,2"], "FIRST:END for all conditions"),
        ([f"{RATE}=1,2", f"{RATE}=3,4"], "swept twice"),
        ([f"{RATE}=1,2", f"dense:{RATE}=3,4"], "swept twice"),
        ([f"{RATE}=0:1:1000000000"], f"1,000,000,000 conditions, expected at most {MOST_CONDITIONS:,}"),
        ([f"{RATE}=1:2:100", "optimizer.weight_decay=1:2:100"], "got 20,000 conditions"),
        (["batch_size=4,1000"], "'dense batch_size=1000': batch_size: got 1000, expected at most the 29"),
        (['ticket:start={"kind":"Init"},{"kind":"From","condition":"dens"}'], "no condition 'dens'"),
    ],
)
def test_what_is_no_sweep_is_refused_with_the_rule(tiny: Path, sweeps: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        conditions(*sweeps)


@given(st.text("01.:,e-+[]{}\"' anul=\u00e9", max_size=20) | st.just("9" * 5000) | st.just("[" * 10**5))
def test_whatever_is_written_is_swept_or_refused(values: str) -> None:
    for key in ("a.b", "steps", "seeds"):
        with contextlib.suppress(UserError):
            assert len(_axis(f"{key}={values}", []).values) >= 2
        with contextlib.suppress(UserError):
            split_seeds([f"{key}={values}"], None, 0)


def test_a_sweep_of_starts_cannot_lead_to_a_swept_condition_with_axes_of_its_own(tiny: Path) -> None:
    with pytest.raises(UserError, match="starts from 'ticket', which is swept over steps where it is not"):
        conditions('dense:start={"kind":"Init"},{"kind":"From","condition":"ticket"}', "ticket:steps=5,6")


def test_what_contradicts_a_sweep_is_refused(tiny: Path) -> None:
    with pytest.raises(UserError, match="'steps' is given by --set too"):
        conditions("steps=1,2", settings=("dense:steps=3",))
    with pytest.raises(UserError, match="--extend: got it with --sweep steps"):
        conditions("steps=10,20", extend=100)
    with pytest.raises(UserError, match="--zip: got 1 --sweep, expected at least two"):
        conditions("steps=10,20", zipped=True)
    with pytest.raises(UserError, match="--zip: got no --sweep"):
        conditions(zipped=True)
    with pytest.raises(UserError, match="steps has 2, batch_size has 3"):
        conditions("steps=10,20", "batch_size=2,4,8", zipped=True)
    with pytest.raises(UserError, match="steps=10, batch_size=2 twice"):
        conditions("steps=10,10", "batch_size=2,2", zipped=True)


def test_a_range_of_seeds_is_their_number_and_the_first() -> None:
    assert split_seeds(["steps=1,2", "seeds=5:20"], None, 0) == (("steps=1,2",), 15, 5)
    assert split_seeds(["steps=1,2"], 3, 1000) == (("steps=1,2",), 3, 1000)
    for text in ("5", "5:5", "0,1", "0:9:3", "-1:3", ""):
        with pytest.raises(UserError, match=r"expected FIRST:END, such as 0:20 .*--set 'seeds=\[0,5,7\]'"):
            split_seeds([f"seeds={text}"], None, 0)
    with pytest.raises(UserError, match="given twice"):
        split_seeds(["seeds=0:3"], 3, 0)


def test_a_run_is_named_by_what_is_swept_and_not_by_the_values() -> None:
    names = {
        Request("p", "e", "paper", sweeps=sweeps).directory_name()
        for sweeps in [("a.b=1,2",), ("a.b=0.1:0.9:5",), ('a.b={"x":"y=1"},{"x":"z"}',)]
    }
    assert len(names) == 1
    assert swept_key("wd=5:a.b=0.1:0.9:5") == "wd=5:a.b"
    assert swept_key("wd=1:a.b=1,2") != swept_key("wd=5:a.b=1,2")
    # Without a sweep it is what it was.
    assert Request("p", "e", "paper").directory_name() == "paper"
    assert Request("p", "e", "paper", ("model.width=64",)).directory_name() == "paper+7a1fbb78"


def test_learning_rates_are_one_population_and_a_decay_of_zero_is_another(tiny: Path) -> None:
    _, (faults,) = find("tiny-paper/faults")

    def groups(*sweeps: str) -> list[int]:
        return [len(each) for each in populations(trajectories(faults.at_scale("paper", sweeps=sweeps)))]

    assert groups(f"stopping:{RATE}=1e-4..1e-1:50") == [100]
    assert groups("stopping:optimizer.weight_decay=0,0.1,0.2") == [2, 4]
    assert groups("stopping:model.hidden=[8],[16]") == [2, 2]


def test_the_size_of_a_sweep_is_told_with_a_time_by_the_recorded_speed(tiny: Path) -> None:
    _, (experiment,) = find("tiny-paper/main")
    request = Request("tiny-paper", "main", "paper", sweeps=("dense:steps=100,200",))
    asked, points = request.conditions(experiment), request.points(experiment)
    # Of dense, two seeds trained once to the longer horizon; of ticket, one for each end that it starts from.
    text = size_text(asked, points, {})
    assert text == "4 conditions, 6 members, 2 populations, 560 steps in all"
    recorded = {"minutes": 12.0, "steps": 20, "trained_together": 3, "device": "a laptop"}
    told = size_text(asked, points, {"dense": [recorded], "ticket": [recorded]})
    assert told == f"{text}; at the recorded speed (a laptop) about 112 min"


# What one sees.


def test_the_best_come_first_and_a_seed_that_failed_is_worse_than_all() -> None:
    finals = {"a": (0.5, 0.6), "b": (0.9, math.nan), "c": (0.2, 0.3), "d": (math.nan, math.nan)}
    rows = [(name, seed, 1, "accuracy/test", 0.7) for name in finals for seed in (0, 1)]
    rows += [(name, seed, step, "accuracy/test", value) for name, of in finals.items() for seed, value in enumerate(of)
             for step in range(2, 7)]  # fmt: skip
    points = {name: Point("base", {"x": place}) for place, name in enumerate(finals)}
    found = best_first(points, Table.of(rows))
    assert found[0] == ("condition", "final test accuracy", "best", "seeds")
    assert [row[0] for row in found[1:]] == ["a", "c", "b", "d"]
    assert found[1] == ("a", "0.550 (0.500 to 0.600)", "0.700 (0.700 to 0.700)", "2")
    assert found[3] == ("b", "0.900", "0.800 (0.700 to 0.900)", "2, 1 failed")
    assert found[4][1:] == ("–", "0.700 (0.700 to 0.700)", "2, 2 failed")


def test_of_equal_medians_the_better_mean_comes_first() -> None:
    finals = {"a": (1.0, 1.0, 0.9), "b": (1.0, 1.0, 1.0)}
    rows = [(name, seed, 1, "accuracy/test", value) for name, of in finals.items() for seed, value in enumerate(of)]
    points = {name: Point("base", {"x": place}) for place, name in enumerate(finals)}
    assert [row[0] for row in best_first(points, Table.of(rows))[1:]] == ["b", "a"]


def test_of_losses_the_lowest_is_the_best() -> None:
    rows = [
        (name, 0, step, "loss/test", value + 1 / step) for name, value in (("a", 3.0), ("b", 2.0)) for step in (1, 2)
    ]
    points = {"a": Point("base", {"x": 1}), "b": Point("base", {"x": 2})}
    (_, first, second) = best_first(points, Table.of(rows))
    assert first == ("b", "2.75", "2.5", "1")
    assert second[0] == "a"


@dataclasses.dataclass
class Named:
    """All that a figure asks of a condition."""

    name: str


def drawn(points: dict[str, Point], table: Table, zipped: bool = False) -> list[dict[str, list[tuple[float, float]]]]:
    """Returns of each figure its lines: the points of each, by its name."""

    found = []
    for figure in figures_of(points, table, zipped):
        drawing = figure.draw(table, [Named(name) for name in points], 10.0)
        (axes,) = drawing.axes
        found.append(
            {line.get_label(): list(zip(line.get_xdata(), line.get_ydata(), strict=True)) for line in axes.lines
             if not line.get_label().startswith("_")}
        )  # fmt: skip
    return found


def at(points: dict[str, Point], value) -> Table:
    return Table.of([(name, 0, 1, "accuracy/test", value(point.values)) for name, point in points.items()])


def test_one_axis_has_a_line_of_final_and_one_of_best_values() -> None:
    points = {f"c{x}": Point("base", {"rate": x}) for x in (0.001, 0.1, 0.01)}
    rows = [(name, 0, step, "accuracy/test", point.values["rate"] * (3 - step)) for name, point in points.items()
            for step in (1, 2)]  # fmt: skip
    (lines,) = drawn(points, Table.of(rows))
    assert lines["best"] == [(x, pytest.approx(2 * x)) for x in (0.001, 0.01, 0.1)]
    assert lines["final"] == [(x, pytest.approx(1.5 * x)) for x in (0.001, 0.01, 0.1)]


def test_two_axes_are_two_figures_each_with_lines_by_the_other() -> None:
    points = {f"{x} {y}": Point("base", {"rate": x, "kind": y}) for x in (1, 2) for y in ("a", "b")}
    by_rate, by_kind = drawn(points, at(points, lambda values: values["rate"] + 10 * (values["kind"] == "b")))
    assert by_rate == {"kind a": [(1, 1), (2, 2)], "kind b": [(1, 11), (2, 12)]}
    assert by_kind == {"rate 1": [(0, 1), (1, 11)], "rate 2": [(0, 2), (1, 12)]}


def test_of_more_axes_each_value_has_the_best_condition() -> None:
    points = {f"{x}{y}{z}": Point("base", dict(x=x, y=y, z=z)) for x in (1, 2) for y in (1, 2) for z in (1, 2)}
    by_x, by_y, by_z = drawn(points, at(points, lambda v: v["x"] + 0.1 * v["y"] - 0.01 * v["z"]))
    assert by_x["final"] == [(1, pytest.approx(1.19)), (2, pytest.approx(2.19))]
    assert by_y["final"] == [(1, pytest.approx(2.09)), (2, pytest.approx(2.19))]
    assert by_z["final"] == [(1, pytest.approx(2.19)), (2, pytest.approx(2.18))]


def test_axes_that_go_together_have_one_line_each() -> None:
    points = {f"{x}": Point("base", {"x": x, "y": 2 * x}) for x in (1, 2)}
    by_x, by_y = drawn(points, at(points, lambda values: values["x"]), zipped=True)
    assert by_x["final"] == [(1, 1), (2, 2)]
    assert by_y["final"] == [(2, 1), (4, 2)]


def test_labels_of_an_axis_do_not_run_into_each_other() -> None:
    for values in ((1e-4, 3.16228e-4, 1e-3, 1e-2, 1e-1), ("a long word", "another long word", "short", "a fourth")):
        points = {f"{value}": Point("base", {"x": value}) for value in values}
        table = at(points, lambda values: 0.5)
        (figure,) = figures_of(points, table, zipped=False)
        drawing = figure.draw(table, [Named(name) for name in points], 3.75)
        drawing.draw_without_rendering()
        labels = [each for each in drawing.axes[0].get_xticklabels() if each.get_text()]
        assert len(labels) >= 3
        if labels[0].get_rotation() == 0:
            boxes = [each.get_window_extent() for each in labels]
            assert all(left.x1 < right.x0 for left, right in itertools.pairwise(boxes))


# End to end.


def run(path: Path, observer: SilentObserver | None = None, **arguments) -> Reproduction:
    _, (experiment,) = find("tiny-paper/main")
    request = Request("tiny-paper", "main", "paper", sweeps=(f"{RATE}=0.01,0.02",), seeds=1)
    return reproduce(
        experiment, request, path, observer=observer or SilentObserver(), arguments=RunArguments(**arguments)
    )


def test_a_sweep_that_was_stopped_goes_on_bit_for_bit(tiny: Path) -> None:
    run(tiny / "whole")
    with pytest.raises(Interrupted):
        run(tiny / "cut", Stopper(9))
    done = run(tiny / "cut")
    assert_same_runs(tiny / "whole", tiny / "cut")
    assert len(load_run(tiny / "cut").populations()) == 2  # the parents' and the children's
    assert done.verdicts == ()
    assert "no claim is judged: settings were swept with --sweep" in done.notes


def test_a_sweep_from_the_command_to_the_report_and_back(tiny: Path) -> None:
    whole = ("reproduce", "tiny-paper/faults", "--scale", "smoke", "--sweep", "seeds=3:5")
    command = (*whole, f"--sweep=stopping:{RATE}=0.01,0.02")
    done = invoke(*command)
    assert done.exit_code == 0, done.output
    assert "sweep: 2 conditions, 4 members, 1 population, 16 steps in all" in done.output
    assert "no claim is judged: settings were swept with --sweep" in done.output
    table = done.output[done.output.index("  condition ") :].splitlines()[:3]
    assert sorted(line.split()[1] for line in table[1:]) == ["learning_rate=0.01", "learning_rate=0.02"]
    (path,) = (tiny / "runs" / "tiny-paper" / "faults").iterdir()
    page = (path / "report.html").read_text()
    assert "The final test accuracy of &#39;stopping&#39;, and the best at any step, by learning rate." in page
    assert "<h3>Best first</h3>" in page
    assert [(each.name, each.seed) for each in load_run(path).members] == [
        (f"stopping learning_rate={rate}", seed) for rate in (0.01, 0.02) for seed in (3, 4)
    ]
    # The same command shows it, and so do the commands on the run.
    rows = {file: file.read_bytes() for file in path.glob("populations/*/metrics.jsonl")}
    for args in (command, ("resume", str(path)), ("report", str(path))):
        again = invoke(*args)
        assert again.exit_code == 0, again.output
        assert all(line in again.output for line in table)
    # One more value trains beside the others.
    more = invoke(*whole, f"--sweep=stopping:{RATE}=0.01,0.02,0.5")
    assert "stopping learning_rate=0.5" in more.output
    assert {file: file.read_bytes() for file in rows} == rows
    assert [len(each.identities()) for each in load_run(path).populations()] in ([4, 2], [2, 4])
    # What would have no effect is refused.
    assert "leave one of them out" in invoke(*command, "--until-settled").output
    assert "not recorded when settings were swept" in invoke(*command, "--record").output


def test_a_job_and_a_plan_know_sweeps(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    axes = (f"--sweep={RATE}=0.01,0.02", "--sweep=optimizer.weight_decay=1,2", "--zip", "--sweep=seeds=0:5")
    job = invoke("submit", "tiny-paper/main", "--to", "kubernetes", "--image=i", "--volume=v", "--dry-run", *axes)
    assert job.exit_code == 0, job.output
    for text in (axes[0], axes[1], "--zip", "--seeds=5"):
        assert text in job.output
    assert invoke("submit", "tiny-paper/main", "--to", "local", "--dry-run", "--sweep=stepz=1,2").exit_code == 2

    def grouped(members):  # and nothing is planned: that takes what compiles for the devices
        raise UserError(", ".join(f"{each.condition.name} {each.seed}" for each in members[4:6]))

    monkeypatch.setattr("jaxgen.cli.plan.populations", grouped)
    plan = invoke("plan", "tiny-paper/main", "--topology", "h200:1", *axes)
    assert plan.output == (
        "jaxgen: dense learning_rate=0.01 weight_decay=1 4, dense learning_rate=0.02 weight_decay=2 0\n"
    )
