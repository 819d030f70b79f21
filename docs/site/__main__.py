"""`python -m docs.site`: writes the pages, builds the site, and checks its links."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from pathlib import Path

from docs.site import api, guides, home, ledger, library, links, papers, sources
from jaxgen.ledger.discovery import discover

ROOT = Path(__file__).parents[2]


def write_pages(target: Path) -> None:
    """Writes the Markdown pages that Sphinx reads, and what they show.

    Args:
      target: a folder that is empty or not there.
    """
    found = discover()
    if found.broken:
        raise SystemExit(f"papers that cannot be read: {found.broken}")
    linked = guides.write(ROOT / "docs", target)
    linked |= papers.write(found.papers.values(), target)
    sources.write(ROOT, linked, target)
    ledger.write(found.papers.values(), target)
    home.write(found.papers.values(), target)
    library.write(target)
    api.write(target)


def main() -> int:
    """Builds the site; returns the exit status."""
    from sphinx.cmd.build import main as sphinx

    parser = argparse.ArgumentParser(prog="python -m docs.site", description="Builds the site, and checks its links.")
    parser.add_argument("--to", type=Path, default=ROOT / "site", help="a folder; a site that is there is replaced")
    site = parser.parse_args().to
    began = time.monotonic()
    if site.exists() and any(site.iterdir()) and not (site / "searchindex.js").exists():
        parser.error(f"{site} holds something else than a site")
    shutil.rmtree(site, ignore_errors=True)
    with tempfile.TemporaryDirectory() as folder:
        pages = Path(folder) / "pages"
        write_pages(pages)
        flags = ["--quiet", "--fail-on-warning", "--keep-going", "--jobs", "auto"]
        places = ["--conf-dir", str(Path(__file__).parent), "--doctree-dir", str(Path(folder) / "trees")]
        if status := sphinx([*flags, *places, str(pages), str(site)]):
            return status
    broken = links.broken(site)
    for each in broken:
        print(each, file=sys.stderr)
    size = sum(path.stat().st_size for path in site.rglob("*") if path.is_file())
    seconds = time.monotonic() - began
    print(f"{site / 'index.html'}: {len(list(site.rglob('*.html')))} pages, {size / 1e6:.1f} MB, {seconds:.0f} s")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
