"""`jaxgen doctor`: reports what this machine has, what is missing, and how to install it."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
from pathlib import Path

import jax

from jaxgen.cli.console import Console
from jaxgen.distributed import environment
from jaxgen.errors import UserError
from jaxgen.ledger.discovery import FOLDERS_VARIABLE, discover

EXTRAS = {
    "wandb": ("wandb", "metrics in Weights & Biases", 'pip install "jaxgen[wandb]"'),
    "kubernetes": ("kubernetes", "jaxgen submit --to kubernetes", 'pip install "jaxgen[kubernetes]"'),
    "cuda13": ("jax-cuda13-plugin", "NVIDIA GPUs", 'pip install "jaxgen[cuda13]"'),
    "tpu": ("libtpu", "TPUs", 'pip install "jaxgen[tpu]"'),
}


def doctor() -> bool:
    """Prints the findings, and returns whether jaxgen can train here."""
    console = Console(highlight=False)
    sound = True
    console.print("[bold]versions[/]")
    for name in environment.PACKAGES:
        try:
            console.print(f"  {name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            sound = False
            console.print(f"  [red]{name} is missing[/]: pip install jaxgen", markup=True)
    console.print("[bold]devices[/]")
    platform = None
    try:
        environment.check_devices()
    except UserError as error:
        sound = False
        console.print(f"  none: {error}", style="red", markup=False)
    else:
        platform = jax.default_backend()
        for device in jax.devices():
            console.print(f"  {device.platform}: {device.device_kind}")
    console.print(f"  processor: {environment.cpu_name()}, {os.cpu_count()} cores")
    console.print("[bold]extras[/]")
    for extra, (package, purpose, install) in EXTRAS.items():
        try:
            console.print(f"  {extra}: {package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            console.print(f"  {extra}: not installed; for {purpose}: {install}", markup=False)
    if shutil.which("nvidia-smi") and platform == "cpu":
        sound = False
        console.print(
            '  an NVIDIA GPU is here, but jax does not use it: pip install "jaxgen[cuda13]"', markup=False, style="red"
        )
    console.print("[bold]flags[/]")
    flags = environment.flags()
    for name, value in flags.items():
        console.print(f"  {name}={value}", markup=False)
    if not flags:
        console.print("  no variable that matters to a run is set")
    console.print("[bold]places[/]")
    cache, why = environment.enable_compile_cache()
    if why:
        console.print(f"  {why}", markup=False)
    if cache is not None:
        sound &= _writable("compile cache", cache, environment.CACHE_VARIABLE, console)
    console.print(f"  more papers ({FOLDERS_VARIABLE}): {os.environ.get(FOLDERS_VARIABLE) or 'none'}", markup=False)
    for folder, reason in discover().broken.items():
        sound = False
        console.print(f"  cannot be read: {folder}: {reason}", style="red", markup=False)
    console.print("all is well" if sound else "see the lines marked above", style="green" if sound else "red")
    return sound


def _writable(what: str, path: Path, variable: str, console: Console) -> bool:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        console.print(f"  {what} {path}: {error}; set {variable} to another folder", style="red", markup=False)
        return False
    free = shutil.disk_usage(path).free / 2**30
    console.print(f"  {what}: {path} ({free:.0f} GiB free)", markup=False)
    return True
