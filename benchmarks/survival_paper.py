"""A paper of runs that stop, save and go on: what the benchmarks of surviving train."""

from __future__ import annotations

from pathlib import Path

SOURCE = '''"""Runs to be stopped, saved and resumed."""

from jaxgen.experiment import Experiment, Paper
from jaxgen.condition import Condition
from jaxgen.measures.config import Accuracy, Loss
from jaxgen.experiments.nanda_modadd.parts import ProgressMeasures
from jaxgen.models.config import MLPConfig, TransformerConfig
from jaxgen.tasks import ModularTask
from jaxgen.optimizers import AdamW
from jaxgen.condition import Every


def transformer(layers, **changes):
    return Condition(
        name="run",
        task=ModularTask(p=59, operation="x+y", train_fraction=0.4),
        model=TransformerConfig(layers=layers, width=64, heads=4, mlp_width=256),
        optimizer=AdamW(learning_rate=0.001, weight_decay=1.0),
        seeds=(0,),
        **changes,
    )


def mlp(*hidden, **changes):
    return Condition(
        name="run",
        task=ModularTask(p=11, operation="x+y", format="a b", train_fraction=0.5),
        model=MLPConfig(hidden=hidden),
        optimizer=AdamW(learning_rate=0.0001),
        seeds=(0,),
        **changes,
    )


def experiment(name, condition):
    return Experiment(name=name, title=name, conditions=(condition,))


PAPER = Paper(
    slug="survival", title="Survival", authors="Nobody", year=2026, arxiv="0000.00000",
    experiments=(
        experiment("shallow", transformer(1, steps=300, measure_at=Every(interval=5),
                                          snapshots=tuple(range(0, 300, 10)), analyses=(ProgressMeasures(),))),
        experiment("deep", transformer(24, steps=100, measure_at=Every(interval=10))),
        experiment("5-MB", mlp(600, 650, steps=10**7, batch_size=32, measure_at=Every(interval=500))),
        experiment("300-MB", mlp(5000, 4960, steps=10**6, batch_size=32, measure_at=Every(interval=50))),
        experiment("million", mlp(16, steps=10**6, batch_size=32, measure_at=Every(interval=1000))),
    ),
)
'''


def write_survival_paper(root: Path) -> Path:
    """Writes the paper below `root`, and returns the folder to name in JAXGEN_EXPERIMENTS."""
    folder = root / "papers" / "survival"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text(SOURCE)
    return folder.parent
