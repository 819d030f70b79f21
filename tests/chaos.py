"""Kills runs at random moments and proves that they come back bit for bit: `make chaos`, `make chaos-distributed`,
`make chaos-store`.

A run of each kind is first made without interruption. Then the same command is started again and
again in another place, and killed (SIGKILL) after a random time, or as soon as it is seen to be
saving; in the end it is left alone. What lies on disk must then be what the uninterrupted run left.
Names of conditions, where the runs lie and what surrounds each start are drawn at random, too.
Of several processes one is killed, and the others must end by themselves. Runs in an object store
(an emulator's) are compared with one on this disk.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import os
import random
import signal
import socket
import statistics
import string
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import click
import numpy as np
from tensorboardX.proto.event_pb2 import Event

from jaxgen.errors import UserError
from jaxgen.ledger.runs import Run, load_run
from jaxgen.run.checkpoint import CheckpointStore
from jaxgen.run.directory import PopulationDirectory
from jaxgen.run.manifest import all_steps, published_steps
from jaxgen.storage import objects
from tests.emulators import SCHEMES, emulator

KINDS = ("population", "transformer", "chain")

PAPER = '''"""Runs of three kinds, of some seconds each."""

import dataclasses

from jaxgen.experiment import Experiment, Paper, Scale, Typical, at_least
from jaxgen.condition import Condition
from jaxgen.measures.config import Accuracy, Loss, WeightNorm
from jaxgen.models.config import MLPConfig, TransformerConfig
from jaxgen.tasks import ModularTask
from jaxgen.optimizers import AdamW
from jaxgen.condition import Every
from jaxgen.starts import From, MagnitudeMask, Rewind, ScaleParams

NAMES = DRAWN
mlp = Condition(
    name=NAMES[0],
    task=ModularTask(p=23, operation="x+y", format="a b", train_fraction=0.5, corruption=0.2),
    model=MLPConfig(hidden=(96,), activation="relu", bias=True, init_std=0.1, dropout=0.1, batch_norm=True),
    optimizer=AdamW(learning_rate=0.01, weight_decay=0.5),
    batch_size=64,
    steps=STEPS * 8,
    seeds=(0, 1, 2, 3),
    measures=(Accuracy(), Loss(), WeightNorm()),
    measure_at=Every(interval=50),
    snapshots=tuple(range(0, STEPS * 8, STEPS)),
)
transformer = Condition(
    name=NAMES[1],
    task=ModularTask(p=23, operation="x+y", train_fraction=0.5),
    model=TransformerConfig(width=32, heads=2, mlp_width=64, layers=2),
    optimizer=AdamW(learning_rate=0.001, weight_decay=1.0),
    steps=STEPS,
    seeds=(0, 1),
    measure_at=Every(interval=20),
    snapshots=tuple(range(0, STEPS, 200)),
)
dense = dataclasses.replace(mlp, name=NAMES[2], steps=STEPS * 2, seeds=(0, 1))
ticket = dataclasses.replace(
    dense, name=NAMES[3], start=From(condition=NAMES[2], transforms=(MagnitudeMask(keep=0.5), Rewind()))
)
larger = dataclasses.replace(
    dense, name=NAMES[4], start=From(condition=NAMES[3], transforms=(ScaleParams(factor=2.0),))
)


def experiment(name, *conditions):
    claim = Typical(name="fits", says="It fits", place="nowhere", paper="0", expect=at_least(0.0),
                  value=lambda t: t.final(conditions[-1].name, "accuracy/train"))
    return Experiment(name=name, title=name, conditions=conditions, scales={"paper": Scale()}, claims=(claim,))


PAPER = Paper(
    slug="chaos", title="Chaos", authors="Nobody", year=2026, arxiv="0000.00000",
    experiments=(experiment("population", mlp), experiment("transformer", transformer),
                 experiment("chain", dense, ticket, larger)),
)
'''

NAMES = ("population", "transformer", "dense", "ticket", "larger")


def write_paper(papers: Path, steps: int, names: Sequence[str] = NAMES) -> None:
    """Makes the paper `chaos` below the folder `papers`, which may not have it yet; `names` are its conditions'."""
    folder = papers / "chaos"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text(PAPER.replace("STEPS", str(steps)).replace("DRAWN", repr(tuple(names))))


