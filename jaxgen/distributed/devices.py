"""Peak numbers of devices, as their makers publish them.

TPUs: per chip (docs.cloud.google.com/tpu/docs, pages v5e, v5p, v6e, tpu7x); if jax sees a chip as two devices, each has
half of the chip's numbers. GPUs: of the SXM modules, without sparsity (NVIDIA's data sheets of H100, H200 and HGX B200:
bfloat16, TF32, float32, memory bandwidth, NVLink), memory as CUDA reports it (OpenXLA's descriptions of these devices,
xla/backends/gpu/target_config/specs), and one 400 Gb/s adapter a GPU to other nodes (DGX H100, H200, B200).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

GB = 1e9


@dataclasses.dataclass(frozen=True)
class Device:
    """The peak numbers of one device."""

    kind: str
    name: str  # jax's name of the device
    flops: float  # bfloat16 multiplications and additions a second
    float32: Mapping[str, float]  # the same for float32 products, by matmul precision
    memory: float  # bytes
    bandwidth: float  # bytes a second, to and from memory
    network: float  # bytes a second to its neighbours (for GPUs: in its node), one way, over all links together
    between_nodes: float = 0  # bytes a second over its own link to other nodes, one way

    def rate(self, compute_dtype: str, matmul_precision: str) -> float:
        """Returns operations a second in matrix products with this dtype and precision."""
        return self.float32[matmul_precision] if compute_dtype == "float32" else self.flops


def _tpu(kind: str, name: str, flops: float, memory: float, bandwidth: float, network: float) -> Device:
    # A float32 product consists of 1, 3 or 6 bfloat16 products.
    float32 = {"default": flops, "high": flops / 3, "highest": flops / 6}
    return Device(kind, name, flops, float32, memory, bandwidth, network)


def _gpu(
    kind: str, name: str, flops: float, tf32: float, float32: float, memory: float, bandwidth: float,
    network: float,
) -> Device:  # fmt: skip
    precisions = {"default": tf32, "high": tf32, "highest": float32}
    return Device(kind, name, flops, precisions, memory, bandwidth, network, between_nodes=50 * GB)


TPUS = {
    "v5e": _tpu("TPU v5e", "TPU v5 lite", 197e12, 16 * GB, 819 * GB, 200 * GB),
    "v5p": _tpu("TPU v5p", "TPU v5", 459e12, 95 * GB, 2765 * GB, 600 * GB),
    "v6e": _tpu("TPU v6e", "TPU v6 lite", 918e12, 32 * GB, 1638 * GB, 400 * GB),
    "tpu7x": _tpu("half a TPU7x", "TPU7x", 2307e12 / 2, 96 * 2**30, 7380 * GB / 2, 300 * GB),
}
GPUS = {
    "h100": _gpu("NVIDIA H100 SXM", "NVIDIA H100 80GB HBM3", 989e12, 494e12, 67e12, 84942979072, 3350 * GB, 450 * GB),
    "h200": _gpu("NVIDIA H200 SXM", "NVIDIA H200", 989e12, 494e12, 67e12, 151397597184, 4800 * GB, 450 * GB),
    "b200": _gpu("NVIDIA B200 SXM", "NVIDIA B200", 2250e12, 1100e12, 80e12, 191514411008, 8000 * GB, 900 * GB),
}


def named(name: str) -> Device | None:
    """Returns the device that jax calls `name`, or None if its peaks are unknown."""
    return next((device for device in (TPUS | GPUS).values() if name == device.name), None)
