"""Turing-machine imitation: traces that show each step of a program, and what their parts are good for.

Paper: Hua, Zhang and others, "The Imitation Game: Turing Machine Imitator is Length Generalizable Reasoner",
arXiv:2507.13332 (ICLR 2026). Its text was read; there is no code.

Claimed: a language model that is fine-tuned on traces of programs answers questions of 18 kinds that are five to ten
times longer than those that train. The traces have three parts: all steps in order (linear transition), steps that are
no larger than one operation (atomic state), and in each step everything that it reads written out (memory fetcher).
Without any one of them longer questions are answered less often (Table 2); the paper's mean over eight tasks falls
from 81.6 % of the longest to 70.9 without what is fetched, 55.7 without atomic states and 55.4 without the linear
transition; the model that is not fine-tuned answers 16.2.

Command: jaxgen reproduce tail --scale mini
Took: not recorded yet.
Came out: not recorded yet.

Setting: Qwen2.5-7B, two epochs of 100,000 questions of the short lengths S; tests of 500 questions each of S, M and L.
Of the 18 tasks these are here, with the paper's lengths: comparing two numbers (S 5 to 10 digits, M to 20, L to 50),
adding two numbers (S 10 to 30, M to 40, L to 50), word flip, that is reversing words (S 10 to 20, M to 50, L to 100),
and binary search in a sorted list (S 5 to 20 numbers, M to 40, L to 70).

Deviations, and why:
- Decoders from scratch stand in for a pretrained model of 7B parameters, without positional embeddings. So
  questions show an address before each item, which a step names and looks up; a pretrained model finds its way
  without.
- A trace is symbols, without words around them. A step has a tag (the addresses of what it reads), what it fetches,
  and its result (`TraceTask`).
- UNVERIFIED: what exactly the paper's ablations leave out. Here a trace without linear transition has no tags, so the
  network has to know itself where the program is; without atomic states two steps are one, with the result of the
  second alone; without fetches a step has a tag and a result.
- Tested are the longest questions of each range, not all of them, which is harder. The paper's numbers are means over
  all.
- Accuracy is of the whole trace and answer, of the most likely symbol at each place with the right ones before it,
  which is right together exactly where greedy generation is. The paper's is of the final answer alone.
- Numbers to add have the same length and no decimal point. Lists to search have at most 200 different numbers, each a
  symbol. Digits that are compared agree up to a uniform place; uniform ones would differ at the first.
- Depth, width, optimiser and steps are of this notebook.
- Mini: comparing numbers and word flip; S 2 to 6 items, M tested at 9 and L at 15; 2 layers of width 64, 3,000 steps
  of 64 fresh questions. The paper's M is up to 2.5 and its L up to 5 times as long as S; here 1.5 and 2.5.
"""

import dataclasses
from statistics import mean

from jaxgen.bounds import least
from jaxgen.condition import Condition, Every
from jaxgen.experiment import Compare, EverySeed, Experiment, Paper, Scale, at_least, at_most
from jaxgen.figures import Curves, Profile
from jaxgen.models.config import TransformerConfig
from jaxgen.optimizers import AdamW, ClipNorm

from .parts import AddNumbersTask, BinarySearchTask, CompareNumbersTask, FlipWordsTask, TraceTask

# The lengths of S, and the longest ones of M and L.
TASKS: dict[str, TraceTask] = {
    "compare": CompareNumbersTask(min_length=5, max_length=10, test_lengths=(10, 20, 50), addresses=50),
    "flip": FlipWordsTask(min_length=10, max_length=20, test_lengths=(20, 50, 100), addresses=100, words=100),
    "search": BinarySearchTask(min_length=5, max_length=20, test_lengths=(20, 40, 70), addresses=70, numbers=200),
    "add": AddNumbersTask(min_length=10, max_length=30, test_lengths=(30, 40, 50), addresses=50),
}
WHOLE, ABLATIONS, ALONE = "whole", ("linear", "atomic", "fetch"), "trace"
MINI_LENGTHS = (6, 9, 15)


def named(task: str, without: str) -> str:
    return f"{task}, {'whole trace' if without == WHOLE else 'answer alone' if without == ALONE else f'no {without}'}"


def condition(task: str, without: str) -> Condition:
    return Condition(
        name=named(task, without),
        task=dataclasses.replace(TASKS[task], without=None if without == WHOLE else without),
        model=TransformerConfig(
            layers=6, width=256, heads=8, mlp_width=1024, norm="pre", positions="none", activation="gelu_tanh",
            attention_bias=True, init="gpt2",
        ),
        optimizer=ClipNorm(
            base=AdamW(learning_rate=5e-4, weight_decay=0.01, decay="matrices", warmup=500), max_norm=1.0
        ),
        steps=50_000,
        batch_size=256,
        measure_at=Every(interval=1000),
    )  # fmt: skip


