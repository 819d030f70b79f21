import dataclasses
import subprocess
import sys
from typing import Any

import pytest

from jaxgen.condition import Condition, Every, Stop, Trajectory, populations, trajectories
from jaxgen.config import digest, from_json, override, to_json
from jaxgen.errors import UserError
from jaxgen.experiment import Experiment, Scale, Sweep, within
from jaxgen.experiments.grokking_tickets.parts import MatchNorm
from jaxgen.experiments.nanda_modadd.parts import ProgressMeasures
from jaxgen.measures.config import Accuracy
from jaxgen.models.config import MLPConfig, TransformerConfig
from jaxgen.optimizers import SGD, AdamW, Schedule
from jaxgen.starts import First, From, Init, MagnitudeMask, RandomMask, Rewind
from jaxgen.tasks.algebra.modular import ModularTask, PermutationTask
from jaxgen.tasks.growing import Growing


@dataclasses.dataclass(frozen=True, kw_only=True)
class Halving(Schedule):
    def factor(self, count: Any, horizon: int) -> Any:
        return 0.5


def condition(name: str = "base", **changes: Any) -> Condition:
    fields = {
        "name": name,
        "task": ModularTask(p=11, train_fraction=0.5, corruption=0.2),
        "model": TransformerConfig(layers=1, width=16, heads=2, mlp_width=32, dropout=0.1),
        "optimizer": AdamW(learning_rate=1e-3, weight_decay=1),
        "steps": 100,
    }
    return Condition(**(fields | changes))


def experiment(*conditions: Condition | Sweep, **scales: Scale) -> Experiment:
    return Experiment(name="e", title="", conditions=conditions, scales={"paper": Scale()} | scales)


def identities(*conditions: Condition) -> dict[tuple[str, int], str]:
    return {(each.condition.name, each.seed): each.identity for each in trajectories(conditions)}


def identity(*conditions: Condition) -> str:
    """Returns the identity of seed 0 of the last condition."""
    return identities(*conditions)[conditions[-1].name, 0]


# Settings that change what a trajectory is, by the field of `Condition` that they are in.
SCIENCE: list[tuple[str, Any]] = [
    ("task.p", 13),
    ("task.operation", "x-y"),
    ("task.train_fraction", 0.6),
    ("task.pairs", "unordered"),
    ("task.format", "a b"),
    ("task.corruption", 0.3),
    ("task.split_seed", 0),
    ("task.rounding", "nearest"),
    ("task", PermutationTask(degree=3, train_fraction=0.5)),
    ("model.layers", 2),
    ("model.width", 32),
    ("model.heads", 4),
    ("model.mlp_width", 16),
    ("model.causal", False),
    ("model.norm", "pre"),
    ("model.positions", "none"),
    ("model.activation", "gelu"),
    ("model.attention", "auto"),
    ("model.attention_bias", True),
    ("model.mlp_bias", False),
    ("model.output_bias", True),
    ("model.tied", True),
    ("model.init", "torch"),
    ("model.mup", True),
    ("model.scan_layers", True),
    ("model.loops", 2),
    ("model.tempered", True),
    ("model.dropout", 0.2),
    ("model", MLPConfig(hidden=(4,))),
    ("optimizer.learning_rate", 1e-2),
    ("optimizer.warmup", 10),
    ("optimizer.weight_decay", 2),
    ("optimizer.decay", "matrices"),
    ("optimizer.b1", 0.8),
    ("optimizer.b2", 0.9),
    ("optimizer.eps", 1e-7),
    ("optimizer.schedule", Halving()),
    ("optimizer", SGD(learning_rate=1e-3)),
    ("loss", "mse"),
    ("batch_size", 10),
    ("numerics.compute_dtype", "bfloat16"),
    ("numerics.matmul_precision", "high"),
    ("numerics.logical_shards", 8),
    ("measures", (Accuracy(),)),
    ("measure_at", Every(interval=10)),
    ("measured_at_once", 10),
    ("stop", Stop()),
]
LOOKS: list[tuple[str, Any]] = [
    ("name", "other"),
    ("steps", 200),
    ("seeds", (0, 7)),
    ("snapshots", (5, 10)),
    ("analyses", (ProgressMeasures(),)),
]


