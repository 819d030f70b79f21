"""The guides: every Markdown file of docs/, as it is but for links that leave it."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from docs.site.sources import page_of
from docs.site.text import toctree

# The order in which a reader meets them; a new guide comes after these.
FIRST = ("add-a-paper", "parts", "tasks", "runs", "submit", "devices", "plan")
REPLACED = {"gallery.md": "ledger.md", "../README.md": "index.md"}  # by a page of the site
APART = ("glossary",)  # not among the guides
_LINK = re.compile(r"\]\(([^)\s#]+)(#[^)\s]*)?\)")
_CODE = re.compile(r"(^```.*?^```$|^(?: {4}[^\n]*\n)+)", re.MULTILINE | re.DOTALL)


def write(docs: Path, target: Path) -> set[str]:
    """Writes the guides, their files and the page that lists them; returns the source files that they link to."""
    target.mkdir(parents=True, exist_ok=True)
    linked: set[str] = set()
    texts = {path.stem: path.read_text(encoding="utf-8") for path in docs.glob("*.md") if path.name not in REPLACED}
    for name, text in texts.items():
        (target / f"{name}.md").write_text(rewritten(text, linked), encoding="utf-8")
    for path in docs.iterdir():
        if path.is_file() and path.suffix not in (".md", ".py"):
            shutil.copy(path, target / path.name)
    names = sorted(set(texts) - set(APART), key=lambda name: (FIRST.index(name) if name in FIRST else len(FIRST), name))
    lines = [f"- [{title(texts[name])}]({name}.md): {summary(texts[name])}" for name in names]
    page = ["# Guides", "", *lines, "", toctree(names)]
    (target / "guides.md").write_text("\n".join(page), encoding="utf-8")
    return linked


def rewritten(text: str, linked: set[str]) -> str:
    """Returns a guide whose links to files of the repository lead to pages of the site; adds to `linked` which."""

    def link(found: re.Match[str]) -> str:
        to, anchor = found[1], found[2] or ""
        if to in REPLACED:
            return f"]({REPLACED[to]})"
        if to.endswith(".py") and not to.startswith("../"):
            path = f"docs/{to}"
        elif to.startswith("../"):
            path = to.removeprefix("../").rstrip("/")
        else:
            return found[0]
        if paper := re.fullmatch(r"experiments/(\w+)(?:/__init__\.py)?", path):
            return f"](papers/{paper[1].replace('_', '-')}.md{anchor})"
        linked.add(path)
        return f"]({page_of(path)})"

    parts = _CODE.split(text)
    return "".join(part if i % 2 else _LINK.sub(link, part) for i, part in enumerate(parts))


def title(text: str) -> str:
    """Returns a guide's first heading."""
    return next(line.removeprefix("# ") for line in text.splitlines() if line.startswith("# "))


def summary(text: str) -> str:
    """Returns the first sentence of a guide's first paragraph; of one that begins with something else, its headings."""
    paragraph = next((part for part in text.split("\n\n")[1:] if not part.startswith("#")), "")
    if re.match(r"[A-Z]", paragraph):
        plain = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", " ".join(paragraph.split()))
        return re.split(r"(?<=[.:])\s", plain)[0]
    return ", ".join(re.findall(r"^## (.+)$", text, re.MULTILINE)[:4]) + "."
