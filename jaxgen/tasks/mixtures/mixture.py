"""Tasks made of tasks: mixed within a batch, batch by batch, or one after another.

All parts draw fresh examples, on the device or on the host, and have the same tokens. A split of a part becomes a split
of the mixture, named `part.split`.

Shape letters: N examples of a batch, W random words of an example, S input positions, K read-out positions.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Literal

import numpy as np

from jaxgen.config import Config, PositiveInt
from jaxgen.errors import UserError
from jaxgen.tasks.base import IGNORED, Array, Split, Task, TaskShape


@dataclasses.dataclass(frozen=True, kw_only=True)
class Part(Config):
    """A named sub-task. `weight` is its share of examples or batches, or its number of steps in a curriculum."""

    name: str
    task: Task
    weight: PositiveInt = 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Parts(Task, family=True):
    of: tuple[Part, ...]

    def validate(self) -> None:
        names = [part.name for part in self.of]
        if len(names) < 2 or len(set(names)) < len(names) or not all(name.isidentifier() for name in names):
            raise UserError(f"task.of: got parts {names}, expected two or more, with different names of letters")
        tokens = {part.task.token_names() for part in self.of}
        kinds = {(part.task.on_host, _kind(part.task)) for part in self.of}
        if any(part.task.stream_words() is None or isinstance(part.task, _Parts) for part in self.of):
            raise UserError("task.of: expected tasks that draw fresh examples at every step, and are not made of tasks")
        if len(tokens) > 1 or len(kinds) > 1:
            raise UserError(
                "task.of: expected parts that have the same tokens, and are all made on the device or all by the host; "
                f"got {', '.join(f'{part.name} with {part.task.shape().vocabulary} tokens' for part in self.of)}"
            )
        if self.shape().real_targets and len({part.task.shape().readout for part in self.of}) > 1:
            raise UserError("task.of: expected parts with real targets to be read out at the same positions")

    @property
    def on_host(self) -> bool:  # type: ignore[override]
        """Whether the host makes the parts' examples."""
        return self.of[0].task.on_host

    def shape(self) -> TaskShape:
        shapes = {part.name: part.task.shape() for part in self.of}
        longest = max(shapes.values(), key=lambda shape: shape.length)
        readouts = {shape.readout for shape in shapes.values()}
        readout = longest.readout if len(readouts) == 1 else tuple(range(longest.length))
        sizes = [(f"{name}.{split}", size) for name, shape in shapes.items() for split, size in shape.sizes]
        lengths = [
            (f"{name}.{split}", shape.length_of(split)) for name, shape in shapes.items() for split, _ in shape.sizes
        ]
        # Training examples are drawn fresh; if some are needed, the first part's are used.
        first = f"{self.of[0].name}.train"
        sizes.insert(0, ("train", dict(sizes)[first]))
        lengths.insert(0, ("train", dict(lengths)[first]))
        return dataclasses.replace(
            longest,
            readout=readout,
            sizes=tuple(sizes),
            lengths=tuple(each for each in lengths if each[1] != longest.length),
            padding=self._padding(),
            source=None,
        )

    def measured(self) -> tuple[str, ...]:
        return tuple(f"{part.name}.{split}" for part in self.of for split in part.task.measured())

    def disjoint_by(self) -> str:
        rules = "; ".join(f"{part.name}: {part.task.disjoint_by()}" for part in self.of)
        return f"{rules}; what one part tests another may train on"

    def token_names(self) -> tuple[str, ...]:
        return self.of[0].task.token_names()

    def stream_words(self) -> int:
        return max(part.task.stream_words() or 0 for part in self.of)

    def table(self, seed: int) -> dict[str, Split]:
        shape, splits = self.shape(), {}
        for part in self.of:
            for name, split in part.task.table(seed).items():
                whole = f"{part.name}.{name}"
                at = shape.length_of(whole)
                splits[whole] = _laid_out(split, part.task.shape(), shape.readout_at(at), at, self._pad(), np)
        return {"train": splits[f"{self.of[0].name}.train"]} | splits

    def _padding(self) -> int | Literal["unmarked"] | None:
        names = self.token_names()
        return names.index("<pad>") if "<pad>" in names else None

    def _pad(self) -> int:
        padding = self._padding()
        return padding if isinstance(padding, int) else 0

    def _of_part(self, split: Split, part: Part, xp: Any) -> Split:
        shape = self.shape()
        return _laid_out(split, part.task.shape(), shape.readout, shape.length, self._pad(), xp)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Mixture(_Parts):
    """Every batch has examples of every part, exactly in proportion to the weights; the batch size is a multiple of the
    weights' sum. Shorter examples are padded at the end."""

    def _padding(self) -> int | Literal["unmarked"] | None:
        found = super()._padding()
        several = len({part.task.shape().length for part in self.of}) > 1
        return "unmarked" if found is None and several else found

    def batch(self, words_BW: Array, rows_B: np.ndarray, xp: Any) -> Split:
        turns = _turns(self.of)
        own = turns[rows_B % len(turns)]
        found = []
        for i, part in enumerate(self.of):
            words = words_BW[np.flatnonzero(own == i), : part.task.stream_words()]
            found.append(self._of_part(part.task.examples(words, xp), part, xp))
        place = np.argsort(np.argsort(own, kind="stable"), kind="stable")
        return Split(*(xp.concatenate(columns)[place] for columns in zip(*found, strict=True)))

    def check_batch_size(self, size: int) -> None:
        total = sum(part.weight for part in self.of)
        if size % total:
            raise UserError(f"batch_size: got {size}, expected a multiple of {total}, the sum of the parts' weights")


