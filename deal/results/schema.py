"""The schema of stored results: columns with types, units and meaning, metadata, fingerprint.

Schemas never depend on the model: histograms and class vectors are plain lists (of 240 and of C
values), and columns that a run did not compute are null. So parts of any run read as one table,
in any reader of Parquet. A value is null or a number, never NaN.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any

import numpy as np
import pyarrow as pa

from deal.machine.arrow import compute as pc
from deal.pool.signature import BYTES
from deal.types import HISTOGRAM_LEVELS

__all__ = [
    "IMAGE_COLUMNS",
    "REGION_COLUMNS",
    "REQUIRED",
    "SCHEMA_VERSION",
    "SCHEMA_VERSIONS",
    "STATUSES",
    "canonical_json",
    "fingerprint",
    "images_schema",
    "list_length",
    "part_metadata",
    "regions_schema",
    "settings_difference",
    "to_table",
]

SCHEMA_VERSION = "2"
SCHEMA_VERSIONS = ("1", "2")
"""Versions that are read. Version 1 lacks ``thumbnail``; parts of both may lie in one output."""
STATUSES = ("ok", "error", "duplicate", "skipped")

_TEXT, _INT, _MEAN = pa.string(), pa.int64(), pa.float64()
_HIST, _COUNTS, _SUMS = pa.list_(pa.int32()), pa.list_(pa.int64()), pa.list_(pa.float64())

_MEANS: dict[str, tuple[pa.DataType, str]] = {
    "difficulty_mean": (_MEAN, "mean difficulty D, 0…1"),
    "entropy_mean": (_MEAN, "mean entropy of the class probabilities, nats"),
    "margin_mean": (_MEAN, "mean of 1 − (P₁ − P₂), 0…1"),
    "least_confidence_mean": (_MEAN, "mean of 1 − P₁, 0…1"),
    "difficulty_weighted_entropy_mean": (_MEAN, "mean of difficulty × entropy, nats"),
    "difficulty_weighted_margin_mean": (_MEAN, "mean of difficulty × margin uncertainty, 0…1"),
    "difficulty_weighted_least_confidence_mean": (
        _MEAN,
        "mean of difficulty × least confidence, 0…1",
    ),
    "vote_entropy_mean": (_MEAN, "mean entropy of the committee's votes, nats"),
    "mutual_information_mean": (
        _MEAN,
        "mean of H(mean P) − mean H(P) over the committee's members, nats",
    ),
    "consensus_entropy_mean": (_MEAN, "mean entropy of the committee's mean probabilities, nats"),
}

# What an annotator would have to draw.
_OUTLINE: dict[str, tuple[pa.DataType, str]] = {
    "boundary_length": (
        _MEAN,
        "length of the simplified boundaries between predicted classes, raster pixels",
    ),
    "boundary_corners": (_INT, "corners of those boundaries: the points an annotator would click"),
}

IMAGE_COLUMNS: dict[str, tuple[pa.DataType, str]] = {
    "id": (_TEXT, "unique and stable name: path relative to its pool root, or the manifest's id"),
    "uri": (_TEXT, "where the image lies; bytes that are not UTF-8 are percent-encoded"),
    "source_version": (
        _TEXT,
        "size and modification time (ns) of the file and of its segments; it changes when they do",
    ),
    "sequence": (_TEXT, "sequence (drive, clip) of the image, from the manifest or the id"),
    "camera": (_TEXT, "camera, from the manifest"),
    "timestamp_ns": (_INT, "time of the image, from the manifest, nanoseconds"),
    "attributes": (pa.map_(_TEXT, _TEXT), "other columns of the manifest, by name"),
    "status": (_TEXT, "ok, error, duplicate, or skipped: only screened (--screen)"),
    "error_code": (
        _TEXT,
        "io, decode, too_large, size, memory, segments, network, nonfinite, mask, crash or "
        "internal; null unless error",
    ),
    "error": (_TEXT, "the reason, on one line; null unless error"),
    "duplicate_of": (_TEXT, "id of the image this one repeats; null unless duplicate"),
    "width": (pa.int32(), "width of the oriented original, pixels"),
    "height": (pa.int32(), "height of the oriented original, pixels"),
    "orientation": (pa.int8(), "EXIF orientation that was applied, 1…8"),
    "color_mode": (
        _TEXT,
        "color mode of the file before conversion to RGB: L, RGBA, CMYK, I;16, …",
    ),
    "thumbnail": (
        pa.binary(BYTES),
        "rounded mean grey (BT.601) of 12×16 areas of the upright image, row by row; null where "
        "it could not be decoded, and in rows of schema 1",
    ),
    "raster_width": (pa.int32(), "width of the raster that statistics are computed on, pixels"),
    "raster_height": (pa.int32(), "height of that raster, pixels"),
    "n_pixels": (_INT, "raster pixels that are not masked"),
    **_MEANS,
    "difficulty_min": (_MEAN, "least difficulty, 0…1"),
    "difficulty_max": (_MEAN, "greatest difficulty, 0…1"),
    "difficulty_hist": (_HIST, "[240] raster pixels by difficulty, levels over 0…1"),
    "difficulty_hist_image": (
        _HIST,
        "[240] raster pixels by difficulty, levels over difficulty_min…difficulty_max",
    ),
    "entropy_hist": (_HIST, "[240] raster pixels by entropy, levels over 0…ln C"),
    "class_pixels": (_COUNTS, "[C] raster pixels predicted as the class"),
    "class_difficulty_sum": (_SUMS, "[C] sum of difficulty over those pixels"),
    "class_entropy_sum": (_SUMS, "[C] sum of entropy over those pixels, nats"),
    "class_difficulty_weighted_entropy_sum": (
        _SUMS,
        "[C] sum of difficulty × entropy over those pixels, nats",
    ),
    "boundary_pixels": (
        _INT,
        "unmasked pixels with an unmasked 4-neighbour predicted as another class",
    ),
    **_OUTLINE,
    "embedding": (pa.list_(pa.float32()), "[E] the model's embedding, if it has one"),
    **{
        f"screen_{name}": (kind, f"the screen's {name}; null unless skipped")
        for name, (kind, _) in _MEANS.items()
    },
}
"""Name → (type, unit and meaning) of ``images/*.parquet``: exactly one row per item."""

REGION_COLUMNS: dict[str, tuple[pa.DataType, str]] = {
    "id": (_TEXT, "id of the image"),
    "region": (
        pa.int32(),
        "number of the region within its image: row-major for a grid, the id in a file of segments",
    ),
    "x0": (pa.int32(), "left edge, pixels of the oriented original"),
    "y0": (pa.int32(), "top edge"),
    "x1": (pa.int32(), "right edge, exclusive"),
    "y1": (pa.int32(), "bottom edge, exclusive"),
    "n_pixels": (
        _INT,
        "raster pixels of the region that are not masked; regions without any are not stored",
    ),
    **_MEANS,
    "majority_class": (pa.int32(), "class predicted most often; ties go to the lowest"),
    "impurity": (_MEAN, "entropy of the fractions of predicted classes, nats"),
    "boundary_pixels": (
        _INT,
        "unmasked pixels of the region beside an unmasked one of another class",
    ),
    **_OUTLINE,
    "polygon": (_TEXT, "WKT outline, pixels of the oriented original; null unless asked for"),
}
"""Name → (type, unit and meaning) of ``regions/*.parquet``."""

REQUIRED = frozenset({"id", "uri", "source_version", "status", "region", "x0", "y0", "x1", "y1"})
"""Columns that are never null."""


def _schema(columns: Mapping[str, tuple[pa.DataType, str]]) -> pa.Schema:
    return pa.schema(
        [pa.field(name, kind, nullable=name not in REQUIRED) for name, (kind, _) in columns.items()]
    )


def images_schema() -> pa.Schema:
    """Schema of ``images/*.parquet``, without metadata."""
    return _schema(IMAGE_COLUMNS)


def regions_schema() -> pa.Schema:
    """Schema of ``regions/*.parquet``, without metadata."""
    return _schema(REGION_COLUMNS)


def list_length(name: str, num_classes: int) -> int | None:
    """Length every value of an image column must have; None for scalars and embeddings."""
    if name.endswith(("_hist", "_hist_image")):
        return HISTOGRAM_LEVELS
    return num_classes if name.startswith("class_") else None


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no spaces: equal values give equal text; NaN is refused."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def fingerprint(settings: Mapping[str, Any]) -> str:
    """SHA-256 (hex) of the canonical JSON of the settings that change a stored number."""
    return sha256(canonical_json(settings).encode()).hexdigest()


def part_metadata(settings: Mapping[str, Any], classes: Sequence[str]) -> dict[bytes, bytes]:
    """Footer metadata of every part: schema version, fingerprint, its settings, class names."""
    values = {
        "deal.schema": SCHEMA_VERSION,
        "deal.fingerprint": fingerprint(settings),
        "deal.settings": canonical_json(settings),
        "deal.classes": json.dumps(list(classes), ensure_ascii=False),
    }
    return {key.encode(): value.encode() for key, value in values.items()}


def settings_difference(old: Mapping[str, str], new: Mapping[str, str]) -> str:
    """Which settings differ between two footers, as ``name: old → new``, shortened."""
    before, after = (json.loads(metadata["deal.settings"]) for metadata in (old, new))
    lines = (
        f"{name}: {_short(before, name)} → {_short(after, name)}"
        for name in sorted({*before, *after})
        if name not in before or name not in after or before[name] != after[name]
    )
    return "; ".join(lines)


def _short(settings: Mapping[str, Any], name: str) -> str:
    if name not in settings:
        return "absent"
    text = json.dumps(settings[name], sort_keys=True, ensure_ascii=False)
    return text if len(text) <= 40 else text[:39] + "…"


def to_table(columns: Mapping[str, Any], schema: pa.Schema, num_classes: int) -> pa.Table:
    """Columns as a table of the schema; absent columns, None and NaN are null.

    Parameters
    ----------
    columns : mapping of column name to sequence or ndarray [n], or ndarray [n, K] for lists

    Raises
    ------
    ValueError
        Unknown or missing columns, or lengths that do not fit.
    """
    unknown = set(columns) - set(schema.names)
    if unknown:
        raise ValueError(f"unknown columns {sorted(unknown)}")
    rows = len(columns["id"])
    arrays = []
    for field in schema:
        values = columns.get(field.name)
        array = pa.nulls(rows, field.type) if values is None else _to_array(values, field.type)
        length = list_length(field.name, num_classes)
        if len(array) != rows or (not field.nullable and array.null_count):
            raise ValueError(f"column {field.name!r} needs {rows} values")
        if length is not None:
            lengths = pc.unique(pc.list_value_length(array).drop_null()).to_pylist()
            if lengths not in ([], [length]):
                raise ValueError(
                    f"column {field.name!r} needs {length} values per row, not {lengths}"
                )
        arrays.append(array)
    return pa.Table.from_arrays(arrays, schema=schema)


def _to_array(values: Any, kind: pa.DataType) -> pa.Array:
    if isinstance(values, np.ndarray) and values.ndim == 2:
        rows, length = values.shape
        flat = pa.array(values.reshape(-1), kind.value_type, from_pandas=True)
        return pa.ListArray.from_arrays(np.arange(rows + 1, dtype=np.int32) * length, flat)
    return pa.array(values, kind, from_pandas=True)
