"""Topologies: the number, kind and links of devices for which programs are compiled without having the devices."""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import re
from collections.abc import Mapping
from typing import Any

from jaxgen.distributed.devices import GPUS, TPUS, Device
from jaxgen.errors import UserError, nearest, shown
from jaxgen.plan.gpu_target import target_config


@dataclasses.dataclass(frozen=True)
class Topology:
    """A slice of TPUs, or nodes of GPUs, as the compiler knows them."""

    name: str
    device: Device
    devices: tuple[Any, ...]
    node: int | None = None  # devices per node, consecutive in `devices`; None: all have the same links
    compiler_options: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def network(self, near: int) -> float:
        """Returns bytes a second, one way, of a device in collectives whose group has `near` devices in a node.

        Between nodes, rings leave a node by the adapters of all its participating devices.
        """
        device = self.device
        return device.network if self.node is None else min(device.network, near * device.between_nodes)


def read_topology(name: str) -> Topology:
    """Returns the topology `v5p:4x4x4` or `h200:2x8`.

    A slice is given in chips; if a chip is two devices, there are twice as many devices. GPUs are given as nodes x GPUs
    per node, or as the GPUs of one node.

    Raises:
      UserError: the kind or shape is unknown, or the compiler for it is not installed.
    """
    kind, colon, shape = name.partition(":")
    kinds = TPUS | GPUS
    if kind not in kinds:
        raise UserError(f"topology: no kind '{kind}'{nearest(kind, kinds)}; the kinds are: {', '.join(kinds)}")
    if kind in GPUS:
        return _gpus(name, kind, shape)
    if not colon or not re.fullmatch(r"[1-9]\d{0,3}x[1-9]\d{0,3}(x[1-9]\d{0,3})?", shape):
        raise UserError(f"topology: got {shown(name)}, expected the shape of a slice, such as v5e:2x4 or v5p:4x4x4")
    if importlib.util.find_spec("libtpu") is None:
        raise UserError('topology: compiling for a TPU needs libtpu; pip install "jaxgen[tpu]"')
    # libtpu would look for a TPU machine, and there is none.
    os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
    os.environ.setdefault("TPU_ACCELERATOR_TYPE", "v5litepod-4")
    os.environ.setdefault("TPU_WORKER_HOSTNAMES", "localhost")
    # Only one process at a time may use a TPU, but any number may compile for one.
    os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")
    from jax.experimental import topologies

    try:
        described = topologies.get_topology_desc(name, platform="tpu")
    except Exception as error:
        raise UserError(f"topology: libtpu has no '{name}': {str(error).splitlines()[0]}") from None
    return Topology(name, TPUS[kind], tuple(described.devices))


def _gpus(name: str, kind: str, shape: str) -> Topology:
    match = re.fullmatch(r"(?:([1-9]\d{0,5})x)?([1-9]\d{0,5})", shape)
    if match is None:
        raise UserError(f"topology: got {shown(name)}, expected nodes x GPUs of a node, such as {kind}:8 or {kind}:2x8")
    nodes, node = int(match[1] or 1), int(match[2])
    if not any(importlib.util.find_spec(f"jax_cuda{version}_plugin") for version in (13, 12)):
        raise UserError('topology: compiling for a GPU needs the CUDA plugin; pip install "jaxgen[cuda13]"')
    from jax.experimental import topologies

    try:
        described = topologies.get_topology_desc(
            kind, platform="cuda", target_config=target_config(kind), topology=f"1x{nodes}x{node}"
        )
    except Exception as error:
        raise UserError(f"topology: the CUDA plugin has no '{name}': {str(error).splitlines()[0]}") from None
    # XLA would choose kernels by timing them on the devices, but there are none. Without these timings Triton's tiles
    # for # matrix products do not compile for all shapes, so cuBLAS computes the products.
    options = {"xla_gpu_autotune_level": 0, "xla_gpu_enable_triton_gemm": False}
    return Topology(name, GPUS[kind], tuple(described.devices), node if nodes > 1 else None, options)
