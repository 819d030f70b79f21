"""Imports jax, and reports variables of the environment that it refuses."""

from __future__ import annotations

import os
import sys

from jaxgen.errors import UserError


def import_jax() -> None:
    """Imports jax, and turns its complaints about the environment into an error of one line.

    Raises:
      UserError: jax or XLA refuses the value of a variable.
    """
    try:
        from jax._src import xla_bridge  # jax has no public API to ask whether it is initialised
    except ValueError as error:
        raise UserError(f"jax refuses a variable of the environment: {error}; correct it or unset it") from None
    # XLA ends the process if a flag is unknown, so a child process tries the flags first.
    if os.environ.get("XLA_FLAGS") and not xla_bridge.backends_are_initialized():
        import subprocess

        asked = [sys.executable, "-c", "from jaxlib import _jax; _jax.CompileOptions()"]
        answer = subprocess.run(
            asked, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, encoding="utf-8", errors="replace"
        )
        if answer.returncode:
            said = (answer.stderr.strip().splitlines() or ["it ended without a message"])[0]
            raise UserError(f"XLA refuses XLA_FLAGS: {said.rpartition('] ')[2]}; correct it or unset it")
