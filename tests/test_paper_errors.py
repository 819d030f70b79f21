"""Mistakes in a paper's own files are told in one line, with the line and the nearest name, before training."""

import os
from pathlib import Path

import pytest

from tests.tiny_paper import SOURCE, invoke

FITS = 'value=lambda t: t.final("dense", "accuracy/train")'
MODEL = 'model=MLPConfig(hidden=(12,), activation="square", bias=True, init_std=0.1, dropout=0.1, batch_norm=True)'
KEYS = 'keys=("accuracy/train", "accuracy/test")'


@pytest.mark.parametrize(
    ("there", "mistake", "said"),
    [
        # The fields of parts, conditions, claims, figures and papers.
        ("p=7, ", "modulos=59, p=7, ", "line 17: ModularTask has no 'modulos'; there is: corruption, format, operati"),
        ("p=7, ", "", "line 17: ModularTask lacks 'p'"),
        ("p=7, ", "p=9.5, ", "line 17: p: got 9.5 (float), expected int"),
        ("hidden=(12,)", "hidden=(12)", "line 18: hidden: got 12, expected a list; of one write [12]"),
        ("AdamW(learning_rate", "AdamW(learning_rat", "line 19: AdamW has no 'learning_rat'; did you mean 'learning_r"),
        ("AdamW(learning_rate=0.02", "AdamW(0.02", "line 19: AdamW takes its fields by name: AdamW(learning_rate=...)"),
        ("AdamW(learning_rate=0.02, weight_decay=0.5)", "AdamW", "got the class AdamW, expected one of AdamW, ClipNor"),
        (MODEL, 'model="mlp"', "line 15: condition 'dense': model: got 'mlp', expected one of EncoderDeco"),
        ("steps=40", "step=40", "line 15: Condition has no 'step'; did you mean 'steps'?"),
        ("steps=40", "steps=0", "line 15: condition 'dense': steps: got 0, expected a number at least 1"),
        ("seeds=(0, 1)", "seeds=2", "condition 'dense': seeds: got 2, expected a list; of one write [2]"),
        ('loss="mse"', 'loss="msee"', "condition 'dense': loss: got 'msee'"),
        ('Stop(measure="acc', 'Stop(measure="ac', "condition 'stopping': stop: 'stopping' measures no 'acuracy/train'"),
        ("Typical(name", "Typical(sayss=1, name", "line 38: Typical has no 'sayss'; did you mean 'says'?"),
        (', place="Fig. 1"', "", "line 38: Typical lacks 'place'"),
        ("caption=", "captoin=", "line 43: Curves has no 'captoin'; did you mean 'caption'?"),
        ("year=2024, ", "", "line 48: Paper lacks 'year'"),
        ("year=2024", "year='2024'", "line 48: tiny-paper: year: got '2024' (str), expected int"),
        ('title="Tiny"', "title=3", "line 48: tiny-paper: got title=3, expected a text"),
        ('arxiv="0000.00001"', 'arxiv=""', "got arxiv='', expected a text; its number, such as 2310.02541"),
        # How a paper is put together.
        ("conditions=(base, ticket)", "conditions=(base)", "line 32: main: got conditions=Condition, expected a tuple"),
        ("experiments=(main, faults)", "experiments=(main)", "got experiments=Experiment, expected a tuple of Exp"),
        (KEYS, 'keys="accuracy/test"', "line 43: figure 'accuracy': got keys='accuracy/test', expected a tuple; write"),
        ("expect=at_least(0.0)", "expect=2", "line 38: claim 'fits': got expect=2, expected YES, at_least(...)"),
        (FITS, "value=0.3", "line 38: claim 'fits': got value=0.3, expected a function of a SeedTable"),
        ('slug="tiny-paper"', 'slug="whoops"', "the folder is called tiny_paper, and its paper has slug='whoops'; wri"),
        ("PAPER = P", "PAPRE = P", "no PAPER, expected PAPER = Paper(...); it has PAPRE = Paper(...): call it PAPER"),
        # Names in scales, starts, claims and figures.
        ('"smoke": Scale(', '"smok": Scale(', "line 32: main defines a scale 'smok', expected some of smoke, mini"),
        ('{"steps": 3}', '{"stepps": 3}', "line 36: experiment 'main', scale 'smoke': no setting 'stepps'"),
        ('{"steps": 3}', '{"dens:steps": 3}', "line 36: experiment 'main', scale 'smoke': no condition 'dens'; did yo"),
        ('"paper": Scale()', '"paper": Scale(only=("dnese",))', "scale 'paper': no condition 'dnese'; did you mean 'd"),
        ('From(condition="dense"', 'From(condition="dnese"', "line 27: experiment 'main', scale 'smoke': no condition"),
        (FITS, FITS.replace("acc", "ac"), "line 39: experiment 'main': claim 'fits': 'dense' has no measure 'acuracy/"),
        (FITS, FITS.replace("dense", "dnese"), "line 39: experiment 'main': claim 'fits': no condition 'dnese'; did"),
        (FITS, FITS.replace("final", "finale"), "line 39: experiment 'main': claim 'fits': a seed's table has no 'fin"),
        (FITS, FITS.replace("t.final", "u.final"), "line 39: experiment 'main': claim 'fits': name 'u' is not defined"),
        (FITS, FITS.replace("t:", ":"), "claim 'fits': its value, in line 39, must be a function of the seed's table"),
        (FITS, "value=lambda t: None", "claim 'fits': its value, in line 39, is None, expected a number, or True or"),
        (KEYS, 'keys=("acuracy/train",)', "line 43: experiment 'main', scale 'smoke': figure 'accuracy': no key 'acu"),
        # Python's own.
        ("import ModularTask", "import ModularTaks", "line 10: ImportError: cannot import name 'ModularTaks' from 'ja"),
        ("base = C", "import numpyy\nbase = C", "line 15: ModuleNotFoundError: No module named 'numpyy' (JAXGEN_TRACE"),
        ("base = C", "1 / 0\nbase = C", "line 15: ZeroDivisionError: division by zero (JAXGEN_TRACEBACK=1 shows the t"),
        ("base = Condition(", "base = Condition((", "line 15: SyntaxError: '(' was never closed"),
    ],
)  # fmt: skip
def test_a_mistake_in_a_papers_file_is_told_in_a_line_before_training(
    there: str, mistake: str, said: str, tiny: Path
) -> None:
    assert there in SOURCE
    (tiny / "papers" / "tiny_paper" / "__init__.py").write_text(SOURCE.replace(there, mistake, 1))
    done = invoke("reproduce", "tiny-paper/main", "--scale", "smoke")
    assert done.exit_code == 2
    assert said in done.stderr
    assert "tiny_paper" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert [each.name for each in tiny.iterdir()] == ["papers"]


