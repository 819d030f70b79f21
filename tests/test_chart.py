"""Charts of the pages: their data as JSON, what is no number, mathematics, and figures that draw nothing or fail."""

import base64
import dataclasses
import hashlib
import json
import math
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from jaxgen.bounds import Bounds
from jaxgen.errors import UserError
from jaxgen.experiment import Experiment, Scale, Sweep
from jaxgen.figures import BySetting, Curves
from jaxgen.figures.axes import log_label
from jaxgen.figures.chart import Chart, Panel, Series
from jaxgen.figures.draw import draw
from jaxgen.measures.config import Accuracy, ByPosition
from jaxgen.report.html import ExperimentReport, render, write_report
from jaxgen.report.mathematics import plain, set_mathematics
from jaxgen.report.page import chart_json
from jaxgen.table import Table
from tests.test_report import BASE, CLAIMS, CONDITIONS, CURVES, STEPS, TOGETHER, experiment_of, report_of, table_of

HOSTILE = "</script><script>alert(1)</script> & ' \u2028 __proto__"
SWEEP = tuple(Sweep(base=BASE, axes={"optimizer.weight_decay": [1.0, 5.0, 10.0]}).conditions())


def by_decay(value, **fields):
    return BySetting(
        name="decay",
        caption="By decay.",
        x="optimizer.weight_decay",
        y_label="steps",
        values={"steps": value},
        **fields,
    )


def sweep_table(conditions=SWEEP, seeds=(0, 1, 2)):
    return Table.of((each.name, seed, 0, "accuracy/test", 0.5) for each in conditions for seed in seeds)


class Scripts(HTMLParser):
    """The scripts of a page, as a browser reads them."""

    def __init__(self, page):
        super().__init__()
        self.found, self.policy = [], ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        fields = dict(attrs)
        if tag == "script":
            self.found.append((fields, ""))
        if fields.get("http-equiv") == "Content-Security-Policy":
            self.policy = fields["content"]

    def handle_data(self, data):
        if self.lasttag == "script" and self.found and self.cdata_elem == "script":
            self.found[-1] = (self.found[-1][0], self.found[-1][1] + data)


def report_with(*figures, conditions=CONDITIONS, table=None, claims=()):
    experiment = experiment_of(figures=figures, claims=claims, conditions=conditions)
    return ExperimentReport(experiment=experiment, conditions=conditions, table=table_of() if table is None else table)


def test_a_chart_has_the_medians_and_ranges_that_the_table_has() -> None:
    table = table_of()
    data = json.loads(chart_json(CURVES.chart(table, CONDITIONS)))
    assert (data["x"], data["y"], data["logX"], data["logY"]) == ("step", "accuracy", True, False)
    assert [panel["title"] for panel in data["panels"]] == ["wd=0", "wd=5"]
    for panel in data["panels"]:
        assert panel["grids"][0] == list(STEPS)
        for key in ("accuracy/train", "accuracy/test"):
            values = table.series(panel["title"], key)
            found = {each["kind"]: each["y"] for each in panel["series"] if each["name"] == key.split("/")[1]}
            np.testing.assert_allclose(found["line"], values.median(axis=1), rtol=1e-4)
            np.testing.assert_allclose(found["low"], values.min(axis=1), rtol=1e-4)
            np.testing.assert_allclose(found["high"], values.max(axis=1), rtol=1e-4)
    assert [each["y"] for each in data["panels"][1]["series"] if each["kind"] == "paper"] == [[0.65, 0.65]]


def test_what_is_no_number_is_null() -> None:
    values = [1.0, math.nan, math.inf, -math.inf, 123456.789, 1e-30]
    series = Series(name="", kind="line", shade="train", x=range(6), y=values)
    text = chart_json(Chart(panels=[Panel(title="", series=[series])], x_label="x", y_label="y"))
    read = json.loads(text, parse_constant=lambda name: pytest.fail(name))
    assert read["panels"][0]["series"][0]["y"] == [1, None, None, None, 123460, 1e-30]


def test_series_on_equal_grids_share_them() -> None:
    table = table_of()
    (panel,) = TOGETHER.chart(table, CONDITIONS).json()["panels"]
    assert len(panel["grids"]) == 1
    assert {each["grid"] for each in panel["series"]} == {0}


def test_no_name_breaks_out_of_its_script() -> None:
    hostile = Series(name=HOSTILE, kind="line", shade="train", x=[0], y=[1.0])
    text = chart_json(Chart(panels=[Panel(title=HOSTILE, series=[hostile])], x_label=HOSTILE, y_label=HOSTILE))
    assert not set("<>&") & set(text)
    read = json.loads(text)
    assert {read["x"], read["y"], read["panels"][0]["title"], read["panels"][0]["series"][0]["name"]} == {HOSTILE}


