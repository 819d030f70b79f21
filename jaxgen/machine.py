"""The memory of this machine, and how a device is called. Imports no jax."""

from __future__ import annotations

import os
import resource
from pathlib import Path
from typing import Any

from jaxgen.errors import UserError

# Memory limits of a container: control groups version 2 and version 1.
_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


def memory() -> int:
    """Returns the bytes of memory that a process can use: the machine's, or a lower limit."""
    found = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for path in _LIMITS:
        try:
            found.append(int(path.read_text(encoding="ascii")))
        except (OSError, ValueError):
            continue  # no limit: the file is missing, or holds the word "max"
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    return min(found + ([limit] if limit != resource.RLIM_INFINITY else []))


def check_memory(needed: int, what: str) -> None:
    """Raises `UserError` if this machine has less memory than `needed`. Call it before the allocation."""
    if needed > memory():
        raise UserError(f"{what} take {_size(needed)} at least, and this machine has {_size(memory())} of memory")


def _size(count: int) -> str:
    return f"{count / 1e9:,.1f} GB"


def device_name(about: dict[str, Any]) -> str:
    """Describes the device of a recorded environment: the accelerator, or the processor and its cores."""
    if about["devices"]["platform"] == "cpu":
        cores = about["cores"]
        return f"{about['cpu']}, {cores} core{'' if cores == 1 else 's'}"
    return f"{about['devices']['count']} x {about['devices']['kind']}"
