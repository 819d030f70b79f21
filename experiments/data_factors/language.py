"""The commands of SCAN with more verbs, more connectives, or both, and their training sets."""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from jaxgen.errors import UserError
from jaxgen.tasks.base import random_order
from jaxgen.tasks.language.scan import VERBS, ScanTask, commands, meaning, sides
from jaxgen.tasks.language.text import Draws, Sentences, token_numbers

from .parts import PHRASE_ACTIONS, FactorsTask

# The key of each random draw, beside the data's seed.
_VERSIONS, _LONGER, _KEPT, _TESTED = range(10, 14)
_OTHERS = ("turn", "left", "right", "opposite", "around", "twice", "thrice", "and", "after")


def words(mutants: int) -> tuple[str, ...]:
    """Returns the words and actions of a language with so many copies of every verb, those of SCAN among them."""
    verbs = [version for verb in VERBS for version in versions_of_verb(verb, mutants)]
    return (*verbs, *_OTHERS, *(f"I_{verb.upper()}" for verb in verbs), "I_TURN_LEFT", "I_TURN_RIGHT")


def versions_of_verb(verb: str, mutants: int) -> list[str]:
    """Returns a verb and its copies."""
    return [verb, *(f"{verb}_{copy}" for copy in range(1, mutants + 1))]


def actions(command: str) -> tuple[str, ...]:
    """Returns the actions of a command with any number of connectives, which are read from the left."""
    first, *rest = re.split(r" (and|after) ", command)
    done = meaning(first)
    for joint, part in zip(rest[::2], rest[1::2], strict=True):
        done = done + meaning(part) if joint == "and" else meaning(part) + done
    return done


@functools.lru_cache(maxsize=16)
def sentences(task: FactorsTask) -> Mapping[str, Sentences]:
    """Returns the pairs of every split."""
    own = words(task.mutants)
    token = token_numbers(own)

    def pairs(lines: Sequence[str]) -> Sentences:
        return Sentences.of([([token[w] for w in line.split()], [token[a] for a in actions(line)]) for line in lines])

    composed, dev = _composed(task)
    tokens_T, source_N, target_N = pairs(composed + _alone(task))
    renamed = [tokens_T + np.int32(copy * len(own)) for copy in range(task.copies)]
    train = Sentences(np.concatenate(renamed), *(np.tile(each, task.copies) for each in (source_N, target_N)))
    ood_dev, test = _tested(task)
    others = {"trained": composed[: task.dev_examples], "id_dev": dev, "ood_dev": ood_dev, "test": test}
    return {"train": train} | {name: pairs(lines) for name, lines in others.items()}


def _composed(task: FactorsTask) -> tuple[list[str], list[str]]:
    """Returns the different commands that train, in random order, and those of `id_dev`."""
    wanted = task.train_examples + task.dev_examples
    if task.connectives == 1:
        made = _shuffled(list(_expanded(task)), task, _KEPT)[:wanted]
    else:
        made = list(itertools.islice(_longer(task, _LONGER, 0, task.most_actions), wanted))
    if len(made) < wanted:
        raise UserError(
            f"task.train_examples: got {task.train_examples} beside dev_examples={task.dev_examples}, expected at most "
            f"{len(made)} of both: there are no more commands"
        )
    return made[task.dev_examples :], made[: task.dev_examples]


def _shuffled(lines: list[str], task: FactorsTask, stream: int) -> list[str]:
    return [lines[i] for i in random_order(len(lines), seed=task.data_seed, stream=stream)]


def _allowed(task: FactorsTask, command: str) -> bool:
    verbs = {word for word in command.split() if word.partition("_")[0] in VERBS}
    if task.verbs_a_command is not None and len(verbs) > task.verbs_a_command:
        return False
    return task.most_actions is None or _count(command) <= task.most_actions


def _count(command: str) -> int:
    """Returns the number of actions of a command, without making them."""
    return sum(len(meaning(part)) for part in re.split(r" (?:and|after) ", command))