def test_a_page_runs_one_script_and_its_policy_allows_no_other() -> None:
    page, failed = render(report_of(report_with(dataclasses.replace(TOGETHER, y_label=HOSTILE))))
    assert not failed
    scripts = Scripts(page)
    (data, text), (drawing, script) = scripts.found
    assert (data, drawing) == ({"type": "application/json"}, {})
    assert json.loads(text)["y"] == HOSTILE
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert scripts.policy.endswith(f"; script-src 'sha256-{digest}'")
    # Texts are set as text.
    assert not re.search(r"innerHTML|insertAdjacentHTML|document\.write|\beval\(", script)


def test_a_page_without_charts_has_no_script() -> None:
    page, _ = render(report_of(report_with()))
    assert "<script" not in page
    assert "script-src" not in page


@pytest.mark.parametrize("log_y", [False, True])
@pytest.mark.parametrize("unknown", [math.inf, math.nan, Bounds(100.0, math.inf, "it never came")])
def test_numbers_by_setting_that_are_not_finite_are_left_out(log_y: bool, unknown: float) -> None:
    figure = by_decay(lambda t, name: unknown if name == SWEEP[2].name else 10.0, log_y=log_y)
    table = sweep_table()
    (axes,) = draw(figure, table, SWEEP).axes
    assert all(np.isfinite(axes.get_ylim()))
    (line,) = [each for each in axes.get_lines() if each.get_label() == "steps"]
    assert list(line.get_xdata()) == [1.0, 5.0]
    assert json.loads(chart_json(figure.chart(table, SWEEP)))["logY"] is log_y
    said = figure.for_page(table, SWEEP)[2]
    rule = "finite and positive" if log_y else "finite"
    assert said == ([f"3 values are not {rule}, and not drawn."] if unknown == math.inf else [])


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (lambda t, name: math.inf, "9 values are not finite and positive, and not drawn."),
        (lambda t, name: -1.0, "9 values are not finite and positive, and not drawn."),
        (lambda t, name: Bounds(1.0, math.inf, "it never came"), "No condition has a number: it never came."),
        (lambda t, name: t.final(name, "acuracy/test"), "did you mean 'accuracy/test'?"),
    ],
)
def test_a_figure_that_draws_nothing_says_why(value, why: str) -> None:
    page, failed = render(report_of(report_with(by_decay(value, log_y=True), conditions=SWEEP, table=sweep_table())))
    assert not failed
    assert "figure &#39;decay&#39; draws nothing: " in page
    assert why.replace("'", "&#39;") in page
    assert "<figure" not in page


def test_a_figure_whose_function_fails_is_left_out_and_told() -> None:
    page, failed = render(
        report_of(report_with(by_decay(lambda t, name: 1 / 0), CURVES, conditions=SWEEP, table=table_of(SWEEP)))
    )
    assert len(failed) == 1
    assert failed[0].startswith("figure 'decay': its code failed at tests/test_chart.py, line ")
    assert "ZeroDivisionError" in page
    assert page.count("<figure>") == 1


def experiment_with(**fields):
    return Experiment(name="e", title="", conditions=CONDITIONS, scales={"mini": Scale()}, **fields)


@pytest.mark.parametrize(
    ("figure", "nearest"),
    [
        (dataclasses.replace(CURVES, conditions=("wd=0", "wd=55")), "no condition 'wd=55'; did you mean 'wd=5'?"),
        (dataclasses.replace(CURVES, keys=("acuracy/test",)), "no key 'acuracy/test'; did you mean 'accuracy/test'?"),
        (by_decay(lambda t, name: 1.0, conditions=("wd5",)), "no condition 'wd5'; did you mean 'wd=5'?"),
        (
            dataclasses.replace(by_decay(lambda t, name: 1.0), x="optimizer.weight_decai"),
            "no condition has the setting 'optimizer.weight_decai'; did you mean 'optimizer.weight_decay'?",
        ),
    ],
)
def test_figures_that_name_what_is_not_there_are_refused_before_training(figure, nearest: str) -> None:
    experiment = experiment_with(figures=(figure,))
    with pytest.raises(UserError, match=re.escape(nearest)):
        experiment.at_scale("mini")


def test_keys_that_only_training_knows_are_not_refused_before_it() -> None:
    base = dataclasses.replace(BASE, measures=(Accuracy(), ByPosition()))
    Curves(name="c", caption="", keys=("accuracy.0/test",)).check((base,))
    with pytest.raises(UserError, match="no key 'loss/test'"):
        Curves(name="c", caption="", keys=("loss/test",)).check((dataclasses.replace(BASE, measures=(Accuracy(),)),))