@pytest.mark.parametrize(("key", "value"), SCIENCE)
def test_what_changes_the_science_changes_the_identity(key: str, value: Any) -> None:
    assert identity(override(condition(), {key: value})) != identity(condition())


def test_a_curriculum_changes_the_identity() -> None:
    growing = condition(batch_size=10, curriculum=Growing(first=0.5, full_at=10))
    assert identity(growing) != identity(condition(batch_size=10))


@pytest.mark.parametrize(("key", "value"), LOOKS)
def test_what_only_looks_at_a_run_leaves_its_identity(key: str, value: Any) -> None:
    assert identity(override(condition(), {key: value})) == identity(condition())


def test_every_field_either_changes_the_identity_or_only_looks() -> None:
    tested = {key for key, _ in SCIENCE + LOOKS} | {"start", "curriculum"}
    assert {key.split(".")[0] for key in tested} == {field.name for field in dataclasses.fields(Condition)}
    for part in ("task", "model", "optimizer", "numerics"):
        names = {field.name for field in dataclasses.fields(getattr(condition(), part))}
        assert {key.split(".")[1] for key in tested if key.startswith(f"{part}.")} == names


def test_identities_differ_by_seed_and_not_by_their_order() -> None:
    found = identities(condition(seeds=(0, 1, 2)))
    assert len(set(found.values())) == 3
    assert found == identities(condition(seeds=(2, 0, 1)))


def test_the_version_of_a_task_is_in_the_identity(monkeypatch: pytest.MonkeyPatch) -> None:
    before = identity(condition())
    monkeypatch.setattr(ModularTask, "version", ModularTask.version + 1)
    assert identity(condition()) != before


def child(name: str = "child", parent: str = "base", **changes: Any) -> Condition:
    start = From(condition=parent, **{key: changes.pop(key) for key in ("at", "transforms") if key in changes})
    return condition(name, start=start, **changes)


def test_the_start_is_in_the_identity() -> None:
    parent = condition()
    starts = [
        child(),
        child(at=50),
        child(at=First(at_least=0.9)),
        child(transforms=(Rewind(),)),
        child(transforms=(MagnitudeMask(keep=0.5), Rewind())),
        child(transforms=(Rewind(), MagnitudeMask(keep=0.5))),
    ]
    found = [identity(parent, each) for each in starts]
    assert len({*found, identity(parent)}) == len(starts) + 1


def test_a_child_inherits_the_parent_s_identity_and_not_its_name() -> None:
    before = identity(condition(), child())
    assert identity(condition("renamed"), child(parent="renamed")) == before
    assert identity(override(condition(), {"optimizer.b1": 0.8}), child()) != before
    grandchild = child("grandchild", "child")
    changed = override(condition(), {"optimizer.b1": 0.8})
    assert identity(condition(), child(), grandchild) != identity(changed, child(), grandchild)


def test_the_end_of_a_parent_is_its_last_step() -> None:
    assert identity(condition(), child(at="end")) == identity(condition(), child(at=100))
    assert identity(condition(steps=200), child(at="end")) != identity(condition(), child(at="end"))
    assert identity(condition(steps=200), child(at=50)) == identity(condition(), child(at=50))


def test_trajectories_are_parents_first_each_once() -> None:
    parent = condition(seeds=(0, 1))
    found = trajectories([child(seeds=(0, 1)), child("other", at=10, seeds=(1,)), parent])
    names = [(each.condition.name, each.seed) for each in found]
    assert sorted(names) == [("base", 0), ("base", 1), ("child", 0), ("child", 1), ("other", 1)]
    for each in found:
        if each.parent is not None:
            assert each.parent is found[names.index(("base", each.seed))]
            assert names.index(("base", each.seed)) < names.index((each.condition.name, each.seed))


def test_starts_in_a_circle_are_refused() -> None:
    with pytest.raises(UserError, match="the conditions a -> b -> a start from each other"):
        trajectories([child("a", "b"), child("b", "a")])
    with pytest.raises(UserError, match="a -> a start from each other"):
        trajectories([child("a", "a")])


