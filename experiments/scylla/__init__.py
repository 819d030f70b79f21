"""Scylla: where the gap between numbers that are familiar and numbers that are not is widest, by order of complexity.

Paper: Qi, Luo, Huang, Zhao, Jiang, Fan, Lakkaraju, Glass, "Quantifying Generalization Complexity for Large Language
Models", arXiv:2410.01769 (ICLR 2025). Text of the second version, and the code zhentingqi/scylla.

Claimed: of language models that are asked about lists of numbers, the gap between the accuracy on numbers that the
model itself would write (in distribution) and on others (out of distribution), max(0, A_ID - A_OOD), first widens with
the order of complexity of the question and then narrows: the generalisation valley (Sec. 4.2, Fig. 6). Where it is
widest, the critical complexity, moves to higher orders with the size of the model (Fig. 7, Fig. 8, Table 2). Both
accuracies fall with the order, and rise with the size (Sec. 4.1, Fig. 5).

Command: jaxgen reproduce scylla --scale mini
Took: not recorded yet.
Came out: not recorded yet.

Setting: in the paper 17 questions of five orders (Table 1): O(N) smallest, largest and most frequent number; O(N) to
O(N^2) k-th largest, two numbers of a sum, sorting, removing duplicates; then three and four numbers of a sum, or of one
in a range, or of one that is a multiple of ten; O(2^N) the same of a subset (4 to 6 of 6 to 16 numbers), and the
travelling salesman. 28 pretrained models, from 1.8B to 405B parameters where their size is known, are asked with
zero-shot chain of thought, 256 times per question and kind. Numbers in distribution are those that the model writes
when it is asked for test inputs: most are below 100, in lists of 4 to 16. Those out of distribution are the other ones
below 10,000, in lists as long. A sum that is asked for has one answer alone.

What stands in for it, and which reading is tested: pretrained models cannot be trained here. In their place are
decoders of four widths (63 times as many parameters from the first to the last; from 1.8B to 110B it is 61 times),
trained from scratch on the questions alone, which they answer at once, without a chain of thought. In distribution then
is what training shows: lists of 100 of the numbers below 10,000. Numbers are written digit by digit, and the 100 are
drawn from all 10,000, so that each digit trains at each place, as digits are familiar to a language model. A number is
then out of distribution by not being one of the 100, and not by its size. `lowest numbers` is the other reading, of the
paper's own values: 0 to 99 train, and others have digits where only zeros train. That it is harder is a control.

Deviations, and why:
- Thirteen questions of the 17: not here are multiples of ten, whose lists the authors change until one answer is right,
  and the travelling salesman, who reads a table of distances, not a list.
- Numbers of a list are uniform and independent; the authors' in distribution have the model's own frequencies. Lists
  for the most frequent number and for duplicates are made of half as many numbers as they are long; the authors' have
  the duplicates that the model writes.
- Lists have 6 to 16 numbers, of subsets 6 to 12 (4,095 sums): in shorter ones four numbers are most of the list.
- An answer of several numbers has them in the order of the list; the authors take any order.
- An accuracy counts every question. The authors' code leaves out answers that it cannot read.
- One network learns all questions of all orders, in equal parts, with fresh lists at every step.
- Accuracy is of the most likely token at each place with the right tokens before it, which is right together exactly
  where greedy generation is.
- Widths, depth, optimiser and steps are of this notebook: the paper trains nothing.
- Mini: numbers below 100, 50 of them in distribution; lists of 6 and 7; seven questions (two of each of the first two
  orders, one of each of the others); 2 layers of width 8 to 64 (47 times as many parameters), float32, lr 2e-3, 200
  warm-up steps, batches of 56, 4,000 steps. Learning rate x decay x steps is 0.8, at this notebook's paper scale 6.

UNVERIFIED: the accuracies of single questions, and the values of Fig. 6 to 8, which are curves; both accuracies of an
order are printed for Qwen1.5 alone (Fig. 5), so the numbers here are of that family. Whether one set of questions or
several were asked of a model. What to call the critical complexity of a model without a gap: here it is then not known.
The least effects that count (0.05, 0.1, 0.2 and 0.3) are of this notebook, not of the paper. Known of the paper: its
text and Table 2 disagree on Qwen2.5-7B, and Llama-3-70B has a higher critical complexity than Llama-3.1-70B.
"""

