"""Grokking: generalization beyond overfitting on small algorithmic datasets.

Paper: Power, Burda, Edwards, Babuschkin, Misra, "Grokking: Generalization Beyond Overfitting on
Small Algorithmic Datasets", arXiv:2201.02177 (2022). The settings are those of openai/grok.

Claimed: a small transformer reaches perfect validation accuracy long after it has fitted the
training equations; the less data, the later (Fig. 1 centre); weight decay is the most data-efficient
help, decay towards the initialisation helps less, noise helps a little, and the learning rate must be
right within a factor of ten (Fig. 2 left); symmetric operations need less data than their
counterparts, some operations and random answers are never generalised (Fig. 2 right).

Command: jaxgen reproduce power-grok --scale mini
Took: see results/, which hold minutes and device of every experiment.
Came out: see the verdicts of `jaxgen show power-grok`.

Setting: equations `<eos> a op b = c <eos>`, one token each; all rows shuffled, a fraction trains.
Decoder, 2 layers, width 128, 4 heads, MLP 512, ReLU, post-norm, fixed sinusoidal positions, no
biases in attention and MLP, untied output; loss and accuracy over the answer and the final <eos>;
AdamW, lr 1e-3, betas (0.9, 0.98), decay 1 on all parameters, 10 warm-up steps, batches of 512,
1e5 steps. The interventions of Fig. 2 left are Adam without decay, changed in one thing (App. A.1.2):
the full batch, also with N(0, 1) added to Adam's direction; a learning rate of 3e-4 or 3e-3; residual
dropout 0.1; N(0, 0.01^2) added to the weights where the gradient is taken; decay 1 towards zero, or
towards the initialisation.

Deviations, and why:
- The vocabulary is that of one operation, not of all together: the other tokens never occur.
- Seeds change the split too; openai/grok fixes its seed at 0.
- A batch leaves out the remainder of an epoch. Where half of the training equations are fewer than
  512, a batch is that half, as in the paper; not so in `division` and `operations`, which have more.
- openai/grok's default decay is 0 and its default data 5 %; the paper says 1 for most runs. Both
  decays are conditions here.
- Random answers are labels drawn uniformly for every training equation.
- The noise on Adam's direction is the paper's; openai/grok's is larger in the first steps, by the
  bias correction of Adam's mean.
- Mini: p = 59, S4 for S5, one layer of width 64, lr 3e-3, 10k steps; of the operations five, for 6k
  steps in batches of 256, stopped once 0.99 of the validation answers are right. For S5, the data
  fractions take x + y mod 59 (35 to 70 %, lr 1e-3, 15k steps, batches of 256), the interventions x + y mod 31
  (50 and 70 %, 3k steps, batches of 128, learning rates three times the paper's). The operations by
  data are mod 31, or on S4 (50 and 80 %, 3k steps, batches of 128).

UNVERIFIED: the data fractions of Figs. 1 and 2 (the paper's plots give no numbers in text), and the
decay of Fig. 1 centre, which is taken to be the default of 1. "Needs less data" is read as a higher
best validation accuracy in the budget, averaged over the fractions; "most interventions" as at least
half of the others.
"""

import dataclasses
import itertools
import math
import statistics
from collections.abc import Iterable

from jaxgen.condition import Condition, Stop
from jaxgen.experiment import Claim, Experiment, Paper, Scale, at_least, at_most, within
from jaxgen.figures import BySetting, CellMap, Curves
from jaxgen.models.config import TransformerConfig
from jaxgen.optimizers import AdamW, OptimizerConfig
from jaxgen.tasks.algebra.modular import ModularTask, PermutationTask
from jaxgen.tasks.base import Task

from .parts import AdamWToInit, NoisyAdamW

MODEL = TransformerConfig(
    layers=2, width=128, heads=4, mlp_width=512, causal=True, norm="post", positions="sinusoidal",
    activation="relu", attention_bias=False, mlp_bias=False, output_bias=False, init="torch",
)  # fmt: skip
EQUATION = "<eos> a op b = c <eos>"


