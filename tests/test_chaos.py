"""One kill; `make chaos` has a hundred, of runs of three kinds."""

import random
from pathlib import Path

from tests.chaos import Chaos, differences


def test_a_killed_run_comes_back_bit_for_bit(tmp_path: Path) -> None:
    kind = "population"
    chaos = Chaos(kind, tmp_path, 200, random.Random(kind))
    chaos.kill_and_compare(1)
    assert chaos.tally.kills == 1
    assert chaos.tally.mismatches == []
    # That a difference would have been seen:
    run = tmp_path / "broken-1" / "chaos" / kind / "paper"
    path = next(run.glob("populations/*/metrics.jsonl"))
    path.write_text(path.read_text().replace('"values": {', '"values": {"more": 1, ', 1))
    assert differences(tmp_path / "whole" / "chaos" / kind / "paper", run) == [f"{path} differs"]
