"""`tasks` and `tasks show`: print the task library, without jax."""

from __future__ import annotations

import dataclasses
import inspect
import itertools
import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from rich.table import Table
from rich.text import Text

from jaxgen.cli.console import Console
from jaxgen.config import override, parse_setting, to_json
from jaxgen.errors import UserError, nearest
from jaxgen.ledger.discovery import find
from jaxgen.machine import check_memory
from jaxgen.tasks.base import IGNORED, Split, Task, TaskShape, checked_table
from jaxgen.tasks.examples import EXAMPLES, FAMILIES
from jaxgen.tasks.stored import export, stored_sizes

# Up to a full stop or question mark, except in quotes, in brackets, within a word or in an ellipsis.
_SENTENCE = re.compile(r"(?:`[^`]*`|\([^()]*\)|\.\.\.|[^.?`(]|[.?](?!\s|$))*[.?]")
_PAPER = re.compile(r"\b\d{4}\.\d{5}\b")
_FEATURES_SHOWN, _NAMES_SHOWN = 8, 60


def list_tasks() -> None:
    """Prints the example of every task, by family."""
    table = Table(box=None, pad_edge=False)
    table.add_column("task", no_wrap=True)
    table.add_column("kind", no_wrap=True)
    table.add_column("what", overflow="fold")
    table.add_column("arXiv", no_wrap=True)
    for family, tasks in FAMILIES.items():
        table.add_row(f"[bold]{family}")
        first: dict[type[Task], Task] = {}
        for name, task in tasks.items():
            known = first.setdefault(type(task), task)
            what = first_sentence(task) if known is task else f"  {_differs(task, known)}"
            table.add_row(f"  {name}", task.kind(), Text(what), "" if known is not task else " ".join(papers(task)))
    # Without a terminal (a pipe, a log) narrow columns have no use.
    console = Console(highlight=False)
    (console if console.is_terminal else Console(width=160, highlight=False)).print(table)