def modular(operation: str, fraction: float = 0.5, corruption: float = 0.0) -> ModularTask:
    return ModularTask(p=97, operation=operation, train_fraction=fraction, corruption=corruption, format=EQUATION)


def condition(name: str, task: Task, decay: float = 1.0) -> Condition:
    return Condition(
        name=name,
        task=task,
        model=MODEL,
        optimizer=AdamW(learning_rate=1e-3, weight_decay=decay, b1=0.9, b2=0.98, warmup=10),
        steps=100_000,
        batch_size=512,
    )


SMOKE = Scale(
    set={
        "seeds": (0,),
        "steps": 3,
        "batch_size": 16,
        "model.layers": 1,
        "model.width": 16,
        "model.mlp_width": 32,
        "measure_at.per_decade": 5,
    },
    judged=False,
)
MINI = {
    "model.layers": 1,
    "model.width": 64,
    "model.mlp_width": 256,
    "optimizer.learning_rate": 3e-3,
    "steps": 10_000,
}
FIGURE = Curves(name="accuracy", caption="Accuracy of whole answers.", keys=("accuracy/train", "accuracy/test"))


STANDS_IN = "Where it never comes, the last step stands in for it, as a lower bound."


def fitted_at(t, name: str) -> float:
    return t.first_step(name, "accuracy/train", at_least=0.99)


def grokked_at(t, name: str) -> float:
    return t.first_step(name, "accuracy/test", at_least=0.99)


def grokked_no_sooner_than(t, name: str) -> float:
    values = t.values(name, "accuracy/test")
    return t.first_step(name, "accuracy/test", at_least=0.99, or_else=float(values.index[-1]))


division = Experiment(
    name="division",
    title="Division: delay between fitting and generalising, by data fraction and weight decay",
    conditions=(
        condition("50 percent", modular("x/y", 0.5)),
        condition("40 percent", modular("x/y", 0.4)),
        condition("50 percent no decay", modular("x/y", 0.5), decay=0.0),
    ),
    scales={
        "smoke": dataclasses.replace(SMOKE, set={**SMOKE.set, "task.p": 13}),
        "mini": Scale(set={**MINI, "task.p": 59}),
        "paper": Scale(),
    },
    claims=(
        Claim(
            name="fits first",
            says="The training equations are fitted (0.99) long before the others are answered (0.99)",
            place="Fig. 1",
            paper="about 1e3 steps against 1e5 or more",
            value=lambda t: grokked_no_sooner_than(t, "40 percent") / fitted_at(t, "40 percent"),
            expect=at_least(2),
            note=STANDS_IN,
        ),
        Claim(
            name="generalises",
            says="With half of the equations and decay 1 the validation accuracy reaches 1",
            place="Fig. 1",
            paper="1.0",
            value=lambda t: t.max("50 percent", "accuracy/test"),
            expect=at_least(0.99),
        ),
        Claim(
            name="less data, later",
            says="With less data it takes longer to reach 0.99",
            place="Fig. 1 centre",
            paper="steps grow steeply",
            value=lambda t: grokked_no_sooner_than(t, "40 percent") / grokked_at(t, "50 percent"),
            expect=at_least(1.2),
            note=STANDS_IN,
        ),
        Claim(
            name="decay helps",
            says="With weight decay 1 it generalises sooner than without",
            place="Fig. 2 left",
            paper="decay is the most data-efficient help",
            value=lambda t: grokked_no_sooner_than(t, "50 percent no decay") / grokked_at(t, "50 percent"),
            expect=at_least(1.2),
            note=STANDS_IN,
        ),
    ),
    figures=(FIGURE,),
    accelerator=True,
)