@dataclasses.dataclass(frozen=True, kw_only=True)
class _PartByPart(_Parts, family=True):
    """Every batch comes from one part."""

    def validate(self) -> None:
        super().validate()
        shapes = [part.task.shape() for part in self.of]
        if len({(shape.length, shape.readout) for shape in shapes}) == 1:
            return
        for part, shape in zip(self.of, shapes, strict=True):
            if shape.readout != tuple(range(shape.length)):
                raise UserError(
                    f"task.of: {part.name} is read out at {len(shape.readout)} of {shape.length} positions; parts of "
                    "different lengths must be read out at all of theirs"
                )

    def parts(self) -> tuple[Task, ...]:
        return tuple(part.task for part in self.of)

    def host_batch(self, seed: int, step: int, batch_size: int, rows: range) -> Split:
        part = self.parts()[int(self.part_at(np.int32(step), np))]
        return part.host_batch(seed, step, batch_size, rows)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Buckets(_PartByPart):
    """Every batch comes from one part, and has its length. In each cycle of sum(weights) steps every part has its share
    of the steps, spread evenly. Parts of different lengths train in one program."""

    def part_at(self, step: Array, xp: Any) -> Array:
        turns = _turns(self.of)
        return xp.asarray(turns)[step % len(turns)]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Curriculum(_PartByPart):
    """One part after another, each for `weight` steps; the last continues to the end."""

    def part_at(self, step: Array, xp: Any) -> Array:
        ends = np.cumsum([part.weight for part in self.of[:-1]]).astype(np.int32)
        return xp.sum(xp.expand_dims(step, -1) >= xp.asarray(ends), axis=-1, dtype=xp.int32)


def _kind(task: Task) -> tuple[Any, ...]:
    shape = task.shape()
    return shape.features, shape.real_targets, shape.channels


def _turns(parts: tuple[Part, ...]) -> np.ndarray:
    """Returns the part's index, int32, for each step of a cycle in which each part has `weight` steps, spread
    evenly."""
    due = [((2 * k + 1) / (2 * part.weight), i) for i, part in enumerate(parts) for k in range(part.weight)]
    common = math.gcd(*(part.weight for part in parts))
    return np.array([i for _, i in sorted(due)], np.int32)[: len(due) // common]


def _laid_out(split: Split, shape: TaskShape, readout: tuple[int, ...], length: int, pad: int, xp: Any) -> Split:
    """Returns examples with their inputs padded to `length`, and their targets at the positions `readout`."""
    inputs = split.inputs
    own = inputs.shape[1]
    if length > own:
        filler = xp.full((inputs.shape[0], length - own, *inputs.shape[2:]), pad, inputs.dtype)
        inputs = xp.concatenate([inputs, filler], axis=1)
    asked = shape.readout_at(own)
    if asked == readout:
        return split._replace(inputs=inputs)
    places = np.array([asked.index(at) if at in asked else len(asked) for at in readout])

    def place(targets: Array) -> Array:
        nothing = xp.full((targets.shape[0], 1, *targets.shape[2:]), IGNORED, targets.dtype)
        return xp.concatenate([targets, nothing], axis=1)[:, places]

    return split._replace(inputs=inputs, targets=place(split.targets), true_targets=place(split.true_targets))
