"""Descriptions of GPUs, from which XLA compiles for a GPU that is not here.

OpenXLA publishes these numbers (xla/backends/gpu/target_config/specs).
"""

from __future__ import annotations

import dataclasses

from jaxgen.distributed.devices import GPUS


@dataclasses.dataclass(frozen=True)
class _Chip:
    name: str
    compute_capability: int
    cores: int
    clock_ghz: float
    bandwidth: int  # bytes a second
    l2_cache: int  # bytes


_CHIPS = {
    "h100": _Chip("NVIDIA H100 80GB HBM3", 9, 132, 1.98, 3352320000000, 52428800),
    "h200": _Chip("NVIDIA H200 141GB HBM3e", 9, 132, 1.98, 4800000000000, 52428800),
    "b200": _Chip("NVIDIA B200", 10, 148, 1.965, 7672320000000, 132644864),
}

# All of these have the limits of compute capability 9 or 10.
_TEXT = """
gpu_device_info {{
  threads_per_block_limit: 1024
  threads_per_warp: 32
  shared_memory_per_block: 49152
  shared_memory_per_core: 233472
  shared_memory_per_block_optin: 232448
  threads_per_core_limit: 2048
  core_count: {cores}
  fpus_per_core: 128
  block_dim_limit_x: 2147483647
  block_dim_limit_y: 65535
  block_dim_limit_z: 65535
  registers_per_core_limit: 65536
  registers_per_block_limit: 65536
  memory_bandwidth: {bandwidth}
  l2_cache_size: {l2_cache}
  clock_rate_ghz: {clock_ghz}
  device_memory_size: {memory}
  cuda_compute_capability {{ major: {compute_capability} }}
}}
platform_name: "CUDA"
dnn_version_info {{ major: 9 minor: 10 }}
device_description_str: "{name}"
"""


def target_config(kind: str) -> str:
    """Returns the GpuTargetConfigProto of `h100`, `h200` or `b200` as text."""
    return _TEXT.format(**dataclasses.asdict(_CHIPS[kind]), memory=int(GPUS[kind].memory))