MODULAR = {
    "x+y": "x+y",
    "x-y": "x-y",
    "x over y": "x/y",
    "x over y if y odd else x-y": "x/y if y odd else x-y",
    "x2+y2": "x^2+y^2",
    "x2+xy+y2": "x^2+xy+y^2",
    "x2+xy+y2+x": "x^2+xy+y^2+x",
    "x3+xy": "x^3+xy",
    "x3+xy2+y": "x^3+xy^2+y",
}
PERMUTATION = {"S5 xy": "xy", "S5 xyx-1": "xyx^-1", "S5 xyx": "xyx"}


SMALLER = ("x+y", "x over y", "x3+xy2+y", "S5 xy", "random answers")


def sized(names: Iterable[str], p: int, degree: int) -> dict[str, int]:
    """Settings that make the tasks of these operations smaller."""
    return {f"{name}:task.degree" if name in PERMUTATION else f"{name}:task.p":
            degree if name in PERMUTATION else p for name in names}  # fmt: skip


operations = Experiment(
    name="operations",
    title="Every operation at half of the equations, and random answers",
    conditions=(
        *(condition(name, modular(operation)) for name, operation in MODULAR.items()),
        *(
            condition(name, PermutationTask(degree=5, operation=operation, train_fraction=0.5, format=EQUATION))
            for name, operation in PERMUTATION.items()
        ),
        condition("random answers", modular("x+y", corruption=1.0)),
    ),
    scales={
        "smoke": dataclasses.replace(
            SMOKE, set={**SMOKE.set, **sized(("x+y", "S5 xy"), p=13, degree=3)}, only=("x+y", "S5 xy")
        ),
        "mini": Scale(
            set={
                **MINI,
                "steps": 6000,
                "batch_size": 256,
                "stop": Stop(at_least=0.99),
                **sized(SMALLER, p=59, degree=4),
            },
            only=SMALLER,
        ),
        "paper": Scale(),
    },
    claims=(
        Claim(
            name="addition generalises",
            says="x + y mod p is generalised",
            place="Fig. 2 right",
            paper="yes",
            value=lambda t: t.max("x+y", "accuracy/test"),
            expect=at_least(0.99),
        ),
        Claim(
            name="S5 generalises",
            says="Composition in the symmetric group is generalised",
            place="Fig. 2 right",
            paper="yes",
            value=lambda t: t.max("S5 xy", "accuracy/test"),
            expect=at_least(0.99),
            note="Mini has S4 in its place, whose 288 training equations are fitted but not generalised in 6k steps.",
        ),
        Claim(
            name="x^3+xy^2+y does not",
            says="x^3 + xy^2 + y mod p is not generalised within the budget",
            place="Fig. 2 right",
            paper="no",
            value=lambda t: t.max("x3+xy2+y", "accuracy/test"),
            expect=at_most(0.5),
        ),
        Claim(
            name="random answers do not",
            says="Random answers are fitted, never generalised",
            place="Sec. 3.1",
            paper="chance",
            value=lambda t: t.max("random answers", "accuracy/test"),
            expect=at_most(0.1),
        ),
    ),
    figures=(FIGURE,),
    accelerator=True,
)


def product(fraction: float) -> PermutationTask:
    return PermutationTask(degree=5, operation="xy", train_fraction=fraction, format=EQUATION)


def percent(fraction: float) -> str:
    return f"{fraction:.0%}".replace("%", " percent")


FRACTIONS = (0.25, 0.27, 0.3, 0.35, 0.4, 0.5, 0.6, 0.7, 0.8)
MINI_FRACTIONS = (0.35, 0.4, 0.5, 0.6, 0.7)


def trained(t, what: str = "") -> list[str]:
    """The conditions `<what>, <percent>` (or `<percent>`) in the table, those of least data first."""
    names = [name for name in t.rows["condition"].unique() if name.rpartition(", ")[0] == what]
    return sorted(names, key=percents) or [f"{what}, 50 percent" if what else "50 percent"]


def percents(name: str) -> int:
    return int(name.rpartition(", ")[2].removesuffix(" percent"))


