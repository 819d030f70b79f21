"""SCAN as it was published (github.com/brendenlake/SCAN): every file whose rule is known, line by line.

A digest is of the sorted lines of a file, `IN: command OUT: actions`; `simple`, which was drawn at random, is not here.
"""

import hashlib
from typing import Any

import pytest

from jaxgen.tasks.language.scan import ScanTask
from tests.texts import Pair, pairs

pytestmark = pytest.mark.report("https://github.com/brendenlake/SCAN")

FILES: dict[tuple[Any, str], tuple[str, int]] = {
    ("addprim_jump", "test"): ("48956239771e67de", 7_706),
    ("addprim_jump", "train"): ("1e5ab3357dc95826", 14_670),
    ("addprim_turn_left", "test"): ("81acae1af5137165", 1_208),
    ("addprim_turn_left", "train"): ("4f1ccb48ec39aed7", 21_890),
    ("fewshot", "test"): ("3590e013eaa75106", 1_173),
    ("filler_num0", "test"): ("3590e013eaa75106", 1_173),
    ("filler_num0", "train"): ("aaf218dfd82a8b6a", 15_225),
    ("filler_num1", "test"): ("3590e013eaa75106", 1_173),
    ("filler_num1", "train"): ("1f0bf0a27badb9e7", 16_290),
    ("filler_num2", "test"): ("3590e013eaa75106", 1_173),
    ("filler_num2", "train"): ("50bb46e65b8c83bb", 17_391),
    ("filler_num3", "test"): ("3590e013eaa75106", 1_173),
    ("filler_num3", "train"): ("d3f82d1c47c35af1", 18_528),
    ("length", "test"): ("45bb5e5f0e0678da", 3_920),
    ("length", "train"): ("114e6bdb1575f27d", 16_990),
    ("template_around_right", "test"): ("f5f94bb13ea393fb", 4_476),
    ("template_around_right", "train"): ("aaf218dfd82a8b6a", 15_225),
    ("template_jump_around_right", "test"): ("3590e013eaa75106", 1_173),
    ("template_jump_around_right", "train"): ("d3f82d1c47c35af1", 18_528),
    ("template_opposite_right", "test"): ("e148c4261607e2d9", 4_476),
    ("template_opposite_right", "train"): ("8f0e969c24011176", 15_225),
    ("template_right", "test"): ("770738098ffaef03", 4_476),
    ("template_right", "train"): ("d98bd73f93f488dc", 15_225),
}
WHOLE = ("345bff3c25864652", 20_910)  # tasks.txt


def told(rows: list[Pair]) -> tuple[str, int]:
    lines = sorted(f"IN: {' '.join(source)} OUT: {' '.join(target)}" for source, target in rows)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16], len(lines)


@pytest.mark.parametrize("split", dict.fromkeys(split for split, _ in FILES))
def test_the_published_lines(split: Any) -> None:
    read = pairs(ScanTask(split=split))
    found = {(split, side): told(rows) for side, rows in read.items() if (split, side) in FILES}
    assert found == {key: value for key, value in FILES.items() if key[0] == split}


def test_the_whole_language() -> None:
    read = pairs(ScanTask(split="simple"))
    assert told([*read["train"], *read["test"]]) == WHOLE