# What folders are called, by people and by other programs.
FOLDERS = ("runs", "my runs", "r[1]", "[!a]*?", "größe", "運行", "o'clock", 'a "b"', "$HOME", "~", "%20", "x;y&z",
           "a\\b", "-rf", "...", "#1", "{a,b}", "\N{TEST TUBE}", "e\N{COMBINING ACUTE ACCENT}")  # fmt: skip
# What must change no bit; None: not set.
ENVIRONMENTS: dict[str, tuple[str | None, ...]] = {
    "HOME": (os.environ.get("HOME"), None),
    "LANG": (None, "C", "POSIX", "C.UTF-8", "tr_TR.UTF-8"),
    "PYTHONIOENCODING": (None, None, "ascii", "latin-1"),
    "PYTHONHASHSEED": (None, "1"),
    "TZ": (None, "Pacific/Kiritimati", "America/St_Johns"),
    "TERM": (None, "dumb", "xterm-256color"),
}
UMASKS = (0o002, 0o022, 0o027, 0o077)
# Part of what a run's bits may depend on: drawn once a run, as it does not go on under another.
KEYS = (None, None, "rbg", "unsafe_rbg", "threefry2x32")
ROOT = Path(__file__).resolve().parents[1]


def draw_names(random_: random.Random, count: int) -> list[str]:
    """Returns names of conditions, of any letters that they may have."""
    letters = string.ascii_letters + string.digits + "=.,_ +-"
    found: set[str] = set()
    while len(found) < count:
        length = random_.choice((1, 8, 30, 200))
        found.add("".join(random_.choices(letters, k=length)))
    return sorted(found)


def draw_folder(random_: random.Random, inside: Path, number: int) -> Path:
    """Makes a folder for runs, perhaps through a link above it."""
    name = " ".join([*random_.sample(FOLDERS, random_.choice((1, 2))), str(number)])
    folder = inside / name
    if random_.random() < 0.3:
        (inside / f"elsewhere {number}").mkdir()
        folder.symlink_to(f"elsewhere {number}")
        return folder / random_.choice(FOLDERS[:6])
    return folder


@dataclasses.dataclass
class Tally:
    """What was done to runs of one kind, and what came of it."""

    kills: int = 0
    kills_while_saving: int = 0
    runs: int = 0
    mismatches: list[str] = dataclasses.field(default_factory=list)
    repeated: list[float] = dataclasses.field(default_factory=list)  # seconds of training, by kill
    restart: list[float] = dataclasses.field(default_factory=list)  # seconds from the command to training
    hangs: int = 0  # kills after which another process did not end
    until_ended: list[float] = dataclasses.field(default_factory=list)  # seconds from a kill to the end of all others

    def row(self, kind: str) -> str:
        repeated, restart, ended = (
            f"{statistics.median(times) if times else 0:.2f}"
            for times in (self.repeated, self.restart, self.until_ended)
        )
        counts = (self.kills, self.kills_while_saving, self.runs, len(self.mismatches), self.hangs)
        return ROW.format(kind, *counts, repeated, restart, ended)


ROW = "{:26} {:>6} {:>13} {:>6} {:>11} {:>6} {:>11} {:>10} {:>8}"
HEADER = ROW.format(
    "kind", "kills", "while saving", "runs", "mismatches", "hangs", "repeated s", "restart s", "ended s"
)


# So long after one process was killed, all others must have ended.
# It may have waited for the other at the start, and then hears nothing of it for a minute.
HANGS_AFTER_SECONDS = 240.0


