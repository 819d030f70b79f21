"""The report: what its figures draw, and what its page says."""

import dataclasses
import re

import numpy as np
import pytest

from jaxgen.condition import Condition
from jaxgen.errors import UserError
from jaxgen.experiment import EverySeed, Experiment, Paper, Scale, Sweep, Typical, at_least
from jaxgen.figures import BySetting, CellMap, Curves, Profile, palette
from jaxgen.figures.axes import NARROW, power_text, spread_out, step_text
from jaxgen.figures.draw import draw
from jaxgen.figures.settings import setting
from jaxgen.ledger.verdict import judge_all
from jaxgen.models.config import MLPConfig, TransformerConfig
from jaxgen.optimizers import AdamW
from jaxgen.report.html import ExperimentReport, Report, _splits, differing_settings, render, write_report
from jaxgen.report.svg import inline_svg, svg_text
from jaxgen.starts import From, MagnitudeMask, Rewind
from jaxgen.table import Table
from jaxgen.tasks.algebra.modular import ModularTask

HOSTILE = "<script>alert('x')</script> $a_b$ & co"
LABELS = ("coexistence", "full inversion")
STEPS = (0, 1, 10, 100)

BASE = Condition(
    name="wd=0",
    task=ModularTask(p=7, train_fraction=0.5),
    model=MLPConfig(hidden=(8,)),
    optimizer=AdamW(learning_rate=0.01),
    steps=100,
)
CONDITIONS = (
    BASE,
    dataclasses.replace(BASE, name="wd=5", optimizer=AdamW(learning_rate=0.01, weight_decay=5)),
)
CURVES = Curves(
    name="curves", caption="Curves.", keys=("accuracy/train", "accuracy/test"), paper={"wd=5": {"accuracy/test": 0.65}}
)
TOGETHER = Curves(
    name="loss", caption="Losses.", keys=("loss/test",), together=True, log_y=True, y_label=f"loss {HOSTILE}"
)
PROFILE = Profile(
    name="pruned", caption="Pruned.", prefixes=("accuracy.pruned_lowest_ipr", "accuracy.pruned_highest_ipr"),
    splits=("train", "test"),
)  # fmt: skip
CELLS = CellMap(
    name="phases", caption=f"Phases {HOSTILE}", x="task.corruption", y="optimizer.weight_decay",
    label=lambda table, condition: LABELS[table.final(condition.name, "accuracy/test") > 0.5], labels=LABELS,
)  # fmt: skip
BY_DECAY = BySetting(
    name="decay", caption="By decay.", x="optimizer.weight_decay", y_label="steps",
    values={"steps": lambda table, name: table.first_step(name, "accuracy/test", at_least=0.5)},
    paper={"steps": {5.0: 20.0}},
)  # fmt: skip
CLAIMS = (
    Typical(name="up", says=f"It rises {HOSTILE}", place="Fig. 1", paper="0.97",
          value=lambda table: table.final("wd=0", "accuracy/test"), expect=at_least(0.1), note="A note on it."),
    Typical(name="high", says="It is very high.", place="Table 2", paper="5.5",
          value=lambda table: table.final("wd=5", "accuracy/test"), expect=at_least(5.5)),
    EverySeed(name="mixed", says="It depends on the seed.", place="Sec. 3", paper="none",
          value=lambda table: float(table.rows["seed"].iloc[0]), expect=at_least(1)),
    EverySeed(name="absent", says="It was not measured.", place="App. A", paper="1",
          value=lambda table: table.final("wd=0", "gini"), expect=at_least(1)),
)  # fmt: skip


def value(condition, seed, step):
    return round(0.2 + 0.1 * np.log10(step + 1) + 0.05 * seed**2 + 0.02 * len(condition), 6)


def table_of(conditions=CONDITIONS):
    rows = [
        (each.name, seed, step, key, value(each.name, seed, step))
        for each in conditions
        for seed in each.seeds
        for step in STEPS
        for key in ("accuracy/train", "accuracy/test", "loss/test")
    ]
    return Table.of(rows)


def experiment_of(figures=(CURVES, TOGETHER), claims=CLAIMS, conditions=CONDITIONS):
    return Experiment(
        name="decay", title=f"Decay {HOSTILE}", conditions=conditions, scales={"mini": Scale()}, claims=claims,
        figures=figures,
    )  # fmt: skip


