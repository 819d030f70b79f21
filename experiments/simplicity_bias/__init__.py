"""The pitfalls of simplicity bias: slab data, where one coordinate is simpler than all others.

Paper: Shah, Tamuly, Raghunathan, Jain, Netrapalli, "The Pitfalls of Simplicity Bias in Neural
Networks", NeurIPS 2020, arXiv:2006.07710. Data, settings and numbers are those of the authors'
repository (harshays/simplicitybiaspitfalls) and the outputs stored in its notebooks 01, 03, 04 and 06.

Claimed: networks trained with SGD rely on the simplest feature alone and are invariant to all complex
ones, though each would do (Sec. 4); so small shifts and small or universal perturbations along that
feature break them (Sec. 4.3). This holds of several architectures, activations and optimisers (App. C).
The bias hurts even where the simple feature is noisy and the complex ones are perfect (Sec. 5); ensembles
and adversarial training do not help (Sec. 6, App. E).

Command: jaxgen reproduce simplicity-bias
Took: see results/, which hold minutes and device of every experiment.
Came out: see the verdicts of `jaxgen show simplicity-bias`.

Setting: d = 50 coordinates, margin 0.1, rotated by a random orthogonal matrix. LMS-5: one linear
coordinate, 49 5-slabs. MS-(5,7): one 5-slab, 49 7-slabs. Noisy LMS-7: linear, uniform in the margin
for 10 % of all examples, and 49 7-slabs; MS-7: 50 7-slabs. 100,000 training examples (40,000 for
the last two). Fully connected, two hidden layers of 100 (300), ReLU, biases, torch's initialisation;
cross-entropy on two logits; SGD, lr 0.1, batches of 256, l2 5e-5; the last two with momentum 0.9 and
l2 5e-4, MS-7 with lr 0.3. Randomised: the simple coordinate (S), or all others together (Sc), permuted
over the test examples in the unrotated basis.

Deviations, and why:
- Ten seeds, each with its own data, rotation and initialisation; the notebooks show one run.
- Steps are fixed, because training goes on past the notebooks' threshold of the loss without a change;
  but MS-7 stops once 0.999 of the training labels are fitted at two measuring steps running: at lr 0.3
  with momentum it can break down later.
- 10,000 test examples, as in the notebooks; for MS-(5,7) these have 50,000 (01) and 5,000 (06).
- The members of an ensemble share the order of their batches; the authors train them apart.
- Attacks are on the networks of notebook 01, and in `one-layer` on those of notebook 06, of one hidden layer of 200
  with l2 5e-4. The notebook clips to the range of the data; its attack of each example has a radius of half of that
  range, far above the 1 here, in 20 steps.
- The universal perturbation is added to the examples of one class and subtracted from those of the other, as in the
  notebook. Here it is what projected gradient ascent finds for the whole test set at once; there SVD-UAP (the first
  singular direction of the examples' own perturbations) and AS-UAP (ascent over batches), which agree. Radius 1 for
  LMS-5 and 0.5 for MS-(5,7) are the notebook's.
- UNVERIFIED: adversarial training on slab data. The stored notebook (05) trains MNIST-CIFAR with l_inf. The
  reading here is LMS-5 with l2 attacks of 10 steps, of a radius below and one above the margin of 0.1.
- UNVERIFIED: sizes and numbers of other networks on slab data. App. C says that several architectures, activations
  and optimisers have the bias. The CNN (one convolution of 8 channels and 5 taps) and the GRU (50 units, five steps of
  ten coordinates) are the classes of the authors' scripts/synth_models.py in sizes of ours, trained as LMS-5 is; tanh
  and Adam (lr 1e-3, no decay) change that network alone.
- MNIST-CIFAR is left out: it is no synthetic task.
- Mini: 20 coordinates, 20,000 examples (10,000 for noisy LMS-7 and MS-7), fewer steps.
"""

