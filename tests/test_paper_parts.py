"""Parts of single papers against closed forms and plain numpy: alignment, spectra, convolutional and recurrent nets."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.condition import Condition
from jaxgen.errors import UserError
from jaxgen.experiments.grokking_tickets.parts import EmbeddingMLPConfig, FourierEntropy
from jaxgen.experiments.simplicity_bias.parts import ConvolutionalConfig, RecurrentConfig
from jaxgen.experiments.xor_benign.parts import Alignment, TwoLayerConfig
from jaxgen.measures.config import Measure
from jaxgen.measures.evaluation import Evaluation
from jaxgen.models.config import MLPConfig, ModelConfig
from jaxgen.objectives.losses import cross_entropy
from jaxgen.optimizers import SGD
from jaxgen.tasks import ModularTask, SlabTask, XORClusterTask
from jaxgen.tasks.base import Task

XOR = XORClusterTask(train=8, test=8, dimensions=4, signal=4.0)
SLABS = SlabTask(train=8, test=8, dimensions=6, simple="linear", complex="5-slab")
PAIRS = ModularTask(p=7, train_fraction=0.5, format="a b")
TWO_LAYERS = TwoLayerConfig(width=4, init_std=1.0)
EMBEDDING = EmbeddingMLPConfig(embedding=7, hidden=3)


def measured(part: Measure, task: Task, model: ModelConfig, params: dict) -> dict[str, float]:
    """What a measure says of given parameters, under `jit` as in a run."""
    made = Evaluation(
        module=model.build(task.shape()),
        variables={"params": params},
        splits={},
        shape=task.shape(),
        loss=cross_entropy,
        corruption=False,
    )
    values = jax.jit(part.values)(made)
    assert values.keys() == part.keys(None)
    return {key: float(value) for key, value in values.items()}


def condition(task: Task, model: ModelConfig, measure: Measure) -> Condition:
    return Condition(name="a", task=task, model=model, optimizer=SGD(learning_rate=0.1), steps=1, measures=(measure,))


# -- xor-benign


def test_alignment_is_the_cosine_with_the_means_of_a_neurons_own_label_and_of_the_other_one() -> None:
    # The first half of the neurons has a_j > 0, and mu1, the first axis, as its own.
    neurons = np.array([[3, 0, 4, 0], [0, 1, 0, 0], [0, 2, 0, 0], [4, 3, 0, 12]], np.float32)
    found = measured(Alignment(), XOR, TWO_LAYERS, {"layer_0": {"kernel": neurons.T}})
    assert found["alignment.own"] == pytest.approx((3 / 5 + 0 + 1 + 3 / 13) / 4)
    assert found["alignment.other"] == pytest.approx((0 + 1 + 0 + 4 / 13) / 4)


@pytest.mark.parametrize("size", [1e-19, 1e-30])
def test_alignment_does_not_depend_on_the_size_of_the_weights(size: float) -> None:
    neurons = np.random.default_rng(0).normal(size=(4, 4))
    plain = measured(Alignment(), XOR, TWO_LAYERS, {"layer_0": {"kernel": np.float32(neurons)}})
    tiny = measured(Alignment(), XOR, TWO_LAYERS, {"layer_0": {"kernel": np.float32(size * neurons)}})
    assert tiny == pytest.approx(plain, rel=1e-5)


def test_alignment_needs_the_two_layers_and_the_clusters() -> None:
    assert condition(XOR, TWO_LAYERS, Alignment())
    with pytest.raises(UserError, match="Alignment: got MLPConfig on XORClusterTask"):
        condition(XOR, MLPConfig(hidden=(4,)), Alignment())
    with pytest.raises(UserError, match="Alignment: got TwoLayerConfig on SlabTask"):
        condition(SLABS, TWO_LAYERS, Alignment())


# -- grokking-tickets


def spectrum_of(weight_VH: np.ndarray) -> dict[str, float]:
    params = {"embedding": np.eye(7, dtype=np.float32), "in": np.float32(weight_VH)}
    return measured(FourierEntropy(), PAIRS, EMBEDDING, params)


def test_the_entropy_of_a_spectrum_counts_its_frequencies() -> None:
    a = np.arange(7)
    one, two, three = (np.cos(2 * np.pi * k * a / 7 + k) for k in (1, 2, 3))
    assert spectrum_of(np.stack([one, one, two], axis=1))["fourier_entropy"] == pytest.approx(0, abs=1e-4)
    mixed = spectrum_of(np.stack([one, one + two, one + two + three], axis=1))
    assert mixed["fourier_entropy"] == pytest.approx((0 + np.log(2) + np.log(3)) / 3, abs=1e-4)
    # A constant is no frequency, and a neuron that is cut off has none.
    cut_off = spectrum_of(np.stack([0 * one, 5 + one + two, 0 * one], axis=1))
    assert cut_off["fourier_entropy"] == pytest.approx(np.log(2), abs=1e-4)
    assert spectrum_of(np.zeros((7, 3)))["fourier_entropy"] == 0


def test_the_authors_entropy_takes_a_softmax_and_leaves_out_the_last_frequency() -> None:
    a = np.arange(7)
    waves = [np.cos(2 * np.pi * k * a / 7) for k in (1, 2, 3)]
    alone = spectrum_of(np.stack([waves[0]] * 3, axis=1))["fourier_entropy_softmax"]
    assert alone == pytest.approx(np.log(np.e + 1) - 1, abs=1e-4)
    both = spectrum_of(np.stack([sum(waves)] * 3, axis=1))["fourier_entropy_softmax"]
    assert both == pytest.approx(np.log(2), abs=1e-4)


def test_the_spectrum_is_that_of_the_numbers_through_the_embedding() -> None:
    draw = np.random.default_rng(1).normal
    embedding, inner = draw(size=(7, 7)), draw(size=(7, 3))
    found = measured(FourierEntropy(), PAIRS, EMBEDDING, {"embedding": np.float32(embedding), "in": np.float32(inner)})
    direct = spectrum_of(embedding @ inner)
    assert found == pytest.approx(direct, rel=1e-4)
    amplitude = np.abs(np.fft.fft(embedding @ inner, axis=0))[1:4]
    p = amplitude / amplitude.sum(axis=0)
    assert direct["fourier_entropy"] == pytest.approx(np.mean(-np.sum(p * np.log(p), axis=0)), rel=1e-4)


def test_the_entropy_of_a_spectrum_needs_an_embedding() -> None:
    assert condition(PAIRS, EMBEDDING, FourierEntropy())
    with pytest.raises(UserError, match="FourierEntropy: got MLPConfig"):
        condition(PAIRS, MLPConfig(hidden=(4,)), FourierEntropy())


# -- simplicity-bias


def drawn(model: ModelConfig) -> tuple[np.ndarray, dict, np.ndarray]:
    """Inputs (5, 6), parameters as float64, and the logits of the network."""
    x_BS = jax.random.normal(jax.random.key(0), (5, 6))
    module = model.build(SLABS.shape())
    variables = module.init(jax.random.key(1), x_BS)
    logits = np.asarray(jax.jit(module.apply)(variables, x_BS))
    assert logits.shape == (5, 1, 2)
    return np.float64(x_BS), jax.tree.map(np.float64, variables["params"]), logits[:, 0]


def linear(x: np.ndarray, layer: dict) -> np.ndarray:
    return x @ layer["kernel"] + layer["bias"]


def test_a_convolutional_network_is_its_sums() -> None:
    x_BS, params, logits = drawn(ConvolutionalConfig(channels=3, kernel=5))
    taps_KC, bias_C = params["convolution"]["kernel"][:, 0], params["convolution"]["bias"]
    padded = np.pad(x_BS, ((0, 0), (2, 2)))
    convolved = sum(padded[:, k : k + 6, None] * taps_KC[k] for k in range(5)) + bias_C
    hidden = np.maximum(linear(np.maximum(convolved, 0).reshape(5, -1), params["hidden"]), 0)
    np.testing.assert_allclose(logits, linear(hidden, params["output"]), rtol=1e-4, atol=1e-5)
    with pytest.raises(UserError, match=r"model.kernel: got 4, expected an odd number"):
        ConvolutionalConfig(channels=3, kernel=4)


def test_a_recurrent_network_is_a_gru_over_chunks_of_the_features() -> None:
    x_BS, params, logits = drawn(RecurrentConfig(hidden=4, chunk=2))
    gru = params["gru"]
    h = np.zeros((5, 4))
    for step in range(3):
        x = x_BS[:, 2 * step : 2 * step + 2]

        def gate(name: str, x: np.ndarray = x, h: np.ndarray = h) -> np.ndarray:
            return 1 / (1 + np.exp(-linear(x, gru[f"i{name}"]) - h @ gru[f"h{name}"]["kernel"]))

        new = np.tanh(linear(x, gru["in"]) + gate("r") * linear(h, gru["hn"]))
        h = (1 - gate("z")) * new + gate("z") * h
    np.testing.assert_allclose(logits, linear(h, params["output"]), rtol=1e-4, atol=1e-5)
    with pytest.raises(UserError, match=r"model.chunk: got 4, expected a divisor of the 6 features"):
        RecurrentConfig(hidden=4, chunk=4).build(SLABS.shape())


@pytest.mark.parametrize("model", [ConvolutionalConfig(channels=64, kernel=3), RecurrentConfig(hidden=64, chunk=3)])
def test_the_first_weights_are_uniform_as_in_torch(model: ModelConfig) -> None:
    module = model.build(SLABS.shape())
    params = module.init(jax.random.key(0), jnp.zeros((1, 6)))["params"]
    largest = {"convolution": 3**-0.5, "hidden": (64 * 6) ** -0.5, "gru": 64**-0.5}
    for name in params.keys() & largest.keys():
        for leaf in jax.tree.leaves(params[name]):
            assert 0.8 * largest[name] < np.abs(leaf).max() <= largest[name]
            assert np.std(leaf) == pytest.approx(largest[name] / 3**0.5, rel=0.35)


@pytest.mark.parametrize("model", [ConvolutionalConfig(channels=2, kernel=3), RecurrentConfig(hidden=4)])
def test_these_networks_read_features_and_have_no_dropout(model: ModelConfig) -> None:
    with pytest.raises(UserError, match="reads features"):
        model.build(PAIRS.shape())
    with pytest.raises(UserError, match=r"model.dropout: got 0.5"):
        dataclasses.replace(model, dropout=0.5)
