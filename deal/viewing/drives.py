"""Drives of a pool: which images follow one another, and the attributes that filters offer."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from deal.viewing.pack import valid

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Drives", "Facet", "facets", "find_drives"]

_MOST_VALUES = 5000  # of an attribute: one that differs from image to image is no filter
_MOST_ATTRIBUTES = 12
_LEAST_LENGTH = 3  # frames of a sequence, on average: names that are hashes end in digits, too
# What stands before the last number of a name is the sequence of frames that are counted.
_COUNTED = r"^(?P<sequence>.*?)[-_. ]*\d{1,18}[^\d/]*$"
_EXTENSION = r"\.[A-Za-z][A-Za-z0-9]*$"
_FOLDER = r"/?[^/]*$"


@dataclass(frozen=True)
class Facet:
    """A text of every row, as codes.

    Attributes
    ----------
    name : str
    values : tuple of str
        In order; the first is empty and stands for rows without a text.
    codes : ndarray of int64 [n]
    """

    name: str
    values: tuple[str, ...]
    codes: NDArray[np.int64]


@dataclass(frozen=True)
class Drives:
    """Rows in the order of time.

    Attributes
    ----------
    along : ndarray of uint32 [n]
        Row numbers, drive by drive, each in the order of time.
    drive : ndarray of int64 [n]
        A drive is a sequence, or a folder without one, of one camera.
    time : ndarray of float64 [n]
        Seconds since the drive's first image, or the frame number; NaN without either.
    unit : ``s``, ``frames`` or the empty text
    """

    along: NDArray[np.uint32]
    drive: NDArray[np.int64]
    time: NDArray[np.float64]
    unit: str


def facets(table: pa.Table, *, counted: bool = True) -> list[Facet]:
    """Filters by text: sequence, camera, folder, and the attributes of a manifest.

    Unless ``counted``, names tell no sequences: the selection found that neighbours do not look
    alike.
    """
    import pyarrow.compute as pc

    ids = table.column("id")
    folder = pc.replace_substring_regex(ids, _FOLDER, "", max_replacements=1)
    found = [
        _facet("sequence", sequences(table) if counted else table.column("sequence")),
        _facet("camera", table.column("camera")),
        _facet("folder", folder),
    ]
    taken = {facet.name for facet in found}
    if _alike(found[0].codes, found[2].codes):
        del found[2]  # a folder per sequence would be the same filter twice
    for facet in _attributes(table.column("attributes"), len(table)):
        if len(facet.values) <= _MOST_VALUES:
            name = f"{facet.name} (manifest)" if facet.name in taken else facet.name
            found.append(replace(facet, name=name))
    return found


def sequences(table: pa.Table) -> pa.ChunkedArray:
    """The stored sequence; without one what stands before the last number of a name.

    A name that counts nothing has no sequence.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    stored = table.column("sequence").cast(pa.string())
    if stored.null_count < len(stored):
        return stored
    stems = pc.replace_substring_regex(table.column("id"), _EXTENSION, "", max_replacements=1)
    counted = pc.struct_field(pc.extract_regex(stems, _COUNTED), "sequence").cast(pa.string())
    if len(pc.unique(counted)) * _LEAST_LENGTH > len(counted):
        return stored
    return counted


def find_drives(table: pa.Table, facets_found: list[Facet]) -> Drives:
    """Order the rows by sequence (or folder) and camera, then by time, frame number and id."""
    import pyarrow as pa

    named = {facet.name: facet for facet in facets_found}
    none = np.zeros(len(table), np.int64)
    keys = [
        none if name not in named else named[name].codes
        for name in ("sequence", "camera", "folder")
    ]
    keys[2] = np.where(keys[0] > 0, 0, keys[2])  # a sequence may span folders
    stamps = table.column("timestamp_ns")
    timed = stamps.null_count < len(stamps)
    column = stamps if timed else table.column("frame")
    known = valid(column)
    time = column.fill_null(0).to_numpy().astype(np.int64)
    by_id = np.argsort(_order(table.column("id").cast(pa.large_string()).combine_chunks()))
    along = np.lexsort([by_id, time, ~known, *keys[::-1]])
    starts = np.zeros(len(table), bool)
    starts[:1] = True
    for key in keys:
        starts[1:] |= np.diff(key[along]) != 0
    drive = np.empty(len(table), np.int64)
    drive[along] = np.cumsum(starts) - 1
    seconds = time.astype(np.float64)
    if timed and len(table):
        first = time[along][np.flatnonzero(starts)]
        seconds = (time - first[drive]) / 1e9
    seconds[~known] = np.nan
    unit = "s" if timed else "frames" if known.any() else ""
    return Drives(along.astype(np.uint32), drive, seconds, unit)


def _alike(a: NDArray[np.int64], b: NDArray[np.int64]) -> bool:
    """Whether two codings tell the same rows apart."""
    pairs = len(np.unique(a * (int(b.max(initial=0)) + 1) + b))
    return pairs == len(np.unique(a)) == len(np.unique(b))


def _order(ids: pa.Array) -> NDArray[np.int64]:
    import pyarrow.compute as pc

    return np.asarray(pc.sort_indices(ids).to_numpy().astype(np.int64))


def _facet(name: str, texts: pa.ChunkedArray) -> Facet:
    import pyarrow as pa
    import pyarrow.compute as pc

    column = pc.fill_null(texts.cast(pa.string()), "")
    column = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    encoded = column.dictionary_encode()
    values = encoded.dictionary
    others = values.filter(pc.not_equal(values, ""))
    others = others.take(pc.sort_indices(others))
    number = pc.add(pc.index_in(values, others).fill_null(-1), 1).to_numpy(zero_copy_only=False)
    codes = np.zeros(len(column), np.int64)
    if len(values):
        codes = number.astype(np.int64)[encoded.indices.to_numpy(zero_copy_only=False)]
    return Facet(name, ("", *others.to_pylist()), codes)


def _attributes(column: pa.ChunkedArray, rows: int) -> list[Facet]:
    """One filter per name of the attributes, the names in order."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_null(column.type) or column.null_count == len(column):
        return []
    maps = column.combine_chunks()
    lengths = np.diff(maps.offsets.to_numpy())
    parents = np.repeat(np.arange(rows), lengths)
    first, last = maps.offsets[0].as_py(), maps.offsets[len(maps)].as_py()
    keys, items = maps.keys.slice(first, last - first), maps.items.slice(first, last - first)
    found = []
    for key in sorted(pc.unique(keys).to_pylist())[:_MOST_ATTRIBUTES]:
        mine = pc.equal(keys, key)
        owners = parents[mine.to_numpy(zero_copy_only=False)]
        row_of = np.full(rows, -1, np.int64)
        row_of[owners] = np.arange(len(owners))
        taken = items.filter(mine).take(pa.array(row_of, mask=row_of < 0))
        found.append(_facet(key, pa.chunked_array([taken])))
    return found