def growth_per_percent(t) -> float:
    """Growth of the steps to 0.99 for each percent of data less, between the two least fractions that reach it."""
    reached = [name for name in trained(t) if t.max(name, "accuracy/test") >= 0.99]
    if len(reached) < 2:
        return grokked_at(t, trained(t)[0])  # censored
    less, more = reached[:2]
    return (grokked_at(t, less) / grokked_at(t, more)) ** (1 / (percents(more) - percents(less))) - 1


data = Experiment(
    name="data",
    title="Steps to 99 % validation accuracy by the fraction of the data",
    conditions=tuple(condition(percent(fraction), product(fraction)) for fraction in FRACTIONS),
    scales={
        "smoke": Scale(set={**SMOKE.set, "task.degree": 3}, only=("50 percent",), judged=False),
        "mini": Scale(
            set={
                **MINI,
                "optimizer.learning_rate": 1e-3,  # at 3e-3 some runs with more data break down
                "steps": 15_000,
                "batch_size": 256,
                "stop": Stop(at_least=0.99),
                **{f"{percent(fraction)}:task": modular("x+y", fraction) for fraction in MINI_FRACTIONS},
                "task.p": 59,
            },
            only=tuple(percent(fraction) for fraction in MINI_FRACTIONS),
        ),
        "paper": Scale(),
    },
    claims=(
        Claim(
            name="less data, more steps",
            says="Every smaller fraction needs at least as many steps to 0.99 as the next larger one",
            place="Fig. 1 centre",
            paper="steps grow as the fraction falls",
            value=lambda t: min(
                grokked_no_sooner_than(t, less) / grokked_no_sooner_than(t, more)
                for less, more in itertools.pairwise(trained(t))
            ),
            expect=at_least(1),
            note=f"{STANDS_IN} One seed of three is a tenth sooner with less data, at one of the fractions.",
        ),
        Claim(
            name="steep",
            says="The least fraction needs several times the steps of the largest",
            place="Fig. 1 centre",
            paper="about 1e5 against 1e3",
            value=lambda t: grokked_no_sooner_than(t, trained(t)[0]) / grokked_at(t, trained(t)[-1]),
            expect=at_least(3),
            note=f"{STANDS_IN} From 70 % to 35 % it is 2.8 to 9.5 times, by the seed.",
        ),
        Claim(
            name="growth per percent",
            says="Near the least fraction that generalises, a percent of data less means 40 to 50 % more steps",
            place="Sec. 3.1.1",
            paper="40 to 50 % at 25 to 30 % of S5",
            value=growth_per_percent,
            expect=within(0.45, 0.15),
            seeds="median",
            note="The paper's number is of S5, where 25 to 30 % are the least that generalises, and of medians over "
            "runs. x + y mod 59 takes 2 to 8 % more steps.",
        ),
        Claim(
            name="fitting takes no longer",
            says="With the least data the training equations are fitted (0.99) no later than with the most",
            place="Sec. 3.1.1",
            paper="trends down as the fraction falls, within 1e3 to 1e4 steps",
            value=lambda t: fitted_at(t, trained(t)[0]) / fitted_at(t, trained(t)[-1]),
            expect=at_most(1),
            note="At mini it is the other way: fitting 35 % of the data takes 1.6 to 2.5 times the steps of 70 %.",
        ),
    ),
    figures=(
        Curves(
            name="data",
            caption="Validation accuracy by the fraction of the equations that trains.",
            keys=("accuracy/test",),
            together=True,
        ),
        BySetting(
            name="steps",
            caption="Steps to 0.99 by the fraction that trains; a seed that never comes there has no dot.",
            x="task.train_fraction",
            values={"train": fitted_at, "test": grokked_at},
            x_label="fraction that trains",
            y_label="steps to 0.99",
            log_y=True,
        ),
    ),
    accelerator=True,
)


