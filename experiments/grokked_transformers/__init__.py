"""Grokked transformers are implicit reasoners: composition, comparison and a search that needs both kinds of facts.

Paper: Wang, Yue, Su, Sun, "Grokked Transformers are Implicit Reasoners: A Mechanistic Journey to the Edge
of Generalization", arXiv:2405.15071 (NeurIPS 2024). The settings are those of
OSU-NLP-Group/GrokkedTransformer.

Claimed: a transformer learns to answer two-hop questions over facts in its weights, (h, r1, b) and (b, r2, t) gives
(h, r1, r2, t), but only by grokking, far beyond fitting its training set (Fig. 1, Sec. 3.2); how soon depends on phi,
the ratio of inferred to atomic facts that train, and not on the size of the data (Fig. 2, Sec. 3.2); facts that took
part in no question while training are not composed at all, though each of them is known (Fig. 1), unless the upper
half of the network has the parameters of the lower one (App. E.2); more weight decay brings it sooner (Fig. 13). Which
of two entities has more of an attribute is learned so too, and then also of entities that took part in no question
(Sec. 4, Fig. 1). Inside, the bridge b is found early; what forms while the network groks is the second hop (Sec. 3.3).
A network that groks answers questions that need a search over thousands of facts (Sec. 5, Table 1).

Command: jaxgen reproduce grokked-transformers --scale mini
Took: mini, 75 minutes for phi, 27 for size and 9 for weight-decay, on two cores that had other work; results/ hold
minutes and device.
Came out: see the verdicts of `jaxgen show grokked-transformers`. At mini and phi 18 unseen ID questions are answered
within 14k steps, as training saturates, and OOD ones never; at phi 3.6 no seed generalises. OOD facts, a tenth of all,
are in no question, and fitted last.

Setting: 2,000 entities with 20 facts each, of different relations out of 200, to tails drawn uniformly. 5 % of the
facts are OOD. All facts train, as `h r t </a>`, and of the questions whose two facts are ID phi times as many as there
are ID facts, as `h r1 r2 t </a>`; half a percent of those questions is held out for the test (ID), and the
questions whose two facts are OOD are the other test (OOD). Graph and tests are the same for every phi. Loss on the
answer and `</a>`; accuracy is of both together, on up to 3,000 examples of a kind. GPT-2's architecture: 8 layers,
width 768, 12 heads, pre-norm, learned positions, gelu_new, tied embedding, N(0, 0.02^2) with residual outputs over
sqrt(16), dropout 0.1. AdamW, lr 1e-4, betas (0.9, 0.999), decay 0.1 on all but biases and norms, 2,000 warm-up steps,
gradients clipped to norm 1, batches of 512, 1.5M steps.

Deviations, and why:
- Not here: the circuit of comparisons (Sec. 4, App. D), larger and smaller networks (App. B), entities of several
  tokens (App. C), and the language models of Sec. 5.
- `sharing`, `comparison`, `circuit` and `complex-reasoning` have the paper's size alone: no mini of them is tried yet.
  Others needed more than 1,000 epochs until a shared network composed OOD facts (Kohli et al., arXiv 2604.07822).
- `circuit`: an effect counts the questions that were answered right and are not any more. Of the other heads, relations
  and facts that would give another answer one is drawn uniformly; the authors draw so too, by other random numbers.
- `complex-reasoning`: the facts are drawn with another seed (1), as with 0 there are fewer than 50 hard questions of a
  label.
- The vocabulary is that of the task (2,201 tokens). The authors add 2,206 tokens to the 50,257 of GPT-2 and embed all;
  the others never occur.
- bfloat16 for the matrix products, float32 for the rest, in place of float16 with a scaled loss.
- Dropout acts on embeddings and on the outputs of attention and MLP; GPT-2 also drops attention weights.
- Accuracy is of the most likely token at each place with the right tokens before it, which is right together exactly
  where greedy generation is.
- Seeds change initialisation and batches, not the graph. The graph is drawn by another generator than the authors'.
- A batch leaves out the remainder of an epoch. Training accuracy is of up to 3,000 of the questions that train.
- Mini: 80 entities with 22 facts each, of all 22 relations; 10 % OOD, so that some 390 questions test it; 3 % held out;
  2 layers of width 128, 4 heads, no dropout, float32, lr 4e-4, 200 warm-up steps, batches of 128, 14k steps; of the
  ratios 3.6 and 18. `size` (40 against 80 entities) and `weight-decay` (40 entities) are at phi 18, where 0.9 comes
  within minutes, and stop there; at phi 9 it does not come in so many steps. Learning rate x decay x steps is 0.56,
  in `weight-decay` 0.17 to 1.7; the paper's run at phi 7.2 groks at 7.

UNVERIFIED: the accuracies of the comparison task and the level that a shared network reaches on OOD facts, which are
printed in figures alone; the 99.3 % of Table 1, which is known from another paper's note of it; the numbers of entities
of Fig. 2b (claimed is that curves over epochs coincide; here are the paper's 2,000
and twice as many), the decays of Fig. 13 and the phi that it was made at (here 0.03, 0.1 and 0.3 at phi 9), and whether
one seed or several were run. The accuracies that stand for "fitted" (0.99) and "generalised" (0.9 or 0.95), for "no
generalisation" (0.05) and the factors 10 and 1.5 are of this notebook, not of the paper.
"""

