"""The documents of an export, by the tool that wrote it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

from deal.annotation import coco, cvat, label_studio, voc
from deal.annotation.archive import Export
from deal.annotation.record import Drawn, Legend
from deal.errors import PoolError, UsageError

__all__ = ["TOOLS", "drawn_in"]

TOOLS = ("cvat", "label-studio", "coco", "voc")
"""Formats that are read."""

_JSON = {"label-studio": label_studio.read, "coco": coco.read}


def drawn_in(export: Export, tool: str, legend: Legend) -> Iterator[Drawn]:
    """What an export draws, picture by picture, its documents by name.

    Raises
    ------
    UsageError
        The tool is unknown.
    PoolError
        The export holds no such document, or one that is damaged or of another kind.
    """
    if tool not in TOOLS:
        raise UsageError(f"from {tool!r}: choose one of {', '.join(TOOLS)}")
    if tool == "voc":
        yield from _masks(export, legend)
        return
    suffix = ".xml" if tool == "cvat" else ".json"
    documents = [name for name in export.files if name.lower().endswith(suffix)]
    if not documents:
        raise PoolError(f"{export.name} holds no {suffix} file, as {tool} exports it")
    for document in documents:
        name = f"{export.name}: {document}" if len(export.files) > 1 else export.name
        if tool == "cvat":
            with export.open(document) as file:
                yield from cvat.read(file, name, legend)
        else:
            yield from _JSON[tool](_json(export.read(document), name), name, legend)


def _json(data: bytes, name: str) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:  # a wrong encoding is a ValueError, too
        raise PoolError(
            f"{name} is damaged or not JSON in UTF-8 ({error}); export it again"
        ) from error


def _masks(export: Export, legend: Legend) -> Iterator[Drawn]:
    lists = [name for name in export.files if PurePosixPath(name).name == voc.LABELS]
    if not lists:
        raise PoolError(
            f'{export.name} holds no {voc.LABELS}: export from CVAT as "Segmentation mask 1.1"'
        )
    for name in lists:
        folder = PurePosixPath(name).parent / voc.MASKS
        masks = [
            file
            for file in export.files
            if PurePosixPath(file).is_relative_to(folder) and file.lower().endswith(".png")
        ]
        labels = voc.read_labels(export.read(name), f"{export.name}: {name}")
        yield from voc.read(labels, masks, export.read, legend)