from jaxgen.condition import Condition, LogSpaced, Stop
from jaxgen.experiment import Claim, Compare, Experiment, Paper, Scale, Typical, at_least, at_most, within
from jaxgen.experiment.claims import ends_at
from jaxgen.figures import Curves, Profile
from jaxgen.measures.config import AUC, Accuracy, Loss
from jaxgen.models.config import MLPConfig
from jaxgen.objectives import Adversarial, Attack
from jaxgen.optimizers import SGD, AdamW
from jaxgen.tasks.features.slab import Block, SlabTask

from .parts import ConvolutionalConfig, EnsembleConfig, Perturb, RecurrentConfig

RADII = (0.05, 0.1, 0.2, 0.5, 1.0)
ATTACKS = tuple(Attack(norm="l2", radius=radius, step_size=radius / 20, steps=30) for radius in RADII)
ATTACKED = tuple(
    Perturb(attacks=ATTACKS, universal=each, signed=each, along="simple_randomised") for each in (False, True)
)
SGD_PLAIN = SGD(learning_rate=0.1, l2=5e-5)
MINI = {"task.train": 20_000, "task.test": 5_000, "task.dimensions": 20}


def condition(name: str, simple: Block, complex_: Block, *, train: int = 100_000, noise: float = 0.0, **changes):
    task = SlabTask(
        train=train, test=10_000, dimensions=50, simple=simple, complex=complex_, margin=0.1, simple_noise=noise
    )
    return Condition(
        **{
            "name": name,
            "task": task,
            "model": MLPConfig(hidden=(100, 100)),
            "optimizer": SGD_PLAIN,
            "steps": 5_000,
            "batch_size": 256,
            "measures": (Accuracy(), Loss(), AUC()),
            "measure_at": LogSpaced(per_decade=10),
            "seeds": tuple(range(10)),
        }
        | changes
    )


def reliance(name: str, place: str, stored: tuple[str, str, str]) -> tuple[Claim, ...]:
    """The three AUCs that tell which coordinates a network relies on."""
    rows = (
        ("test", "The test set is told apart", at_least(0.99)),
        ("simple_randomised", "With the simple coordinate permuted, AUC is that of guessing", within(0.5, 0.05)),
        ("complex_randomised", "With all complex coordinates permuted, nothing is lost", at_least(0.99)),
    )
    return tuple(
        Typical(
            name=f"{name}: {split.replace('_', ' ')}",
            says=f"{says}: AUC",
            place=place,
            paper=paper,
            paper_value=float(paper),
            value=lambda t, split=split: t.final(name, f"auc/{split}"),
            expect=expect,
        )
        for (split, says, expect), paper in zip(rows, stored, strict=True)
    )


def fragility(name: str, universal: tuple[float, str, float], along: str) -> tuple[Claim, ...]:
    """What attacks do to a network, and where they push.

    `universal`: the notebook's radius of the universal attack, the accuracy that it leaves there, and the most that it
    may leave here. `along`: how much of the norm of each example's perturbation lies along the simple coordinate there.
    """
    radius, paper, bound = universal
    place = "Sec. 4.3; notebook 06"
    simple = {
        "place": f"{place} (the bound is ours)",
        "paper": f"target the simple coordinate alone: {along} of the norm",
        "expect": at_least(0.9),
    }
    return (
        Typical(
            name=f"{name}: fragile",
            says="Perturbations of l2 norm 1 of each example take the accuracy to 0",
            place=place,
            paper="0, at a radius of half of the data's range",
            paper_value=0,
            value=lambda t: t.final(name, "accuracy.l2.1/test", rows=1),
            expect=at_most(0.05),
        ),
        Typical(
            name=f"{name}: attacks are simple",
            says="They lie along the simple coordinate: part of their squared norm",
            value=lambda t: t.final(name, "along.l2.1/simple_randomised", rows=1),
            **simple,
        ),
        Typical(
            name=f"{name}: universally fragile",
            says=f"One perturbation of l2 norm {radius:g}, signed by the class, takes the accuracy of all to about 0",
            place=place,
            paper=f"{paper}, both of SVD-UAP and of AS-UAP",
            paper_value=float(paper),
            value=lambda t: t.final(name, f"accuracy.l2_signed.{radius:g}/test", rows=1),
            expect=at_most(bound),
        ),
        Typical(
            name=f"{name}: the universal attack is simple",
            says="It lies along the simple coordinate: part of its squared norm",
            value=lambda t: t.final(name, f"along.l2_signed.{radius:g}/simple_randomised", rows=1),
            **simple,
        ),
    )


