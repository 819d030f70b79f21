"""The calls that a notebook or a script makes: `jaxgen.reproduce`, `jaxgen.fit`, and what a run gives."""

import ast
import dataclasses
import json
import linecache
import signal
import subprocess
import sys
import threading
import types
from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np
import pytest

import jaxgen
from jaxgen.api.cells import code_of
from jaxgen.cli.progress import ProgressDisplay
from jaxgen.condition import Condition
from jaxgen.errors import UserError
from jaxgen.experiment import Experiment, Paper
from jaxgen.ledger.discovery import find
from jaxgen.ledger.sources import check_unchanged
from jaxgen.models.config import MLPConfig
from jaxgen.optimizers import AdamW
from jaxgen.run.directory import PopulationDirectory
from jaxgen.tasks import ModularTask
from tests.tiny_paper import invoke

ROOT = Path(jaxgen.__file__).parents[1]
DECAY = Condition(
    name="decay, strong",
    task=ModularTask(p=5, operation="x+y", format="a b", train_fraction=0.6),
    model=MLPConfig(hidden=(6,), activation="relu"),
    optimizer=AdamW(learning_rate=0.02, weight_decay=0.5),
    steps=12,
    seeds=(0, 1),
    snapshots=(0,),
)


def rows(run: jaxgen.Run) -> list[tuple]:
    return list(run.table.rows.itertuples(index=False, name=None))


def reproduce(**more) -> jaxgen.Run:
    return jaxgen.reproduce("tiny-paper/main", progress=False, **more)


def test_the_names_that_a_type_checker_sees_are_those_that_are_there() -> None:
    tree = ast.parse(Path(jaxgen.__file__).read_text())
    (seen,) = (node for node in tree.body if isinstance(node, ast.If))
    declared = {name.name: node.module for node in seen.body for name in node.names}
    assert declared == jaxgen._WHERE
    assert {*declared, "__version__"} == set(jaxgen.__all__)
    assert all(getattr(jaxgen, name).__module__ == where for name, where in declared.items())
    assert set(jaxgen.__all__) <= set(dir(jaxgen))
    assert Path(jaxgen.__file__).with_name("py.typed").exists()


def test_the_call_and_the_command_make_one_run(tiny: Path) -> None:
    run = reproduce(scale="smoke", set={"dense:optimizer.learning_rate": 0.01, "steps": 4})
    again = ("--scale", "smoke", "--set", "steps=4", "--set", "dense:optimizer.learning_rate=0.01")  # in another order
    done = invoke("reproduce", "tiny-paper/main", *again)
    assert done.exit_code == 0
    assert str(run.path.relative_to(tiny)) in done.output
    assert [each.name for each in (tiny / "runs" / "tiny-paper" / "main").iterdir()] == [run.path.name]
    (population, *_) = run.populations()
    events = [json.loads(line)["event"] for line in (population.path / "events.jsonl").read_text().splitlines()]
    assert events.count("compiled") == 2  # advance and measure, by the call; the command trained nothing
    assert (run.path / "report.html").exists()
    assert (population.path / "tensorboard").exists()
    assert {each["outcome"] for each in run.verdicts} == {"not judged"}
    assert [each.name for each in run.members] == ["dense", "dense", "ticket", "ticket"]
    assert {each.condition.steps for each in run.members} == {4}


