"""Neural networks and the Chomsky hierarchy: which architecture generalises to longer inputs, by the class of the task.

Paper: Delétang, Ruoss, Grau-Moya, Genewein, Wenliang, Catt, Cundy, Hutter, Legg, Veness, Ortega, "Neural Networks and
the Chomsky Hierarchy", ICLR 2023, arXiv:2207.02098 (v3). Settings are those of its text and of its authors' repository
(google-deepmind/neural_networks_chomsky_hierarchy).

Claimed: grouping tasks by the Chomsky hierarchy tells which architectures generalise to longer inputs (abstract,
Table 2). RNNs solve the regular tasks, RNNs with a stack those that a deterministic pushdown automaton solves, RNNs
with a tape context-sensitive ones; each class has its least architecture. Transformers fail on most of all classes,
parity among them, but solve even pairs and bucket sort; LSTMs solve what needs counters, such as bucket sort (Sec. 5.1,
5.3, 5.4). Not all match: equations defeat the stack, products and roots the tape.

Command: jaxgen reproduce chomsky --scale mini
Took: not recorded yet.
Came out: not recorded yet.

Setting: lengths 1 to 40 train, 41 to 500 are tested. An input is followed by as many empty tokens as its answer has
tokens, at which the network answers. RNN (ReLU) and LSTM of 256 units; a stack of vectors of 8, or 1 or 4 tapes of
such cells, beside an RNN; 0, l or 2l computation tokens between an input of length l and the empty ones for tapes; an
encoder of 5 layers, width 64, 8 heads, MLP 256, post-norm, dropout 0.1, five kinds of positions. Adam, learning rates
1e-4, 3e-4 and 5e-4, gradients clipped to norm 1, batches of 128, 1,000,000 steps, ten seeds. The score is the mean over
all tested lengths of the fraction of right tokens. A task is solved from 0.9 on.

The paper reports the best of all seeds and settings. Here the best of the settings counts for each seed, so that claims
have statistics; the figure shows the largest seed, too.

The paper's Table 2 could not be read. Its values below are of two kinds: V, stated in the text; S, reprinted by another
paper. Claims give the number with its kind; other cells of the figure have none.

Deviations, and why:
- Each example has a length of its own; in the paper a batch has one. All lengths lie in padded arrays, so one compiled
  program trains and one measures, however many lengths there are.
- Scores are of two examples of every tested length; the repository takes 512.
- Inputs and answers share one vocabulary; tokens are embedded (64), not one-hot. Networks start as torch's do: no bias
  of 1 at the LSTM's forget gate, and an LSTM's states are read out as they are, without a ReLU.
- The loss is the mean over the tokens of an answer, as in the text; the repository takes their sum.
- Padding of the answers that vary in length (sums, products, stacks) is not trained; the end is a token.
- Tapes are rings of 256 cells, or of as many as there are positions. UNVERIFIED: how large the paper's were in tests.
- A jump writes first, as in the repository; by the text it does not.
- `odds_first` is that of the repository, which answers the second, fourth ... symbol first.
- NDStack-RNNs, Stack-LSTMs, CNNs and autoregressive models are not here.
- UNVERIFIED: the transformer's clipping and dropout in the paper's own runs are those of the repository's example.
- Mini: lengths 1 to 16 train, 17 to 80 are tested; 32 units, batches of 32, 1,000 steps of one learning rate (1e-2,
  transformers 1e-3), 2,000 of context-sensitive tasks; encoders of 2 layers of width 32 with sinusoids and no dropout;
  one tape of 64 cells, one writing layer, l computation tokens. Two or three tasks of each class.

In pilots (seeds 1000 and 1001), trained on lengths to 10, RNNs solved parity and Stack-RNNs reversal (1.00 each).
Trained on lengths to 16, one Tape-RNN duplicated longer strings (0.99 after 1,500 steps), and another run of the same
seed, whose sums were in another order, did not (0.54 after 1,000): outcomes are of two kinds, so claims ask how many
seeds succeed. An LSTM sorted with 0.80 after 1,000 steps.
"""

