"""The parts of `benchmarks.on_device`, in order of value; each runs in a process of its own.

A part is a module with `run(record, tiny)`: it calls `record(**numbers)` for each result as soon as it is there, since
the process may be stopped after any of them. `tiny` are sizes for a CPU, which show that the part runs.
"""

from collections.abc import Callable

Record = Callable[..., None]
