"""What every task of the library keeps to, on its example."""

from __future__ import annotations

import functools
import importlib
import itertools
import json
import re
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxgen.tasks
from jaxgen.cli.tasks import papers
from jaxgen.config import Config, from_json, to_json
from jaxgen.errors import UserError
from jaxgen.tasks.base import IGNORED, Split, Task
from jaxgen.tasks.examples import EXAMPLES
from jaxgen.tasks.stored import StoredTask

DOCS = Path(__file__).parent.parent / "docs"


def library() -> list[type[Task]]:
    """Returns the tasks that no other task of the library is built on."""
    own = [cls for cls in Config.kinds.values() if issubclass(cls, Task) and cls.__module__.startswith("jaxgen.tasks.")]
    return [cls for cls in own if not any(cls in other.__mro__[1:] for other in own)]


def kebab(cls: type[Task]) -> str:
    """Returns the name of a class in kebab case, without Task."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "-", cls.__name__.removesuffix("Task")).lower()


@functools.cache
def table(name: str) -> dict[str, Split]:
    return EXAMPLES[name].table(3)


def forget() -> None:
    """Empties every cache of the tasks."""
    for module in [module for name, module in sys.modules.items() if name.startswith("jaxgen.tasks")]:
        for each in vars(module).values():
            if hasattr(each, "cache_clear"):
                each.cache_clear()


def questions(task: Task, split: Split) -> set[tuple[float, ...]]:
    """Returns the inputs as tuples, without the padding that their split's length asks for."""
    names, rows = task.token_names(), split.inputs.reshape(len(split.inputs), -1).tolist()
    if task.shape().features or task.shape().channels or "<pad>" not in names:
        return set(map(tuple, rows))
    pad = names.index("<pad>")
    return {tuple(row[: max((i + 1 for i, token in enumerate(row) if token != pad), default=0)]) for row in rows}


def check_examples(task: Task, split: Split, length: int) -> None:
    shape, rows = task.shape(), len(split.inputs)
    asked = len(shape.readout_at(length))
    channels = () if shape.channels is None else (shape.channels,)
    real = (shape.vocabulary,) if shape.real_targets else ()
    assert split.inputs.shape == (rows, length, *channels)
    assert split.targets.shape == split.true_targets.shape == (rows, asked, *real)
    assert split.corrupted.shape == (rows,)
    assert split.inputs.dtype == shape.blank().dtype
    assert split.targets.dtype == split.true_targets.dtype == (np.float32 if real else np.int32)
    assert split.corrupted.dtype == bool
    if shape.features or channels:
        assert np.isfinite(split.inputs).all()
    else:
        assert split.inputs.min() >= 0
        assert split.inputs.max() < shape.vocabulary
    for targets in (split.targets, split.true_targets):
        if real:
            assert np.isfinite(targets).all()
        else:
            assert targets.min() >= IGNORED
            assert targets.max() < shape.vocabulary
            assert (targets != IGNORED).any()
    clean = ~split.corrupted
    assert np.array_equal(split.targets[clean], split.true_targets[clean])


def test_every_task_has_an_example_and_is_exported() -> None:
    classes = library()
    # Of stored data there is what lies on disk.
    assert {type(task) for task in EXAMPLES.values()} == set(classes) - {StoredTask}
    exported = {getattr(jaxgen.tasks, name) for name in jaxgen.tasks.__all__}
    assert set(classes) <= exported
    for name, task in EXAMPLES.items():
        first = kebab(type(task))
        assert name == first or name.startswith(f"{first}-")
        assert type(EXAMPLES[first]) is type(task)


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_table_is_what_the_shape_says(name: str) -> None:
    task = EXAMPLES[name]
    shape = task.shape()
    assert list(table(name)) == [split for split, _ in shape.sizes]
    assert next(iter(table(name))) == "train"
    assert {split: len(found.inputs) for split, found in table(name).items()} == dict(shape.sizes)
    assert set(dict(shape.lengths)) <= set(table(name))
    assert shape.length not in dict(shape.lengths).values()
    assert set(task.measured()) <= set(table(name))
    assert all(0 <= at < shape.length for at in shape.readout) or shape.features
    assert len(set(task.token_names())) == len(task.token_names()) == shape.vocabulary
    for split, found in table(name).items():
        check_examples(task, found, shape.length_of(split))
    corrupted = {split for split, found in table(name).items() if found.corrupted.any()}
    assert corrupted == ({"train"} if task.corrupts() else set())


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_table_depends_on_configuration_and_seed_alone(name: str) -> None:
    task = EXAMPLES[name]
    again = from_json(json.loads(json.dumps(to_json(task))))
    assert again == task
    one = table(name)
    forget()
    other = again.table(3)
    for split in one:
        for x, y in zip(one[split], other[split], strict=True):
            assert x.tobytes() == y.tobytes()


