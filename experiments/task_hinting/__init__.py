"""Task hinting: sorting strings longer than those that train, by learning an easier task on the side.

Paper: Awasthi, Gupta, "Improving Length-Generalization in Transformers via Task Hinting", arXiv:2310.00726 (ICLR 2024
reviews are public). Its abstract, first page and reviews were read; the rest was not at hand, and there is no code.

Claimed: a transformer trained to sort strings of at most 20 symbols sorts less than 1 % of those of 100. Trained on a
simpler related task on the side it sorts more than 92 % (abstract). Which task matters a lot: the successor of a
symbol in the string is the best of those tried (abstract, reviews). A few parameters that set the temperature of
attention by the length help without any hint (abstract). The same was seen of a second task, to increment a number
(App.).

Command: jaxgen reproduce task-hinting --scale mini
Took: not recorded yet.
Came out: not recorded yet.

Setting: a decoder without positional embeddings reads a string of symbols, which may repeat, and writes it sorted.
Lengths of training are uniform up to 20. Accuracy is of whole answers, of the most likely symbol at each place with
the right ones before it, which is right together exactly where greedy generation is. A hint is another question about
a string of the same kind, with a marker of its own: the next larger symbol of the string (`successor`), the next
smaller one (`predecessor`), or how often a symbol occurs (`count`).

Deviations, and why:
- UNVERIFIED: alphabet, depth, width, optimiser, steps, the share of hints and how large the training data are. Here
  100 symbols, 2 layers (the paper explains the hint by a construction of two) of width 512, AdamW with lr 3e-4, fresh
  examples at every step, half of them hints.
- The hints `fill` and `parity` of the reviews are not described in what was at hand, and are not here.
- UNVERIFIED: the form of the temperature. Here queries are multiplied by 1 + t log(n) where n positions are seen, with
  a learned t of each head that begins at 0.
- Learned positions are compared beside none (`positions`). The paper has none; that it needs none is our control.
- Increments are trained without a hint alone, since the paper's hint for them is not known.
- Mini: 16 symbols, lengths to 8 and tested at 8, 20 and 40 (the paper's 20, 50 and 100), 2 layers of width 64, lr
  1e-3, 4,000 steps of 128 examples.
- Strings of distinct symbols are another task: there plain training generalises to twice or three times the length
  (arXiv:2310.16028), so symbols repeat here.
"""

import dataclasses

from jaxgen.bounds import largest, least
from jaxgen.condition import Condition, Every
from jaxgen.experiment import Compare, EverySeed, Experiment, Paper, Scale, at_least, at_most
from jaxgen.experiment.claims import differs
from jaxgen.figures import Curves, Profile
from jaxgen.models.config import TransformerConfig
from jaxgen.optimizers import AdamW, ClipNorm
from jaxgen.tasks.base import Task
from jaxgen.tasks.strings.algorithms import HintedSortTask
from jaxgen.tasks.strings.arithmetic import ArithmeticTask

LENGTHS, MINI_LENGTHS = (20, 50, 100), (8, 20, 40)
TRAINED, LONGER, LONGEST = range(3)
HINTS = ("successor", "predecessor", "count")


def condition(name: str, task: Task, **model) -> Condition:
    return Condition(
        name=name,
        task=task,
        model=TransformerConfig(
            layers=2, width=512, heads=8, mlp_width=2048, norm="pre", positions="none", activation="gelu_tanh",
            attention_bias=True, init="gpt2",
        ),
        optimizer=ClipNorm(
            base=AdamW(learning_rate=3e-4, weight_decay=0.01, decay="matrices", warmup=500), max_norm=1.0
        ),
        steps=100_000,
        batch_size=256,
        measure_at=Every(interval=2000),
    )  # fmt: skip


def sorting(hint: str | None) -> HintedSortTask:
    """Sorting alone, or together with a hint."""
    hints = {"hint_fraction": 0.0} if hint is None else {"hint": hint}
    return HintedSortTask(alphabet=100, max_length=LENGTHS[0], test_lengths=LENGTHS, **hints)


PLAIN = condition("plain", sorting(None))
HINTED = {hint: condition(hint, sorting(hint)) for hint in HINTS}
LEARNED = dataclasses.replace(
    HINTED["successor"],
    name="successor, learned positions",
    model=dataclasses.replace(PLAIN.model, positions="learned"),
)
TEMPERED = dataclasses.replace(PLAIN, name="plain, tempered", model=dataclasses.replace(PLAIN.model, tempered=True))
INCREMENT = condition("increment", ArithmeticTask(operation="x+1", max_length=LENGTHS[0], test_lengths=LENGTHS))

MINI = {
    "task.max_length": MINI_LENGTHS[0],
    "task.test_lengths": MINI_LENGTHS,
    "model.width": 64,
    "model.heads": 4,
    "model.mlp_width": 256,
    "model.init": "fan_in",
    "optimizer.base.learning_rate": 1e-3,
    "optimizer.base.warmup": 100,
    "batch_size": 128,
    "steps": 4000,
    "measure_at.interval": 500,
    "seeds": (0, 1, 2, 3, 4),
}
ALPHABET = {"task.alphabet": 16}
SMOKE = Scale.smoke({"task.max_length": 3, "task.test_lengths": (3, 4, 5), "steps": 4})


