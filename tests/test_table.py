import csv
import math
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from jaxgen.bounds import Bounds, Censored
from jaxgen.table import COLUMNS, NotMeasured, SeedTable, Table

STEPS = [0, 1, 10, 100, 1000, 2000]
TEST = [0.1, 0.2, 0.05, 0.9, 0.99, 0.97]


def rows(seed: int = 0, condition: str = "wd=1", shift: float = 0.0) -> list[tuple[str, int, int, str, float]]:
    found = [(condition, seed, step, "accuracy/test", value + shift) for step, value in zip(STEPS, TEST, strict=True)]
    return found + [(condition, seed, step, "weight_norm", 10.0 - i) for i, step in enumerate(STEPS)]


def seed_table() -> SeedTable:
    # Rows may come in any order.
    return Table.of(reversed(rows() + rows(condition="wd=5", shift=0.01))).seed(0)


def sorted_rows(table: Table) -> pd.DataFrame:
    return table.rows.sort_values(COLUMNS, ignore_index=True)


def test_rows_are_tidy() -> None:
    table = Table.of(rows())
    assert list(table.rows.columns) == COLUMNS
    assert table.rows.iloc[0].tolist() == ["wd=1", 0, 0, "test", "accuracy", 0.1]
    assert table.rows.iloc[-1].tolist() == ["wd=1", 0, 2000, "", "weight_norm", 5.0]


def test_conditions_seeds_and_parts_of_a_table() -> None:
    table = Table.concat([Table.of(rows(3)), Table.of([]), Table.of(rows(1, "wd=5"))])
    assert table.conditions() == ["wd=1", "wd=5"]
    assert table.seeds() == [1, 3]
    assert table.without(["wd=1"]).conditions() == ["wd=5"]
    assert set(table.seed(1).rows["condition"]) == {"wd=5"}
    assert len(Table.concat([]).rows) == 0
    assert Table.of([]).seeds() == []


def test_a_series_has_a_column_a_seed() -> None:
    table = Table.of(rows(0) + rows(2, shift=0.5) + rows(0, "wd=5"))
    series = table.series("wd=1", "accuracy/test")
    assert list(series.columns) == [0, 2]
    assert list(series.index) == STEPS
    assert series[2].tolist() == pytest.approx([value + 0.5 for value in TEST])
    assert len(table.series("wd=1", "accuracy/train")) == 0


def test_values_are_of_one_condition_and_key_in_order_of_steps() -> None:
    values = seed_table().values("wd=5", "accuracy/test")
    assert values.index.tolist() == STEPS
    assert values.tolist() == pytest.approx([value + 0.01 for value in TEST])
    assert seed_table().values("wd=1", "weight_norm").tolist() == [10, 9, 8, 7, 6, 5]


@pytest.mark.parametrize(
    ("ask", "answer"),
    [
        (lambda t: t.final("wd=1", "accuracy/test"), 0.9),
        (lambda t: t.final("wd=1", "accuracy/test", rows=1), 0.97),
        (lambda t: t.final("wd=1", "accuracy/test", rows=2), 0.98),
        (lambda t: t.final("wd=1", "accuracy/test", rows=100), 0.55),
        (lambda t: t.max("wd=1", "accuracy/test"), 0.99),
        (lambda t: t.max("wd=1", "accuracy/test", until=100), 0.9),
        (lambda t: t.max("wd=1", "accuracy/test", until=99.5), 0.2),
        (lambda t: t.max("wd=1", "accuracy/test", since=1001), 0.97),
        (lambda t: t.min("wd=1", "accuracy/test"), 0.05),
        (lambda t: t.min("wd=1", "accuracy/test", until=1), 0.1),
        (lambda t: t.min("wd=1", "accuracy/test", since=100), 0.9),
        (lambda t: t.at("wd=1", "accuracy/test", 100), 0.9),
        (lambda t: t.at("wd=1", "accuracy/test", 999), 0.9),
        (lambda t: t.at("wd=1", "accuracy/test", 1e9), 0.97),
        (lambda t: t.at("wd=1", "accuracy/test", 0), 0.1),
        (lambda t: t.first_step("wd=1", "accuracy/test", at_least=0.9), 100),
        (lambda t: t.first_step("wd=1", "accuracy/test", at_least=0.1), 0),
        (lambda t: t.first_step("wd=1", "accuracy/test", at_most=0.05), 10),
    ],
)
def test_questions_that_claims_ask(ask: Callable[[SeedTable], float], answer: float) -> None:
    assert ask(seed_table()) == pytest.approx(answer)


