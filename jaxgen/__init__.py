"""A JAX engine for many small, exactly resumable runs, and a ledger of papers reproduced by ID."""

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from jaxgen.api.calls import fit, reproduce, reproduce_paper
    from jaxgen.errors import UserError
    from jaxgen.ledger.network import TrainedNetwork
    from jaxgen.ledger.runs import Member, Run, load_run
    from jaxgen.run.arguments import Interrupted

__all__ = [
    "Interrupted",
    "Member",
    "Run",
    "TrainedNetwork",
    "UserError",
    "__version__",
    "fit",
    "load_run",
    "reproduce",
    "reproduce_paper",
]

# Imported on first use, because `jaxgen list` must not wait for jax.
_WHERE = {
    "Interrupted": "jaxgen.run.arguments",
    "Member": "jaxgen.ledger.runs",
    "Run": "jaxgen.ledger.runs",
    "TrainedNetwork": "jaxgen.ledger.network",
    "UserError": "jaxgen.errors",
    "fit": "jaxgen.api.calls",
    "load_run": "jaxgen.ledger.runs",
    "reproduce": "jaxgen.api.calls",
    "reproduce_paper": "jaxgen.api.calls",
}


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'jaxgen' has no attribute '{name}'")
    import importlib

    return getattr(importlib.import_module(_WHERE[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