def test_what_is_imported_is_the_same_as_its_id(tiny: Path) -> None:
    found, (main,) = find("tiny-paper/main")
    by_object = jaxgen.reproduce(main, scale="smoke", progress=False)
    assert by_object.path == reproduce(scale="smoke").path
    with pytest.raises(UserError, match=r"'tiny-paper' is in .*/tiny_paper, and this is another one"):
        jaxgen.reproduce(dataclasses.replace(found.paper, experiments=(main,)))
    changed = dataclasses.replace(main, name="changed", conditions=main.conditions[:1], claims=(), figures=())
    own = jaxgen.reproduce(changed, scale="smoke", progress=False)
    assert own.path.parts[-3:] == ("notebook", "changed", "smoke")
    assert own.member(seed=0).identity == by_object.member(condition="dense", seed=0).identity
    mine = Paper(slug="mine", title="Mine", authors="I", year=2026, arxiv="0000.00000", experiments=(changed, main))
    runs = jaxgen.reproduce_paper(mine, scale="smoke", progress=False)
    assert {name: each.path.parts[-3] for name, each in runs.items()} == {"changed": "mine", "main": "mine"}
    assert (own.path.parents[2] / "mine" / "smoke.html").exists()


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda: jaxgen.reproduce("tiny-papr/main"), "did you mean 'tiny-paper'"),
        (lambda: jaxgen.reproduce("tiny-paper"), "has several experiments: tiny-paper/main, tiny-paper/faults"),
        (lambda: jaxgen.reproduce(DECAY), "jaxgen.fit trains a condition"),
        (lambda: jaxgen.reproduce(3), "got 3, expected an ID, an Experiment or a Paper"),
        (lambda: reproduce(scale="mini"), "no scale 'mini'"),
        (lambda: reproduce(set={"model.widht": 3}), "no setting 'model.widht'"),
        (lambda: reproduce(set="steps=3"), "set: got 'steps=3', expected {KEY: VALUE}"),
        (lambda: reproduce(seeds=0), "seeds: got 0"),
        (lambda: reproduce(mesh="member=400"), "400"),
        (lambda: reproduce(save_every="soon"), "save_every: got 'soon'"),
        (lambda: jaxgen.fit(), "fit: got nothing"),
        (lambda: jaxgen.fit("tiny-paper/main"), "fit: got str, expected conditions"),
        (lambda: jaxgen.fit(DECAY, steps=0), "steps: got 0"),
        (lambda: jaxgen.fit(DECAY, DECAY), "two conditions 'decay, strong'"),
        (lambda: jaxgen.fit(DECAY, name="../out"), "got the name '../out'"),
    ],
)
def test_a_wrong_request_is_one_line_and_leaves_nothing(tiny: Path, call, told: str) -> None:
    with pytest.raises(UserError) as refusal:
        call()
    assert told in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert not (tiny / "runs").exists()


def test_numbers_of_another_width_are_refused(tiny: Path) -> None:
    with jax.enable_x64(True), pytest.raises(UserError, match="jax_enable_x64 is on here"):
        reproduce()
    assert not (tiny / "runs").exists()


def test_one_process_at_a_time(tiny: Path) -> None:
    run = reproduce(scale="smoke")
    held = PopulationDirectory(run.populations()[0].path).lock(print)
    with held, pytest.raises(UserError, match="is being trained by process"):
        reproduce(scale="smoke", extend=20)


