"""A paper that brings a part of every kind; tests lay it out as a user's own folder.

Paper: Own Parts. arXiv:0000.00002
"""

import dataclasses

from jaxgen.condition import Condition
from jaxgen.experiment import Experiment, Paper, Scale, Typical, at_least
from jaxgen.measures.config import Accuracy, Loss
from jaxgen.starts import From

from .parts import Bars, Cosine, Elman, FlipSigns, Lion, ParityTask, Positive, Recalled, Spread, Sureness

base = Condition(
    name="elman",
    task=ParityTask(length=4),
    model=Elman(width=6),
    optimizer=Lion(learning_rate=0.01, momentum=0.9, schedule=Cosine(least=0.1)),
    loss=Recalled(memory=0.5),
    batch_size=4,
    steps=12,
    seeds=(0, 1),
    measures=(Accuracy(), Loss(), Positive(), Sureness()),
    analyses=(Spread(),),
)
flipped = dataclasses.replace(base, name="flipped", start=From(condition="elman", transforms=(FlipSigns(part=0.5),)))

main = Experiment(
    name="main",
    title="parity by a recurrent network",
    conditions=(base, flipped),
    scales={"smoke": Scale(judged=False, set={"steps": 3}), "paper": Scale()},
    claims=(
        Typical(name="measured", says="It is measured", place="Fig. 1", paper="1", expect=at_least(0.0),
              value=lambda t: t.final("elman", "positive")),
    ),
    figures=(Bars(name="bars", caption="Accuracy.", key="accuracy/train"),),
)  # fmt: skip
PAPER = Paper(slug="own-parts", title="Own", authors="Nobody", year=2025, arxiv="0000.00002", experiments=(main,))