import dataclasses
import itertools

from jaxgen.bounds import Number, largest, least
from jaxgen.condition import Condition, Numerics, Stop
from jaxgen.experiment import Compare, EverySeed, Expect, Experiment, Paper, Scale, Typical, at_least, at_most
from jaxgen.experiment.claims import sooner
from jaxgen.figures import BySetting, Curves
from jaxgen.models.config import TransformerConfig
from jaxgen.optimizers import AdamW, ClipNorm
from jaxgen.tasks import ComparisonTask, ComplexReasoningTask
from jaxgen.tasks.base import Task
from jaxgen.tasks.facts.composition import CompositionTask

from .parts import Circuit

TRAIN, ID, OOD = "accuracy/train_inferred", "accuracy/test_inferred_iid", "accuracy/test_inferred_ood"


def condition(name: str, phi: float = 9.0, entities: int = 2000, decay: float = 0.1) -> Condition:
    graph = CompositionTask(entities=entities, relations=200, out_degree=20, phi=phi, ood_fraction=0.05, held_out=0.005)
    return trained_on(name, graph, decay)


def trained_on(name: str, task: Task, decay: float = 0.1) -> Condition:
    return Condition(
        name=name,
        task=task,
        model=TransformerConfig(
            layers=8, width=768, heads=12, mlp_width=3072, norm="pre", activation="gelu_tanh",
            attention_bias=True, tied=True, init="gpt2", dropout=0.1,
        ),
        optimizer=ClipNorm(
            base=AdamW(learning_rate=1e-4, weight_decay=decay, decay="matrices", b2=0.999, warmup=2000), max_norm=1.0
        ),
        steps=1_500_000,
        batch_size=512,
        numerics=Numerics(compute_dtype="bfloat16", matmul_precision="default"),
    )  # fmt: skip


SMOKE = {
    "task.entities": 20,
    "task.relations": 16,
    "task.out_degree": 16,
    "task.ood_fraction": 0.2,
    "task.held_out": 0.05,
}
MINI = {
    "task.relations": 22,
    "task.out_degree": 22,
    "task.ood_fraction": 0.1,
    "task.held_out": 0.03,
    "model.layers": 2,
    "model.width": 128,
    "model.heads": 4,
    "model.mlp_width": 512,
    "model.dropout": 0.0,
    "optimizer.base.learning_rate": 4e-4,  # at 1e-3 what is fitted stays below 0.99
    "optimizer.base.warmup": 200,
    "numerics": Numerics(),
    "batch_size": 128,
    "steps": 14_000,
}
# Where a claim asks for nothing later than the step to 0.9.
UNTIL_REACHED = {"stop": Stop(split="test_inferred_iid", at_least=0.9), "task.phi": 18.0}

