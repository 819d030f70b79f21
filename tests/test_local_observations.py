"""Bayesian networks against sums over all assignments, and what is observed of them read back."""

import dataclasses
import itertools
import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxgen.errors import UserError
from jaxgen.tasks.facts.bayes_net import BayesNet, joint_probabilities, mutual_information, random_net
from jaxgen.tasks.facts.local_observations import LocalObservationTask
from tests.reading import check_sizes, read, words_of

TASK = LocalObservationTask(variables=9, edges=9, held_out=3, test_examples=3000)


def joint(net: BayesNet) -> dict[tuple[int, ...], float]:
    """The probability of every assignment, as a product over the variables."""
    found = {}
    for values in itertools.product((0, 1), repeat=len(net.parents)):
        probability = 1.0
        for value, parents, table in zip(values, net.parents, net.tables, strict=True):
            one = table[int("".join(str(values[parent]) for parent in parents) or "0", 2)]
            probability *= one if value else 1 - one
        found[values] = probability
    return found


def distance(net: BayesNet, start: int) -> dict[int, int]:
    found, edge = {start: 0}, 0
    while edge < len(net.parents):
        edge += 1
        for variable, parents in enumerate(net.parents):
            for parent in parents:
                for one, other in ((variable, parent), (parent, variable)):
                    if found.get(one) == edge - 1:
                        found.setdefault(other, edge)
    return found


