"""What the device reaches at all, and how fast attention is beside XLA, cuDNN, tokamax and torch."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks.device import Record
from jaxgen.kernels.attention.bench import SMALL, Shape, rivals
from jaxgen.kernels.attention.problem import Unsupported

SHAPES = (
    Shape(65536 // 5, 5, 4, 32), Shape(32, 512, 32, 64), Shape(65536 // 32, 32, 4, 32), Shape(8, 2048, 16, 128),
    Shape(65536 // 64, 64, 2, 64), Shape(2, 8192, 16, 128), Shape(65536 // 16, 16, 4, 32), Shape(8, 2048, 32, 64),
)  # fmt: skip


def run(record: Record, tiny: bool) -> None:
    ceilings(record, tiny)
    for shape in SMALL[:1] if tiny else SHAPES:
        for gradient in (False, True):
            for name, seconds_of in rivals(on_cpu=tiny).items():
                about = {"what": "gradient" if gradient else "forward", "by": name, "B": shape.batch, "S": shape.length}
                about |= {"H": shape.heads, "C": shape.width}
                try:
                    took = seconds_of(shape, gradient, "bfloat16", 0.001 if tiny else 0.05)
                except Unsupported as error:
                    record(**about, refused=str(error))
                except Exception as error:  # a rival that breaks must not hide the others
                    record(**about, failed=f"{type(error).__name__}: {str(error)[:300]}")
                else:
                    rate = shape.bytes(gradient, 2) / took / 1e9 if shape.short else shape.flops(gradient) / took / 1e12
                    record(**about, us=1e6 * took, rate=rate, unit="GB/s" if shape.short else "TFLOP/s")


def ceilings(record: Record, tiny: bool) -> None:
    """Records the rate of a copy, and of a matrix product of random bfloat16 numbers."""
    size = 2**16 if tiny else 2**30
    x = jnp.ones(size, jnp.float32)
    seconds = median_seconds(jax.jit(lambda x: x + 1), x)
    record(what="ceiling", by="copy", rate=2 * 4 * size / seconds / 1e9, unit="GB/s")
    n = 256 if tiny else 8192
    a, b = (jax.random.normal(jax.random.key(i), (n, n), jnp.bfloat16) for i in range(2))
    seconds = median_seconds(jax.jit(jnp.dot), a, b)
    record(what="ceiling", by="matrix product", rate=2 * n**3 / seconds / 1e12, unit="TFLOP/s")


def median_seconds(function: Callable[..., Any], *arrays: Any) -> float:
    """Returns the median time of ten calls, each waited for."""
    jax.block_until_ready(function(*arrays))
    times = []
    for _ in range(10):
        began = time.perf_counter()
        jax.block_until_ready(function(*arrays))
        times.append(time.perf_counter() - began)
    return statistics.median(times)