NO_GROKKING = {
    "mini": "learning rate x decay x steps is 0.56, in `weight-decay` at most 1.7; the paper's runs grok at 7 or more"
}

PHIS = {f"phi={phi:g}": phi for phi in (3.6, 5.4, 7.2, 9.0, 12.6, 18.0)}
MODERATE = [name for name, phi in PHIS.items() if phi <= 9]
# Of the moderate ones, those for which the paper's budget is long enough.
LONG_ENOUGH = [name for name in MODERATE if PHIS[name] >= 7.2]


def fitted_at(t, name: str) -> Number:
    return t.first_step(name, TRAIN, at_least=0.99)


def reaches(t, name: str, at: float = 0.9) -> Number:
    return t.first_step(name, ID, at_least=at)


def trained(t, names) -> list[str]:
    """Those of the conditions that are in the table; all where none is, so that the first is told as missing."""
    there = set(t.rows["condition"])
    return [name for name in names if name in there] or list(names)


def least_ratio(t, steps, names) -> Number:
    """The least ratio of a condition's steps to those of the one before it, of those that are trained."""
    found = [steps(t, name) for name in trained(t, names)]
    return least(after / before for before, after in itertools.pairwise(found))


# Steps are measured at 20 a decade, so what is above 1 is 1.1 or more: a tie is no order.
IN_ORDER = at_least(1.01)


CURVES = Curves(
    name="accuracy",
    caption="Accuracy on questions that train, on held-out ones (ID), and on those of OOD facts.",
    keys=(TRAIN, ID, OOD),
    paper={"phi=7.2": {ID: 1.0, OOD: 0.0}},
)

ratio = Experiment(
    name="phi",
    title="Generalisation to unseen two-hop questions by the ratio of inferred to atomic facts",
    conditions=tuple(condition(name, phi=phi) for name, phi in PHIS.items()),
    scales={
        "smoke": Scale.smoke(SMOKE, only=("phi=3.6", "phi=9")),
        "mini": Scale(set={**MINI, "task.entities": 80}, only=("phi=3.6", "phi=18")),
    },
    claims=(
        EverySeed(
            name="fits without generalising",
            says="At phi up to 9 the questions that train are fitted (0.99) while few others are answered",
            place="Fig. 1, Sec. 3.2",
            paper="phi 7.2: fitted at 14K steps, at most 9.2 % of ID questions before",
            paper_value=0.092,
            value=lambda t: largest(t.at(name, ID, fitted_at(t, name)) for name in trained(t, MODERATE)),
            expect=at_most(0.2),
        ),
        EverySeed(
            name="groks",
            says="At phi 7.2 and 9 the held-out questions are answered (0.95), but take ten times the steps of fitting",
            place="Fig. 1, Sec. 3.2",
            paper="phi 7.2: about 50 times",
            paper_value=50,
            value=lambda t: least(reaches(t, name, 0.95) / fitted_at(t, name) for name in trained(t, LONG_ENOUGH)),
            expect=at_least(10),
            untestable=NO_GROKKING,
        ),
        EverySeed(
            name="never out of distribution",
            says="Questions made of OOD facts are answered at no step",
            place="Fig. 1, Sec. 3.2",
            paper="0 up to 2M steps",
            paper_value=0,
            value=lambda t: largest(t.max(name, OOD) for name in trained(t, PHIS)),
            expect=at_most(0.05),
        ),
        EverySeed(
            name="knows the OOD facts",
            says="The OOD facts themselves are known at the last step",
            place="Sec. 3.1",
            paper="all atomic facts train",
            value=lambda t: least(t.final(name, "accuracy/ood_atomic", rows=1) for name in trained(t, PHIS)),
            expect=at_least(0.99),
        ),
        EverySeed(
            name="more inferred facts, sooner",
            says="The larger phi, the fewer steps until 0.9 of the held-out questions are answered",
            place="Fig. 2a",
            paper="speed grows strictly with phi",
            value=lambda t: least_ratio(t, reaches, [*reversed(PHIS)]),
            expect=IN_ORDER,
        ),
        EverySeed(
            name="more inferred facts, fitted later",
            says="The larger phi, the more steps until the questions that train are fitted (0.99)",
            place="Sec. 3.2, footnote 3",
            paper="all within 25K steps, larger phi later",
            value=lambda t: least_ratio(t, fitted_at, PHIS),
            expect=IN_ORDER,
        ),
        Typical(
            name="no delay at phi 18",
            says="At phi 18 most held-out questions are answered before the questions that train are fitted",
            place="Sec. 3.2, footnote 4",
            paper="96.7 % of ID questions before training accuracy saturates",
            paper_value=0.967,
            value=lambda t: t.at("phi=18", ID, fitted_at(t, "phi=18")),
            expect=at_least(0.9),
        ),
    ),
    figures=(
        CURVES,
        Curves(name="phi", caption="Accuracy on held-out questions (ID) by phi.", keys=(ID,), together=True),
        BySetting(
            name="steps",
            caption="Steps to 0.99 of the questions that train, and to 0.9 of the held-out ones; a seed that never "
            "comes there has no dot.",
            x="task.phi",
            values={"train_inferred": fitted_at, "test_inferred_iid": reaches},
            x_label="phi",
            y_label="steps",
            log_y=True,
        ),
    ),
    accelerator=True,
)