@pytest.fixture
def _ctrl_c_is_heard() -> Iterator[None]:
    """A shell starts what runs in the background with SIGINT ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def interrupt_at(monkeypatch: pytest.MonkeyPatch, step: int, times: int) -> None:
    """Presses Ctrl-C so often as soon as the progress has come to a step."""
    shown = ProgressDisplay.advanced

    def advanced(self, at, found) -> None:
        shown(self, at, found)
        if at >= step and not pressed:
            pressed.append(at)
            for _ in range(times):
                signal.raise_signal(signal.SIGINT)

    pressed: list[int] = []
    monkeypatch.setattr(ProgressDisplay, "advanced", advanced)


@pytest.mark.usefixtures("_ctrl_c_is_heard")
def test_ctrl_c_saves_and_the_same_call_goes_on(tiny: Path, monkeypatch: pytest.MonkeyPatch, capfd) -> None:
    handler = signal.getsignal(signal.SIGINT)
    whole = rows(reproduce(runs="whole"))
    interrupt_at(monkeypatch, step=3, times=1)
    with pytest.raises(
        jaxgen.Interrupted, match=r"stopped at step \d+ of 40; the state is saved; the same call goes on"
    ):
        jaxgen.reproduce("tiny-paper/main")
    assert signal.getsignal(signal.SIGINT) is handler
    assert "stopping and saving; interrupt again" in capfd.readouterr().err
    assert rows(jaxgen.reproduce("tiny-paper/main")) == whole
    out, err = capfd.readouterr()
    assert not out
    assert f"dense (2 runs): from step {0}" not in err  # it went on
    assert signal.getsignal(signal.SIGINT) is handler


@pytest.mark.long
@pytest.mark.usefixtures("_ctrl_c_is_heard")
def test_ctrl_c_twice_ends_at_once_and_holds_nothing(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = rows(reproduce(runs="whole"))
    interrupt_at(monkeypatch, step=3, times=2)
    with pytest.raises(KeyboardInterrupt, match="the same call goes on"):
        jaxgen.reproduce("tiny-paper/main")
    assert {each.name for each in threading.enumerate() if not each.daemon} == {"MainThread"}
    assert rows(reproduce()) == whole


def test_a_thread_may_train_and_touches_no_handler(tiny: Path) -> None:
    handler, found = signal.getsignal(signal.SIGINT), []
    thread = threading.Thread(target=lambda: found.append(reproduce(scale="smoke")))
    thread.start()
    thread.join()
    assert len(found[0].members) == 4
    assert signal.getsignal(signal.SIGINT) is handler


def test_conditions_of_ones_own_train_without_a_paper(tiny: Path) -> None:
    weak = dataclasses.replace(DECAY, name="weak", optimizer=AdamW(learning_rate=0.02, weight_decay=0.1))
    run = jaxgen.fit(DECAY, weak, progress=False)
    assert run.path.parts[-3:] == ("notebook", "decay-strong", "paper")
    assert run.path == jaxgen.fit(DECAY, weak, progress=False).path
    assert set(run.table.conditions()) == {"decay, strong", "weak"}
    assert len(run.populations()) == 1
    assert run.verdicts == []
    assert run.notes == []
    assert run.figures() == ["accuracy", "loss"]
    assert [axes.get_title("left") for axes in run.figure("accuracy").axes] == ["decay, strong", "weak"]
    with pytest.raises(UserError, match="no figure 'acuracy'; did you mean 'accuracy'"):
        run.figure("acuracy")
    more = jaxgen.fit(DECAY, weak, seeds=3, steps=20, progress=False)
    assert more.table.seeds() == [0, 1, 2]
    assert more.table.rows["step"].max() == 20
    read = jaxgen.load_run(run.path)
    assert rows(read) == rows(more)
    with pytest.raises(UserError, match="was asked for from Python"):
        read.figure("accuracy")
    told = invoke("resume", str(run.path))
    assert told.exit_code == 2
    assert "Python asked for that run, and the same call there goes on with it" in told.output


def test_a_network_answers_as_its_parameters_say(tiny: Path) -> None:
    run = jaxgen.fit(DECAY, progress=False)
    member = run.member(condition="decay, strong", seed=1)
    assert member is run.member(1)
    assert member is run.member(seed=1)
    network = member.network()
    assert (network.step, member.network(0).step) == (12, 0)
    examples = network.examples("test")
    p = member.params()
    hidden = np.maximum(
        p["layer_0"]["kernel"][np.arange(2), examples.inputs].sum(1) + p["layer_0"]["bias"], 0
    )  # by hand: each token selects a row
    logits = hidden @ p["output"]["kernel"] + p["output"]["bias"]
    np.testing.assert_allclose(network.logits(examples.inputs)[:, 0], logits, rtol=1e-5, atol=1e-6)
    accuracy = (logits.argmax(1) == examples.targets[:, 0]).mean()
    assert accuracy == pytest.approx(run.table.seed(1).at("decay, strong", "accuracy/test", 12))
    assert network.taps() == {"hidden_0": (1, 6)}
    np.testing.assert_allclose(
        network.activations("hidden_0", examples.inputs)["hidden_0"], hidden, rtol=1e-5, atol=1e-6
    )
    without = network.patched({"hidden_0": lambda x: x.at[:, 2].set(0)}, examples.inputs)[:, 0]
    np.testing.assert_allclose(without, logits - hidden[:, 2:3] * p["output"]["kernel"][2], rtol=1e-5, atol=1e-5)
    assert network.examples("train", 3).inputs.shape == (3, 2)


@pytest.mark.parametrize(
    ("ask", "told"),
    [
        (lambda run, net: run.member(condition="decay strong"), "no condition .*; did you mean 'decay, strong'"),
        (lambda run, net: run.member(), "several fit, name condition and seed; there is: 'decay, strong' seed 0, "),
        (lambda run, net: run.member(seed=7), "got seed 7; there is: 'decay, strong' seed 0, 'decay, strong' seed 1"),
        (lambda run, net: run.member(0, seed=1), "expected one of the two ways"),
        (lambda run, net: run.member(0).network(5), "step: got 5, expected one whose parameters are kept: 0, 12"),
        (lambda run, net: net.examples("tset"), "no split 'tset'; did you mean 'test'"),
        (lambda run, net: net.activations("hidden_1", [[0, 1]]), "no tap 'hidden_1'"),
        (lambda run, net: net.logits([0, 1]), r"inputs: got \(2,\) int32, expected \(B, S\) int32"),
        (lambda run, net: net.logits([[0.5, 1]]), r"inputs: got \(1, 2\) float32, expected \(B, S\) int32"),
        (lambda run, net: net.patched({"hidden_0": lambda x: x[:, :1]}, [[0, 1]]), r"gave \(1, 1\) float32, expected"),
    ],
)  # fmt: skip
def test_what_a_run_does_not_have_is_told(fitted: jaxgen.Run, ask, told: str) -> None:
    with pytest.raises(UserError, match=told):
        ask(fitted, fitted.member(0).network())


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> jaxgen.Run:
    return jaxgen.fit(DECAY, runs=tmp_path_factory.mktemp("runs"), progress=False)


SCRIPT = """
import dataclasses

