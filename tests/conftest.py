"""A strict harness: promotions are errors, warnings are errors, and jax starts with 8 CPU devices."""

import os

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["JAX_NUMPY_DTYPE_PROMOTION"] = "strict"
os.environ["JAX_NUMPY_RANK_PROMOTION"] = "raise"
# Tests compile more than they run.
os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + (
    " --xla_force_host_platform_device_count=8 --xla_backend_optimization_level=0"
    " --xla_llvm_disable_expensive_passes=true"
)

from pathlib import Path

import hypothesis
import pytest

# Timings are no tests: a slow machine must not fail one.
hypothesis.settings.register_profile("jaxgen", deadline=None, max_examples=25, derandomize=True)
hypothesis.settings.load_profile("jaxgen")


@pytest.fixture(scope="session", autouse=True)
def _compile_once(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Shares compiled programs between the tests, and between the processes that run them."""
    from jaxgen.distributed import environment

    root = tmp_path_factory.getbasetemp()
    os.environ[environment.CACHE_VARIABLE] = str(
        (root.parent if "PYTEST_XDIST_WORKER" in os.environ else root) / "cache"
    )
    environment.enable_compile_cache()


@pytest.fixture(autouse=True)
def _own_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keeps every test away from the user's runs, cache and papers."""
    monkeypatch.setenv("JAXGEN_RUNS", str(tmp_path / "runs"))
    monkeypatch.delenv("JAXGEN_EXPERIMENTS", raising=False)


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory of a user who has the tiny paper."""
    from tests.tiny_paper import write_tiny_paper

    monkeypatch.setenv("JAXGEN_EXPERIMENTS", str(write_tiny_paper(tmp_path)))
    monkeypatch.chdir(tmp_path)
    return tmp_path
