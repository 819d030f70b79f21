"""SCAN against another formulation of its grammar, and against the published files' sizes."""

import collections
import functools
import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxgen.config import from_json, to_json
from jaxgen.errors import UserError
from jaxgen.tasks.language.scan import ScanSplit, ScanTask
from tests.texts import Pair, pairs

SPLITS = ScanSplit.__args__


def parts(verbs: list[str]) -> dict[str, list[str]]:
    """Puts every command without a connective together with its actions."""
    phrases = {verb: [f"I_{verb.upper()}"] for verb in verbs}
    for verb, side in itertools.product([*verbs, "turn"], ("left", "right")):
        turn, act = [f"I_TURN_{side.upper()}"], [] if verb == "turn" else phrases[verb]
        phrases[f"{verb} {side}"] = turn + act
        phrases[f"{verb} opposite {side}"] = turn + turn + act
        phrases[f"{verb} around {side}"] = turn + act + turn + act + turn + act + turn + act
    said = dict(phrases)
    for phrase, act in phrases.items():
        said |= {f"{phrase} twice": act + act, f"{phrase} thrice": act + act + act}
    return said


def language(verbs: list[str]) -> dict[str, list[str]]:
    said = parts(verbs)
    joined = dict(said)
    for (first, does), (second, does_too) in itertools.product(said.items(), repeat=2):
        joined[f"{first} and {second}"] = does + does_too
        joined[f"{first} after {second}"] = does_too + does
    return joined


SCAN = language(["walk", "look", "run", "jump"])


@functools.cache
def published(split: str) -> dict[str, list[Pair]]:
    return pairs(ScanTask(split=split))


def lines(rows: list[Pair]) -> list[str]:
    return [" ".join(source) for source, _ in rows]


def characters(rows: list[Pair]) -> int:
    """Counts those of a published file, whose lines look so."""
    return sum(len(f"IN: {' '.join(source)} OUT: {' '.join(target)}\n") for source, target in rows)


def says(command: str, phrase: str) -> bool:
    return f" {phrase} " in f" {command} "


@pytest.mark.parametrize(
    ("split", "train", "test"),
    [
        ("simple", 16_728, 4_182),
        ("length", 16_990, 3_920),
        ("addprim_jump", 14_670, 7_706),
        ("addprim_turn_left", 21_890, 1_208),
        ("template_jump_around_right", 18_528, 1_173),
        ("template_right", 15_225, 4_476),
        ("template_opposite_right", 15_225, 4_476),
        ("template_around_right", 15_225, 4_476),
        ("filler_num0", 15_225, 1_173),
        ("filler_num1", 16_290, 1_173),
        ("filler_num2", 17_391, 1_173),
        ("filler_num3", 18_528, 1_173),
        ("fewshot", 15_225, 1_173),
    ],
)
def test_every_published_split(split: str, train: int, test: int) -> None:
    assert len(SCAN) == 20_910
    read = published(split)
    assert {name: len(rows) for name, rows in read.items()} == {"train": train, "test": test}
    for source, target in read["train"] + read["test"]:
        assert SCAN[" ".join(source)] == target
    trained, tested = set(lines(read["train"])), lines(read["test"])
    assert len(set(tested)) == test
    assert not trained & set(tested)


def test_what_each_split_holds_out() -> None:
    commands = {split: {name: lines(rows) for name, rows in published(split).items()} for split in SPLITS}
    assert {len(SCAN[each]) for each in commands["length"]["test"]} <= set(range(24, 49))
    assert max(len(SCAN[each]) for each in commands["length"]["train"]) == 22
    for split, held_out, times in (("addprim_jump", "jump", 1467), ("addprim_turn_left", "turn left", 2189)):
        count = collections.Counter(commands[split]["train"])
        assert count.pop(held_out) == times
        assert set(count.values()) == {1}
        assert not any(says(each, held_out) for each in count)
        assert set(commands[split]["test"]) == {each for each in SCAN if says(each, held_out)} - {held_out}
    for template in ("right", "opposite right", "around right"):
        split = commands["template_" + template.replace(" ", "_")]
        shown = [f"{verb} {template}" for verb in ("walk", "look", "run", "jump")]
        assert not any(says(each, phrase) for phrase in (*shown, f"turn {template}") for each in split["train"])
        for each in split["test"]:
            assert any(says(each, phrase) for phrase in shown)
            assert not says(each, f"turn {template}")
    assert set(commands["filler_num3"]["train"]) == set(commands["template_jump_around_right"]["train"])
    assert set(commands["filler_num0"]["train"]) == set(commands["template_around_right"]["train"])
    for before, after, verb in ((0, 1, "look"), (1, 2, "walk"), (2, 3, "run")):
        added = set(commands[f"filler_num{after}"]["train"]) - set(commands[f"filler_num{before}"]["train"])
        assert all(says(each, f"{verb} around right") for each in added)


def test_the_published_files_to_the_character() -> None:
    assert characters(published("fewshot")["test"]) == 333_598
    assert characters(published("filler_num1")["train"]) == 2_851_719