def show_task(name: str, *, split: str, count: int, settings: Sequence[str], seed: int) -> None:
    """Prints a task's description, its splits, whether they are disjoint, and some examples."""
    task = _changed(name, settings)
    shape = task.shape()
    if split not in dict(shape.sizes):
        raise UserError(f"{name} has no split '{split}'{nearest(split, dict(shape.sizes))}")
    _check_memory(name, shape)
    table = checked_table(task, seed)

    console = Console(highlight=False)
    source = ", ".join([task.kind(), f"{type(task).__module__}.{type(task).__name__}"])
    console.print(f"[bold]{name}[/]  {source}{''.join(f', arXiv:{each}' for each in papers(task))}\n")
    for cls in type(task).__mro__[: type(task).__mro__.index(Task)]:
        _tell(console, f"{inspect.getdoc(cls)}\n")
    _tell(console, "settings (change any with --set KEY=VALUE):")
    for key, value in to_json(task, complete=True).items():
        if key != "kind":
            _tell(console, f"  {key} = {json.dumps(value)}")
    _tell(console, f"\n{_reads(task, shape)}")
    _splits(console, task, shape)
    for line in _disjoint(task, table):
        _tell(console, line)
    size = dict(shape.sizes)[split]
    shown = min(count, size)
    _tell(console, f"\n{shown} of the {size:,} examples of {split}, with the targets in [ ]:")
    # Spread over the whole split, because enumerated examples come in an order.
    for i in range(shown):
        console.print(Text("  ") + readable(task, table[split], i * size // shown), soft_wrap=True)


def first_sentence(task: Task) -> str:
    """Returns the first sentence of the class' docstring."""
    text = " ".join((inspect.getdoc(task) or "").split("\n\n")[0].split())
    found = _SENTENCE.match(text)
    return found.group() if found else text


def papers(task: Task) -> list[str]:
    """Returns the arXiv numbers in the docstring of a task's class, or else of its file."""
    own = _PAPER.findall(inspect.getdoc(task) or "")
    return list(dict.fromkeys(own or _PAPER.findall(sys.modules[type(task).__module__].__doc__ or "")))


def readable(task: Task, split: Split, row: int) -> Text:
    """Returns an example as text. Each target stands in brackets after the position at which it is read out."""
    shape, names = task.shape(), task.token_names()
    inputs, targets = split.inputs[row], split.targets[row]
    asked = {
        at: _numbers(target) if shape.real_targets else names[target]
        for at, target in zip(shape.readout_at(len(inputs)), targets, strict=True)
        if shape.real_targets or target != IGNORED
    }
    if shape.features:
        more = " ..." if len(inputs) > _FEATURES_SHOWN else ""
        cells = [_numbers(inputs[:_FEATURES_SHOWN]) + more]
    elif shape.channels is not None:
        cells = [f"({_numbers(channels)})" for channels in inputs]
    else:
        cells = [names[token] for token in inputs]
    # If every target is the next input, as in next-token prediction, it is shown once.
    follows = not shape.features and all(cells[at + 1] == answer for at, answer in asked.items() if at + 1 < len(cells))
    parts: list[tuple[str, bool]] = []
    for at, cell in enumerate(cells):
        if not (follows and at - 1 in asked):
            parts.append((cell, False))
        if at in asked:
            parts.append((asked[at], True))
    while parts[-1] == ("<pad>", False):
        parts.pop()
    text = Text()
    for is_asked, group in itertools.groupby(parts, key=lambda part: part[1]):
        told = " ".join(part for part, _ in group)
        text.append(f"[ {told} ] " if is_asked else f"{told} ", style="bold" if is_asked else "")
    if split.corrupted[row]:
        true = " ".join(names[target] for target in split.true_targets[row])
        text.append(f"(drawn at random; the rule gives {true})")
    text.rstrip()
    return text


def overlaps(task: Task, table: Mapping[str, Split]) -> dict[tuple[str, str], int]:
    """Returns the number of distinct inputs that two splits share, ignoring padding, for each pair that shares any."""
    names = task.token_names()
    pad = names.index("<pad>") if "<pad>" in names else 0
    longest = task.shape().longest()

    def different(split: Split) -> set[bytes]:
        missing = longest - split.inputs.shape[1]
        # Only token sequences have different lengths.
        inputs = np.pad(split.inputs, ((0, 0), (0, missing)), constant_values=pad) if missing else split.inputs
        return {row.tobytes() for row in inputs}

    found = {name: different(split) for name, split in table.items()}
    pairs = {(one, other): len(found[one] & found[other]) for one, other in itertools.combinations(found, 2)}
    return {pair: count for pair, count in pairs.items() if count}


def export_task(name: str, *, train: int | None, settings: Sequence[str], seed: int, folder: Path) -> None:
    """Writes the splits of a task to disk, and prints the task that reads them."""
    task = _changed(name, settings)
    shape = task.shape()
    _check_memory(name, shape)
    if train is not None:
        _check_memory(name, dataclasses.replace(shape, sizes=(("train", train),)))
    digest = export(task, seed, train, folder)
    sizes = stored_sizes(folder, digest)
    told = ", ".join(f"{size:,} of {split}" for split, size in sizes.items())
    Console(highlight=False, soft_wrap=True).print(f'{folder / digest}: {told}\ntask=StoredTask(data="{digest}")')


def _check_memory(name: str, shape: TaskShape) -> None:
    check_memory(4 * shape.table_bytes(), f"the examples of {name}")  # drawing them takes about four times their bytes


def _changed(name: str, settings: Sequence[str]) -> Task:
    return override(_named(name), dict(parse_setting(each, "KEY=VALUE") for each in settings))


def _named(name: str) -> Task:
    if "/" in name:
        _, experiments = find(name)
        return experiments[0].at_scale("paper")[0].task
    if name not in EXAMPLES:
        raise UserError(f"no task '{name}'{nearest(name, EXAMPLES)}")
    return EXAMPLES[name]


def _differs(task: Task, other: Task) -> str:
    """Returns the settings in which a task differs from another of the same kind."""
    before = to_json(other, complete=True)
    changed = {key: value for key, value in to_json(task, complete=True).items() if value != before[key]}
    return ", ".join(f"{key}={json.dumps(value)}" for key, value in changed.items())


def _tell(console: Console, text: str) -> None:
    console.print(text, markup=False, soft_wrap=True)


def _numbers(values: np.ndarray) -> str:
    return " ".join(f"{value:.2f}" for value in values)


def _reads(task: Task, shape: TaskShape) -> str:
    """Describes the inputs and the outputs of a task."""
    if shape.real_targets:
        outputs = f"{shape.vocabulary} real number{'s' if shape.vocabulary > 1 else ''}"
    else:
        outputs = f"one of {shape.vocabulary} classes"
    if shape.features:
        return f"reads {shape.length} real features, and predicts {outputs}"
    if shape.channels is not None:
        return f"reads {shape.channels} real numbers at each position, and predicts {outputs}"
    names = task.token_names()
    more = f" and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else ""
    return f"{len(names)} tokens: {' '.join(names[:_NAMES_SHOWN])}{more}"


def _splits(console: Console, task: Task, shape: TaskShape) -> None:
    table = Table(box=None, pad_edge=False)
    table.add_column("split", no_wrap=True)
    for column in ("examples", "features" if shape.features else "positions", "read out"):
        table.add_column(column, justify="right")
    table.add_column()
    for name, size in shape.sizes:
        length = shape.length_of(name)
        unmeasured = "" if name in task.measured() else "not measured"
        table.add_row(name, f"{size:,}", str(length), str(len(shape.readout_at(length))), unmeasured)
    console.print(table)


def _disjoint(task: Task, table: Mapping[str, Split]) -> list[str]:
    """Says why the splits are disjoint; for a table task, compares all examples."""
    rule = task.disjoint_by()
    if task.kind() != "table":
        return [f"by construction: {rule}"]
    shared = overlaps(task, table)
    told = (
        [f"splits share examples: {rule}"] if shared else ["disjoint: no example is in two splits (all were compared)"]
    )
    return told + [f"  {one} and {other} share {count:,} different inputs" for (one, other), count in shared.items()]
