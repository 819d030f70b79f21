import contextlib
import resource
from pathlib import Path

import pytest

from jaxgen import machine
from jaxgen.config import HostSeed, field_types, override
from jaxgen.errors import UserError
from jaxgen.tasks.base import Task, TaskShape
from jaxgen.tasks.examples import EXAMPLES


def test_memory_is_the_machines_or_what_a_container_or_a_limit_leaves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit = tmp_path / "memory.max"
    monkeypatch.setattr(machine, "_LIMITS", (tmp_path / "missing", limit))
    whole = machine.memory()
    assert 2**28 < whole < 2**50
    limit.write_text("max\n")
    assert machine.memory() == whole
    limit.write_text("1000000000\n")
    assert machine.memory() == 10**9
    monkeypatch.setattr(resource, "getrlimit", lambda _: (10**8, resource.RLIM_INFINITY))
    assert machine.memory() == 10**8
    machine.check_memory(10**8, "these")
    with pytest.raises(UserError, match=r"^these take 2\.5 GB at least, and this machine has 0\.1 GB of memory$"):
        machine.check_memory(2_500_000_000, "these")


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_bytes_of_a_table_are_counted_before_it_is_made(name: str) -> None:
    task = EXAMPLES[name]
    shape = task.shape()
    found = sum(column.nbytes for split in task.table(0).values() for column in split)
    # What measures do not look at whole is cut before it is drawn, and a label may share its memory with the true one.
    assert found <= shape.table_bytes() <= 2 * found


def test_the_bytes_of_real_inputs_and_outputs_are_counted() -> None:
    shape = TaskShape(3, 5, (4,), (("train", 7), ("test", 2)), real_targets=True, channels=2)
    assert shape.table_bytes() == 9 * (4 * 5 * 2 + 2 * 4 * 3 + 1)


@pytest.mark.parametrize("kind", dict.fromkeys(type(task) for task in EXAMPLES.values()))
def test_the_largest_number_of_a_task_is_refused_or_counted_and_never_made(kind: type[Task]) -> None:
    task = next(each for each in EXAMPLES.values() if type(each) is kind)
    for name, hint in field_types(kind).items():
        if (
            "int" in str(hint)
            and "Part" not in str(hint)
            and HostSeed.__metadata__[0] not in getattr(hint, "__metadata__", ())
        ):
            with contextlib.suppress(UserError):
                override(task, {name: (2**31 - 1,) if "tuple" in str(hint) else 2**31 - 1}).shape().table_bytes()
