"""Rows of drives as a pool stores them, with times and with signatures of pictures."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa

__all__ = ["SECOND", "Row", "drive", "picture", "table"]

SECOND = 10**9
Row = dict[str, Any]


def table(rows: list[Row]) -> pa.Table:
    """Rows as a pool; what no row has is no column."""
    kinds = {
        "id": pa.string(),
        "status": pa.string(),
        "entropy_mean": pa.float64(),
        "sequence": pa.string(),
        "camera": pa.string(),
        "timestamp_ns": pa.int64(),
        "thumbnail": pa.binary(192),
        "n_pixels": pa.int64(),
        "class_pixels": pa.list_(pa.int64()),
        "class_entropy_sum": pa.list_(pa.float64()),
        "embedding": pa.list_(pa.float32()),
    }
    full = [{"status": "ok", **row} for row in rows]
    names = [name for name in kinds if not full or name in full[0]]
    return pa.Table.from_pylist(full, pa.schema([(name, kinds[name]) for name in names]))


@cache
def picture(number: int, noise: int = 0) -> bytes:
    """A signature; those of different numbers are far apart, the noise of each moves it a bit."""
    values = np.random.default_rng(number).integers(20, 230, 192)
    values[:96] += noise
    return bytes(values.astype(np.uint8))


def drive(name: str, count: int, *, step: int = SECOND, camera: str | None = None) -> list[Row]:
    return [
        {
            "id": f"{name}_{camera}_{number:04d}.jpg",
            "entropy_mean": float(number % 7) + number / 100,
            "sequence": name,
            "camera": camera,
            "timestamp_ns": number * step,
            "thumbnail": picture(number + 1000 * len(camera or "")),
        }
        for number in range(count)
    ]
