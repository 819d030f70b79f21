"""To grok or not to grok: modular addition with corrupted labels.

Paper: Doshi, Das, He, Gromov, "To grok or not to grok: Disentangling generalization and
memorization on corrupted algorithmic datasets", ICLR 2024, arXiv:2310.13061. The numbers are those
of the authors' notebooks (d-doshi/Grokking); figure numbers are the paper's.

Claimed: a network can fit corrupted labels and generalise to 100 % (coexistence); the neurons that
memorise are told from those that generalise by the Fourier transform of their weights, and can be
pruned; weight decay, dropout, BatchNorm and small batches make it ignore the corruption
(inversion); then it first groks, and later unlearns the corrupted labels.

Command: jaxgen reproduce corrupted-modadd
Took: see results/paper.json, which holds minutes and device of every experiment.
Came out: see the verdicts of `jaxgen show corrupted-modadd`.

Setting: (m + n) mod 97, all ordered pairs, a fraction alpha trains, a fraction xi of these carry
uniformly random labels. f = W (U e_m + V e_n)^2, 500 hidden neurons, no biases, all weights
N(0, (16 * 500)^(-2/3)), mean squared error, full batch, AdamW, lr 0.01, betas (0.9, 0.98).

Deviations, and why:
- Labels are drawn from all p classes as the paper says; the notebooks draw from p - 1 of them.
- Seeds change the split, the labels and the initialisation; the notebooks fix the first two.
- A batch leaves out the remainder of an epoch, as the authors' scripts do.
- BatchNorm keeps the biased running variance (torch keeps the unbiased one; 1 part in 256).
- The claims read the median of the last five measured steps; the notebooks print the last step, and
  their training accuracy of the mini-batch row moves between 0.818 and 0.831 near the end.
- UNVERIFIED: data fraction, corruption and decay of Fig. 7. The corrupted rows of the transformer
  take the notebook's model and optimiser (lr 0.01, decay 0.5; no decay beside it) at alpha 0.5,
  xi 0.35 and 3000 steps. One seed each of decay 1 at this rate, and of decay 0.5, 2 and 5 at lr
  0.001, was tried besides; none generalised.
"""

from jaxgen.condition import Condition, LogSpaced
from jaxgen.config import override
from jaxgen.experiment import YES, Claim, Experiment, Paper, Scale, Sweep, at_least, at_most, within
from jaxgen.figures import CellMap, Curves, Profile
from jaxgen.measures.config import Accuracy, Loss, WeightNorm
from jaxgen.models.config import MLPConfig, TransformerConfig
from jaxgen.optimizers import AdamW
from jaxgen.tasks.algebra.modular import ModularTask

from .parts import NeuronIPR, PruneNeurons

MEASURES = (Accuracy(), Loss(), WeightNorm(), NeuronIPR())
SMOKE = {"seeds": (0,), "steps": 6, "task.p": 13, "measure_at.per_decade": 5}
SPLITS = ("accuracy/train", "accuracy/test", "accuracy/corrupted", "accuracy/corrupted_true")


def network(**changes) -> MLPConfig:
    return MLPConfig(hidden=(500,), activation="square", bias=False, init_std=0.05, **changes)


def condition(
    name: str, *, alpha: float = 0.5, xi: float = 0.35, decay: float = 0.0, lr: float = 0.01, **changes
) -> Condition:
    defaults = {"model": network(), "steps": 2000, "measures": MEASURES, "measure_at": LogSpaced(per_decade=30)}
    return Condition(
        name=name,
        task=ModularTask(p=97, operation="x+y", format="a b", train_fraction=alpha, corruption=xi),
        optimizer=AdamW(learning_rate=lr, weight_decay=decay, b1=0.9, b2=0.98, eps=1e-8),
        loss="mse",
        **(defaults | changes),
    )


