"""Benchmarks are never run by the tests; that what they name is still there is tested here."""

import importlib
import json
import operator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import device, on_device, preemption
from benchmarks.device import parity
from benchmarks.device.parity import Case
from benchmarks.survival_paper import write_survival_paper
from jaxgen.ledger.discovery import find
from tests.test_attention import by_hand

MODULES = sorted(path.stem for path in Path(preemption.__file__).parent.glob("[a-z]*.py"))


@pytest.mark.parametrize("module", [name for name in MODULES if name != "torch_nanda"])
def test_a_benchmark_finds_what_it_imports(module: str) -> None:
    importlib.import_module(f"benchmarks.{module}")


def test_phases_name_experiments_and_functions_that_are_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAXGEN_EXPERIMENTS", str(write_survival_paper(tmp_path)))
    for _, name, module, function, *_ in preemption.PHASES:
        _, (experiment,) = find(f"survival/{name}")
        assert experiment.at_scale("paper")
        if module != "start":
            assert callable(operator.attrgetter(function)(importlib.import_module(module)))


HARD = {"window": 3, "segments": True, "kv_heads": 2}


def test_parts_for_a_device_are_those_that_are_there() -> None:
    assert set(on_device.PARTS) == {path.stem for path in Path(device.__file__).parent.glob("[a-z]*.py")}
    assert sum(on_device.PARTS.values()) <= 480  # eight minutes
    for part in on_device.PARTS:
        assert callable(importlib.import_module(f"benchmarks.device.{part}").run)


@pytest.mark.parametrize("changes", [HARD, {"last": True}, {"causal": False}], ids=str)
def test_the_definition_that_a_device_is_held_to_is_right(changes: dict[str, Any]) -> None:
    case = Case("xla", "", "float64", 7, 16, **changes)
    random = np.random.default_rng(1)
    at_Q = np.array([6]) if case.last else np.arange(7)
    q, do = (random.normal(size=(3, len(at_Q), case.heads, 16)) for _ in range(2))
    k, v = (random.normal(size=(3, 7, case.kv_heads, 16)) for _ in range(2))
    segment_BS = random.integers(0, 2, (3, 7)) if case.segments else None
    seen_BQS = parity.visible(case, at_Q, np.full(3, 7), segment_BS)
    wanted = by_hand(
        q, k, v, do, causal=case.causal, window=case.window, segment_ids=segment_BS, q_positions=at_Q.tolist()
    )
    for got, want in zip(parity.definition(q, k, v, do, seen_BQS, None), wanted, strict=True):
        np.testing.assert_allclose(got, want, atol=1e-12)


def test_a_wrong_kernel_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    case = Case("xla", "lengths", "float32", 7, 16, lengths=True, window=5)
    right = parity.check(case)
    assert max(right.values()) < parity.LIMITS["float32"]
    attention = parity.attention
    monkeypatch.setattr(parity, "attention", lambda *arrays, kv_lengths, **how: attention(*arrays, **how))
    wrong = parity.check(case)
    assert wrong["o"] > 0.1
    assert wrong["leaked"] > 0


def test_what_a_device_did_is_kept_and_tabled(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "device.jsonl"
    on_device.add(out, {"part": "gpt", "device": "Some GPU", "jax": "0.12"})
    on_device.add(out, {"part": "gpt", "by": "xla", "teraflops": 123.456})
    on_device.add(out, {"part": "gpt", "by": "cudnn", "failed": "no | such\nkernel"})
    on_device.add(out, {"part": "gpt", "ended": "stopped after its 45 s", "seconds": 45.0})
    assert [json.loads(line).get("teraflops") for line in out.read_text().splitlines()] == [None, 123.5, None, None]
    capsys.readouterr()
    on_device.main(["--table", str(out)])
    assert capsys.readouterr().out.splitlines() == [
        "On Some GPU, jax 0.12.",
        "",
        "### gpt (stopped after its 45 s, 45 s)",
        "",
        "| by | teraflops | failed |",
        "| --- | --- | --- |",
        "| xla | 123.5 |  |",
        "| cudnn |  | no / such kernel |",
    ]


@pytest.mark.long
def test_every_part_for_a_device_runs_on_a_cpu(tmp_path: Path) -> None:
    out = tmp_path / "device.jsonl"
    on_device.conduct(list(on_device.PARTS), out, tiny=True)
    results = [json.loads(line) for line in out.read_text().splitlines()]
    assert [each["ended"] for each in results if "ended" in each] == ["whole"] * len(on_device.PARTS)
    assert all(each["passed"] for each in results if "passed" in each)
    failed = {each["by"]: each["failed"].split(":")[0] for each in results if "failed" in each}
    assert failed in ({}, {"PyTorch, eager": "ModuleNotFoundError"})