from jaxgen.bounds import largest, least
from jaxgen.condition import Condition, Every
from jaxgen.experiment import Compare, EverySeed, Experiment, Paper, Scale, at_least, at_most
from jaxgen.figures import Curves, Profile
from jaxgen.measures.config import Loss, MeanTokenAccuracy
from jaxgen.models.config import ModelConfig, RecurrentConfig, StackConfig, TapeConfig, TransformerConfig
from jaxgen.models.positions import ALiBi, NoPositions, Positions, Rotary, Sinusoidal, TransformerXL
from jaxgen.optimizers import AdamW, ClipNorm
from jaxgen.tasks.strings.chomsky import ChomskyTask

from .parts import SOLVED, ScoreTable

TRAINED, SCORE = "mean_token_accuracy/train", "mean_token_accuracy/longer"

REGULAR = ("even_pairs", "modular_arithmetic", "parity_check", "cycle_navigation")
CONTEXT_FREE = ("stack_manipulation", "reverse_string", "modular_arithmetic_brackets", "solve_equation")
CONTEXT_SENSITIVE = (
    "duplicate_string", "missing_duplicate_string", "odds_first", "binary_addition", "binary_multiplication",
    "compute_sqrt", "bucket_sort",
)  # fmt: skip

POSITIONS: dict[str, Positions] = {
    "none": NoPositions(),
    "sinusoidal": Sinusoidal(),
    "relative": TransformerXL(),
    "ALiBi": ALiBi(),
    "rotary": Rotary(),
}


def encoder(positions: Positions) -> TransformerConfig:
    return TransformerConfig(
        layers=5, width=64, heads=8, mlp_width=256, causal=False, norm="post", positions=positions, output_bias=True,
        init="torch", dropout=0.1,
    )  # fmt: skip


def tape(tapes: int) -> TapeConfig:
    return TapeConfig(cell="relu", hidden=256, tapes=tapes)


# The settings of each architecture: what its condition is called, the network, and the computation tokens.
SETTINGS: dict[str, dict[str, tuple[ModelConfig, int]]] = {
    "RNN": {"": (RecurrentConfig(cell="relu", hidden=256), 0)},
    "LSTM": {"": (RecurrentConfig(cell="lstm", hidden=256), 0)},
    "Stack-RNN": {"": (StackConfig(cell="relu", hidden=256), 0)},
    "Tape-RNN": {
        f", {tapes} tape{'s' * (tapes > 1)}, {computation}l": (tape(tapes), computation)
        for tapes in (1, 4)
        for computation in (0, 1, 2)
    },
    "Transformer": {f", {name}": (encoder(positions), 0) for name, positions in POSITIONS.items()},
}
RECURRENT = ("RNN", "LSTM", "Stack-RNN", "Tape-RNN")
RATES = {"": 5e-4, ", lr=3e-4": 3e-4, ", lr=1e-4": 1e-4}


def named(task: str, architecture: str) -> tuple[str, ...]:
    """The conditions of an architecture on a task."""
    return tuple(f"{task} {architecture}{setting}{rate}" for setting in SETTINGS[architecture] for rate in RATES)


def conditions(tasks: tuple[str, ...]) -> tuple[Condition, ...]:
    return tuple(
        Condition(
            name=f"{task} {architecture}{setting}{rate_name}",
            task=ChomskyTask(
                name=task, max_length=40, test_up_to=500, test_examples=920, every_length=True, format="encoder",
                computation=computation,
            ),
            model=model,
            optimizer=ClipNorm(base=AdamW(learning_rate=rate, b2=0.999), max_norm=1.0),
            steps=1_000_000,
            batch_size=128,
            measures=(MeanTokenAccuracy(edges=(40, 100, 200, 300, 400, 500)), Loss()),
            measure_at=Every(interval=50_000),
            measured_at_once=20,
            seeds=tuple(range(10)),
        )
        for task in tasks
        for architecture, settings in SETTINGS.items()
        for setting, (model, computation) in settings.items()
        for rate_name, rate in RATES.items()
    )  # fmt: skip


def end(t, name: str) -> float:
    return t.final(name, SCORE, rows=1)


def score(t, task: str, architecture: str) -> float:
    """The best score of an architecture's settings on a task."""
    return max(end(t, name) for name in t.present(named(task, architecture)))


