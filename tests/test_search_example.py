"""The example of a search in docs/examples, at a size that takes seconds."""

import dataclasses
import runpy
from pathlib import Path

import pytest

from jaxgen.ledger.runs import load_run

pytest.importorskip("optuna", reason="the extra 'search' is not installed")


@pytest.mark.long
def test_a_search_trains_its_batches_as_populations_and_goes_on_where_it_was(tmp_path: Path) -> None:
    example = runpy.run_path(str(Path(__file__).parents[1] / "docs" / "examples" / "search.py"))
    base = dataclasses.replace(example["BASE"], steps=3, seeds=(1000,))
    study = example["search"](base, tmp_path, batch=2, batches=2)
    batches = [load_run(tmp_path / f"batch-{number}") for number in range(2)]
    assert [len(each.populations()) for each in batches] == [1, 1]
    assert [each.name for batch in batches for each in batch.members] == [f"trial {number}" for number in range(4)]
    values = [
        batch.table.finals("accuracy/test").loc[name, 1000] for batch in batches for name in batch.table.conditions()
    ]
    assert [trial.value for trial in study.trials] == pytest.approx(values)
    assert study.best_value == pytest.approx(max(values))
    # Again, and further: what is trained is not trained again.
    rows = {file: file.read_bytes() for file in tmp_path.glob("*/populations/*/metrics.jsonl")}
    assert len(rows) == 2
    more = example["search"](base, tmp_path, batch=2, batches=3)
    assert [trial.params for trial in more.trials[:4]] == [trial.params for trial in study.trials]
    assert {file: file.read_bytes() for file in rows} == rows