def auc_figure(**paper: dict[str, float]) -> Curves:
    return Curves(
        name="auc",
        caption="AUC on the test set, with the simple coordinate permuted over it, and with all others permuted. "
        "Dashed: the notebooks' final values.",
        keys=("auc/test", "auc/simple_randomised", "auc/complex_randomised"),
        paper=paper,
    )


ATTACK_FIGURE = Profile(
    name="attacks",
    caption="Test accuracy under attacks of several l2 norms: one for each example, or one for all (signed by class).",
    prefixes=("accuracy.l2", "accuracy.l2_signed"),
    splits=("test",),
    x_label="l2 norm of the perturbation",
)


def stored(test: float, simple: float, complex_: float) -> dict[str, float]:
    return {"auc/test": test, "auc/simple_randomised": simple, "auc/complex_randomised": complex_}


extreme = Experiment(
    name="extreme",
    title="Only the simplest coordinate is used: LMS-5 and MS-(5,7)",
    conditions=(
        condition("LMS-5", "linear", "5-slab", analyses=ATTACKED),
        condition("MS-5,7", "5-slab", "7-slab", steps=40_000, analyses=ATTACKED),
    ),
    scales={"mini": Scale(set=MINI | {"LMS-5:steps": 2_000, "MS-5,7:steps": 20_000})},
    claims=(
        *reliance("LMS-5", "Sec. 4, notebook 01", ("1.000", "0.507", "1.000")),
        *reliance("MS-5,7", "Sec. 4, notebook 01", ("1.000", "0.502", "1.000")),
        Compare(
            name="MS-5,7: long at chance",
            says="On MS-(5,7) accuracy comes to 0.6 after more than three times the steps of LMS-5 to 0.99",
            place="notebook 01",
            paper="about 15,000 updates, where LMS-5 ends at 5,000",
            by="ratio",
            value=lambda t: (
                t.first_step("MS-5,7", "accuracy/test", at_least=0.6)
                / t.first_step("LMS-5", "accuracy/test", at_least=0.99)
            ),
            expect=at_least(3),
        ),
        *fragility("LMS-5", (1, "0.0066", 0.05), "0.997"),
        *fragility("MS-5,7", (0.5, "0.0656", 0.1), "0.991"),
    ),
    figures=(
        auc_figure(**{"LMS-5": stored(1, 0.507, 1), "MS-5,7": stored(1, 0.502, 1)}),
        Curves(name="accuracy", caption="Accuracy while training.", keys=("accuracy/train", "accuracy/test")),
        ATTACK_FIGURE,
    ),
)

WIDE = {"model": MLPConfig(hidden=(300, 300)), "train": 40_000}

