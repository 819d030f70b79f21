"""A run as one file, for somebody who has jaxgen alone: a zip of the run without what only training needs.

    <paper>-<experiment>-<scale>/run.json, results.json, table.csv, report.html, claims.json, paper/
    <paper>-<experiment>-<scale>/populations/<name>/run.json, status.json, metrics.jsonl, analyses.json, snapshots/

A run that is unpacked from it is checked as any run is, by its digests and manifests.
"""

from __future__ import annotations

import atexit
import functools
import os
import secrets
import shutil
import stat
import tempfile
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

from jaxgen.errors import UserError, shown
from jaxgen.run.directory import PopulationDirectory
from jaxgen.run.manifest import MANIFEST, STATE, Damaged, check_owner, verify
from jaxgen.storage.files import make_directory

# What a reader needs of a run, and of a population.
_OF_RUN = ("run.json", "results.json", "claims.json", "table.csv", "report.html")
_OF_POPULATION = ("run.json", "status.json", "metrics.jsonl", "analyses.json")
# What reading a zip raises if it is damaged or encrypted, or a file in it stands in the place of a folder.
_DAMAGE = (
    zipfile.BadZipFile, zlib.error, EOFError, ValueError, RuntimeError, FileExistsError, NotADirectoryError,
)  # fmt: skip
# Time stamps would make two exports of one run differ.
_NO_TIME = (1980, 1, 1, 0, 0, 0)


def pack(run: Path, populations: Sequence[PopulationDirectory], name: str, to: Path) -> None:
    """Writes the export of a run, whole or not at all.

    Args:
      run: the run's path.
      populations: its populations.
      name: the run's folder within the file.
      to: the file.

    Raises:
      UserError: a file of the run is damaged.
    """
    files = [run / each for each in _OF_RUN] + sorted((run / "paper").rglob("*.py"))
    for directory in populations:
        files += [directory.path / each for each in _OF_POPULATION] + _checked_snapshots(directory)
    make_directory(to.parent)
    temporary = to.with_name(f".{to.name}.{secrets.token_hex(4)}.tmp")
    try:
        with zipfile.ZipFile(temporary, "x", zipfile.ZIP_DEFLATED) as archive:
            for path in files:
                if path.is_file():
                    entry = zipfile.ZipInfo(f"{name}/{path.relative_to(run).as_posix()}", _NO_TIME)
                    entry.external_attr = (stat.S_IFREG | 0o644) << 16
                    entry.compress_type = zipfile.ZIP_DEFLATED
                    with path.open("rb") as source, archive.open(entry, "w", force_zip64=True) as into:
                        shutil.copyfileobj(source, into)
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.replace(to)
    finally:
        temporary.unlink(missing_ok=True)


def _checked_snapshots(directory: PopulationDirectory) -> list[Path]:
    """Returns the files of a population's snapshots, after reading all that an export takes of it.

    Raises:
      UserError: a file is damaged.
    """
    directory.check_without_recovery()
    directory.rows()
    directory.analyses()
    files = []
    for step, digest in directory.status()["snapshots"].items():
        path = directory.path / "snapshots" / step
        found = verify(path)
        if found.digest != digest:
            raise Damaged(f"{path} is another checkpoint than was saved there")
        check_owner(path, found, directory.owner)
        files += [path / MANIFEST, *(path / STATE / each for each in found.files)]
    return files


def unpacked(file: Path) -> Path:
    """Unpacks an export into a folder of this process alone, which goes when the process does; returns the run's path.

    Raises:
      UserError: the file is no export, or holds what none does: links, names that lead elsewhere, more than one run.
    """
    about = file.stat()
    return _unpacked(file, about.st_mtime_ns, about.st_size)


@functools.cache
def _unpacked(file: Path, time: int, size: int) -> Path:
    folder = Path(tempfile.mkdtemp(prefix="jaxgen-export-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    try:
        with zipfile.ZipFile(file) as archive:
            entries = [each for each in archive.infolist() if not each.is_dir()]
            _check_entries(entries, folder)
            for each in entries:
                path = folder / each.filename
                path.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(each) as source, path.open("xb") as into:
                    shutil.copyfileobj(source, into)
        (top,) = folder.iterdir()
        (top / "populations").mkdir(exist_ok=True)
    except _DAMAGE as error:
        raise UserError(f"{file} is no export of a run, or is damaged: {error}; ask for it again") from None
    return top


def _check_entries(entries: Sequence[zipfile.ZipInfo], folder: Path) -> None:
    """Raises `ValueError` where these entries are not what an export holds."""
    names = [each.filename for each in entries]
    for each in entries:
        parts = each.filename.split("/")
        kind = stat.S_IFMT(each.external_attr >> 16)
        if {"", ".", ".."} & set(parts) or not each.filename.isprintable() or "\\" in each.filename or ":" in parts[0]:
            raise ValueError(f"an entry is named {shown(each.filename)}")
        if kind not in (0, stat.S_IFREG):
            raise ValueError(f"the entry {each.filename} is no regular file")
    tops = {each.partition("/")[0] for each in names}
    if len(tops) != 1 or f"{min(tops)}/run.json" not in names:
        raise ValueError("it does not hold the folder of one run")
    if len(set(names)) != len(names):
        raise ValueError("two entries have one name")
    needed, free = sum(each.file_size for each in entries), shutil.disk_usage(folder).free
    if needed > free:
        raise ValueError(
            f"it unpacks to {needed:,} bytes, and {folder.parent} has {free:,} left ($TMPDIR names another)"
        )
