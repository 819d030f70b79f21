"""Examples on disk: ArrayRecord files that `jaxgen tasks export` or another program wrote.

    data/<digest>/
        manifest.json          the shape, the tokens, and for every split its file, SHA-256 and sizes
        <split>.array_record   one record an example: inputs, targets, true targets, corrupted, little-endian

The digest is that of the manifest, so it identifies the data wherever they are.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from jaxgen.config import NonNegativeInt, PositiveInt, to_json
from jaxgen.errors import UserError
from jaxgen.storage.files import make_directory, read_json, write_json
from jaxgen.tasks.base import Array, Source, Split, Task, TaskShape, check_examples, checked_table, random_order

FOLDER_VARIABLE = "JAXGEN_DATA"
_EPOCH_STREAM = 2**33
_LOOKED_AT = 4096  # rows read at a time


@dataclasses.dataclass(frozen=True, kw_only=True)
class StoredTask(Task):
    """Data on disk, below $JAXGEN_DATA or `data/`; `jaxgen tasks export` writes them.

    Each epoch goes through all training examples in a new order, given by the run's seed and the epoch, and leaves out
    the remainder. Measures use all splits, but only the first `train_measured` examples of `train`.
    """

    on_host: ClassVar[bool] = True

    data: str  # the digest
    train_measured: NonNegativeInt = 1000

    def validate(self) -> None:
        if not re.fullmatch(r"[0-9a-f]{16}", self.data):
            raise UserError(f"task.data: got '{self.data}', expected the 16 digits that `jaxgen tasks export` prints")
        self.manifest()

    def manifest(self) -> dict[str, Any]:
        return _manifest(data_folder(), self.data)

    def shape(self) -> TaskShape:
        whole = _shape(data_folder(), self.data)
        sizes = dict(whole.sizes)
        sizes["train"] = min(sizes["train"], max(self.train_measured, 1))
        return dataclasses.replace(whole, sizes=tuple(sizes.items()))

    def token_names(self) -> tuple[str, ...]:
        return tuple(self.manifest()["token_names"])

    def disjoint_by(self) -> str | None:
        said: str | None = self.manifest()["disjoint_by"]
        return said

    def measured(self) -> tuple[str, ...]:
        return tuple(name for name, _ in self.shape().sizes if name != "train" or self.train_measured)

    def table(self, seed: int) -> dict[str, Split]:
        return {name: self._read(name, np.arange(size)) for name, size in self.shape().sizes}

    def check_batch_size(self, size: int) -> None:
        if size > self._training_examples():
            raise UserError(
                f"batch_size: got {size}, expected at most the {self._training_examples()} training examples"
            )

    def host_batch(self, seed: int, step: int, batch_size: int, rows: range) -> Split:
        count = self._training_examples()
        epoch, at = divmod(step, count // batch_size)
        places = slice(at * batch_size + rows.start, at * batch_size + rows.stop)
        return self._read("train", _order(count, seed, epoch)[places])

    def _training_examples(self) -> int:
        return stored_sizes(data_folder(), self.data)["train"]

    def _read(self, split: str, numbers: np.ndarray) -> Split:
        columns = self.manifest()["splits"][split]["columns"]
        return _decoded(_records(data_folder(), self.data, split).__getitems__(numbers.tolist()), columns)


def _decoded(records: Sequence[bytes], columns: Sequence[tuple[Sequence[int], str]]) -> Split:
    flat = np.frombuffer(b"".join(records), np.uint8).reshape(len(records), -1)
    decoded, start = [], 0
    for shape, dtype in columns:
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        column = np.ascontiguousarray(flat[:, start : start + size]).view(dtype)
        decoded.append(column.reshape(len(records), *shape))
        start += size
    return Split(*decoded)


def stored_sizes(folder: Path, digest: str) -> dict[str, int]:
    """Returns the number of examples in every split."""
    return {name: size for name, size in _manifest(folder, digest)["shape"]["sizes"]}


def data_folder() -> Path:
    """Returns the folder of stored data."""
    return Path(os.environ.get(FOLDER_VARIABLE) or "data")


def export(task: Task, seed: int, train: PositiveInt | None, folder: Path) -> str:
    """Writes the splits of a task below `folder` atomically, and returns the digest of the data.

    Args:
      task: the task.
      seed: the seed of its examples.
      train: the number of training examples to draw if the task makes fresh ones; None: its table.
      folder: the folder of stored data.

    Raises:
      UserError: `train` is given, but the task has all training examples in its table; or no model can read an example.
    """
    splits = checked_table(task, seed)
    if train is not None:
        if task.stream_words() is None or task.parts() != (task,):
            raise UserError("train: the training examples of this task are all in its table; leave the number out")
        splits["train"] = task.host_batch(seed, 0, train, range(train))
        check_examples(splits["train"], task.shape(), f"task {type(task).__name__}: split 'train'")
    make_directory(folder)
    temporary = Path(tempfile.mkdtemp(dir=folder, prefix=".export."))
    try:
        written = {name: _write(temporary, name, split) for name, split in splits.items()}
        shape = dataclasses.asdict(task.shape())
        del shape["padding"]  # follows from the tokens' names
        if shape["source"] is None:
            del shape["source"]  # as in the manifests, and so the digests, from before there were sources
        shape["sizes"] = [[name, len(split.inputs)] for name, split in splits.items()]
        manifest = {
            "made_by": {"task": to_json(task), "version": type(task).version, "seed": seed},
            "shape": shape,
            "token_names": list(task.token_names()),
            "disjoint_by": task.disjoint_by(),
            "splits": written,
        }
        digest = _digest(manifest)
        write_json(temporary / "manifest.json", manifest)
        if (folder / digest).exists():  # the same digest means the same data
            _manifest(folder, digest)
        else:
            os.replace(temporary, folder / digest)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return digest


def _write(folder: Path, name: str, split: Split) -> dict[str, Any]:
    from array_record.python.array_record_module import ArrayRecordWriter  # here: configs need not load it

    columns = [np.ascontiguousarray(_little(column)) for column in split]
    path = folder / f"{name}.array_record"
    writer = ArrayRecordWriter(str(path), "group_size:1")  # each record can be read without its neighbours
    for row in range(len(columns[0])):
        writer.write(b"".join(column[row].tobytes() for column in columns))
    writer.close()
    return {
        "file": path.name,
        "sha256": _sha256(path),
        "columns": [[list(column.shape[1:]), column.dtype.str] for column in columns],
    }


def _little(column: Array) -> np.ndarray:
    column = np.asarray(column)
    return column.astype(column.dtype.newbyteorder("<"), copy=False)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _digest(manifest: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()[:16]


@functools.lru_cache(maxsize=16)
def _manifest(folder: Path, digest: str) -> dict[str, Any]:
    path = folder / digest / "manifest.json"
    if not path.exists():
        raise UserError(
            f"task.data: there is no {path}; export the data with `jaxgen tasks export`, or say with "
            f"${FOLDER_VARIABLE} where they are"
        )
    manifest: dict[str, Any] = read_json(path, {"shape": dict, "token_names": list, "splits": dict})
    if _digest(manifest) != digest:
        raise UserError(f"{path} was changed: its digest is {_digest(manifest)}, not that of its folder")
    return manifest


def _shape(folder: Path, digest: str) -> TaskShape:
    manifest = _manifest(folder, digest)
    facts, names = manifest["shape"], manifest["token_names"]
    pairs = {name: tuple((split, number) for split, number in facts[name]) for name in ("sizes", "lengths")}
    padding = names.index("<pad>") if "<pad>" in names else None
    source = Source(*facts["source"]) if facts.get("source") else None
    return TaskShape(**facts | {"readout": tuple(facts["readout"]), "padding": padding, "source": source} | pairs)


@functools.lru_cache(maxsize=64)
def _records(folder: Path, digest: str, split: str) -> Any:
    """Returns the records of a split after checking their digest and sizes."""
    from array_record.python.array_record_data_source import ArrayRecordDataSource

    facts, shape = _manifest(folder, digest)["splits"][split], _shape(folder, digest)
    path = folder / digest / facts["file"]
    if not path.is_file() or _sha256(path) != facts["sha256"]:
        raise UserError(f"{path} is missing or damaged: it does not match its manifest; export the data again")
    if facts["columns"] != _columns(shape, split):
        raise UserError(
            f"{path}: got columns {facts['columns']}, expected {_columns(shape, split)}, as the manifest's shape has it"
        )
    records = ArrayRecordDataSource([str(path)])
    size, width = dict(shape.sizes)[split], sum(int(np.prod(s)) * np.dtype(d).itemsize for s, d in facts["columns"])
    if len(records) != size:
        raise UserError(f"{path}: got {len(records)} rows, expected {size}, as the manifest says")
    for first in range(0, size, _LOOKED_AT):
        block = records.__getitems__(list(range(first, min(first + _LOOKED_AT, size))))
        for row, record in enumerate(block, start=first):
            if len(record) != width:
                raise UserError(f"{path}: row {row} has {len(record)} bytes, expected {width}, as its columns have")
        check_examples(_decoded(block, facts["columns"]), shape, str(path), first)
    return records


def _columns(shape: TaskShape, split: str) -> list[list[Any]]:
    """Returns the shapes and dtypes of a split's columns."""
    length = shape.length_of(split)
    blank, answers = shape.blank(), len(shape.readout_at(length))
    target = [[answers, shape.vocabulary], "<f4"] if shape.real_targets else [[answers], "<i4"]
    return [[[length, *blank.shape[2:]], blank.dtype.newbyteorder("<").str], target, target, [[], "|b1"]]


@functools.lru_cache(maxsize=2)
def _order(count: int, seed: int, epoch: int) -> np.ndarray:
    return random_order(count, seed=seed, stream=_EPOCH_STREAM + epoch)