def final(name: str, split: str, value: float, place: str, tolerance: float = 0.03) -> Claim:
    words = {"train": "training labels fitted", "test": "test examples right"}[split]
    return Claim(
        name=f"{name}: {split}",
        says=f"{name}: fraction of {words} at the end",
        place=place,
        paper=f"{value:.3f}",
        value=lambda t: t.final(name, f"accuracy/{split}"),
        expect=within(value, tolerance),
    )


def memorised_then_unlearned(t) -> bool:
    train = t.values("full inversion", "accuracy/train")
    fitted = t.first_step("full inversion", "accuracy/train", at_least=0.95)
    return bool((train.loc[fitted:] < 1.05 - 0.35).any())


training = Experiment(
    name="training",
    title="Training curves of every phase: grokking, coexistence, inversion, forgetting, BatchNorm, mini-batches",
    conditions=(
        condition("grokking", xi=0.0, decay=5, steps=100),
        condition("coexistence", decay=0, steps=1000),
        condition("partial inversion", decay=5, steps=500),
        condition("full inversion", decay=15, steps=500),
        condition("forgetting", decay=20, steps=5000),
        condition("batch norm", alpha=0.65, xi=0.2, model=network(batch_norm=True), batch_size=64, lr=0.005),
        condition("mini-batch", alpha=0.65, xi=0.2, batch_size=64, lr=0.005),
    ),
    scales={
        "smoke": Scale(set=SMOKE | {"batch norm:batch_size": 16, "mini-batch:batch_size": 16}, judged=False),
        "paper": Scale(),
    },
    claims=(
        final("grokking", "train", 1.0, "Fig. 1; notebook"),
        final("grokking", "test", 1.0, "Fig. 1; notebook"),
        final("coexistence", "train", 0.978, "Fig. 2; notebook"),
        final("coexistence", "test", 0.983, "Fig. 2; notebook"),
        final("partial inversion", "train", 0.786, "Fig. 2; notebook"),
        final("partial inversion", "test", 1.0, "Fig. 2; notebook"),
        final("full inversion", "train", 0.654, "Fig. 2; notebook"),
        final("full inversion", "test", 1.0, "Fig. 2; notebook"),
        final("forgetting", "train", 0.009, "notebook"),
        final("forgetting", "test", 0.011, "notebook"),
        final("batch norm", "train", 0.804, "Fig. 5; notebook"),
        final("batch norm", "test", 1.0, "Fig. 5; notebook"),
        final("mini-batch", "train", 0.818, "notebook"),
        final("mini-batch", "test", 1.0, "notebook"),
        Claim(
            name="full inversion corrects",
            says="In full inversion the corrupted examples are answered with their true labels",
            place="Sec. 3",
            paper="> 0.98",
            value=lambda t: t.final("full inversion", "accuracy/corrupted_true"),
            expect=at_least(0.98),
        ),
        Claim(
            name="full inversion leaves 1 - xi",
            says="In full inversion the training accuracy falls to 1 - xi",
            place="Sec. 3",
            paper="0.65",
            value=lambda t: t.final("full inversion", "accuracy/train"),
            expect=within(0.65, 0.02),
        ),
        Claim(
            name="two stages",
            says="Under weight decay the network first fits everything, then unlearns the corrupted labels",
            place="Sec. 3, Fig. 2",
            paper="train > 0.95, then < 1.05 - xi",
            value=memorised_then_unlearned,
            expect=YES,
        ),
        Claim(
            name="grokking is delayed",
            says="Test accuracy is still below 0.5 when the training set is fitted to 0.99",
            place="Fig. 1",
            paper="0.003 at step 20",
            value=lambda t: t.at(
                "grokking", "accuracy/test", t.first_step("grokking", "accuracy/train", at_least=0.99)
            ),
            expect=at_most(0.5),
        ),
        Claim(
            name="grokking makes neurons periodic",
            says="The mean IPR of the neurons rises while the network groks",
            place="Fig. 1",
            paper="0.05 to about 0.8",
            value=lambda t: t.final("grokking", "ipr"),
            expect=at_least(0.7),
        ),
        Claim(
            name="decay removes aperiodic neurons",
            says="The fraction of neurons with IPR below 0.2 falls from weight decay 0 over 5 to 15",
            place="Fig. 3",
            paper="decreasing",
            value=lambda t: min(
                t.final("coexistence", "low_ipr_fraction") - t.final("partial inversion", "low_ipr_fraction"),
                t.final("partial inversion", "low_ipr_fraction") - t.final("full inversion", "low_ipr_fraction"),
            ),
            expect=at_least(0),
        ),
    ),
    figures=(
        Curves(
            name="accuracy",
            caption="Accuracy while training. Corrupted: the corrupted training examples, against the label given "
            "and against the true one. Dashed: the notebooks' final values.",
            keys=SPLITS,
            paper={
                "grokking": {"accuracy/train": 1.0, "accuracy/test": 1.0},
                "coexistence": {"accuracy/train": 0.978, "accuracy/test": 0.983},
                "partial inversion": {"accuracy/train": 0.786, "accuracy/test": 1.0},
                "full inversion": {"accuracy/train": 0.654, "accuracy/test": 1.0},
                "forgetting": {"accuracy/train": 0.009, "accuracy/test": 0.011},
                "batch norm": {"accuracy/train": 0.804, "accuracy/test": 1.0},
                "mini-batch": {"accuracy/train": 0.818, "accuracy/test": 1.0},
            },
        ),
        Curves(
            name="ipr",
            caption="Mean inverse participation ratio of the neurons (1: a pure cosine).",
            keys=("ipr",),
            conditions=("grokking", "coexistence", "partial inversion", "full inversion"),
            together=True,
            y_label="mean IPR",
        ),
    ),
)

