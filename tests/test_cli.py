"""The command line as a user meets it: in processes of its own where that matters."""

import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import rich.table

from jaxgen.cli import columns
from jaxgen.cli.console import Console
from jaxgen.cli.tasks import first_sentence, overlaps
from jaxgen.cli.text import harmless
from jaxgen.ledger.discovery import find
from jaxgen.ledger.index import listed, read_index
from jaxgen.ledger.record import figures
from jaxgen.tasks.examples import EXAMPLES
from tests.tiny_paper import invoke


@pytest.mark.parametrize(
    "command",
    [
        ["list"], ["show", "nanda-modadd"], ["--help"], ["show", "arxiv:2310.13061"], ["tasks"],
        ["tasks", "show", "string"], ["tasks", "show", "nanda-modadd/mainline"],
    ],
)  # fmt: skip
def test_commands_that_only_look_import_no_jax(command: list[str]) -> None:
    # These read no notebook where all indexes hold (`make figures` renews them).
    more = ("numpy", "jaxgen.condition") if command in (["list"], ["--help"]) else ()
    code = f"""
import sys
from jaxgen.cli import main
try:
    main({command!r})
except SystemExit as stop:
    assert not stop.code, stop.code
slow = [name for name in ("jax", "flax", "pandas", "matplotlib", *{more!r}) if name in sys.modules]
assert not slow, slow
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert any(word in done.stdout for word in ("reproduce", "nanda", "grok", "<start>"))


@pytest.mark.parametrize("width", [60, 100, 160])
def test_columns_are_as_wide_as_the_page_and_lose_no_word(width: int) -> None:
    rows = [
        ("ID", "what", "claims", "recorded"),
        ("  paper/experiment", "a title of a good many words, " * 4, "12", "paper: 1\u00a0not\u00a0reproduced"),
        ("other", "short", "", ""),
    ]
    laid_out = list(columns.lay_out(rows, (1, 3), width))
    for row, lines in zip(rows, laid_out, strict=True):
        assert sorted(word for line in lines for word in line.split()) == sorted(" ".join(row).split())
        assert max(map(len, lines)) <= width
    assert {line.index(cell) for cell, line in (("what", laid_out[0][0]), ("a title", laid_out[1][0]))} == {20}


@pytest.mark.parametrize(
    ("args", "parts"),
    [
        (["reproduce", "corupted-modadd"], ["no paper 'corupted-modadd'", "did you mean 'corrupted-modadd'?"]),
        (["reproduce", "corrupted-modadd/trainin"], ["did you mean 'corrupted-modadd/training'?"]),
        (["reproduce", "arxiv:2310.13062"], ["no paper 'arxiv:2310.13062'", "arxiv:2310.13061"]),
        (["reproduce", "nanda-modadd", "--scale", "min"], ["no scale 'min'", "did you mean 'mini'?"]),
        (["reproduce", "nanda-modadd", "--set", "model.widht=64"], ["no setting 'model.widht'", "'width'?"]),
        (["reproduce", "nanda-modadd", "--set", "model.width=wide"], ["model.width: got 'wide'", "expected int"]),
        (["reproduce", "nanda-modadd", "--set", "task.train_fraction=2"], ["got 2.0", "below 1"]),
        (["reproduce", "nanda-modadd", "--set", "decai:steps=3"], ["no condition 'decai'", "'decay'?"]),
        (["reproduce", "nanda-modadd", "--set", "steps"], ["expected KEY=VALUE"]),
        (["reproduce", "nanda-modadd", "--scale", "mini", "--extend", "5"], ["extend: got 5", "10000 steps"]),
        (["reproduce", "nanda-modadd", "--scale", "smoke", "--record"], ["--record", "only proves that it runs"]),
        (["reproduce", "nanda-modadd", "--scale", "mini", "--set", "steps=9", "--record"], ["changed with --set"]),
        (["reprodcue", "nanda-modadd"], ["no command 'reprodcue'", "did you mean 'reproduce'?"]),
        (["show", "nanda"], ["no paper 'nanda'", "nanda-modadd"]),
        (["resume", "nowhere"], ["no run at nowhere", "run.json"]),
        (["report", "nowhere"], ["no run at nowhere"]),
        (["tasks", "shwo"], ["no command 'shwo'", "did you mean 'show'?"]),
        (["tasks", "show", "moduler"], ["no task 'moduler'", "did you mean 'modular'?"]),
        (["tasks", "show", "modular", "--split", "tset"], ["modular has no split 'tset'", "did you mean 'test'?"]),
        (["tasks", "show", "modular", "--set", "p"], ["--set: got 'p', expected KEY=VALUE"]),
        (["tasks", "show", "modular", "--set", "q=5"], ["no setting 'q'", "ModularTask has no 'q'"]),
        (["tasks", "show", "modular", "--set", "p=9", "--set", "operation=x/y"], ["got 9, expected a prime"]),
        (["tasks", "show", "nanda-modadd/mainlin"], ["did you mean 'nanda-modadd/mainline'?"]),
        (["new", "Bad Slug"], ["got 'Bad Slug'", "lower-case"]),
        (["show", "tiny-paper", "--scale", "nonsense"], ["tiny-paper has no scale 'nonsense'"]),
        (["show", "tiny-paper/main", "--scale", "mini"], ["tiny-paper/main has no scale 'mini'"]),
        (["reproduce", "tiny-paper/main", "--set", f"steps={'9' * 5000}"], ["steps: got '999", "(5,002 characters)"]),
        (["reproduce", "tiny-paper/main", "--set", "steps=9223372036854775808"], ["at most 2147483647"]),
        (["reproduce", "tiny-paper/main", "--set", "steps=2147483647",
          "--set", 'measure_at={"kind":"Every","interval":1}'], ["measure_at: 2,147,483,649 measurements"]),
        (["reproduce", "tiny-paper/main", "--set", f"task={'[' * 2000}"], ["got '[[["]),
        (["reproduce", "tiny-paper/main", "--set", f"task={'[' * 600}{']' * 600}"], ["brackets within brackets"]),
        (["reproduce", "tiny-paper/main", "--set", 'task={"kind":[]}'], ["unknown kind of config []"]),
        (["reproduce", "tiny-paper/main", "--set", 'task={"kind":"Task"}'], ["Task: expected one of its kinds"]),
        (["reproduce", "tiny-paper/main", "--set", "optimizer.learning_rate=1e300"], ["at most 3.4e+38 (float32)"]),
        (["reproduce", "tiny-paper/main", "--set", "optimizer.learning_rate=1e-300"], ["at least 1.18e-38 (float32)"]),
        (["reproduce", "tiny-paper/main", "--seeds", "2147483647"], ["4,294,967,294 members", "17,592.2 GB"]),
        (["reproduce", "tiny-paper/main", "--seeds", "2147483648"], ["seeds: got 2147483648"]),
        (["tasks", "show", "modular", "--set", "p=100003"], ["the examples of modular take", "this machine has"]),
        (["tasks", "export", "modular", "--set", "p=100003"], ["the examples of modular take", "this machine has"]),
        (["resume", "gs://a"], ["got 'gs://a', expected a folder, gs://BUCKET/FOLDER"]),
        (["resume", "a\0b"], ["expected the path of a file or folder"]),
        (["reproduce", "tiny-paper/main", "--runs", ""], ["got '', expected the path of a file or folder"]),
        (["new", "my-paper", "--into", "gs://a"], ["got 'gs://a', expected the path of a file or folder"]),
        (["gallery", "s3://bucket/page.md"], ["expected the path of a file or folder"]),
        (["gallery", "new/" + "n" * 300], ["File name too long"]),
    ],
)  # fmt: skip
def test_a_users_mistake_is_one_line_and_exit_code_2(args: list[str], parts: list[str], tiny: Path) -> None:
    result = invoke(*args)
    assert result.exit_code == 2
    assert "Traceback" not in result.output
    assert len([line for line in result.output.splitlines() if line and not line.startswith(("Usage", "Try"))]) == 1
    for part in parts:
        assert part in result.output
    assert not list(tiny.rglob("run.json"))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--mesh", "data=3"], "cannot be spread over data=3"),
        (["--mesh", "member=512"], "mesh"),
        (["--mesh", ""], "mesh: no axis ''"),
        (["--mesh", f"data={'9' * 5000}"], "data=NUMBER"),
        (["--microbatches", "3"], "cannot be cut into 3 equal parts"),
        (["--wandb", "p"], "--wandb: wandb is not installed"),
        (["--wandb", ""], "--wandb: got an empty name"),
        (["--profile", ""], "profile: got '', expected START:STOP"),
        (["--profile", f"0:{'9' * 5000}"], "expected START:STOP"),
        (["--save-every", "nan"], "--save-every: got nan"),
        (["--set", "model.hidden=[2147483647]"], "the parameters and moments of 2 members take"),
        (["--set", "task.p=100003"], "the examples of 2 members take"),
        (["--set", "model.hidden=[8]", "--set", "task.format=<eos> a op b = c <eos>"], "an MLP gives one answer"),
    ],
)
def test_what_is_refused_leaves_nothing_behind(options: list[str], said: str, tiny: Path) -> None:
    done = invoke("reproduce", "tiny-paper/main", "--fresh", *options)
    assert done.exit_code == 2, done.output
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert [each.name for each in tiny.iterdir()] == ["papers"]
    # So what is asked for rightly is the first that is there.
    assert invoke("reproduce", "tiny-paper/main", "--resume", "must", *options).exit_code == 2


@pytest.mark.parametrize(
    ("runs", "said"),
    [
        ("afile", "expected"),
        ("afile/below", "afile is a file, expected a folder"),
        ("n" * 300, "File name too long"),
        ("new/of/mine/" + "n" * 300, "File name too long"),
        ("/proc/nowhere", "/proc/nowhere"),
        ("loop", "loop"),
        ("dangling", "dangling"),
    ],
)
def test_a_place_that_is_none_is_told_in_one_line(runs: str, said: str, tiny: Path) -> None:
    (tiny / "afile").write_text("")
    (tiny / "loop").symlink_to("loop")
    (tiny / "dangling").symlink_to("nowhere")
    done = invoke("reproduce", "tiny-paper/main", "--scale", "smoke", "--runs", runs)
    assert done.exit_code == 2, done.output
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert sorted(each.name for each in tiny.iterdir()) == ["afile", "dangling", "loop", "papers"]


@pytest.mark.long
@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"JAX_ENABLE_X64": "banana"}, "jax refuses a variable of the environment: invalid truth value 'banana'"),
        ({"JAX_PLATFORMS": "banana"}, "jax finds no device (JAX_PLATFORMS=banana): Unable to initialize backend"),
        ({"XLA_FLAGS": "--nonsense"}, "XLA refuses XLA_FLAGS: Unknown flag in XLA_FLAGS: --nonsense"),
        ({"JAX_NUM_PROCESSES": "9" * 5000}, "JAX_NUM_PROCESSES: got '999"),
        ({"TPU_WORKER_HOSTNAMES": "a,b"}, "TPU_WORKER_HOSTNAMES asks for several processes"),
    ],
)
def test_a_variable_of_the_environment_is_refused_in_one_line(variables: dict[str, str], said: str, tiny: Path) -> None:
    command = [sys.executable, "-m", "jaxgen", "reproduce", "tiny-paper/main", "--scale", "smoke"]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | variables)
    assert done.returncode == 2, done.stderr
    assert said in done.stderr
    assert len([line for line in done.stderr.splitlines() if line.startswith("jaxgen: ")]) == 1
    assert "Traceback" not in done.stderr
    assert not (tiny / "runs").exists()


def test_folders_of_papers_that_cannot_be_are_told(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tiny / "loop").symlink_to("loop")
    places = ["~nobody-here/x", "n" * 300, "loop", "/proc/nowhere", str(tiny / "papers")]
    monkeypatch.setenv("JAXGEN_EXPERIMENTS", os.pathsep.join(places))
    done = invoke("list")
    assert done.exit_code == 0
    assert "tiny-paper/main" in done.stdout
    assert len(done.stderr.splitlines()) == 4


def test_what_a_run_says_is_shown_and_not_obeyed() -> None:
    sent = "a\x1b[31mred\x1b[0m\x1b]0;title\x07b\x9b2J\rc\x00\u202etxt.exe\n\tkept ≥"
    assert harmless(sent) == "aredb\\x9b2J\\rc\\x00\\u202etxt.exe\n\tkept ≥"
    printed = io.StringIO()
    console = Console(file=printed, force_terminal=True, color_system="standard")
    console.print("[red]x[/]", "\x1b[2J\x07")
    assert "\x1b[31mx" in printed.getvalue()
    assert "\x1b[2J" not in printed.getvalue()
    table = rich.table.Table("a\x1b[2J")
    table.add_row("b\x07")
    console.print(table)
    assert "\x07" not in printed.getvalue()
    assert "\x1b[2J" not in printed.getvalue()


def test_every_task_is_listed_with_its_kind_and_in_a_sentence() -> None:
    lines = invoke("tasks").output.splitlines()
    for name, task in EXAMPLES.items():
        (line,) = [line for line in lines if line.split()[:1] == [name]]
        assert line.split()[1] == task.kind()
        assert line.split()[2:]
    for task in EXAMPLES.values():
        sentence = first_sentence(task)
        assert sentence[-1] in ".?"
        assert 20 < len(sentence) < 200


def test_a_task_is_shown_readably() -> None:
    shown = invoke("tasks", "show", "modular", "--set", "p=5", "--split", "test", "--n", "100").output
    equations = re.findall(r"^  (\d) (\d) = \[ (\d) \]$", shown, re.MULTILINE)
    assert len(equations) == len(set(equations)) == 13
    assert all((int(a) + int(b)) % 5 == int(c) for a, b, c in equations)
    for part in ("arXiv:2201.02177", "6 tokens: 0 1 2 3 4 =", "13 of the 13 examples of test", "  p = 5"):
        assert part in shown
    assert "disjoint: no example is in two splits" in shown
    assert re.search(r"^train +12 +3 +1 *$", shown, re.MULTILINE)
    assert invoke("tasks", "show", "modular", "--set", "p=5", "--split", "test", "--n", "100").output == shown
    other = invoke("tasks", "show", "modular", "--set", "p=5", "--split", "test", "--n", "100", "--seed", "1").output
    assert other != shown


def test_what_splits_share_is_counted() -> None:
    shown = invoke("tasks", "show", "composition").output
    assert "train and id_atomic share 100 different inputs" in shown
    assert "test_inferred_iid share" not in shown
    assert "test_inferred_ood share" not in shown
    # The same strings are found whatever the length of their split.
    task = EXAMPLES["string"]
    short = task.table(0)["length_3"]
    wide = short._replace(inputs=np.pad(short.inputs[:40], ((0, 0), (0, 6)), constant_values=8))
    assert task.token_names()[8] == "<pad>"
    assert overlaps(task, {"train": wide, "length_3": short}) == {
        ("train", "length_3"): len({row.tobytes() for row in short.inputs[:40]})
    }
    assert overlaps(task, {"train": wide, "length_3": task.table(0)["length_8"]}) == {}


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        # An answer that is the next input is told once; one that is not, behind its position.
        ("hop", [r"^  (\d ){3}\[ \d \d </a> \]$"]),
        ("chomsky-encoder", [r"^  ([01] )+(<empty> \[ [01] \] ?)+$"]),
        # In a tape nothing is asked of a sequence that is cut off.
        ("arithmetic-tape", [r"> \[ (\d )+<end> \] <start>", "by construction: the stream's lengths are 1 to 4"]),
        ("gaussian-mixture", [r"^  (-?\d+\.\d\d ){6}\[ \d \] \(drawn at random; the rule gives \d\)$"]),
        ("digits", [r"^  (\d\.\d\d ){8}\.\.\. \[ \d \]$", "64 real features, and predicts one of 10 classes"]),
        ("in-context-regression", [r"^  \((-?\d\.\d\d ?){3}\) \[ -?\d+\.\d\d \] \(-?\d+\.\d\d 0.00 0.00\) "]),
        ("scan", [r"^  walk <sep> \[ I_WALK <end> \]$", "22 tokens: <pad> <sep> <end> walk"]),
    ],
)
def test_what_is_told_and_what_is_asked_for(name: str, parts: list[str]) -> None:
    shown = invoke("tasks", "show", name).output
    for part in parts:
        assert re.search(part, shown, re.MULTILINE), shown


def test_reproduce_report_resume_checkpoints(tiny: Path) -> None:
    result = invoke("reproduce", "tiny-paper/main", "--seeds", "1")
    assert result.exit_code == 0, result.output
    run = tiny / "runs" / "tiny-paper" / "main" / "paper"
    page = (run / "report.html").read_text()
    assert "It fits" in page
    assert "jaxgen reproduce tiny-paper/main --scale paper --seeds=1" in re.sub("<[^>]*>", "", page)
    assert str(run / "report.html") in result.output.replace("\n", "")
    results = json.loads((run / "results.json").read_text())
    assert [(claim["outcome"], len(claim["values"])) for claim in results["claims"]] == [("inconclusive", 1)] * 2
    (run / "report.html").unlink()
    (tiny / "afile").write_text("")
    for place in ("afile/below.html", "papers"):
        assert invoke("report", str(run), "--to", place).exit_code == 2
    assert not (run / "report.html").exists()
    assert invoke("report", str(run)).exit_code == 0
    assert (run / "report.html").exists()
    assert invoke("resume", str(run)).exit_code == 0
    again = invoke("reproduce", "tiny-paper/main", "--seeds", "1", "--fresh", "--set", "dense:steps=5")
    assert again.exit_code == 0, again.output
    assert "not judged: 2 claims: settings were changed with --set" in again.output
    names = [path.name for path in run.parent.iterdir()]
    assert "paper" in names
    assert any(name.startswith("paper+") for name in names)
    # That lists what is saved, without jax.
    code = """