class Launched:
    """The processes of one run."""

    def __init__(
        self, command: list[str], environment: Mapping[str, str], count: int, cwd: Path | None = None, umask: int = -1
    ):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.processes = []
        for index in range(count):
            place = ["--coordinator", f"127.0.0.1:{port}", "--processes", str(count), "--process", str(index)]
            place += ["--connect-within", "60"]  # one that is killed before it is there is waited for
            whole = [*command, *(place if count > 1 else [])]
            pipe, into = subprocess.PIPE, subprocess.STDOUT
            self.processes.append(
                subprocess.Popen(
                    whole, env=environment, cwd=cwd, umask=umask, stdout=pipe, stderr=into, encoding="utf-8",
                    errors="replace",
                )
            )  # fmt: skip

    def running(self) -> bool:
        return all(each.poll() is None for each in self.processes)

    def output(self, seconds: float | None = None) -> str:
        """Waits until all have ended, and returns what they said."""
        return "\n".join(each.communicate(timeout=seconds)[0] for each in self.processes)

    def check(self, runs: Path) -> None:
        output, codes = self.output(), [each.returncode for each in self.processes]
        if any(codes):
            raise RuntimeError(f"the run in {runs} ended with {codes}:\n{output}")


class Chaos:
    """Runs of one kind below `root`, which get killed.

    Args:
      kind: one of KINDS.
      root: an empty directory of its own.
      steps: about how long the runs are.
      random_: decides when to kill, and whom.
      processes: how many a run has.
      store: the URL of a bucket where the runs lie that are killed; None: below `root`.
    """

    def __init__(
        self, kind: str, root: Path, steps: int, random_: random.Random, processes: int = 1, store: str | None = None
    ):
        self.kind, self.root, self.random, self.processes, self.store = kind, root, random_, processes, store
        write_paper(root / "papers", steps, draw_names(random_, len(NAMES)))
        self.tally = Tally()
        self.whole = root / "whole"
        self.keys: str | None = None
        self.surroundings = ""
        launched = time.time()
        self._leave_alone(self.whole)
        # How long it takes until the first population trains.
        began = [[each["time"] for each in _events(place)][-1] for place in _populations(self._run(self.whole))]
        self.startup = min(began) - launched

    def kill_and_compare(self, kills: int) -> None:
        """Kills a run so many times, then lets it end; one that ends before is compared, and another begun."""
        while self.tally.kills < kills:
            self.tally.runs += 1
            broken = draw_folder(self.random, self.root, self.tally.runs)
            if self.store:
                broken = objects.locate(f"{self.store}/broken-{self.tally.runs}")
            self.keys = self.random.choice(KEYS)
            try:
                while self.tally.kills < kills and self._kill_once(broken):
                    pass
                self._leave_alone(broken)
                objects.fetch(self._run(broken))
                found = differences(self._run(self.whole), self._run(broken))
            except (RuntimeError, UserError) as error:
                found = [str(error)]
            if found:
                self.tally.mismatches += [*found[:-1], f"{found[-1]}\n    last started {self.surroundings}"]

    def _run(self, runs: Path) -> Path:
        return runs / "chaos" / self.kind / "paper"

    def _start(self, runs: Path) -> Launched:
        command = [sys.executable, "-m", "jaxgen", "reproduce", f"chaos/{self.kind}", "--save-every", "0.2"]
        cwd, umask = self.root, 0o022
        drawn: dict[str, str | None] = {"JAX_DEFAULT_PRNG_IMPL": self.keys}
        place = objects.url(runs)
        if runs != self.whole:
            cwd = self.root / "from" / self.random.choice(FOLDERS)
            cwd.mkdir(parents=True, exist_ok=True)
            umask = self.random.choice(UMASKS)
            drawn |= {name: self.random.choice(values) for name, values in ENVIRONMENTS.items()}
            if not self.store and self.random.random() < 0.5:
                place = os.path.relpath(runs, cwd)
        self.surroundings = f"in {str(cwd)!r} with --runs {place!r}, umask {umask:03o} and {drawn}"
        environment = os.environ | {name: value for name, value in drawn.items() if value is not None}
        environment |= {"JAXGEN_EXPERIMENTS": str(self.root / "papers"), "PYTHONFAULTHANDLER": "1",
                        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}  # fmt: skip
        for name in (name for name, value in drawn.items() if value is None):
            environment.pop(name, None)
        return Launched([*command, f"--runs={place}"], environment, self.processes, cwd, umask)

    def _leave_alone(self, runs: Path) -> None:
        self._start(runs).check(runs)

    def _kill_once(self, runs: Path) -> bool:
        """Starts the command and kills it; false where it had ended before, or was left with nothing to save."""
        launched = time.time()
        started = self._start(runs)
        at_a_save = self.random.random() < 0.5
        kill_at = time.monotonic() + self.random.uniform(0, self.startup + 2)
        while started.running():
            late = time.monotonic() >= kill_at
            saving = late and at_a_save and self._saving(runs)
            if (late and not at_a_save) or saving:
                if saving:
                    time.sleep(self.random.uniform(0, 0.05))
                self.random.choice(started.processes).kill()
                killed = time.time()
                saving = self._saving(runs)
                self._wait_for_the_others(started, runs)
                self.tally.kills += 1
                self.tally.kills_while_saving += saving
                self._count(runs, launched, killed)
                return True
            time.sleep(0.001)
        started.check(runs)
        return False

    def _wait_for_the_others(self, started: Launched, runs: Path) -> None:
        began = time.monotonic()
        try:
            started.output(HANGS_AFTER_SECONDS)
        except subprocess.TimeoutExpired:
            self.tally.hangs += 1
            for each in started.processes:
                each.send_signal(signal.SIGABRT)  # says where it was
            print(f"hangs:\n{started.output()}")
        self.tally.until_ended.append(time.monotonic() - began)
        codes = [each.returncode for each in started.processes]
        if 0 in codes and not objects.exists(self._run(runs) / "results.json"):
            self.tally.mismatches.append(f"{runs}: a process was killed, and they ended with {codes}")

    def _saving(self, runs: Path) -> bool:
        """Returns whether there is a save that has begun and not ended."""
        stores = [each.path / kind for each in _populations(self._run(runs)) for kind in ("recovery", "snapshots")]
        return any(set(all_steps(store)) - set(published_steps(store)) for store in stores)

    def _count(self, runs: Path, launched: float, killed: float) -> None:
        """Counts what a kill cost: training since the last save, and coming back to training."""
        for directory in _populations(self._run(runs)):
            began = [each["time"] for each in _events(directory) if each["event"] == "compiled"]
            if began and began[-1] > launched and not directory.status()["finished"]:
                self.tally.restart.append(began[-1] - launched)
                saved = max((each["time"] for each in _events(directory) if each["event"] == "saved"), default=0.0)
                # Of several processes the first one may have saved after another was killed.
                self.tally.repeated.append(max(0.0, killed - max(began[-1], saved)))


