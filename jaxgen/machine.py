"""How much memory this machine gives; imports no jax."""

from __future__ import annotations

import os
import resource
from pathlib import Path

from jaxgen.errors import UserError

# Limits of a container: of control groups in their second and first version.
_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


def memory() -> int:
    """Returns the bytes that a process here can have: the machine's, or less where it is limited."""
    found = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for path in _LIMITS:
        try:
            found.append(int(path.read_text(encoding="ascii")))
        except (OSError, ValueError):
            continue  # there is none: no such file, or the word "max"
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    return min(found + ([limit] if limit != resource.RLIM_INFINITY else []))


def check_memory(needed: int, what: str) -> None:
    """Raises `UserError` where this machine has not so many bytes; before what would take them is made."""
    if needed > memory():
        raise UserError(f"{what} take {_size(needed)} at least, and this machine has {_size(memory())} of memory")


def _size(count: int) -> str:
    return f"{count / 1e9:,.1f} GB"
