"""Two-hop questions against a knowledge graph that is put together again from the examples, fact by fact."""

import dataclasses
import itertools
from collections import defaultdict

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxgen.condition import Condition, Trajectory
from jaxgen.config import from_json, to_json
from jaxgen.errors import UserError
from jaxgen.measures.config import ByPosition
from jaxgen.measures.evaluation import Evaluation
from jaxgen.models.config import TransformerConfig
from jaxgen.objectives.losses import cross_entropy
from jaxgen.optimizers import AdamW
from jaxgen.tasks.base import IGNORED, Split
from jaxgen.tasks.facts.composition import PROBES, CompositionTask
from jaxgen.train.constants import stack_constants
from jaxgen.train.program import Program

# More probes than there are examples, so that every split is whole.
TASK = CompositionTask(
    entities=12, relations=7, out_degree=5, phi=2.0, ood_fraction=0.25, held_out=0.2, probes=10**6, graph_seed=3
)
Fact = tuple[int, int, int]


def atomic_facts(task: CompositionTask, split: Split) -> list[Fact]:
    """Reads facts (h, r, t) back from examples, checking every token of them."""
    end, facts = task.entities + task.relations, []
    for (h, r, t, last), asked in zip(split.inputs.tolist(), split.targets.tolist(), strict=True):
        assert max(h, t) < task.entities <= r < end == last
        assert asked == [t, end, IGNORED]
        facts.append((h, r, t))
    return facts


def inferred_facts(task: CompositionTask, split: Split) -> list[tuple[int, int, int, int]]:
    """Reads facts (h, r1, r2, t) back from examples, checking every token of them."""
    end, facts = task.entities + task.relations, []
    for (h, r1, r2, t), asked in zip(split.inputs.tolist(), split.targets.tolist(), strict=True):
        assert max(h, t) < task.entities <= min(r1, r2) <= max(r1, r2) < end
        assert asked == [IGNORED, t, end]
        facts.append((h, r1, r2, t))
    return facts


def rows(split: Split) -> set[tuple[int, ...]]:
    found = {tuple(row) for row in split.inputs.tolist()}
    assert len(found) == len(split.inputs)
    return found


def check(task: CompositionTask) -> None:
    """Checks whole splits against all two-hop paths, enumerated by following the atomic facts."""
    table = task.table(0)
    assert {name: len(split.inputs) for name, split in table.items()} == dict(task.shape().sizes)
    id_facts, ood_facts = (atomic_facts(task, table[name]) for name in ("id_atomic", "ood_atomic"))
    facts = sorted(id_facts + ood_facts)
    assert len(set(facts)) == task.entities * task.out_degree
    assert len(ood_facts) == round(task.ood_fraction * len(facts))
    relations = defaultdict(set)
    for h, r, _ in facts:
        relations[h].add(r)
    assert [len(relations[h]) for h in range(task.entities)] == [task.out_degree] * task.entities

    paths: dict[int, set[tuple[int, int, int, int]]] = {0: set(), 1: set(), 2: set()}  # by how many facts are OOD
    out_of_distribution = set(ood_facts)
    for (h, r1, b), (b2, r2, t) in itertools.product(facts, facts):
        if b == b2:
            paths[((h, r1, b) in out_of_distribution) + ((b2, r2, t) in out_of_distribution)].add((h, r1, r2, t))
    train, iid, ood = (
        inferred_facts(task, table[name]) for name in ("train_inferred", "test_inferred_iid", "test_inferred_ood")
    )
    assert sorted(ood) == sorted(paths[2])
    assert set(iid) | set(train) <= paths[0]
    assert len(train) == round(task.phi * len(id_facts))
    assert len(train) + len(iid) == len({*train, *iid})
    assert rows(table["train"]) == rows(table["id_atomic"]) | rows(table["ood_atomic"]) | rows(table["train_inferred"])
    assert max(split.inputs.max() for split in table.values()) < task.shape().vocabulary


def test_every_split_follows_from_the_atomic_facts() -> None:
    check(TASK)


@given(
    entities=st.integers(5, 20),
    relations=st.integers(3, 9),
    phi=st.floats(0.3, 2.0),
    ood_fraction=st.floats(0.2, 0.6),
    graph_seed=st.integers(0, 10),
    data=st.data(),
)
def test_any_graph_follows_the_rules_or_is_refused(entities, relations, phi, ood_fraction, graph_seed, data) -> None:
    settings = {
        "entities": entities,
        "relations": relations,
        "out_degree": data.draw(st.integers(2, relations)),
        "phi": phi,
        "ood_fraction": ood_fraction,
        "graph_seed": graph_seed,
    }
    try:
        task = CompositionTask(held_out=0.2, probes=10**6, **settings)
    except UserError:
        return  # what is refused has tests of its own
    check(task)
    assert from_json(to_json(task)) == task


