"""What this paper alone needs: a part of every kind."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any, ClassVar

import numpy as np

from jaxgen.config import Fraction, NonNegative, PerMember, PositiveInt, Rate
from jaxgen.figures import Figure
from jaxgen.measures.config import Analysis, Measure
from jaxgen.models.config import ModelConfig
from jaxgen.objectives import CrossEntropy, Minimised
from jaxgen.optimizers import OptimizerConfig, Schedule
from jaxgen.starts import Transform
from jaxgen.tasks.base import Split, Task, TaskShape, clean_split


@dataclasses.dataclass(frozen=True, kw_only=True)
class ParityTask(Task):
    """Whether `length` bits have an odd number of ones: all of them are the training split."""

    length: PositiveInt

    def shape(self) -> TaskShape:
        return TaskShape(2, self.length, (self.length - 1,), (("train", 2**self.length),))

    def table(self, seed: int) -> dict[str, Split]:
        bits = (np.arange(2**self.length)[:, None] >> np.arange(self.length)) & 1
        return {"train": clean_split(bits.astype(np.int32), bits.sum(1, keepdims=True).astype(np.int32) % 2, np)}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Elman(ModelConfig):
    """h = tanh(U x + W h + b) from position to position; the last one answers."""

    width: PositiveInt

    def module(self, shape: TaskShape, compute_dtype: Any, *, remat: bool, attention_device: Any) -> Any:
        from .network import ElmanNetwork

        return ElmanNetwork(self.width, shape.vocabulary)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recalled(CrossEntropy):
    """Cross-entropy times its own running mean: it keeps a number from step to step."""

    word: ClassVar[None] = None
    memory: Rate

    def init(self, params: Any) -> Any:
        import jax.numpy as jnp

        return jnp.ones(())

    def batch_loss(self, model: Any, params: Any, batch: Any, key: Any, references: Any, extra: Any) -> Minimised:
        import jax

        found = super().batch_loss(model, params, batch, key, references, extra)
        mean = self.memory * extra + (1 - self.memory) * jax.lax.stop_gradient(found.loss)
        return found._replace(loss=found.loss * mean, extra=mean)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cosine(Schedule):
    """Falls along half a cosine to `least` at the end of the run."""

    uses_horizon: ClassVar[bool] = True
    least: Fraction

    def factor(self, count: Any, horizon: int) -> Any:
        import jax.numpy as jnp

        return self.least + (1 - self.least) * 0.5 * (1 + jnp.cos(jnp.pi * count.astype(jnp.float32) / horizon))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Lion(OptimizerConfig):
    """Steps along the sign of a moving average (arXiv 2302.06675)."""

    momentum: Annotated[NonNegative, PerMember] = 0.9

    def build(self, scalars: Any, horizon: int) -> Any:
        import optax

        from jaxgen.optimizers.links import chain

        along = optax.scale_by_lion(b1=scalars["momentum"], b2=0.99)
        return chain(along, optax.scale_by_learning_rate(self.rate(scalars, horizon)))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Positive(Measure):
    """The part of the parameters that are above 0: `positive`."""

    def values(self, evaluation: Any) -> Any:
        import jax
        import jax.numpy as jnp

        leaves = jax.tree.leaves(evaluation.variables["params"])
        return {"positive": jnp.mean(jnp.concatenate([(leaf > 0).ravel() for leaf in leaves]).astype(jnp.float32))}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sureness(Measure):
    """The mean probability of the right token, by split: `sureness/<split>`."""

    def values(self, evaluation: Any) -> Any:
        import jax
        import jax.numpy as jnp

        found = {}
        for name, split in evaluation.splits.items():
            probability_BKV = jax.nn.softmax(evaluation.logits(split.inputs))
            right_BK1 = jnp.take_along_axis(probability_BKV, split.targets[..., None], axis=-1)
            found[f"sureness/{name}"] = jnp.mean(right_BK1)
        return found

    def keys(self, condition: Any) -> frozenset[str]:
        return frozenset(f"sureness/{split}" for split in condition.task.measured())


@dataclasses.dataclass(frozen=True, kw_only=True)
class Spread(Analysis):
    """The standard deviation of the recurrent matrix, of every snapshot: `spread`."""

    def rows(self, snapshots: Any) -> Any:
        return [
            (step, "spread", float(np.std(variables["params"]["recurrent"]["kernel"])))
            for step, variables in sorted(snapshots.variables_by_step.items())
        ]


@dataclasses.dataclass(frozen=True, kw_only=True)
class FlipSigns(Transform):
    """Turns the sign of a `part` of the parameters, drawn from the seed."""

    part: Fraction

    def apply(self, start: Any, given: Any, examples: Any, key: Any) -> Any:
        import jax
        import jax.numpy as jnp

        def flipped(leaf: Any) -> Any:
            return jnp.where(jax.random.uniform(key, leaf.shape) < self.part, -leaf, leaf)

        return start._replace(params=jax.tree.map(flipped, start.params))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Bars(Figure):
    """The last values of a key, a bar a condition."""

    key: str

    def draw(self, table: Any, conditions: Any, width: float) -> Any:
        from matplotlib.figure import Figure as Drawing

        found = {each.name: table.series(each.name, self.key) for each in conditions}
        found = {name: series for name, series in found.items() if len(series)}
        if not found:
            return None
        drawing = Drawing(figsize=(width / 2, 2.5))
        drawing.subplots().bar(list(found), [series.iloc[-1].median() for series in found.values()])
        return drawing

    def reading(self) -> str:
        return "A bar is the median over the seeds."