def scores(t, tasks: tuple[str, ...], *architectures: str) -> list[float]:
    """The scores of architectures on tasks, of those that the scale trains."""
    asked = {name: (task, each) for task in tasks for each in architectures for name in named(task, each)}
    return [score(t, *place) for place in dict.fromkeys(asked[name] for name in t.present(asked))]


def solve(name: str, tasks: tuple[str, ...], *architectures: str, **words) -> EverySeed:
    """Every one of the architectures solves every one of the tasks."""
    return EverySeed(
        name=name, **words, value=lambda t: least(scores(t, tasks, *architectures)), expect=at_least(SOLVED)
    )


def fail(name: str, tasks: tuple[str, ...], *architectures: str, at: float = SOLVED, **words) -> EverySeed:
    """None of the architectures reaches `at` on any of the tasks."""
    return EverySeed(name=name, **words, value=lambda t: largest(scores(t, tasks, *architectures)), expect=at_most(at))


def margin(name: str, architecture: str, tasks: tuple[str, ...], *others: str, **words) -> Compare:
    """On every one of the tasks an architecture is above each of the others by more than a tenth."""

    asked = {each: task for task in tasks for each in named(task, architecture)}

    def value(t) -> float:
        there = dict.fromkeys(asked[each] for each in t.present(asked))
        return min(score(t, task, architecture) - max(scores(t, (task,), *others)) for task in there)

    return Compare(name=name, **words, by="difference", value=value, expect=at_least(0.1))


CURVES = Curves(
    name="training",
    caption="The fraction of right tokens, at lengths that train (train) and at longer ones.",
    keys=(TRAINED, SCORE),
)
BY_LENGTH = Profile(
    name="lengths",
    caption="The fraction of right tokens of answers to longer inputs, up to each length (Fig. 2, B.6).",
    prefixes=("mean_token_accuracy",),
    splits=("train", "longer"),
    x_label="length",
)


def table(tasks: tuple[str, ...], **paper: dict[str, float]) -> ScoreTable:
    return ScoreTable(
        name="scores",
        caption="The scores of the architectures (Table 2).",
        tasks=tasks,
        architectures=tuple(SETTINGS),
        score=score,
        paper=paper,
    )


MINI = {
    "task.max_length": 16,
    "task.test_up_to": 80,
    "task.test_examples": 128,
    "optimizer.base.learning_rate": 1e-2,
    "batch_size": 32,
    "steps": 1000,
    "measures": (MeanTokenAccuracy(edges=(16, 32, 48, 64, 80)), Loss()),
    "measure_at.interval": 250,
    "measured_at_once": None,
    "seeds": (0, 1, 2, 3, 4),
}
SMALL = {"model.hidden": 32, "model.embedding": 16}
MINI_MODELS = {
    "RNN": SMALL,
    "LSTM": SMALL,
    "Stack-RNN": SMALL,
    "Tape-RNN": SMALL | {"model.cells": 64, "model.writer": (32,)},
    "Transformer": {
        "model.layers": 2, "model.width": 32, "model.heads": 4, "model.mlp_width": 64, "model.dropout": 0.0,
        "optimizer.base.learning_rate": 1e-3,
    },
}  # fmt: skip
MINI_SETTINGS = {"Tape-RNN": ", 1 tape, 1l", "Transformer": ", sinusoidal"}


def mini(*tasks: str, **settings) -> Scale:
    """One setting of each architecture on some of the tasks."""
    names = {
        f"{task} {architecture}{MINI_SETTINGS.get(architecture, '')}": architecture
        for task in tasks
        for architecture in SETTINGS
    }
    models = {f"{name}:{key}": value for name, each in names.items() for key, value in MINI_MODELS[each].items()}
    return Scale(set=MINI | models | settings, only=tuple(names))


def smoke(task: str) -> Scale:
    names = (f"{task} {architecture}{MINI_SETTINGS.get(architecture, '')}" for architecture in SETTINGS)
    sizes = {"task.max_length": 4, "task.test_up_to": 8, "task.test_examples": 8}
    return Scale.smoke(sizes, only=tuple(names))


NOT_IN_MINI = {"mini": "it trains other tasks of the class"}
CLASS = "Table 2, Sec. 5.1"

