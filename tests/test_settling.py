"""Adding seeds until claims are settled, what is recorded and not trained again, and claims that changed."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from jaxgen.cli.main import main
from jaxgen.experiment import YES, Compare, EverySeed, at_least
from jaxgen.ledger.settling import more_seeds, planned_looks
from jaxgen.ledger.verdict import judge_all
from jaxgen.table import Table

WORDS = {"name": "c", "says": "", "place": "", "paper": ""}

PAPER = '''"""A paper of one comparison."""

import dataclasses

from jaxgen.condition import Condition, Every
from jaxgen.experiment import Compare, EverySeed, Experiment, Paper, Scale, Typical, at_least, at_most
from jaxgen.models.config import MLPConfig
from jaxgen.optimizers import SGD
from jaxgen.tasks import ModularTask

slow = Condition(
    name="slow", task=ModularTask(p=5, operation="x+y", train_fraction=0.8, format="a b"),
    model=MLPConfig(hidden=(4,), activation="relu"), optimizer=SGD(learning_rate=0.01), steps=4,
    seeds=SEEDS, measure_at=Every(interval=2),
)
fast = dataclasses.replace(slow, name="fast", optimizer=SGD(learning_rate=0.05))
other = dataclasses.replace(slow, name="other", optimizer=SGD(learning_rate=0.02))
main = Experiment(
    name="main", title="fast and slow", conditions=(slow, fast, other),
    claims=(
        EverySeed(name="unsettled", says="", place="", paper="", expect=at_least(1),
                  value=lambda t: (t.final("slow", "loss/train") > 0) * (t.final("fast", "loss/train") > 0)),
        Typical(name="settled", says="", place="", paper="", expect=at_least(BOUND),
                value=lambda t: t.final("other", "loss/train")),
    ),
)
PAPER = Paper(slug="growing", title="Growing", authors="N", year=2025, arxiv="0000.00003", experiments=(main,))
'''


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("JAXGEN_EXPERIMENTS", str(tmp_path / "papers"))
    write(tmp_path / "papers" / "growing")
    return tmp_path / "papers" / "growing"


def write(folder: Path, *, seeds: str = "(0, 1, 2)", bound: str = "0.0") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "__init__.py").write_text(PAPER.replace("SEEDS", seeds).replace("BOUND", bound))


def invoke(*args: str, code: int = 0) -> str:
    result = CliRunner().invoke(main, list(args))
    assert result.exit_code == code, result.output + str(result.exception)
    return result.output


def recorded(folder: Path) -> dict:
    return json.loads((folder / "results" / "paper.json").read_text())["main"]


def seeds_of(entry: dict) -> dict[str, list[list[str]]]:
    return {name: [list(each["seeds"]) for each in of] for name, of in entry["conditions"].items()}


def members(run: Path) -> int:
    return sum(len(json.loads(path.read_text())["members"]) for path in run.glob("populations/*/run.json"))


def test_seeds_of_what_is_unsettled_double_until_it_is_settled(folder: Path, tmp_path: Path) -> None:
    runs = ("--runs", str(tmp_path / "runs"))
    output = invoke("reproduce", "growing/main", *runs, "--until-settled", "--at-most", "24")
    run = tmp_path / "runs" / "growing" / "main" / "paper"
    results = json.loads((run / "results.json").read_text())
    # Planned are 4 looks (3, 6, 12, 24 seeds), each at 0.9875: 3 of 3 leave open what 7 of 7 or more settle.
    assert results["looks"] == 4
    assert results["grown"] == [["fast", 12], ["slow", 12]]
    assert {each["claim"]: (each["outcome"], len(each["values"])) for each in results["claims"]} == {
        "unsettled": ("reproduced", 12),
        "settled": ("reproduced", 3),
    }
    assert "12 of 12 seeds hold" in output
    # The same command finds it settled, with other looks it is another question.
    again = invoke("reproduce", "growing/main", *runs, "--until-settled", "--at-most", "24")
    assert members(run) == 2 * 12 + 3
    assert "reproduced" in again
    assert "was begun with 4 looks" in invoke("reproduce", "growing/main", *runs, "--until-settled", code=2)
    invoke("report", str(run))


def test_looking_often_is_wrong_no_more_often() -> None:
    """No effect, five seeds, doubled up to 40 while it is inconclusive: 'reproduced' at most 2.5 % of the time."""
    random = np.random.default_rng(0)
    claims = {
        "compare": Compare(**WORDS, by="difference", expect=at_least(0), value=lambda t: t.final("a", "x")),
        "every": EverySeed(**WORDS, expect=YES, value=lambda t: t.final("a", "x") > 0),
    }
    for kind, claim in claims.items():
        wrong = 0
        for _ in range(1500):
            drawn = random.normal(size=40).tolist()
            for seeds in (5, 10, 20, 40):
                values = drawn[:seeds] if kind == "compare" else [float(value > 0) for value in drawn[:seeds]]
                holds = claim.estimate(values, 1 - 0.05 / 4).holds
                if holds is not None:
                    wrong += holds
                    break
        assert wrong / 1500 <= (0.025 if kind == "compare" else 0.05) + 0.01


def test_the_looks_share_the_error() -> None:
    table = Table.of([("a", seed, 0, "x", 1.0) for seed in range(5)])
    claim = EverySeed(**WORDS, expect=at_least(1), value=lambda t: t.final("a", "x"))
    assert judge_all([claim], table, "paper")[0].outcome == "reproduced"
    assert judge_all([claim], table, "paper", looks=4)[0].outcome == "inconclusive"


def test_the_parents_of_what_is_unsettled_grow_with_it() -> None:
    from jaxgen.condition import Condition
    from jaxgen.models.config import MLPConfig
    from jaxgen.optimizers import SGD
    from jaxgen.starts import From
    from jaxgen.tasks import ModularTask

    parent = Condition(
        name="parent", task=ModularTask(p=5, operation="x+y", train_fraction=0.8, format="a b"),
        model=MLPConfig(hidden=(4,), activation="relu"), optimizer=SGD(learning_rate=0.1), steps=2, seeds=(0, 1, 2),
    )  # fmt: skip
    child = dataclasses.replace(parent, name="child", start=From(condition="parent"))
    table = Table.of([("child", seed, 0, "x", 1.0) for seed in range(3)])
    claim = EverySeed(**WORDS, expect=at_least(1), value=lambda t: t.final("child", "x"))
    verdicts = judge_all([claim], table, "paper")
    assert more_seeds((parent, child), verdicts, {}, 40) == {"parent": 6, "child": 6}
    assert more_seeds((parent, child), verdicts, {}, 3) is None
    assert more_seeds((parent, child), judge_all([claim], Table.of([]), "paper"), {}, 40) is None
    assert planned_looks((parent, child), 40) == 5


def test_what_is_recorded_is_not_trained_again(folder: Path, tmp_path: Path) -> None:
    invoke("reproduce", "growing/main", "--runs", str(tmp_path / "first"), "--record")
    first = recorded(folder)
    assert set(map(str, seeds_of(first)["fast"])) == {"['0', '1', '2']"}
    table = (folder / "results" / "paper" / "main.csv").read_text()
    write(folder, seeds="(0, 1, 2, 3, 4)")
    invoke("reproduce", "growing/main", "--runs", str(tmp_path / "second"), "--record")
    second = recorded(folder)
    assert members(tmp_path / "second" / "growing" / "main" / "paper") == 3 * 2
    assert seeds_of(second)["fast"] == [["0", "1", "2"], ["3", "4"]]
    assert second["conditions"]["fast"][0] == first["conditions"]["fast"][0]
    grown = (folder / "results" / "paper" / "main.csv").read_text()
    assert set(table.splitlines()) <= set(grown.splitlines())
    assert {each["claim"]: (each["outcome"], len(each["values"])) for each in second["claims"]} == {
        "unsettled": ("reproduced", 5),
        "settled": ("reproduced", 5),
    }
    # Whoever looks at that run later sees the recorded seeds too.
    assert "5 of 5 seeds hold" in invoke("report", str(tmp_path / "second" / "growing" / "main" / "paper"))
    results = json.loads((tmp_path / "second" / "growing" / "main" / "paper" / "results.json").read_text())
    assert len(results["claims"][0]["values"]) == 5


def test_seeds_are_not_recorded_beside_those_of_other_settings(folder: Path, tmp_path: Path) -> None:
    invoke("reproduce", "growing/main", "--runs", str(tmp_path / "runs"), "--record")
    text = (folder / "__init__.py").read_text()
    (folder / "__init__.py").write_text(text.replace("learning_rate=0.05", "learning_rate=0.06"))
    two = ("--seeds", "2", "--first-seed", "3", "--record")
    output = invoke("reproduce", "growing/main", "--runs", str(tmp_path / "more"), *two, code=2)
    assert "seeds 0, 1, 2 of 'fast' are recorded with other settings" in output
    invoke("reproduce", "growing/main", "--runs", str(tmp_path / "all"), "--record")
    assert members(tmp_path / "all" / "growing" / "main" / "paper") == 3  # of the condition that changed
    tuned = ("--seeds", "2", "--first-seed", "1000", "--record")
    assert "for tuning" in invoke("reproduce", "growing/main", "--runs", str(tmp_path / "tune"), *tuned, code=2)
    invoke("reproduce", "growing/main", "--runs", str(tmp_path / "tune"), *tuned[:-1])


def test_a_claim_may_change_while_one_tunes(folder: Path, tmp_path: Path) -> None:
    runs = ("reproduce", "growing/main", "--runs", str(tmp_path / "runs"))
    invoke(*runs, "--seeds", "1", "--first-seed", "1000")
    write(folder, bound="0.5")
    invoke(*runs)
    results = json.loads((tmp_path / "runs" / "growing" / "main" / "paper" / "results.json").read_text())
    assert not any(each["changed"] for each in results["claims"])


def test_a_claim_that_changed_after_its_results_says_so(folder: Path, tmp_path: Path) -> None:
    invoke("reproduce", "growing/main", "--runs", str(tmp_path / "runs"), "--record")
    assert [each["changed"] for each in recorded(folder)["claims"]] == [False, False]
    run = tmp_path / "runs" / "growing" / "main" / "paper"
    # Times are of whole seconds.
    claims = json.loads((run / "claims.json").read_text())
    assert set(claims["claims"]) == {"unsettled", "settled"}
    write(folder, bound="0.5")
    invoke("report", str(run))
    results = json.loads((run / "results.json").read_text())
    assert {each["claim"]: each["changed"] for each in results["claims"]} == {"unsettled": False, "settled": True}
    assert "The claim changed after its first results." in (run / "report.html").read_text()
