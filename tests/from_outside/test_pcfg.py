"""PCFG SET as it was published (github.com/i-machine-think/am-i-compositional, data/pcfgset).

Where no other file is named, counts are of the 14,581 sources of pcfgset/dev.src and pcfgset/test.src.
"""

import collections
import functools
from collections.abc import Mapping

import pytest

from jaxgen.tasks.language.pcfg import PcfgTask
from tests.pcfg_reader import ARITY, depth, functions, holds_out, strings
from tests.texts import Pair, pairs

pytestmark = pytest.mark.report("https://github.com/i-machine-think/am-i-compositional")

# Of every number of functions, how deep they are one inside another.
DEPTHS = {
    1: {1: 225},
    2: {2: 1870},
    3: {2: 60, 3: 2767},
    4: {3: 474, 4: 2271},
    5: {3: 63, 4: 744, 5: 1124},
    6: {3: 4, 4: 285, 5: 667, 6: 539},
    7: {4: 74, 5: 294, 6: 351, 7: 248},
    8: {4: 14, 5: 152, 6: 252, 7: 213, 8: 109},
    9: {4: 3, 5: 52, 6: 106, 7: 150, 8: 132, 9: 57},
    10: {4: 1, 5: 24, 6: 55, 7: 86, 8: 114, 9: 61, 10: 25},
    11: {5: 5, 6: 30, 7: 57, 8: 86, 9: 64, 10: 27, 11: 10},
    12: {5: 1, 6: 9, 7: 46, 8: 69, 9: 61, 10: 21, 11: 6, 12: 2},
    13: {6: 2, 7: 11, 8: 28, 9: 31, 10: 28, 11: 11, 12: 4, 13: 3},
    14: {7: 7, 8: 25, 9: 31, 10: 21, 11: 10, 12: 2, 13: 3},
    15: {7: 3, 8: 16, 9: 12, 10: 12, 11: 8, 12: 6, 13: 6},
    16: {6: 1, 8: 2, 9: 8, 10: 8, 11: 5, 12: 5, 13: 2},
    17: {7: 1, 8: 3, 9: 4, 10: 5, 11: 5, 12: 3, 13: 2},
    18: {9: 7, 10: 4, 11: 3, 12: 6, 13: 7},
    19: {9: 3, 10: 4, 11: 3, 12: 2, 13: 4},
    20: {10: 4, 11: 1, 12: 4, 13: 1},
    21: {9: 2, 12: 2, 13: 6},
    22: {10: 2, 11: 2, 12: 1, 13: 1, 17: 2},
    23: {11: 1, 13: 1, 14: 2, 17: 2},
    24: {12: 2, 13: 2, 17: 1},
    25: {12: 2},
    28: {17: 2},
    30: {14: 1},
}
# Of the lengths 3 to 71 of sources.
LENGTHS = """
    44 228 248 497 562 364 592 605 872 688 711 752 707 561 576 525 532 498 399 378 374 360 341 322 309 301 285 217
    184 196 160 162 151 116 112 92 82 79 68 48 46 59 22 19 21 22 19 18 10 9 8 1 4 1 3 3 1 2 2 2 0 0 0 0 0 0 4 5 2
"""
STRINGS = {2: 7071, 3: 13185, 4: 12300, 5: 11841}
UNARY_SHARE = 45255 / 75071
# Of train.tgt, dev.tgt and test.tgt, 97,203 targets.
MEAN_TARGET, MORE_THAN_30, LONGEST_TARGET = 9.355, 1835 / 97_203, 736
# Of all sources but those of dev.src: 11,333 have more than 8 functions (productivity/test.src), and 86,654 of the
# 130,100 functions of these are unary; 10,175 test systematicity (systematicity/test.src).
MANY_FUNCTIONS, UNARY_OF_MANY, HELD_OUT_SHARE = 11_333 / 92_343, 86654 / 130100, 10_175 / 92_343


@functools.cache
def corpus() -> list[Pair]:
    task = PcfgTask(split="pcfgset", train_examples=9000, validation_examples=500, test_examples=500)
    return [pair for rows in pairs(task).values() for pair in rows]


def distance(counts: collections.Counter, published: Mapping) -> float:
    """Returns the total variation between two laws."""
    n, m = counts.total(), sum(published.values())
    return sum(abs(counts[value] / n - published.get(value, 0) / m) for value in {*counts, *published}) / 2


@pytest.mark.long
def test_functions_and_depths_together() -> None:
    published = {(many, deep): count for many, depths in DEPTHS.items() for deep, count in depths.items()}
    ours = collections.Counter((len(functions(source)), depth(source)) for source, _ in corpus())
    assert distance(ours, published) < 0.05  # two draws of 10,000 of the published sources differ by 0.03
    by_functions, by_depth = collections.Counter[int](), collections.Counter[int]()
    for (many, deep), count in published.items():
        by_functions[many] += count
        by_depth[deep] += count
    assert distance(collections.Counter(len(functions(source)) for source, _ in corpus()), by_functions) < 0.03
    assert distance(collections.Counter(depth(source) for source, _ in corpus()), by_depth) < 0.03


def test_lengths() -> None:
    # The published ones follow sentences in steps of a few words, which ours pass over smoothly.
    published = dict(enumerate(map(int, LENGTHS.split()), start=3))
    assert distance(collections.Counter(len(source) for source, _ in corpus()), published) < 0.09
    assert sum(len(source) for source, _ in corpus()) / len(corpus()) == pytest.approx(18.3, abs=0.2)


def test_which_functions_there_are() -> None:
    seen = collections.Counter(word for source, _ in corpus() for word in functions(source))
    many = [functions(source) for source, _ in corpus() if len(functions(source)) > 8]
    unary = {word for word, arity in ARITY.items() if arity == 1}
    assert sum(seen[word] for word in unary) / seen.total() == pytest.approx(UNARY_SHARE, abs=0.01)
    assert len(many) / len(corpus()) == pytest.approx(MANY_FUNCTIONS, abs=0.01)
    share = sum(word in unary for words in many for word in words) / sum(map(len, many))
    assert share == pytest.approx(UNARY_OF_MANY, abs=0.04)
    held_out = [holds_out(source) for source, _ in corpus()]
    assert sum(held_out) / len(held_out) == pytest.approx(HELD_OUT_SHARE, abs=0.01)


def test_strings() -> None:
    ours = collections.Counter(len(string) for source, _ in corpus() for string in strings(source))
    assert distance(ours, STRINGS) < 0.02


def test_targets() -> None:
    lengths = [len(target) for _, target in corpus()]
    assert sum(lengths) / len(lengths) == pytest.approx(MEAN_TARGET, abs=0.25)
    assert sum(length > 30 for length in lengths) / len(lengths) == pytest.approx(MORE_THAN_30, abs=0.004)
    task = PcfgTask(split="pcfgset", train_examples=82_622, validation_examples=4860, test_examples=9721)
    assert task.longest_target == LONGEST_TARGET
