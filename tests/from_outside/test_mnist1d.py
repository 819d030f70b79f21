"""MNIST-1D as it was published (github.com/greydanus/mnist1d, mnist1d_data.pkl): moments of its 5,000 examples.

Ours are drawn anew, so each number differs by what two draws of the recipe differ by.
"""

import numpy as np
import pytest

from jaxgen.tasks import MNIST1DTask

pytestmark = pytest.mark.report("https://github.com/greydanus/mnist1d")

QUANTILES = {
    0.001: -3.554, 0.01: -2.784, 0.05: -1.683, 0.1: -1.173, 0.25: -0.547, 0.5: 0.014,
    0.75: 0.567, 0.9: 1.144, 0.95: 1.576, 0.99: 2.758, 0.999: 3.627,
}  # fmt: skip
STANDARD_DEVIATIONS = (1.196, 0.873, 0.835, 1.009, 0.881, 0.838, 1.191, 0.877, 1.000, 0.899)  # of the classes 0 to 9
THIRD_MOMENTS = (1.391, -0.294, -0.002, 0.555, -0.422, -0.113, -1.347, 0.279, -0.551, -0.458)
CORRELATIONS = {1: 0.815, 2: 0.533, 3: 0.351, 5: 0.200, 8: 0.092, 13: 0.027}  # of points so far apart
EIGENVALUES = (9.845, 4.560, 3.792, 3.305, 2.623, 2.404, 1.807, 1.510)  # the largest of the covariance
DIFFERENCES = (0.5984, 0.7237)  # the standard deviations of first and second differences


def test_examples_are_of_the_published_law() -> None:
    table = MNIST1DTask(data_seed=0).table(0)
    points = np.concatenate([split.inputs for split in table.values()]).astype(np.float64)
    classes = np.concatenate([split.targets for split in table.values()]).ravel()
    assert [len(split.inputs) for split in table.values()] == [4000, 1000]
    assert np.bincount(classes).tolist() == [500] * 10
    np.testing.assert_allclose(np.quantile(points, list(QUANTILES)), list(QUANTILES.values()), atol=0.03)
    for digit, (deviation, third) in enumerate(zip(STANDARD_DEVIATIONS, THIRD_MOMENTS, strict=True)):
        own = points[classes == digit]
        assert own.std() == pytest.approx(deviation, abs=0.02)
        assert ((own - own.mean()) ** 3).mean() == pytest.approx(third, abs=0.08)
    for apart, correlation in CORRELATIONS.items():
        assert np.mean(points[:, :-apart] * points[:, apart:]) == pytest.approx(correlation, abs=0.015)
    found = np.linalg.eigvalsh(np.cov(points.T))[::-1][: len(EIGENVALUES)]
    np.testing.assert_allclose(found, EIGENVALUES, rtol=0.08)
    first = np.diff(points, axis=1)
    assert (first.std(), np.diff(first, axis=1).std()) == pytest.approx(DIFFERENCES, abs=0.005)