@pytest.mark.parametrize("name", EXAMPLES)
def test_splits_share_no_example_but_those_that_are_told(name: str) -> None:
    task = EXAMPLES[name]
    rule = task.disjoint_by()
    if task.kind() != "table":
        assert rule is not None
        return
    found = {split: questions(task, examples) for split, examples in table(name).items()}
    for one, other in itertools.combinations(found, 2):
        if found[one] & found[other]:
            assert rule is not None, (one, other)
            assert all(split in rule for split in (one, other) if split != "train"), (one, other)


@pytest.mark.parametrize("name", [name for name, task in EXAMPLES.items() if task.kind() != "table"])
def test_fresh_examples_are_of_the_table_s_shapes(name: str) -> None:
    task = EXAMPLES[name]
    size = 8
    task.check_batch_size(size)
    for part in task.parts():
        words = np.random.default_rng(0).integers(2**32, size=(size, part.stream_words() or 0), dtype=np.uint32)
        batch = part.batch(words, np.arange(size), np)
        assert len(batch.inputs) == size
        check_examples(part, batch, part.shape().length)
        again = part.batch(words, np.arange(size), np)
        assert all(x.tobytes() == y.tobytes() for x, y in zip(batch, again, strict=True))


def test_the_guide_has_every_task() -> None:
    guide = (DOCS / "tasks.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([a-z0-9-]+)` \| \[(\w+)\]\((\S+)\) \|(.*)\| .+ \|$", guide, re.MULTILINE)
    assert {name: cls for name, cls, _, _ in rows} == {
        kebab(cls): cls.__name__ for cls in library() if cls is not StoredTask
    }
    for name, _, path, paper in rows:
        assert (DOCS / path).resolve() == Path(sys.modules[type(EXAMPLES[name]).__module__].__file__ or "").resolve()
        assert re.findall(r"\d{4}\.\d{5}", paper) == papers(EXAMPLES[name])


def test_the_family_of_the_guide_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = (DOCS / "tasks.md").read_text(encoding="utf-8").split("```python\n")[1].split("```")[0]
    (tmp_path / "larger.py").write_text(code, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    larger = importlib.import_module("larger").LargerTask
    task = larger(numbers=6, test_examples=200)
    assert (task.kind(), larger(train_examples=9).kind()) == ("stream", "table")
    words = np.random.default_rng(0).integers(2**32, size=(400, task.stream_words()), dtype=np.uint32)
    fresh = task.examples(words, np)
    for split, found in {**task.table(0), "fresh": fresh}.items():
        check_examples(task, found, 3)
        one, other, equals = found.inputs.T
        assert (equals == 6).all()
        assert ((one + other) % 2 == (split == "test")).all()
        assert len(set(zip(one.tolist(), other.tolist(), strict=True))) == 18
        assert found.targets.tolist() == [[max(pair)] for pair in zip(one.tolist(), other.tolist(), strict=True)]
    compiled = jax.jit(lambda words: task.examples(words, jnp))(words)
    for x, y in zip(fresh, compiled, strict=True):
        assert x.dtype == y.dtype
        np.testing.assert_array_equal(x, y)
    with pytest.raises(UserError, match="got 7, expected an even number"):
        larger(numbers=7)


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_shape_says_what_pads(name: str) -> None:
    names = EXAMPLES[name].token_names()
    assert EXAMPLES[name].shape().padding == (names.index("<pad>") if "<pad>" in names else None)