def _populations(run: Path) -> list[PopulationDirectory]:
    return Run(run).populations()


def _events(directory: PopulationDirectory) -> Iterator[dict[str, object]]:
    path = directory.path / "events.jsonl"
    for line in path.read_text().splitlines() if path.exists() else ():
        try:
            yield json.loads(line)
        except ValueError:  # a line that a kill cut short
            continue


def differences(one: Path, other: Path) -> list[str]:
    """Returns what differs between two finished runs: parameters, optimiser state, metrics, verdicts."""
    found = []
    names = [directory.path.name for directory in _populations(one)]
    if names != [directory.path.name for directory in _populations(other)]:
        return [f"{other}: populations differ"]
    for first, second in zip(_populations(one), _populations(other), strict=True):
        if _rows(first) != _rows(second):
            found.append(f"{second.metrics_file} differs")
        if _tensorboard(first) != _tensorboard(second):
            found.append(f"{second.path}/tensorboard differs")
        for kind in ("recovery", "snapshots"):
            stores = [CheckpointStore(each.path / kind) for each in (first, second)]
            steps = [store.steps() if kind == "snapshots" else store.steps()[-1:] for store in stores]
            if steps[0] != steps[1]:
                found.append(f"{second.path}/{kind}: steps {steps[1]}, not {steps[0]}")
                continue
            for step in steps[0]:
                leaves, others = (store.load(step) for store in stores)
                same = leaves.keys() == others.keys() and all(_same_bits(leaves[key], others[key]) for key in leaves)
                if not same:
                    found.append(f"{second.path}/{kind}/{step} differs")
    if (one / "table.csv").read_bytes() != (other / "table.csv").read_bytes():
        found.append(f"{other}/table.csv differs")
    if load_run(one).verdicts != load_run(other).verdicts:
        found.append(f"{other}: verdicts differ")
    return found