def test_a_parent_must_have_the_seeds_of_its_child() -> None:
    with pytest.raises(UserError, match="'child' has seed 2, which 'base' lacks"):
        trajectories([condition(seeds=(0, 1)), child(seeds=(1, 2))])


def shapes(groups: list[list[Trajectory]]) -> list[set[tuple[str, int]]]:
    return [{(each.condition.name, each.seed) for each in group} for group in groups]


def test_populations_are_what_one_program_can_train() -> None:
    base = condition(seeds=(0, 1))
    faster = override(dataclasses.replace(base, name="faster"), {"optimizer.learning_rate": 0.1})
    noisier = override(dataclasses.replace(base, name="noisier", seeds=(5,)), {"task.corruption": 0.5})
    dropping = override(dataclasses.replace(base, name="dropping", seeds=(5,)), {"model.dropout": 0.5})
    together = {("base", 0), ("base", 1), ("faster", 0), ("faster", 1), ("noisier", 5), ("dropping", 5)}
    assert shapes(populations(trajectories([base, faster, noisier, dropping]))) == [together]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("model.width", 32),
        ("task.p", 13),
        ("task.train_fraction", 0.6),
        ("optimizer.b1", 0.8),
        ("optimizer", SGD(learning_rate=1e-3)),
        ("loss", "mse"),
        ("batch_size", 10),
        ("numerics.compute_dtype", "bfloat16"),
        ("measures", (Accuracy(),)),
        ("model.dropout", 0.0),
        ("task.corruption", 0.0),
    ],
)
def test_another_program_is_another_population(key: str, value: Any) -> None:
    other = override(condition("other", seeds=(0,)), {key: value})
    assert shapes(populations(trajectories([condition(seeds=(0,)), other]))) == [{("base", 0)}, {("other", 0)}]


def test_one_identity_is_trained_once_as_far_as_the_longest() -> None:
    conditions = [condition(steps=100, seeds=(0,)), condition("longer", steps=200, seeds=(0,))]
    ((only,),) = populations(trajectories(conditions))
    assert only.condition.steps == 200


def test_populations_of_parents_come_before_those_of_children() -> None:
    conditions = [child("c", "b", seeds=(0,)), child("b", "a", seeds=(0, 1)), condition("a", seeds=(0, 1))]
    groups = shapes(populations(trajectories(conditions)))
    assert groups == [{("a", 0), ("a", 1)}, {("b", 0), ("b", 1)}, {("c", 0)}]


def test_a_population_comes_after_all_parents_of_its_members() -> None:
    only = (0,)
    conditions = [
        condition("a", seeds=only),
        child("from a", "a", seeds=only),
        condition("b", seeds=only, loss="mse"),
        child("from b", "b", seeds=only),
    ]
    seen: set[str] = set()
    for group in populations(trajectories(conditions)):
        assert all(each.parent is None or each.parent.identity in seen for each in group)
        seen |= {each.identity for each in group}
    assert len(seen) == 4


def test_children_train_together_however_their_starts_are_made_if_all_or_none_are_masked() -> None:
    starts = {
        "ticket": (MagnitudeMask(keep=0.5), Rewind()),
        "sparser": (RandomMask(keep=0.1),),
        "scaled": (MatchNorm(norm="l2", of=(MagnitudeMask(keep=0.5),)),),
        "dense": (),
    }
    children = [
        child(name, "a", seeds=(0,), transforms=transforms, at="end" if transforms else 1)
        for name, transforms in starts.items()
    ]
    groups = shapes(populations(trajectories([condition("a", seeds=(0,)), *children])))
    assert groups == [{("a", 0)}, {("ticket", 0), ("sparser", 0)}, {("scaled", 0), ("dense", 0)}]


def test_conditions_that_differ_in_name_alone_are_trained_once() -> None:
    found = trajectories([condition("a"), condition("b")])
    assert len(found) == 6
    assert shapes(populations(found)) == [{("a", 0), ("a", 1), ("a", 2)}]