import flax.linen as nn
import jax
import numpy as np

import jaxgen
from jaxgen.condition import Condition
from jaxgen.models.config import ModelConfig
from jaxgen.models.taps import Tap
from jaxgen.optimizers import AdamW
from jaxgen.tasks import ModularTask

SCALE = 1.0


def widened(width):
    return 2 * width


class Network(nn.Module):
    width: int
    vocabulary: int

    @nn.compact
    def __call__(self, inputs_BS, train=False, dropout_rate=0.0):
        x = nn.Embed(self.vocabulary, self.width)(inputs_BS).sum(1) * SCALE
        return nn.Dense(self.vocabulary)(Tap(name="hidden")(nn.relu(x)))[:, None]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Summed(ModelConfig):
    width: int

    def module(self, shape, compute_dtype, *, remat, attention_device):
        return Network(widened(self.width), shape.vocabulary)


task = ModularTask(p=5, operation="x+y", format="a b", train_fraction=0.6)
optimizer = AdamW(learning_rate=0.1)
condition = Condition(name="own", task=task, model=Summed(width=4), optimizer=optimizer, steps=3, seeds=(0,))
try:
    run = jaxgen.fit(condition, progress=False)
except jaxgen.UserError as refusal:
    print(refusal)
else:
    member = jaxgen.load_run(run.path).member(seed=0)
    print(member.settings["model"], member.condition == condition, member.network().taps())
