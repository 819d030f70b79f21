"""Configurations of training: optimisers, numerics, schedules of measuring, stopping."""

from __future__ import annotations

import dataclasses
import math
from typing import Annotated, Literal

from jaxgen.config import Config, NonNegative, NonNegativeInt, PerMember, Positive, PositiveInt, Range, Rate, added
from jaxgen.measures.config import Attack

# mse: against one-hot; squared_error: against real targets; both are means over the outputs
LossName = Literal["cross_entropy", "mse", "squared_error"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class OptimizerConfig(Config, family=True):
    """What every optimiser has. The learning rate rises linearly over `warmup` steps, then stays:
    step s (from 0) uses min(1, (s + 1) / warmup) of it."""

    learning_rate: Annotated[NonNegative, PerMember]
    warmup: NonNegativeInt = 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class AdamW(OptimizerConfig):
    """Adam with decoupled decay: a step also subtracts learning_rate * weight_decay * w, as in
    torch.optim.AdamW and optax.adamw."""

    weight_decay: Annotated[NonNegative, PerMember] = 0.0
    decay: Literal["all", "matrices"] = "all"  # matrices: no biases and norms (rank 1)
    b1: Rate = 0.9
    b2: Rate = 0.98
    eps: Positive = 1e-8


@dataclasses.dataclass(frozen=True, kw_only=True)
class AdamWToInit(AdamW):
    """AdamW that decays towards the parameters that training started from: a step also subtracts
    learning_rate * weight_decay * (w - w_start) (Power et al., arXiv 2201.02177, Sec. 3.3)."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class NoisyAdamW(AdamW):
    """AdamW with Gaussian noise, drawn anew at every step (Power et al., arXiv 2201.02177, App. A.1.2).

    The gradient is taken at w + weight_noise * N(0, 1), and a step is
    learning_rate * (Adam's direction + weight_decay * w + update_noise * N(0, 1)).
    """

    weight_noise: Annotated[NonNegative, PerMember] = 0.0
    update_noise: Annotated[NonNegative, PerMember] = 0.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class AdamL2(OptimizerConfig):
    """Adam with the decay added to the gradient before it (torch.optim.Adam's weight_decay)."""

    l2: Annotated[NonNegative, PerMember] = 0.0
    b1: Rate = 0.9
    b2: Rate = 0.98
    eps: Positive = 1e-8


@dataclasses.dataclass(frozen=True, kw_only=True)
class SGD(OptimizerConfig):
    """Gradient descent; the decay `l2` is added to the gradient, as in torch.optim.SGD."""

    momentum: Rate = 0.0
    l2: Annotated[NonNegative, PerMember] = 0.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Adversarial(Config):
    """Adversarial training: the loss at what the attack makes of each training example (Madry et al.,
    arXiv 1706.06083). The attack sees the model in evaluation mode. Measures tell the loss without it."""

    attack: Attack
    loss: LossName = "cross_entropy"


@dataclasses.dataclass(frozen=True, kw_only=True)
class OptimizerWrapper(Config, family=True):
    """Changes the gradients or the updates of the optimiser `base`, which may be wrapped itself."""

    base: OptimizerConfig | OptimizerWrapper


@dataclasses.dataclass(frozen=True, kw_only=True)
class EMAFilter(OptimizerWrapper):
    """Adds to each gradient `gain` times its exponential moving average (Grokfast, arXiv 2405.20233).

    With m = momentum * m + (1 - momentum) * g, and m = g at the first step, `base` is given
    g + gain * m. The paper calls the momentum alpha and the gain lambda.
    """

    momentum: Annotated[Rate, PerMember]
    gain: Annotated[NonNegative, PerMember]


@dataclasses.dataclass(frozen=True, kw_only=True)
class MAFilter(OptimizerWrapper):
    """Adds to each gradient `gain` times the mean of the last `window` gradients, its own among them
    (Grokfast-MA, arXiv 2405.20233). Before there are so many, gradients stay as they are."""

    window: PositiveInt
    gain: Annotated[NonNegative, PerMember]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClipNorm(OptimizerWrapper):
    """Scales the gradients by one factor so that their norm, of all together, is at most `max_norm`
    (torch.nn.utils.clip_grad_norm_; Pascanu et al., arXiv 1211.5063)."""

    max_norm: Positive


@dataclasses.dataclass(frozen=True, kw_only=True)
class ConstantNorm(OptimizerWrapper):
    """After every step of `base`, scales all parameters together back to the norm that they started
    with (Omnigrok, arXiv 2210.01117)."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Numerics(Config):
    """The arithmetic. Parameters, optimiser state and losses are always float32."""

    compute_dtype: Literal["float32", "bfloat16"] = "float32"
    matmul_precision: Literal["default", "high", "highest"] = "highest"
    # The topology-invariant mode: a batch is cut into so many shards, whose gradients are computed one by one and
    # summed in a fixed order. Members trained in turn then have the same bits on any number of devices and processes
    # along `member` and `data`, where those along `data` divide the shards. None: in the order that suits the devices.
    logical_shards: PositiveInt | None = added(None)


@dataclasses.dataclass(frozen=True, kw_only=True)
class LogSpaced(Config):
    """Steps 0, 1, 2, ... thinned to `per_decade` a factor of ten, and the last step.

    The grid does not depend on the horizon, so an extended run measures at the same steps.
    """

    per_decade: PositiveInt = 20

    def most(self, horizon: int) -> int:
        """Returns how many steps there are at most."""
        return math.ceil(self.per_decade * math.log10(max(horizon, 1))) + 3

    def grid(self, horizon: int) -> set[int]:
        """Returns the steps up to `horizon`, which is one only where a longer run measures there too."""
        count = math.ceil(self.per_decade * math.log10(max(horizon, 1))) + 1
        return {0} | {step for i in range(count + 1) if (step := round(10 ** (i / self.per_decade))) <= horizon}

    def steps(self, horizon: int) -> list[int]:
        """Returns the steps of a run of `horizon` steps, in order."""
        return sorted({*self.grid(horizon), horizon})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Every(Config):
    """Every `interval` steps, from step 0, and the last step."""

    interval: PositiveInt

    def most(self, horizon: int) -> int:
        """Returns how many steps there are at most."""
        return horizon // self.interval + 2

    def grid(self, horizon: int) -> set[int]:
        """Returns the steps up to `horizon`, which is one only where a longer run measures there too."""
        return set(range(0, horizon + 1, self.interval))

    def steps(self, horizon: int) -> list[int]:
        """Returns the steps of a run of `horizon` steps, in order."""
        return sorted({*self.grid(horizon), horizon})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stop(Config):
    """A member ends once `measure` has been at least `at_least` at `patience` measuring steps running.

    The end of a run counts only where a longer run measures there too.
    """

    measure: str = "accuracy"
    split: str = "test"
    at_least: float = 0.99
    patience: PositiveInt = 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class ScaleParams(Config):
    """A transform of a start: every parameter times `factor`."""

    factor: Positive


@dataclasses.dataclass(frozen=True, kw_only=True)
class Mask(Config, family=True):
    """A transform of a start: keeps the fraction `keep` of the matrix entries of highest score, over
    all matrices together; the others are zero and stay zero while training. Vectors are kept whole.

    Scores are of the parameters as they are where the mask stands among the transforms. What an
    earlier mask has removed stays removed, and counts as such in `keep`.
    """

    keep: Annotated[float, Range(above=0, at_most=1)]


@dataclasses.dataclass(frozen=True, kw_only=True)
class MagnitudeMask(Mask):
    """Keeps the largest magnitudes."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class RandomMask(Mask):
    """Keeps entries drawn from the seed; a smaller `keep` keeps a part of what a larger one does."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class SNIPMask(Mask):
    """Keeps the entries whose removal changes the training loss most, to first order: the score is
    |w dL/dw| (Lee, Ajanthan, Torr 2019, arXiv 1810.02340), on the whole training split."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class GraSPMask(Mask):
    """Keeps the entries whose removal would lower the norm of the gradient most: the score is
    w (H g), H the Hessian and g the gradient of the training loss (Wang, Zhang, Grosse 2020, arXiv
    2002.07376), on the whole training split."""

    temperature: Positive = 200.0  # the logits are divided by it; 200 is that of the authors' code


@dataclasses.dataclass(frozen=True, kw_only=True)
class SynFlowMask(Mask):
    """Keeps the entries that most of the summed logits flows through when every weight is replaced
    by its magnitude: the score is |w dR/d|w|| (Tanaka, Kunin, Yamins, Ganguli 2020, arXiv
    2006.05467). No label is used. Of n iterations, number i keeps the fraction keep^(i / n)."""

    iterations: PositiveInt = 100


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rewind(Config):
    """A transform of a start: the parameters go back to those of the parent's own start; a mask stays."""


Norm = Literal["l1", "l2"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class MatchNorm(Config):
    """A transform of a start: every parameter times the one factor that gives them the norm that
    the parent's parameters have after the transforms `of`. The norm is of all parameters together."""

    norm: Norm
    of: tuple[Transform, ...]


Transform = ScaleParams | MagnitudeMask | RandomMask | SNIPMask | GraSPMask | SynFlowMask | Rewind | MatchNorm


def masked(transforms: tuple[Transform, ...]) -> bool:
    """Returns whether the transforms leave a mask."""
    return any(isinstance(each, Mask) for each in transforms)


def rewinds(transforms: tuple[Transform, ...]) -> bool:
    """Returns whether the transforms need the parameters of the parent's own start."""
    return any(isinstance(each, Rewind) or (isinstance(each, MatchNorm) and rewinds(each.of)) for each in transforms)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Init(Config):
    """Starts from the model's initialisation, drawn from the seed."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ScaledInit(Config):
    """Starts from the model's initialisation, every parameter of it times `factor`."""

    factor: Annotated[Positive, PerMember]


@dataclasses.dataclass(frozen=True, kw_only=True)
class First(Config):
    """The first measuring step at which `measure` of `split` is at least `at_least`.

    The end of the parent's run counts only where a longer run measures there too. A seed that never comes there has no
    child, and claims about it are censored.
    """

    measure: str = "accuracy"
    split: str = "test"
    at_least: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class From(Config):
    """Starts from the parameters of another condition, member by member of equal seed.

    The optimiser starts anew, at step 0. The transforms apply in their order.
    """

    condition: str
    at: NonNegativeInt | First | Literal["end"] = "end"
    transforms: tuple[Transform, ...] = ()