def test_exposed_examples_leave_the_test_and_share_the_tenth() -> None:
    for exposed, times in ((1, 734), (16, 86)):  # the files' numbers
        read = pairs(ScanTask(split="addprim_jump", exposed=exposed))
        count = collections.Counter(lines(read["train"]))
        often = {command: number for command, number in count.items() if number > 1}
        assert set(often.values()) == {times}
        assert len(often) == 1 + exposed
        assert "jump" in often
        assert len(read["test"]) == 7706 - exposed
        assert set(lines(read["test"])) | set(often) == {each for each in SCAN if says(each, "jump")}


def test_few_shots_are_what_the_first_filler_adds() -> None:
    zero, one = (set(lines(published(f"filler_num{n}")["train"])) for n in (0, 1))
    shots = lines(pairs(ScanTask(split="fewshot", exposed=1024), "train")["train"])
    assert len(shots) == len(set(shots)) == 15_225 + 1024
    assert zero < set(shots) < one
    fewer = set(lines(pairs(ScanTask(split="fewshot", exposed=16), "train")["train"]))
    assert fewer < set(shots)


@settings(max_examples=15)
@given(
    split=st.sampled_from(SPLITS),
    verb_copies=st.integers(1, 4),
    train_examples=st.integers(1, 200),
    corpus_copies=st.integers(1, 3),
)
def test_larger_languages_keep_meaning_and_hold_out_the_same(split, verb_copies, train_examples, corpus_copies) -> None:
    task = ScanTask(split=split, verb_copies=verb_copies, train_examples=train_examples, corpus_copies=corpus_copies)
    assert from_json(to_json(task)) == task
    read = pairs(task, "train")
    verbs = [verb + suffix for verb in ("walk", "look", "run", "jump") for suffix in ("", "_1", "_2", "_3")]
    meanings = parts(verbs)
    assert len(read["train"]) % corpus_copies == 0
    original = read["train"][: len(read["train"]) // corpus_copies]
    for copy in range(1, corpus_copies):
        renamed = [([f"{word}#{copy}" for word in s], [f"{word}#{copy}" for word in t]) for s, t in original]
        assert read["train"][copy * len(original) : (copy + 1) * len(original)] == renamed
    for source, target in original:
        first, after, second = " ".join(source).partition(" after ")
        if after:
            assert meanings[second] + meanings[first] == target
        else:
            assert [action for part in first.split(" and ") for action in meanings[part]] == target
    trained = lines(original)
    repeated = {"addprim_jump": "jump", "addprim_turn_left": "turn left"}.get(split)
    assert trained.count(repeated) == (round(train_examples / 9) if repeated else 0)
    composed = [command for command in trained if command != repeated]
    assert len(composed) == len(set(composed)) == train_examples
    assert not set(trained) & set(lines(published(split)["test"]))
    if verb_copies == 1:
        assert set(trained) <= set(lines(published(split)["train"])) | {repeated}
    if split == "length":
        assert max(len(target) for _, target in original) <= 22
    if split in ("template_right", "template_opposite_right", "template_around_right"):
        template = split.removeprefix("template_").replace("_", " ")
        assert not any(says(command, f"{verb} {template}") for verb in (*verbs, "turn") for command in trained)


def test_larger_training_sets_leave_the_test_as_it_is() -> None:
    task = ScanTask(split="addprim_jump", verb_copies=20, corpus_copies=2)
    read = pairs(task)
    assert read["test"] == published("addprim_jump")["test"]
    assert len(read["train"]) == 2 * len(published("addprim_jump")["train"])


def test_more_training_examples_hold_the_fewer() -> None:
    for copies in (1, 20):
        tasks = [ScanTask(split="simple", verb_copies=copies, train_examples=n) for n in (50, 90)]
        fewer, more = (lines(pairs(task, "train")["train"]) for task in tasks)
        assert more[:50] == fewer
    assert len({word for command in more for word in command.split() if "_" in word}) > 40


def test_a_random_split_is_the_data_seeds_own() -> None:
    first, other = (set(lines(pairs(ScanTask(split="simple", data_seed=n), "test")["test"])) for n in (0, 1))
    assert first == set(lines(published("simple")["test"]))
    assert len(first & other) < 0.25 * len(first)
    small = ScanTask(split="simple", train_fraction=0.01)
    assert dict(small.shape().sizes) == {"train": 209, "test": 20_701}


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(UserError, match=r"exposed: got 1, expected 0: the split 'length' has no variation"):
        ScanTask(split="length", exposed=1)
    with pytest.raises(UserError, match=r"exposed: got 1066, expected at most 1065"):
        ScanTask(split="fewshot", exposed=1066)
    with pytest.raises(UserError, match=r"train_fraction: got 0.5, expected 0.8: only the split 'simple'"):
        ScanTask(split="length", train_fraction=0.5)
    with pytest.raises(UserError, match=r"train_examples: got 17000, expected at most about 16990"):
        ScanTask(split="length", train_examples=17_000)