"""


def test_parts_of_a_script_are_kept_and_changed_ones_are_refused(tiny: Path) -> None:
    def said(text: str) -> str:
        (tiny / "own.py").write_text(text)
        done = subprocess.run([sys.executable, "own.py"], capture_output=True, text=True, env={"PYTHONPATH": str(ROOT)})
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    kind = "{'kind': 'notebook/Summed', 'dropout': 0.0, 'width': 4} True {'hidden': (1, 8)}"
    assert said(SCRIPT) == kind
    assert "was trained by other code: Network.py" in said(SCRIPT.replace("nn.relu", "nn.gelu"))
    (run,) = (tiny / "runs").glob("notebook/own/paper")
    read = jaxgen.load_run(run)  # where the class is not
    assert read.table.seeds() == [0]
    assert read.member(0).params()["Dense_0"]["kernel"].shape == (8, 5)
    with pytest.raises(UserError, match=r"unknown kind of config 'notebook/Summed': a notebook or script defined it"):
        read.member(0).network()


def test_the_code_of_a_cell_is_known_with_what_it_uses(monkeypatch: pytest.MonkeyPatch) -> None:
    def code(text: str) -> dict[str, str]:
        # As a notebook runs a cell: no module has the code, and linecache knows it by the cell's name.
        cell, namespace = text.partition("try:")[0], types.ModuleType("__main__")
        monkeypatch.setitem(linecache.cache, "<cell>", (len(cell), None, cell.splitlines(keepends=True), "<cell>"))
        monkeypatch.setitem(sys.modules, "__main__", namespace)
        exec(compile(cell, "<cell>", "exec"), namespace.__dict__)
        return code_of([namespace.condition])

    plain = code(SCRIPT)
    assert set(plain) == {"Summed", "Network", "widened", "SCALE"}
    assert plain["SCALE"] == "SCALE = 1.0"
    assert code(SCRIPT.replace("SCALE = 1.0", "# A comment.\nSCALE = 1.0")) == plain
    assert code(SCRIPT + "\nunused = 3") == plain
    edits = {"widened": ("return 2 *", "return 3 *"), "SCALE": ("1.0", "2.0"), "Network": ("nn.relu", "nn.gelu")}
    for name, (old, new) in edits.items():
        changed = code(SCRIPT.replace(old, new))
        assert [each for each in plain if changed[each] != plain[each]] == [name]
    assert code_of([DECAY]) == {}


def test_of_a_notebook_only_what_is_asked_for_now_and_then_is_compared(tmp_path: Path) -> None:
    kept, now = tmp_path / "run" / "paper", tmp_path / "now"
    for folder, names in ((kept, {"A": "1", "B": "1"}), (now, {"B": "1", "C": "1"})):
        folder.mkdir(parents=True)
        for name, value in names.items():
            (folder / f"{name}.py").write_text(f"{name} = {value}")
    check_unchanged(kept.parent, now, accept=False, of_both=True)
    (now / "B.py").write_text("B = 2")
    with pytest.raises(UserError, match=r"other code: B\.py in"):
        check_unchanged(kept.parent, now, accept=False, of_both=True)


@pytest.mark.long
def test_a_paper_that_is_edited_meanwhile_is_read_anew(tiny: Path) -> None:
    notebook = tiny / "papers" / "tiny_paper" / "__init__.py"
    parts = notebook.with_name("parts.py")
    parts.write_text("from jaxgen.optimizers import SGD\n\n\nclass Mine(SGD):\n    bonus = 1\n")
    text = notebook.read_text().replace("SGD(learning_rate=1e6)", "Mine(learning_rate=1e6)")
    notebook.write_text(text.replace("import dataclasses\n", "import dataclasses\n\nfrom .parts import Mine\n", 1))
    first = reproduce(scale="smoke")
    parts.write_text(parts.read_text().replace("bonus = 1", "bonus = 22"))
    with pytest.raises(UserError, match=r"was trained by other code: parts.py in "):
        reproduce(scale="smoke")
    assert find("tiny-paper/faults")[1][0].conditions[0].optimizer.bonus == 22
    assert reproduce(scale="smoke", fresh=True).path != first.path


def test_an_experiment_with_broken_claims_is_trained_and_told(tiny: Path) -> None:
    _, (main,) = find("tiny-paper/main")
    broken = dataclasses.replace(main.claims[0], value=lambda t: {}[t.final("dense", "accuracy/train")])
    own = Experiment(name="broken", title="Broken", conditions=main.conditions[:1], claims=(broken,))
    with pytest.raises(UserError, match=r"claim 'fits': .*mend it, and give the same call again"):
        jaxgen.reproduce(own, progress=False)
    mended = jaxgen.reproduce(dataclasses.replace(own, claims=main.claims[:1]), progress=False)
    assert [each["outcome"] for each in mended.verdicts] == ["inconclusive"]
