"""Benchmarks are never run by the tests; that what they name is still there is tested here."""

import importlib
import operator
from pathlib import Path

import pytest

from benchmarks import preemption
from benchmarks.survival_paper import write_survival_paper
from jaxgen.ledger.discovery import find

MODULES = sorted(path.stem for path in Path(preemption.__file__).parent.glob("[a-z]*.py"))


@pytest.mark.parametrize("module", [name for name in MODULES if name != "torch_nanda"])
def test_a_benchmark_finds_what_it_imports(module: str) -> None:
    importlib.import_module(f"benchmarks.{module}")


def test_phases_name_experiments_and_functions_that_are_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAXGEN_EXPERIMENTS", str(write_survival_paper(tmp_path)))
    for _, name, module, function, *_ in preemption.PHASES:
        _, (experiment,) = find(f"survival/{name}")
        assert experiment.at_scale("paper")
        if module != "start":
            assert callable(operator.attrgetter(function)(importlib.import_module(module)))