def test_the_traceback_of_a_papers_code_is_shown_where_it_is_asked_for(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tiny / "papers" / "tiny_paper" / "__init__.py").write_text(f"import numpyy\n{SOURCE}")
    monkeypatch.setenv("JAXGEN_TRACEBACK", "1")
    done = invoke("show", "tiny-paper")
    assert done.exit_code == 2
    assert "Traceback (most recent call last)" in done.stderr
    assert "    import numpyy\n" in done.stderr


PARTS = '''
import dataclasses
from typing import Any

from jaxgen.measures.config import Measure


@dataclasses.dataclass(frozen=True, kw_only=True)
class Broken(Measure):
    """A measure of this paper."""

    def values(self, evaluation: Any) -> Any:
        return {RETURNED}
'''


def with_part(tiny: Path, returned: str, source: str = SOURCE) -> None:
    folder = tiny / "papers" / "tiny_paper"
    (folder / "parts.py").write_text(PARTS.replace("RETURNED", returned))
    text = source.replace("base = C", "from .parts import Broken\n\nbase = C").replace(
        "WeightNorm())", "WeightNorm(), Broken())"
    )
    (folder / "__init__.py").write_text(text)


def test_an_error_in_a_papers_part_is_told_with_its_line_while_it_trains(tiny: Path) -> None:
    with_part(tiny, '"broken": evaluation.nonsense')
    done = invoke("reproduce", "tiny-paper/main", "--scale", "smoke", "--set", "seeds=[0]")
    assert done.exit_code == 2
    last = done.stderr.splitlines()[-1]
    assert "the paper's own code failed at tiny_paper/parts.py, line 13: AttributeError: " in last
    assert last.endswith("(JAXGEN_TRACEBACK=1 shows the traceback)")
    assert "Traceback" not in done.output


def test_smoke_fails_where_a_figure_draws_a_key_that_a_papers_measure_does_not_give(tiny: Path) -> None:
    # What this measure gives is known only once it has run.
    with_part(tiny, '"norm": 1.0', SOURCE.replace(KEYS, 'keys=("norms",)'))
    done = invoke("reproduce", "tiny-paper/main", "--scale", "smoke", "--set", "seeds=[0]")
    assert done.exit_code == 2, done.output
    assert "figure 'accuracy': no key 'norms'; did you mean 'norm'?" in done.stderr


def test_a_claim_that_divides_by_zero_says_so(tiny: Path) -> None:
    text = SOURCE.replace(FITS, "value=lambda t: 1 / t.first_step('dense', 'accuracy/train', at_least=0)")
    (tiny / "papers" / "tiny_paper" / "__init__.py").write_text(text.replace("steps=40", "steps=2"))
    done = invoke("reproduce", "tiny-paper/main", "--seeds", "1")
    assert done.exit_code == 0, done.output
    line = next(line for line in done.output.splitlines() if " fits: " in line)
    assert "inconclusive" in line
    assert "seed 0: it divides by zero" in line


def test_a_word_for_a_setting_is_read_or_told(tiny: Path) -> None:
    done = invoke("reproduce", "tiny-paper/main", "--set", "stop=Stpo")
    assert done.exit_code == 2
    assert "stop: got 'Stpo', expected Stop; did you mean 'Stop'?" in done.stderr


def test_a_new_paper_goes_where_papers_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine, more = tmp_path / "mine", tmp_path / "more"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("JAXGEN_EXPERIMENTS", os.pathsep.join(map(str, (mine, more))))
    done = invoke("new", "first-paper")
    assert (mine / "first_paper" / "__init__.py").exists()
    assert "export" not in done.output
    done = invoke("new", "second-paper", "--into", "third")
    assert f"export JAXGEN_EXPERIMENTS={mine}:{more}:{tmp_path / 'third'}\n" in done.output
    assert "takes several folders" in done.output
    assert invoke("show", "first-paper").exit_code == 0


def test_a_misspelt_folder_of_papers_is_named(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAXGEN_EXPERIMENTS", str(tiny / "paperz"))
    done = invoke("show", "tiny-paper")
    assert done.exit_code == 2
    assert f"no paper 'tiny-paper'; JAXGEN_EXPERIMENTS names a folder that does not exist: {tiny / 'paperz'}" in (
        done.stderr
    )