def test_children_of_parents_that_differ_in_name_alone_are_trained_once() -> None:
    found = trajectories(
        [
            condition("a", seeds=(0,)),
            condition("b", seeds=(0,)),
            child("c", "a", seeds=(0,)),
            child("d", "b", seeds=(0,)),
        ]
    )
    assert shapes(populations(found)) == [{("a", 0)}, {("c", 0)}]


def test_a_sweep_is_every_combination_in_order() -> None:
    sweep = Sweep(base=condition(), axes={"optimizer.weight_decay": (0, 2.5), "task.corruption": (0.1, 0.2)})
    found = sweep.conditions()
    names = [f"weight_decay={wd} corruption={xi}" for wd in ("0", "2.5") for xi in ("0.1", "0.2")]
    assert [each.name for each in found] == names
    assert found[1] == override(override(condition(names[1]), {"optimizer.weight_decay": 0}), {"task.corruption": 0.2})


def test_a_scale_changes_settings_of_all_or_of_one() -> None:
    paper = experiment(
        condition("wd=1"),
        condition("wd=5"),
        Sweep(base=condition(), axes={"task.corruption": (0.1, 0.3)}),
        mini=Scale(set={"steps": 10, "wd=5:model.width": 8}, only=("wd=5", "corruption=0.3")),
    )
    assert [each.name for each in paper.at_scale("paper")] == ["wd=1", "wd=5", "corruption=0.1", "corruption=0.3"]
    first, second = paper.at_scale("mini")
    assert first == override(override(condition("wd=5"), {"steps": 10}), {"model.width": 8})
    assert second == override(override(condition("corruption=0.3"), {"task.corruption": 0.3}), {"steps": 10})


def test_settings_come_after_the_scale_and_may_name_a_condition() -> None:
    one = experiment(condition("wd=1 a"), condition("wd=5"), mini=Scale(set={"steps": 10}))
    first, second = one.at_scale("mini", ["steps=20", "wd=5:steps=30", "wd=1 a:optimizer.weight_decay=3"])
    assert (first.steps, second.steps) == (20, 30)
    assert isinstance(first.optimizer, AdamW)
    assert first.optimizer.weight_decay == 3.0
    assert second.optimizer == condition().optimizer
    (stopping, _) = one.at_scale("mini", ['wd=1 a:stop={"kind": "Stop", "patience": 2}'])
    assert stopping.stop == Stop(patience=2)
    with pytest.raises(UserError, match="measures no 'a:b/test'"):  # a colon in a value names no condition
        one.at_scale("mini", ['stop={"kind": "Stop"}', "stop.measure=a:b"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"scale": "papr"}, r"e has no scale 'papr'; did you mean 'paper'\?"),
        ({"settings": ["wd=6:steps=3"]}, r"no condition 'wd=6'; did you mean 'wd=5'\?"),
        ({"settings": ["steps"]}, "--set: got 'steps', expected KEY=VALUE"),
        ({"settings": ["=3"]}, "--set: got '=3', expected KEY=VALUE"),
        ({"settings": ["wd=5:steps"]}, "--set: got 'wd=5:steps', expected KEY=VALUE"),
        ({"settings": ["stepps=3"]}, r"no setting 'stepps': .* did you mean 'steps'\?"),
        ({"settings": ["wd=5:steps=many"]}, r"steps: got 'many' \(str\), expected int"),
        ({"seeds": 0}, "seeds: got"),
        ({"extend": 150}, "extend: got 150, expected at least the 200 steps of 'wd=5'"),
    ],
)
def test_a_request_that_cannot_be_met_is_refused(arguments: dict[str, Any], message: str) -> None:
    one = experiment(condition("wd=1"), condition("wd=5", steps=200))
    with pytest.raises(UserError, match=message):
        one.at_scale(**({"scale": "paper"} | arguments))


def test_seeds_and_extension_are_for_all_conditions() -> None:
    one = experiment(condition("wd=1"), condition("wd=5", steps=200))
    found = one.at_scale("paper", seeds=2, extend=250)
    assert [(each.seeds, each.steps) for each in found] == [((0, 1), 250)] * 2
    assert [each.steps for each in one.at_scale("paper", extend=200)] == [200, 200]
    assert identities(*found).items() <= identities(*one.at_scale("paper")).items()


