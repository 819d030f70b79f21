"""The checkpoint adapter and metrics.jsonl."""

import resource
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.errors import UserError
from jaxgen.run.checkpoint import CheckpointStore, SaveError, nest
from jaxgen.run.manifest import Damaged
from jaxgen.run.mirrors import TensorBoard, WeightsAndBiases
from jaxgen.run.rows import MetricsFile, check_rows, metric_row, read_rows

TREE = {"params": {"w": jnp.arange(6.0).reshape(2, 3), "b": jnp.ones(2, jnp.bfloat16)}, "step": jnp.int32(7)}


def test_a_tree_comes_back_bit_for_bit(tmp_path: Path) -> None:
    CheckpointStore(tmp_path / "c").save(3, TREE)
    store = CheckpointStore(tmp_path / "c")
    assert store.steps() == [3]
    back = store.restore(3, TREE)
    np.testing.assert_array_equal(back["params"]["w"], TREE["params"]["w"])
    assert back["params"]["b"].dtype == jnp.bfloat16
    assert back["step"] == 7
    assert nest(store.load(3), "params").keys() == {"w", "b"}


def test_only_the_newest_are_kept(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path / "c", keep=2)
    for step in (1, 5, 9):
        store.save(step, TREE)
    assert store.steps() == [5, 9]


def test_a_tree_that_does_not_fit_is_refused_leaf_by_leaf(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path / "c")
    store.save(1, TREE)
    other = {"params": {"w": jnp.zeros((3, 3)), "new": jnp.zeros(1)}, "step": jnp.int32(0)}
    with pytest.raises(UserError) as error:
        store.restore(1, other)
    for part in ("missing ['params.new']", "extra ['params.b']", "params.w (float32[2, 3], expected float32[3, 3])"):
        assert part in str(error.value)
    with pytest.raises(UserError, match=r"has no step 2; it has \[1\]"):
        store.load(2)


def test_a_checkpoint_is_saved_once_it_was_read_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = CheckpointStore(tmp_path / "c")
    restore = store._orbax.restore

    def other(path: Path, args: Any) -> Any:
        return {name: leaf + leaf.dtype.type(1) for name, leaf in restore(path, args=args).items()}

    def failing(path: Path, args: Any) -> Any:
        raise ValueError("NOT_FOUND: something\nand more")

    for replaced, match in ((other, "is read back with other values"), (failing, "state cannot be read: NOT_FOUND")):
        monkeypatch.setattr(store._orbax, "restore", replaced)
        with pytest.raises(SaveError, match=match):
            store.save(3, TREE)
        assert store.all_steps() == []
    monkeypatch.undo()
    store.save(3, TREE)
    monkeypatch.setattr(store._orbax, "restore", failing)
    with pytest.raises(Damaged, match=r"3/state cannot be read: NOT_FOUND: something$"):
        store.load(3)


def test_metrics_are_cut_behind_a_step_and_a_half_written_line_goes(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    metrics = MetricsFile(path, 0)
    metrics.append([metric_row(step, 0, 1.5, {"a": step / 3, "b": float("nan")}) for step in (0, 2)])
    synced = metrics.sync()
    metrics.append([metric_row(4, 0, 1.5, {})])
    metrics.close()
    with path.open("a") as file:
        file.write('{"step": 6, "mem')
    assert [row["step"] for row in read_rows(path)] == [0, 2, 4]
    check_rows(path, synced)
    again = MetricsFile(path, synced["bytes"])
    assert again.sync() == synced
    again.close()
    rows = list(read_rows(path))
    assert [row["step"] for row in rows] == [0, 2]
    assert rows[1]["values"] == {"a": 2 / 3, "b": None}
    path.write_bytes(path.read_bytes().replace(b"0.666", b"0.667"))
    with pytest.raises(Damaged, match="other contents"):
        check_rows(path, synced)
    MetricsFile(path, 0).close()
    assert list(read_rows(path)) == []


def test_wandb_gets_what_it_lacks_and_is_named_where_it_is_missing(tmp_path, monkeypatch) -> None:
    logged: list[tuple[int, dict[str, float]]] = []
    # What W&B kept of an interrupted run: steps below 1.
    run = SimpleNamespace(step=1, log=lambda values, step: logged.append((step, values)), finish=lambda: None)
    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(init=lambda **_: run))
    rows = [metric_row(step, member, 1.0, {"a": step + member}) for step in (0, 1, 2) for member in (0, 1)]
    mirror = WeightsAndBiases("project", "id", tmp_path, ["x.0", "x.1"], rows[:4])
    mirror.write(rows[4:])
    mirror.close()
    assert logged == [(1, {"x.0/a": 1, "x.1/a": 2}), (2, {"x.0/a": 2, "x.1/a": 3})]
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(UserError, match=r'pip install "jaxgen\[wandb\]"'):
        WeightsAndBiases("project", "id", tmp_path, ["x.0"], [])


def test_tensorboard_holds_no_file_open_and_writes_what_tensorboard_reads(tmp_path: Path) -> None:
    """Members are more than a process may have files open, and records are those of tensorboardX's own writer."""
    from tensorboardX.event_file_writer import EventsWriter
    from tensorboardX.proto.event_pb2 import Event
    from tensorboardX.summary import scalar

    names = [f"a.{seed}" for seed in range(300)]
    rows = [metric_row(step, member, 1.0, {"accuracy/train": step / 10}) for step in (0, 1) for member in range(300)]
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(256, limit[1]), limit[1]))
    try:
        board = TensorBoard(tmp_path / "tb", names, rows[:300])
        board.write(rows[300:])
        board.close()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limit)
    (file,) = (tmp_path / "tb" / "a.299").glob("events*")
    writer = EventsWriter(str(tmp_path / "events"))
    for step in (0, 1):
        writer.write_event(Event(summary=scalar("accuracy/train", step / 10), step=step, wall_time=1.0))
    writer.close()
    (theirs,) = tmp_path.glob("events*")
    ours, expected = file.read_bytes(), theirs.read_bytes()
    assert len(ours) == len(expected)
    head = 16 + int.from_bytes(ours[:8], "little")  # has the time of day in it
    assert ours[head:] == expected[head:]


def test_tensorboard_shows_each_row_once_after_a_resume(tmp_path: Path) -> None:
    from tensorboardX import proto

    rows = [metric_row(step, member, 1.0, {"accuracy/train": step / 10}) for step in (0, 1) for member in (0, 1)]
    for _ in range(2):
        board = TensorBoard(tmp_path / "tb", ["a.0", "a.1"], rows)
        board.close()
    for name in ("a.0", "a.1"):
        (file,) = (tmp_path / "tb" / name).glob("events*")
        values, data, at = [], file.read_bytes(), 0
        while at < len(data):
            length = int.from_bytes(data[at : at + 8], "little")
            event = proto.event_pb2.Event.FromString(data[at + 12 : at + 12 + length])
            values += [(event.step, each.tag, each.simple_value) for each in event.summary.value]
            at += 16 + length
        assert values == [(0, "accuracy/train", 0.0), (1, "accuracy/train", pytest.approx(0.1))]
