"""Omnigrok: grokking beyond algorithmic data, by the norm of the weights.

Paper: Liu, Michaud, Tegmark, "Omnigrok: Grokking Beyond Algorithmic Data", ICLR 2023,
arXiv:2210.01117. The settings and the values are those of the authors' notebooks
(KindXiaoming/Omnigrok), "about" where read off the curves that they hold; figure numbers are those
that its README and its notebooks name.

Claimed: at a fixed norm of the weights the training loss falls with the norm to zero (an L), the
test loss is lowest at one norm, the Goldilocks zone (a U). A network that starts far above it fits
first, and generalises when weight decay has brought it down: it groks, also on images and on
regression. Held at a small norm, a transformer learns modular addition without a delay.

Command: jaxgen reproduce omnigrok --scale mini
Took: see results/, which hold minutes and device of every experiment.
Came out: see the verdicts of `jaxgen show omnigrok`.

Setting: every parameter of the default initialisation times alpha. Images: MLP of two hidden
layers of 200, ReLU, squared error against one-hot, AdamW, lr 1e-3, decay 0.01, 1,000 images, batches
of 200, 1e5 steps. Teacher and student: five inputs, two hidden layers of 100, tanh, five outputs,
100 examples, AdamW, lr 3e-4, decay 0.05, 1e5 steps; an example counts as right if its squared error
is below 0.001. Landscape: the same with Adam and no decay, 10k steps, eleven alphas from 0.1 to 10,
all parameters scaled back to their first norm after every step. Addition: mod 113, the network and
the optimiser of Nanda et al. without warm-up, 15k steps; held: alpha 0.8, no decay, constant norm.
Betas are (0.9, 0.999), for addition (0.9, 0.98).

Deviations, and why:
- Images are the 1,797 digits of 8 x 8 pixels that scikit-learn holds, in place of MNIST, which would
  have to be downloaded: 64 inputs, not 784. Those that do not train are the test. Sentiment of films
  and molecules, the paper's other data, are left out.
- Arithmetic is float32; the notebooks of images and of addition use float64.
- A norm is set back after a step; the notebook of the landscape does it before one. A measured
  network has its norm in both.
- An experiment draws its teacher, or its split, anew for each seed; the notebooks fix one.
- Fitted means 0.99 of the training set for images and 0.95 elsewhere. For images, generalised means
  0.85 of the test set: 1,000 images of MNIST give 0.89. Where no delay is claimed, both sets must come to
  the same level.
- The notebook of regression holds an alpha of 2 alone; that an alpha of 1 delays less than a factor of ten
  is our reading of the mechanism, so a control.
- The notebooks' values are of one seed; the claims on the L and the U are of their shape.
- UNVERIFIED: that images at alpha 1 generalise without a delay; the authors' notebooks hold alpha 8 alone.
- One or two seeds were tried before these bounds were set: regression at alpha 1, its two comparisons at
  step 19,000, and how far the norm falls on images. The others were set before.
- Mini: images 200 for training (full batch) and alpha 8 and 1 alone; regression as in the paper; addition
  p = 59, 50 % train, 4k steps, lr and width as in the paper: held at alpha 0.8, a width of 64 is too
  small to fit. Learning rate x decay x steps is 1 for images and 1.5 for regression, as in the paper, and 4
  for addition, 15 there.
"""

from jaxgen.condition import Condition, LogSpaced
from jaxgen.experiment import YES, Compare, EverySeed, Experiment, Paper, Scale, Typical, at_least, at_most, within
from jaxgen.experiment.claims import TEST, TRAIN, delayed, differs, steps_to
from jaxgen.figures import BySetting, Curves
from jaxgen.measures.config import Accuracy, Loss, WeightNorm
from jaxgen.models.config import MLPConfig, TransformerConfig
from jaxgen.optimizers import AdamW
from jaxgen.starts import ScaledInit
from jaxgen.tasks import DigitsTask, ModularTask, TeacherTask

from .parts import ConstantNorm, WithinError

SEEDS = tuple(range(10))