noisy = Experiment(
    name="noisy",
    title="A noisy simple coordinate is still preferred to perfect complex ones: noisy LMS-7 and MS-7",
    conditions=(
        condition(
            "noisy LMS-7", "linear", "7-slab", noise=0.1, steps=40_000,
            optimizer=SGD(learning_rate=0.1, momentum=0.9, l2=5e-4), **WIDE,
        ),
        condition(
            "MS-7", "7-slab", "7-slab", steps=40_000,
            optimizer=SGD(learning_rate=0.3, momentum=0.9, l2=5e-4),
            stop=Stop(measure="accuracy", split="train", at_least=0.999, patience=2), **WIDE,
        ),
    ),
    scales={"mini": Scale(set=MINI | {"task.train": 10_000, "steps": 10_000})},
    claims=(
        ends_at(
            "noisy LMS-7",
            0.945,
            0.015,
            name="suboptimal",
            says="On noisy LMS-7 the test accuracy stays near the 0.95 that the linear coordinate allows",
            place="Sec. 5, notebook 03",
            paper="0.949",
            paper_value=0.949,
        ),
        Typical(
            name="noise is memorised",
            says="The training labels of noisy LMS-7 are fitted nevertheless",
            place="Sec. 5, notebook 03",
            paper="0.995",
            paper_value=0.995,
            value=lambda t: t.final("noisy LMS-7", "accuracy/train"),
            expect=at_least(0.98),
        ),
        Typical(
            name="complex coordinates would do",
            says="Without a linear coordinate the network learns 7-slabs: test accuracy on MS-7, when it is stopped",
            place="Sec. 5, notebook 03",
            paper="1.000",
            paper_value=1,
            value=lambda t: t.final("MS-7", "accuracy/test", rows=1),
            expect=at_least(0.99),
        ),
        Typical(
            name="complex coordinates are fitted",
            says="Training accuracy on MS-7, when it is stopped",
            place="Sec. 5, notebook 03",
            paper="1.000",
            paper_value=1,
            value=lambda t: t.final("MS-7", "accuracy/train", rows=1),
            expect=at_least(0.99),
        ),
        ends_at(
            "noisy LMS-7",
            0.5,
            0.05,
            key="accuracy/simple_randomised",
            name="relies on the noisy coordinate",
            says="With the linear coordinate permuted, accuracy on noisy LMS-7 is that of guessing",
            place="notebook 03",
            paper="0.497",
            paper_value=0.497,
        ),
        ends_at(
            "noisy LMS-7",
            0.945,
            0.015,
            key="accuracy/complex_randomised",
            name="ignores the perfect ones",
            says="With all 7-slabs permuted, accuracy on noisy LMS-7 is that of the test set",
            place="notebook 03",
            paper="0.949",
            paper_value=0.949,
        ),
    ),
    figures=(
        Curves(
            name="accuracy",
            caption="Accuracy on the training and the test set, and on the permuted test sets. Dashed: the notebook's.",
            keys=(
                "accuracy/train",
                "accuracy/test",
                "accuracy/simple_randomised",
                "accuracy/complex_randomised",
            ),
            paper={
                "noisy LMS-7": {
                    "accuracy/train": 0.995,
                    "accuracy/test": 0.949,
                    "accuracy/simple_randomised": 0.497,
                    "accuracy/complex_randomised": 0.949,
                },
                "MS-7": {"accuracy/train": 1.0, "accuracy/test": 1.0},
            },
        ),
    ),
)  # fmt: skip

ensembles = Experiment(
    name="ensembles",
    title="Ensembles of three rely on the same coordinate",
    conditions=(
        condition(
            "LMS-5",
            "linear",
            "5-slab",
            model=EnsembleConfig(members=3, member=MLPConfig(hidden=(100, 100))),
            analyses=ATTACKED,
        ),
    ),
    scales={"mini": Scale(set=MINI | {"steps": 2_000})},
    claims=reliance("LMS-5", "App. E.1, notebook 04", ("1.000", "0.507", "1.000")),
    figures=(auc_figure(**{"LMS-5": stored(1, 0.507, 1)}), ATTACK_FIGURE),
)


def trained_against(radius: float) -> Condition:
    attack = Attack(norm="l2", radius=radius, step_size=radius / 4, steps=10)
    return condition(f"radius {radius:g}", "linear", "5-slab", loss=Adversarial(attack=attack), analyses=ATTACKED[:1])


