"""What a run writes down of its environment and source: what matters, no secrets, and nothing is run for it."""

from __future__ import annotations

import json
import stat
import subprocess
from pathlib import Path

import pytest

from jaxgen.distributed import environment, variables
from tests.test_reproduce import run

DIRTY = {
    "core.fsmonitor": "CANARY",
    "diff.external": "CANARY",
    "diff.loud.textconv": "CANARY",
    "diff.loud.command": "CANARY",
    "filter.loud.clean": "CANARY",
    "filter.loud.process": "CANARY",
    "filter.loud.required": "true",
    "filter.a=b.clean": "CANARY",
}


def git(folder: Path, *args: str) -> None:
    own = ["-c", "user.name=nobody", "-c", "user.email=nobody@localhost"]
    subprocess.run(["git", "-C", str(folder), *own, *args], check=True, capture_output=True)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A file of a checkout with one commit."""
    folder = tmp_path / "checkout"
    folder.mkdir()
    git(folder, "init", "--quiet")
    (folder / "source.py").write_text("a = 1\n")
    (folder / ".gitattributes").write_text("source.py diff=loud filter=loud\nother.py filter=a=b\n")
    (folder / "other.py").write_text("b = 1\n")
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "--message", "one")
    return folder / "source.py"


def test_the_source_is_told_by_commit_and_a_digest_of_what_was_changed(checkout: Path) -> None:
    clean = environment.source(checkout)
    assert (clean["modified"], clean["diff_sha256"]) == (False, None)
    assert len(clean["commit"]) == 40
    checkout.write_text("a = 'hunter2'\n")
    changed = environment.source(checkout)
    assert changed["commit"] == clean["commit"]
    assert changed["modified"]
    assert "hunter2" not in json.dumps(changed)
    assert environment.source(checkout)["diff_sha256"] == changed["diff_sha256"]
    checkout.write_text("a = 3\n")
    assert environment.source(checkout)["diff_sha256"] != changed["diff_sha256"]
    assert "+a = 3" in environment.source(checkout, keep_diff=True)["diff"]
    checkout.write_text("a = 1\n")
    (checkout.parent / "new.py").touch()
    added = environment.source(checkout, keep_diff=True)
    assert (added["modified"], added["diff"], added["untracked"]) == (True, "", "new.py")
    # A file that git does not know is in no checkout.
    assert environment.source(checkout.parent / "new.py") == dict.fromkeys(("commit", "modified", "diff_sha256"))


def test_nothing_that_a_checkout_names_is_run(checkout: Path, tmp_path: Path) -> None:
    canary, heard = tmp_path / "canary.sh", tmp_path / "heard"
    canary.write_text(f"#!/bin/sh\necho ran >> {heard}\nexit 1\n")
    canary.chmod(canary.stat().st_mode | stat.S_IXUSR)
    hooks = checkout.parent / ".git" / "hooks"
    hooks.mkdir(exist_ok=True)
    (hooks / "post-index-change").write_bytes(canary.read_bytes())
    (hooks / "post-index-change").chmod(0o755)
    for key, value in DIRTY.items():
        git(checkout.parent, "config", key, value.replace("CANARY", str(canary)))
    checkout.write_text("a = 2\n")
    (checkout.parent / "other.py").write_text("b = 2\n")
    subprocess.run(["git", "-C", str(checkout.parent), "diff", "HEAD"], capture_output=True)
    assert heard.exists(), "the canary is dead"
    heard.unlink()
    found = environment.source(checkout, keep_diff=True)
    assert {"+a = 2", "+b = 2"} <= set(found["diff"].splitlines())
    assert not heard.exists()


@pytest.mark.long
def test_a_run_writes_named_variables_down_and_no_secrets(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("JAX_MY_TOKEN", "XLA_PASSWORD", "LIBTPU_CREDENTIALS", "JAX_SOMETHING"):
        monkeypatch.setenv(name, "hunter2")
    monkeypatch.setenv("LIBTPU_INIT_ARGS", "--dump_to=https://me:hunter2@host/place")
    run(tiny / "run", seeds=1)
    data = "".join(path.read_text() for path in sorted((tiny / "run").rglob("*.json")))
    assert "hunter2" not in data
    assert '"LIBTPU_INIT_ARGS": "--dump_to=https://host/place"' in data


def test_what_changes_bits_is_written_down() -> None:
    assert set(environment.BITS_FLAGS) <= set(variables.RECORDED)
    assert not any(variables.sounds_secret(name) for name in (*variables.RECORDED, *variables.PLACES))