VARIANTS = (WHOLE, *ABLATIONS, ALONE)
MINI_TASKS = ("compare", "flip")
MINI = {
    "task.min_length": 2,
    "task.max_length": MINI_LENGTHS[0],
    "task.test_lengths": MINI_LENGTHS,
    "task.addresses": MINI_LENGTHS[-1],
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
    **{f"{named('flip', without)}:task.words": 20 for without in VARIANTS},
}
SMOKE = {"task.min_length": 2, "task.max_length": 3, "task.test_lengths": (3, 4, 5), "task.addresses": 5, "steps": 4}
S, M, L = range(3)


def exact(t, task: str, without: str, length: int) -> float:
    """The share of questions that are answered at the end, of the longest ones in a range of lengths."""
    name = named(task, without)
    return t.final(name, f"accuracy/length_{t.numbered(name, 'length')[length]}", rows=1)


def tasks(t) -> list[str]:
    """The tasks of this scale."""
    there = t.present(named(task, WHOLE) for task in TASKS)
    return [task for task in TASKS if named(task, WHOLE) in there]


def over_tasks(without: str, length: int):
    return lambda t: mean(exact(t, task, without, length) for task in tasks(t))


def lost(without: str, text: str, paper: str, paper_value: float) -> Compare:
    """What the longest questions lose without a part of the trace."""
    return Compare(
        name=f"no {without}: fewer long questions",
        says=f"Without {text} 0.1 fewer of the longest questions are answered, in the mean over the tasks",
        place="Table 2 (mean over eight tasks)",
        paper=paper,
        paper_value=paper_value,
        by="difference",
        value=lambda t: over_tasks(WHOLE, L)(t) - over_tasks(without, L)(t),
        expect=at_least(0.1),
    )


traces = Experiment(
    name="traces",
    title="Longer questions, with whole traces and with a part of each step left out",
    conditions=tuple(condition(task, without) for task in TASKS for without in VARIANTS),
    scales={
        "smoke": Scale.smoke(SMOKE, only=tuple(named("add", without) for without in VARIANTS)),
        "mini": Scale(set=MINI, only=tuple(named(task, without) for task in MINI_TASKS for without in VARIANTS)),
    },
    claims=(
        EverySeed(
            name="whole traces are learnt",
            says="With whole traces the longest questions that train are answered in every task (0.95)",
            place="ours; the others are of longer ones",
            paper="97 % of S in additions (Table 1)",
            role="control",
            value=lambda t: least(exact(t, task, WHOLE, S) for task in tasks(t)),
            expect=at_least(0.95),
        ),
        EverySeed(
            name="whole traces reach the longest questions",
            says="With whole traces the longest questions are answered at least 0.7 times as often as those that "
            "train, in the mean over the tasks",
            place="Table 1, Table 2, Fig. 4",
            paper="additions: 97 % of S, 86.5 % of L",
            paper_value=86.5 / 97.0,
            value=lambda t: over_tasks(WHOLE, L)(t) / max(over_tasks(WHOLE, S)(t), 1e-6),
            expect=at_least(0.7),
        ),
        lost("atomic", "atomic states", "81.6 % and 55.7 %", 0.816 - 0.557),
        lost("linear", "the linear transition", "81.6 % and 55.4 %", 0.816 - 0.554),
        lost("fetch", "what is fetched", "81.6 % and 70.9 %", 0.816 - 0.709),
        EverySeed(
            name="answers alone fail",
            says="Without a trace hardly any of the longest questions is answered (0.2 in the mean over the tasks)",
            place="Table 2 (the model that is not fine-tuned)",
            paper="16.2 % without training; answers alone are not in the paper",
            paper_value=0.162,
            role="control",
            value=over_tasks(ALONE, L),
            expect=at_most(0.2),
        ),
    ),
    figures=(
        Profile(
            name="lengths",
            caption="Share of questions that are answered, trace and all, by their length: the first trains.",
            prefixes=("accuracy",),
            splits=("length",),
            x_label="length",
        ),
        Curves(
            name="accuracy", caption="Share of the questions that train that are answered.", keys=("accuracy/train",)
        ),
    ),
    accelerator=True,
)  # fmt: skip

PAPER = Paper(
    slug="tail",
    title="The Imitation Game: Turing Machine Imitator is Length Generalizable Reasoner",
    authors="Zhouqi Hua, Wenwei Zhang and others",
    year=2025,
    arxiv="2507.13332",
    experiments=(traces,),
)
