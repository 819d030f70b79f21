"""Searches two settings with Optuna; every batch of trials trains as one population. See docs/sweeps.md.

pip install "jaxgen[search]"
python docs/examples/search.py
"""

from pathlib import Path

import optuna

from jaxgen.condition import Condition
from jaxgen.config import override
from jaxgen.experiment import Experiment
from jaxgen.ledger.reproduce import reproduce
from jaxgen.ledger.runs import Request
from jaxgen.models.config import MLPConfig
from jaxgen.optimizers import AdamW
from jaxgen.run.arguments import RunArguments, SilentObserver
from jaxgen.tasks import ModularTask

BASE = Condition(
    name="base",
    task=ModularTask(p=31, operation="x+y", format="a b", train_fraction=0.5),
    model=MLPConfig(hidden=(128,), activation="square", bias=False, init_std=0.05),
    optimizer=AdamW(learning_rate=0.01, weight_decay=1.0),
    loss="mse",
    steps=1000,
    seeds=(1000, 1001, 1002),  # seeds of tuning
)


def train(conditions: list[Condition], folder: Path) -> dict[str, float]:
    """Returns the final test accuracy of each condition: the median over its seeds, where one that failed has 0."""
    experiment = Experiment(name="batch", title="A batch of trials", conditions=tuple(conditions))
    request = Request("search", "batch", "paper")
    done = reproduce(experiment, request, folder, observer=SilentObserver(), arguments=RunArguments())
    finals = done.table.finals("accuracy/test").fillna(0.0)
    return dict(finals.groupby(level="condition").median())


def search(base: Condition, folder: Path, *, batch: int, batches: int) -> optuna.Study:
    """Returns the study. The sampler draws from a seed, so the same call again goes on where it was stopped."""
    # As if trials that are asked for and not yet told had the worst value: those of a batch then lie apart.
    sampler = optuna.samplers.TPESampler(seed=0, constant_liar=True)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    for number in range(batches):
        trials = [study.ask() for _ in range(batch)]
        conditions = [
            override(
                base,
                {
                    "name": f"trial {trial.number}",
                    "optimizer.learning_rate": trial.suggest_float("learning_rate", 1e-4, 1.0, log=True),
                    "optimizer.weight_decay": trial.suggest_float("weight_decay", 1e-2, 10.0, log=True),
                },
            )
            for trial in trials
        ]
        found = train(conditions, folder / f"batch-{number}")
        for trial, condition in zip(trials, conditions, strict=True):
            study.tell(trial, found[condition.name])
    return study


if __name__ == "__main__":
    study = search(BASE, Path("runs/search"), batch=8, batches=4)
    print(f"trial {study.best_trial.number}: test accuracy {study.best_value:.3f} with {study.best_params}")