def _same_bits(one: np.ndarray, other: np.ndarray) -> bool:
    return one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()


def _rows(directory: PopulationDirectory) -> list[str]:
    rows = [json.loads(line) for line in directory.metrics_file.read_text().splitlines()]
    return [json.dumps({**row, "time": None}) for row in rows]


def _tensorboard(directory: PopulationDirectory) -> list[tuple[str, int, str, float]]:
    """Returns every point that TensorBoard shows, in its order."""
    found = []
    for path in sorted((directory.path / "tensorboard").glob("*/events*")):
        data, at = path.read_bytes(), 0
        while at < len(data):
            length = int.from_bytes(data[at : at + 8], "little")
            event = Event.FromString(data[at + 12 : at + 12 + length])
            found += [(path.parent.name, event.step, each.tag, each.simple_value) for each in event.summary.value]
            at += 16 + length
    return found


@click.command()
@click.option("--kills", default=102, show_default=True, help="Of all kinds together.")
@click.option("--steps", default=2000, show_default=True, help="About how long the runs are.")
@click.option("--seed", default=0, show_default=True, help="Decides when to kill, and all that is drawn.")
@click.option("--processes", "counts", multiple=True, default=[1], show_default=True, help="Of each run. Repeatable.")
@click.option("--store", "schemes", multiple=True, type=click.Choice(SCHEMES), help="In these object stores.")
def main(kills: int, steps: int, seed: int, counts: tuple[int, ...], schemes: tuple[str, ...]) -> None:
    """Kill runs at random, and compare what comes back with runs that were left alone."""
    tallies = []
    runs = list(itertools.product(KINDS, counts, schemes or [None]))
    for index, (kind, count, scheme) in enumerate(runs):
        with contextlib.ExitStack() as stack:
            root = stack.enter_context(tempfile.TemporaryDirectory(prefix="chaos-"))
            store = stack.enter_context(emulator(scheme)) if scheme else None
            chaos = Chaos(kind, Path(root), steps, random.Random(f"{seed} {kind}"), count, store)
            chaos.kill_and_compare(kills // len(runs) + (index < kills % len(runs)))
        if not tallies:
            print(HEADER)
        where = [kind, *([f"{count} processes"] if count > 1 else []), *([scheme] if scheme else [])]
        print(chaos.tally.row(", ".join(where)), flush=True)
        for mismatch in chaos.tally.mismatches:
            print(f"  {mismatch}")
        tallies.append(chaos.tally)
    together = Tally(
        kills=sum(each.kills for each in tallies),
        kills_while_saving=sum(each.kills_while_saving for each in tallies),
        runs=sum(each.runs for each in tallies),
        mismatches=[mismatch for each in tallies for mismatch in each.mismatches],
        repeated=[seconds for each in tallies for seconds in each.repeated],
        restart=[seconds for each in tallies for seconds in each.restart],
        hangs=sum(each.hangs for each in tallies),
        until_ended=[seconds for each in tallies for seconds in each.until_ended],
    )
    print(together.row("together"))
    sys.exit(1 if together.mismatches or together.hangs else 0)


if __name__ == "__main__":
    main()