size = Experiment(
    name="size",
    title="Generalisation by the size of the knowledge graph, at one phi",
    conditions=(condition("entities"), condition("twice the entities", entities=4000)),
    scales={
        "smoke": Scale.smoke(SMOKE),
        "mini": Scale(set={**MINI, **UNTIL_REACHED, "task.entities": 40, "twice the entities:task.entities": 80}),
    },
    claims=(
        Compare(
            name="epochs do not depend on size",
            says="With twice the entities, 0.9 of the held-out questions are answered after as many epochs, within "
            "a factor of 1.5",
            place="Fig. 2b",
            paper="the same curves over epochs",
            by="ratio",
            # Twice the entities make twice the examples, so an epoch takes twice the steps.
            value=lambda t: reaches(t, "twice the entities") / reaches(t, "entities") / 2,
            expect=Expect(at_least=1 / 1.5, at_most=1.5),
        ),
    ),
    figures=(CURVES,),
    accelerator=True,
)

decay = Experiment(
    name="weight-decay",
    title="Generalisation by weight decay, at one phi",
    conditions=tuple(condition(f"decay={value:g}", decay=value) for value in (0.03, 0.1, 0.3)),
    scales={
        "smoke": Scale.smoke(SMOKE, only=("decay=0.1",)),
        "mini": Scale(set={**MINI, **UNTIL_REACHED, "task.entities": 40}, only=("decay=0.03", "decay=0.3")),
    },
    claims=(
        sooner(
            "decay=0.3",
            than="decay=0.03",
            level=0.9,
            times=1.01,
            key=ID,
            name="decay brings it sooner",
            says="With decay 0.3, 0.9 of the held-out questions are answered sooner than with 0.03",
            place="Fig. 13",
            paper="larger decay is faster, smaller slower",
            untestable=NO_GROKKING,
        ),
    ),
    figures=(
        CURVES,
        Curves(name="decay", caption="Accuracy on held-out questions (ID) by weight decay.", keys=(ID,), together=True),
    ),
    accelerator=True,
)

UNSHARED = condition("shared", phi=12.6)
SHARED = dataclasses.replace(UNSHARED, model=dataclasses.replace(UNSHARED.model, layers=4, loops=2))