FRACTIONS = tuple(i / 20 for i in range(20))


def pruned(order: str, fraction: float, split: str):
    return lambda t: t.final("coexistence", f"accuracy.pruned_{order}_ipr.{fraction:g}/{split}")


def pruning_claim(order: str, percent: int, split: str, expect, paper: str, says: str) -> Claim:
    return Claim(
        name=f"{order} {percent} %: {split}",
        says=says,
        place="Fig. 6",
        paper=paper,
        value=pruned(order, percent / 100, split),
        expect=expect,
    )


pruning = Experiment(
    name="pruning",
    title="Pruning neurons by their IPR separates memorisation from generalisation",
    conditions=(
        condition(
            "coexistence",
            decay=0,
            steps=1000,
            analyses=(
                PruneNeurons(order="lowest", fractions=FRACTIONS),
                PruneNeurons(order="highest", fractions=FRACTIONS),
            ),
        ),
    ),
    scales={"smoke": Scale(set=SMOKE, judged=False), "paper": Scale()},
    claims=(
        pruning_claim("lowest", 50, "corrupted", at_most(0.2), "about 0.1",
                      "Without the half of neurons of lowest IPR the corrupted labels are forgotten"),
        pruning_claim("lowest", 50, "test", at_least(0.95), "0.97 to 1.00",
                      "Without the half of neurons of lowest IPR the network still generalises"),
        pruning_claim("highest", 30, "test", at_most(0.2), "about 0",
                      "Without the 30 % of neurons of highest IPR the network no longer generalises"),
        pruning_claim("highest", 30, "corrupted", at_least(0.9), "about 0.97",
                      "Without the 30 % of neurons of highest IPR the corrupted labels are still fitted"),
    ),
    figures=(
        Profile(
            name="pruning",
            caption="Accuracy after removing neurons in the order of their IPR, without retraining.",
            prefixes=("accuracy.pruned_lowest_ipr", "accuracy.pruned_highest_ipr"),
            splits=("train", "test", "corrupted"),
            x_label="fraction of neurons removed",
        ),
    ),
)  # fmt: skip