def adam(learning_rate: float = 1e-3, decay: float = 0.0, kind: type[AdamW] = AdamW, **changes) -> OptimizerConfig:
    return kind(learning_rate=learning_rate, weight_decay=decay, b1=0.9, b2=0.98, warmup=10, **changes)


DROPOUT = dataclasses.replace(MODEL, dropout=0.1)
INTERVENTIONS = {
    "Adam": {"optimizer": adam()},
    "full batch": {"optimizer": adam(), "batch_size": None},
    "full batch and noise": {"optimizer": adam(kind=NoisyAdamW, update_noise=1.0), "batch_size": None},
    "lower rate": {"optimizer": adam(learning_rate=3e-4)},
    "higher rate": {"optimizer": adam(learning_rate=3e-3)},
    "dropout": {"optimizer": adam(), "model": DROPOUT},
    "weight noise": {"optimizer": adam(kind=NoisyAdamW, weight_noise=0.01)},
    "decay to zero": {"optimizer": adam(decay=1.0)},
    "decay to init": {"optimizer": adam(decay=1.0, kind=AdamWToInit)},
}
OTHERS = tuple(name for name in INTERVENTIONS if "decay" not in name)
TENTHS = tuple(i / 10 for i in range(1, 10))


def mean_best(t, what: str) -> float:
    """Best validation accuracy, averaged over the fractions that were trained."""
    return statistics.mean(t.max(name, "accuracy/test") for name in trained(t, what))


def needed(t, what: str) -> int:
    """The least percent of the data at which 0.99 of the validation answers are right; 100 where none is enough."""
    enough = [percents(name) for name in trained(t, what) if t.max(name, "accuracy/test") >= 0.99]
    return min(enough, default=100)


