"""A JAX engine for many small, exactly resumable runs, and a ledger of papers reproduced by ID."""

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from jaxgen.ledger.runs import Run, load_run

__all__ = ["Run", "__version__", "load_run"]


def __getattr__(name: str) -> Any:
    # Imported on first use, because `jaxgen list` must not wait for jax.
    if name in ("Run", "load_run"):
        from jaxgen.ledger import runs

        return getattr(runs, name)
    raise AttributeError(f"module 'jaxgen' has no attribute '{name}'")
