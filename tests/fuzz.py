"""Gives `jaxgen` what nobody should, hundreds of times over: `make fuzz`.

Each case is one command with random settings, names, paths, options and variables of the environment, on the tiny
paper of the tests. It may do what it was asked, or refuse it; so its exit code is a documented one, it prints no
traceback, a refusal is one line and leaves every file as it was, and nothing outside of its folder of runs is touched.
What trains for longer than a few seconds is asked to stop, and must.

    python -m tests.fuzz --cases 500 --seed 0
    python -m tests.fuzz --seed 0 --only 17       # that case alone, with all it prints
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import random
import resource
import shlex
import shutil
import signal
import string
import subprocess
import sys
import tempfile
import time
import traceback
import types
import typing
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import click

from jaxgen.cli import main as jaxgen
from jaxgen.condition import Condition, Numerics
from jaxgen.config import Config, field_types
from jaxgen.models.config import MLPConfig
from jaxgen.optimizers import AdamW
from jaxgen.tasks import ModularTask
from tests.tiny_paper import write_tiny_paper

# Documented: done; what was looked for is not well (checkpoints, doctor, plan); refused; a process or a store is lost;
# stopped and saved; not all processes came.
CODES = {0, 1, 2, 69, 75, 134}
LOOKING = ("checkpoints", "doctor", "plan")
# What takes longer is asked to stop, and what does not, killed; the first of the processor's seconds where it tells.
PATIENCE_SECONDS, LAST_SECONDS = 6.0, 300.0
MEMORY_BYTES = 24 << 30  # of addresses: jax and its libraries map some ten
ID = "tiny-paper/main"
# One condition alone, which compiles in half the time.
ONE = "tiny-paper/one"
PAPER = """
one = dataclasses.replace(main, name="one", conditions=(base,), claims=main.claims[:1])
PAPER = dataclasses.replace(PAPER, experiments=(*PAPER.experiments, one))
"""

Draw = random.Random


@dataclasses.dataclass
class Case:
    """One command."""

    args: list[str]
    variables: dict[str, str | None] = dataclasses.field(default_factory=dict)
    # Read when jax is imported, so the command needs a process of its own.
    fresh: bool = False
    writes: tuple[str, ...] = ("runs",)  # where it may, in its folder

    def shown(self) -> str:
        unset = [f"-u {name}" for name, value in self.variables.items() if value is None]
        given = [f"{name}={shlex.quote(value)}" for name, value in self.variables.items() if value is not None]
        parts = ["env", *unset, *given] if unset or given else []
        text = " ".join([*parts, "jaxgen", *map(shlex.quote, self.args)])
        return text if len(text) < 2000 else f"{text[:2000]}... ({len(text):,} characters)"


# Values.

HUGE = ["2147483647", "2147483648", "9223372036854775808", "-1", "0", "1e309", "-1e308", "1e-320", "9" * 5000,
        "-" + "9" * 400, "NaN", "Infinity", "-Infinity", "1e9", "0.1", "3"]  # fmt: skip
TEXTS = ["", " ", "x" * 300, "x" * 100_000, "é", "中文", "\u202egnp", "\x1b[31mred", "a\nb", "\udcff", "../../x",
         "/", "~", "~nobody-here/x", "=1+1", "null", "true", "[]", "{}", "a b", "--help", "-1", "'", '"', "$(id)", "%s",
         "\\"]  # fmt: skip


def number(draw: Draw) -> str:
    return draw.choice(
        [
            draw.choice(HUGE),
            str(draw.randrange(-3, 50)),
            repr(draw.uniform(-2, 2)),
            repr(10.0 ** draw.randrange(-330, 309)),
        ]
    )


def text(draw: Draw) -> str:
    letters = string.printable[:95] + "äß中🙂\x07"
    return draw.choice([draw.choice(TEXTS), "".join(draw.choices(letters, k=draw.randrange(1, 20)))])


def value(draw: Draw, depth: int = 0) -> str:
    """Returns what may stand behind the sign of equality: JSON or not."""
    kind = draw.randrange(9)
    if kind < 3:
        return number(draw)
    if kind == 3:
        return text(draw)
    if kind == 4:
        return draw.choice(["true", "false", "null", '"none"', '"all"', '"end"'])
    if kind == 5 and depth < 4:
        return f"[{', '.join(value(draw, depth + 1) for _ in range(draw.randrange(4)))}]"
    if kind == 6 and depth < 4:
        return config(draw, depth)
    if kind == 7:
        many = draw.choice([5, 150, 400, 2000, 50_000])
        return draw.choice(["[" * many + "]" * many, '{"a":' * many + "1" + "}" * many, "[" * many])
    return json.dumps(text(draw))


def config(draw: Draw, depth: int) -> str:
    """Returns a config as JSON, of some kind and with some fields."""
    kind = draw.choice(sorted(Config.kinds))
    fields = {name: value(draw, depth + 1) for name in field_types(Config.kinds[kind]) if draw.random() < 0.7}
    said = (
        json.dumps(draw.choice([kind] * 8 + ["Nothing", "Config"]))
        if draw.random() < 0.95
        else draw.choice(["[]", "1", "{}"])
    )
    return "{" + ", ".join([f'"kind": {said}', *(f'"{name}": {each}' for name, each in fields.items())]) + "}"


def keys() -> list[str]:
    found = list(field_types(Condition))
    for part in ("task", "model", "optimizer", "numerics"):
        found += [
            f"{part}.{name}"
            for name in dict.fromkeys(name for cls in Config.kinds.values() for name in field_types(cls))
        ]
    return found


def fitting(draw: Draw, hint: Any, depth: int = 0) -> Any:
    """Returns what an annotation asks for, as JSON data, though it may be out of its range."""
    origin, of = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        return fitting(draw, of[0], depth)
    if origin is Literal:
        return draw.choice(of)
    if origin in (typing.Union, types.UnionType):
        return fitting(draw, draw.choice(of), depth)
    if origin is tuple:
        return [fitting(draw, of[0], depth) for _ in range(draw.randrange(4))]
    if hint is bool:
        return draw.random() < 0.5
    if hint is int:
        return draw.choice([0, 1, 2, 3, 4, 7, 8, 12, 50, 1000, 10**5, 2**31 - 1])
    if hint is float:
        return draw.choice([0.0, 0.1, 0.5, 0.9, 1.0, 2.0, 1e-6, 1e30, -1.0])
    if hint is str:
        return draw.choice(["accuracy", "loss", "train", "test", "dense", "ticket", "x", ""])
    if hint is types.NoneType:
        return None
    kinds = [kind for kind in Config.kinds.values() if issubclass(kind, hint) and not kind.is_family]
    kind = draw.choice(sorted(kinds, key=lambda each: each.__name__))
    needed = {each.name for each in dataclasses.fields(kind) if each.default is dataclasses.MISSING}
    fields = {name: of for name, of in field_types(kind).items() if name in needed or draw.random() < 0.25}
    return {"kind": kind.__name__} | {name: fitting(draw, of, depth + 1) for name, of in fields.items() if depth < 5}


def type_of(key: str) -> Any:
    """Returns the annotation of a setting of the tiny paper, `Any` where it has none such."""
    part, _, name = key.partition(".")
    of = {"task": ModularTask, "model": MLPConfig, "optimizer": AdamW, "numerics": Numerics}.get(part, Condition)
    return field_types(of).get(name or part, Any) if name or of is Condition else field_types(Condition)[part]


# The paper's own, so that many a value is taken.
KEYS = [
    "steps", "batch_size", "seeds", "snapshots", "loss", "measures", "measure_at", "stop", "start", "analyses",
    "name", "task", "task.p", "task.corruption", "task.train_fraction", "task.operation", "task.format",
    "task.split_seed", "model", "model.hidden", "model.activation", "model.dropout", "model.init_std",
    "model.batch_norm", "optimizer", "optimizer.learning_rate", "optimizer.weight_decay", "optimizer.warmup",
    "optimizer.b1", "optimizer.eps", "numerics", "numerics.compute_dtype", "numerics.matmul_precision",
    "numerics.logical_shards",
]  # fmt: skip


def setting(draw: Draw) -> str:
    key = (
        draw.choice(KEYS)
        if draw.random() < 0.85
        else draw.choice([draw.choice(keys()), text(draw), "model.", ".", "task.p.q"])
    )
    if draw.random() < 0.1:
        key = f"{draw.choice(['dense', 'ticket', 'nothing', text(draw)])}:{key}"
    hint = type_of(key)
    if hint is not Any and draw.random() < 0.6:
        scope = draw.choice(["", "", "", "dense:", "ticket:"])
        return f"{scope}{key}={json.dumps(fitting(draw, hint))}"
    return f"{key}={value(draw)}" if draw.random() < 0.97 else key


# Commands.


def settings(draw: Draw) -> Case:
    given = [each for _ in range(draw.choice([1, 1, 1, 2, 3])) for each in ("--set", setting(draw))]
    if draw.random() < 0.15:
        name = draw.choice(["modular", "scan", "string", "composition", "text", ID])
        return Case(["tasks", draw.choice(["show", "export"]), name, *given[:2]], writes=("data",))
    if draw.random() < 0.2:
        swept = f"{draw.choice(KEYS)}={number(draw)}{draw.choice([':', '..', ','])}{number(draw)}"
        given += ["--sweep", draw.choice([f"{setting(draw)},{value(draw)}", swept, f"{swept}:{number(draw)}"])]
    if draw.random() < 0.1:
        return Case(["submit", ID, "--to", draw.choice(["local", "slurm", "skypilot"]), "--dry-run", *given], writes=())
    experiment = draw.choice([ID, ONE, ONE, ONE])
    return Case(["reproduce", experiment, "--scale", "smoke", "--seeds", "1", "--runs", "runs", *given])


def names(draw: Draw) -> Case:
    name = draw.choice(
        [text(draw), ID, "tiny-paper", "tiny-paper/", "/", "arxiv:0000.00001", "arxiv:", "tiny-paper/faults"]
    )
    scale = draw.choice(["smoke", "paper", text(draw)])
    command = draw.choice(["show", "reproduce", "tasks show", "new", "submit", "plan", "nothing"])
    if command == "new":
        return Case(
            ["new", text(draw), "--into", draw.choice(["papers-of-mine", "notes", "notes/x"])],
            writes=("papers-of-mine",),
        )
    options = {
        "show": ["--scale", scale],
        "reproduce": ["--scale", draw.choice(["smoke", text(draw)]), "--seeds", "1", "--runs", "runs"],
        "tasks show": ["--split", text(draw)],
        "submit": ["--scale", scale, "--to", draw.choice(["local", "slurm", text(draw)]), "--dry-run"],
        "plan": ["--scale", scale, "--topology", draw.choice(["v5e:2x4", f"v5e:{'9' * 5000}x1", "h100:0", text(draw)])],
    }.get(command, [])
    return Case([*command.split(), name, *options])


def a_place(draw: Draw) -> str:
    long = "/".join(["y" * 200] * 30)
    return draw.choice([
        "runs/of/mine", "n" * 300, long, "notes", "notes/below", "dangling", "dangling/x", "loop", "loop/x",
        "read-only/x", "/proc/x", "/dev/null", "/dev/null/x", "", ".", "..", "a\0b", "\udcff", "é", "r[1]", "a b", "-x",
        "~nobody-here/x", "gs://a", "gs://", "s3://a/../b", "http://x/y", "s3://" + "b" * 300 + "/x", "file:///tmp/x", "s3://\x1b/x",
    ])  # fmt: skip


def paths(draw: Draw) -> Case:
    place = a_place(draw)
    command = draw.choice(["reproduce", "reproduce", "run", "report", "gallery", "new", "export", "submit"])
    first = place.partition("/")[0]
    anywhere = (first,) if first and first not in ("..", "loop", "notes") else ()
    file = (*anywhere, "notes") if place == "notes" else anywhere  # what is named to be written, is
    if command == "reproduce":
        return Case(["reproduce", ONE, "--scale", "smoke", "--seeds", "1", f"--runs={place}"], writes=anywhere)
    if command == "run":
        return Case(
            [draw.choice(["resume", "report", "checkpoints", "status", "logs", "cancel"]), "--", place], writes=()
        )
    if command == "report":
        return Case(["report", "finished/tiny-paper/main/smoke", f"--to={place}"], writes=("finished", *file))
    if command == "gallery":
        return Case(["gallery", "--", place], writes=file)
    if command == "new":
        return Case(["new", "my-paper", f"--into={place}"], writes=anywhere)
    if command == "export":
        return Case(["tasks", "export", "modular", "--set", "p=5", f"--data={place}"], writes=anywhere)
    return Case(["submit", ID, "--to", "slurm", "--scale", "smoke", f"--runs={place}"], writes=())


VARIABLES = [
    "JAXGEN_RUNS", "JAXGEN_EXPERIMENTS", "JAXGEN_DATA", "JAXGEN_CACHE", "JAX_COORDINATOR_ADDRESS",
    "JAX_NUM_PROCESSES", "JAX_PROCESS_ID", "TPU_WORKER_HOSTNAMES", "MEGASCALE_NUM_SLICES", "SLURM_NTASKS",
    "SKYPILOT_NODE_IPS", "KUBERNETES_SERVICE_HOST", "MPLBACKEND", "HOME", "TMPDIR", "COLUMNS", "TERM", "LANG",
    "NO_COLOR", "FORCE_COLOR",
]  # fmt: skip


def environments(draw: Draw) -> Case:
    word = draw.choice(
        ["banana", "", "-1", "9" * 5000, "2147483648", "1", "0", "true", "a,b", "é", "/proc/x", "~nobody-here/x"]
    )
    word = word.replace("\0", "")
    if draw.random() < 0.3:  # what jax and its compilers read as they start
        name = draw.choice(["JAX_PLATFORMS", "JAX_ENABLE_X64", "XLA_FLAGS", "JAX_NUM_CPU_DEVICES",
                            "JAX_DEFAULT_MATMUL_PRECISION", "JAX_TRACEBACK_FILTERING", "PYTHONIOENCODING"])  # fmt: skip
        word = draw.choice(["ascii", "latin-1"]) if name == "PYTHONIOENCODING" else word
        word = f"--xla_{word}" if name == "XLA_FLAGS" and draw.random() < 0.5 else word
        args = draw.choice(
            [["show", ID], ["doctor"], ["reproduce", ID, "--scale", "smoke", "--seeds", "1", "--runs", "runs"]]
        )
        return Case(args, {name: word}, fresh=True)
    name = draw.choice(VARIABLES)
    variables: dict[str, str | None] = {name: word}
    if name == "SLURM_NTASKS":
        variables["SLURM_STEP_NODELIST"] = "n[1-2]"
    if name == "SKYPILOT_NODE_IPS":
        variables["SKYPILOT_NODE_RANK"] = draw.choice(["0", "x", "9" * 5000])
    if name == "KUBERNETES_SERVICE_HOST":
        variables["JOB_COMPLETION_INDEX"] = word
    if name in ("HOME", "TERM", "LANG") and draw.random() < 0.5:
        variables[name] = None
    train = ["reproduce", ONE, "--scale", "smoke", "--seeds", "1", "--connect-within", "2"]
    args = draw.choice([
        ["list"], ["show", ID], train, train, ["report", "finished/tiny-paper/main/smoke"],
        ["submit", ID, "--to", "local", "--dry-run"], ["tasks", "export", "modular", "--set", "p=5"],
    ])  # fmt: skip
    writes = (
        "runs",
        "data",
        "finished",
        *((word,) if name in ("JAXGEN_RUNS", "JAXGEN_DATA", "JAXGEN_CACHE", "TMPDIR") and word else ()),
    )
    return Case(args, variables, writes=writes)


def options(draw: Draw) -> Case:
    count = lambda: draw.choice([number(draw), text(draw), "1", "2"])  # noqa: E731
    training: dict[str, Callable[[], str]] = {
        "--mesh": lambda: draw.choice(
            ["data=2", "member=1", "data=1,data=1", "fsdp=0", f"data={'9' * 5000}", "tensor=2", "", "data=", text(draw)]
        ),
        "--microbatches": count,
        "--remat": lambda: draw.choice(["none", "block", "", text(draw)]),
        "--profile": lambda: draw.choice(["1:2", "2:1", "", "1", f"0:{'9' * 5000}", text(draw)]),
        "--wandb": lambda: draw.choice(["p", ""]),
        "--workers": lambda: draw.choice(["0", "1", "-1", "2147483648", text(draw)]),
        "--save-every": lambda: draw.choice(["1", "nan", "inf", "-1", "0.1", text(draw)]),
        "--seeds": lambda: draw.choice(["1", "2", "0", "2147483647", "2147483648", "1000000000", text(draw)]),
        "--extend": lambda: draw.choice(["3", "5", "0", "2147483648", "9" * 5000, text(draw)]),
    }
    placed: dict[str, Callable[[], str]] = {
        "--resume": lambda: draw.choice(["must", "may", "never", "x"]),
        "--coordinator": lambda: draw.choice(["localhost:1", "x", "localhost:99999999", "", text(draw)]),
        "--processes": count,
        "--process": count,
        "--require-backend": lambda: draw.choice(["cpu", "gpu", "tpu", "x"]),
    }  # fmt: skip
    submitted: dict[str, Callable[[], str]] = {
        "--devices": lambda: draw.choice(
            ["cpu:1", "cpu:2", "h100:2x8", "v5e:4x4", "cpu:0", f"gpu:{'9' * 5000}", text(draw)]),
        **{f"--{name}": count for name in ("cpus", "memory", "minutes", "grace", "restarts")},
        **{f"--{name}": (lambda: text(draw)) for name in ("queue", "account", "sbatch", "image", "volume", "namespace",
                                                          "selector", "env", "secret")},
    }  # fmt: skip
    if draw.random() < 0.4:
        possible = training | submitted
        args = [
            "submit",
            ID,
            "--to",
            draw.choice(["local", "slurm", "kubernetes", "kubeflow", "skypilot"]),
            "--scale",
            "smoke",
        ]
        args += ["--dry-run"] if draw.random() < 0.8 or args[3] == "local" else []
        writes: tuple[str, ...] = ()
    elif draw.random() < 0.3:
        possible = {
            name: of for name, of in (training | placed).items() if name not in ("--seeds", "--extend", "--resume")
        }
        args, writes = ["resume", "finished/tiny-paper/main/smoke", "--connect-within", "1"], ("finished",)
    else:
        possible, args, writes = (
            training | placed,
            ["reproduce", ONE, "--scale", "smoke", "--runs", "runs", "--connect-within", "1"],
            ("runs",),
        )
    for name in draw.sample(sorted(possible), draw.choice([1, 1, 2, 3])):
        args.append(f"{name}={possible[name]()}")
    if "reproduce" in args and not any(each.startswith("--seeds") for each in args):
        args.append("--seeds=1")
    return Case(args, writes=writes)


def case(seed: int, index: int) -> Case:
    draw = random.Random(f"{seed} {index}")
    (make,) = draw.choices([settings, names, paths, environments, options], [35, 12, 18, 15, 20])
    made = make(draw)
    # No command holds these, nor any environment; a Python program may, and so do paths above.
    if made.fresh or any("\0" in each for each in made.variables.values() if each):
        made.args = [each.replace("\0", "") for each in made.args]
    return made


# Running them.


def tree(folder: Path) -> dict[str, tuple[int, ...]]:
    """Returns what tells whether a file below a folder, or a folder, was touched."""
    found: dict[str, tuple[int, ...]] = {}
    for root, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(root, name)
            about = path.lstat()
            size = about.st_size if not path.is_dir() else 0
            found[str(path.relative_to(folder))] = (about.st_mode, size, about.st_mtime_ns if not path.is_dir() else 0)
    return found


def prepare(base: Path) -> Path:
    """Makes the folder that each case is given a copy of."""
    model = base / "model"
    model.mkdir()
    (model / "notes").write_text("a file\n")
    (model / "dangling").symlink_to("nowhere")
    (model / "loop").symlink_to("loop")
    (model / "read-only").mkdir()
    with (write_tiny_paper(base) / "tiny_paper" / "__init__.py").open("a", encoding="utf-8") as notebook:
        notebook.write(PAPER)
    return model


@contextlib.contextmanager
def folder_of(base: Path, model: Path) -> Iterator[Path]:
    place = base / "case"
    shutil.copytree(model, place, symlinks=True)
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


@dataclasses.dataclass
class Ran:
    code: int
    output: str
    seconds: float
    asked: bool  # to stop


def run(made: Case, place: Path, base: Path, patience: float = PATIENCE_SECONDS) -> Ran:
    """Runs a command in a child of this process, which has imported all that it needs."""
    log = base / "log"
    common = {"JAXGEN_EXPERIMENTS": str(base / "papers"), "JAXGEN_CACHE": str(base / "cache"), "JAXGEN_RUNS": None}
    began = time.monotonic()
    if made.fresh:
        variables = os.environ | {k: v for k, v in (common | made.variables).items() if v is not None}
        variables["PYTHONPATH"] = str(Path(__file__).parents[1])
        with log.open("wb") as file:
            child = subprocess.Popen([sys.executable, "-m", "jaxgen", *made.args], cwd=place, stdin=subprocess.DEVNULL,
                                     stdout=file, stderr=file, env=variables)  # fmt: skip
        number = child.pid
        child.returncode = 0  # it is waited for below
    else:
        sys.stdout.flush()
        number = os.fork()
        if number == 0:
            _child(made, place, log, common)
    asked, ended = False, (0, 0)
    while ended[0] == 0:
        waited = time.monotonic() - began
        if not asked and _worked(number, waited) > patience:
            asked = True
            os.kill(number, signal.SIGTERM)
        if waited > LAST_SECONDS:
            os.kill(number, signal.SIGKILL)
        ended = os.waitpid(number, os.WNOHANG)
        if ended[0] == 0:
            time.sleep(0.005)
    output = log.read_text(encoding="utf-8", errors="replace")
    return Ran(os.waitstatus_to_exitcode(ended[1]), output, time.monotonic() - began, asked)


def _worked(process: int, waited: float) -> float:
    """Returns the processor's seconds of a process; on a machine with much to do those of a clock say little."""
    try:
        about = Path(f"/proc/{process}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return waited
    ticks = about.rpartition(")")[2].split()[11:13]  # behind the name, which may hold anything
    return max(sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK"), waited / 20)


def _child(made: Case, place: Path, log: Path, common: dict[str, str | None]) -> None:
    code = 120
    try:
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
        handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(handle, 1)
        os.dup2(handle, 2)
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
        sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
        os.chdir(place)
        for name, value_of in (common | made.variables).items():
            os.environ.pop(name, None) if value_of is None else os.environ.update({name: value_of})
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        try:
            jaxgen(made.args, prog_name="jaxgen")
        except SystemExit as ending:
            code = ending.code if isinstance(ending.code, int) else 0 if ending.code is None else 1
        except BaseException:
            traceback.print_exc()
            code = 1
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)


def faults(made: Case, ran: Ran, before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """Returns what is wrong with how a command ended."""
    found = []
    code = ran.code
    stopped = ran.asked and code in (75, 143, -signal.SIGTERM)  # 143: before there was anything to be stopped
    if code not in CODES and not stopped:
        found.append(f"exit code {code}{' after SIGTERM' if ran.asked else ''}")
    if code == 1 and made.args[0] not in LOOKING:
        found.append("exit code 1")
    if "Traceback (most recent call last)" in ran.output:
        found.append("a traceback")
    changed = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
    if code == 2:
        lines = [line for line in ran.output.splitlines() if line.startswith(("jaxgen: ", "Error: "))]
        if len(lines) != 1:
            found.append(f"{len(lines)} lines that say what is wrong")
        if changed:
            found.append(f"refused, and left {changed[:5]}")
    else:
        writes = [os.path.normpath(each) for each in made.writes]
        rightful = lambda name: any(each == "." or name == each or name.startswith(f"{each}/") for each in writes)  # noqa: E731
        strange = [name for name in changed if not rightful(name)]
        if strange:
            found.append(f"touched {strange[:5]}")
    if any(character in ran.output for character in "\x1b\x07") and "FORCE_COLOR" not in made.variables:
        found.append("a control character")
    return found


@click.command()
@click.option("--cases", default=500, show_default=True, help="How many.")
@click.option("--seed", default=0, show_default=True, help="Draws them.")
@click.option("--first", default=0, show_default=True, help="The number of the first.")
@click.option("--only", type=int, help="The number of one case, which is run alone.")
def main(cases: int, seed: int, first: int, only: int | None) -> None:
    os.environ["JAX_PLATFORMS"] = "cpu"
    os.environ["XLA_FLAGS"] = "--xla_backend_optimization_level=0"
    # Imported once, and no device is asked for: a child of a process that has its devices cannot use them.
    import jaxgen.cli.plan
    import jaxgen.cli.train
    import jaxgen.ledger.record
    import jaxgen.report.html  # noqa: F401

    began = time.monotonic()
    codes: Counter[str] = Counter()
    slowest: list[tuple[float, int]] = []
    failed = []
    with tempfile.TemporaryDirectory(prefix="fuzz.") as folder:
        base = Path(folder).resolve()
        model = prepare(base)
        whole = ["reproduce", ID, "--scale", "smoke", "--seeds", "1", "--runs", "finished"]
        trained = run(Case(whole), model, base, patience=float("inf"))
        assert trained.code == 0, trained.output
        for index in range(first, first + cases) if only is None else [only]:
            made = case(seed, index)
            with folder_of(base, model) as place:
                before, sources = tree(place), tree(base / "papers")
                ran = run(made, place, base)
                wrong = faults(made, ran, before, tree(place))
                if tree(base / "papers") != sources and made.args[0] != "new":
                    wrong.append("touched the papers")
            if (index - first) % 50 == 49:
                print(f"{index - first + 1} cases in {time.monotonic() - began:.0f} s", flush=True)
            kind = "asked to stop" if ran.asked else made.args[0] if made.args else ""
            codes[f"{kind:14} {ran.code}"] += 1
            slowest.append((ran.seconds, index))
            if only is not None:
                print(f"{made.shown()}\n{ran.output}\nexit code {ran.code}, {ran.seconds:.1f} s")
            if wrong:
                failed.append(index)
                last = "\n    ".join(ran.output.strip().splitlines()[-4:])
                print(f"case {index}: {'; '.join(wrong)}\n  {made.shown()}\n    {last[-1500:]}", flush=True)
    for line, count in sorted(codes.items()):
        print(f"{line:>5}: {count}")
    took = ", ".join(f"{seconds:.0f} s (case {index})" for seconds, index in sorted(slowest, reverse=True)[:3])
    print(f"{sum(codes.values())} cases of seed {seed} in {time.monotonic() - began:.0f} s, the longest {took}; "
          f"{len(failed)} failed{': ' if failed else ''}{', '.join(map(str, failed))}")  # fmt: skip
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