AGAINST = (0.05, 0.2)


def still_fragile(radius: float) -> Claim:
    return Typical(
        name=f"radius {radius:g}: still fragile",
        says="Attacks of l2 norm 0.5 leave about the accuracy that the simple coordinate alone allows, (1 - 0.5) / 0.9",
        place="Sec. 6, App. E.2 (on slab data UNVERIFIED; the bound is ours)",
        paper="robustness is not improved by complex coordinates",
        value=lambda t: t.final(f"radius {radius:g}", "accuracy.l2.0.5/test", rows=1),
        expect=at_most(0.65),
    )


UNTOLD = "Sec. 6, App. E.2 (on slab data UNVERIFIED)"

adversarial = Experiment(
    name="adversarial",
    title="Adversarial training relies on the same coordinate",
    conditions=tuple(trained_against(radius) for radius in AGAINST),
    scales={"mini": Scale(set=MINI | {"steps": 2_000})},
    claims=(
        *(each for radius in AGAINST for each in reliance(f"radius {radius:g}", UNTOLD, ("1", "0.5", "1"))),
        *(still_fragile(radius) for radius in AGAINST),
    ),
    figures=(auc_figure(), ATTACK_FIGURE),
)

# The network whose numbers notebook 06 has.
ONE_LAYER = {
    "model": MLPConfig(hidden=(200,)),
    "optimizer": SGD(learning_rate=0.1, l2=5e-4),
    "analyses": ATTACKED,
}

one_layer = Experiment(
    name="one-layer",
    title="The network of notebook 06, one hidden layer of 200, relies on the same coordinate",
    conditions=(
        condition("LMS-5", "linear", "5-slab", **ONE_LAYER),
        condition("MS-5,7", "5-slab", "7-slab", steps=40_000, **ONE_LAYER),
    ),
    scales={"mini": Scale(set=MINI | {"LMS-5:steps": 2_000, "MS-5,7:steps": 20_000})},
    claims=(
        *reliance("LMS-5", "Sec. 4, notebook 06", ("1.000", "0.491", "1.000")),
        *reliance("MS-5,7", "Sec. 4, notebook 06", ("1.000", "0.512", "1.000")),
        *fragility("LMS-5", (1, "0.0066", 0.05), "0.997"),
        *fragility("MS-5,7", (0.5, "0.0656", 0.1), "0.991"),
    ),
    figures=(auc_figure(**{"LMS-5": stored(1, 0.491, 1), "MS-5,7": stored(1, 0.512, 1)}), ATTACK_FIGURE),
)

OTHERS = {
    "CNN": {"model": ConvolutionalConfig(channels=8, kernel=5)},
    "GRU": {"model": RecurrentConfig(hidden=50, chunk=10)},
    "tanh": {"model": MLPConfig(hidden=(100, 100), activation="tanh")},
    "Adam": {"optimizer": AdamW(learning_rate=1e-3, b2=0.999)},
}

architectures = Experiment(
    name="architectures",
    title="A CNN, a GRU, another activation and another optimiser rely on the same coordinate of LMS-5",
    conditions=tuple(condition(name, "linear", "5-slab", **changes) for name, changes in OTHERS.items()),
    scales={"mini": Scale(set=MINI | {"steps": 2_000})},
    claims=tuple(
        claim for name in OTHERS for claim in reliance(name, "App. C (numbers UNVERIFIED)", ("1", "0.5", "1"))
    ),
    figures=(auc_figure(),),
)

PAPER = Paper(
    slug="simplicity-bias",
    title="The Pitfalls of Simplicity Bias in Neural Networks",
    authors="Harshay Shah, Kaustav Tamuly, Aditi Raghunathan, Prateek Jain, Praneeth Netrapalli",
    year=2020,
    arxiv="2006.07710",
    experiments=(extreme, noisy, ensembles, adversarial, one_layer, architectures),
)
