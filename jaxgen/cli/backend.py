"""Importing jax, whatever the environment says to it."""

from __future__ import annotations

import os
import sys

from jaxgen.errors import UserError


def import_jax() -> None:
    """Imports jax, so that what it says of the environment is told in one line.

    Raises:
      UserError: a variable has a value that jax, or XLA, does not take.
    """
    try:
        from jax._src import xla_bridge  # jax has no public way to ask whether it has begun
    except ValueError as error:
        raise UserError(f"jax refuses a variable of the environment: {error}; correct it or unset it") from None
    # XLA ends the process where it does not know a flag, so another one is asked first.
    if os.environ.get("XLA_FLAGS") and not xla_bridge.backends_are_initialized():
        import subprocess

        asked = [sys.executable, "-c", "from jaxlib import _jax; _jax.CompileOptions()"]
        answer = subprocess.run(
            asked, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, encoding="utf-8", errors="replace"
        )
        if answer.returncode:
            said = (answer.stderr.strip().splitlines() or ["it ended without a word"])[0]
            raise UserError(f"XLA refuses XLA_FLAGS: {said.rpartition('] ')[2]}; correct it or unset it")
