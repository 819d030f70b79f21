"""From the configuration of a measure or an analysis to its values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax

from jaxgen.errors import UserError
from jaxgen.measures.accuracy import accuracy, by_position, loss, weight_norm, within_error
from jaxgen.measures.answers import accuracy_by_length, greedy_accuracy, token_accuracy
from jaxgen.measures.config import (
    AUC,
    Accuracy,
    AccuracyByLength,
    Analysis,
    ByPosition,
    GreedyAccuracy,
    LinearFit,
    Loss,
    Measure,
    NeuronIPR,
    Perturb,
    ProgressMeasures,
    PruneNeurons,
    TokenAccuracy,
    WeightNorm,
    WithinError,
)
from jaxgen.measures.evaluation import Evaluation, MemberSnapshots
from jaxgen.measures.fourier import progress_measures
from jaxgen.measures.neurons import neuron_ipr, prune_neurons
from jaxgen.measures.perturbation import perturb
from jaxgen.measures.scores import auc, linear_fit

_MEASURES: dict[type[Measure], Callable[[Any, Evaluation], dict[str, jax.Array]]] = {
    Accuracy: lambda _, evaluation: accuracy(evaluation),
    Loss: lambda _, evaluation: loss(evaluation),
    ByPosition: lambda _, evaluation: by_position(evaluation),
    TokenAccuracy: lambda _, evaluation: token_accuracy(evaluation),
    GreedyAccuracy: lambda _, evaluation: greedy_accuracy(evaluation),
    AccuracyByLength: accuracy_by_length,
    WeightNorm: lambda _, evaluation: weight_norm(evaluation),
    WithinError: within_error,
    NeuronIPR: neuron_ipr,
    AUC: lambda _, evaluation: auc(evaluation),
    LinearFit: lambda _, evaluation: linear_fit(evaluation),
}
_ANALYSES: dict[type[Analysis], Callable[[Any, MemberSnapshots], list[tuple[int, str, float]]]] = {
    PruneNeurons: prune_neurons,
    ProgressMeasures: progress_measures,
    Perturb: perturb,
}


def measure(config: Measure, evaluation: Evaluation) -> dict[str, jax.Array]:
    """Returns the values of one measure by key, each () float32. Pure: it may run under `jit` and `vmap`.

    Raises:
      UserError: the model or the task is not of the kind that the measure is about.
    """
    if type(config) not in _MEASURES:
        raise UserError(f"measures: got {type(config).__name__}, expected one of {_names(_MEASURES)}")
    return _MEASURES[type(config)](config, evaluation)


def analyse(config: Analysis, snapshots: MemberSnapshots) -> list[tuple[int, str, float]]:
    """Returns the rows (step, key, value) of one analysis of one member.

    Raises:
      UserError: the model or the task is not of the kind that the analysis is about.
    """
    if type(config) not in _ANALYSES:
        raise UserError(f"analyses: got {type(config).__name__}, expected one of {_names(_ANALYSES)}")
    return _ANALYSES[type(config)](config, snapshots)


def _names(functions: dict[type[Any], Any]) -> str:
    return ", ".join(each.__name__ for each in functions)