regular = Experiment(
    name="regular",
    title="Regular tasks: scores on longer inputs",
    conditions=conditions(REGULAR),
    scales={"smoke": smoke("parity_check"), "mini": mini("even_pairs", "parity_check", "cycle_navigation")},
    claims=(
        solve(
            "an RNN is enough", REGULAR, "RNN",
            says="RNNs solve all regular tasks (0.9)",
            place=f"{CLASS}; App. B.1",
            paper="solved in every seed (V)",
        ),
        solve(
            "larger machines solve them, too", REGULAR, "LSTM", "Stack-RNN", "Tape-RNN",
            says="LSTMs, Stack-RNNs and Tape-RNNs solve all regular tasks (0.9)",
            place=f"{CLASS}; App. B.1",
            paper="solved in every seed (V)",
        ),
        fail(
            "transformers miss parity", ("parity_check",), "Transformer", at=0.6,
            says="Transformers are at chance (at most 0.6) on parity, with the best of their positions",
            place="Table 2, Sec. 5.4",
            paper="52.0 (S); a well-known failure (V)",
        ),
        fail(
            "transformers do not solve cycle navigation", ("cycle_navigation",), "Transformer",
            says="Transformers do not solve cycle navigation: attention tells shares, not counts",
            place="Sec. 5.4, App. B.3.2",
            paper="61.9 (V)",
            paper_value=0.619,
        ),
        fail(
            "transformers miss modular arithmetic", ("modular_arithmetic",), "Transformer", at=0.4,
            says="Transformers are near chance (at most 0.4; chance is 0.2) on modular arithmetic without brackets",
            place="Table 2",
            paper="24.2 (S)",
            untestable=NOT_IN_MINI,
        ),
        solve(
            "transformers solve even pairs", ("even_pairs",), "Transformer",
            says="Transformers solve even pairs, where the two ends are all that counts (0.9)",
            place="Sec. 5.4",
            paper="solved, by the best of five kinds of positions (V)",
            untestable={"mini": "its transformers have sinusoids alone, not the best of five kinds of positions"},
        ),
        margin(
            "an RNN is above transformers", "RNN", ("parity_check", "cycle_navigation"), "Transformer",
            says="On parity and on cycle navigation RNNs score above transformers: the difference",
            place="Table 2",
            paper="100 against 52.0 (S) and 61.9 (V)",
        ),
    ),
    figures=(
        table(
            REGULAR,
            modular_arithmetic={
                "RNN": 100, "LSTM": 100, "Stack-RNN": 100, "Tape-RNN": 100, "Transformer": 24.2,
            },
            parity_check={"RNN": 100, "LSTM": 100, "Stack-RNN": 100, "Tape-RNN": 100, "Transformer": 52.0},
            cycle_navigation={"Transformer": 61.9},
        ),
        BY_LENGTH,
        CURVES,
    ),
    accelerator=True,
)  # fmt: skip

STACKED = CONTEXT_FREE[:3]

context_free = Experiment(
    name="context-free",
    title="Deterministic context-free tasks: scores on longer inputs",
    conditions=conditions(CONTEXT_FREE),
    scales={"smoke": smoke("reverse_string"), "mini": mini("reverse_string", "stack_manipulation")},
    claims=(
        solve(
            "a stack is enough", STACKED, "Stack-RNN",
            says="Stack-RNNs solve stack manipulation, reversal and modular arithmetic with brackets (0.9)",
            place=CLASS,
            paper="up to this level (V); 100 on the first two (S)",
        ),
        solve(
            "a tape solves them, too", STACKED, "Tape-RNN",
            says="Tape-RNNs solve the same tasks (0.9)",
            place=CLASS,
            paper="up to a higher level (V); 100 on the first two (S)",
        ),
        fail(
            "without memory none is solved", CONTEXT_FREE, "RNN", "LSTM", "Transformer",
            says="RNNs, LSTMs and transformers solve none of the class (0.9)",
            place=CLASS,
            paper="at most 62.3 on stack manipulation and reversal (S)",
        ),
        margin(
            "the least architecture has a stack", "Stack-RNN", STACKED[:2], "RNN", "LSTM", "Transformer",
            says="On stack manipulation and on reversal Stack-RNNs score above all without memory: the difference",
            place="Table 2",
            paper="100 against at most 62.3 (S)",
        ),
        fail(
            "a stack does not solve equations", ("solve_equation",), "Stack-RNN",
            says="Stack-RNNs do not solve equations, though these are of the class (0.9)",
            place="Sec. 5.1",
            paper="not solved (V)",
            untestable=NOT_IN_MINI,
        ),
    ),
    figures=(
        table(
            CONTEXT_FREE,
            stack_manipulation={
                "RNN": 56.0, "LSTM": 59.1, "Stack-RNN": 100, "Tape-RNN": 100, "Transformer": 57.5,
            },
            reverse_string={"RNN": 62.0, "LSTM": 60.9, "Stack-RNN": 100, "Tape-RNN": 100, "Transformer": 62.3},
            modular_arithmetic_brackets={"Transformer": 32.5},
        ),
        BY_LENGTH,
        CURVES,
    ),
    accelerator=True,
)  # fmt: skip

