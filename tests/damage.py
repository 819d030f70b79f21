"""Runs that are damaged at random, and what jaxgen makes of them: `make damage`.

    python -m tests.damage --damages 300 --seed 0

Each damage is done to a copy of a run, finished or not: bits, cuts, losses, additions, swaps between runs, members,
steps and populations, edits of JSON with and without the file's own digest made anew, links and hard links to
files outside, pipes. Then every command that reads or goes on with a run is given it, and `jaxgen.load_run`. Each must
refuse in one line (exit code 2, or 1 of `checkpoints`), or answer what the run would that was not damaged, bit for bit,
once it has been resumed, too; and nothing beside the run may change.
"""

import argparse
import dataclasses
import faulthandler
import hashlib
import json
import os
import random
import re
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["XLA_FLAGS"] = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"

import contextlib

from click.testing import CliRunner

from jaxgen.cli import main
from jaxgen.config import to_json
from jaxgen.distributed import environment
from jaxgen.errors import UserError
from jaxgen.launch.spec import JobSpec
from jaxgen.ledger.discovery import find
from jaxgen.ledger.reproduce import reproduce
from jaxgen.ledger.runs import Request, load_run
from jaxgen.run.arguments import Interrupted, RunArguments, SilentObserver
from jaxgen.storage.files import digest_of_json, write_sealed
from tests.tiny_paper import SOURCE, write_tiny_paper

Answer = Any
Random = random.Random
# What a run's own files cannot tell from another wish of its user: the request, whose digest is made anew with it.
WISHES = ("seeds", "extend", "members", "begun")
# What is written once more from the rest, and read back by `Run.verdicts` alone.
DERIVED = ("claims", "notes")


class Stopper(SilentObserver):
    """Asks to stop in a training, counted from 1, once it has come to a step."""

    def __init__(self, training: int, step: int):
        self.left, self.step, self.reached = training, step, -1

    def started(self, conditions, step, horizon):
        self.left -= 1

    def advanced(self, step, rows):
        if self.left == 0:
            self.reached = step

    def stop_requested(self):
        return self.reached >= self.step


# --- what is asked of a run ---


def command(*args: str) -> str | None:
    """Gives a command; returns None where it refuses in one line.

    Raises:
      AssertionError: it ends in another way.
    """
    result = CliRunner().invoke(main, list(args))
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert "Traceback" not in result.output, result.output
    if result.exit_code == 2 or (args[0] == "checkpoints" and result.exit_code == 1):
        assert "jaxgen: " in result.output or "damaged: " in result.output, result.output
        return None
    assert result.exit_code == 0, f"exit code {result.exit_code}: {result.output}"
    return result.output


def refusing(read: Callable[[Path], Answer]) -> Callable[[Path], Answer]:
    def reader(path: Path) -> Answer:
        try:
            return read(path)
        except UserError:
            return None

    return reader


def table(path: Path) -> Answer:
    return load_run(path).table.rows.to_csv()


def verdicts(path: Path) -> Answer:
    return load_run(path).verdicts


def params(path: Path) -> Answer:
    found = {}
    for member in load_run(path).members:
        for step in member.steps():
            digest = hashlib.sha256()
            for name, leaves in sorted(member.variables(step).items()):
                digest.update(repr((name, sorted((key, value) for key, value in _flat(leaves)))).encode())
            found[f"{member.condition.name}.{member.seed}/{step}"] = digest.hexdigest()
    return found


def _flat(tree: Any, prefix: str = "") -> list[tuple[str, bytes]]:
    if isinstance(tree, dict):
        return [each for key, value in tree.items() for each in _flat(value, f"{prefix}.{key}")]
    return [(prefix, tree.tobytes())]


def status(path: Path) -> Answer:
    output = command("status", str(path))
    # But for how its job ended, which is what the job's own line says.
    return output and output.replace(str(path), "RUN").splitlines()[1:]


def report(path: Path) -> Answer:
    if command("report", str(path)) is None:
        return None
    results = json.loads((path / "results.json").read_text())
    return (path / "table.csv").read_text(), results["claims"], results["notes"]


def checkpoints(path: Path) -> Answer:
    return command("checkpoints", str(path)) and "intact"


def resumed(path: Path) -> Answer:
    if command("resume", str(path)) is None:
        return None
    return table(path), verdicts(path), params(path)


READS = {"checkpoints": checkpoints, "status": status, "table": refusing(table), "verdicts": refusing(verdicts),
         "params": refusing(params), "report": report, "resume": refusing(resumed)}  # fmt: skip