def test_a_value_is_that_of_the_step_that_another_split_selects() -> None:
    dev, test = [0.1, 0.7, 0.5, 0.7], [0.2, 0.3, 0.9, 0.4]
    rows = [("a", 0, step * 100, f"accuracy/{name}", value)
            for name, values in (("dev", dev), ("test", test)) for step, value in enumerate(values)]  # fmt: skip
    seed = Table.of(rows).seed(0)
    assert seed.selected("a", "accuracy/test", by="accuracy/dev") == 0.3  # the earlier of the two best
    assert seed.selected("a", "accuracy/test", by="accuracy/test") == 0.9
    with pytest.raises(NotMeasured, match="'a' has no measure 'accuracy/dv'"):
        seed.selected("a", "accuracy/test", by="accuracy/dv")


def test_numbered_splits_are_told_in_order() -> None:
    keys = ("accuracy/length_16", "accuracy/length_8", "loss/length_8", "accuracy/train", "accuracy/length_long")
    seed = Table.of(("a", 0, 1, key, 0.5) for key in keys).seed(0)
    assert seed.numbered("a", "length") == [8, 16]
    with pytest.raises(NotMeasured, match="'a' has no split 'width_N', only length_16, length_8, length_long, train"):
        seed.numbered("a", "width")
    with pytest.raises(NotMeasured, match="no condition 'b'"):
        seed.numbered("b", "length")


@pytest.mark.parametrize(
    ("bound", "why"),
    [
        ({"at_least": 0.999}, "accuracy/test of 'wd=1' was never at least 0.999 in 2000 steps"),
        ({"at_most": 0.01}, "accuracy/test of 'wd=1' was never at most 0.01 in 2000 steps"),
    ],
)
def test_of_an_event_that_never_comes_a_bound_is_known(bound: dict[str, float], why: str) -> None:
    found = seed_table().first_step("wd=1", "accuracy/test", **bound)
    assert found == Bounds(2000, math.inf)
    for ask in (float, lambda step: seed_table().at("wd=1", "accuracy/test", step)):
        with pytest.raises(Censored, match=why):
            ask(found)


def test_what_was_not_measured_is_named_with_the_nearest() -> None:
    with pytest.raises(NotMeasured, match=r"no condition 'wd=2'; did you mean"):
        seed_table().final("wd=2", "accuracy/test")
    with pytest.raises(NotMeasured, match=r"'wd=1' has no measure 'acuracy/test'; did you mean 'accuracy/test'\?"):
        seed_table().final("wd=1", "acuracy/test")
    with pytest.raises(NotMeasured, match="'wd=1' has no measure 'accuracy'"):
        seed_table().final("wd=1", "accuracy")


def test_save_and_load(tmp_path: Path) -> None:
    extra = [("wd=1", 0, 5, "accuracy.pruned_lowest_ipr.0.5/test", 1e-9), ("wd=1", 0, 7, "loss/train", math.inf)]
    table = Table.of(rows(0) + rows(11, "keep 0.4, wd=5") + extra)
    (tmp_path / "table.csv").write_text(table.csv())
    pd.testing.assert_frame_equal(sorted_rows(Table.load(tmp_path / "table.csv")), sorted_rows(table))
    text = (tmp_path / "table.csv").read_text()
    (tmp_path / "again.csv").write_text(Table.load(tmp_path / "table.csv").csv())
    assert (tmp_path / "again.csv").read_text() == text
    header = "condition,seed,step,accuracy.pruned_lowest_ipr.0.5/test,accuracy/test,loss/train,weight_norm"
    assert text.splitlines()[0] == header


def test_saved_values_have_six_digits(tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text(Table.of([("a", 0, 0, "loss/train", 1.23456789)]).csv())
    assert Table.load(tmp_path / "table.csv").rows["value"].tolist() == [1.23457]


def test_no_cell_of_a_saved_table_is_a_formula(tmp_path: Path) -> None:
    keys = ["=cmd|' /C calc'!A0/train", "+1", "-1/x", "@sum", "'=1", "''=1", "'plain", "\ttab", "accuracy/train"]
    table = Table.of([("=1+1", 0, 1, key, -0.5) for key in keys] + [("plain", 0, 1, "loss/train", 1.0)])
    (tmp_path / "table.csv").write_text(table.csv())
    with (tmp_path / "table.csv").open(newline="") as file:
        lines = list(csv.reader(file))
    cells = [*lines[0], *(line[0] for line in lines[1:])]
    assert not [cell for cell in cells if cell[:1] in ("=", "+", "-", "@", "\t", "\r")]
    assert "accuracy/train" in cells
    loaded = Table.load(tmp_path / "table.csv").rows
    pd.testing.assert_frame_equal(sorted_rows(table), sorted_rows(Table(loaded)))


def test_an_empty_table_is_saved(tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text(Table.of([]).csv())
    assert len(Table.load(tmp_path / "table.csv").rows) == 0


def test_the_conditions_that_a_scale_trains_are_told() -> None:
    seed = Table.of([(name, 0, 0, "accuracy/test", 0.5) for name in ("b", "a")]).seed(0)
    assert seed.present(("a", "c", "b")) == ["a", "b"]
    assert seed.present(("c", "d")) == ["c", "d"]  # so that the first is told as missing