COPIED = ("duplicate_string", "odds_first")

context_sensitive = Experiment(
    name="context-sensitive",
    title="Context-sensitive tasks: scores on longer inputs",
    conditions=conditions(CONTEXT_SENSITIVE),
    scales={"smoke": smoke("duplicate_string"), "mini": mini("duplicate_string", "bucket_sort", steps=2000)},
    claims=(
        solve(
            "a tape is enough to duplicate", COPIED, "Tape-RNN",
            says="Tape-RNNs solve duplication and odds first (0.9)",
            place=CLASS,
            paper="100 on both (S)",
        ),
        fail(
            "without a tape neither is solved", COPIED, "RNN", "LSTM", "Stack-RNN", "Transformer",
            says="No other architecture solves duplication or odds first (0.9)",
            place=CLASS,
            paper="at most 57.6 (S)",
        ),
        margin(
            "the least architecture has a tape", "Tape-RNN", COPIED, "RNN", "LSTM", "Stack-RNN", "Transformer",
            says="On duplication and on odds first Tape-RNNs score above all others: the difference",
            place="Table 2",
            paper="100 against at most 57.6 (S)",
        ),
        solve(
            "counters sort", ("bucket_sort",), "LSTM",
            says="LSTMs solve bucket sort, which needs counters alone (0.9)",
            place="Sec. 5.3",
            paper="almost perfectly (V)",
        ),
        solve(
            "transformers sort", ("bucket_sort",), "Transformer",
            says="Transformers solve bucket sort (0.9)",
            place="Sec. 5.4",
            paper="solved, by the best of five kinds of positions (V)",
            untestable={"mini": "its transformers have sinusoids alone, not the best of five kinds of positions"},
        ),
        fail(
            "transformers solve nothing else", CONTEXT_SENSITIVE[:-1], "Transformer",
            says="Transformers solve no other task of the class (0.9)",
            place="Sec. 5.4",
            paper="they fail on all others (V); 52.8 on duplication and on odds first (S)",
        ),
        fail(
            "a tape neither multiplies nor takes roots", ("binary_multiplication", "compute_sqrt"), "Tape-RNN",
            says="Tape-RNNs solve neither multiplication nor square roots (0.9)",
            place="Sec. 5.1",
            paper="not solved (V)",
            untestable=NOT_IN_MINI,
        ),
    ),
    figures=(
        table(
            CONTEXT_SENSITIVE,
            duplicate_string={
                "RNN": 50.3, "LSTM": 57.6, "Stack-RNN": 52.8, "Tape-RNN": 100, "Transformer": 52.8,
            },
            odds_first={"RNN": 51.0, "LSTM": 55.6, "Stack-RNN": 51.9, "Tape-RNN": 100, "Transformer": 52.8},
        ),
        BY_LENGTH,
        CURVES,
    ),
    accelerator=True,
)  # fmt: skip

PAPER = Paper(
    slug="chomsky",
    title="Neural Networks and the Chomsky Hierarchy",
    authors="Grégoire Delétang, Anian Ruoss, Jordi Grau-Moya, Tim Genewein, Li Kevin Wenliang, Elliot Catt, "
    "Chris Cundy, Marcus Hutter, Shane Legg, Joel Veness, Pedro A. Ortega",
    year=2023,
    arxiv="2207.02098",
    experiments=(regular, context_free, context_sensitive),
)
