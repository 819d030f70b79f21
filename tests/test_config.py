import dataclasses
import itertools
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxgen.condition import Condition, Every, LogSpaced, Numerics, Stop
from jaxgen.config import Config, added, digest, from_json, override, parse_value, per_member_values, to_json
from jaxgen.errors import UserError, nearest
from jaxgen.measures.config import Accuracy, Loss, WeightNorm
from jaxgen.models.config import MLPConfig, TransformerConfig
from jaxgen.objectives import MeanSquaredError
from jaxgen.optimizers import SGD, AdamW
from jaxgen.starts import First, From, Init, MagnitudeMask, Rewind, ScaleParams
from jaxgen.tasks.algebra.modular import ModularTask, PermutationTask

CONDITION = Condition(
    name="wd=5",
    task=ModularTask(p=11, train_fraction=0.5),
    model=TransformerConfig(layers=1, width=16, heads=2, mlp_width=32),
    optimizer=AdamW(learning_rate=1e-3, weight_decay=5),
    steps=100,
)


def finite(low: float = 0.0, high: float = 1e6) -> st.SearchStrategy[float]:
    return st.floats(low, high, exclude_min=True, allow_nan=False, allow_subnormal=False, width=32)


TASKS = st.one_of(
    st.builds(
        ModularTask,
        p=st.sampled_from([5, 7, 11]),
        train_fraction=st.floats(0.3, 0.7),
        operation=st.sampled_from(["x+y", "x/y"]),
        corruption=st.floats(0, 1, allow_subnormal=False, width=32),
        split_seed=st.none() | st.integers(0, 2**40),
    ),
    st.builds(PermutationTask, degree=st.integers(2, 4), train_fraction=st.floats(0.3, 0.7)),
)
MODELS = st.one_of(
    st.builds(
        MLPConfig,
        hidden=st.lists(st.integers(1, 512), min_size=1, max_size=3),
        bias=st.booleans(),
        init_std=st.none() | finite(),
        dropout=st.floats(0, 0.5, allow_subnormal=False, width=32),
    ),
    st.builds(TransformerConfig, layers=st.integers(1, 4), width=st.just(8), heads=st.just(2), mlp_width=st.just(4)),
)
OPTIMIZERS = st.one_of(
    st.builds(AdamW, learning_rate=finite(), weight_decay=st.integers(0, 20) | finite(), b1=st.floats(0, 0.99)),
    st.builds(SGD, learning_rate=finite()),
)
TRANSFORMS = st.one_of(
    st.builds(MagnitudeMask, keep=finite(0, 1)), st.builds(Rewind), st.builds(ScaleParams, factor=finite())
)
STARTS = st.one_of(
    st.builds(Init),
    st.builds(
        From,
        condition=st.text(),
        at=st.just("end") | st.integers(0, 10**6) | st.builds(First, at_least=finite()),
        transforms=st.lists(TRANSFORMS, max_size=3),
    ),
)
CONDITIONS = st.builds(
    Condition,
    name=st.from_regex(r"[A-Za-z0-9=.,_ +-]{1,60}", fullmatch=True),
    task=TASKS,
    model=MODELS,
    optimizer=OPTIMIZERS,
    steps=st.integers(1, 10**7),
    loss=st.sampled_from(["cross_entropy", "mse"]),
    start=STARTS,
    seeds=st.lists(st.integers(0, 2**31 - 1), min_size=1, max_size=4, unique=True),
    measures=st.lists(st.sampled_from([Loss(), WeightNorm()]), max_size=2).map(lambda each: [Accuracy(), *each]),
    measure_at=st.builds(LogSpaced, per_decade=st.integers(1, 50)) | st.builds(Every, interval=st.integers(1, 50)),
    stop=st.none() | st.builds(Stop, patience=st.integers(1, 5)),
    snapshots=st.lists(st.integers(0, 100), max_size=3),
)


@settings(deadline=None, max_examples=100)
@given(condition=CONDITIONS)
def test_json_round_trip(condition: Condition) -> None:
    text = json.dumps(to_json(condition), allow_nan=False)
    back = from_json(json.loads(text))
    assert back == condition
    assert type(back.task) is type(condition.task)
    assert json.dumps(to_json(back)) == text
    assert digest(back) == digest(condition)


def test_json_of_plain_data() -> None:
    data = {"conditions": [{"a": 1, "b": None}], "x": "text", "y": 2.5, "z": True}
    assert to_json(data) == data
    assert from_json(data) == {"conditions": ({"a": 1, "b": None},), "x": "text", "y": 2.5, "z": True}


