"""The task library: every example task as `jaxgen tasks show` prints it."""

from __future__ import annotations

import contextlib
import inspect
import io
import os
from pathlib import Path

from docs.site.text import escaped, fenced, toctree
from jaxgen.cli.tasks import first_sentence, papers, show_task
from jaxgen.tasks.base import Task
from jaxgen.tasks.examples import FAMILIES

_WIDTH = "120"


def write(target: Path) -> None:
    """Writes a page for each family, and the one that lists all tasks."""
    folder = target / "library"
    folder.mkdir(parents=True)
    listed = ["# Task library", "", _HEAD]
    pages = []
    for family, tasks in FAMILIES.items():
        page = family.replace(",", "").replace(" ", "-")
        pages.append(page)
        (folder / f"{page}.md").write_text(_family(family, tasks), encoding="utf-8")
        listed += [f"## [{capital(family)}]({page}.md)", "", "| task | kind | what |", "|---|---|---|"]
        listed += [
            f"| [`{name}`]({page}.md#{name}) | {task.kind()} | {escaped(first_sentence(task))} |"
            for name, task in tasks.items()
        ]
        listed.append("")
    (folder / "index.md").write_text("\n".join([*listed, toctree(pages)]), encoding="utf-8")


_HEAD = """Small examples of every task; a paper takes the same classes at its own size. A *table* task is enumerated
once, a *stream* task draws fresh training examples in the compiled program, a *host* task has them made by the host
([glossary](../glossary.md#task)). `jaxgen tasks` prints this list, `jaxgen tasks show NAME` the examples, with any
setting changed by `--set KEY=VALUE`. How to add one is in [the guide](../tasks.md).
"""


def capital(text: str) -> str:
    """Returns text with a capital first letter."""
    return text[0].upper() + text[1:]


def _family(family: str, tasks: dict[str, Task]) -> str:
    parts = [f"# {capital(family)}\n"]
    told: dict[type, str] = {}
    for name, task in tasks.items():
        cls = type(task)
        numbers = [f"[arXiv:{each}](https://arxiv.org/abs/{each})" for each in papers(task)]
        parts.append(f"## {name}\n\n" + ", ".join([f"`{cls.__module__}.{cls.__name__}`", task.kind(), *numbers]) + "\n")
        if cls in told:
            parts.append(f"The same task as [`{told[cls]}`](#{told[cls]}), with other settings.\n")
        else:
            told[cls] = name
            parts += [escaped_lists(inspect.getdoc(each) or "") + "\n" for each in described(cls)]
        parts.append(fenced(f"$ jaxgen tasks show {name}\n" + printed(name)))
    return "\n".join(parts)


def described(cls: type[Task]) -> list[type]:
    """Returns the classes that say what a task is, as `jaxgen tasks show` prints them."""
    return list(cls.__mro__[: cls.__mro__.index(Task)])


def escaped_lists(text: str) -> str:
    """Returns a docstring as Markdown, in which its lists are lists."""
    return "\n".join(escaped(line) for line in text.splitlines())


def printed(name: str) -> str:
    """Returns what `jaxgen tasks show` prints of a task, from its settings on: what it is stands above, as text."""
    output = io.StringIO()
    columns = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = _WIDTH
    try:
        with contextlib.redirect_stdout(output):
            show_task(name, split="train", count=5, settings=(), seed=0)
    finally:
        os.environ.pop("COLUMNS") if columns is None else os.environ.update(COLUMNS=columns)
    lines = [line.rstrip() for line in output.getvalue().splitlines()]
    return "\n".join(lines[next(i for i, line in enumerate(lines) if line.startswith("settings")) :]).strip()
