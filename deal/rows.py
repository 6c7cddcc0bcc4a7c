"""Outcomes of images → columns of the results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from deal.errors import ItemError
from deal.scorer import BatchScores
from deal.types import Decoded, PoolItem

__all__ = ["Image", "Shape", "failed_rows", "region_rows", "scored_rows"]


@dataclass(frozen=True, slots=True)
class Shape:
    """What is stored of a decoded image, without its pixels."""

    width: int
    height: int
    orientation: int
    color_mode: str

    @classmethod
    def of(cls, decoded: Decoded) -> Shape:
        """Describe a decoded image."""
        return cls(decoded.width, decoded.height, decoded.orientation, decoded.color_mode)


Image = tuple[PoolItem, Shape | None]
"""An item, and the shape of its image; None when it could not be decoded."""

_FROM_ITEM = ("id", "uri", "source_version", "sequence", "camera", "timestamp_ns", "attributes")
_FROM_SHAPE = ("width", "height", "orientation", "color_mode")


def scored_rows(images: Sequence[Image], scores: BatchScores) -> dict[str, Any]:
    """Columns of the images of a batch that are ok."""
    ok = [images[index] for index in scores.ok]
    return {**_described(ok), "status": ["ok"] * len(ok), **scores.columns}


def failed_rows(images: Sequence[Image], errors: Sequence[ItemError]) -> dict[str, Any]:
    """Columns of images that failed, each for its reason."""
    return {
        **_described(images),
        "status": ["error"] * len(images),
        "error_code": [error.code for error in errors],
        "error": [error.message for error in errors],
    }


def region_rows(images: Sequence[Image], scores: BatchScores) -> dict[str, Any] | None:
    """Columns of the regions of a batch, or None without regions."""
    if scores.regions is None:
        return None
    columns = {name: values for name, values in scores.regions.items() if name != "image"}
    return {"id": [images[index][0].id for index in scores.regions["image"]], **columns}


def _described(images: Sequence[Image]) -> dict[str, Any]:
    return {
        **{name: [getattr(item, name) for item, _ in images] for name in _FROM_ITEM},
        **{name: [getattr(shape, name, None) for _, shape in images] for name in _FROM_SHAPE},
    }