def images(alpha: float) -> Condition:
    return Condition(
        name=f"alpha={alpha:g}",
        task=DigitsTask(train=1000),
        model=MLPConfig(hidden=(200, 200), activation="relu"),
        optimizer=AdamW(learning_rate=1e-3, weight_decay=0.01, b2=0.999),
        loss="mse",
        steps=100_000,
        batch_size=200,
        seeds=SEEDS,
        start=ScaledInit(factor=alpha),
        measures=(Accuracy(), Loss(), WeightNorm()),
    )


def prompt(condition: str, level: float, times: float, key: str = "accuracy", **words) -> Compare:
    """Within a condition, the test set comes to a level at most `times` later than the training set."""
    fit, generalise = (steps_to(condition, level, f"{key}/{split}") for split in ("train", "test"))
    return Compare(**words, by="ratio", value=lambda t: generalise(t) / fit(t), expect=at_most(times))


digits = Experiment(
    name="digits",
    title="Images: a large initial norm makes a network grok",
    conditions=(images(8), images(4), images(2), images(1)),
    scales={
        "mini": Scale(set={"task.train": 200}, only=("alpha=8", "alpha=1")),
    },
    claims=(
        delayed(
            "alpha=8", fitted=0.99, generalised=0.85, times=10, name="a large norm groks",
            place="Fig. 3(d); notebook mnist-grokking",
            paper="about 20 times: train at 2e3 steps, test at 4e4", paper_value=20,
        ),
        prompt(
            "alpha=1", level=0.85, times=2, name="the usual norm does not", place="Fig. 3", paper="no delay",
            says="At alpha 1 there is no delay: the test set takes less than twice the steps of the training set",
        ),
        Compare(
            name="the norm falls",
            says="At alpha 8 weight decay brings the norm down while the network waits",
            place="Fig. 3(d); notebook mnist-grokking",
            paper="about 0.65: from 92 to 60",
            paper_value=0.65,
            by="ratio",
            value=lambda t: (
                t.at("alpha=8", "weight_norm", steps_to("alpha=8", 0.85)(t))
                / t.at("alpha=8", "weight_norm", steps_to("alpha=8", 0.99, TRAIN)(t))
            ),
            expect=at_most(0.7),
        ),
    ),
    figures=(
        Curves(
            name="accuracy",
            caption="Accuracy on the digits that train and on the others.",
            keys=("accuracy/train", "accuracy/test"),
        ),
        Curves(
            name="norm",
            caption="Norm of all weights.",
            keys=("weight_norm",),
            together=True,
            y_label="norm of the weights",
            log_y=True,
        ),
    ),
)  # fmt: skip


def student(name: str, alpha: float, optimizer, steps: int, **changes) -> Condition:
    return Condition(
        name=name,
        task=TeacherTask(inputs=5, outputs=5, hidden=(100, 100), activation="tanh", train=100, test=100),
        model=MLPConfig(hidden=(100, 100), activation="tanh"),
        optimizer=optimizer,
        loss="squared_error",
        steps=steps,
        seeds=SEEDS,
        start=ScaledInit(factor=alpha),
        measures=(WithinError(below=0.001), Loss(), WeightNorm()),
        **changes,
    )


def decaying(alpha: float) -> Condition:
    optimizer = AdamW(learning_rate=3e-4, weight_decay=0.05, b2=0.999)
    return student(f"alpha={alpha:g}", alpha, optimizer, steps=100_000)


teacher_student = Experiment(
    name="teacher-student",
    title="Regression on a teacher network: a student that starts large groks",
    conditions=(decaying(2), decaying(1)),
    scales={"mini": Scale()},
    claims=(
        delayed(
            "alpha=2", fitted=0.95, generalised=0.95, times=10, keys=("within_error/train", "within_error/test"),
            name="a large student groks", place="Fig. 2; notebook regression_grokking",
            paper="about 50 times: train at 600 steps, test at 3e4", paper_value=50,
        ),
        prompt(
            "alpha=1", level=0.95, times=10, key="within_error", name="a usual student does not",
            says="At alpha 1 the test examples are right less than ten times later than the training examples",
            place="ours", paper="not given", role="control",
        ),
        Typical(
            name="test at step 19,000",
            says="At alpha 2 a large part of the test examples is right at step 19,000, but not all",
            place="notebook regression_grokking",
            paper="0.76",
            paper_value=0.76,
            value=lambda t: t.at("alpha=2", "within_error/test", 19_000),
            expect=within(0.76, 0.15),
        ),
        Typical(
            name="the norm falls as in the notebook",
            says="At alpha 2 the sum of squared weights falls by decay at the notebook's rate up to step 19,000",
            place="notebook regression_grokking",
            paper="239.9 of 429.6",
            paper_value=239.9 / 429.6,
            value=lambda t: (t.at("alpha=2", "weight_norm", 19_000) / t.at("alpha=2", "weight_norm", 0)) ** 2,
            expect=within(239.9 / 429.6, 0.05),
        ),
    ),
    figures=(
        Curves(
            name="right",
            caption="Fraction of examples with a squared error below 0.001.",
            keys=("within_error/train", "within_error/test"),
            y_label="fraction right",
        ),
        Curves(
            name="loss",
            caption="Mean squared error.",
            keys=("loss/train", "loss/test"),
            y_label="squared error",
            log_y=True,
        ),
    ),
)  # fmt: skip