sharing = Experiment(
    name="sharing",
    title="Two-hop questions, with the same parameters in the lower and the upper half of the network",
    conditions=(SHARED,),
    scales={"smoke": Scale.smoke(SMOKE | {"task.phi": 9.0})},
    claims=(
        EverySeed(
            name="out of distribution, too",
            says="A shared network answers questions made of OOD facts (0.3), which others answer at no step",
            place="App. E.2, Fig. 14",
            paper="OOD accuracy rises, without a number in the text",
            value=lambda t: t.max("shared", OOD),
            expect=at_least(0.3),
        ),
        EverySeed(
            name="after the ID questions",
            says="OOD questions (0.1) come later than 0.9 of the held-out ID ones",
            place="App. E.2, Fig. 14",
            paper="much slower than ID",
            value=lambda t: t.first_step("shared", OOD, at_least=0.1) / reaches(t, "shared"),
            expect=IN_ORDER,
        ),
    ),
    figures=(CURVES,),
    accelerator=True,
)

# After so many layers of the eight the paper reads and patches: S[5, r1] and S[5, r2].
MIDDLE = 5
BRIDGE, SECOND_HOP, EFFECT = (f"{what}.{MIDDLE}/train_inferred" for what in ("mrr.bridge", "mrr.r2", "effect.r1"))
# All phi fit their training set within 25K steps (footnote 3).
FITTED = 25_000

# The smallest transformer has one layer, and so none to read.
SMOKE_CIRCUIT = {
    **SMOKE,
    **{f"model.{name}": size for name, size in TransformerConfig.smoke_sizes.items()},
    "model.layers": MIDDLE + 1,
    "batch_size": 32,
    "steps": 20,
    "seeds": (0,),
    "snapshots": (0,),
}

circuit = Experiment(
    name="circuit",
    title="What can be read where, and what changes the answer, while the network groks",
    conditions=(
        dataclasses.replace(
            condition("phi=9"),
            snapshots=(5_000, 10_000, FITTED, 50_000, *range(100_000, 1_500_000, 100_000)),
            analyses=(Circuit(),),
        ),
    ),
    scales={"smoke": Scale(set=SMOKE_CIRCUIT, judged=False)},
    claims=(
        EverySeed(
            name="the bridge is there from the start",
            says="Once the questions that train are fitted, the bridge can be read in S[5, r1] (reciprocal rank 0.5)",
            place="Sec. 3.3",
            paper="readable throughout",
            value=lambda t: min(t.at("phi=9", BRIDGE, FITTED), t.final("phi=9", BRIDGE, rows=1)),
            expect=at_least(0.5),
        ),
        EverySeed(
            name="the second hop forms",
            says="The reciprocal rank of r2 in S[5, r2] rises by 0.2 while the network groks",
            place="Sec. 3.3",
            paper="it rises",
            value=lambda t: t.final("phi=9", SECOND_HOP, rows=1) - t.at("phi=9", SECOND_HOP, FITTED),
            expect=at_least(0.2),
        ),
        EverySeed(
            name="the bridge comes to matter",
            says="Another S[5, r1] changes 0.2 more of the answers once the network has grokked",
            place="Sec. 3.3",
            paper="its causal effect grows",
            value=lambda t: t.final("phi=9", EFFECT, rows=1) - t.at("phi=9", EFFECT, FITTED),
            expect=at_least(0.2),
        ),
    ),
    figures=(
        CURVES,
        Curves(
            name="lens",
            caption="Reciprocal rank of the bridge in S[5, r1], and of the second relation in S[5, r2].",
            keys=(BRIDGE, SECOND_HOP),
        ),
        Curves(
            name="effects",
            caption="Part of the right answers that another state after five layers changes.",
            keys=tuple(f"effect.{what}.{MIDDLE}/train_inferred" for what in ("h", "r1", "r2")),
        ),
    ),
    accelerator=True,
)

