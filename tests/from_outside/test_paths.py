"""Runs in folders whose names are patterns, or hard to print, for the libraries below."""

import os
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.run.arguments import Interrupted
from jaxgen.run.checkpoint import CheckpointStore
from tests.test_reproduce import Stopper, assert_same_runs, run
from tests.tiny_paper import invoke

TREE = {"w": jnp.arange(6.0).reshape(2, 3)}
NAMES = [
    "r[1]",
    "a\\b",
    "a*b",
    "a?b",
    "with space",
    "\u00fc\u20ac",
    "new\nline",
    "a#b",
    "a%20b",
    "gs:",
    os.fsdecode(b"\xff"),
]


@pytest.mark.report("tensorflow/tensorflow#32614")
@pytest.mark.report("tensorflow/tensorflow#34290")
@pytest.mark.parametrize("name", NAMES)
def test_what_is_saved_below_any_folder_is_read(tmp_path: Path, name: str) -> None:
    for beside in ("axb", "r1"):  # what the patterns would match
        CheckpointStore(tmp_path / beside / "c").save(1, {"w": jnp.zeros((2, 3))})
    CheckpointStore(tmp_path / name / "c").save(1, TREE)
    np.testing.assert_array_equal(CheckpointStore(tmp_path / name / "c").load(1)["w"], TREE["w"])


@pytest.mark.long
@pytest.mark.report("tensorflow/tensorflow#34290")
def test_a_run_below_such_a_folder_resumes(tiny: Path) -> None:
    run(tiny / "whole", seeds=1)
    path = tiny / "r[1]\\*" / "run"
    with pytest.raises(Interrupted):
        run(path, Stopper(9), seeds=1)
    assert invoke("checkpoints", str(path)).exit_code == 0
    assert invoke("resume", str(path)).exit_code == 0
    assert_same_runs(tiny / "whole", path)
