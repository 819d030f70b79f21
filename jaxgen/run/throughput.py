"""Measures how fast a population trains, and which part of the device's peak that is."""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from jaxgen.condition import Numerics
from jaxgen.distributed.devices import named

# Statistics cover this many of the last chunks: half an hour or more.
CHUNKS = 4096


class Throughput:
    """Collects step times from the chunks in which nothing but training happened.

    Args:
      flops: operations of the matrix products in one step of the whole population, on all devices together.
      numerics: the precision of the computation.
      devices: the number of devices.
    """

    def __init__(self, flops: int, numerics: Numerics, devices: int):
        device = named(jax.devices()[0].device_kind)
        self._flops = flops
        self._peak = device and devices * device.rate(numerics.compute_dtype, numerics.matmul_precision)
        self._chunks: deque[tuple[int, float]] = deque(maxlen=CHUNKS)  # (steps, seconds)

    def add(self, steps: int, seconds: float) -> None:
        self._chunks.append((steps, seconds))

    def facts(self) -> dict[str, Any]:
        """Returns JSON: `flops` of a step; `step_seconds`, percentiles over the steps, each as long as the mean of its
        chunk; `flops_per_second` of the median step; `mfu`, the part of the device's peak that this is. Unknown values
        are None.
        """
        facts: dict[str, Any] = {"flops": self._flops, "step_seconds": None, "flops_per_second": None, "mfu": None}
        if not self._chunks:
            return facts
        steps, seconds = (np.array(column, np.float64) for column in zip(*self._chunks, strict=True))
        percentiles = {str(p): _percentile(seconds / steps, steps, p) for p in (50, 90, 99)}
        rate = self._flops / percentiles["50"]
        return facts | {
            "step_seconds": percentiles, "flops_per_second": rate, "mfu": self._peak and rate / self._peak
        }  # fmt: skip


@dataclasses.dataclass(frozen=True, kw_only=True)
class Timing:
    """The time and speed of one population's training."""

    conditions: tuple[str, ...]
    members: int
    seconds: Mapping[str, float]  # by activity, all processes together
    throughput: Mapping[str, Any]  # the facts of a `Throughput`; empty if no step was timed

    def milliseconds(self) -> dict[str, str]:
        """Returns the time of a step in milliseconds by percentile, as text."""
        found = self.throughput.get("step_seconds") or {}
        return {percent: f"{1e3 * seconds:.3g}" for percent, seconds in found.items()}

    def rate(self) -> str:
        """Describes the operations a second of the median step, and their part of the device's peak."""
        mfu = self.throughput["mfu"]
        share = f", {100 * mfu:.1f} % of the peak" if mfu else ""
        return f"{self.throughput['flops_per_second'] / 1e9:.3g} GFLOP/s{share}"


def _percentile(values: np.ndarray, weights: np.ndarray, percent: float) -> float:
    """Returns the weighted percentile of the values."""
    order = np.argsort(values, kind="stable")
    below = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(below, percent / 100 * below[-1])])
