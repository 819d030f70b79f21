"""Complexity out of distribution: more steps in questions that are no longer.

Paper: "Bridging Reasoning to Learning: Unmasking Illusions using Complexity Out-of-Distribution Generalization",
arXiv:2510.06274. The first version is a position without experiments; the one of October 2025 asks language models
questions of mathematics. Its text was not at hand.

Claimed: a test is out of distribution in complexity if the shortest solution of its instances is more complex than any
that trains, and that is another thing than longer instances. Reasoning that generalises does so along this axis.
Language models fall steeply with the number of operations that a question needs; models that reason step by step fall
more slowly (review of the empirical part; numbers were not at hand).

Command: jaxgen reproduce complexity-ood --scale mini
Took: not recorded yet.
Came out: not recorded yet.

Setting: an experiment of this notebook that takes the definition apart, with small networks from
scratch. A question is a shuffled list of pointers that form one cycle, a number of hops, and where to start; the
answer is where the hops lead. Complexity is the number of hops: 1 to 3 train, up to 7 are tested, in prompts of one
length. For length alone the hops stay 1 to 3 and the list grows. `direct` answers at once, `trace` writes every symbol
on the way, and `looped` runs a shared stack of layers several times before it answers at once, as deep as the
questions need.

Deviations, and why:
- Nothing of the paper's own experiments, which ask pretrained models; all bounds are of this notebook.
- Hops are written as so many stars in a field of fixed size, so that no number is a symbol that never trained.
- Accuracy is of the whole answer, of a trace all of it, which is harder than its last symbol.
- `looped` has as many parameters as one pass of its layers; `direct` has more layers instead.
- Mini: lists of 10 pairs of 20 symbols, 2 layers of width 64 (`looped`: one layer, four times), 3,000 steps of 64
  fresh questions; lists of 6 to 10 pairs train for length alone, and 20 are tested.

UNVERIFIED: every number of the paper.
"""

import dataclasses

from jaxgen.condition import Condition, Every
from jaxgen.experiment import Compare, EverySeed, Experiment, Paper, Scale, at_least, at_most
from jaxgen.experiment.claims import differs
from jaxgen.figures import Curves, Profile
from jaxgen.models.config import TransformerConfig
from jaxgen.optimizers import AdamW, ClipNorm

from .parts import PointersTask

HOPS = PointersTask(
    axis="hops", symbols_in_use=64, pairs=32, most_hops=8, max_length=3, test_lengths=(1, 2, 3, 4, 5, 6, 7)
)
LISTS = PointersTask(
    axis="pairs", symbols_in_use=64, hops=3, most_hops=8, min_length=16, max_length=32, test_lengths=(32, 48, 64)
)


def condition(name: str, task: PointersTask, **model) -> Condition:
    return Condition(
        name=name,
        task=task,
        model=TransformerConfig(
            **{
                "layers": 8, "width": 256, "heads": 8, "mlp_width": 1024, "norm": "pre", "positions": "none",
                "activation": "gelu_tanh", "attention_bias": True, "init": "gpt2",
            }
            | model
        ),
        optimizer=ClipNorm(
            base=AdamW(learning_rate=5e-4, weight_decay=0.01, decay="matrices", warmup=500), max_norm=1.0
        ),
        steps=50_000,
        batch_size=256,
        measure_at=Every(interval=1000),
    )  # fmt: skip


DIRECT, LOOPED = condition("direct", HOPS), condition("looped", HOPS, layers=2, loops=8)
TRACE = condition("trace", dataclasses.replace(HOPS, trace=True))
LONGER = condition("direct, longer lists", LISTS)
MINI = {
    "task.symbols_in_use": 20,
    "task.pairs": 10,
    "model.layers": 2,
    "model.width": 64,
    "model.heads": 4,
    "model.mlp_width": 256,
    "model.init": "fan_in",
    "optimizer.base.learning_rate": 1e-3,
    "optimizer.base.warmup": 100,
    "batch_size": 64,
    "steps": 3000,
    "measure_at.interval": 500,
    "seeds": (0, 1, 2, 3, 4),
    "looped:model.layers": 1,
    "looped:model.loops": 4,
    f"{LONGER.name}:task.min_length": 6,
    f"{LONGER.name}:task.max_length": 10,
    f"{LONGER.name}:task.test_lengths": (10, 15, 20),
}
SMOKE = {"steps": 4, f"{LONGER.name}:task.min_length": 8, f"{LONGER.name}:task.max_length": 9}
TRAINED = 3  # hops


def exact(name: str, hops: int):
    return lambda t: t.final(name, f"accuracy/length_{hops}", rows=1)


def fallen_by_hops(t) -> float:
    """What is lost from the most hops that train to twice as many."""
    return exact("direct", TRAINED)(t) - exact("direct", 2 * TRAINED)(t)


def fallen_by_length(t) -> float:
    """What is lost from the longest lists that train to twice as long ones."""
    shortest, *_, longest = t.numbered(LONGER.name, "length")
    return exact(LONGER.name, shortest)(t) - exact(LONGER.name, longest)(t)


OURS = "definition of the paper; the experiment is ours"

pointers = Experiment(
    name="pointers",
    title="More hops at one length, and longer lists with as many hops",
    conditions=(DIRECT, TRACE, LOOPED, LONGER),
    scales={"smoke": Scale.smoke(SMOKE), "mini": Scale(set=MINI)},
    claims=(
        EverySeed(
            name="learnt in distribution",
            says="The most hops that train are answered at once (0.9)",
            place="ours",
            paper="not told",
            role="control",
            value=exact("direct", TRAINED),
            expect=at_least(0.9),
        ),
        EverySeed(
            name="direct answers fail beyond",
            says="Twice as many hops as train are hardly ever answered at once (0.25; a guess is right once in as many "
            "questions as there are pairs)",
            place=OURS,
            paper="accuracy falls steeply with the operations that are needed",
            value=exact("direct", 2 * TRAINED),
            expect=at_most(0.25),
        ),
        EverySeed(
            name="traces reach further",
            says="With the way written out, two hops more than train are answered (0.7)",
            place=OURS,
            paper="models that reason step by step fall more slowly",
            value=exact("trace", TRAINED + 2),
            expect=at_least(0.7),
        ),
        differs(
            exact("looped", TRAINED + 1),
            exact("direct", TRAINED + 1),
            at_least(0.1),
            name="loops reach further",
            says="One hop more than trains is answered 0.1 more often by a network that runs its layers several times",
            place=OURS,
            paper="not told",
            role="control",
        ),
        Compare(
            name="complexity costs more than length",
            says="Twice as many hops in a list of one length cost 0.1 more of the answers than a list twice as long "
            "with as many hops",
            place=OURS,
            paper="complexity is another axis than length",
            by="difference",
            value=lambda t: fallen_by_hops(t) - fallen_by_length(t),
            expect=at_least(0.1),
        ),
    ),
    figures=(
        Profile(
            name="hops",
            caption=f"Share of questions that are answered, by the number of hops; up to {TRAINED} train. Of the "
            "longer lists, by the number of pairs.",
            prefixes=("accuracy",),
            splits=("length",),
            x_label="hops, or pairs",
        ),
        Curves(
            name="accuracy", caption="Share of the questions that train that are answered.", keys=("accuracy/train",)
        ),
    ),
    accelerator=True,
)

PAPER = Paper(
    slug="complexity-ood",
    title="Bridging Reasoning to Learning: Unmasking Illusions using Complexity Out-of-Distribution Generalization",
    authors="Mohammad Mahdi Samiei Paqaleh and others",
    year=2025,
    arxiv="2510.06274",
    experiments=(pointers,),
)