@settings(max_examples=10)
@given(variables=st.integers(3, 7), seed=st.integers(0, 99), data=st.data())
def test_networks_are_as_they_say(variables: int, seed: int, data: st.DataObject) -> None:
    edges = data.draw(st.integers(1, variables * (variables - 1) // 2 - 1))
    net = random_net(variables, edges, seed)
    assert sorted(net.order) == list(range(variables))
    assert sum(map(len, net.parents)) == edges
    for variable, parents in enumerate(net.parents):
        assert all(net.order.index(parent) < net.order.index(variable) for parent in parents)
        assert net.tables[variable].shape == (2 ** len(parents),)
        assert ((net.tables[variable] >= 0) & (net.tables[variable] <= 1)).all()
        expected = distance(net, variable)
        assert net.distances[variable].tolist() == [expected.get(other, variables) for other in range(variables)]
    whole, found = joint(net), joint_probabilities(net, seed)
    told = mutual_information(found)
    for one, other in itertools.permutations(range(variables), 2):
        exact = {(a, b): 0.0 for a in (0, 1) for b in (0, 1)}
        for values, probability in whole.items():
            exact[values[one], values[other]] += probability
        for (a, b), probability in exact.items():
            error = 5 * math.sqrt(probability * (1 - probability) / 2**17) + 1e-9
            assert found[one, other, a, b] == pytest.approx(probability, abs=error)
        nats = sum(
            p * math.log(p / ((exact[a, 0] + exact[a, 1]) * (exact[0, b] + exact[1, b])))
            for (a, b), p in exact.items() if p > 0
        )  # fmt: skip
        assert told[one, other] == pytest.approx(nats, abs=0.01)


def test_probabilities_have_their_distributions() -> None:
    nets = [random_net(30, 40, seed) for seed in range(60)]
    tables = [table for net in nets for table in net.tables]
    roots = np.concatenate([table for table in tables if len(table) == 1])
    others = np.concatenate([table for table in tables if len(table) > 1])
    # Uniform: variance 1/12. Beta(a, a): variance 1/4 / (2 a + 1), and of the squared difference, from the moments.
    assert roots.mean() == pytest.approx(0.5, abs=4 * (1 / 12 / len(roots)) ** 0.5)
    assert roots.var() == pytest.approx(1 / 12, rel=0.15)
    assert others.mean() == pytest.approx(0.5, abs=4 * (1 / 5.6 / len(others)) ** 0.5)
    assert others.var() == pytest.approx(1 / 5.6, rel=0.05)
    fourth = 3 / (16 * (2 * 0.2 + 1) * (2 * 0.2 + 3))
    assert ((others - 0.5) ** 4).mean() == pytest.approx(fourth, rel=0.07)


def observations(task: LocalObservationTask, name: str, split) -> list[dict[int, int]]:
    """Reads what is seen back, in its order."""
    found = []
    for words, asked in read(task, name, split):
        assert words[0] == "###"
        seen = dict((int(number) for number in word.removeprefix("X").split("=")) for word in words[2:-1])
        assert len(seen) == len(words) - 3
        assert words[1] == f"target:X{list(seen)[-1]}"
        assert words[-1] == "<end>"
        assert asked == list(range(1, len(words)))
        found.append(seen)
    return found


@pytest.mark.parametrize("radius", ["geometric", "zipf"])
@pytest.mark.parametrize("observed", ["local", "wrong"])
def test_neighbourhoods_are_observed(observed: str, radius: str) -> None:
    task = dataclasses.replace(TASK, observed=observed, radius=radius, dropped=0.0, held_out=1)
    net = random_net(9, 9, task.net_seed + (observed == "wrong"))
    pair = set(task.pairs()[0].tolist())
    around = {
        (centre, r): frozenset(v for v, away in distance(net, centre).items() if away <= r)
        for centre in range(9) for r in range(1, 9)
    }  # fmt: skip
    share = {r: 2.0**-r if radius == "geometric" else 6 / math.pi**2 / r**2 for r in range(1, 8)}
    share[8] = 1 - sum(share.values())
    expected: Counter[frozenset[int]] = Counter()
    for (_, r), seen in around.items():
        # Of the two of a held-out pair either is left out.
        for left in [seen - {each} for each in pair] if pair <= seen else [seen]:
            expected[left] += share[r] / 9 / (2 if pair <= seen else 1)
    found = Counter(frozenset(seen) for seen in observations(task, "train", task.table(0)["train"]))
    assert found.keys() <= expected.keys()
    for seen, probability in expected.items():
        assert found[seen] == pytest.approx(3000 * probability, abs=5 * (3000 * probability) ** 0.5 + 1)


def test_values_are_those_of_samples_and_pairs_are_never_seen_together() -> None:
    task = dataclasses.replace(TASK, observed="all")
    table = check_sizes(task)
    pairs = [set(pair) for pair in task.pairs().tolist()]
    whole = joint(task.net())
    train = observations(task, "train", table["train"])
    assert not any(pair <= seen.keys() for seen in train for pair in pairs)
    assert all(len(seen) >= 9 - len(pairs) for seen in train)
    for variable in range(9):
        values = [seen[variable] for seen in train if variable in seen]
        one = sum(probability for assignment, probability in whole.items() if assignment[variable])
        assert np.mean(values) == pytest.approx(one, abs=5 * (one * (1 - one) / len(values)) ** 0.5 + 1e-9)
    for one, other in itertools.combinations(range(9), 2):
        both = [(seen[one], seen[other]) for seen in train if seen.keys() >= {one, other}]
        exact = sum(probability for assignment, probability in whole.items() if assignment[one] and assignment[other])
        if both:
            share = np.mean([pair == (1, 1) for pair in both])
            assert share == pytest.approx(exact, abs=5 * (exact * (1 - exact) / len(both)) ** 0.5 + 1e-9)
    lasts = Counter(list(seen)[-1] for seen in train)
    assert min(lasts.values()) > 100


def test_variables_are_dropped() -> None:
    task = dataclasses.replace(TASK, observed="local", dropped=0.4, test_examples=4000)
    kept, full = (
        sum(map(len, observations(each, "train", each.table(0)["train"])))
        for each in (task, dataclasses.replace(task, dropped=0.0))
    )
    # A bit more is kept: never nothing, and of fewer pairs one is left out.
    assert 0.6 < kept / full < 0.68


def test_the_pairs_that_tell_most_are_held_out_at_random() -> None:
    halves = set()
    for seed in range(8):
        task = dataclasses.replace(TASK, net_seed=seed)
        told = mutual_information(joint_probabilities(task.net(), seed))
        told[(task.net().distances <= 1) | np.tri(9, dtype=bool)] = -1.0
        most = [divmod(place, 9) for place in np.argsort(-told, axis=None)[:6].tolist()]
        pairs = list(map(tuple, task.pairs().tolist()))
        assert set(pairs) < set(most)
        halves.add(tuple(most.index(pair) for pair in pairs))
    assert len(halves) > 4


def test_queries_ask_for_held_out_pairs() -> None:
    pairs, whole = TASK.pairs(), joint(TASK.net())
    assert len({tuple(sorted(pair)) for pair in pairs.tolist()}) == 3
    queries, truth = TASK.queries()
    assert {frozenset(query) for query in queries[:, :2].tolist()} == {frozenset(pair) for pair in pairs.tolist()}
    assert len({tuple(query) for query in queries.tolist()}) == len(queries) == 12
    split = TASK.table(0)["held_out"]
    for (words, asked), (target, condition, value), one in zip(
        read(TASK, "held_out", split), queries.tolist(), truth.tolist(), strict=True
    ):
        assert asked == [3]
        assert words == ["###", f"target:X{target}", f"X{condition}={value}", f"X{target}={int(one > 0.5)}"]
        given_value = sum(p for values, p in whole.items() if values[condition] == value)
        exact = sum(p for values, p in whole.items() if values[condition] == value and values[target]) / given_value
        assert one == pytest.approx(exact, abs=5 * (0.25 / (2**17 * given_value)) ** 0.5)


def test_networks_that_cannot_be_are_refused() -> None:
    with pytest.raises(UserError, match=r"got edges=31 and held_out=3, expected at most 36 for edges and twice"):
        dataclasses.replace(TASK, edges=31)
    with pytest.raises(UserError, match=r"edges: got 190 for 20 variables, expected fewer: every graph had a cycle"):
        random_net(20, 190, 0)


def test_rows_of_words_make_examples_alone() -> None:
    words = words_of(TASK, "train", 12)
    whole, part = TASK.examples(words, np), TASK.examples(words[5:7], np)
    np.testing.assert_array_equal(whole.inputs[5:7], part.inputs)
    np.testing.assert_array_equal(whole.targets[5:7], part.targets)