ALPHAS = (0.1, 0.158, 0.251, 0.398, 0.631, 1.0, 1.58, 2.51, 3.98, 6.31, 10.0)
# At the last step of the notebook, one seed; its alphas are 10^(-1), 10^(-0.8), ...
NOTEBOOK = {0.1: (0.0142, 0.0164), 0.158: (0.0074, 0.0117), 2.51: (0.0, 0.0406), 3.98: (0.0, 0.4295),
            6.31: (0.0, 2.439), 10.0: (0.0, 9.624)}  # fmt: skip


def held(alpha: float) -> Condition:
    optimizer = ConstantNorm(base=AdamW(learning_rate=3e-4, b2=0.999))
    return student(f"alpha={alpha:g}", alpha, optimizer, steps=10_000)


def loss_at(t, alpha: float, split: str) -> float:
    return t.final(f"alpha={alpha:g}", f"loss/{split}")


def goldilocks(t) -> float:
    return min(ALPHAS, key=lambda alpha: loss_at(t, alpha, "test"))


landscape = Experiment(
    name="landscape",
    title="Loss at a fixed norm: an L on the training set, a U on the test set",
    conditions=tuple(held(alpha) for alpha in ALPHAS),
    scales={"mini": Scale()},
    claims=(
        Compare(
            name="small norms do not fit",
            says="The training loss at alpha 0.1 is a hundred times that at alpha 1",
            place="Fig. 2; notebook teacher-student-landscape",
            paper="0.014 at 0.1, below 1e-6 from 1.6 on",
            by="ratio",
            value=lambda t: loss_at(t, 0.1, "train") / loss_at(t, 1.0, "train"),
            expect=at_least(100),
        ),
        Typical(
            name="large norms fit",
            says="The training loss at alpha 10 is all but zero",
            place="Fig. 2; notebook teacher-student-landscape",
            paper="below 1e-6",
            value=lambda t: loss_at(t, 10.0, "train"),
            expect=at_most(1e-4),
        ),
        EverySeed(
            name="the best norm is between",
            says="The test loss is lowest at an alpha near 1, the norm of the teacher",
            place="Fig. 2; notebook teacher-student-landscape",
            paper="1, and 0.63 all but as low",
            paper_value=1,
            value=goldilocks,
            expect=within(1.1, 0.9),
        ),
        EverySeed(
            name="left arm of the U",
            says="The test loss at alpha 0.1 is ten times the lowest",
            place="Fig. 2; notebook teacher-student-landscape",
            paper="about 200 times: 0.016 at 0.1, 8e-5 at 1",
            paper_value=200,
            value=lambda t: loss_at(t, 0.1, "test") / loss_at(t, goldilocks(t), "test"),
            expect=at_least(10),
        ),
        EverySeed(
            name="right arm of the U",
            says="The test loss at alpha 10 is a thousand times the lowest",
            place="Fig. 2; notebook teacher-student-landscape",
            paper="about 1e5 times: 9.6 at 10, 8e-5 at 1",
            paper_value=1e5,
            value=lambda t: loss_at(t, 10.0, "test") / loss_at(t, goldilocks(t), "test"),
            expect=at_least(1000),
        ),
    ),
    figures=(
        BySetting(
            name="landscape",
            caption="Last loss of networks held at the norm of their start. Diamonds: the notebook's, of one seed.",
            x="start.factor",
            values={split: lambda t, name, key=f"loss/{split}": t.final(name, key) for split in ("train", "test")},
            x_label="alpha: norm of the weights over that of the default initialisation",
            y_label="squared error",
            log_x=True,
            log_y=True,
            paper={
                "train": {alpha: train for alpha, (train, _) in NOTEBOOK.items() if train},
                "test": {alpha: test for alpha, (_, test) in NOTEBOOK.items()},
            },
        ),
        Curves(
            name="losses",
            caption="Losses of some of them while training.",
            keys=("loss/train", "loss/test"),
            conditions=("alpha=0.1", "alpha=0.251", "alpha=1", "alpha=2.51", "alpha=10"),
            together=True,
            y_label="squared error",
            log_y=True,
        ),
    ),
)


