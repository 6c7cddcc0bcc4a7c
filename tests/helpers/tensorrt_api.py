"""Holds every use of TensorRT in Python files against the bindings that are loaded.

``python -m tests.tensorrt_api BINDINGS TYPES FAKE FILE…`` prints as JSON what the files use and
what the bindings have not. TYPES (JSON) names classes that cannot be told from the code:
``{"TensorRTEngine._engine": "ICudaEngine"}``. FAKE is a stand-in for the module: what its classes
define has to be in the bindings under the same names.
"""

from __future__ import annotations

import ast
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.helpers.tensorrt_uses import Reader, signatures


def of_fake(trt: Any, path: Path) -> Iterator[str]:
    """What a stand-in defines that the bindings have not, or have under another name."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if not isinstance(node, ast.FunctionDef | ast.ClassDef) or node.name.startswith("_"):
            continue
        if not hasattr(trt, node.name):
            yield f"there is no {node.name}"
        elif isinstance(node, ast.ClassDef):
            yield from _of_class(getattr(trt, node.name), node)


def _of_class(real: Any, node: ast.ClassDef) -> Iterator[str]:
    for item in node.body:
        if isinstance(item, ast.Assign) and hasattr(real, "__members__"):
            name = ast.unparse(item.targets[0])
            if name not in real.__members__:
                yield f"{node.name} has no {name}"
        if not isinstance(item, ast.FunctionDef) or item.name.startswith("_"):
            continue
        found = getattr(real, item.name, None)
        if found is None:
            yield f"{node.name} has no {item.name}"
            continue
        given = [argument.arg for argument in item.args.args[1:]]
        known = signatures(found)
        if known and all(one.names[: len(given)] != given for one in known):
            yield f"{node.name}.{item.name} takes {known[0].names}, not {given}"


def main(bindings: str, types: str, fake: str, *files: str) -> None:
    sys.path.insert(0, bindings)
    import tensorrt_bindings as trt

    uses: set[str] = set()
    problems: list[str] = []
    for path in map(Path, files):
        reader = Reader(trt, path, json.loads(types))
        uses |= reader.uses
        problems += sorted(reader.problems)
    if fake:
        problems += [f"{Path(fake).name}: {text}" for text in of_fake(trt, Path(fake))]
    answer = {"version": trt.__version__, "uses": sorted(uses), "problems": problems}
    print(json.dumps(answer))


if __name__ == "__main__":
    main(*sys.argv[1:])
