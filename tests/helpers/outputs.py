"""Output folders that tests write: two regions an item, and what is stored of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from deal.results.output import Output
from deal.results.parts import publish, read_part
from deal.results.reading import read_regions, read_results

SETTINGS = {"model": "abc", "raster": "input"}
CLASSES = ["road", "sky"]


def open_output(path: Path, **options: Any) -> Output:
    return Output.open(path, **{"settings": SETTINGS, "classes": CLASSES, **options})


def as_schema_1(path: Path) -> None:
    """Turn the parts of an output into those of the version before, without thumbnails."""
    for part in (path / "images").glob("*.parquet"):
        table = read_part(part)
        metadata = {**table.schema.metadata, b"deal.schema": b"1"}
        publish(table.drop_columns(["thumbnail"]).replace_schema_metadata(metadata), part)


def write(
    output: Output,
    *ids: str,
    version: str = "v1",
    status: str = "ok",
    thumbnail: bytes | None = None,
) -> None:
    """One row an item; rows that are ok have two regions whose ``x0`` tells the version."""
    count = len(ids)
    regions = None
    if status == "ok":
        regions = {
            "id": [item_id for item_id in ids for _ in range(2)],
            "region": [0, 1] * count,
            "x0": [int(version[1:])] * 2 * count,
            "y0": [0] * 2 * count,
            "x1": [9] * 2 * count,
            "y1": [9] * 2 * count,
        }
    images = {
        "id": ids,
        "uri": ids,
        "source_version": [version] * count,
        "status": [status] * count,
        "entropy_mean": np.full(count, 0.5),
        "thumbnail": [thumbnail] * count,
    }
    output.write(images, regions)


def stored(path: Path) -> dict[str, tuple[str, str]]:
    """Id → (status, version); read_results refuses an id that stands twice."""
    table = read_results(path, ["id", "status", "source_version"])
    rows = zip(*(column.to_pylist() for column in table.columns), strict=True)
    return {item_id: (status, version) for item_id, status, version in rows}


def region_versions(path: Path) -> dict[str, list[str]]:
    table = read_regions(path, ["id", "x0"])
    found: dict[str, list[str]] = {}
    for item_id, version in zip(*(c.to_pylist() for c in table.columns), strict=True):
        found.setdefault(item_id, []).append(f"v{version}")
    return found


def files(path: Path) -> list[str]:
    return sorted(str(p.relative_to(path)) for p in path.rglob("*") if p.is_file())