import itertools
from statistics import mean

from jaxgen.bounds import Number, between
from jaxgen.condition import Condition, LogSpaced, Numerics
from jaxgen.experiment import Compare, EverySeed, Experiment, Paper, Scale, at_least, at_most
from jaxgen.figures import BySetting, Curves
from jaxgen.models.config import TransformerConfig
from jaxgen.optimizers import AdamW, ClipNorm
from jaxgen.tasks import Mixture, Part

from .parts import ORDERS, ByOrder, DistinctTask, ExtremeTask, ModeTask, SortTask, SumTask, TopKTask

# The paper's accuracies of Qwen1.5 by order (Fig. 5): its smallest model, of 1.8B parameters, and its largest, of 110B.
PAPER_ID = {"smallest": (0.78, 0.45, 0.05, 0.03, 0.05), "largest": (0.99, 0.96, 0.36, 0.36, 0.18)}
PAPER_OOD = {"smallest": (0.66, 0.34, 0.05, 0.01, 0.03), "largest": (0.98, 0.96, 0.25, 0.21, 0.10)}
PAPER_GAP = {
    name: [round(max(0.0, known - new), 2) for known, new in zip(PAPER_ID[name], PAPER_OOD[name], strict=True)]
    for name in PAPER_ID
}


def questions(elements: str = "drawn", *, few: bool = False, **sizes) -> Mixture:
    """All questions, or with `few` those of mini, of lists with these numbers."""
    lists = {"elements": elements, **sizes}
    subsets = lists | {"longest": min(lists["longest"], 12)}
    easy = [ExtremeTask(**lists), ExtremeTask(largest=True, **lists), SortTask(**lists), DistinctTask(**lists)]
    more = [ModeTask(**lists), TopKTask(**lists), SumTask(of="two", **lists)]
    sums = [SumTask(of="three", **lists), SumTask(of="four", **lists), SumTask(of="subset", **subsets)]
    ranges = [SumTask(of=each.of, in_range=True, **(subsets if each.of == "subset" else lists)) for each in sums]
    asked = easy + sums if few else easy + more + sums + ranges
    return Mixture(of=tuple(Part(name=each.question(), task=each) for each in asked))


FULL = {"digits": 4, "id_numbers": 100, "least": 6, "longest": 16, "test_examples": 256}
SMALL = {"digits": 2, "id_numbers": 50, "least": 6, "longest": 7, "test_examples": 512}


def condition(name: str, width: int, elements: str = "drawn") -> Condition:
    return Condition(
        name=name,
        task=questions(elements, **FULL),
        model=TransformerConfig(
            layers=8, width=width, heads=8, mlp_width=4 * width, norm="pre", activation="gelu_tanh",
            attention_bias=True, tied=True, init="gpt2", scan_layers=True,
        ),
        optimizer=ClipNorm(
            base=AdamW(learning_rate=3e-4, weight_decay=0.1, decay="matrices", b2=0.95, warmup=2000), max_norm=1.0
        ),
        steps=200_000,
        batch_size=13 * 32,
        numerics=Numerics(compute_dtype="bfloat16", matmul_precision="default"),
        measure_at=LogSpaced(per_decade=5),
    )  # fmt: skip


