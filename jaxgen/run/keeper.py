"""Restores and saves a run, and writes its status.json.

Checkpoints are written in the background, from a copy of the state. Rows and snapshots up to a step are on disk before
its recovery checkpoint; mirrors and status.json are updated after it.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Mapping
from typing import Any

import jax

from jaxgen.distributed import processes
from jaxgen.distributed.mesh import on_host
from jaxgen.errors import UserError
from jaxgen.run.arguments import Interrupted, Observer, RunArguments
from jaxgen.run.checkpoint import CheckpointStore
from jaxgen.run.directory import PopulationDirectory, saved
from jaxgen.run.goodput import Stopwatch
from jaxgen.run.reader import Reader
from jaxgen.run.resume import drift, newest_intact
from jaxgen.run.rows import MetricsFile
from jaxgen.run.saver import Save, Saver
from jaxgen.run.throughput import Throughput
from jaxgen.train.savings import Savings
from jaxgen.train.state import State

# Seconds between retries of the final save.
RETRY_SECONDS = 10.0
# Training waits when this many snapshots are not written yet.
MOST_WAITING = 4


class Keeper:
    """Restores and saves one population. Only the first of several processes writes.

    Args:
      directory: the population's directory.
      reader: holds the rows that a save covers.
      stopwatch: counts the time of saving.
      status: the contents of status.json.
      fingerprint: the versions, devices and flags on which the bits of this run depend.
      horizon: the last step.
      observer: receives the progress.
      arguments: the options of the run.
    """

    throughput: Throughput

    def __init__(
        self,
        directory: PopulationDirectory,
        reader: Reader,
        stopwatch: Stopwatch,
        status: Mapping[str, Any],
        fingerprint: Mapping[str, str],
        horizon: int,
        observer: Observer,
        arguments: RunArguments,
    ):
        self.directory, self.reader, self.stopwatch = directory, reader, stopwatch
        self.status, self.fingerprint, self.horizon = dict(status), fingerprint, horizon
        self.observer, self.arguments = observer, arguments
        owner = processes.told(lambda: directory.owner)
        known = {int(step): digest for step, digest in self.status["recovery"].items()}
        self.recovery = CheckpointStore(directory.path / "recovery", keep=2, owner=owner, digests=known)
        self.snapshots = CheckpointStore(directory.path / "snapshots", owner=owner)
        self.saver = Saver()
        self._saved_at = time.monotonic()
        self._failed_at = -float("inf")

    def begin(self) -> int | None:
        """Returns the step to resume from, or None for a new run. Removes everything written after that step."""
        step: int | None = processes.told(self._begin_files)
        return step

    def _begin_files(self) -> int | None:
        start_over = self.arguments.resume == "may"
        newest = newest_intact(self.directory, self.recovery, start_over=start_over, tell=self.observer.note)
        if newest is None:
            self.directory.remove_status()
            self.recovery.drop_after(-1)
            self.snapshots.drop_after(-1)
            self.reader.metrics = MetricsFile(self.directory.metrics_file, 0)
            self.directory.event("started", step=0)
            return None
        step, facts = newest.step, newest.facts
        changes = drift(Savings().facts() | facts["environment"], self.fingerprint)
        if changes:
            self._accept_drift(step, "; ".join(changes))
        self.status |= saved(self.recovery.directory / str(step), newest) | {"drift": self.status["drift"]}
        self.directory.write_status(self.status)  # drops what it recorded beyond the step
        self.snapshots.digests |= {int(each): digest for each, digest in facts["snapshots"].items()}
        self.recovery.drop_after(step)
        self.snapshots.drop_after(step)
        self.reader.metrics = MetricsFile(self.directory.metrics_file, facts["metrics"]["bytes"])
        self.directory.event("resumed", step=step)
        return step

    def _accept_drift(self, step: int, changes: str) -> None:
        if not self.arguments.allow_drift:
            raise UserError(
                f"{self.directory.path} cannot resume bit for bit: {changes}. "
                f"Resume it where it was trained, or give --allow-drift"
            )
        text = f"from step {step}: {changes}"
        self.status["drift"] = [*self.status["drift"], text]
        self.directory.event("drift", what=text)
        self.observer.note(f"resumed though bits may change, {text}")

    def add_snapshot(self, step: int, state: State) -> None:
        """Queues a snapshot of the parameters at a step."""
        parameters = jax.block_until_ready({"params": state.params, **state.model_state})
        with self.stopwatch.during("saving"):
            leaves = on_host(parameters)
            if processes.is_first():
                self.saver.add(Save(self.snapshots, step, leaves))
        if self.saver.busy and self.saver.waiting > MOST_WAITING:
            with self.stopwatch.during("waiting"):
                self.saver.wait()

    def is_due(self) -> bool:
        """Returns whether the last save began long enough ago for a new one."""
        return time.monotonic() - self._saved_at >= self.arguments.recovery_seconds

    def begin_save(self, step: int, state: State, *, finished: bool = False) -> bool:
        """Hands the state to the saver, replacing one that could not be written. Call it only when the saver is idle.

        Returns false if the rows that the state covers cannot be written to disk.
        """
        jax.block_until_ready(state)
        with self.stopwatch.during("saving"):
            self._saved_at = time.monotonic()
            state = on_host(state)
            metrics = self.reader.metrics
            if metrics is None:
                return True
            try:
                rows = metrics.sync()
            except OSError as error:
                self._save_failed(str(error))
                return False
            steps, failed, active = (part.tolist() for part in (state.step, state.failed, state.active))
            members = [
                {"step": s, "state": "failed" if f else "going" if a else "stopped"}
                for s, f, a in zip(steps, failed, active, strict=True)
            ]
            status = {"step": step, "horizon": self.horizon, "finished": finished, "members": members,
                      "drift": self.status["drift"]}  # fmt: skip
            facts = functools.partial(self._facts, status, rows)
            published = functools.partial(self._published, status, rows, self.reader.rows)
            self.saver.withdraw(self.recovery)
            send_rows = functools.partial(self._send_rows, metrics, rows["bytes"])
            self.saver.add(Save(self.recovery, step, state, facts, send_rows, published))
            self.saver.start()
            return True

    def _send_rows(self, metrics: MetricsFile, size: int) -> None:
        self.directory.check_lock()
        metrics.send(size)

    def _facts(self, status: Mapping[str, Any], synced: Mapping[str, Any]) -> dict[str, Any]:
        """Returns the facts of a recovery checkpoint. Called once the snapshots before it are on disk."""
        return {
            "environment": self.fingerprint,
            "metrics": synced,
            "snapshots": {str(step): digest for step, digest in self.snapshots.digests.items()},
            "status": status,
        }

    def _published(self, status: Mapping[str, Any], synced: Mapping[str, Any], rows: int) -> None:
        """Publishes a recovery checkpoint that is on disk: updates status.json, and shows mirrors its first `rows`
        rows.

        If it fails, it is called again.
        """
        self.directory.event("saved", step=status["step"])
        self.reader.show_mirrors(rows)
        self.directory.send_rest()
        # status.json last: a run marked finished is never resumed.
        facts = self._facts(status, synced)
        self.status |= {
            **status, "metrics": synced, "snapshots": facts["snapshots"], "run": self.directory.owner["run"],
            "recovery": {str(step): digest for step, digest in self.recovery.digests.items()},
            "seconds": self.stopwatch.seconds(), "throughput": self.throughput.facts(),
        }  # fmt: skip
        self.directory.write_status(self.status)

    def tend(self) -> None:
        """Continues the saves that wait, and reports those that failed."""
        failure = self.saver.failure()
        if failure:
            self._save_failed(failure)
        elif time.monotonic() - self._failed_at >= self.arguments.recovery_seconds:
            self.saver.start()

    def _save_failed(self, why: str) -> None:
        self._failed_at = time.monotonic()
        self.reader.warn(f"could not save: {why}; training continues, and the next save tries again")

    def _save_now(self, step: int, state: State, *, finished: bool = False) -> bool:
        """Saves everything, and returns whether all of it is on disk."""
        with self.stopwatch.during("waiting"):
            self.saver.wait()
        self.saver.failure()  # clears the failure, so that the saver tries again
        begun = self.begin_save(step, state, finished=finished)
        with self.stopwatch.during("saving"):
            self.saver.wait()
        failure = self.saver.failure()
        if failure:
            self._save_failed(failure)
        is_saved: bool = processes.told(lambda: begun and not failure)
        return is_saved

    def save_and_leave(self, step: int, state: State) -> None:
        """Saves everything if possible, and raises `Interrupted`."""
        if self._save_now(step, state):
            raise Interrupted(f"stopped at step {step} of {self.horizon}; the state is saved")
        durable = self.status["step"] or 0
        raise Interrupted(
            f"stopped at step {step} of {self.horizon}, not saved; what is on disk goes to step {durable}"
        )

    def finish(self, step: int, state: State) -> None:
        """Saves the end of training, and retries until that succeeds or the run is asked to stop."""
        self.add_snapshot(step, state)
        while not self._save_now(step, state, finished=True):
            with self.stopwatch.during("waiting"):
                again = time.monotonic() + RETRY_SECONDS
                while time.monotonic() < again:
                    if self.observer.stop_requested():
                        self.save_and_leave(step, state)
                    time.sleep(0.1)