def report_of(*parts):
    paper = Paper(
        slug="toy", title=f"A toy {HOSTILE}", authors="A. Author, B. Author", year=2024, arxiv="2310.00000",
        experiments=tuple(part.experiment for part in parts),
    )  # fmt: skip
    return Report(
        paper=paper, scale="mini", created="2025-01-01", command="jaxgen reproduce toy", device="CPU",
        versions={"jax": "1.2.3"}, commit="abc123", time="90.0 s", settings=(f"model.hidden=[{HOSTILE}]",),
        experiments=parts,
    )  # fmt: skip


@pytest.fixture(scope="module")
def page():
    table = table_of()
    experiment = experiment_of()
    part = ExperimentReport(
        experiment=experiment, conditions=CONDITIONS, table=table, verdicts=tuple(judge_all(CLAIMS, table, "paper")),
        notes=(f"A member became NaN at step 10 {HOSTILE}",),
    )  # fmt: skip
    return render(report_of(part))[0]


def lines(axes, label):
    return [line for line in axes.get_lines() if line.get_label() == label]


def test_page_shows_every_claim_with_its_verdict(page):
    assert "1 of 4" in page
    for claim in CLAIMS[1:]:
        assert claim.says in page
    for text in ("Fig. 1", "0.97", "A note on it.", "≥ 5.5", "2 of 3 seeds hold", "typical", "rate x decay x steps"):
        assert text in page
    badges = re.findall(r'<td class="verdict"><span class="badge [a-z-]+">([a-z ]+)</span>', page)
    assert badges == ["reproduced", "not reproduced", "inconclusive", "not judged"]


def test_page_shows_notes_settings_and_provenance(page):
    for text in ("became NaN at step 10", "Settings overridden", "jax 1.2.3", "abc123", "arXiv:2310.00000", "3 of 3"):
        assert text in page


def test_hostile_text_is_escaped(page):
    # The data of two charts, and the one script that the page's policy allows.
    assert re.findall(r"<script[^>]*>", page) == ['<script type="application/json">'] * 2 + ["<script>"]
    assert page.count("&lt;script&gt;") >= 6


def test_page_loads_nothing(page):
    assert not re.search(r'<(img|link|iframe|object|embed)\b|\bsrc=|@import|url\((?!#)|href="(?!#|https://arxiv)', page)


def test_ids_of_the_page_are_unique(page):
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'(?:url\(|href=")#([^")]+)', page)) <= set(ids)


def test_report_is_written_whole(tmp_path, monkeypatch):
    path = tmp_path / "deep" / "report.html"
    empty = report_of()
    write_report(path, empty)
    before = path.read_text(encoding="utf-8")
    assert "Provenance" in before

    def refuse(*_):
        raise OSError("the disk is full")

    monkeypatch.setattr("os.replace", refuse)
    with pytest.raises(OSError, match="full"):
        write_report(path, dataclasses.replace(empty, scale="paper"))
    assert path.read_text(encoding="utf-8") == before
    assert [each.name for each in path.parent.iterdir()] == ["report.html"]


def test_experiment_without_anything_is_shown():
    nothing = Experiment(name="none", title="Nothing", conditions=(), scales={})
    waiting = ExperimentReport(experiment=experiment_of(), conditions=CONDITIONS, table=Table.of([]))
    text = render(report_of(ExperimentReport(experiment=nothing, conditions=(), table=Table.of([])), waiting))[0]
    assert "<figure" not in text
    assert "No results yet" in text
    assert text.count('"badge not-judged">not judged') == 4


@pytest.mark.parametrize("width", [10, NARROW])
def test_curves_draw_median_and_range(width):
    table = table_of()
    drawing = draw(CURVES, table, CONDITIONS, width=width)
    for axes, condition in zip(drawing.axes, CONDITIONS, strict=True):
        assert axes.get_title(loc="left") == condition.name
        for key in CURVES.keys:
            series = table.series(condition.name, key)
            (line,) = lines(axes, key.split("/")[1])
            np.testing.assert_array_equal(line.get_xdata(), STEPS)
            np.testing.assert_array_equal(line.get_ydata(), series.median(axis=1))
            assert line.get_color() == palette.SPLITS[key.split("/")[1]].light
        corners = axes.collections[0].get_paths()[0].vertices
        series = table.series(condition.name, "accuracy/train")
        for step in STEPS:
            at = corners[corners[:, 0] == step, 1]
            assert (at.min(), at.max()) == (series.loc[step].min(), series.loc[step].max())