COMPARED = (3.6, 7.2, 9.0, 12.6)
SMOKE_COMPARISON = {"task.entities": 30, "task.attributes": 3, "task.values": 5, "task.probes": 50}
# Fewer leave no hard question.
SMOKE_SEARCH = {
    "task.entities": 40,
    "task.attributes": 4,
    "task.values": 6,
    "task.ood_fraction": 0.4,
    "task.trained_fraction": 0.1,
    "task.hard": 3,
    "task.facts_seed": 0,
}

comparison = Experiment(
    name="comparison",
    title="Which of two entities has more of an attribute, by the ratio of inferred to atomic facts",
    conditions=tuple(
        trained_on(f"phi={phi:g}", ComparisonTask(entities=1000, attributes=20, values=20, phi=phi)) for phi in COMPARED
    ),
    scales={"smoke": Scale.smoke(SMOKE_COMPARISON, only=("phi=3.6",))},
    claims=(
        EverySeed(
            name="fits without generalising",
            says="At phi 7.2 the comparisons of OOD entities are answered (0.9) after twice the steps that it takes to "
            "fit those that train (0.99)",
            place="Fig. 1, Sec. 4",
            paper="it groks",
            value=lambda t: t.first_step("phi=7.2", OOD, at_least=0.9) / fitted_at(t, "phi=7.2"),
            expect=at_least(2),
        ),
        EverySeed(
            name="out of distribution, too",
            says="At phi 7.2 comparisons of OOD entities are answered (0.9; the most frequent label is right in 0.475)",
            place="Fig. 1, Sec. 4",
            paper="systematic generalisation, in contrast to composition",
            value=lambda t: t.max("phi=7.2", OOD),
            expect=at_least(0.9),
        ),
        EverySeed(
            name="more inferred facts, sooner",
            says="The larger phi, the fewer steps until 0.9 of the comparisons of OOD entities are answered",
            place="App. E.3",
            paper="higher phi is faster",
            value=lambda t: least_ratio(
                t, lambda t, name: t.first_step(name, OOD, at_least=0.9), [f"phi={phi:g}" for phi in reversed(COMPARED)]
            ),
            expect=IN_ORDER,
        ),
    ),
    figures=(
        CURVES,
        Curves(name="phi", caption="Accuracy on comparisons of OOD entities by phi.", keys=(OOD,), together=True),
    ),
    accelerator=True,
)

HARD, UNTRAINED = "accuracy/test_hard", "accuracy/ood_atomic"

search = Experiment(
    name="complex-reasoning",
    title="Comparisons that follow only from a search over thousands of facts",
    conditions=(
        trained_on(
            "three percent",
            ComplexReasoningTask(entities=1000, attributes=20, values=20, trained_fraction=0.03, facts_seed=1),
        ),
    ),
    scales={"smoke": Scale.smoke(SMOKE_SEARCH)},
    claims=(
        EverySeed(
            name="answers what needs a search",
            says="Of 150 comparisons of entities whose facts never train, nearly all are answered (0.9)",
            place="Sec. 5, Table 1",
            paper="nearly all; language models with retrieval 12 to 37 %, chance 33 %",
            value=lambda t: t.max("three percent", HARD),
            expect=at_least(0.9),
        ),
        EverySeed(
            name="recovers facts that never trained",
            says="While it groks the network comes to know the attributes of these entities (0.5; chance is 0.05)",
            place="App. F, Fig. 16",
            paper="they are recovered",
            value=lambda t: t.max("three percent", UNTRAINED),
            expect=at_least(0.5),
        ),
    ),
    figures=(
        Curves(
            name="accuracy",
            caption="Accuracy on comparisons that train, on held-out and hard ones, and on facts that never train.",
            keys=(TRAIN, ID, HARD, UNTRAINED),
        ),
    ),
    accelerator=True,
)

PAPER = Paper(
    slug="grokked-transformers",
    title="Grokked Transformers are Implicit Reasoners: A Mechanistic Journey to the Edge of Generalization",
    authors="Boshi Wang, Xiang Yue, Yu Su, Huan Sun",
    year=2024,
    arxiv="2405.15071",
    experiments=(ratio, size, decay, sharing, circuit, comparison, search),
)