def test_what_is_in_the_pool_all_trains_at_the_largest_phi() -> None:
    pool, id_facts = len(TASK.graph().pool_I), 45
    largest = dataclasses.replace(TASK, phi=pool / id_facts)
    check(largest)
    table = largest.table(0)
    both_id = len(table["train_inferred"].inputs) + len(table["test_inferred_iid"].inputs)
    assert len(table["train_inferred"].inputs) == pool
    assert len(TASK.table(0)["test_inferred_iid"].inputs) / both_id == pytest.approx(0.2, abs=0.08)
    with pytest.raises(UserError, match=rf"got 9, which is 405 inferred facts for 45 ID facts.*there are {pool} to"):
        dataclasses.replace(TASK, phi=9.0)


def test_phi_and_the_runs_seed_change_neither_graph_nor_tests() -> None:
    less, more = (dataclasses.replace(TASK, phi=phi, probes=30).table(0) for phi in (1.0, 2.0))
    for name in PROBES:
        np.testing.assert_array_equal(less[name].inputs, more[name].inputs)
    assert rows(less["train"]) < rows(more["train"])
    again, other = TASK.table(7), dataclasses.replace(TASK, graph_seed=4).table(0)
    for name, split in TASK.table(0).items():
        np.testing.assert_array_equal(split.inputs, again[name].inputs)
    assert not np.array_equal(TASK.table(0)["id_atomic"].inputs, other["id_atomic"].inputs)


def test_the_papers_sizes() -> None:
    sizes = dict(CompositionTask(entities=2000, relations=200, out_degree=20, phi=7.2).shape().sizes)
    assert sizes["train"] == 40_000 + 273_600
    assert {sizes[name] for name in ("id_atomic", "train_inferred", "test_inferred_iid")} == {3000}
    assert sizes["ood_atomic"] == 2000
    assert sizes["test_inferred_ood"] == pytest.approx(2000, abs=150)


def test_graphs_that_cannot_be_are_refused() -> None:
    with pytest.raises(UserError, match="got 8, expected at most the 7 relations"):
        dataclasses.replace(TASK, out_degree=8)
    with pytest.raises(UserError, match="got no example of ood_atomic, test_inferred_ood"):
        dataclasses.replace(TASK, ood_fraction=0.001)


CONDITION = Condition(
    name="composition",
    task=TASK,
    model=TransformerConfig(layers=1, width=8, heads=2, mlp_width=16, norm="pre", tied=True),
    optimizer=AdamW(learning_rate=0.01),
    batch_size=16,
    steps=2,
)


def test_only_the_probes_are_measured() -> None:
    program = Program(CONDITION, "sequential")
    constants = stack_constants([Trajectory(CONDITION, 0, "id")], [None])
    row, _ = jax.eval_shape(program.measure, jax.eval_shape(program.init, constants, None), constants, True)
    assert {key for key in row if "/" in key} == {f"{m}/{split}" for m in ("accuracy", "loss") for split in PROBES}


@pytest.mark.long
def test_a_position_alone_is_of_the_examples_that_it_asks() -> None:
    # All of one probe ignore the same position; train mixes both kinds.
    module = CONDITION.model.build(TASK.shape())
    table = TASK.table(0)
    splits = {name: Split(*map(jnp.asarray, table[name])) for name in ("train", "id_atomic")}
    variables = jax.jit(module.init)(jax.random.key(1), splits["train"].inputs)
    evaluation = Evaluation(
        module=module, variables=variables, splits=splits, shape=TASK.shape(), loss=cross_entropy, corruption=False
    )
    values = jax.jit(ByPosition().values)(evaluation)
    for name, split in splits.items():
        log_p = np.asarray(jax.nn.log_softmax(jax.jit(module.apply)(variables, split.inputs)))
        for k in range(3):
            rows_k = np.flatnonzero(np.asarray(split.targets)[:, k] != IGNORED)
            told = np.asarray(split.targets)[rows_k, k]
            loss = -log_p[rows_k, k, told].mean() if len(rows_k) else 0.0
            right = (log_p[rows_k, k].argmax(-1) == told).mean() if len(rows_k) else 0.0
            assert float(values[f"loss.{k}/{name}"]) == pytest.approx(loss, rel=1e-4)
            assert float(values[f"accuracy.{k}/{name}"]) == pytest.approx(right, rel=1e-4)


def test_what_follows_the_end_changes_no_answer_that_is_asked_for() -> None:
    split = TASK.table(0)["id_atomic"]
    module = CONDITION.model.build(TASK.shape())
    tokens = jnp.asarray(split.inputs)
    variables = jax.jit(module.init)(jax.random.key(0), tokens)
    other = tokens.at[:, 3].set(0)
    asked = np.asarray(split.targets[0] != IGNORED)
    logits, changed = (np.asarray(jax.jit(module.apply)(variables, each)) for each in (tokens, other))
    np.testing.assert_array_equal(logits[:, asked], changed[:, asked])
    assert not np.allclose(logits[:, ~asked], changed[:, ~asked])