interventions = Experiment(
    name="interventions",
    title="Best validation accuracy by intervention and fraction of the data",
    conditions=tuple(
        dataclasses.replace(condition(f"{name}, {percent(fraction)}", product(fraction)), **changes)
        for name, changes in INTERVENTIONS.items()
        for fraction in TENTHS
    ),
    scales={
        "smoke": Scale(
            set={
                **SMOKE.set,
                "task.degree": 3,
                "full batch and noise, 50 percent:batch_size": None,
            },
            only=("full batch and noise, 50 percent", "decay to init, 50 percent"),
            judged=False,
        ),
        "mini": Scale(
            set={
                **{key: value for key, value in MINI.items() if "learning_rate" not in key},
                **{
                    f"{name}, {percent(fraction)}:{key}": value
                    for name, changes in INTERVENTIONS.items()
                    for fraction in (0.5, 0.7)
                    for key, value in {
                        "task": modular("x+y", fraction),
                        "optimizer.learning_rate": 3 * changes["optimizer"].learning_rate,
                        "batch_size": changes.get("batch_size", 128),
                    }.items()
                },
                "task.p": 31,
                "steps": 3000,
                "stop": Stop(at_least=0.99),
            },
            only=tuple(f"{name}, {percent(fraction)}" for name in INTERVENTIONS for fraction in (0.5, 0.7)),
        ),
        "paper": Scale(),
    },
    claims=(
        Claim(
            name="decay to zero is best",
            says="Decay towards zero generalises most: its mean best accuracy less that of the best other",
            place="Fig. 2 left",
            paper="improves generalisation the most",
            value=lambda t: mean_best(t, "decay to zero") - max(mean_best(t, name) for name in OTHERS),
            expect=at_least(0),
        ),
        Claim(
            name="decay halves the data",
            says="Most other interventions need at least twice the data for 0.99",
            place="Sec. 3.3",
            paper="more than halves",
            value=lambda t: statistics.median(needed(t, name) for name in OTHERS) / needed(t, "decay to zero"),
            expect=at_least(2),
            note="Where no fraction is enough, 100 % stands in, as a lower bound. Mini has the fractions 50 and 70 % "
            "alone: where decay needs 70 %, no more than 100 / 70 can come out.",
        ),
        Claim(
            name="decay to init helps",
            says="Decay towards the initialisation generalises more than none",
            place="Sec. 3.3",
            paper="effective",
            value=lambda t: mean_best(t, "decay to init") - mean_best(t, "Adam"),
            expect=at_least(0.02),
        ),
        Claim(
            name="decay to init helps less",
            says="Decay towards zero generalises more than decay towards the initialisation",
            place="Sec. 3.3",
            paper="not quite as effective",
            value=lambda t: mean_best(t, "decay to zero") - mean_best(t, "decay to init"),
            expect=at_least(0),
        ),
        Claim(
            name="mini-batches help",
            says="The noise of mini-batches generalises more than the full batch",
            place="Sec. 3.3",
            paper="beneficial",
            value=lambda t: mean_best(t, "Adam") - mean_best(t, "full batch"),
            expect=at_least(0),
        ),
        Claim(
            name="update noise helps",
            says="On the full batch, noise added to the updates generalises more",
            place="Sec. 3.3",
            paper="beneficial",
            value=lambda t: mean_best(t, "full batch and noise") - mean_best(t, "full batch"),
            expect=at_least(0),
            note="A few hundredths either way, by the seed: 3k steps without decay generalise half of the answers.",
        ),
        Claim(
            name="weight noise helps",
            says="Noise added to the weights generalises more than none",
            place="Sec. 3.3",
            paper="beneficial",
            value=lambda t: mean_best(t, "weight noise") - mean_best(t, "Adam"),
            expect=at_least(0),
            note="A few hundredths either way, by the seed.",
        ),
        Claim(
            name="the rate must be right",
            says="A learning rate a third, or three times, of the default generalises much less: the worse of the two",
            place="Sec. 3.3, Fig. 2 left",
            paper="within an order of magnitude; otherwise severely limited",
            value=lambda t: mean_best(t, "Adam") - min(mean_best(t, "lower rate"), mean_best(t, "higher rate")),
            expect=at_least(0.1),
            note="One seed of three is held back by the higher rate, the others by neither.",
        ),
        Claim(
            name="the full batch generalises too",
            says="At the largest fraction even the full batch without noise or decay generalises in part",
            place="Fig. 2 left, caption",
            paper="some generalisation at high percentages",
            value=lambda t: t.max(trained(t, "full batch")[-1], "accuracy/test"),
            expect=at_least(0.5),
        ),
        Claim(
            name="all fit",
            says="Under every intervention the training equations are fitted: the worst best training accuracy",
            place="Fig. 2 left, caption",
            paper="100 % after 1e3 to 1e4 updates",
            value=lambda t: min(t.max(name, "accuracy/train") for what in INTERVENTIONS for name in trained(t, what)),
            expect=at_least(0.99),
            note="All but the higher rate fit; with it (9e-3 in mini) two seeds of three stay between 0.78 and 0.96.",
        ),
    ),
    figures=(
        Curves(
            name="half",
            caption="Validation accuracy with half of the equations.",
            keys=("accuracy/test",),
            conditions=tuple(f"{name}, 50 percent" for name in INTERVENTIONS),
            together=True,
        ),
        Curves(
            name="more",
            caption="Validation accuracy with 70 % of the equations.",
            keys=("accuracy/test",),
            conditions=tuple(f"{name}, 70 percent" for name in INTERVENTIONS),
            together=True,
        ),
    ),
    accelerator=True,
)

NEVER, PARTLY, FULLY = "below 0.5", "0.5 to 0.99", "0.99 or more"
LARGER = (0.5, 0.8)


def how_far(t, cell: Condition) -> str:
    best = t.max(cell.name, "accuracy/test")
    return FULLY if best >= 0.99 else PARTLY if best >= 0.5 else NEVER


def less_data(name: str, symmetric: str, other: str) -> Claim:
    return Claim(
        name=name,
        says=f"{symmetric} needs less data than {other}: difference of their mean best accuracies",
        place="Sec. 3.2, Fig. 2 right",
        paper="symmetric operations need less",
        value=lambda t: mean_best(t, symmetric) - mean_best(t, other),
        expect=at_least(0),
    )


