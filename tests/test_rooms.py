"""Who may import whom: strictly downward (docs/house.md)."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import jaxgen

ROOT = Path(jaxgen.__file__).parent
# What imports no jax, and nothing of jaxgen but itself.
GROUND = {"bounds", "config", "errors", "machine", "table", "streams"}
PARTS = {"tasks", "models", "objectives", "optimizers", "starts", "measures"}
ABOVE_PARTS = GROUND | PARTS | {"condition"}
MAY = {
    **dict.fromkeys(GROUND, GROUND),
    "kernels": set(),
    "storage": GROUND,
    "distributed": GROUND | {"storage", "condition", "models"},
    **dict.fromkeys(PARTS, GROUND | PARTS | {"kernels", "storage"}),
    "condition": GROUND | PARTS,
    "figures": ABOVE_PARTS,
    "experiment": ABOVE_PARTS | {"figures"},
    "train": ABOVE_PARTS | {"distributed"},
    "run": ABOVE_PARTS | {"train", "distributed", "storage"},
    "ledger": ABOVE_PARTS | {"train", "run", "distributed", "storage", "experiment", "experiments", "figures"},
}
for upper in ("report", "plan", "launch"):
    MAY[upper] = MAY["ledger"] | {"ledger"}
MAY["cli"] = MAY["report"] | {"report", "plan", "launch"}
MAY["api"] = MAY["cli"] | {"cli"}
PAPERS = ABOVE_PARTS | {"experiment", "figures", "experiments"}


def imported(file: Path) -> Iterator[tuple[int, str]]:
    """Gives the line and the module of every import of jaxgen's own, but for those that only a type checker sees."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    skipped = {
        id(each)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for each in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names = [f"{node.module}.{each.name}" for each in node.names]
        elif isinstance(node, ast.Import):
            names = [each.name for each in node.names]
        else:
            continue
        yield from ((node.lineno, name) for name in names if name.startswith("jaxgen."))


def room(module: str) -> str:
    return module.split(".")[1]


def test_imports_go_downward() -> None:
    wrong = []
    for file in sorted(ROOT.rglob("*.py")):
        place = file.relative_to(ROOT)
        here = place.parts[0].removesuffix(".py")
        if here in ("__init__", "__main__", "experiments", "kernels"):
            continue
        assert here in MAY, f"{place}: the rule does not know this room"
        wrong += [
            f"{place}:{line} imports {module}"
            for line, module in imported(file)
            if room(module) not in MAY[here] | {here, "__version__"}
        ]
    assert not wrong, "\n".join(wrong)


def test_papers_import_what_notebooks_are_written_in() -> None:
    wrong = [
        f"{file.name}:{line} imports {module}"
        for file in sorted((ROOT / "experiments").rglob("*.py"))
        for line, module in imported(file)
        if room(module) not in PAPERS
    ]
    assert not wrong, "\n".join(wrong)


def test_kernels_need_jax_alone() -> None:
    for file in sorted((ROOT / "kernels").rglob("*.py")):
        assert not [module for _, module in imported(file) if room(module) != "kernels"], file
