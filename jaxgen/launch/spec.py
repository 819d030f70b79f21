"""`JobSpec` describes a job for every back end. Imports no jax.

A spec holds no secrets, only their locations. Every text in it is quoted before a shell or a parser reads it.
"""

from __future__ import annotations

import dataclasses
import math
import re
from typing import Annotated, Any, Literal

from jaxgen.config import Config, NonNegativeInt, PositiveInt, Range, digest
from jaxgen.distributed.devices import GPUS, TPUS
from jaxgen.distributed.variables import holds_login, sounds_secret
from jaxgen.errors import UserError, nearest

# A name plus the suffix that Kubernetes adds for a pod must be a DNS label: at most 63 characters.
LONGEST_NAME = 40
# A machine of a TPU slice has this many chips, unless the slice has fewer (GKE: ct5lp-hightpu-4t, ct5p-hightpu-4t, #
# ct6e-standard-4t, tpu7x-standard-4t).
CHIPS_OF_A_HOST = 4


@dataclasses.dataclass(frozen=True, kw_only=True)
class Devices(Config):
    """Machines, and the accelerators of each."""

    device: str = "cpu"  # cpu, gpu (any type), or a key of jaxgen/distributed/devices.py
    nodes: PositiveInt = 1
    of_each: NonNegativeInt = 0  # accelerators of a node; chips of a TPU host
    shape: str = ""  # the shape of a TPU slice, in chips

    def accelerator(self) -> Literal["cpu", "gpu", "tpu"]:
        """Returns jax's name of the backend."""
        if self.device == "cpu":
            return "cpu"
        return "tpu" if self.device in TPUS else "gpu"


def read_devices(text: str) -> Devices:
    """Returns the devices `cpu:2` (nodes), `h100:8` or `gpu:2x8` (nodes x GPUs of each), `v5e:4x4` (chips of a slice).

    Raises:
      UserError: the kind is unknown or the shape is wrong.
    """
    kind, _, shape = text.partition(":")
    kinds = {"cpu", "gpu", *GPUS, *TPUS}
    if kind not in kinds:
        raise UserError(f"--devices: no kind '{kind}'{nearest(kind, kinds)}; the kinds are: {', '.join(sorted(kinds))}")
    if kind in TPUS:
        if not re.fullmatch(r"[1-9]\d{0,3}x[1-9]\d{0,3}(x[1-9]\d{0,3})?", shape):
            raise UserError(f"--devices: got '{text}', expected the shape of a slice, such as v5e:2x4 or v5p:4x4x4")
        chips = math.prod(map(int, shape.split("x")))
        hosts, rest = divmod(chips, CHIPS_OF_A_HOST)
        if hosts and rest:
            raise UserError(f"--devices: got '{text}' of {chips} chips, expected a multiple of {CHIPS_OF_A_HOST}")
        return Devices(device=kind, nodes=max(hosts, 1), of_each=min(chips, CHIPS_OF_A_HOST), shape=shape)
    match = re.fullmatch(r"(?:([1-9]\d{0,5})x)?([1-9]\d{0,5})", shape)
    if match is None or (kind == "cpu" and match[1]):
        expected = "nodes, such as cpu:2" if kind == "cpu" else f"nodes x GPUs of each, such as {kind}:8 or {kind}:2x8"
        raise UserError(f"--devices: got '{text}', expected {expected}")
    if kind == "cpu":
        return Devices(nodes=int(match[2]))
    return Devices(device=kind, nodes=int(match[1] or 1), of_each=int(match[2]))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Variable(Config):
    """An environment variable that is not secret."""

    name: str
    value: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Secret(Config):
    """An environment variable whose value is kept elsewhere; `submit` never reads it."""

    name: str
    source: str  # a file (local, SLURM), SECRET/KEY (Kubernetes), or nothing (SkyPilot)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Volume(Config):
    """Storage that outlives the job."""

    source: str  # the name of a PersistentVolumeClaim
    path: str  # the mount path in the processes


