"""Configurations of measures and analyses; imports no jax.

A *measure* runs on the device, inside the program, at every measuring step. An *analysis* runs
afterwards on snapshots, also on a finished run. `jaxgen.measures.build` runs both.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

from jaxgen.config import Config, Fraction, NonNegative, Positive, PositiveInt
from jaxgen.errors import UserError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Measure(Config, family=True):
    """A pure function of parameters and task, to numbers named `measure/split` or `measure`."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Accuracy(Measure):
    """Fraction of examples whose K read-out tokens are all right: `accuracy/<split>`.

    A position that asks nothing (its target is IGNORED) is never wrong. Splits: those that the task
    has measured, as a rule `train` (labels given) and `test` (true labels), and where the task
    corrupts labels `corrupted` (the corrupted training examples, labels given), `corrupted_true`
    (the same examples, true labels) and `uncorrupted` (the other training examples).
    """


@dataclasses.dataclass(frozen=True, kw_only=True)
class Loss(Measure):
    """Mean training loss over a split, in nats for cross-entropy: `loss/<split>`; splits of `Accuracy`."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class WithinError(Measure):
    """Fraction of examples whose loss is less than `below`: `within_error/<split>`; splits of `Accuracy`.

    It stands in for the accuracy where targets are real numbers.
    """

    below: Positive


@dataclasses.dataclass(frozen=True, kw_only=True)
class ByPosition(Measure):
    """Accuracy and mean training loss of each of the K read-out positions alone:
    `accuracy.<k>/<split>` and `loss.<k>/<split>`, k from 0, over the examples that are asked something
    there (0 where there are none); splits of `Accuracy`."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class TokenAccuracy(Measure):
    """Fraction of the tokens asked for that are right, all before them given: `token_accuracy/<split>`; splits of
    `Accuracy`."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class GreedyAccuracy(Measure):
    """Fraction of examples whose whole answer is right when the model writes it by itself, always taking the most
    likely token: `greedy_accuracy/<split>`, of a causal transformer; splits of `Accuracy`."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class AccuracyByLength(Measure):
    """Accuracy of the examples whose first answer comes after so many tokens: `accuracy.to_<edge>/<split>`.

    An example counts at the first of the `edges` that its tokens before the first answer do not exceed, where
    `greedy` as in `GreedyAccuracy`, else as in `Accuracy`. Beside it stands the fraction of examples that count there,
    `share.to_<edge>/<split>`; where that is 0, so is the accuracy. Splits of `Accuracy`.
    """

    edges: tuple[PositiveInt, ...]
    greedy: bool = False

    def validate(self) -> None:
        if not self.edges or list(self.edges) != sorted(set(self.edges)):
            raise UserError(f"edges: got {list(self.edges)}, expected one or more lengths, each above the one before")


@dataclasses.dataclass(frozen=True, kw_only=True)
class WeightNorm(Measure):
    """Root of the sum of the squares of all parameters: `weight_norm`."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class AUC(Measure):
    """Area under the ROC curve of two classes: `auc/<split>`.

    The probability that an example of class 1 has a larger score (logit of class 1 less that of class
    0) than one of class 0, equal scores counting half. `train` has the labels given, others the true ones.
    """


@dataclasses.dataclass(frozen=True, kw_only=True)
class LinearFit(Measure):
    """How near a two-layer ReLU network without biases is to a linear function: `linear_r2/<split>`.

    As ReLU(u) = u/2 + |u|/2, its score f (logit of class 1 less that of class 0) is a linear function,
    (f(x) - f(-x))/2, and an even one. Where the inputs are distributed symmetrically about 0, the
    two are uncorrelated, and the linear one with a constant is the best linear fit to f. Written is
    its R^2 over a split. A fit to the split itself would be perfect with more dimensions than examples.
    """


@dataclasses.dataclass(frozen=True, kw_only=True)
class NeuronIPR(Measure):
    """Inverse participation ratio of the hidden neurons of a one-hidden-layer MLP on `a b` tasks.

    A neuron's IPR is the mean over its input row for a, its input row for b and its output column
    of sum |F|^4 / (sum |F|^2)^2, with F the one-sided rFFT (a cosine has 1; a full FFT would give
    0.5). Writes `ipr`, the mean over neurons, and `low_ipr_fraction`, the fraction of neurons with
    IPR below `threshold` (To grok or not to grok, Eq. 4 and Fig. 3).
    """

    threshold: Positive = 0.2


@dataclasses.dataclass(frozen=True, kw_only=True)
class Analysis(Config, family=True):
    """A pure function of a member's snapshots, to rows (step, split, measure, value)."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class PruneNeurons(Analysis):
    """Accuracy of the last snapshot after removing hidden neurons in the order of their IPR.

    No retraining: the neurons' input rows and output column become zero (To grok or not to grok,
    Fig. 6). Writes `accuracy.pruned_<order>_ipr.<fraction>` for the splits of `Accuracy`.
    """

    order: Literal["lowest", "highest"]
    fractions: tuple[Fraction, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ProgressMeasures(Analysis):
    """Key frequencies, restricted and excluded loss (Nanda et al., arXiv 2301.05217, Sec. 5).

    A frequency is *key* if at least `neurons` of the MLP neurons of the last snapshot follow it:
    of all frequencies k, the eight products and single terms of cos and sin of 2 pi k a / p and
    2 pi k b / p explain most of the neuron's variance over the p x p inputs. For every snapshot:

    - `restricted_loss/all`: of logits whose variation over the inputs keeps only the directions
      cos(w(a+b)) and sin(w(a+b)) of the key frequencies;
    - `excluded_loss/train`: of logits with these directions removed;
    - `key_frequencies`: how many; `key_variance`: the part of the logits' variance they explain;
    - `gini`: of the norms of the embedding's Fourier components.
    """

    neurons: Fraction = 0.02


@dataclasses.dataclass(frozen=True, kw_only=True)
class Attack(Config):
    """A search for the perturbation of features, of norm at most `radius`, that raises the loss most.

    Projected gradient ascent from 0 (Madry et al., arXiv 1706.06083): `steps` steps of `step_size` along the
    gradient divided by its norm (l2) or along its sign (linf), each followed by the projection on the ball.
    One step of linf with step_size = radius is the fast gradient sign method.
    """

    norm: Literal["l2", "linf"]
    radius: NonNegative
    step_size: Positive
    steps: PositiveInt


@dataclasses.dataclass(frozen=True, kw_only=True)
class Perturb(Analysis):
    """Accuracy of the last snapshot on attacked examples: `accuracy.<norm>.<radius>/<split>`.

    With `universal` one perturbation is shared by all examples and raises their mean loss; then it
    is `accuracy.<norm>_universal.<radius>/<split>`. Given `along`, a split of the same examples with some of
    their coordinates changed, `along.<norm>.<radius>/<along>` is the part of the perturbations' squared l2 norms,
    averaged over the examples, that lies in the directions of the change.
    """

    attacks: tuple[Attack, ...]
    universal: bool = False
    split: str = "test"
    along: str | None = None