# --- what is done to it ---


@dataclasses.dataclass(frozen=True)
class Place:
    """A copy of a run to be damaged, others, and a folder outside."""

    run: Path
    others: tuple[Path, ...]  # runs that were not damaged, never written
    outside: Path
    random: Random

    def files(self, name: str = "*") -> list[Path]:
        return sorted(path for path in self.run.rglob(name) if path.is_file() and not path.is_symlink())

    def file(self) -> Path:
        """Returns a file; one of many tensors or logs not more often than one of few."""
        chosen = self.random.choice(sorted({path.name for path in self.files()}))
        return self.random.choice(self.files(chosen))

    def folder(self) -> Path:
        folders = sorted(path for path in self.run.rglob("*") if path.is_dir())
        chosen = self.random.choice(sorted({path.name for path in folders}))
        return self.random.choice([path for path in folders if path.name == chosen])

    def told(self, path: Path) -> str:
        return str(path.relative_to(self.run))

    def twin(self, path: Path) -> Path | None:
        """Returns what lies in another run where a path does in this one; populations by their order."""
        other = self.random.choice(self.others)
        parts = list(path.relative_to(self.run).parts)
        if len(parts) > 1 and parts[0] == "populations":
            mine = sorted(each.name for each in (self.run / "populations").iterdir())
            theirs = sorted(each.name for each in (other / "populations").iterdir())
            index = mine.index(parts[1])
            if index >= len(theirs):
                return None
            parts[1] = theirs[index]
        found = other.joinpath(*parts)
        return found if found.exists() else None


def flip(place: Place) -> str:
    path = place.file()
    data = bytearray(path.read_bytes()) or bytearray(1)
    at = place.random.randrange(len(data))
    data[at] ^= 1 << place.random.randrange(8)
    path.write_bytes(data)
    return f"bit of byte {at} of {place.told(path)}"


def cut(place: Place) -> str:
    path = place.file()
    size = place.random.randrange(path.stat().st_size + 1)
    os.truncate(path, size)
    return f"{place.told(path)} cut to {size}"


def lengthen(place: Place) -> str:
    path = place.file()
    lines = path.read_bytes().splitlines(keepends=True) or [b"\0"]
    with path.open("ab") as file:
        file.write(place.random.choice([b"\0" * 10, lines[0], lines[-1]]))
    return f"{place.told(path)} lengthened"


def lose(place: Place) -> str:
    path = place.random.choice([place.file, place.folder])()
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    return f"{place.told(path)} lost"


def add(place: Place) -> str:
    source, folder = place.random.choice([place.file, place.folder])(), place.folder()
    target = folder / place.random.choice([source.name, "7", "41", "more"])
    if target.exists() or folder.is_relative_to(source):
        (folder / "more").write_text("more")
        return f"{place.told(folder)}/more added"
    shutil.copytree(source, target) if source.is_dir() else shutil.copyfile(source, target)
    return f"{place.told(source)} copied to {place.told(target)}"


def swap_runs(place: Place) -> str:
    path = place.random.choice([place.file, place.folder])()
    twin = place.twin(path)
    if twin is None:
        return lose(place)
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    shutil.copytree(twin, path) if twin.is_dir() else shutil.copyfile(twin, path)
    return f"{place.told(path)} is that of {twin}"


def swap_inside(place: Place) -> str:
    """Swaps two steps, populations, or files of one name."""
    folder = place.random.choice([True, False])
    if folder:
        groups = [path for path in place.run.rglob("*") if path.name in ("recovery", "snapshots", "populations")]
        groups = [sorted(group.iterdir()) for group in groups]
        groups.append([path for path in place.run.rglob("*") if path.name in ("recovery", "snapshots")])
    else:
        groups = [
            place.files(name) for name in ("run.json", "status.json", "metrics.jsonl", "manifest.json", "analyses.json")
        ]
    groups = [group for group in groups if len(group) > 1]
    if not groups:
        return cut(place)
    one, other = place.random.sample(place.random.choice(groups), 2)
    hold = place.run / "hold"
    one.rename(hold)
    other.rename(one)
    hold.rename(other)
    return f"{place.told(one)} and {place.told(other)} swapped"


def swap_members(place: Place) -> str:
    path = place.random.choice([each for each in place.files("run.json") if each.parent != place.run])
    data = json.loads(path.read_text())
    one, other = data["members"][:2]
    if place.random.random() < 0.5:
        data["members"][:2] = other, one
        what = "members"
    else:
        what = place.random.choice(["seed", "identity", "condition"])
        one[what], other[what] = other[what], one[what]
        if what == "condition":
            one["condition"] = "other"
            data["settings"]["other"] = {**next(iter(data["settings"].values())), "name": "other"}
    path.write_text(json.dumps(data, indent=1))
    return f"{what} of {place.told(path)} swapped"


