"""The paper that `tests.chaos`, `tests.topologies` and `tests.slurm` train: these run for long, outside the suite."""

import random
from pathlib import Path

import pytest

from jaxgen.ledger.discovery import find
from tests.chaos import KINDS, NAMES, draw_names, write_paper


@pytest.mark.parametrize("names", [NAMES, draw_names(random.Random(0), len(NAMES))], ids=["plain", "drawn"])
def test_its_paper_can_be_read_and_has_an_experiment_of_each_kind(
    names: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_paper(tmp_path, 400, names)
    monkeypatch.setenv("JAXGEN_EXPERIMENTS", str(tmp_path))
    _, experiments = find("chaos")
    assert [each.name for each in experiments] == list(KINDS)
    assert [each.name for experiment in experiments for each in experiment.conditions] == list(names)
