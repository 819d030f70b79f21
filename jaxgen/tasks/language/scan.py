"""Commands and the actions that they mean: SCAN (Lake and Baroni, Generalization without systematicity,
arXiv 1711.00350), with its published splits, and the larger training sets of Zhou et al. (Data Factors for
Better Compositional Generalization, arXiv 2311.04420).

The published files are those of github.com/brendenlake/SCAN. "So in the files" marks rules that only the files show.
"""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Callable, Mapping
from typing import Annotated, Literal

import numpy as np

from jaxgen.config import NonNegativeInt, PositiveInt, Range
from jaxgen.errors import UserError
from jaxgen.tasks.base import random_order, random_words
from jaxgen.tasks.language.text import Sentences, Span, TextTask, token_numbers

ScanSplit = Literal[
    "simple",
    "length",
    "addprim_jump",
    "addprim_turn_left",
    "template_jump_around_right",
    "template_right",
    "template_opposite_right",
    "template_around_right",
    "filler_num0",
    "filler_num1",
    "filler_num2",
    "filler_num3",
    "fewshot",
]

Side = Literal["train", "test", "repeated"]

VERBS = ("walk", "look", "run", "jump")
_FILLERS = ("look", "walk", "run")
# The length split tests commands with more actions than this.
_LONGEST_TRAINED = 22
# The key of each random draw, beside the data's seed.
_SIMPLE, _EXPOSED, _TRAINED = range(3)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ScanTask(TextTask):
    """Commands of a small grammar, answered by their actions: `jump left twice` by `I_TURN_LEFT I_JUMP` twice.

    A phrase is one of four verbs, or a verb or `turn` with `left` or `right`, which may be `opposite` (two turns)
    or `around` (four times over). A phrase may be followed by `twice` or `thrice`, and two such may be joined by `and`,
    or by `after`, whose second part comes first in the actions. There are 20,910 commands, of 1 to 9 words and 1 to 48
    actions.

    Splits, by the names of their published files, each with `train` and `test`:

    - `simple`: floor(train_fraction * 20,910) random commands train, the others test. The published split has 16,728
      (and its variations 1 to 64 %). Its commands were drawn at random, and are drawn anew here.
    - `length`: commands of up to 22 actions train (16,990); the others (3,920, of 24 to 48) test.
    - `addprim_jump`: no command with `jump` trains but `jump` itself; all others with it test. `jump` is repeated
      so often that it is a tenth of the training examples (1,467 times). With `exposed` (published: 1 to 32), that many
      random test commands train instead; together with `jump` they are then that tenth, each equally often (so in the
      files).
    - `addprim_turn_left`: the same for `turn left`.
    - `template_*`: commands with `verb around right` (or `opposite right`, or `right` at once after the verb) test.
      None of them trains, nor do those of `turn`, which do not test either (so in the files).
      `template_jump_around_right` holds out `jump around right` alone.
    - `filler_numN`: `template_around_right` with only `jump around right` in the test; `around right` trains with the
      first N of look, walk and run. `fewshot`: `exposed` random commands of look train (up to 1,024 published).

    Not here: MCD1 to MCD3, which were found by a search and published as lists.

    The larger training sets leave the tests unchanged (the paper's own generator is not public, nor is its grammar of
    longer commands; this follows the rules in its text):

    - `verb_copies` k: a training command is a random one of the split's with random verbs among 4k, numbered copies of
      the four (`jump_3` means `I_JUMP_3`). The split's rule still decides whether it trains, so it never shows what the
      test asks.
    - `train_examples`: the number of distinct random training commands; `None`: as many as the split has. The repeated
      commands that make up a tenth are added to it.
    - `corpus_copies` k (AugZero): the training set k times, with every word and action of each further copy renamed
      (`jump#3`). That all of them are renamed, and that the first copy is not, is our reading.
    """

    split: ScanSplit
    train_fraction: Annotated[float, Range(above=0, below=1)] = 0.8  # of `simple`
    exposed: NonNegativeInt = 0
    verb_copies: Annotated[int, Range(at_least=1, at_most=1000)] = 1
    train_examples: PositiveInt | None = None
    corpus_copies: Annotated[int, Range(at_least=1, at_most=1000)] = 1

    def validate(self) -> None:
        if self.exposed and self.split not in ("addprim_jump", "addprim_turn_left", "fewshot"):
            raise UserError(
                f"task.exposed: got {self.exposed}, expected 0: the split {self.split!r} has no variation with "
                "exposed examples, as addprim_jump, addprim_turn_left and fewshot have"
            )
        if self.train_fraction != 0.8 and self.split != "simple":
            raise UserError(
                f"task.train_fraction: got {self.train_fraction:g}, expected 0.8: only the split 'simple' is by chance"
            )
        self.shape()

    def symbols(self) -> tuple[str, ...]:
        words = _words(self.verb_copies)
        return words + tuple(f"{word}#{copy}" for copy in range(1, self.corpus_copies) for word in words)

    def spans(self) -> Mapping[str, Span]:
        return {name: sentences.span() for name, sentences in self.sentences().items()}

    def sentences(self) -> Mapping[str, Sentences]:
        return _sentences(self)


@functools.lru_cache(maxsize=4)
def _sentences(task: ScanTask) -> Mapping[str, Sentences]:
    words = _words(task.verb_copies)
    token = token_numbers(words)
    splits = {
        name: Sentences.of(
            [
                ([token[word] for word in command.split()], [token[action] for action in meaning(command)])
                for command in lines
            ]
        )
        for name, lines in zip(("train", "test"), _split(task), strict=True)
    }
    tokens_T, source_N, target_N = splits["train"]
    renamed = [tokens_T + np.int32(copy * len(words)) for copy in range(task.corpus_copies)]
    lengths = (np.tile(each, task.corpus_copies) for each in (source_N, target_N))
    return splits | {"train": Sentences(np.concatenate(renamed), *lengths)}


