"""A paper small enough for tests: laid out as a user's own folder."""

from pathlib import Path

from click.testing import CliRunner, Result

from jaxgen.cli import main

SOURCE = '''"""A tiny paper."""

import dataclasses

from jaxgen.experiment import Experiment, Paper, Scale, Typical, at_least
from jaxgen.condition import Condition
from jaxgen.figures import Curves
from jaxgen.measures.config import Accuracy, Loss, WeightNorm
from jaxgen.models.config import MLPConfig
from jaxgen.tasks import ModularTask
from jaxgen.optimizers import AdamW, SGD
from jaxgen.starts import From, MagnitudeMask, Rewind
from jaxgen.condition import Stop

base = Condition(
    name="dense",
    task=ModularTask(p=7, operation="x+y", format="a b", train_fraction=0.6, corruption=0.2),
    model=MLPConfig(hidden=(12,), activation="square", bias=True, init_std=0.1, dropout=0.1, batch_norm=True),
    optimizer=AdamW(learning_rate=0.02, weight_decay=0.5),
    loss="mse",
    batch_size=8,
    steps=40,
    seeds=(0, 1),
    measures=(Accuracy(), Loss(), WeightNorm()),
)
ticket = dataclasses.replace(
    base, name="ticket", start=From(condition="dense", transforms=(MagnitudeMask(keep=0.5), Rewind()))
)
diverging = dataclasses.replace(base, name="diverging", optimizer=SGD(learning_rate=1e6), measures=(Loss(),))
stopping = dataclasses.replace(base, name="stopping", stop=Stop(measure="accuracy", split="train", at_least=0.3))

main = Experiment(
    name="main",
    title="dense and ticket",
    conditions=(base, ticket),
    scales={"smoke": Scale(judged=False, set={"steps": 3}), "paper": Scale()},
    claims=(
        Typical(name="fits", says="It fits", place="Fig. 1", paper="1", expect=at_least(0.0),
              value=lambda t: t.final("dense", "accuracy/train")),
        Typical(name="fits too well", says="It fits", place="Fig. 1", paper="2", expect=at_least(2.0),
              value=lambda t: t.final("ticket", "accuracy/train")),
    ),
    figures=(Curves(name="accuracy", caption="Accuracy.", keys=("accuracy/train", "accuracy/test")),),
)
faults = Experiment(
    name="faults", title="members that fail or stop", conditions=(diverging, stopping), scales={"paper": Scale()}
)
PAPER = Paper(slug="tiny-paper", title="Tiny", authors="Nobody", year=2024, arxiv="0000.00001",
              experiments=(main, faults))
'''


def write_tiny_paper(root: Path) -> Path:
    """Writes the paper below `root`, and returns the folder to name in JAXGEN_EXPERIMENTS."""
    folder = root / "papers" / "tiny_paper"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text(SOURCE)
    return folder.parent


def invoke(*args: str) -> Result:
    """Runs `jaxgen` with these arguments, in this process."""
    return CliRunner().invoke(main, list(args), catch_exceptions=False)