def test_step_zero_is_at_the_left_edge():
    (axes, *_) = draw(CURVES, table_of(), CONDITIONS).axes
    left, right = axes.transData.transform([(0, 0), (100, 0)])[:, 0]
    assert left == pytest.approx(axes.bbox.x0)
    assert right == pytest.approx(axes.bbox.x1)


def test_paper_line_is_at_its_value():
    without, with_line = draw(CURVES, table_of(), CONDITIONS).axes
    (line,) = lines(with_line, "paper 0.65")
    assert set(line.get_ydata()) == {0.65}
    assert "paper 0.65" in [text.get_text() for text in with_line.texts]
    assert not lines(without, "paper 0.65")


def test_conditions_together_are_named_beside_their_lines():
    table = table_of()
    (axes,) = draw(TOGETHER, table, CONDITIONS).axes
    assert axes.get_yscale() == "log"
    for condition in CONDITIONS:
        (line,) = lines(axes, condition.name)
        np.testing.assert_array_equal(line.get_ydata(), table.series(condition.name, "loss/test").median(axis=1))
    assert {text.get_text() for text in axes.texts} == {"wd=0", "wd=5"}


def test_seeds_that_run_on_are_drawn_apart():
    rows = table_of().rows
    partial = Table(rows[~((rows["seed"] == 2) & (rows["step"] > 1)) & (rows["condition"] == "wd=0")])
    (axes,) = draw(CURVES, partial, CONDITIONS).axes
    (line,) = lines(axes, "test")
    np.testing.assert_array_equal(line.get_xdata(), [0, 1])
    going_on = [line for line in axes.get_lines() if list(line.get_xdata()) == [1, 10, 100]]
    assert len(going_on) == 4


def test_nothing_measured_draws_nothing():
    for figure in (CURVES, TOGETHER, PROFILE, BY_DECAY, CELLS):
        assert draw(figure, Table.of([]), CONDITIONS) is None
    rows = [("wd=0", 0, 0, "accuracy/train", float("nan"))]
    assert draw(CURVES, Table.of(rows), CONDITIONS) is None


@pytest.mark.parametrize("last", [0.0, 0.5])
def test_values_that_no_log_axis_shows(last):
    rows = [("wd=0", seed, step, "loss/test", 0.0) for seed in (0, 1) for step in STEPS]
    rows += [("wd=5", seed, step, "loss/test", last) for seed in (0, 1) for step in STEPS]
    assert inline_svg(svg_text(draw(TOGETHER, Table.of(rows), CONDITIONS)), "x").startswith("<svg")


def test_seeds_without_a_shared_step_are_drawn_apart():
    rows = [("wd=0", seed, seed, "loss/test", 1.0) for seed in (1, 2)] + [("wd=5", 1, 1, "loss/test", 2.0)]
    (axes,) = draw(TOGETHER, Table.of(rows), CONDITIONS).axes
    assert sorted(list(line.get_xdata()) for line in axes.get_lines()) == [[], [1], [1], [2]]


def test_profile_draws_the_last_values():
    rows = [
        ("wd=5", seed, step, f"{prefix}.{number}/{split}", number * (1 + seed) + step)
        for prefix in PROFILE.prefixes
        for split in PROFILE.splits
        for number in (0.0, 0.25, 1.0)
        for seed in (0, 1, 2)
        for step in (50, 100)
    ]
    (axes,) = draw(PROFILE, Table.of(rows), CONDITIONS).axes
    for label in ("train, lowest ipr", "test, highest ipr"):
        (line,) = lines(axes, label)
        np.testing.assert_array_equal(line.get_xdata(), [0, 0.25, 1])
        np.testing.assert_array_equal(line.get_ydata(), [100, 100.5, 102])