def _split(task: ScanTask) -> tuple[list[str], list[str]]:
    """Returns the training commands, some of them repeated, and the test commands."""
    side = sides(task)
    of_side: dict[Side | None, list[str]] = {"train": [], "test": [], "repeated": [], None: []}
    for command in commands():
        of_side[side(command)].append(command)
    train, test, repeated = of_side["train"], of_side["test"], of_side["repeated"]
    pool = test if repeated else [each for each in of_side[None] if _template_side("filler_num1", each) == "train"]
    if task.exposed > len(pool):
        raise UserError(f"task.exposed: got {task.exposed}, expected at most {len(pool)}: there are no more to draw")
    order = random_order(len(pool), seed=task.data_seed, stream=_EXPOSED)
    exposed = [pool[i] for i in order[: task.exposed]]
    if task.verb_copies > 1 or task.train_examples:
        train = _drawn(task, side, task.train_examples or len(train), train)
    if not repeated:
        return train + exposed, test
    repeated += exposed
    return train + repeated * round(len(train) / 9 / len(repeated)), [each for each in test if each not in repeated]


def _drawn(task: ScanTask, side: Callable[[str], Side | None], count: int, train: list[str]) -> list[str]:
    """Returns `count` distinct training commands: from `train`, or from the language with more verbs."""
    if task.verb_copies == 1:
        drawn = [train[i] for i in random_order(len(train), seed=task.data_seed, stream=_TRAINED)[:count]]
    else:
        everything, verbs = commands(), _verbs(task.verb_copies)
        words_N3 = random_words(12 * count, seed=task.data_seed, stream=_TRAINED).reshape(-1, 3).tolist()
        found: dict[str, None] = {}
        for which, *of_verbs in words_N3:
            parts = everything[which % len(everything)].split()
            renamed = (verbs[of_verbs.pop() % len(verbs)] if part in VERBS else part for part in parts)
            command = " ".join(renamed)
            if side(command) == "train":
                found[command] = None
            if len(found) == count:
                break
        drawn = list(found)
    if len(drawn) < count:
        raise UserError(
            f"task.train_examples: got {count}, expected at most about {len(drawn)}: there are too few commands"
        )
    return drawn


def sides(task: ScanTask) -> Callable[[str], Side | None]:
    """Returns the function that gives the side of a command: train, test or repeated; None if it is in neither
    split."""
    split = task.split
    if split == "simple":
        everything = commands()
        order = random_order(len(everything), seed=task.data_seed, stream=_SIMPLE)
        tested = {everything[i] for i in order[int(task.train_fraction * len(everything)) :]}
        return lambda command: "test" if command in tested else "train"
    if split == "length":
        return lambda command: "train" if len(meaning(command)) <= _LONGEST_TRAINED else "test"
    if split.startswith("addprim_"):
        held_out = split.removeprefix("addprim_").replace("_", " ")
        return lambda command: (
            "repeated" if command == held_out else "test" if f" {held_out} " in f" {command} " else "train"
        )
    return functools.partial(_template_side, split)


def _template_side(split: ScanSplit, command: str) -> Side | None:
    all_verbs = split in ("template_right", "template_opposite_right", "template_around_right")
    template = split.removeprefix("template_").replace("_", " ") if all_verbs else "around right"
    fillers = _FILLERS[: int(split[-1])] if split.startswith("filler") else ()
    verbs = set(re.findall(rf"(\w+) {template}", command)) - {"opposite", "around"}
    if not verbs:
        return "train"
    if "turn" in verbs:
        return None
    if all_verbs or "jump" in verbs:
        return "test"
    return "train" if split == "template_jump_around_right" or verbs.issubset(fillers) else None


def _verbs(copies: int) -> tuple[str, ...]:
    return VERBS + tuple(f"{verb}_{copy}" for copy in range(1, copies) for verb in VERBS)


def _words(verb_copies: int) -> tuple[str, ...]:
    verbs = _verbs(verb_copies)
    others = ("turn", "left", "right", "opposite", "around", "twice", "thrice", "and", "after")
    return (*verbs, *others, *(f"I_{verb.upper()}" for verb in verbs), "I_TURN_LEFT", "I_TURN_RIGHT")


@functools.cache
def commands() -> tuple[str, ...]:
    """Returns all commands, those with one part first."""
    phrases = VERBS + tuple(
        f"{verb} {how}{side}"
        for verb in (*VERBS, "turn")
        for how in ("", "opposite ", "around ")
        for side in ("left", "right")
    )
    parts = [phrase + times for phrase in phrases for times in ("", " twice", " thrice")]
    joined = (f"{first} {joint} {second}" for first in parts for joint in ("and", "after") for second in parts)
    return (*parts, *joined)


def meaning(command: str) -> tuple[str, ...]:
    """Returns the actions that a command means."""
    first, joined, second = command.partition(" after ")
    if joined:
        return _meaning_of_part(second) + _meaning_of_part(first)
    first, joined, second = command.partition(" and ")
    return _meaning_of_part(first) + (_meaning_of_part(second) if joined else ())


@functools.lru_cache(maxsize=10_000)
def _meaning_of_part(part: str) -> tuple[str, ...]:
    *before, last = part.split()
    if last in ("twice", "thrice"):
        return _meaning_of_part(" ".join(before)) * (2 if last == "twice" else 3)
    if last in ("left", "right"):
        turn = (f"I_TURN_{last.upper()}",)
        verb, *how = before
        action = () if verb == "turn" else _meaning_of_part(verb)
        return (turn + action) * 4 if how == ["around"] else turn * (1 + len(how)) + action
    return (f"I_{last.upper()}",)
