"""The files that a model consists of."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from deal.errors import ModelError
from deal.model.header import read_header

__all__ = ["with_model_files"]


def with_model_files(read: Iterable[object]) -> Iterator[object]:
    """Give each item, and after an ONNX file its side-car and the files of its weights.

    They need not exist. Of a file that is no ONNX model only the side-car follows.
    """
    for item in read:
        yield item
        if not isinstance(item, (str, os.PathLike)):
            continue
        model = Path(item)
        if model.suffix.lower() != ".onnx":
            continue
        yield model.with_suffix(".json")
        with suppress(ModelError, ValueError):
            yield from (model.parent / name for name in read_header(model).external)