@dataclasses.dataclass(frozen=True, kw_only=True)
class Selector(Config):
    """A label that a Kubernetes node must have."""

    key: str
    value: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class JobSpec(Config):
    """A job: processes that start together, end together and restart together."""

    name: str  # a DNS label
    title: str  # names the experiment, for people
    command: tuple[str, ...]  # the argv of every process
    devices: Devices = Devices()
    processes_of_each: PositiveInt = 1  # node
    directory: str = ""  # the working directory of the processes, with their log, if the submitting machine sees it
    image: str | None = None
    variables: tuple[Variable, ...] = ()
    secrets: tuple[Secret, ...] = ()
    volumes: tuple[Volume, ...] = ()
    cpus: PositiveInt | None = None  # CPU cores per process
    memory: PositiveInt | None = None  # GiB per node
    minutes: PositiveInt | None = None  # time limit of one start
    grace: Annotated[int, Range(at_least=15, at_most=3600)] = 60  # seconds between SIGTERM and SIGKILL
    restarts: NonNegativeInt = 10  # at most
    queue: str | None = None  # SLURM's partition, Kueue's queue
    account: str | None = None
    namespace: str | None = None
    selectors: tuple[Selector, ...] = ()
    options: tuple[str, ...] = ()  # more sbatch options, KEY=VALUE

    def in_store(self) -> bool:
        """Returns whether the run is kept in an object store."""
        return "://" in self.directory

    def processes(self) -> int:
        """Returns the number of processes."""
        return self.devices.nodes * self.processes_of_each

    def validate(self) -> None:
        if not re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", self.name) or len(self.name) > LONGEST_NAME:
            raise UserError(
                f"--name: got '{self.name}', expected at most {LONGEST_NAME} letters a-z, digits and hyphens, "
                "beginning with a letter and ending with no hyphen"
            )
        if self.namespace is not None and not re.fullmatch(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", self.namespace):
            raise UserError(f"--namespace: got '{self.namespace}', expected letters a-z, digits and hyphens")
        for text in _texts(self):
            if not text.isprintable():
                raise UserError(f"got {text!r}, expected only printable characters; rename it")
        for name in (each.name for pairs in (self.variables, self.secrets) for each in pairs):
            if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
                raise UserError(f"got '{name}', expected the name of a variable: letters, digits and underscores")
        for variable in self.variables:
            if sounds_secret(variable.name):
                raise UserError(f"--env: '{variable.name}' sounds like a secret, which no job may hold; use --secret")
            if holds_login(variable.value):
                raise UserError(
                    f"--env: '{variable.name}' has a URL with a user name or password in it, and no job may "
                    "hold one; use --secret"
                )
        if self.processes_of_each not in (1, self.devices.of_each):
            raise UserError("--process-per: expected one process a node, or one a GPU")


def _texts(config: Config) -> list[str]:
    """Returns every text in a config."""
    found: list[str] = []
    for field in dataclasses.fields(config):
        value: Any = getattr(config, field.name)
        for each in value if isinstance(value, tuple) else (value,):
            found += _texts(each) if isinstance(each, Config) else [each] if isinstance(each, str) else []
    return found


def job_name(title: str, place: str) -> str:
    """Returns a DNS label that describes a job, and differs between run directories."""
    said = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")
    begin = said if said[:1].isalpha() else f"run-{said}"
    return f"{begin[: LONGEST_NAME - 9].rstrip('-')}-{digest(place)[:8]}"


def pair(text: str, option: str, separator: str = "=") -> tuple[str, str]:
    """Splits `KEY=VALUE`, or raises `UserError` naming the option."""
    key, found, value = text.partition(separator)
    if not key or not found:
        raise UserError(f"{option}: got '{text}', expected KEY{separator}VALUE")
    return key, value


# Options whose names differ from those of the fields.
_OPTIONS = {
    "processes_of_each": "--process-per gpu",
    "variables": "--env",
    "secrets": "--secret",
    "volumes": "--volume",
    "selectors": "--selector",
    "options": "--sbatch",
}


def refuse(spec: JobSpec, back_end: str, **why: str) -> None:
    """Raises `UserError` if a spec sets a field that a back end does not support. `why` says why, or what to do
    instead."""
    for name, text in why.items():
        field = next(each for each in dataclasses.fields(spec) if each.name == name)
        if getattr(spec, name) != field.default:
            raise UserError(f"--to {back_end}: takes no {_OPTIONS.get(name, '--' + name)}; {text}")