def test_many_measures_of_one_split_have_colours_of_their_own():
    keys = tuple(f"loss.{k}/test" for k in range(5))
    rows = [("wd=0", 0, step, key, 1.0) for key in keys for step in STEPS]
    (axes,) = draw(Curves(name="digits", caption="Digits.", keys=keys), Table.of(rows), CONDITIONS).axes
    looks = {(line.get_color(), line.get_linestyle()) for line in axes.get_lines() if line.get_label() != "_child0"}
    assert len({color for color, _ in looks}) == 5


def test_numbers_by_setting_where_all_seeds_have_one():
    sweep = Sweep(base=BASE, axes={"optimizer.weight_decay": [1.0, 5.0, 10.0]}).conditions()
    reached = {1.0: (10, 20, 60), 5.0: (5, 7, 8), 10.0: (3, 4, None)}  # at 10 one seed never comes
    rows = [
        (each.name, seed, step, "accuracy/test", 1.0)
        for each in sweep
        for seed, step in enumerate(reached[each.optimizer.weight_decay])
        if step is not None
    ]
    rows += [(sweep[2].name, 2, 100, "accuracy/test", 0.0)]
    (axes,) = draw(BY_DECAY, Table.of(rows), (*sweep, BASE)).axes
    (line,), (paper,) = lines(axes, "steps"), lines(axes, "steps, paper")
    assert list(zip(line.get_xdata(), line.get_ydata(), strict=True)) == [(1, 20), (5, 7)]
    assert list(zip(paper.get_xdata(), paper.get_ydata(), strict=True)) == [(5, 20)]
    dots = [dot for each in axes.get_lines() if each.get_marker() == "o" for dot in each.get_ydata()]
    assert sorted(dot for dot in dots if dot > 0) == [3, 4, 5, 7, 8, 10, 20, 60]


def test_settings_within_tuples():
    start = From(condition="dense", at="end", transforms=(MagnitudeMask(keep=0.4), Rewind()))
    child = dataclasses.replace(BASE, start=start)
    assert setting(child, "start.transforms.0.keep") == 0.4
    assert setting(child, "start.transforms.2.keep") is None
    assert setting(BASE, "start.transforms.0.keep") is None


def test_cells_show_the_label_of_most_seeds():
    sweep = Sweep(base=BASE, axes={"task.corruption": [0.0, 0.5], "optimizer.weight_decay": [0.0, 1.0]}).conditions()
    rows = [(each.name, seed, 0, "accuracy/test", 1.0) for each in sweep[:2] for seed in (0, 1, 2)]
    rows += [(sweep[2].name, seed, 0, "accuracy/test", float(seed == 0)) for seed in (0, 1, 2)]
    (axes,) = draw(CELLS, Table.of(rows), sweep).axes
    texts = sorted(text.get_text() for text in axes.texts)
    assert texts == ["coexistence\n2 of 3", "full\ninversion", "full\ninversion", "–"]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["0", "0.5"]
    assert len(axes.patches) == 5


def test_cells_too_narrow_for_words_show_letters():
    sweep = Sweep(base=BASE, axes={"task.corruption": [i / 10 for i in range(9)]}).conditions()
    drawing = draw(CELLS, table_of(sweep), sweep, width=NARROW)
    assert {text.get_text() for text in drawing.axes[0].texts} <= {"A", "B", "A\n2 of 3", "B\n2 of 3"}
    assert [text.get_text() for text in drawing.legends[0].texts] == ["A  coexistence", "B  full inversion"]


def test_label_that_the_figure_lacks_is_an_error():
    wrong = dataclasses.replace(CELLS, label=lambda table, condition: "coexistance")
    with pytest.raises(UserError, match="did you mean 'coexistence'"):
        draw(wrong, table_of(), CONDITIONS)


def test_colours_follow_the_scheme():
    svg = inline_svg(svg_text(draw(CURVES, table_of(), CONDITIONS)), "x")
    assert "var(--train)" in svg
    assert palette.SPLITS["train"].light not in svg
    lights = [shade.light for shade in palette.SHADES]
    assert len(lights) == len(set(lights))


def test_only_settings_that_differ_are_listed():
    assert differing_settings(CONDITIONS) == {"optimizer.weight_decay": ["0", "5"]}
    assert differing_settings(()) == {}


def test_a_setting_added_later_is_listed_where_it_differs():
    plain = TransformerConfig(layers=2, width=8, heads=2, mlp_width=8)
    first, second = (
        dataclasses.replace(CONDITIONS[0], model=dataclasses.replace(plain, scan_layers=scan)) for scan in (False, True)
    )
    assert differing_settings([first, second]) == {"model.scan_layers": ["False", "True"]}