def test_functions_of_a_figure_that_ask_for_what_is_not_measured_are_refused_before_training() -> None:
    with pytest.raises(UserError, match="no measure 'acuracy/test'; did you mean 'accuracy/test'"):
        by_decay(lambda t, name: t.first_step(name, "acuracy/test", at_least=0.5)).check_asked(SWEEP)
    with pytest.raises(UserError, match="figure 'decay': no condition 'wd5'"):
        by_decay(lambda t, name: t.final("wd5", "accuracy/test")).check_asked(SWEEP)
    # What one condition has, what is there, and what fails on made-up values only.
    by_decay(lambda t, name: t.final(name, "x" if name == SWEEP[0].name else "loss/train")).check_asked(SWEEP)
    by_decay(lambda t, name: 1 / (t.max(name, "accuracy/test") - t.min(name, "accuracy/test"))).check_asked(SWEEP)
    unknown = tuple(dataclasses.replace(each, measures=(ByPosition(),)) for each in SWEEP)
    by_decay(lambda t, name: t.final(name, "loss.7/test")).check_asked(unknown)


def test_two_figures_or_claims_of_one_name_are_refused() -> None:
    with pytest.raises(UserError, match="got two figures named 'curves'"):
        experiment_with(figures=(CURVES, CURVES))
    (claim,) = experiment_of().claims[:1]
    with pytest.raises(UserError, match="got two claims named 'up'"):
        experiment_with(claims=(claim, claim))


def test_axes_say_that_they_are_logarithmic_and_of_which_split_an_accuracy_is() -> None:
    table = table_of()
    one = dataclasses.replace(CURVES, keys=("accuracy/test",), log_y=True)
    drawing = draw(one, table, CONDITIONS)
    assert drawing.axes[0].get_ylabel() == "test accuracy (log scale)"
    assert drawing.get_supxlabel() == "step (log scale)"
    assert draw(CURVES, table, CONDITIONS).axes[0].get_ylabel() == "accuracy"
    assert one.chart(table, CONDITIONS).y_label == "test accuracy"
    assert log_label("loss (nats)") == "loss (nats, log scale)"


def test_the_files_of_a_run_are_linked_and_its_figures_written_beside_the_page(tmp_path) -> None:
    run = tmp_path / "run #1"
    part = dataclasses.replace(report_with(CURVES), folder=run)
    copy = tmp_path / "elsewhere" / "page.html"
    assert write_report(run / "report.html", report_of(part), copy) == []
    page = (run / "report.html").read_text(encoding="utf-8")
    links = set(re.findall(r'href="(\./[^"]*)"', page))
    assert links == {"./", "./table.csv", "./results.json", "./figures/curves.svg"}
    assert "<svg" in (run / "figures" / "curves.svg").read_text(encoding="utf-8")
    assert 'href="./' not in copy.read_text(encoding="utf-8")
    # The page of several runs lies elsewhere.
    write_report(tmp_path / "all.html", report_of(part))
    assert 'href="run%20%231/table.csv"' in (tmp_path / "all.html").read_text(encoding="utf-8")


def test_the_headline_names_the_experiment_where_not_the_whole_paper_ran() -> None:
    part, other = report_with(claims=CLAIMS), experiment_with()
    whole = report_of(part)
    assert whole.title() == whole.paper.title
    some = dataclasses.replace(whole, paper=dataclasses.replace(whole.paper, experiments=(part.experiment, other)))
    page, _ = render(some)
    assert some.title() == part.experiment.title
    assert "<title>toy/decay (mini)" in page
    assert "in 1 of the paper's 2 experiments".replace("'", "&#39;") in page


@pytest.mark.parametrize(
    ("text", "html", "terminal"),
    [
        ("$10^{-3}$", "10<sup>−3</sup>", "10^-3"),
        ("$x_1$", "<i>x</i><sub>1</sub>", "x_1"),
        (
            r"$1 - \exp(-\Omega(n |\mu|^4 / p))$",
            "1 − exp(−Ω(<i>n</i> |μ|<sup>4</sup> / <i>p</i>))",
            "1 - exp(-Omega(n |mu|^4 / p))",
        ),
        (r"$\sqrt{p} \ge 2$", "√(<i>p</i>) ≥ 2", "sqrt(p) >= 2"),
    ],
)
def test_mathematics_is_set(text: str, html: str, terminal: str) -> None:
    assert set_mathematics(f"a {text} b") == f'a <span class="math">{html}</span> b'
    assert plain(f"a {text} b") == f"a {terminal} b"


@pytest.mark.parametrize("text", ["it costs $5 and $6", "a $ b", "a_b ^ c", "100$"])
def test_what_is_no_mathematics_stays(text: str) -> None:
    assert set_mathematics(text) == plain(text) == text


def test_mathematics_of_strangers_is_escaped_and_never_too_deep() -> None:
    assert "<b>" not in set_mathematics(r"$<b>\<b>^<b>_{<b>}$ <b>")
    assert set_mathematics("$" + "^{" * 100_000 + "$").count("<sup>") > 0