def _expanded(task: FactorsTask) -> Iterator[str]:
    """Yields every version of every training command of the split, each once."""
    side, draws = _sides(task), Draws(seed=task.data_seed, stream=_VERSIONS)
    for command in commands():
        if side(command) != "train" or not _allowed(task, command):
            continue
        parts = command.split()
        at = [i for i, word in enumerate(parts) if word in VERBS]
        for choice in _versions(len(at), task.mutants, task.versions, draws):
            version = list(parts)
            for i, copy in zip(at, choice, strict=True):
                version[i] = versions_of_verb(parts[i], copy)[-1]
            if _allowed(task, line := " ".join(version)):
                yield line


def _versions(verbs: int, mutants: int, most: int | None, draws: Draws) -> Iterator[tuple[int, ...]]:
    """Yields which copy each verb of a command is, the original (0) of all first; at most `most` choices."""
    count = (mutants + 1) ** verbs
    if most is None or count <= most:
        yield from itertools.product(range(mutants + 1), repeat=verbs)
        return
    found = {(0,) * verbs: None}
    for _ in range(2 * most):
        if len(found) < most:
            found.setdefault(tuple(draws.below(mutants + 1) for _ in range(verbs)))
    yield from found


def _longer(task: FactorsTask, stream: int, above: int, most: int | None) -> Iterator[str]:
    """Yields different random commands of the longer language, as long as some are found.

    Args:
      task: the verbs and connectives of the language.
      stream: the number of the random draws.
      above: every command has more actions than this.
      most: no command has more actions than this; None: any number.
    """
    side, draws = _sides(task), Draws(seed=task.data_seed, stream=stream)
    phrases = [each for each in commands() if " and " not in each and " after " not in each]
    phrases = [each for each in phrases if side(each) == "train"]
    verbs = [verb for verb in VERBS if verb != "jump" or task.split != "addprim_jump"]

    def verb() -> str:
        return versions_of_verb(verbs[draws.below(len(verbs))], draws.below(task.mutants + 1))[-1]

    seen: set[str] = set()
    missed = 0
    while missed < 100_000:
        few = [verb() for _ in range(task.verbs_a_command or 0)]
        line: list[str] = []
        for i in range(1 + draws.below(task.connectives + 1)):
            line += [("and", "after")[draws.below(2)]] if i else []
            for word in phrases[draws.below(len(phrases))].split():
                line.append(word if word not in VERBS else few[draws.below(len(few))] if few else verb())
        command = " ".join(line)
        if command in seen or not above < _count(command) <= (most or len(command) * PHRASE_ACTIONS):
            missed += 1
            continue
        missed = 0
        seen.add(command)
        yield command


def _sides(task: FactorsTask) -> Callable[[str], str | None]:
    """Returns the function that gives the side of a command of SCAN; those of `length` are all for training."""
    return (lambda command: "train") if task.split == "length" else sides(ScanTask(split=task.split))


def _alone(task: FactorsTask) -> list[str]:
    """Returns the lines of a held-out verb and its copies, shared evenly."""
    alone = versions_of_verb("jump", task.mutants)
    return [alone[i % len(alone)] for i in range(task.alone())]


def _tested(task: FactorsTask) -> tuple[list[str], list[str]]:
    """Returns `ood_dev` and `test`."""
    side, dev, most = _sides(task), task.ood_dev_examples, task.tested_actions
    wanted = dev + task.test_examples
    if task.split == "length" and task.connectives > 1:
        lines = list(itertools.islice(_longer(task, _TESTED, task.most_actions or 0, most), wanted))
    else:
        tested = "train" if task.split == "length" else "test"
        above = (task.most_actions or 0) if task.split == "length" else 0
        found = [
            each for each in commands() if side(each) == tested and above < _count(each) <= (most or PHRASE_ACTIONS * 2)
        ]
        lines = _shuffled(found, task, _TESTED)[:wanted]
    if len(lines) < wanted:
        raise UserError(
            f"task.test_examples: got {task.test_examples} beside ood_dev_examples={dev}, expected at most "
            f"{len(lines)} of both: there are no more commands"
        )
    return lines[:dev], lines[dev:]
