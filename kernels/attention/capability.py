"""The capabilities of each kernel, as data, with the reasons for what it cannot do.

`python -m jaxgen.kernels.attention.bench --capabilities` prints the table.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax

from jaxgen.kernels.attention import gpu_flash, gpu_short
from jaxgen.kernels.attention.gpu_products import HAS_INTERPRETER, SHARED_BYTES
from jaxgen.kernels.attention.problem import Problem

INTERPRETER = "interpreter"  # the device kind of an `Interpreter`


@dataclasses.dataclass(frozen=True)
class Kernel:
    """One implementation of the forward pass and the gradient.

    Attributes:
      name: its module in this folder.
      implementation: the name by which the user requests it.
      platform: `tpu` or `gpu`.
      dtypes: the supported dtypes, and the dtype in which each is computed.
      width: the smallest and the largest width of a head, and the number of which it must be a multiple.
      longest: the largest length S; None: any.
      capabilities: the compute capabilities (major) of the GPUs that it supports; empty: all.
      shared_bytes: maps a problem to the shared memory of a block of threads; None: little.
      lacks: features of a problem that it does not support, each with the reason.
      compiled_for: the devices for which tests compile it.
      run_on: the kinds of devices (`device_kind`) on which it ran, matched the reference and was faster than XLA.
    """

    name: str
    implementation: str
    platform: str
    dtypes: Mapping[str, str]
    width: tuple[int, int, int]
    longest: int | None = None
    capabilities: tuple[int, ...] = ()
    shared_bytes: Callable[[Problem], int] | None = None
    lacks: Mapping[str, str] = dataclasses.field(default_factory=dict)
    compiled_for: tuple[str, ...] = ()
    run_on: tuple[str, ...] = ()

    def why_not(self, problem: Problem, device: Any) -> str | None:
        """Returns the reason why the kernel cannot solve `problem` on `device`, or None if it can."""
        least, most, multiple = self.width
        if platform_of(device) != self.platform:
            return f"it runs on a {self.platform}, the device is a {platform_of(device)} ({device.device_kind})"
        if self.platform == "gpu" and self.capabilities:
            major = int(str(getattr(device, "compute_capability", "0")).split(".")[0])
            if major not in self.capabilities:
                needed = " or ".join(f"{each}.x" for each in self.capabilities)
                return f"it is written for compute capability {needed}, {device.device_kind} has {major}.x"
        if device.device_kind == INTERPRETER and self.platform == "gpu" and not HAS_INTERPRETER:
            return f"jax {jax.__version__} has no interpreter of Mosaic GPU; 0.12 has"
        if problem.dtype not in self.dtypes:
            return f"it has no {problem.dtype}, only {', '.join(self.dtypes)}"
        if not least <= problem.width <= most or problem.width % multiple:
            return f"heads are {problem.width} wide, expected {least} to {most} and a multiple of {multiple}"
        positions = max(problem.length, len(problem.positions))
        if self.longest is not None and positions > self.longest:
            return f"there are {positions} positions, expected {self.longest} at most"
        if self.shared_bytes is not None and self.shared_bytes(problem) > SHARED_BYTES:
            return (
                f"{problem.group} heads of {problem.dtype}, {problem.width} wide, that share keys take "
                f"{self.shared_bytes(problem)} bytes of shared memory, there are {SHARED_BYTES}"
            )
        for feature, reason in self.lacks.items():
            if _has(problem, feature):
                return f"it has no {feature}: {reason}"
        return None


def platform_of(device: Any) -> str:
    """Returns `cpu`, `gpu` or `tpu`."""
    return {"cuda": "gpu", "rocm": "gpu"}.get(device.platform, device.platform)


def _has(problem: Problem, feature: str) -> bool:
    return {
        "q_positions": problem.positions != tuple(range(problem.length)),
        "bias": problem.bias,
        "bias of each example": problem.bias and not problem.shared_bias,
        "segment_ids": problem.segments,
        "lengths": problem.lengths,
        "window": problem.window is not None,
        "softcap": problem.softcap is not None,
        "lse": problem.lse,
    }[feature]


_NO_BIAS = "its gradient would be as large as the scores, which the kernel never writes to memory"
_NO_LSE = "it goes over a sequence once and keeps none"
_TPU_TYPES = {"float32": "float32", "bfloat16": "bfloat16", "float16": "float32"}
_GPU_TYPES = {"float32": "float32", "bfloat16": "bfloat16", "float16": "float16"}
_TPUS = ("v5e", "v5p", "v6e", "tpu7x")

KERNELS = (
    Kernel(
        "tpu_short",
        "pallas",
        "tpu",
        _TPU_TYPES,
        (8, 256, 8),
        longest=64,
        lacks={"lse": _NO_LSE, "bias of each example": "its gradient would be as large as the scores of all"},
        compiled_for=_TPUS,
    ),
    Kernel("tpu_flash", "pallas", "tpu", _TPU_TYPES, (8, 256, 8), lacks={"bias": _NO_BIAS}, compiled_for=_TPUS),
    Kernel(
        "gpu_short",
        "pallas",
        "gpu",
        _GPU_TYPES,
        (16, 256, 16),
        longest=64,
        capabilities=(9,),
        shared_bytes=gpu_short.shared_bytes,
        lacks={"bias": _NO_BIAS, "lse": _NO_LSE},
        compiled_for=("h200",),
    ),
    Kernel(
        "gpu_flash",
        "pallas",
        "gpu",
        _GPU_TYPES,
        (16, 256, 16),
        capabilities=(9,),
        shared_bytes=gpu_flash.shared_bytes,
        lacks={"bias": _NO_BIAS},
        compiled_for=("h200",),
    ),
    Kernel(
        "cudnn",
        "cudnn",
        "gpu",
        {"bfloat16": "bfloat16", "float16": "float16"},
        (8, 256, 8),
        lacks={
            "bias": "its gradient has limits of its own (an even length, say); ask for xla",
            "segment_ids": "it would need a mask as large as the scores; ask for pallas or xla",
            "lengths": "they would need a mask as large as the scores; ask for pallas or xla",
            "softcap": "cuDNN's, as jax has it, puts none on scores",
            "lse": "jax does not give what cuDNN has of it",
            "q_positions": "its causal mask begins at the first position of each",
        },
        compiled_for=("h200",),
    ),
)


def kernels(implementation: str) -> tuple[Kernel, ...]:
    """Returns the kernels of an implementation, the preferred one first."""
    return tuple(kernel for kernel in KERNELS if kernel.implementation == implementation)