def test_numbers_as_text():
    assert [step_text(step) for step in (0, 10, 10_000, 2_000_000)] == ["0", "10", "10k", "2M"]
    assert [power_text(number) for number in (0.01, 200, 1e-5, 2e5)] == ["0.01", "200", "10⁻⁵", "2×10⁵"]


def test_labels_are_spread_out():
    assert spread_out([0.2, 0.97, 0.98], gap=0.1) == pytest.approx([0.2, 0.9, 1.0])


def test_accuracies_of_the_conditions_are_those_of_the_splits_that_were_measured() -> None:
    rows = [("a", 0, step, f"accuracy/{split}", 0.25) for step in (0, 1) for split in ("train_inferred", "ood")]
    assert _splits(Table.of(rows)) == ["train_inferred", "ood"]
    assert _splits(Table.of([("a", 0, 0, "loss/train", 1.0)])) == ["train", "test"]
    many = [("a", 0, 0, f"accuracy/s{i}", 0.0) for i in range(9)]
    assert _splits(Table.of(many)) == [f"s{i}" for i in range(6)]


MANY = tuple(
    dataclasses.replace(BASE, name=f"wd={i}", optimizer=AdamW(learning_rate=0.01, weight_decay=i)) for i in range(60)
)


@pytest.mark.long
def test_the_page_shows_so_many_conditions_as_can_be_told_apart_and_says_so() -> None:
    table = table_of(MANY)
    figures = (CURVES, TOGETHER)
    experiment = experiment_of(figures=figures, conditions=MANY, claims=())
    notes = tuple(f"note {i}." for i in range(30))
    page, _ = render(report_of(ExperimentReport(experiment=experiment, conditions=MANY, table=table, notes=notes)))
    assert page.count("24 of 60 conditions are shown, evenly chosen") == len(figures)
    assert "18 more notes" in page
    assert all(f">note {i}.<" in page for i in range(30))
    shown, read, said = CURVES.for_page(table, MANY)
    assert (shown.conditions[0], shown.conditions[-1], len(shown.conditions)) == ("wd=0", "wd=59", 24)
    assert (read, len(said)) == (table, 1)
    # As many as fit are all shown, and what reads the whole table by itself is left alone.
    assert CURVES.for_page(table, MANY[:24])[0] is CURVES
    assert BY_DECAY.for_page(table, MANY) == (BY_DECAY, table, [])


def test_conditions_that_wait_are_counted_where_they_are_many() -> None:
    page, _ = render(
        report_of(ExperimentReport(experiment=experiment_of((), (), MANY), conditions=MANY, table=table_of()))
    )
    assert "wd=12; wd=13; and 46 more." in page


def test_long_lines_are_thinned_to_what_can_be_seen() -> None:
    steps = np.arange(5000)
    values = {seed: np.sin(steps / 100) + seed for seed in (0, 1)}
    values[0][3333] = 9.0  # a spike of one step
    values[1][4500:] = np.nan  # a seed that failed
    whole = Table.of(
        ("wd=0", seed, int(step), "loss/test", float(values[seed][step])) for seed in (0, 1) for step in steps
    )
    figure, table, said = TOGETHER.for_page(whole, CONDITIONS)
    assert figure is TOGETHER
    assert said == ["Lines are thinned to their extremes; table.csv has every step."]
    kept, series = table.series("wd=0", "loss/test"), whole.series("wd=0", "loss/test")
    assert len(kept) < 700
    assert {0, 3333, 4499, 4999} <= set(kept.index)
    # No value is another than was measured.
    assert kept.equals(series.loc[kept.index])
    assert kept.median(axis=1).max() == series.median(axis=1).max()


def test_final_values_of_all_seeds_are_those_of_each() -> None:
    table = table_of()
    finals = table.finals("accuracy/test")
    assert {place: table.seed(place[1]).final(place[0], "accuracy/test") for place in finals.index} == dict(finals)
    one = Table.of([("a", 0, step, "x", value) for step, value in enumerate([1.0, 2.0, float("nan")])])
    assert np.isnan(one.finals("x")["a", 0])