def addition(name: str, alpha: float, optimizer, steps: int, seeds: int) -> Condition:
    return Condition(
        name=name,
        task=ModularTask(p=113, operation="x+y", format="a b =", train_fraction=0.3),
        model=TransformerConfig(
            layers=1, width=128, heads=4, mlp_width=512, causal=True, norm="none", positions="learned",
            activation="relu", attention_bias=False, mlp_bias=True, output_bias=False, init="nanda",
        ),
        optimizer=optimizer,
        steps=steps,
        seeds=tuple(range(seeds)),
        start=ScaledInit(factor=alpha),
        measures=(Accuracy(), Loss(), WeightNorm()),
        measure_at=LogSpaced(per_decade=100),
    )  # fmt: skip


def gap(condition: str, expect, **words) -> Compare:
    """Steps from 0.95 of the training set to 0.95 of the test set."""
    place = "Fig. 7; notebook modular-addition-grokking"
    return differs(steps_to(condition, 0.95, TEST), steps_to(condition, 0.95, TRAIN), expect, place=place, **words)


modular_addition = Experiment(
    name="modular-addition",
    title="Modular addition: held at a small norm, training and test accuracy rise together",
    conditions=(
        addition("decay", 1.0, AdamW(learning_rate=1e-3, weight_decay=1.0, b2=0.98), steps=15_000, seeds=5),
        addition("held at 0.8", 0.8, ConstantNorm(base=AdamW(learning_rate=1e-3, b2=0.98)), steps=1500, seeds=10),
    ),
    scales={
        "mini": Scale(set={"task.p": 59, "task.train_fraction": 0.5, "steps": 4000, "held at 0.8:steps": 1000}),
    },
    claims=(
        gap(
            "held at 0.8", at_most(500), name="held small, no delay",
            says="Held at 0.8 of the initial norm, test accuracy reaches 0.95 within 500 steps of training accuracy",
            paper="about 30 steps: train at 250, test at 280", paper_value=30,
        ),
        gap(
            "decay", at_least(500), name="free, a delay",
            says="With decay and a free norm, test accuracy reaches 0.95 over 500 steps after training accuracy",
            paper="about 7,000 steps: train at 150, test at 7,000", paper_value=7000,
        ),
        EverySeed(
            name="the norm is held",
            says="The norm of the weights stays what it was",
            place="notebook modular-addition-grokking",
            paper="constant",
            role="sanity",
            value=lambda t: (
                abs(t.final("held at 0.8", "weight_norm") / t.at("held at 0.8", "weight_norm", 0) - 1) < 1e-4
            ),
            expect=YES,
        ),
    ),
    figures=(
        Curves(
            name="accuracy",
            caption="Accuracy while training: free with decay, and held at 0.8 of the initial norm without.",
            keys=("accuracy/train", "accuracy/test"),
        ),
        Curves(
            name="norm",
            caption="Norm of all weights.",
            keys=("weight_norm",),
            together=True,
            y_label="norm of the weights",
        ),
    ),
    accelerator=True,
)  # fmt: skip

PAPER = Paper(
    slug="omnigrok",
    title="Omnigrok: Grokking Beyond Algorithmic Data",
    authors="Ziming Liu, Eric J. Michaud, Max Tegmark",
    year=2023,
    arxiv="2210.01117",
    experiments=(digits, teacher_student, landscape, modular_addition),
)
