"""Devices that programs are compiled for without having them.

Peaks are the vendor's, of one chip (docs.cloud.google.com/tpu/docs, pages v5e, v5p, v6e, tpu7x); where a chip shows
as two devices each has half of it.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import re
from typing import Any

from jaxgen.errors import UserError, nearest

GB = 1e9


@dataclasses.dataclass(frozen=True)
class Device:
    """One device: what it can do at best."""

    kind: str
    flops: float  # bfloat16 multiplications and additions a second
    memory: float  # bytes
    bandwidth: float  # bytes a second, of that memory
    network: float  # bytes a second to its neighbours, one way, all links together


TPUS = {
    "v5e": Device("TPU v5e", 197e12, 16 * GB, 819 * GB, 200 * GB),
    "v5p": Device("TPU v5p", 459e12, 95 * GB, 2765 * GB, 600 * GB),
    "v6e": Device("TPU v6e", 918e12, 32 * GB, 1638 * GB, 400 * GB),
    "tpu7x": Device("half a TPU7x", 2307e12 / 2, 96 * 2**30, 7380 * GB / 2, 300 * GB),
}


@dataclasses.dataclass(frozen=True)
class Topology:
    """A slice of devices, as the compiler knows it."""

    name: str
    device: Device
    devices: tuple[Any, ...]


def read_topology(name: str) -> Topology:
    """Returns the topology `v5p:4x4x4`, of chips; where a chip is two devices there are twice as many.

    Raises:
      UserError: no such kind or shape, or what compiles for it is not installed.
    """
    kind, colon, shape = name.partition(":")
    if kind not in TPUS:
        raise UserError(f"topology: no kind '{kind}'{nearest(kind, TPUS)}; there is: {', '.join(TPUS)}")
    if not colon or not re.fullmatch(r"\d+x\d+(x\d+)?", shape):
        raise UserError(f"topology: got '{name}', expected the shape of a slice, such as v5e:2x4 or v5p:4x4x4")
    if importlib.util.find_spec("libtpu") is None:
        raise UserError('topology: compiling for a TPU needs libtpu; pip install "jaxgen[tpu]"')
    # libtpu looks for the machine that it runs on, and there is none.
    os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
    os.environ.setdefault("TPU_ACCELERATOR_TYPE", "v5litepod-4")
    os.environ.setdefault("TPU_WORKER_HOSTNAMES", "localhost")
    from jax.experimental import topologies

    try:
        described = topologies.get_topology_desc(name, platform="tpu")
    except Exception as error:
        raise UserError(f"topology: libtpu has no '{name}': {str(error).splitlines()[0]}") from None
    return Topology(name, TPUS[kind], tuple(described.devices))