def _leaves(data: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    if isinstance(data, dict):
        return [leaf for key, value in data.items() for leaf in _leaves(value, (*at, key))] or [at]
    if isinstance(data, list):
        return [leaf for key, value in enumerate(data) for leaf in _leaves(value, (*at, key))] or [at]
    return [at]


def _other(value: Any, random_: Random) -> Any:
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return random_.choice([value + 1, value + 7, 0, -1, 10**30, float(value), str(value), None])
    if isinstance(value, float):
        return random_.choice([value * 2, value + 0.5, 0.999, None, "1"])
    if isinstance(value, str):
        return random_.choice([f"{value}x", "", "../../../outside", 3, None])
    return random_.choice([[], {}, 1, "x", [[]], {"kind": "Init"}])


def edit(place: Place, *, sealed: bool = False) -> str:
    """Edits a field of a JSON file; with `sealed`, one that holds its own digest, which is made anew."""
    files = [path for path in place.files("*.json") if not sealed or "sha256" in json.loads(path.read_text())]
    path = place.random.choice([each for each in files if each.name == place.random.choice(files).name] or files)
    data = json.loads(path.read_text())
    leaves = [leaf for leaf in _leaves(data) if leaf and leaf[0] != "sha256"]
    if sealed and path.parent == place.run:
        leaves = [leaf for leaf in leaves if leaf[0] not in (*WISHES, *DERIVED)]
    top = place.random.choice(sorted({leaf[0] for leaf in leaves}))
    leaf = place.random.choice([leaf for leaf in leaves if leaf[0] == top])
    inner = data
    for key in leaf[:-1]:
        inner = inner[key]
    if place.random.random() < 0.2:
        del inner[leaf[-1]]
    else:
        inner[leaf[-1]] = _other(inner[leaf[-1]], place.random)
    _reseal(path, data) if sealed else path.write_text(json.dumps(data, indent=1))
    return f"{'.'.join(map(str, leaf))} of {place.told(path)} edited{', with its digest' if sealed else ''}"


def _reseal(path: Path, data: dict[str, Any]) -> None:
    data.pop("sha256", None)
    path.write_text(json.dumps({"sha256": digest_of_json(data), **data}, indent=1))


def edit_with_digest(place: Place) -> str:
    return edit(place, sealed=True)


def edit_rows(place: Place) -> str:
    """Edits a row; now and then also the digest in status.json."""
    path = place.random.choice(place.files("metrics.jsonl"))
    lines = path.read_text().splitlines(keepends=True)
    at = place.random.randrange(len(lines))
    row = json.loads(lines[at])
    key = place.random.choice(sorted(row["values"]))
    row["values"][key] = 0.999
    lines[at] = json.dumps(row) + "\n"
    path.write_text("".join(lines))
    status_file = path.with_name("status.json")
    both = place.random.random() < 0.5 and status_file.exists()
    if both:
        data = json.loads(status_file.read_text())
        rows = path.read_bytes()
        data["metrics"] = {"bytes": len(rows), "sha256": hashlib.sha256(rows).hexdigest()}
        _reseal(status_file, data)
    return f"row {at} of {place.told(path)} edited{', and the digest in status.json' if both else ''}"


def edit_state(place: Place) -> str:
    """Flips a bit of a checkpoint's state, and makes its manifest anew."""
    path = place.random.choice(place.files("manifest.json"))
    data = json.loads(path.read_text())
    name = place.random.choice(sorted(name for name, (size, _) in data["files"].items() if size))
    file = path.parent / "state" / name
    found = bytearray(file.read_bytes())
    found[place.random.randrange(len(found))] ^= 1
    file.write_bytes(found)
    data["files"][name][1] = hashlib.sha256(found).hexdigest()
    _reseal(path, data)
    return f"{place.told(file)} flipped, with the manifest"


def link(place: Place) -> str:
    """Puts a link in the place of a file or folder, or where there is none."""
    path = place.random.choice([place.file, place.folder, place.folder])()
    kind = place.random.choice(["canary", "moved", "dangling", "circle", "relative", "new"])
    if kind == "new":
        path = (path if path.is_dir() else path.parent) / place.random.choice(
            ["wandb", "profile", "job", "50", "events.jsonl", "analyses.json", "lock", "owner.json", "figures"]
        )
        if path.exists():
            return add(place)
    moved = place.outside / f"moved-{path.name}"
    if path.exists() and kind != "new":
        path.rename(moved) if kind == "moved" else shutil.rmtree(path) if path.is_dir() else path.unlink()
    canary = place.outside / ("9" if path.suffix == "" else "canary.json")
    targets = {"moved": moved, "dangling": place.outside / "nothing", "circle": path,
               "relative": Path(os.path.relpath(canary, path.parent))}  # fmt: skip
    path.symlink_to(targets.get(kind, place.outside if path.suffix == "" else canary))
    return f"{place.told(path)} is a link ({kind})"


def hard_link(place: Place) -> str:
    path = place.file()
    kept = place.outside / f"kept-{path.name}"
    os.link(path, kept)
    return f"{place.told(path)} has a second name outside"


def other_kind(place: Place) -> str:
    """Puts a pipe or folder in the place of a file, or a file in that of a folder."""
    path = place.random.choice([place.file, place.folder])()
    if path.is_dir():
        shutil.rmtree(path)
        path.write_text("a file")
        return f"{place.told(path)} is a file"
    path.unlink()
    pipe = place.random.random() < 0.5
    os.mkfifo(path) if pipe else path.mkdir()
    return f"{place.told(path)} is a {'pipe' if pipe else 'folder'}"


DAMAGES = [flip, cut, lengthen, lose, add, swap_runs, swap_inside, swap_members, edit, edit_with_digest, edit_rows,
           edit_state, link, link, hard_link, other_kind]  # fmt: skip


# --- the harness ---


def make_runs(root: Path) -> list[Path]:
    """Makes the runs that are damaged: finished ones, and ones that were stopped twice, in their first and second
    training; pairs are of equal shapes."""
    _, (experiment,) = find("tiny-paper/main")
    made = []
    for rate in ("", "optimizer.learning_rate=0.03"):
        request = Request("tiny-paper", "main", "paper", (rate,) if rate else ())
        for stops in ((), ((1, 9), (1, 23)), ((1, 5), (2, 12))):
            path = root / f"{'other' if rate else 'one'}{len(stops)}{stops[-1][0] if stops else ''}"
            for stop in (*stops, None):
                observer = Stopper(*stop) if stop else SilentObserver()
                if stop is None and stops:
                    break
                with contextlib.suppress(Interrupted):
                    reproduce(experiment, request, path, observer=observer, arguments=RunArguments())
            _submitted(path)
            if not stops:
                assert command("report", str(path))
            made.append(path)
    return made


def _submitted(run: Path) -> None:
    """Has a run be one that was submitted, so that `status` tells of it."""
    job = run / "job"
    job.mkdir()
    spec = JobSpec(name="tiny", title="tiny", command=("true",))
    about = {"to": "local", "number": "1", "host": os.uname().nodename, "submitted": "2024-01-01 00:00:00+00:00"}
    write_sealed(job / "job.json", {**about, "spec": to_json(spec)})
    (job / "starts").write_text("0 75 2024-01-01T00:00:00+00:00\n")
    (job / "log").write_text("said\n")


def fingerprint(folder: Path) -> dict[str, Any]:
    """Returns what is in a folder."""
    return {
        str(path.relative_to(folder)): (path.lstat().st_mode, os.readlink(path) if path.is_symlink() else
                                        path.read_bytes() if path.is_file() else None)
        for path in sorted(folder.rglob("*"))
    }  # fmt: skip


def make_outside(folder: Path) -> None:
    """Makes a folder that looks like checkpoints: what prunes these would remove it."""
    for name in ("1", "9", "40", "50", "state"):
        (folder / name / "state").mkdir(parents=True)
        (folder / name / "manifest.json").write_text("{}")
        (folder / name / "state" / "mine").write_text("mine")
    (folder / "canary.json").write_text('{"mine": 1}')


@dataclasses.dataclass
class Outcome:
    damage: str
    of: str
    what: str
    answers: Counter[str]
    faults: list[str]


def try_one(number: int, seed: int, root: Path, samples: list[Path], whole: dict[str, dict[str, Answer]]) -> Outcome:
    random_ = Random(f"{seed}/{number}")
    damage = DAMAGES[number % len(DAMAGES)]
    sample = random_.choice(samples)
    work = root / "work"
    shutil.copytree(sample, work / "run", symlinks=True)
    make_outside(work / "outside")
    others = tuple(each for each in samples if each != sample)
    what = damage(Place(work / "run", others, work / "outside", random_))
    before = fingerprint(work / "outside")
    found: Counter[str] = Counter()
    faults = []
    # `resume` last, and not always after `report`, which writes too.
    names = [name for name in READS if name != "report" or random_.random() < 0.5]
    for name in names:
        faulthandler.dump_traceback_later(300, exit=True)
        try:
            answer = READS[name](work / "run")
        except BaseException as error:
            faults.append(f"{name}: {type(error).__name__}: {str(error)[:600]}")
            found["traceback"] += 1
            continue
        finally:
            faulthandler.cancel_dump_traceback_later()
        if answer == whole[sample.name][name]:
            found["equal"] += 1
        elif answer is None:
            found["refused"] += 1
        else:
            found["silent"] += 1
            faults.append(f"{name}: {_difference(answer, whole[sample.name][name])}")
    if fingerprint(work / "outside") != before or sorted(each.name for each in work.iterdir()) != ["outside", "run"]:
        found["outside"] += 1
        faults.append("something outside was changed")
    shutil.rmtree(work)
    return Outcome(damage.__name__, sample.name, what, found, faults)


def _difference(found: Answer, wanted: Answer) -> str:
    if isinstance(found, str) and isinstance(wanted, str):
        pairs = zip(found.splitlines(), wanted.splitlines(), strict=False)
        return next((f"got {one!r}, expected {other!r}" for one, other in pairs if one != other), "other length")
    if isinstance(found, tuple) and isinstance(wanted, tuple):
        return "; ".join(_difference(a, b) for a, b in zip(found, wanted, strict=True) if a != b)
    return f"got {str(found)[:300]}, expected {str(wanted)[:300]}"


def run() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--damages", type=int, default=304)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, nargs="*", help="the numbers of some damages")
    given = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="damage-") as folder:
        root = Path(folder)
        os.environ[environment.CACHE_VARIABLE] = str(root / "cache")
        imports = "from jaxgen.experiments.corrupted_modadd.parts import PruneNeurons\nfrom jaxgen.measures.config"
        source = SOURCE.replace("from jaxgen.measures.config", imports).replace(
            "    steps=40,", '    steps=40, analyses=(PruneNeurons(order="lowest", fractions=(0.0, 0.5)),),'
        )
        source = re.sub(r"    figures=.*\n", "", source)  # which take long to draw
        papers = write_tiny_paper(root)
        (papers / "tiny_paper" / "__init__.py").write_text(source)
        os.environ["JAXGEN_EXPERIMENTS"] = str(papers)
        os.chdir(root)
        environment.enable_compile_cache()
        samples = make_runs(root / "runs")
        whole = {}
        for sample in samples:
            shutil.copytree(sample, root / "whole")
            whole[sample.name] = {name: read(root / "whole") for name, read in READS.items()}
            shutil.rmtree(root / "whole")
        one = whole["one0"]["resume"]
        assert all(whole[name]["resume"] == one for name in ("one21", "one22")), "not damaged, and not equal"
        print(f"{len(samples)} runs made in {time.monotonic() - began:.0f} s", flush=True)
        outcomes = []
        for number in range(given.damages) if given.only is None else given.only:
            outcome = try_one(number, given.seed, root, samples, whole)
            outcomes.append(outcome)
            if number % 50 == 49:
                print(f"{number + 1} damages, {time.monotonic() - began:.0f} s", flush=True)
            if outcome.faults or given.only is not None:
                print(f"{number}: {outcome.of}: {outcome.what}: {dict(outcome.answers)}", flush=True)
                for fault in outcome.faults:
                    print(f"    {fault}", flush=True)
    columns = ("refused", "equal", "silent", "traceback", "outside")
    print(f"{'damage':18} {'damages':>8}" + "".join(f"{name:>11}" for name in columns))
    total: Counter[str] = Counter()
    for name in dict.fromkeys(each.damage for each in outcomes):
        of = [each for each in outcomes if each.damage == name]
        counts = sum((each.answers for each in of), Counter())
        total += counts
        print(f"{name:18} {len(of):8}" + "".join(f"{counts[column]:11}" for column in columns))
    print(f"{'all':18} {len(outcomes):8}" + "".join(f"{total[column]:11}" for column in columns))
    named = sum(each.answers["refused"] > 0 for each in outcomes)
    print(f"{named} damages were refused by something, {len(outcomes) - named} by nothing and made no difference; "
          f"seed {given.seed}, {time.monotonic() - began:.0f} s")  # fmt: skip
    return 1 if total["silent"] or total["traceback"] or total["outside"] else 0


if __name__ == "__main__":
    sys.exit(run())