def test_names_of_conditions_must_exist_and_be_one_of_a_kind() -> None:
    missing = experiment(condition("wd=5"), mini=Scale(only=("wd=4",)))
    with pytest.raises(UserError, match=r"no condition 'wd=4'; did you mean 'wd=5'\?"):
        missing.at_scale("mini")
    with pytest.raises(UserError, match="e has two conditions 'a', expected one of each name"):
        experiment(condition("a"), condition("a", steps=3)).at_scale("paper")
    with pytest.raises(UserError, match=r"no condition 'bsae'; did you mean 'base'\?"):
        experiment(condition(), child(parent="bsae")).at_scale("paper")
    with pytest.raises(UserError, match="no condition 'base'"):
        experiment(condition(), child(), mini=Scale(only=("child",))).at_scale("mini")
    with pytest.raises(UserError, match="name: got 'a:b', expected letters"):
        condition("a:b")


def test_resolved_conditions_as_json() -> None:
    conditions = [condition("wd=1"), child("wd=5", "wd=1")]
    assert from_json({each.name: to_json(each) for each in conditions}) == {each.name: each for each in conditions}


def test_an_expectation_includes_its_bounds() -> None:
    expect = within(0.3, 0.1)
    assert expect.holds(0.2)
    assert expect.holds(0.4)
    assert not expect.holds(0.41)
    assert not expect.holds(float("nan"))
    assert str(expect) == "0.2 to 0.4"


def test_an_identity_is_stable() -> None:
    # Identities name the runs on disk: where this fails, every run of before is trained anew.
    fields = condition().identity_fields()
    assert fields["start"] == {"kind": type(Init()).__name__}
    assert digest(fields) == "f197cd9ae1d0b947"


def test_the_vocabulary_imports_no_jax() -> None:
    code = "import sys, jaxgen.experiment; sys.exit('jax' in sys.modules or 'numpy.linalg' not in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_a_scale_has_one_of_three_names() -> None:
    with pytest.raises(UserError, match="defines a scale 'tiny', expected some of smoke, mini, paper"):
        experiment(condition(), tiny=Scale())


def test_the_scales_smoke_and_paper_are_there_without_being_named() -> None:
    base = condition(
        batch_size=32, model=MLPConfig(hidden=(48,)), task=ModularTask(p=31, train_fraction=0.5, format="a b")
    )
    whole = experiment(base, mini=Scale(set={"steps": 10}))
    assert list(whole.scales) == ["smoke", "mini", "paper"]
    assert whole.at_scale("paper") == (base,)
    (small,) = whole.at_scale("smoke")
    assert (small.steps, small.seeds, small.batch_size) == (4, (0,), 16)
    assert (small.model, small.task.p) == (MLPConfig(hidden=(8,)), 13)
    assert not whole.scales["smoke"].judged
    (kept,) = experiment(base, smoke=Scale.smoke({"task.p": 7})).at_scale("smoke")
    assert (kept.task.p, kept.model) == (7, MLPConfig(hidden=(8,)))


def test_a_small_size_reaches_every_part_and_enlarges_none() -> None:
    transformer = TransformerConfig(layers=3, width=8, heads=1, mlp_width=0, causal=True)
    start = From(condition="base", at=First(at_least=0.9), transforms=(MagnitudeMask(keep=0.4), Rewind()))
    small = condition(model=transformer, snapshots=(1, 3, 100), start=start, steps=1000).smoke()
    assert small.model == dataclasses.replace(transformer, layers=1)
    assert small.start == dataclasses.replace(start, at=2)  # within the few steps of its parent
    assert small.snapshots == (1, 3)
    assert condition(start=From(condition="base", at="end")).smoke().start == From(condition="base", at="end")


def test_decay_is_told_beside_the_papers() -> None:
    decaying = condition("decaying", optimizer=AdamW(learning_rate=0.01, weight_decay=2.0), steps=1000)
    whole = experiment(decaying, condition(optimizer=SGD(learning_rate=0.1)), mini=Scale(set={"steps": 100}))
    assert whole.decays(whole.at_scale("paper")) == ["20", ""]
    assert whole.decays(whole.at_scale("mini")) == ["2 (paper 20)", ""]
