"""Rooms lie above one another, and imports go only downward."""

from __future__ import annotations

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import deal

ROOT = Path(__file__).parent.parent / "deal"

# Top to bottom; "deal" are the public names. What lies in no room is below them all.
ORDER = """
__main__ cli doctor checking bench report loop distilling export deal annotation viewing fitting rig
ray run scoring engines selection acquisitions regions training results labeled model kernel pool
machine synthetic
"""
ROOMS = ORDER.split()


def height(module: str) -> int:
    """How high the room of a module lies: 0 of what lies in none."""
    room = module.removeprefix("deal.").removesuffix("__init__").partition(".")[0] or "deal"
    if module.startswith("deal.export.tensorrt"):  # what builds engines belongs to what runs them
        room = "engines"
    elif module.endswith(".__main__"):
        room = "__main__"
    return len(ROOMS) - ROOMS.index(room) if room in ROOMS else 0


def imports(path: Path) -> set[str]:
    """Modules of ours that a file imports, within functions and for type checkers, too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            assert node.level == 0, f"{path}: relative import"
            found |= {"deal" if name[5:] in deal.__all__ else name for name in names}
    return {name for name in found if name.split(".")[0] == "deal"}


def modules() -> dict[str, set[str]]:
    """Every module with what it imports."""
    files = {path for folder in ("", "bench", "export") for path in (ROOT / folder).rglob("*.py")}
    names = {path: ["deal", *path.relative_to(ROOT).with_suffix("").parts] for path in files}
    return {".".join(names[path]): imports(path) for path in sorted(files)}


def test_imports_go_only_downward():
    upward = [
        f"{module}: {name}"
        for module, names in modules().items()
        for name in names
        if height(name) > height(module)
    ]
    assert upward == []


def test_no_modules_import_each_other():
    found = {module.removesuffix(".__init__"): names for module, names in modules().items()}

    def module_of(name: str) -> str:  # of a module, or of a name in one
        return name if name in found or name == "deal._native" else name.rpartition(".")[0]

    graph = {module: set(map(module_of, names)) for module, names in found.items()}
    TopologicalSorter(graph).prepare()  # CycleError tells the circle