def test_an_unknown_kind_is_refused_and_the_nearest_named() -> None:
    with pytest.raises(UserError, match=r"unknown kind of config 'AdamV': .*; did you mean 'AdamW'\?"):
        from_json({"kind": "AdamV", "learning_rate": 0.1})
    for name in ("os.system", "Path", "Config"):
        with pytest.raises(UserError, match="unknown kind"):
            from_json({"start": [{"kind": name}]})


def test_an_unknown_field_of_a_kind_is_refused_and_the_nearest_named() -> None:
    with pytest.raises(UserError, match=r"SGD has no field 'momentun'; did you mean 'momentum'\?"):
        from_json({"kind": "SGD", "learning_rate": 0.1, "momentun": 0.9})


def test_overrides_reach_nested_settings() -> None:
    assert override(CONDITION, {"steps": 7}).steps == 7
    changed = override(override(CONDITION, {"model.width": 32}), {"optimizer.weight_decay": 0.5})
    assert isinstance(changed.model, TransformerConfig)
    assert isinstance(changed.optimizer, AdamW)
    assert (changed.model.width, changed.optimizer.weight_decay) == (32, 0.5)
    assert CONDITION.steps == 100
    assert override(changed, {"model.width": 16}) == override(CONDITION, {"optimizer.weight_decay": 0.5})


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("batch_size", "20", 20),
        ("batch_size", "null", None),
        ("seeds", "[3, 4]", (3, 4)),
        ("loss", "mse", MeanSquaredError()),
        ("stop", "Stop", Stop()),
        ("model.causal", "false", False),
        ("optimizer.weight_decay", "1", 1.0),
        ("optimizer.learning_rate", "1e-4", 1e-4),
        ("stop", '{"kind": "Stop", "patience": 3}', Stop(patience=3)),
        ("start", '{"kind": "From", "condition": "a", "at": 5}', From(condition="a", at=5)),
        ("model", '{"kind": "MLPConfig", "hidden": [8, 8]}', MLPConfig(hidden=(8, 8))),
        ("measures", '[{"kind": "Accuracy"}]', (Accuracy(),)),
    ],
)
def test_values_of_the_command_line(key: str, text: str, value: Any) -> None:
    found: Any = override(CONDITION, {key: parse_value(text)})
    for name in key.split("."):
        found = getattr(found, name)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("model.widht", 8, r"no setting 'model.widht': TransformerConfig has no 'widht'; did you mean 'width'\?"),
        ("optimiser.b1", 0.5, r"no setting 'optimiser.b1': Condition has no 'optimiser'; did you mean 'optimizer'\?"),
        ("qqq", 8, "no setting 'qqq': Condition has no 'qqq'; there is: analyses, batch_size"),
        ("steps.width", 8, "no setting 'steps.width': 'steps' is 100, without parts"),
        ("model.width", "wide", r"model.width: got 'wide' \(str\), expected int"),
        ("model.width", 16.5, r"model.width: got 16.5 \(float\), expected int"),
        ("model.width", True, r"model.width: got True \(bool\), expected int"),
        ("model.causal", 1, r"model.causal: got 1 \(int\), expected bool"),
        ("optimizer.b1", "x", r"optimizer.b1: got 'x' \(str\), expected float"),
        ("optimizer.b1", True, r"optimizer.b1: got True \(bool\), expected float"),
        ("optimizer.b1", 1.0, "optimizer.b1: got 1.0, expected a number at least 0 and below 1"),
        ("optimizer.learning_rate", -1, "optimizer.learning_rate: got -1.0, expected a number at least 0"),
        ("optimizer.weight_decay", float("nan"), "optimizer.weight_decay: got nan, expected a finite number"),
        ("steps", 0, "steps: got 0, expected a number at least 1"),
        ("task.train_fraction", 1.0, "task.train_fraction: got 1.0, expected a number above 0 and below 1"),
        ("loss", "mes", r"loss: got 'mes', expected one of Adversarial, cross_entropy, mse, .*; did you mean 'mse'\?"),
        ("stop", "Stopp", r"stop: got 'Stopp', expected Stop; did you mean 'Stop'\?"),
        ("start", "x", "start: got 'x', expected one of From, Init, ScaledInit"),
        ("seeds", 3, "seeds: got 3, expected a list"),
        ("seeds", [0, "1"], r"seeds\[1\]: got '1' \(str\), expected int"),
        ("seeds", [], r"seeds: got \[\], expected at least one"),
        ("seeds", [1, 1], r"seeds: got \[1, 1\], expected at least one, each once"),
        ("batch_size", 61, "batch_size: got 61, expected at most the 60 training examples"),
        ("batch_size", "all", r"batch_size: got 'all' \(str\), expected int"),
        ("stop", 3, r"stop: got 3 \(int\), expected Stop"),
        ("model.heads", 3, "model.width: got 16, expected a multiple of heads=3"),
        ("task.operation", "x-z", r"task.operation: got 'x-z', expected one of .* did you mean 'x-y'\?"),
        ("optimizer", {"kind": "Accuracy"}, r"optimizer: got Accuracy\(\) \(Accuracy\), expected one of AdamW"),
    ],
)
def test_a_bad_override_is_refused_with_its_rule(key: str, value: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        override(CONDITION, {key: value})


def test_a_config_is_checked_when_it_is_made() -> None:
    with pytest.raises(UserError, match="hidden: got no layer"):
        MLPConfig(hidden=())
    with pytest.raises(UserError, match=r"hidden\[1\]: got 0, expected a number at least 1"):
        MLPConfig(hidden=(4, 0))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Several(Config):
    numbers: tuple[float, ...]


def test_integers_are_widened_so_5_and_5_0_are_one_setting() -> None:
    one, other = (AdamW(learning_rate=1, weight_decay=value) for value in (5, 5.0))
    assert type(one.weight_decay) is float
    assert one == other
    assert digest(one) == digest(other)
    assert digest(override(CONDITION, {"optimizer.weight_decay": 5})) == digest(CONDITION)
    assert digest(Several(numbers=(0, 1))) == digest(Several(numbers=(0.0, 1.0)))


def test_kinds_of_equal_fields_have_different_digests() -> None:
    assert digest(Init()) != digest(Rewind())
    assert digest(LogSpaced()) != digest(Numerics())


def test_a_digest_is_stable() -> None:
    # Identities name the runs on disk: where this fails, every run of before is trained anew.
    assert digest(SGD(learning_rate=0.5)) == "831f16d6f5a54794"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Grown(Config):
    width: int
    rate: float = added(1)
    schedule: Every = added(Every(interval=5))


@pytest.mark.parametrize("values", [{}, {"rate": 1}, {"rate": 1.0, "schedule": Every(interval=5)}])
def test_an_added_field_with_its_default_leaves_the_digest_as_it_was(values: dict[str, Any]) -> None:
    before = {"kind": "Grown", "width": 2}
    assert to_json(Grown(width=2, **values)) == before
    assert digest([Grown(width=2, **values)]) == digest([before])
    assert from_json(before) == Grown(width=2)
    assert to_json(Grown(width=2), complete=True) == before | {"rate": 1.0, "schedule": to_json(Every(interval=5))}


@pytest.mark.parametrize("values", [{"rate": 2}, {"schedule": Every(interval=6)}])
def test_an_added_field_with_another_value_is_a_setting_like_any(values: dict[str, Any]) -> None:
    config = Grown(width=2, **values)
    assert digest(config) != digest(Grown(width=2))
    assert from_json(json.loads(json.dumps(to_json(config)))) == config
    assert override(Grown(width=2), values) == config
    with pytest.raises(UserError, match=r"rate: got 'fast' \(str\), expected float"):
        override(config, {"rate": "fast"})


def test_the_numbers_of_a_member() -> None:
    assert per_member_values(CONDITION) == {
        "task.corruption": 0,
        "model.dropout": 0,
        "optimizer.learning_rate": 1e-3,
        "optimizer.weight_decay": 5,
    }


def test_every_config_can_be_found_by_its_kind() -> None:
    for kind, cls in Config.kinds.items():
        assert cls.saved_as == kind
        assert kind.rpartition("/")[2] == cls.__name__


def test_nearest() -> None:
    assert nearest("widht", ["width", "depth"]) == "; did you mean 'width'?"
    assert nearest("LSTM", ["gru", "lstm"]) == "; did you mean 'lstm'?"
    assert nearest("alibi", ["ALiBi", "Rotary"]) == "; did you mean 'ALiBi'?"
    assert nearest("zzz", ["width", "depth"]) == "; there is: depth, width"
    assert nearest("zzz", []) == "; there is none"


@pytest.mark.parametrize("horizon", [1, 7, 10, 100, 12345])
def test_log_spaced_steps(horizon: int) -> None:
    schedule = LogSpaced(per_decade=10)
    steps = schedule.steps(horizon)
    assert steps == sorted(set(steps))
    assert (steps[0], steps[-1]) == (0, horizon)
    longer = schedule.steps(10 * horizon)
    assert set(steps) - {horizon} <= set(longer)
    assert {step for step in longer if step < horizon} <= set(steps)
    assert all(after <= (before + 0.5) * 10**0.1 + 0.5 for before, after in itertools.pairwise(steps))


def test_steps_of_an_interval() -> None:
    assert Every(interval=4).steps(10) == [0, 4, 8, 10]
    assert Every(interval=5).steps(10) == [0, 5, 10]