def phase(t, cell: Condition) -> str:
    """The phase of a cell, by the thresholds of App. C."""
    train, test = (t.final(cell.name, f"accuracy/{split}") for split in ("train", "test"))
    if test < 0.9:
        return "memorisation" if train >= 0.9 else "forgetting"
    if train >= 0.9:
        return "coexistence"
    return "partial inversion" if train >= 1.05 - cell.task.corruption else "full inversion"


PHASES = ("coexistence", "partial inversion", "full inversion", "memorisation", "forgetting")
CELLS = ((0.5, 0.35), (0.8, 0.2), (0.2, 0.8))
DECAYS = (0, 5, 15, 20)


def cell_name(decay: float, alpha: float, xi: float) -> str:
    return f"decay={decay:g} alpha={alpha:g} xi={xi:g}"


def phase_claim(expected: str, decay: float, alpha: float, xi: float, place: str) -> Claim:
    name = cell_name(decay, alpha, xi)
    cell = condition(name, decay=decay, alpha=alpha, xi=xi)
    return Claim(
        name=f"{expected} at {name}",
        says=f"With weight decay {decay:g}, {alpha:.0%} of the data and {xi:.0%} of the labels corrupted: {expected}",
        place=place,
        paper=expected,
        value=lambda t: phase(t, cell) == expected,
        expect=YES,
    )


phases = Experiment(
    name="phases",
    title="A dozen cells of the phase diagrams, each named by the thresholds of App. C",
    conditions=tuple(
        condition(cell_name(decay, alpha, xi), decay=decay, alpha=alpha, xi=xi, seeds=(0,))
        for decay in DECAYS
        for alpha, xi in CELLS
    ),
    scales={"smoke": Scale(set=SMOKE, judged=False), "paper": Scale()},
    claims=(
        phase_claim("coexistence", 0, 0.5, 0.35, "Fig. 2, phases of App. C"),
        phase_claim("partial inversion", 5, 0.5, 0.35, "Fig. 2, phases of App. C"),
        phase_claim("full inversion", 15, 0.5, 0.35, "Fig. 2, phases of App. C"),
        phase_claim("forgetting", 20, 0.5, 0.35, "notebook, 0.122 / 0.072 at step 2000"),
        phase_claim("memorisation", 0, 0.2, 0.8, "little data, much corruption; cell UNVERIFIED"),
    ),
    figures=(
        CellMap(
            name="phases",
            caption="The phase that each cell ends in. 20 % of the labels are corrupted at 80 % of the data, "
            "35 % at 50 %, and 80 % at 20 %.",
            x="optimizer.weight_decay",
            y="task.corruption",
            label=phase,
            labels=PHASES,
        ),
    ),
)

GRID = tuple(round(0.1 + 0.05 * i, 2) for i in range(17))


def grid(name: str, title: str, **changes) -> Experiment:
    base = condition("cell", seeds=(0,), measures=(Accuracy(), Loss(), NeuronIPR()), **changes)
    return Experiment(
        name=name,
        title=title,
        conditions=(Sweep(base=base, axes={"task.train_fraction": GRID, "task.corruption": GRID}),),
        scales={
            "smoke": Scale(
                set={"steps": 2, "task.p": 13, "model.hidden": (8,)}
                | ({"batch_size": 8} if "batch_size" in changes else {}),
                only=("train_fraction=0.5 corruption=0.35", "train_fraction=0.9 corruption=0.1"),
                judged=False,
            ),
            "paper": Scale(),
        },
        figures=(
            CellMap(
                name="phases",
                caption="The phase that each cell ends in.",
                x="task.train_fraction",
                y="task.corruption",
                label=phase,
                labels=PHASES,
            ),
        ),
        accelerator=True,
    )