by_fraction = Experiment(
    name="operations-by-data",
    title="Best validation accuracy of every operation by the fraction of the data",
    conditions=tuple(
        dataclasses.replace(
            each,
            name=f"{each.name}, {percent(fraction)}",
            task=dataclasses.replace(each.task, train_fraction=fraction),
            batch_size=min(512, math.floor(fraction * each.task.ordered_pairs()) // 2),
        )
        for each in operations.conditions
        if each.name != "random answers"
        for fraction in (*TENTHS, 0.95)
    ),
    scales={
        "smoke": Scale(
            set={**SMOKE.set, "x+y, 50 percent:task.p": 13, "S5 xy, 50 percent:task.degree": 3},
            only=("x+y, 50 percent", "S5 xy, 50 percent"),
            judged=False,
        ),
        "mini": Scale(
            set={
                **MINI,
                "steps": 3000,
                "batch_size": 128,
                "stop": Stop(at_least=0.99),
                **{
                    key.replace(":", f", {percent(fraction)}:"): value
                    for key, value in sized((*MODULAR, *PERMUTATION), p=31, degree=4).items()
                    for fraction in LARGER
                },
            },
            only=tuple(f"{name}, {percent(fraction)}" for name in (*MODULAR, *PERMUTATION) for fraction in LARGER),
        ),
        "paper": Scale(),
    },
    claims=(
        less_data("x+y before x-y", "x+y", "x-y"),
        less_data("x2+xy+y2 before x2+xy+y2+x", "x2+xy+y2", "x2+xy+y2+x"),
        Claim(
            name="x-y like x over y",
            says="x - y and x / y need about the same data: difference of their mean best accuracies",
            place="Sec. 3.2, Fig. 2 right",
            paper="about the same",
            value=lambda t: mean_best(t, "x-y") - mean_best(t, "x over y"),
            expect=within(0, 0.15),
        ),
        Claim(
            name="the mixed operation generalises",
            says="x / y for odd y and else x - y is generalised (0.99) at the largest fraction",
            place="Sec. 3.2",
            paper="generalises",
            value=lambda t: t.max(trained(t, "x over y if y odd else x-y")[-1], "accuracy/test"),
            expect=at_least(0.99),
            note="At mini, mod 31, 80 % of the equations are fitted and nothing is generalised in 3k steps.",
        ),
        Claim(
            name="x3+xy2+y never",
            says="x^3 + xy^2 + y is generalised at no fraction",
            place="Sec. 3.2",
            paper="not up to 95 %",
            value=lambda t: max(t.max(name, "accuracy/test") for name in trained(t, "x3+xy2+y")),
            expect=at_most(0.5),
        ),
        *(
            Claim(
                name=f"{name} generalises",
                says=f"{name} is generalised (0.99) at the largest fraction",
                place="Fig. 2 right",
                paper="yes",
                value=lambda t, name=name: t.max(trained(t, name)[-1], "accuracy/test"),
                expect=at_least(0.99),
                note="Mini has S4 in its place: its 460 equations are fitted, and not generalised in 3k steps.",
            )
            for name in PERMUTATION
        ),
    ),
    figures=(
        CellMap(
            name="operations",
            caption="Best validation accuracy in the budget.",
            x="task.train_fraction",
            y="task.operation",
            label=how_far,
            labels=(NEVER, PARTLY, FULLY),
        ),
    ),
    accelerator=True,
)

PAPER = Paper(
    slug="power-grok",
    title="Grokking: Generalization Beyond Overfitting on Small Algorithmic Datasets",
    authors="Alethea Power, Yuri Burda, Harri Edwards, Igor Babuschkin, Vedant Misra",
    year=2022,
    arxiv="2201.02177",
    experiments=(division, operations, data, interventions, by_fraction),
)