import sys
from jaxgen.cli import main
try:
    main(["checkpoints", "runs/tiny-paper/main/paper"])
except SystemExit as stop:
    assert not stop.code, stop.code
assert not {"jax", "orbax", "tensorstore"} & set(sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "intact" in done.stdout


def test_a_claim_whose_code_fails_makes_smoke_fail(tiny: Path) -> None:
    notebook = tiny / "papers" / "tiny_paper" / "__init__.py"
    text = notebook.read_text().replace(
        't.final("ticket", "accuracy/train")', '{}[t.final("ticket", "accuracy/train")]'
    )
    notebook.write_text(text)
    done = invoke("reproduce", "tiny-paper/main", "--scale", "smoke")
    assert done.exit_code == 2
    assert "claim 'fits too well': its code failed at tiny_paper/__init__.py, line " in done.stderr
    assert len(done.stderr.splitlines()) == 1
    kept = tiny / "runs" / "tiny-paper" / "main" / "smoke" / "paper" / "__init__.py"
    assert kept.read_text() == notebook.read_text()


@pytest.mark.long
def test_a_whole_paper_gets_one_report(tiny: Path) -> None:
    result = invoke("reproduce", "arxiv:0000.00001", "--seeds", "1")
    assert result.exit_code == 0, result.output
    page = (tiny / "runs" / "tiny-paper" / "paper.html").read_text()
    assert "dense and ticket" in page
    assert "members that fail or stop" in page
    assert "numbers that are not finite" in page


def test_recording_goes_on_condition_by_condition(tiny: Path) -> None:
    assert invoke("reproduce", "tiny-paper/main", "--record").exit_code == 0
    folder = tiny / "papers" / "tiny_paper" / "results"
    results = json.loads((folder / "paper.json").read_text())["main"]
    assert [(claim["outcome"], len(claim["values"])) for claim in results["claims"]] == [("inconclusive", 2)] * 2
    assert results["conditions"].keys() == {"dense", "ticket"}
    assert [sorted(each["seeds"]) for each in results["conditions"]["dense"]] == [["0", "1"]]
    table = (folder / "paper" / "main.csv").read_text().splitlines()
    assert table[0].startswith("condition,seed,step,accuracy/corrupted")
    assert (folder / "paper" / "main-accuracy.svg").exists()
    found, (experiment, *_) = find("tiny-paper")
    assert read_index(folder.parent) == listed(found)
    assert "paper: 2 inconclusive" in invoke("list").output
    assert [(path.name, path.read_text()) for path, _ in figures(found, experiment, "paper")] == [
        (path.name, text) for path, text in figures(found, experiment, "paper")
    ]
    (folder / "paper" / "main.csv").unlink()  # as an installed jaxgen is
    result = invoke("reproduce", "tiny-paper/main", "--record")
    assert result.exit_code == 2
    assert "record in a checkout" in result.output


def test_a_new_paper_is_found_and_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = invoke("new", "my-paper")
    assert result.exit_code == 0
    assert "export JAXGEN_EXPERIMENTS=" in result.output
    monkeypatch.setenv("JAXGEN_EXPERIMENTS", str(tmp_path / "experiments"))
    assert "my-paper/main" in invoke("list").output
    assert invoke("reproduce", "my-paper", "--scale", "smoke").exit_code == 0
    assert invoke("new", "my-paper").exit_code == 2


def test_a_broken_paper_hides_no_other(tiny: Path) -> None:
    folder = tiny / "papers" / "broken_paper"
    folder.mkdir()
    (folder / "__init__.py").write_text("raise ImportError('no such thing')")
    result = invoke("list")
    assert "tiny-paper/main" in result.output
    assert "no such thing" in result.output
    assert "cannot be read" in invoke("reproduce", "broken-paper").output


def test_doctor_says_what_is_here_and_what_is_not() -> None:
    result = invoke("doctor")
    for part in ("jax ", "devices", "cpu", "compile cache", "jaxgen[cuda13]", "jaxgen[tpu]"):
        assert part in result.output


def test_a_task_is_exported_and_trains_from_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAXGEN_DATA", str(tmp_path / "data"))
    done = invoke("tasks", "export", "string", "--train", "200", "--set", "test_examples=10")
    assert done.exit_code == 0, done.output
    (folder,) = (tmp_path / "data").iterdir()
    assert f'task=StoredTask(data="{folder.name}")' in done.output
    assert "200 of train" in done.output
    refused = invoke("tasks", "export", "scan", "--train", "5")
    assert refused.exit_code == 2
    assert "are all in its table" in refused.output