def exact(name: str, length: int):
    """The share of strings that are answered at the end, of one of the three tested lengths."""
    return lambda t: t.final(name, f"accuracy/length_{t.numbered(name, 'length')[length]}", rows=1)


def fits(*conditions: Condition) -> EverySeed:
    return EverySeed(
        name="learnt in distribution",
        says="Every network answers strings of the longest length that trains (0.99)",
        place="ours; the other claims are of lengths that never train",
        paper="not given",
        role="control",
        value=lambda t: least(exact(each.name, TRAINED)(t) for each in conditions),
        expect=at_least(0.99),
    )


FIGURES = (
    Profile(
        name="lengths",
        caption="Share of strings that are answered whole, by their length.",
        prefixes=("accuracy",),
        splits=("length",),
        x_label="length",
    ),
    Curves(
        name="accuracy",
        caption="Share of examples like those that train that are answered whole, without hints.",
        keys=("accuracy/train",),
    ),
)

hints = Experiment(
    name="hints",
    title="Sorting with and without an easier task on the side",
    conditions=(PLAIN, *HINTED.values()),
    scales={"smoke": SMOKE, "mini": Scale(set=MINI | ALPHABET)},
    claims=(
        fits(PLAIN, *HINTED.values()),
        EverySeed(
            name="plain training fails",
            says="Without a hint hardly any string of five times the length that trains is sorted (0.05)",
            place="abstract",
            paper="less than 1 %",
            paper_value=0.01,
            value=exact("plain", LONGEST),
            expect=at_most(0.05),
        ),
        EverySeed(
            name="successor generalises",
            says="With the hint of the successor most strings of five times the length are sorted (0.5)",
            place="abstract",
            paper="more than 92 %",
            paper_value=0.92,
            value=exact("successor", LONGEST),
            expect=at_least(0.5),
        ),
        differs(
            exact("successor", LONGEST),
            exact("plain", LONGEST),
            at_least(0.4),
            name="the hint helps",
            says="With the hint of the successor 0.4 more of the strings of five times the length are sorted than "
            "without a hint",
            place="abstract",
            paper="from less than 1 % to more than 92 %",
            paper_value=0.91,
        ),
        Compare(
            name="successor is the best hint",
            says="With the hint of the successor 0.05 more of the strings of five times the length are sorted than "
            "with any other hint",
            place="abstract (the choice matters), reviews (successor is the best)",
            paper="higher, without a number at hand",
            by="difference",
            value=lambda t: exact("successor", LONGEST)(t) - largest(exact(hint, LONGEST)(t) for hint in HINTS[1:]),
            expect=at_least(0.05),
        ),
    ),
    figures=FIGURES,
    accelerator=True,
)

positions = Experiment(
    name="positions",
    title="The hint of the successor, with learned positions and with none",
    conditions=(HINTED["successor"], LEARNED),
    scales={"smoke": SMOKE, "mini": Scale(set=MINI | ALPHABET)},
    claims=(
        fits(HINTED["successor"], LEARNED),
        differs(
            exact("successor", LONGEST),
            exact(LEARNED.name, LONGEST),
            at_least(0.2),
            name="learned positions spoil it",
            says="Without positions 0.2 more of the strings of five times the length are sorted than with learned ones",
            place="ours; the paper's networks have no positions (reviews)",
            paper="not told",
            role="control",
        ),
    ),
    figures=FIGURES,
    accelerator=True,
)

temperature = Experiment(
    name="temperature",
    title="Sorting without a hint, with a temperature of attention by the length",
    conditions=(PLAIN, TEMPERED),
    scales={"smoke": SMOKE, "mini": Scale(set=MINI | ALPHABET)},
    claims=(
        fits(PLAIN, TEMPERED),
        differs(
            exact(TEMPERED.name, LONGER),
            exact("plain", LONGER),
            at_least(0.05),
            name="a temperature helps",
            says="With a learned temperature by the length 0.05 more of the strings of two and a half times the length "
            "that trains are sorted",
            place="abstract",
            paper="generalises better without hints, without a number at hand",
        ),
    ),
    figures=FIGURES,
    accelerator=True,
)

increment = Experiment(
    name="increment",
    title="Adding one to a number, without a hint",
    conditions=(INCREMENT,),
    scales={"smoke": SMOKE, "mini": Scale(set=MINI)},
    claims=(
        fits(INCREMENT),
        EverySeed(
            name="plain training fails",
            says="Hardly any number of five times the digits that train is incremented (0.05)",
            place="App. (a second task; its numbers were not at hand)",
            paper="not at hand",
            role="control",
            value=exact("increment", LONGEST),
            expect=at_most(0.05),
        ),
    ),
    figures=FIGURES,
    accelerator=True,
)

PAPER = Paper(
    slug="task-hinting",
    title="Improving Length-Generalization in Transformers via Task Hinting",
    authors="Pranjal Awasthi, Anupam Gupta",
    year=2023,
    arxiv="2310.00726",
    experiments=(hints, positions, temperature, increment),
)
