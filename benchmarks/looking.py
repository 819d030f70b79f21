"""How soon the commands that only look answer, with 9 and 90 papers: `python -m benchmarks.looking`, about a minute.

The ninety are the ledger and copies of its papers under other names. All take turns; of each the quickest of 9 rounds:
what it takes where nothing else runs.
"""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from jaxgen.ledger.discovery import FOLDERS_VARIABLE, find, folders
from jaxgen.ledger.index import index_file, write_index

ROUNDS, PAPERS = 9, 90
JAXGEN = ["-m", "jaxgen"]
ROWS = (
    ("python -c pass", ["-c", "pass"], "ledger"),
    ("python -c 'import click'", ["-c", "import click"], "ledger"),
    ("python -c 'import numpy'", ["-c", "import numpy"], "ledger"),
    ("jaxgen --help", [*JAXGEN, "--help"], "ledger"),
    ("jaxgen list, the ledger", [*JAXGEN, "list"], "ledger"),
    (f"jaxgen list, {PAPERS} papers", [*JAXGEN, "list"], "indexed"),
    (f"jaxgen list, {PAPERS} papers, of which the ledger alone has indexes", [*JAXGEN, "list"], "bare"),
    ("jaxgen show xor-benign/grokking", [*JAXGEN, "show", "xor-benign/grokking"], "ledger"),
    (f"jaxgen show arxiv:2310.02541, {PAPERS} papers", [*JAXGEN, "show", "arxiv:2310.02541"], "indexed"),
)


def write_copies(root: Path) -> None:
    """Copies the ledger's papers until there are `PAPERS`, with indexes and (in another folder) without."""
    there = folders()[0]
    for i in range(PAPERS - len(there)):
        slug, source = list(there.items())[i % len(there)]
        copy = root / "indexed" / f"{source.name}_{i}"
        shutil.copytree(source, copy, ignore=shutil.ignore_patterns("*.svg", "*.csv", "__pycache__"))
        notebook = copy / "__init__.py"
        text = notebook.read_text().replace(f'slug="{slug}"', f'slug="{slug}-{i}"')
        notebook.write_text(text.replace('arxiv="', f'arxiv="{i}.'))
    os.environ[FOLDERS_VARIABLE] = str(root / "indexed")
    for slug, folder in folders()[0].items():
        if slug not in there:
            write_index(find(slug)[0])
            bare = root / "bare" / folder.name
            shutil.copytree(folder, bare, ignore=shutil.ignore_patterns("__pycache__"))
            index_file(bare).unlink()


def seconds(arguments: list[str], papers: Path | None) -> tuple[float, float]:
    """Returns how long a command takes, and how much of it on the processor."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment[FOLDERS_VARIABLE] = str(papers or "")
    before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run([sys.executable, *arguments], env=environment, stdout=subprocess.DEVNULL, check=True)
    passed, after = time.perf_counter() - begun, resource.getrusage(resource.RUSAGE_CHILDREN)
    return passed, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_copies(root)
        places = {"ledger": None, "indexed": root / "indexed", "bare": root / "bare"}
        found: dict[str, list[tuple[float, float]]] = {}
        for _ in range(ROUNDS):
            for name, arguments, papers in ROWS:
                found.setdefault(name, []).append(seconds(arguments, places[papers]))
    print("| | s | of it on the processor |\n|---|---|---|")
    for name, times in found.items():
        print(f"| {name} | {min(each for each, _ in times):.2f} | {min(each for _, each in times):.2f} |")


if __name__ == "__main__":
    main()
