"""How fast a population trains: percentiles, operations, and the part of a device's peak that they are."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxgen.condition import Numerics
from jaxgen.distributed.devices import GPUS, TPUS, named
from jaxgen.run import throughput
from jaxgen.run.throughput import Throughput, Timing
from tests.test_reproduce import run


@given(st.lists(st.tuples(st.integers(1, 20), st.integers(1, 1000)), min_size=1, max_size=30))
def test_percentiles_are_those_of_all_steps(chunks: list[tuple[int, int]]) -> None:
    measured = Throughput(10, Numerics(), 1)
    for steps, mean in chunks:
        measured.add(steps, float(steps * mean))
    every_step = np.repeat([mean for _, mean in chunks], [steps for steps, _ in chunks]).astype(float)
    found = measured.facts()["step_seconds"]
    for percent in (50, 90, 99):
        expected = np.percentile(every_step, percent, method="inverted_cdf")
        np.testing.assert_allclose(found[str(percent)], expected)


def test_what_is_not_known_is_none() -> None:
    measured = Throughput(10, Numerics(), 1)
    assert measured.facts() == {"flops": 10, "step_seconds": None, "flops_per_second": None, "mfu": None}
    measured.add(4, 2.0)
    assert measured.facts()["flops_per_second"] == 20
    assert measured.facts()["mfu"] is None  # of a CPU


@pytest.mark.parametrize(
    ("device", "numerics", "peak"),
    [
        (GPUS["h200"], Numerics(compute_dtype="bfloat16"), 989e12),
        (GPUS["h200"], Numerics(matmul_precision="highest"), 67e12),
        (TPUS["v5e"], Numerics(matmul_precision="highest"), 197e12 / 6),
    ],
)
def test_the_part_of_the_peak(monkeypatch: pytest.MonkeyPatch, device, numerics: Numerics, peak: float) -> None:
    monkeypatch.setattr(throughput, "named", lambda _: device)
    measured = Throughput(10**12, numerics, 4)
    measured.add(10, 1.0)  # 1e13 operations a second on four devices
    assert measured.facts()["mfu"] == pytest.approx(1e13 / (4 * peak))
    timing = Timing(conditions=("a",), members=1, seconds={}, throughput=measured.facts())
    assert timing.milliseconds() == {"50": "100", "90": "100", "99": "100"}
    assert timing.rate() == f"1e+04 GFLOP/s, {100 * 1e13 / (4 * peak):.1f} % of the peak"


def test_devices_by_the_names_that_jax_gives_them() -> None:
    for device in (TPUS | GPUS).values():
        assert named(device.name) is device
    assert named("cpu") is None
    assert named("NVIDIA H100 PCIe") is None  # slower than the module of the same name


@pytest.mark.long
def test_a_run_says_how_fast_it_was(tiny: Path) -> None:
    (dense, ticket) = run(tiny / "run").timings
    assert (dense.conditions, dense.members) == (("dense",), 2)
    # Of 2 members, the output layer of a batch of 8, hidden 12, 7 numbers: forward, and two products backward; the
    # layer before looks tokens up.
    assert dense.throughput["flops"] == ticket.throughput["flops"] == 2 * 3 * (2 * 8 * 12 * 7)
    assert dense.throughput["mfu"] is None
    seconds = dense.throughput["step_seconds"]
    assert 0 < seconds["50"] <= seconds["90"] <= seconds["99"]
    written = [json.loads(file.read_text())["throughput"] for file in (tiny / "run").rglob("status.json")]
    assert all(each.throughput in written for each in (dense, ticket))