WIDTHS = {"smallest": 128, "small": 256, "large": 512, "largest": 1024}
MINI_WIDTHS = {"smallest": 8, "small": 16, "large": 32, "largest": 64}
LOWEST = "large, lowest numbers"
MINI = {
    "task": questions(few=True, **SMALL),
    f"{LOWEST}:task": questions("lowest", few=True, **SMALL),
    "model.layers": 2,
    "model.scan_layers": False,
    "optimizer.base.learning_rate": 2e-3,
    "optimizer.base.warmup": 200,
    "numerics": Numerics(),
    "batch_size": 7 * 8,
    "steps": 4000,
    "seeds": (0, 1, 2, 3, 4),
    "measure_at": LogSpaced(per_decade=3),
    **{f"{name}:model.width": width for name, width in MINI_WIDTHS.items()},
    **{f"{name}:model.mlp_width": 4 * width for name, width in MINI_WIDTHS.items()},
    **{f"{name}:model.heads": width // 8 if width > 8 else 2 for name, width in MINI_WIDTHS.items()},
    f"{LOWEST}:model.width": MINI_WIDTHS["large"],
    f"{LOWEST}:model.mlp_width": 4 * MINI_WIDTHS["large"],
    f"{LOWEST}:model.heads": 4,
    f"{LOWEST}:seeds": (0, 1, 2),
}
SMOKE = {
    "task": questions("lowest", few=True, digits=1, id_numbers=5, least=6, longest=6, test_examples=8, tries=1),
    "model.layers": 1,
    "model.scan_layers": False,
    "model.width": 16,
    "model.heads": 2,
    "model.mlp_width": 32,
    "batch_size": 7,
    "steps": 4,
    "seeds": (0,),
}


# 256 or 512 examples of each question and kind leave a gap a standard deviation of at most 0.04.
GAP = 0.05


def accuracies(t, name: str, split: str) -> list[float]:
    """The accuracy at the last step by order of complexity: the mean over those of its questions that were asked."""
    there = set(t.rows["split"])
    found = []
    for words in ORDERS.values():
        asked = [word for word in words if f"{word}.{split}" in there] or words
        found.append(mean(t.final(name, f"accuracy/{word}.{split}", rows=1) for word in asked))
    return found


def known(t, name: str) -> list[float]:
    """A_ID by order."""
    return accuracies(t, name, "train")


def new(t, name: str) -> list[float]:
    """A_OOD by order."""
    return accuracies(t, name, "ood")


def gaps(t, name: str) -> list[float]:
    """max(0, A_ID - A_OOD) by order (Sec. 4.2)."""
    return [max(0.0, a - b) for a, b in zip(known(t, name), new(t, name), strict=True)]


def critical(t, name: str) -> Number:
    """The number, from 1, of the order with the widest gap; any, where no gap is more than chance makes."""
    found = gaps(t, name)
    if max(found) < GAP:
        return between(1, len(found), why=f"no gap of '{name}' reaches {GAP:g}")
    return 1 + found.index(max(found))


def depth(t, name: str) -> float:
    """How much wider the widest gap of the orders between is than that of the first and the last order."""
    found = gaps(t, name)
    return max(found[1:-1]) - max(found[0], found[-1])


def rise(values: list[float]) -> float:
    """The largest rise from an order to the next one."""
    return max(after - before for before, after in itertools.pairwise(values))


def at_order(accuracies_of, order: int):
    return lambda t, name: accuracies_of(t, name)[order]


valley = Experiment(
    name="valley",
    title="The gap between familiar and other numbers by order of complexity, at four sizes",
    conditions=(
        *(condition(name, width) for name, width in WIDTHS.items()),
        condition(LOWEST, WIDTHS["large"], "lowest"),
    ),
    scales={
        "smoke": Scale(set=SMOKE, only=("smallest",), judged=False),
        "mini": Scale(set=MINI),
    },
    claims=(
        Compare(
            name="generalisation valley",
            says="In the largest network the gap is widest at an order between the first and the last, by 0.05",
            place="Sec. 4.2, Fig. 6; computed from Fig. 5",
            paper="Qwen1.5 wider by 0.07 (110B), 0.10 (72B), 0.15 (32B)",
            paper_value=0.07,
            by="difference",
            value=lambda t: depth(t, "largest"),
            expect=at_least(0.05),
        ),
        Compare(
            name="the critical complexity moves right",
            says="The gap is widest at a higher order in the largest network than in the smallest: how many orders",
            place="Fig. 7, Table 2",
            paper="Qwen1.5: O(N) for 1.8B, O([N^3, N^4]) for 110B, 3 orders higher",
            paper_value=3,
            by="difference",
            value=lambda t: critical(t, "largest") - critical(t, "smallest"),
            expect=at_least(0),
        ),
        EverySeed(
            name="known numbers: accuracy falls with complexity",
            says="At no size is A_ID of an order more than 0.05 above that of the order before",
            place="Sec. 4.1, Fig. 5",
            paper="Qwen1.5 of 1.8B: 0.78, 0.45, 0.05, 0.03, 0.05; at no size up by more than 0.02",
            value=lambda t: max(rise(known(t, name)) for name in t.present(WIDTHS)),
            expect=at_most(0.05),
        ),
        EverySeed(
            name="other numbers: accuracy falls with complexity",
            says="At no size is A_OOD of an order more than 0.05 above that of the order before",
            place="Sec. 4.1, Fig. 5",
            paper="Qwen1.5 of 1.8B: 0.66, 0.34, 0.05, 0.01, 0.03; at no size up by more than 0.02",
            value=lambda t: max(rise(new(t, name)) for name in t.present(WIDTHS)),
            expect=at_most(0.05),
        ),
        Compare(
            name="from the first order to the last, known numbers",
            says="In the largest network A_ID of O(N) is more than 0.3 above that of O(2^N)",
            place="Fig. 5",
            paper="0.99 against 0.18 (Qwen1.5, 110B)",
            paper_value=0.81,
            by="difference",
            value=lambda t: known(t, "largest")[0] - known(t, "largest")[-1],
            expect=at_least(0.3),
        ),
        Compare(
            name="from the first order to the last, other numbers",
            says="In the largest network A_OOD of O(N) is more than 0.3 above that of O(2^N)",
            place="Fig. 5",
            paper="0.98 against 0.10 (Qwen1.5, 110B)",
            paper_value=0.88,
            by="difference",
            value=lambda t: new(t, "largest")[0] - new(t, "largest")[-1],
            expect=at_least(0.3),
        ),
        Compare(
            name="larger networks know more",
            says="A_ID, the mean over the orders, is more than 0.1 higher in the largest network than in the smallest",
            place="Sec. 4.1; computed from Fig. 5",
            paper="0.57 (110B) against 0.27 (1.8B)",
            paper_value=0.3,
            by="difference",
            value=lambda t: mean(known(t, "largest")) - mean(known(t, "smallest")),
            expect=at_least(0.1),
        ),
        Compare(
            name="larger networks generalise more",
            says="A_OOD, the mean over the orders, is more than 0.1 higher in the largest network than in the smallest",
            place="Sec. 4.1; computed from Fig. 5",
            paper="0.50 (110B) against 0.22 (1.8B)",
            paper_value=0.28,
            by="difference",
            value=lambda t: mean(new(t, "largest")) - mean(new(t, "smallest")),
            expect=at_least(0.1),
        ),
        Compare(
            name="numbers with unfamiliar digits are harder",
            says="Where the lowest numbers train, A_OOD of O(N) is more than 0.2 lower than where those that train are "
            "drawn from all",
            place="of this notebook",
            paper="no value: the other reading of what is out of distribution",
            role="control",
            by="difference",
            value=lambda t: new(t, "large")[0] - new(t, LOWEST)[0],
            expect=at_least(0.2),
        ),
    ),
    figures=(
        ByOrder(
            name="orders",
            caption="Accuracy on known (ID) and other numbers (OOD), and the gap, by order of complexity. The paper's "
            "gaps are of Qwen1.5 with 1.8B and 110B parameters (Fig. 5).",
            accuracies={"ID": known, "OOD": new, "gap": gaps},
            paper=PAPER_GAP,
        ),
        BySetting(
            name="gaps",
            caption="The gap by the width of the network, a line for each order of complexity.",
            x="model.width",
            values={order: at_order(gaps, i) for i, order in enumerate(ORDERS)},
            conditions=tuple(WIDTHS),
            x_label="width",
            y_label="gap",
            log_x=True,
        ),
        BySetting(
            name="critical",
            caption="The number of the order at which the gap is widest, by the width of the network.",
            x="model.width",
            values={"critical complexity": critical},
            conditions=tuple(WIDTHS),
            x_label="width",
            y_label="critical complexity",
            log_x=True,
        ),
        Curves(
            name="accuracy",
            caption="Accuracy on single questions while training, of known numbers.",
            keys=tuple(f"accuracy/{word}.train" for word in ("min", "sort", "three_sum", "four_sum", "subset_sum")),
        ),
    ),
    accelerator=True,
)

PAPER = Paper(
    slug="scylla",
    title="Quantifying Generalization Complexity for Large Language Models",
    authors="Zhenting Qi, Hongyin Luo, Xuliang Huang, Zhuokai Zhao, Yibo Jiang, Xiangjun Fan, Himabindu Lakkaraju, "
    "James Glass",
    year=2025,
    arxiv="2410.01769",
    experiments=(valley,),
)
