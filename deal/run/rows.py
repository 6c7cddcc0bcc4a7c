"""Turn outcomes of images into columns of the results."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deal.errors import ItemError
from deal.scoring.batch_scores import BatchScores, stacked
from deal.types import Decoded, PoolItem

__all__ = ["Columns", "Image", "Outcome", "Shape", "each_storable", "to_rows"]


@dataclass(frozen=True, slots=True)
class Shape:
    """The stored facts about a decoded image, without its pixels.

    ``thumbnail`` is its signature (:mod:`deal.pool.signature`), 192 bytes.
    """

    width: int
    height: int
    orientation: int
    color_mode: str
    thumbnail: bytes

    @classmethod
    def of(cls, decoded: Decoded, thumbnail: bytes) -> Shape:
        """Describe a decoded image."""
        size = decoded.width, decoded.height
        return cls(*size, decoded.orientation, decoded.color_mode, thumbnail)


Image = tuple[PoolItem, Shape | None]
"""An item and the shape of its image; None instead of the shape if it could not be decoded."""

Columns = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of some images: columns of the scored ones, and errors of the others.

    Attributes
    ----------
    images : sequence of Image
    scores : BatchScores or None
        None if none of the images reached the network.
    failures : mapping of index in ``images`` to ItemError
    duplicate_of : str, optional
        Id of the scored image that these repeat; they are neither scored nor failed.
    """

    images: Sequence[Image]
    scores: BatchScores | None
    failures: Mapping[int, ItemError]
    duplicate_of: str | None = None

    @classmethod
    def failure(cls, item: PoolItem, error: ItemError, shape: Shape | None = None) -> Outcome:
        """The outcome of one image that failed before the network."""
        return cls([(item, shape)], None, {0: error})

    @classmethod
    def duplicate(cls, item: PoolItem, shape: Shape, leader: str) -> Outcome:
        """The outcome of one image that repeats another."""
        return cls([(item, shape)], None, {}, leader)

    @property
    def ok(self) -> list[Image]:
        """The images that were scored."""
        return [] if self.scores is None else [self.images[index] for index in self.scores.ok]


_FROM_ITEM = ("id", "uri", "source_version", "sequence", "camera", "timestamp_ns", "attributes")
_FROM_SHAPE = ("width", "height", "orientation", "color_mode", "thumbnail")


def to_rows(outcomes: Sequence[Outcome]) -> Iterator[tuple[Columns, Columns | None]]:
    """Yield columns of ``images/*.parquet``, with those of ``regions/*.parquet`` or None.

    Images that are ok come first, then failed ones, then duplicates; an empty group is left out.
    """
    ok = [image for outcome in outcomes for image in outcome.ok]
    if ok:
        columns = stacked([o.scores.columns for o in outcomes if o.scores is not None])
        yield {**_described(ok), "status": ["ok"] * len(ok), **columns}, _regions(outcomes)
    failed = [
        (outcome.images[index], error)
        for outcome in outcomes
        for index, error in outcome.failures.items()
    ]
    if failed:
        reasons = {
            "status": ["error"] * len(failed),
            "error_code": [error.code for _, error in failed],
            "error": [error.message for _, error in failed],
        }
        yield {**_described([image for image, _ in failed]), **reasons}, None
    repeated = [(image, o.duplicate_of) for o in outcomes if o.duplicate_of for image in o.images]
    if repeated:
        marks = {
            "status": ["duplicate"] * len(repeated),
            "duplicate_of": [leader for _, leader in repeated],
        }
        yield {**_described([image for image, _ in repeated]), **marks}, None


def each_storable(
    images: Columns, regions: Columns | None, write: Callable[[Columns, Columns | None], None]
) -> Iterator[Columns]:
    """Write columns; yield each row that cannot be stored, for which an error row is written.

    ``write`` takes columns of images and of regions, all of one image or of many, and raises before
    it has kept any of them if Arrow or NumPy refuses a value.
    """
    try:
        write(images, regions)
        return
    except _UNSTORABLE:
        pass
    for row, own in _single_rows(images, regions):
        try:
            write(row, own)
        except _UNSTORABLE as error:
            write(_unstorable(row, error), None)
            yield row


_UNSTORABLE = (ValueError, TypeError, OverflowError)


def _single_rows(
    images: Columns, regions: Columns | None
) -> Iterator[tuple[Columns, Columns | None]]:
    """Split columns into those of single images."""
    for index, item_id in enumerate(images["id"]):
        row = {name: values[index : index + 1] for name, values in images.items()}
        if regions is None:
            yield row, None
            continue
        own = [place for place, owner in enumerate(regions["id"]) if owner == item_id]
        table = {name: np.asarray(values)[own] for name, values in regions.items() if name != "id"}
        yield row, {"id": [item_id] * len(own), **table}


def _unstorable(row: Columns, error: Exception) -> Columns:
    """The error row for a row that cannot be stored: its image, and the reason."""
    reason = " ".join(str(error).split())
    return {
        **{name: row[name] for name in ("id", "uri", "source_version")},
        "status": ["error"],
        "error_code": ["internal"],
        "error": [f"its row cannot be stored: {reason}; please report it"],
    }


def _regions(outcomes: Sequence[Outcome]) -> Columns | None:
    ids: list[str] = []
    tables: list[dict[str, NDArray[Any]]] = []
    for outcome in outcomes:
        if outcome.scores is not None and outcome.scores.regions is not None:
            table = dict(outcome.scores.regions)
            ids += [outcome.images[index][0].id for index in table.pop("image")]
            tables.append(table)
    return {"id": ids, **stacked(tables)} if tables else None


def _described(images: Sequence[Image]) -> Columns:
    return {
        **{name: [getattr(item, name) for item, _ in images] for name in _FROM_ITEM},
        **{name: [getattr(shape, name, None) for _, shape in images] for name in _FROM_SHAPE},
    }
