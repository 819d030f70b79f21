"""The environment on which a run's bits may depend beside its configuration; run.json and results record it."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import platform
import re
import stat
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import jax

from jaxgen.distributed import variables
from jaxgen.errors import UserError

PACKAGES = ("jaxgen", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "tensorstore", "numpy")
# Variables that are known to change the bits of a result.
BITS_PACKAGES = ("jaxgen", "jax", "jaxlib", "flax", "optax")
BITS_FLAGS = (
    "XLA_FLAGS",
    "LIBTPU_INIT_ARGS",
    "JAX_ENABLE_X64",
    "JAX_DEFAULT_MATMUL_PRECISION",
)
# The topology already records the number of simulated CPU devices.
_HOST_DEVICES = re.compile(r"--xla_force_host_platform_device_count=\d+")
CACHE_VARIABLE = "JAXGEN_CACHE"


def check_devices() -> None:
    """Raises `UserError` if jax finds no device to run on."""
    try:
        jax.devices()
    except RuntimeError as error:
        asked = os.environ.get("JAX_PLATFORMS")
        wish = f" (JAX_PLATFORMS={asked})" if asked else ""
        raise UserError(f"jax finds no device{wish}: {str(error).splitlines()[0]}; see `jaxgen doctor`") from None


def describe(*, keep_diff: bool = False) -> dict[str, Any]:
    """Returns versions, devices, flags, and the fields of `source`."""
    devices = jax.devices()
    return {
        "versions": versions(),
        "devices": {"kind": devices[0].device_kind, "platform": devices[0].platform, "count": len(devices)},
        "cpu": cpu_name(),
        "cores": core_count(),
        "flags": flags(),
        **source(keep_diff=keep_diff),
    }


def flags() -> dict[str, str]:
    """Returns the environment variables that matter to a run."""
    return variables.recorded(os.environ)


def fingerprint() -> dict[str, str]:
    """Returns the facts, beside the topology, that must be equal for a resumed run to give the bits of an uninterrupted
    one."""
    device = jax.devices()[0]
    found = {name: importlib.metadata.version(name) for name in BITS_PACKAGES}
    found["device"] = device.device_kind
    if device.platform == "cpu":
        found |= {"processor": cpu_name(), "cores": str(core_count())}
    flags = {
        name: variables.without_login(_HOST_DEVICES.sub("", os.environ.get(name, "")).strip()) for name in BITS_FLAGS
    }
    return found | {name: value for name, value in flags.items() if value}


def topology() -> dict[str, str]:
    """Returns the numbers of devices and processes."""
    return {"devices": str(jax.device_count()), "processes": str(jax.process_count())}


def core_count() -> int | None:
    """Returns the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def versions() -> dict[str, str]:
    """Returns the version of python and of every package that can change a result."""
    return {"python": platform.python_version()} | {name: importlib.metadata.version(name) for name in PACKAGES}


def cpu_name() -> str:
    """Returns the processor's name, or its architecture if the system does not give a name."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.machine()


def source(here: Path = Path(__file__), *, keep_diff: bool = False) -> dict[str, Any]:
    """Returns the git commit of jaxgen's own checkout, and whether and how the source differs from it.

    Git runs no program that the checkout's configuration names (filters, hooks, monitors, external diffs).

    Args:
      here: a file of the checkout.
      keep_diff: whether to return the diff itself. A checkout may hold private text, so the default is not to.

    Returns:
      `commit`; `modified`; `diff_sha256`, equal for equal changes, None for none. With `keep_diff` also `diff`, and the
      names `untracked`. All None where it is installed from a wheel.
    """
    git = _Git(here.resolve().parent)
    if git("ls-files", "--error-unmatch", here.name) is None:
        return {"commit": None, "modified": None, "diff_sha256": None}
    # Recorded results are not source, and those of the last experiment may not be committed yet.
    paths = (":/", ":(top,exclude,glob)experiments/*/results/**")
    untracked = git("ls-files", "--others", "--exclude-standard", "--full-name", *paths) or ""
    diff = git("diff", "--no-ext-diff", "--no-textconv", "--ignore-submodules=dirty", "HEAD", "--", *paths) or ""
    modified = bool(diff or untracked)
    changes = f"{diff}\n{untracked}".encode()
    return {
        "commit": git("rev-parse", "HEAD"),
        "modified": modified,
        "diff_sha256": hashlib.sha256(changes).hexdigest() if modified else None,
        **({"diff": diff, "untracked": untracked} if keep_diff else {}),
    }


class _Git:
    """Runs git in a folder, ignoring every program that the configuration there names."""

    def __init__(self, folder: Path):
        self._folder = folder
        own = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
        self._environ = own | {"GIT_OPTIONAL_LOCKS": "0", "GIT_NO_LAZY_FETCH": "1", "GIT_TERMINAL_PROMPT": "0"}
        # Each filter has its own name; a filter whose commands are empty does nothing.
        found = self(
            "config", "--null", "--name-only", "--get-regexp", r"^filter\..*\.(clean|smudge|process|required)$"
        )
        for number, key in enumerate(dict.fromkeys((found or "").split("\0")[:-1])):
            value = "false" if key.endswith(".required") else ""
            self._environ |= {f"GIT_CONFIG_KEY_{number}": key, f"GIT_CONFIG_VALUE_{number}": value}
            self._environ["GIT_CONFIG_COUNT"] = str(number + 1)

    def __call__(self, *args: str) -> str | None:
        """Returns the output of a command, or None if it fails."""
        command = ["git", "-C", str(self._folder), "-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null",
                   "-c", "protocol.allow=never", *args]  # fmt: skip
        try:
            done = subprocess.run(command, capture_output=True, env=self._environ, check=True)
        except (OSError, subprocess.CalledProcessError):
            return None
        return done.stdout.decode(errors="replace").strip()


_cache_hits = 0


def _count_cache_hits(event: str, **_: Any) -> None:
    global _cache_hits
    _cache_hits += event == "/jax/compilation_cache/cache_hits"


jax.monitoring.register_event_listener(_count_cache_hits)


def cache_hits() -> int:
    """Returns the number of programs that this process has loaded from the persistent compile cache."""
    return _cache_hits


def enable_compile_cache() -> tuple[Path | None, str]:
    """Turns on jax's persistent compile cache, in $JAXGEN_CACHE or ~/.cache/jaxgen.

    Returns its folder, or None if no folder can be used; and, if it is neither of these two, the reason.
    """
    root, why = _cache_root()
    if root is None:
        return None, why
    directory = root / "xla"
    jax.config.update("jax_compilation_cache_dir", str(directory))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    return directory, why


def _cache_root() -> tuple[Path | None, str]:
    if named := os.environ.get(CACHE_VARIABLE):
        return Path(named), ""
    try:
        return Path.home() / ".cache" / "jaxgen", ""
    except RuntimeError:
        pass  # neither $HOME nor the machine's list of users gives a home
    place = Path(tempfile.gettempdir()) / f"jaxgen-{os.getuid()}"
    why = f"this user has no home: compiled programs are kept in {place}; set {CACHE_VARIABLE} to use another folder"
    try:
        place.mkdir(mode=0o700, exist_ok=True)
        about = place.lstat()
    except OSError as error:
        return None, f"this user has no home, and compiled programs are not kept: {error}"
    # Cached programs are run unchecked, so no other user may own the folder or write there.
    if not stat.S_ISDIR(about.st_mode) or about.st_uid != os.getuid() or about.st_mode & 0o022:
        return None, f"this user has no home, and compiled programs are not kept: others can write to {place}"
    return place, why
