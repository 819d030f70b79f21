"""A strict harness: promotions are errors, warnings are errors, and jax starts with 8 CPU devices."""

import os

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["JAX_NUMPY_DTYPE_PROMOTION"] = "strict"
os.environ["JAX_NUMPY_RANK_PROMOTION"] = "raise"
os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"

from pathlib import Path

import hypothesis
import pytest

# Timings are no tests: a slow machine must not fail one.
hypothesis.settings.register_profile("jaxgen", deadline=None, max_examples=25, derandomize=True)
hypothesis.settings.load_profile("jaxgen")


@pytest.fixture(autouse=True)
def _own_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keeps every test away from the user's runs, cache and papers."""
    monkeypatch.setenv("JAXGEN_RUNS", str(tmp_path / "runs"))
    monkeypatch.delenv("JAXGEN_EXPERIMENTS", raising=False)