grids = (
    *(
        grid(f"grid-decay-{decay}", f"Phase diagram, 17 x 17 cells, weight decay {decay}", decay=decay)
        for decay in DECAYS
    ),
    *(
        grid(f"grid-dropout-{rate}", f"Phase diagram, 17 x 17 cells, dropout {rate}", model=network(dropout=rate))
        for rate in (0.3, 0.6, 0.9)
    ),
    *(
        grid(
            f"grid-batch-norm-{size}",
            f"Phase diagram, 17 x 17 cells, BatchNorm, batches of {size}",
            model=network(batch_norm=True),
            batch_size=size,
            lr=0.01 * (size / 256) ** 0.5,
            steps=2000 * 256 // size,
        )
        for size in (8, 32, 64, 256)
    ),
    *(
        grid(
            f"grid-batch-{size}",
            f"Phase diagram, 17 x 17 cells, batches of {size}",
            batch_size=size,
            lr=0.01 * (size / 256) ** 0.5,
            steps=2000 * 256 // size,
        )
        for size in (8, 256)
    ),
)


def transformer_condition(name: str, *, xi: float, decay: float, lr: float, steps: int) -> Condition:
    model = TransformerConfig(
        layers=1, width=128, heads=4, mlp_width=512, causal=False, norm="none", positions="learned",
        activation="relu", attention_bias=False, mlp_bias=False, init="fan_in", mup=True,
    )  # fmt: skip
    base = condition(
        name, xi=xi, decay=decay, lr=lr, steps=steps, model=model, measures=(Accuracy(), Loss(), WeightNorm())
    )
    return override(base, {"loss": "cross_entropy"})


def decay_effect(t, key: str, sign: int) -> float:
    return sign * (t.final("corrupted, decay", key) - t.final("corrupted, no decay", key))


transformer = Experiment(
    name="transformer",
    title="The same with a one-layer encoder transformer",
    conditions=(
        transformer_condition("clean", xi=0.0, decay=0.5, lr=0.01, steps=1000),
        transformer_condition("corrupted, no decay", xi=0.35, decay=0.0, lr=0.01, steps=3000),
        transformer_condition("corrupted, decay", xi=0.35, decay=0.5, lr=0.01, steps=3000),
    ),
    scales={"smoke": Scale(set=SMOKE | {"model.width": 16, "model.mlp_width": 32}, judged=False), "paper": Scale()},
    claims=(
        final("clean", "train", 1.0, "notebook Grokking_with_transformer"),
        final("clean", "test", 1.0, "notebook Grokking_with_transformer"),
        Claim(
            name="the transformer can memorise corrupted labels",
            says="Without decay the transformer fits the corrupted training labels",
            place="Fig. 7 (settings UNVERIFIED)",
            paper="about 1",
            value=lambda t: t.final("corrupted, no decay", "accuracy/corrupted"),
            expect=at_least(0.9),
        ),
        Claim(
            name="decay makes the transformer ignore corruption",
            says="With weight decay fewer corrupted labels are fitted than without",
            place="Fig. 7 (settings UNVERIFIED)",
            paper="fewer",
            value=lambda t: decay_effect(t, "accuracy/corrupted", sign=-1),
            expect=at_least(0.1),
            note="The setting of Fig. 7 is not known; at this one the corrupted labels are forgotten only in bursts.",
        ),
        Claim(
            name="decay makes the transformer generalise",
            says="With weight decay the test accuracy is higher than without",
            place="Fig. 7 (settings UNVERIFIED)",
            paper="higher",
            value=lambda t: decay_effect(t, "accuracy/test", sign=1),
            expect=at_least(0.1),
            note="The setting of Fig. 7 is not known; at this one the test accuracy only begins to rise in 3000 steps.",
        ),
    ),
    figures=(
        Curves(
            name="accuracy",
            caption="Accuracy of the transformer while training.",
            keys=SPLITS,
            paper={"clean": {"accuracy/train": 1.0, "accuracy/test": 1.0}},
        ),
    ),
)  # fmt: skip

PAPER = Paper(
    slug="corrupted-modadd",
    title="To grok or not to grok: Disentangling generalization and memorization on corrupted algorithmic datasets",
    authors="Darshil Doshi, Aritra Das, Tianyu He, Andrey Gromov",
    year=2024,
    arxiv="2310.13061",
    experiments=(training, pruning, phases, transformer, *grids),
)
