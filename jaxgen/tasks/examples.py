"""Small example configurations of every task, by the name that `jaxgen tasks show` takes."""

from __future__ import annotations

from collections.abc import Mapping

from jaxgen import tasks
from jaxgen.tasks.base import Task
from jaxgen.tasks.mixtures.mixture import Part

_SHORT, _LONG = (
    tasks.StringTask(operation="reverse", alphabet=3, max_length=length, test_examples=100) for length in (3, 6)
)
_PARTS = (Part(name="short", task=_SHORT, weight=3), Part(name="long", task=_LONG, weight=1))

FAMILIES: Mapping[str, Mapping[str, Task]] = {
    "equations and lists, every one of them": {
        "modular": tasks.ModularTask(p=13, train_fraction=0.5),
        "permutation": tasks.PermutationTask(degree=3, train_fraction=0.5),
        "list": tasks.ListTask(operation="sort", numbers=7, size=3, train_fraction=0.5),
    },
    "sequences of one length": {
        "addition": tasks.AdditionTask(digits=3, train_examples=300, test_examples=100),
        "addition-stream": tasks.AdditionTask(digits=3, train_examples=None, test_examples=100),
        "induction": tasks.InductionTask(vocabulary=12, context=7, repeat=3, train_examples=None, test_examples=100),
        "skip-trigram": tasks.SkipTrigramTask(keys=4, fillers=6, length=6, train_examples=None, test_examples=100),
        "random-labels": tasks.RandomLabelsTask(symbols=6, length=5, train_examples=100, test_examples=100),
    },
    "questions of many lengths": {
        "string": tasks.StringTask(
            operation="reverse", alphabet=5, max_length=6, test_lengths=(3, 8), test_up_to=10, test_examples=100
        ),
        "string-parity": tasks.StringTask(
            operation="parity", scratchpad=True, alphabet=2, max_length=10, test_up_to=20, test_examples=100
        ),
        "string-hints": tasks.StringTask(
            operation="copy", index_hints=12, alphabet=5, max_length=6, test_up_to=10, test_examples=100
        ),
        "count": tasks.CountTask(numbers=30, max_length=8, test_up_to=12, test_examples=100),
        "hinted-sort": tasks.HintedSortTask(alphabet=12, max_length=6, test_up_to=8, test_examples=100),
        "arithmetic": tasks.ArithmeticTask(max_length=4, test_up_to=6, test_examples=100),
        "arithmetic-tape": tasks.ArithmeticTask(
            reverse_answer=True, max_length=4, test_lengths=(4,), context=32, test_examples=100
        ),
        "chomsky": tasks.ChomskyTask(name="stack_manipulation", max_length=8, test_up_to=12, test_examples=100),
        "chomsky-encoder": tasks.ChomskyTask(
            name="duplicate_string", format="encoder", max_length=6, test_up_to=8, test_examples=100
        ),
    },
    "sentences": {
        "scan": tasks.ScanTask(split="simple"),
        "scan-jump": tasks.ScanTask(split="addprim_jump"),
        "pcfg": tasks.PcfgTask(split="systematicity", train_examples=300, test_examples=100),
        "hint": tasks.HintTask(
            train_examples=500,
            test_examples=50,
            validation_examples=5,
            trained_operators=3,
            most_operators=4,
            same_answer=0.2,
        ),
        "cogs": tasks.CogsTask(
            train_examples=300, validation_examples=50, test_examples=50, case_examples=10, exposures=10
        ),
    },
    "facts, and what follows from them": {
        "composition": tasks.CompositionTask(
            entities=40, relations=10, out_degree=5, phi=2.0, ood_fraction=0.2, held_out=0.05, probes=100
        ),
        "comparison": tasks.ComparisonTask(entities=20, attributes=3, values=5, phi=2.5, probes=100),
        "complex-reasoning": tasks.ComplexReasoningTask(
            entities=40, attributes=4, values=6, ood_fraction=0.4, trained_fraction=0.1, hard=3, probes=100
        ),
        "hop": tasks.HopTask(tokens=10, train_examples=100, test_examples=20, bridges="shown"),
        "out-of-context": tasks.OutOfContextTask(cities=5, subjects=20, train_subjects=5, test_examples=100),
        "local-observation": tasks.LocalObservationTask(variables=9, edges=9, held_out=3, test_examples=100),
    },
    "logic, graphs and plans": {
        "satisfiability": tasks.SatisfiabilityTask(
            variables=5, clauses=(9, 20), other_variables=(7,), language="symbols", test_examples=100
        ),
        "satisfiability-rules": tasks.SatisfiabilityTask(variables=3, clauses=(3, 5), test_examples=100),
        "transitivity": tasks.TransitivityTask(longer=(7,), branching=(5,), test_examples=100),
        "graph-search": tasks.GraphSearchTask(algorithm="bfs", nodes=(4, 5), larger=(6,), test_examples=100),
        "graph-search-dfs": tasks.GraphSearchTask(algorithm="dfs", nodes=(4, 5), larger=(6,), test_examples=100),
        "graph-search-bellman-ford": tasks.GraphSearchTask(
            algorithm="bellman-ford", nodes=(4, 5), larger=(6,), test_examples=100
        ),
        "maze": tasks.MazeTask(size=4, test_examples=100),
        "blocksworld": tasks.BlocksworldTask(larger=(6,), test_examples=100),
        "creative-walk": tasks.CreativeWalkTask(nodes=12, edges=24, labels=5, longest=4, test_examples=100),
    },
    "rules found in the context": {
        "balls-and-urns": tasks.BallsAndUrnsTask(rules=8, length=12, colours=3, ood_rules=50, test_examples=100),
        "in-context-regression": tasks.InContextRegressionTask(
            rules=8, length=6, dimensions=3, ood_rules=50, test_examples=100
        ),
        "in-context-classification": tasks.InContextClassificationTask(
            rules=8, length=5, dimensions=4, ood_rules=50, test_examples=100
        ),
    },
    "real features": {
        "xor-cluster": tasks.XORClusterTask(train=100, test=100, dimensions=10, signal=4.0, label_noise=0.15),
        "slab": tasks.SlabTask(train=100, test=100, dimensions=6, simple="linear", complex="5-slab"),
        "gaussian-mixture": tasks.GaussianMixtureTask(
            train=100, test=100, dimensions=6, classes=3, signal=4.0, corruption=0.2
        ),
        "digits": tasks.DigitsTask(train=1000),
        "mnist1d": tasks.MNIST1DTask(train=400, test=100),
        "teacher": tasks.TeacherTask(train=100, test=100),
    },
    "tasks made of tasks": {
        "mixture": tasks.Mixture(of=_PARTS),
        "buckets": tasks.Buckets(of=_PARTS),
        "curriculum": tasks.Curriculum(of=_PARTS),
    },
}

EXAMPLES: Mapping[str, Task] = {name: task for family in FAMILIES.values() for name, task in family.items()}
