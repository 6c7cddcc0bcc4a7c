"""Output folders of made-up rows, as `deal-score` writes them, for benchmarks of their readers."""

from __future__ import annotations

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from deal.pool.ids import Shard
from deal.pool.signature import BYTES
from deal.results.partfile import write_part
from deal.results.parts import part_name, part_size
from deal.results.schema import images_schema, part_metadata, to_table

__all__ = ["CLASSES", "PART_ROWS", "ids", "write_narrow", "write_results"]

CLASSES = 19
PART_ROWS = 512  # as Output.open has it
_PIXELS = 360 * 480
_NARROW = ("id", "status", "difficulty_mean")


def write_results(folder: Path, rows: int, part_rows: int = PART_ROWS) -> None:
    """Write an output folder of made-up rows, and beside its tables ``scores-*.npy``.

    Only columns that ``ds``, ``entropy``, ``de`` and a selection's own read have values; ids are as
    long as those of a fleet. ``scores-*.npy`` hold the scores in the order of the rows, from NumPy.
    """
    images = folder / "images"
    images.mkdir(parents=True, exist_ok=True)
    names = [f"class {number}" for number in range(CLASSES)]
    schema = images_schema().with_metadata(part_metadata({"model": "made up"}, names))
    starts = [0]
    while starts[-1] < rows:
        starts.append(min(starts[-1] + part_size(part_rows, starts[-1]), rows))
    source = _Rows(int(np.diff(starts).max()), schema)
    scores = {name: np.empty(rows) for name in ("ds", "entropy", "de")}

    def write(part: int) -> None:
        start, stop = starts[part : part + 2]
        table, columns = source.part(part, start, stop)
        for name, values in columns.items():
            scores[name][start:stop] = values
        with open(images / part_name(Shard(), part), "wb") as file:
            write_part(table, file)

    with ThreadPoolExecutor(2) as executor:
        deque(executor.map(write, range(len(starts) - 1)), maxlen=0)
    for name, values in scores.items():
        np.save(folder / f"scores-{name}.npy", values)


def write_narrow(folder: Path, rows: int, part_rows: int) -> None:
    """Write an output folder with the columns that ``ds`` needs alone, and ``scores-ds.npy``.

    Parts have all the same size, as `deal compact` makes them.
    """
    images = folder / "images"
    images.mkdir(parents=True, exist_ok=True)
    names = [f"class {number}" for number in range(CLASSES)]
    metadata = part_metadata({"model": "made up"}, names)
    schema = pa.schema([images_schema().field(name) for name in _NARROW], metadata)
    scores = np.empty(rows)

    def write(part: int) -> None:
        start = part * part_rows
        stop = min(start + part_rows, rows)
        scores[start:stop] = np.random.default_rng([1, part]).random(stop - start)
        columns = [
            _numbered(start, stop),
            pa.repeat("ok", stop - start),
            pa.array(scores[start:stop]),
        ]
        with open(images / part_name(Shard(), part), "wb") as file:
            write_part(pa.Table.from_arrays(columns, schema=schema), file)

    with ThreadPoolExecutor(2) as executor:
        deque(executor.map(write, range(-(-rows // part_rows))), maxlen=0)
    np.save(folder / "scores-ds.npy", scores)


def _numbered(start: int, stop: int) -> pa.Array:
    """What :func:`ids` gives, without Python strings."""
    numbers = np.arange(start, stop)

    def text(values: NDArray[np.int64], width: int) -> pa.Array:
        return pc.utf8_lpad(pa.array(values).cast(pa.string()), width, "0")

    month, drive = text(1 + numbers % 12, 2), text(numbers // 600, 5)
    parts = ["2026-", month, "/drive_", drive, "/frame_", text(numbers, 9), ".jpg", ""]
    return pc.binary_join_element_wise(*parts)


class _Rows:
    """Made-up rows, a part at a time; scores of hardly any two rows are equal."""

    def __init__(self, rows: int, schema: pa.Schema) -> None:
        rng = np.random.default_rng(0)
        self._own = _histograms(rng, rows)
        self._shared = _histograms(rng, 30_011)  # prime: parts pair with it in turn
        counts = rng.multinomial(_PIXELS, rng.dirichlet(np.full(CLASSES, 0.4)), rows)
        columns: dict[str, Any] = {
            "id": ids(0, rows),
            "uri": ids(0, rows),
            "source_version": ["183204-1700000000000000000"] * rows,
            "status": ["ok"] * rows,
            "sequence": [f"drive_{row // 600:05}" for row in range(rows)],
            "width": np.full(rows, 480),
            "height": np.full(rows, 360),
            "n_pixels": np.full(rows, _PIXELS),
            "class_pixels": counts,
            "class_difficulty_sum": counts * rng.random(counts.shape),
            "class_entropy_sum": counts * rng.random(counts.shape),
        }
        self._table = to_table(columns, schema, CLASSES)

    def part(
        self, part: int, start: int, stop: int
    ) -> tuple[pa.Table, dict[str, NDArray[np.float64]]]:
        rows = stop - start
        rng = np.random.default_rng([1, part])
        pairs = (part + 37 * np.arange(rows)) % len(self._shared)
        histograms = self._own[:rows] + self._shared[pairs]
        ds, entropy = rng.random(rows), rng.random(rows)
        named = pa.array(ids(start, stop))
        flat = pa.array(histograms.ravel())
        # Pictures of 3×4 fields with some noise: few of them look alike.
        fields = rng.integers(10, 246, (rows, 3, 4)).repeat(4, axis=1).repeat(4, axis=2)
        pictures = (fields + rng.integers(-9, 10, fields.shape)).astype(np.uint8)
        fresh = {
            "thumbnail": pa.FixedSizeBinaryArray.from_buffers(
                pa.binary(BYTES), rows, [None, pa.py_buffer(pictures.tobytes())]
            ),
            "id": named,
            "uri": named,
            "difficulty_mean": pa.array(ds),
            "entropy_mean": pa.array(entropy),
            "difficulty_hist_image": pa.ListArray.from_arrays(
                np.arange(rows + 1, dtype=np.int32) * histograms.shape[1], flat
            ),
        }
        table = self._table.slice(0, rows)
        for name, values in fresh.items():
            table = table.set_column(table.schema.get_field_index(name), table.field(name), values)
        share = histograms.reshape(rows, 8, -1).sum(axis=2) / histograms.sum(axis=1, keepdims=True)
        de = np.abs((share * np.log(np.maximum(share, 1e-300))).sum(axis=1))
        return table, {"ds": ds, "entropy": entropy, "de": de}


def _histograms(rng: np.random.Generator, rows: int) -> NDArray[np.int32]:
    """Pixels by difficulty [rows, 240], with the long tail of a trained network's."""
    shape, scale = rng.uniform(1, 6, (rows, 1)), rng.uniform(2, 12, (rows, 1))
    levels = np.minimum(rng.gamma(shape, scale, (rows, 400)).astype(np.int64), 239)
    levels += 240 * np.arange(rows)[:, None]
    counts = np.bincount(levels.ravel(), minlength=240 * rows).reshape(rows, 240)
    noise = rng.integers(0, 200, counts.shape)
    return (counts * 200 + noise * (counts > 0)).astype(np.int32)


def ids(start: int, stop: int) -> list[str]:
    """Ids of rows, as long as those of a fleet."""
    return [
        f"2026-{1 + i % 12:02}/drive_{i // 600:05}/frame_{i:09}.jpg" for i in range(start, stop)
    ]
